//! Docker's default policy: what moby/profiles `seccomp/default.json` (as of autumn 2026) says, as names
//! with the conditions on which they are allowed. The default is `EPERM`.
//!
//! The compiler of this program looks the names up, so that at run time only numbers are left: one byte per
//! system call says which of [`GRANTS`] covers it. [`to_oci`] writes the same policy in runtime-spec's words.
//!
//! Invariant: both ways lead to the same filter.

use super::KernelVersion;
use super::no_op::{self, Identity, same};
use super::policy::{ALLOW, Condition, Policy, Rule, Section, Verdict, errno};
use super::syscall_table::{ARM, Family, Table, X32};
use crate::runtime::capabilities::{CapabilitySet, named};
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArgBuilder, LinuxSeccompOperator, LinuxSyscall,
};
use syscalls::{aarch64, arm, x86, x86_64};

/// Allowed always; sorted, so that they can be found. Some are known to one architecture only.
const ALWAYS: &str = "\
    _llseek _newselect accept accept4 access adjtimex alarm arch_prctl arm_fadvise64_64 arm_sync_file_range \
    bind breakpoint brk cacheflush cachestat capget capset chdir chmod chown chown32 clock_adjtime \
    clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep \
    clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3 epoll_create \
    epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd \
    eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate \
    fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync \
    fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync \
    ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat \
    get_robust_list get_thread_area getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 \
    getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority \
    getrandom getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid getsockname getsockopt \
    gettid gettimeofday getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init inotify_init1 \
    inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit \
    ioctl ioprio_get ioprio_set ipc kill landlock_add_rule landlock_create_ruleset landlock_restrict_self \
    lchown lchown32 lgetxattr link linkat listen listmount listxattr listxattrat llistxattr lremovexattr \
    lseek lsetxattr lstat lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret mincore \
    mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 modify_ldt mprotect mq_getsetattr mq_notify \
    mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal \
    msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat open \
    openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll \
    ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6 pselect6_time64 \
    pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom recvmmsg \
    recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename renameat renameat2 \
    restart_syscall riscv_hwprobe rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo \
    rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo \
    sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam \
    sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr \
    sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop \
    semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list set_thread_area \
    set_tid_address set_tls setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 \
    setitimer setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid \
    setreuid32 setrlimit setsid setsockopt setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget \
    shutdown sigaltstack signalfd signalfd4 sigprocmask sigreturn socketcall socketpair splice stat stat64 \
    statfs statfs64 statmount statx symlink symlinkat sync sync_file_range sync_file_range2 syncfs sysinfo \
    tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime \
    timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times \
    tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat \
    utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write writev";

/// On what a call depends.
#[derive(Clone, Copy)]
enum Grant {
    /// Nothing.
    Always,
    /// One of these capabilities.
    Capability(CapabilitySet),
    /// A kernel that checks ptrace(2) before the filter is passed on (4.8), or the capability.
    Kernel(KernelVersion, CapabilitySet),
    /// The address family ([`FAMILIES`]).
    Socket,
    /// The personality: those that weaken nothing, and the question for the current one.
    Personality,
    /// No new namespaces without `CAP_SYS_ADMIN`.
    Clone,
    /// Its flags are behind a pointer: without `CAP_SYS_ADMIN` it is unknown, and C libraries fall back to clone.
    Clone3,
}

