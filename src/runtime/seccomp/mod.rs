//! System call filters: seccomp(2), runtime-spec `config-linux.md`, "Seccomp".
//!
//! ```text
//! docker_default  Docker's default policy, looked up at compile time ─┐
//! profile         a file in Docker's or runtime-spec's form ─▶ LinuxSeccomp ─▶ policy ─▶ compiler ─▶ program
//! no_op           what is pretended where only one id is mapped ──────┘          (syscall_table)  (assembler)
//! agent           a program on the host that answers calls (`SCMP_ACT_NOTIFY`)
//! ```
//!
//! A policy maps names to *actions*; a *verdict* is what follows from all actions that name one call; a *program*
//! is what the kernel runs. The program is made before the container's first process exists, and that process
//! only loads it.

mod agent;
mod assembler;
mod compiler;
mod docker_default;
mod gate;
mod no_op;
mod policy;
mod profile;
mod projects;
mod syscall_table;
#[cfg(test)]
mod tests;

pub use agent::Agent;
pub use docker_default::Circumstances;
pub use no_op::Identity;
pub use profile::parse_policy;

use crate::error::{Error, Kind, bad_input};
use crate::sys;
use anyhow::{Context, Result};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompFilterFlag, LinuxSeccompOperator, State,
};
use policy::Policy;
use seccompiler::{BpfProgram, BpfProgramRef};
use std::collections::HashSet;
use syscall_table::Family;

/// Version and patch level, as in "6.18": `minKernel` of Docker's policies compares these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion(pub u32, pub u32);

impl KernelVersion {
    /// Of the running kernel (uname(2)); 0.0 if its release does not start with two numbers.
    pub fn running() -> Self {
        let release = rustix::system::uname();
        Self::parse(&release.release().to_string_lossy()).unwrap_or(Self(0, 0))
    }

    /// From a release such as "6.18.44-amd64" or "4.8".
    fn parse(release: &str) -> Option<Self> {
        let mut numbers = release.splitn(3, '.').map(|part| {
            let digits = part
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(part.len());
            part[..digits].parse().ok()
        });
        Some(Self(numbers.next()??, numbers.next()??))
    }
}

/// A program and how it is to be loaded.
#[derive(Debug)]
pub struct Filter {
    program: BpfProgram,
    /// Loaded before it: the stricter of the two decides.
    guard: Option<BpfProgram>,
    flags: libc::c_ulong,
    agent: Option<Agent>,
    forbids_exit: bool,
}

impl Filter {
    fn new(policy: &Policy, flags: libc::c_ulong) -> Result<Self> {
        let program = compiler::compile(policy);
        // BPF_MAXINSNS: the kernel would answer EINVAL.
        if program.len() > 4096 {
            let length = program.len();
            return Err(bad_input(format!(
                "seccomp policy: {length} instructions, the kernel takes 4096"
            ))
            .hint("use fewer rules with arguments, or fewer architectures")
            .into());
        }
        Ok(Self {
            program,
            guard: None,
            flags,
            agent: None,
            forbids_exit: policy.forbids_exit(),
        })
    }

    /// What is to be said where a program cannot end by itself, which would look like a fault of its own.
    pub fn warning(&self) -> Option<&'static str> {
        self.forbids_exit.then_some(
            "the seccomp policy does not allow `exit_group`: a program cannot end by itself, and is killed by a signal \
             (exit code 139 or 159) or stays",
        )
    }

    /// Whose calls they are, which only an agent wants to know.
    #[must_use]
    pub fn of_container(mut self, state: State) -> Self {
        if let Some(agent) = &mut self.agent {
            agent.state = state;
        }
        self
    }

    /// Keeps files in the project by which they are counted ([`projects`]).
    pub fn keeping_projects(mut self) -> Result<Self> {
        let policy = Policy::from_oci(
            &projects::policy(Family::HOST),
            Identity::Mapped,
            Family::HOST,
        )?;
        self.guard = Some(compiler::compile(&policy));
        Ok(self)
    }

    /// Who answers for the calls that the policy leaves to somebody.
    pub fn agent(&self) -> Option<&Agent> {
        self.agent.as_ref()
    }

    /// The instructions.
    pub fn program(&self) -> BpfProgramRef<'_> {
        &self.program
    }

    /// Adds the filter to the calling thread, for good. It needs `CAP_SYS_ADMIN` in its user namespace or
    /// `no_new_privs`; allocates nothing. Where there is an agent, waits until it has the listener.
    ///
    /// Every later call must be in the policy: this is the last step but execve(2).
    pub fn load(&self) -> Result<()> {
        if let Some(guard) = &self.guard {
            add(guard, DEFAULT_FLAGS)?;
        }
        add(&self.program, self.flags)?;
        if let Some(agent) = &self.agent {
            agent.await_hand_over();
        }
        Ok(())
    }
}

