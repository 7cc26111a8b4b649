//! Scheduler, I/O priority, processors, memory policy and personality of a program: runtime-spec config.md ("scheduler",
//! "ioPriority", "execCPUAffinity") and config-linux.md ("memoryPolicy", "personality").

use crate::error::{Error, Kind, bad_input};
use crate::sys::scheduling::{self, Attributes};
use anyhow::Result;
use oci_spec::runtime::{
    IOPriorityClass, Linux, LinuxMemoryPolicy, LinuxPersonality, LinuxPersonalityDomain,
    LinuxSchedulerFlag, LinuxSchedulerPolicy, MemoryPolicyFlagType, MemoryPolicyModeType, Process,
};
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};

/// What is set of it; the rest is inherited.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Scheduling {
    scheduler: Option<Attributes>,
    /// Class and, within it, priority.
    io_priority: Option<(u32, u32)>,
    /// Number of personality(2).
    personality: Option<u32>,
    /// Mode with flags, and nodes, of set_mempolicy(2).
    memory: Option<(u32, Vec<u64>)>,
    /// Processors of one that joins a container, before it is in the container's cgroup and from then on.
    affinity: [Option<CpuSet>; 2],
}

impl Scheduling {
    /// As `config.json` has it.
    ///
    /// Errors: numbers that no kernel takes, the policy `SCHED_ISO`, which none has, and malformed lists of processors.
    pub fn from_oci(process: &Process) -> Result<Self, Error> {
        let scheduler = process.scheduler().as_ref().map(|wanted| {
            let flags = wanted.flags().iter().flatten().map(flag);
            let priority = wanted.priority().unwrap_or(0);
            Ok::<_, Error>(Attributes {
                policy: policy(*wanted.policy())?,
                flags: flags.fold(0, |all, flag| all | flag),
                nice: wanted.nice().unwrap_or(0),
                priority: u32::try_from(priority).map_err(|_| {
                    bad_input(format!("the scheduler priority {priority} is negative"))
                })?,
                runtime: wanted.runtime().unwrap_or(0),
                deadline: wanted.deadline().unwrap_or(0),
                period: wanted.period().unwrap_or(0),
                ..Attributes::default()
            })
        });
        let io_priority = process.io_priority().as_ref().map(|wanted| {
            let class = match wanted.class() {
                IOPriorityClass::IoprioClassRt => 1,
                IOPriorityClass::IoprioClassBe => 2,
                IOPriorityClass::IoprioClassIdle => 3,
            };
            match u32::try_from(wanted.priority()) {
                Ok(priority @ 0..=7) => Ok((class, priority)),
                _ => Err(bad_input(format!(
                    "the I/O priority {} is not one of 0 to 7",
                    wanted.priority()
                ))),
            }
        });
        Ok(Self {
            scheduler: scheduler.transpose()?,
            io_priority: io_priority.transpose()?,
            personality: None,
            memory: None,
            affinity: affinity(process)?,
        })
    }

    /// Adds what is said of all processes of a container.
    pub fn add_container(&mut self, linux: &Linux) -> Result<(), Error> {
        let personality = linux.personality().as_ref().map(personality);
        self.personality = personality.transpose()?;
        self.memory = linux.memory_policy().as_ref().map(memory).transpose()?;
        Ok(())
    }

    /// Whoever enters gets all processors that the container has, whatever its maker is bound to; unless something else is
    /// wanted.
    pub fn free_affinity(&mut self) {
        if self.affinity == [None, None] {
            self.affinity[1] = Some(all_processors());
        }
    }

    /// Sets the processors of the calling process, which is on the way into a container: those that it begins with, or,
    /// once it is in the cgroup, those of the program.
    pub fn set_affinity(&self, is_in_cgroup: bool) -> Result<(), Error> {
        match &self.affinity[usize::from(is_in_cgroup)] {
            Some(processors) => sched_setaffinity(None, processors)
                .map_err(|error| Error::new(Kind::Denied, format!("set the processors: {error}"))),
            None => Ok(()),
        }
    }