/// Names and what they depend on; the index less 1 is the code in the tables below.
const GRANTS: &[(&str, Grant)] = &[
    (ALWAYS, Grant::Always),
    ("clone", Grant::Clone),
    ("clone3", Grant::Clone3),
    ("personality", Grant::Personality),
    ("socket", Grant::Socket),
    (
        "process_vm_readv process_vm_writev ptrace",
        Grant::Kernel(KernelVersion(4, 8), named("SYS_PTRACE")),
    ),
    (
        "fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules \
         lsm_set_self_attr mount mount_setattr move_mount open_tree quotactl quotactl_fd setdomainname sethostname \
         setns umount umount2 unshare",
        Grant::Capability(named("SYS_ADMIN")),
    ),
    ("bpf", Grant::Capability(named("SYS_ADMIN BPF"))),
    (
        "perf_event_open",
        Grant::Capability(named("SYS_ADMIN PERFMON")),
    ),
    ("syslog", Grant::Capability(named("SYS_ADMIN SYSLOG"))),
    (
        "open_by_handle_at",
        Grant::Capability(named("DAC_READ_SEARCH")),
    ),
    ("reboot", Grant::Capability(named("SYS_BOOT"))),
    ("chroot", Grant::Capability(named("SYS_CHROOT"))),
    (
        "delete_module finit_module init_module",
        Grant::Capability(named("SYS_MODULE")),
    ),
    ("acct", Grant::Capability(named("SYS_PACCT"))),
    (
        "kcmp pidfd_getfd process_madvise",
        Grant::Capability(named("SYS_PTRACE")),
    ),
    ("ioperm iopl", Grant::Capability(named("SYS_RAWIO"))),
    (
        "clock_settime clock_settime64 settimeofday stime",
        Grant::Capability(named("SYS_TIME")),
    ),
    ("vhangup", Grant::Capability(named("SYS_TTY_CONFIG"))),
    (
        "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
        Grant::Capability(named("SYS_NICE")),
    ),
];

/// Address families (linux/socket.h) are allowed up to `AF_ROSE`, and these: not those that the kernel has given up,
/// nor `AF_ALG` (CVE-2026-31431) and `AF_VSOCK`, which reach where a container has no business.
///
/// This does not hold for 32-bit programs on x86: socketcall(2), which is always allowed, has the family behind a
/// pointer. To refuse its `SYS_SOCKET` would take the network from them: glibc for kernels before 4.3 (its default)
/// and Go know no other way to a socket there, and do not try socket(2) when they get `ENOSYS`.
const FAMILIES: [u64; 25] = [
    13, 14, 15, 16, 17, 18, 21, 22, 24, 26, 27, 28, 29, 30, 31, 32, 33, 35, 36, 39, 41, 42, 43, 44,
    45,
];
/// `AF_ROSE` plus 1.
const FAMILIES_BELOW: u64 = 12;
/// `CLONE_NEWNS`, `NEWCGROUP`, `NEWUTS`, `NEWIPC`, `NEWUSER`, `NEWPID`, `NEWNET` (sched.h).
const NEW_NAMESPACES: u64 = 0x7e02_0000;
/// Linux, Linux with 32-bit addresses, the same with `UNAME26`, and the question (personality(2)).
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// What the policy depends on.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// The bounding set of the container.
    pub capabilities: CapabilitySet,
    /// The running kernel.
    pub kernel: KernelVersion,
}

/// What becomes of calls that are granted on some condition.
enum Decision {
    /// The action, whatever the arguments are.
    Always(u32),
    /// Allowed if the first argument compares so with one of the values, which are masks for `SCMP_CMP_MASKED_EQ`.
    If(Vec<(LinuxSeccompOperator, u64)>),
}

impl Grant {
    /// None is the default.
    fn decide(self, circumstances: Circumstances) -> Option<Decision> {
        use LinuxSeccompOperator::{ScmpCmpEq, ScmpCmpLt, ScmpCmpMaskedEq};
        let has_one_of =
            |set: CapabilitySet| !circumstances.capabilities.intersection(set).is_empty();
        let is_administrator = has_one_of(const { named("SYS_ADMIN") });
        let allowed = match self {
            Self::Always => true,
            Self::Capability(set) => has_one_of(set),
            Self::Kernel(least, set) => circumstances.kernel >= least || has_one_of(set),
            Self::Clone | Self::Clone3 => is_administrator,
            Self::Socket | Self::Personality => false,
        };
        let equal = |values: &[u64]| values.iter().map(|&value| (ScmpCmpEq, value)).collect();
        Some(match self {
            _ if allowed => Decision::Always(ALLOW),
            Self::Clone3 => Decision::Always(errno(libc::ENOSYS)),
            Self::Clone => Decision::If(vec![(ScmpCmpMaskedEq, NEW_NAMESPACES)]),
            Self::Personality => Decision::If(equal(&PERSONALITIES)),
            Self::Socket => {
                let mut families: Vec<_> = equal(&FAMILIES);
                families.push((ScmpCmpLt, FAMILIES_BELOW));
                Decision::If(families)
            }
            Self::Always | Self::Capability(_) | Self::Kernel(..) => return None,
        })
    }
}

