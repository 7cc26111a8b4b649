//! Calls that succeed without being done, for a user namespace with a single id: chown(2), setuid(2),
//! setgroups(2), mknod(2) of devices and their kin. user_namespaces(7), seccomp(2).
//!
//! Only one uid and gid exist there; the kernel answers `EINVAL` or `EPERM` to every other, and package managers
//! give up. A filter that returns errno 0 skips the call and reports success. The filter keeps no state: what
//! was "changed" reads back as before.
//!
//! Invariant: only calls that give rights away or that the kernel would refuse are pretended, never one that a
//! program relies on to restrict somebody else; and what a policy denies stays denied.

use super::policy::{ALLOW, Condition, Policy, Rule, Verdict, errno};

/// Whether the ids a container sees are real.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Every call reaches the kernel.
    Mapped,
    /// One id is mapped; changes of ids and owners are pretended.
    Single,
    /// Likewise, and of changes of owners the parent is told, who answers for them ([`super::Agent`]).
    Recorded,
}

/// Pretended whatever its arguments are.
const ALWAYS: u8 = 1;
/// Pretended if the argument with this number is the mode of a device node: class less this.
const DEVICE_MODE: u8 = 1;
/// Changes of owners.
const OWNER: u8 = 4;
/// How many classes there are, with 0 for calls that are not pretended.
pub(super) const CLASSES: u8 = 5;

/// The names of class [`OWNER`].
const OWNERS: &[&str] = &[
    "chown", "chown32", "fchown", "fchown32", "fchownat", "lchown", "lchown32",
];

/// The names of class [`ALWAYS`].
const NAMES: &[&str] = &[
    "setfsgid",
    "setfsgid32",
    "setfsuid",
    "setfsuid32",
    "setgid",
    "setgid32",
    "setgroups",
    "setgroups32",
    "setregid",
    "setregid32",
    "setresgid",
    "setresgid32",
    "setresuid",
    "setresuid32",
    "setreuid",
    "setreuid32",
    "setuid",
    "setuid32",
];

/// The class of a call; 0 for nearly all.
pub(super) const fn class(name: &str) -> u8 {
    let name = name.as_bytes();
    if same(name, b"mknod") {
        return DEVICE_MODE + 1;
    }
    if same(name, b"mknodat") {
        return DEVICE_MODE + 2;
    }
    if is_one_of(name, NAMES) {
        return ALWAYS;
    }
    if is_one_of(name, OWNERS) {
        return OWNER;
    }
    0
}

const fn is_one_of(name: &[u8], names: &[&str]) -> bool {
    let mut index = 0;
    while index < names.len() {
        if same(name, names[index].as_bytes()) {
            return true;
        }
        index += 1;
    }
    false
}

/// Equality of names, for constants.
pub(super) const fn same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len()
}

/// The verdict of a call of `class` whose verdict would be `base` (none: the default).
pub(super) fn overlay(
    policy: &mut Policy,
    base: Option<usize>,
    class: u8,
    identity: Identity,
) -> Option<usize> {
    if identity == Identity::Mapped || policy.verdicts[base.unwrap_or(0)] != Verdict::always(ALLOW)
    {
        return base;
    }
    let verdict = if class == OWNER && identity == Identity::Recorded {
        Verdict::always(libc::SECCOMP_RET_USER_NOTIF)
    } else if class == ALWAYS || class == OWNER {
        Verdict::always(errno(0))
    } else {
        let argument = u32::from(class - DEVICE_MODE);
        let device = |kind: libc::mode_t| Rule {
            conditions: vec![Condition::bits(
                argument,
                u64::from(libc::S_IFMT),
                u64::from(kind),
            )],
            action: errno(0),
        };
        Verdict {
            rules: vec![device(libc::S_IFCHR), device(libc::S_IFBLK)],
            otherwise: ALLOW,
        }
    };
    Some(policy.intern(verdict))
}