    /// Takes out the scheduler if it is not inherited by a child, or lets there be none (sched(7), "Resetting scheduling
    /// policy for child processes", "SCHED_DEADLINE").
    pub fn take_own(&mut self) -> Option<Own> {
        let is_own = |attributes: &mut Attributes| {
            attributes.policy == scheduling::DEADLINE
                || attributes.flags & scheduling::RESET_ON_FORK != 0
        };
        self.scheduler.take_if(is_own).map(Own)
    }

    /// Sets all of it for the calling process, which may need CAP_SYS_NICE.
    pub fn apply(&self) -> Result<(), Error> {
        if let Some(attributes) = self.scheduler {
            Own(attributes).set(0)?;
        }
        if let Some((class, priority)) = self.io_priority {
            scheduling::set_io_priority(class, priority)
                .map_err(|error| refused("I/O priority", error))?;
        }
        if let Some((mode, nodes)) = &self.memory {
            scheduling::set_memory_policy(*mode, nodes).map_err(refused_policy)?;
        }
        if let Some(personality) = self.personality {
            scheduling::set_personality(personality)
                .map_err(|error| refused("personality", error))?;
        }
        Ok(())
    }
}

/// A scheduler that a process has to be given itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own(Attributes);

impl Own {
    /// Sets it for a process, 0 being the calling one; may need CAP_SYS_NICE.
    pub fn set(self, pid: i32) -> Result<(), Error> {
        scheduling::set_attributes(pid, &self.0).map_err(|error| refused("scheduler", error))
    }
}

/// Lets a process that is in a container's cgroup have all processors of that. Where it may not, it keeps its maker's.
pub fn free_affinity_of(pid: i32) {
    let _ = sched_setaffinity(Pid::from_raw(pid), &all_processors());
}

/// The kernel takes of them those that there are in the cgroup.
fn all_processors() -> CpuSet {
    let mut all = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|number| all.set(number));
    all
}

fn refused(what: &str, error: Errno) -> Error {
    let failure = Error::new(Kind::Denied, format!("set the {what}: {error}"));
    match error {
        Errno::PERM => failure.hint("it takes CAP_SYS_NICE, in the kernel's first user namespace"),
        _ => failure,
    }
}

fn refused_policy(error: Errno) -> Error {
    let say = |what| format!("`linux.memoryPolicy`: {what}");
    match error {
        Errno::INVAL => bad_input(say("the kernel takes no such mode with these nodes and flags"))
            .hint("/sys/devices/system/node/online lists the nodes; MPOL_DEFAULT and MPOL_LOCAL take none, MPOL_PREFERRED \
                   may take some, all others need some"),
        Errno::NOSYS => Error::new(Kind::Unsupported, say("this kernel has no memory policies")),
        error => refused("memory policy", error),
    }
}

/// The number of a personality.
///
/// Errors: flags, of which runtime-spec knows none.
fn personality(wanted: &LinuxPersonality) -> Result<u32, Error> {
    if let Some(flag) = wanted.flags().iter().flatten().next() {
        return Err(bad_input(format!("there is no personality flag `{flag}`")));
    }
    Ok(match wanted.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => 8,
    })
}

/// Each mode of a memory policy and its number (linux/mempolicy.h).
pub const MEMORY_MODES: [(MemoryPolicyModeType, u32); 7] = {
    use MemoryPolicyModeType as M;
    [
        (M::MpolDefault, 0),
        (M::MpolBind, 2),
        (M::MpolInterleave, 3),
        (M::MpolWeightedInterleave, 6),
        (M::MpolPreferred, 1),
        (M::MpolPreferredMany, 5),
        (M::MpolLocal, 4),
    ]
};

/// Each flag of a memory policy and its bit (linux/mempolicy.h).
pub const MEMORY_FLAGS: [(MemoryPolicyFlagType, u32); 3] = {
    use MemoryPolicyFlagType as F;
    [
        (F::MpolFNumaBalancing, 1 << 13),
        (F::MpolFRelativeNodes, 1 << 14),
        (F::MpolFStaticNodes, 1 << 15),
    ]
};