impl Decision {
    fn verdict(self) -> Verdict {
        let rule = |(operator, value)| Rule {
            conditions: vec![Condition::compare(0, operator, value, 0)],
            action: ALLOW,
        };
        match self {
            Self::Always(action) => Verdict::always(action),
            Self::If(comparisons) => {
                let rules: Vec<Rule> = comparisons.into_iter().map(rule).collect();
                Verdict::from_rules(&rules, DEFAULT)
            }
        }
    }
}

/// What is not named.
const DEFAULT: u32 = errno(libc::EPERM);

/// The policy as numbers.
pub(super) fn policy(circumstances: Circumstances, identity: Identity, family: Family) -> Policy {
    let mut policy = Policy::new(DEFAULT);
    let mut granted: [Option<usize>; GRANTS.len() + 1] = [None; GRANTS.len() + 1];
    for (code, &(_, grant)) in GRANTS.iter().enumerate() {
        let decision = grant.decide(circumstances);
        granted[code + 1] = decision.map(|decision| policy.intern(decision.verdict()));
    }
    for table in family.tables() {
        let codes = codes(table);
        let numbers = (0u32..)
            .zip(codes.dense)
            .chain(codes.sparse.iter().map(|(number, code)| (*number, code)));
        let mut calls = Vec::with_capacity(codes.dense.len() + codes.sparse.len());
        for (number, &code) in numbers {
            let base = granted[usize::from(code / no_op::CLASSES)];
            let index = match code % no_op::CLASSES {
                0 => base,
                class => no_op::overlay(&mut policy, base, class, identity),
            };
            calls.extend(index.map(|index| (number, index)));
        }
        policy.sections.push(Section {
            table,
            x32: table == Table::X86_64,
            calls,
        });
    }
    policy
}

/// For each number the index of its grant plus 1 (0: not named), times [`no_op::CLASSES`], plus its class there.
struct Codes {
    /// Numbers from 0.
    dense: &'static [u8],
    /// Numbers of the second block.
    sparse: &'static [(u32, u8)],
}

const fn code(name: &str) -> u8 {
    let class = no_op::class(name);
    if WORDS.contains(name) {
        return no_op::CLASSES + class;
    }
    let mut grant = 1;
    while grant < GRANTS.len() {
        if holds_word(GRANTS[grant].0.as_bytes(), name.as_bytes()) {
            return no_op::CLASSES * (grant as u8 + 1) + class;
        }
        grant += 1;
    }
    class
}

macro_rules! dense {
    ($module:ident) => {{
        const LENGTH: usize = $module::Sysno::last().id() as usize + 1;
        const CODES: [u8; LENGTH] = {
            let mut codes = [0; LENGTH];
            let mut number = 0;
            while number < LENGTH {
                if let Some(call) = $module::Sysno::new(number) {
                    codes[number] = code(call.name());
                }
                number += 1;
            }
            codes
        };
        &CODES
    }};
}

macro_rules! sparse {
    ($list:ident) => {{
        const CODES: [(u32, u8); $list.len()] = {
            let mut codes = [(0, 0); $list.len()];
            let mut at = 0;
            while at < $list.len() {
                codes[at] = ($list[at].0, code($list[at].1));
                at += 1;
            }
            codes
        };
        &CODES
    }};
}

fn codes(table: Table) -> Codes {
    match table {
        Table::X86_64 => Codes {
            dense: dense!(x86_64),
            sparse: sparse!(X32),
        },
        Table::X86 => Codes {
            dense: dense!(x86),
            sparse: &[],
        },
        Table::Aarch64 => Codes {
            dense: dense!(aarch64),
            sparse: &[],
        },
        Table::Arm => Codes {
            dense: dense!(arm),
            sparse: sparse!(ARM),
        },
    }
}

/// The words of [`ALWAYS`] as pairs of start and end.
struct Words([(u16, u16); COUNT]);

const COUNT: usize = count_words(ALWAYS.as_bytes());