fn add(program: BpfProgramRef<'_>, flags: libc::c_ulong) -> Result<()> {
    let result = sys::seccomp::set_filter(program, flags);
    let unknown_flag = |error: &std::io::Error| error.raw_os_error() == Some(libc::EINVAL);
    if result.as_ref().is_err_and(unknown_flag) && flags == DEFAULT_FLAGS {
        // Before Linux 4.17 the flag is unknown, and so is what it switches off.
        return sys::seccomp::set_filter(program, 0).context("seccomp SECCOMP_SET_MODE_FILTER");
    }
    let listens = flags & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER != 0;
    match result {
        Err(error) if listens && error.raw_os_error() == Some(libc::EBUSY) => Err(Error::new(
            Kind::Unsupported,
            "an agent answers for the system calls of onggi itself, and the kernel allows only one",
        )
        .into()),
        result => result.context("seccomp SECCOMP_SET_MODE_FILTER"),
    }
}

/// Where a policy says nothing of flags: no mitigation of speculative store bypass, whose cost every thread with
/// a filter would bear; runc and Docker do the same.
const DEFAULT_FLAGS: libc::c_ulong = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;

/// The filter of Docker's default policy.
pub fn default_filter(circumstances: Circumstances, identity: Identity) -> Filter {
    let policy = docker_default::policy(circumstances, identity, Family::HOST);
    Filter {
        program: compiler::compile(&policy),
        guard: None,
        flags: DEFAULT_FLAGS,
        agent: None,
        forbids_exit: false,
    }
}

/// Docker's default policy for `config.json`; [`compile`] makes [`default_filter`] of it.
pub fn docker_default(circumstances: Circumstances) -> LinuxSeccomp {
    docker_default::to_oci(circumstances, Family::HOST)
}

/// The filter of `linux.seccomp` in a `config.json`.
///
/// Errors: values that cannot be, a program longer than the kernel takes, `SCMP_ACT_NOTIFY` without `listenerPath`.
pub fn compile(seccomp: &LinuxSeccomp, identity: Identity) -> Result<Filter> {
    let policy = Policy::from_oci(seccomp, identity, Family::HOST)?;
    let asks = policy.asks();
    let mut filter = Filter::new(&policy, flags(seccomp, asks)?)?;
    if asks {
        let path = seccomp.listener_path().as_deref();
        let path = path.filter(|path| !path.as_os_str().is_empty());
        let path = path.ok_or_else(|| {
            bad_input("seccomp policy: SCMP_ACT_NOTIFY needs `listenerPath`")
                .hint("it is the socket of the agent that answers for these calls")
        })?;
        if !path.is_absolute() {
            let message = format!(
                "seccomp policy: `listenerPath` is not absolute: {}",
                path.display()
            );
            return Err(bad_input(message).into());
        }
        filter.agent = Some(Agent::new(path, seccomp.listener_metadata().clone())?);
    }
    Ok(filter)
}

/// Fails for a policy that names a system call which no kernel has, and which [`compile`] passes over.
pub fn require_known_calls(seccomp: &LinuxSeccomp) -> Result<()> {
    let mut known = HashSet::new();
    for table in [Family::X86, Family::Arm]
        .iter()
        .flat_map(|family| family.tables())
    {
        table.for_each(|_, name| {
            known.insert(name);
        });
    }
    let mut names = seccomp
        .syscalls()
        .iter()
        .flatten()
        .flat_map(|call| call.names());
    match names.find(|name| !known.contains(name.as_str())) {
        Some(name) => {
            Err(bad_input(format!("seccomp policy: there is no system call `{name}`")).into())
        }
        None => Ok(()),
    }
}