fn memory(wanted: &LinuxMemoryPolicy) -> Result<(u32, Vec<u64>), Error> {
    /// `MAX_NUMNODES` of the largest kernels.
    const NODES: usize = 1024;
    let mode = MEMORY_MODES.iter().find(|(mode, _)| *mode == wanted.mode());
    let flags = wanted.flags().iter().flatten();
    let bit = |flag: &MemoryPolicyFlagType| {
        let found = MEMORY_FLAGS.iter().find(|(known, _)| known == flag);
        found.map_or(0, |(_, bit)| *bit)
    };
    let word = mode.map_or(0, |(_, number)| *number) | flags.fold(0, |all, flag| all | bit(flag));
    let mut nodes = Vec::new();
    for number in list(wanted.nodes().as_deref().unwrap_or_default(), NODES)? {
        let at = number / 64;
        if nodes.len() <= at {
            nodes.resize(at + 1, 0);
        }
        nodes[at] |= 1 << (number % 64);
    }
    Ok((word, nodes))
}

fn affinity(process: &Process) -> Result<[Option<CpuSet>; 2], Error> {
    let set = |text: &Option<String>| {
        let text = text.as_deref().filter(|text| !text.is_empty());
        text.map(|text| {
            let mut set = CpuSet::new();
            for number in list(text, CpuSet::MAX_CPU)? {
                set.set(number);
            }
            Ok(set)
        })
        .transpose()
    };
    match process.exec_cpu_affinity() {
        Some(wanted) => Ok([set(wanted.initial())?, set(wanted.cpu_affinity_final())?]),
        None => Ok([None, None]),
    }
}

/// The numbers of a list such as `0-3,7` (cpuset(7), "List format"), all below `end`.
fn list(text: &str, end: usize) -> Result<Vec<usize>, Error> {
    let malformed = |part: &str| {
        bad_input(format!(
            "`{part}` of the list `{text}` is no number or range below {end}"
        ))
    };
    let mut numbers = Vec::new();
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (first.parse::<usize>(), last.parse::<usize>()) {
            (Ok(first), Ok(last)) if first <= last && last < end => numbers.extend(first..=last),
            _ => return Err(malformed(part)),
        }
    }
    Ok(numbers)
}

fn policy(policy: LinuxSchedulerPolicy) -> Result<u32, Error> {
    use LinuxSchedulerPolicy as P;
    Ok(match policy {
        P::SchedOther => 0,
        P::SchedFifo => 1,
        P::SchedRr => 2,
        P::SchedBatch => 3,
        P::SchedIdle => 5,
        P::SchedDeadline => scheduling::DEADLINE,
        P::SchedIso => {
            let message = "the kernel has no scheduling policy SCHED_ISO";
            return Err(Error::new(Kind::Unsupported, message));
        }
    })
}