const WORDS: Words = {
    let text = ALWAYS.as_bytes();
    let mut words = [(0, 0); COUNT];
    let (mut word, mut start, mut at) = (0, 0, 0);
    while at <= text.len() {
        if at == text.len() || text[at] == b' ' {
            words[word] = (start as u16, at as u16);
            assert!(
                word == 0 || is_before(text, words[word - 1], words[word]),
                "the names are not sorted"
            );
            (word, start) = (word + 1, at + 1);
        }
        at += 1;
    }
    Words(words)
};

impl Words {
    /// Binary search, since the compiler evaluates this some 1600 times.
    const fn contains(&self, name: &str) -> bool {
        let (mut from, mut to) = (0, COUNT);
        while from < to {
            let middle = usize::midpoint(from, to);
            let (start, end) = self.0[middle];
            match order(slice(ALWAYS.as_bytes(), start, end), name.as_bytes()) {
                0 => return true,
                order if order < 0 => from = middle + 1,
                _ => to = middle,
            }
        }
        false
    }
}

const fn slice(text: &[u8], start: u16, end: u16) -> &[u8] {
    text.split_at(end as usize).0.split_at(start as usize).1
}

const fn is_before(text: &[u8], one: (u16, u16), other: (u16, u16)) -> bool {
    order(slice(text, one.0, one.1), slice(text, other.0, other.1)) < 0
}

/// Negative, zero or positive, like memcmp(3).
const fn order(one: &[u8], other: &[u8]) -> i32 {
    let mut at = 0;
    while at < one.len() && at < other.len() {
        if one[at] != other[at] {
            return one[at] as i32 - other[at] as i32;
        }
        at += 1;
    }
    one.len() as i32 - other.len() as i32
}

const fn count_words(text: &[u8]) -> usize {
    let (mut count, mut at) = (1, 0);
    while at < text.len() {
        count += (text[at] == b' ') as usize;
        at += 1;
    }
    count
}

/// Whether `name` is one of the words in `text`.
const fn holds_word(text: &[u8], name: &[u8]) -> bool {
    let (mut start, mut at) = (0, 0);
    while at <= text.len() {
        if at == text.len() || text[at] == b' ' {
            if same(slice(text, start as u16, at as u16), name) {
                return true;
            }
            start = at + 1;
        }
        at += 1;
    }
    false
}

/// The policy as `config.json` holds it.
pub(super) fn to_oci(circumstances: Circumstances, family: Family) -> LinuxSeccomp {
    let mut syscalls: Vec<LinuxSyscall> = Vec::new();
    for &(names, grant) in GRANTS {
        let names: Vec<String> = names.split(' ').map(str::to_owned).collect();
        match grant.decide(circumstances) {
            None => {}
            Some(Decision::Always(action)) => syscalls.push(entry(names, action, None)),
            Some(Decision::If(comparisons)) => syscalls.extend(
                comparisons
                    .into_iter()
                    .map(|comparison| entry(names.clone(), ALLOW, Some(comparison))),
            ),
        }
    }
    let mut seccomp = LinuxSeccomp::default();
    seccomp
        .set_default_action(LinuxSeccompAction::ScmpActErrno)
        .set_default_errno_ret(Some(libc::EPERM as u32))
        .set_architectures(Some(family.architectures().to_vec()))
        .set_syscalls(Some(syscalls));
    seccomp
}

fn entry(
    names: Vec<String>,
    action: u32,
    comparison: Option<(LinuxSeccompOperator, u64)>,
) -> LinuxSyscall {
    let mut call = LinuxSyscall::default();
    call.set_names(names);
    if action == ALLOW {
        call.set_action(LinuxSeccompAction::ScmpActAllow);
    } else {
        call.set_action(LinuxSeccompAction::ScmpActErrno);
        call.set_errno_ret(Some(action & libc::SECCOMP_RET_DATA));
    }
    let argument = |(operator, value)| {
        let argument = LinuxSeccompArgBuilder::default()
            .index(0usize)
            .value(value)
            .op(operator);
        argument.build().expect("every field has a default")
    };
    call.set_args(comparison.map(|comparison| vec![argument(comparison)]));
    call
}