/// Where no policy is wanted (`seccomp=unconfined`, `--privileged`) and only one id is mapped: everything is
/// allowed but what is pretended.
pub fn no_op_filter() -> Result<Filter> {
    let mut seccomp = LinuxSeccomp::default();
    seccomp.set_architectures(Some(Family::HOST.architectures().to_vec()));
    compile(&seccomp, Identity::Single)
}

/// The filter of Docker's default policy, or of none, under which the parent answers for changes of owners where only one
/// id is mapped.
pub fn recording_filter(circumstances: Option<Circumstances>) -> Result<Filter> {
    let policy = match circumstances {
        Some(circumstances) => {
            docker_default::policy(circumstances, Identity::Recorded, Family::HOST)
        }
        None => {
            let mut seccomp = LinuxSeccomp::default();
            seccomp.set_architectures(Some(Family::HOST.architectures().to_vec()));
            Policy::from_oci(&seccomp, Identity::Recorded, Family::HOST)?
        }
    };
    let listener = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    let mut filter = Filter::new(&policy, DEFAULT_FLAGS | listener)?;
    filter.agent = Some(Agent::parent()?);
    Ok(filter)
}

/// What a policy may ask for of the kernel.
const FLAGS: [(LinuxSeccompFilterFlag, libc::c_ulong); 4] = {
    use LinuxSeccompFilterFlag as F;
    [
        (F::SeccompFilterFlagLog, libc::SECCOMP_FILTER_FLAG_LOG),
        (
            F::SeccompFilterFlagSpecAllow,
            libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
        ),
        (F::SeccompFilterFlagTsync, libc::SECCOMP_FILTER_FLAG_TSYNC),
        (
            F::SeccompFilterFlagWaitKillableRecv,
            libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
        ),
    ]
};

/// All flags, and whether this kernel knows them.
pub fn known_flags() -> impl Iterator<Item = (LinuxSeccompFilterFlag, bool)> {
    FLAGS.iter().map(|(flag, bit)| {
        let with = match flag {
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => {
                libc::SECCOMP_FILTER_FLAG_NEW_LISTENER
            }
            _ => 0,
        };
        (*flag, sys::seccomp::knows(bit | with))
    })
}

/// The architectures whose calls a policy of this machine can speak of.
pub fn architectures() -> &'static [Arch] {
    Family::HOST.architectures()
}

/// What can be done about a call, in alphabetical order.
pub const ACTIONS: [LinuxSeccompAction; 9] = {
    use LinuxSeccompAction as A;
    [
        A::ScmpActAllow,
        A::ScmpActErrno,
        A::ScmpActKill,
        A::ScmpActKillProcess,
        A::ScmpActKillThread,
        A::ScmpActLog,
        A::ScmpActNotify,
        A::ScmpActTrace,
        A::ScmpActTrap,
    ]
};

/// How arguments can be compared, in alphabetical order.
pub const OPERATORS: [LinuxSeccompOperator; 7] = {
    use LinuxSeccompOperator as O;
    [
        O::ScmpCmpEq,
        O::ScmpCmpGe,
        O::ScmpCmpGt,
        O::ScmpCmpLe,
        O::ScmpCmpLt,
        O::ScmpCmpMaskedEq,
        O::ScmpCmpNe,
    ]
};

/// `asks`: some calls are left to an agent.
fn flags(seccomp: &LinuxSeccomp, asks: bool) -> Result<libc::c_ulong> {
    let listener = match asks {
        true => libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
        false => 0,
    };
    let Some(flags) = seccomp.flags() else {
        return Ok(DEFAULT_FLAGS | listener);
    };
    flags.iter().try_fold(listener, |bits, flag| {
        use LinuxSeccompFilterFlag as F;
        let found = FLAGS.iter().find(|(known, _)| known == flag);
        let bit = found.map_or(0, |(_, bit)| *bit);
        match flag {
            // With both, the result would be a descriptor or the id of a thread: the kernel refuses that.
            F::SeccompFilterFlagTsync if asks => {
                Ok(bits | bit | libc::SECCOMP_FILTER_FLAG_TSYNC_ESRCH)
            }
            F::SeccompFilterFlagWaitKillableRecv if !asks => {
                let message = format!("seccomp policy: {flag} is of use only with SCMP_ACT_NOTIFY");
                Err(bad_input(message).into())
            }
            _ => Ok(bits | bit),
        }
    })
}