fn flag(flag: &LinuxSchedulerFlag) -> u64 {
    use LinuxSchedulerFlag as F;
    match flag {
        F::SchedResetOnFork => scheduling::RESET_ON_FORK,
        F::SchedFlagReclaim => 0x02,
        F::SchedFlagDLOverrun => 0x04,
        F::SchedFlagKeepPolicy => 0x08,
        F::SchedFlagKeepParams => 0x10,
        F::SchedFlagUtilClampMin => 0x20,
        F::SchedFlagUtilClampMax => 0x40,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn process(more: serde_json::Value) -> Process {
        let mut process = json!({ "cwd": "/", "user": { "uid": 0, "gid": 0 } });
        for (key, value) in more.as_object().unwrap() {
            process[key] = value.clone();
        }
        serde_json::from_value(process).unwrap()
    }

    #[test]
    fn a_process_that_applies_it_has_it() {
        let wanted = process(json!({
            "scheduler": { "policy": "SCHED_BATCH", "nice": 7, "flags": ["SCHED_RESET_ON_FORK"] },
            "ioPriority": { "class": "IOPRIO_CLASS_IDLE", "priority": 0 },
        }));
        let mut scheduling = Scheduling::from_oci(&wanted).unwrap();
        scheduling.personality = Some(8);
        // A process of its own, since none of this can be taken back.
        let child = crate::sys::process::clone3(0, || {
            let applied = scheduling.apply().is_ok();
            let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
            let (_, fields) = stat.rsplit_once(") ").unwrap();
            let fields: Vec<&str> = fields.split(' ').collect();
            // proc_pid_stat(5): nice is field 19, policy field 41; the first one here is field 3.
            let is_set = (fields[16], fields[38]) == ("7", "3");
            let machine = rustix::system::uname();
            let is_32_bit = machine.machine().to_bytes() != b"x86_64";
            u8::from(!(applied && is_set && is_32_bit))
        });
        assert_eq!(child.unwrap().wait().unwrap().code(), 0);
    }

    fn of_container(linux: serde_json::Value) -> Result<Scheduling, Error> {
        let mut scheduling = Scheduling::default();
        scheduling.add_container(&serde_json::from_value(linux).unwrap())?;
        Ok(scheduling)
    }

    #[test]
    fn a_memory_policy_is_set() {
        let wanted = json!({ "memoryPolicy": {
            "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"],
        }});
        let scheduling = of_container(wanted).unwrap();
        assert_eq!(scheduling.memory, Some((2 | 1 << 15, vec![1])));
        let child = crate::sys::process::clone3(0, || {
            // A kernel without NUMA has no such call.
            let has_nodes = std::path::Path::new("/proc/self/numa_maps").exists();
            let applied = scheduling.apply();
            let maps = std::fs::read_to_string("/proc/self/numa_maps").unwrap_or_default();
            let is_bound = maps.lines().any(|line| line.contains(" bind=static:0 "));
            u8::from(has_nodes && !(applied.is_ok() && is_bound))
        });
        assert_eq!(child.unwrap().wait().unwrap().code(), 0);
        let far = json!({ "memoryPolicy": { "mode": "MPOL_INTERLEAVE", "nodes": "0-1,65" } });
        assert_eq!(of_container(far).unwrap().memory, Some((3, vec![3, 2])));
        for nodes in ["x", "1-", "3-1", "0,,1", "1024"] {
            let wanted = json!({ "memoryPolicy": { "mode": "MPOL_BIND", "nodes": nodes } });
            assert!(of_container(wanted).is_err(), "{nodes}");
        }
    }

    #[test]
    fn who_joins_has_its_processors_before_and_after() {
        let wanted = process(json!({ "execCPUAffinity": { "initial": "0-1", "final": "0" } }));
        let scheduling = Scheduling::from_oci(&wanted).unwrap();
        let child = crate::sys::process::clone3(0, || {
            let now = || rustix::thread::sched_getaffinity(None).unwrap();
            let before = now();
            let expected = (0..2).filter(|processor| before.is_set(*processor)).count() as u32;
            let initial = scheduling.set_affinity(false).is_ok() && now().count() == expected;
            let last = scheduling.set_affinity(true).is_ok() && now().count() == 1;
            u8::from(!(initial && last && now().is_set(0)))
        });
        assert_eq!(child.unwrap().wait().unwrap().code(), 0);
        let nothing = Scheduling::from_oci(&process(json!({}))).unwrap();
        assert!(nothing.set_affinity(false).is_ok() && nothing == Scheduling::default());
    }

    #[test]
    fn what_no_kernel_takes_is_refused() {
        for more in [
            json!({ "scheduler": { "policy": "SCHED_ISO" } }),
            json!({ "scheduler": { "policy": "SCHED_FIFO", "priority": -1 } }),
            json!({ "ioPriority": { "class": "IOPRIO_CLASS_BE", "priority": 8 } }),
        ] {
            assert!(
                Scheduling::from_oci(&process(more.clone())).is_err(),
                "{more}"
            );
        }
        let mut wanted = LinuxPersonality::default();
        wanted.set_domain(LinuxPersonalityDomain::PerLinux32);
        assert_eq!(personality(&wanted).unwrap(), 8);
        wanted.set_flags(Some(vec!["X".to_owned()]));
        assert!(personality(&wanted).is_err());
    }
}
