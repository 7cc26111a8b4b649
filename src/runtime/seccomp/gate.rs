//! i386 has two calls behind which others stand, socketcall(2) and ipc(2): which one is their first argument. What a
//! policy says of socket(2) is worth nothing if socketcall leads past it.
//!
//! So a rule for a call behind a gate is one for the gate as well, as in libseccomp. Its arguments are behind a
//! pointer there, where no filter can look: a rule with arguments holds for the gate whatever they are if it is
//! stricter than the default, and not at all otherwise. (libseccomp lets an allowing rule through in both cases.)

use super::policy::{Condition, Rule, Verdict, strictness};
use std::collections::HashMap;

/// One of the two calls.
#[derive(Clone, Copy)]
pub(super) enum Gate {
    /// socketcall(2); linux/net.h.
    Socket,
    /// ipc(2); linux/ipc.h.
    Ipc,
}

const SOCKET: [(&str, u64); 20] = [
    ("socket", 1),
    ("bind", 2),
    ("connect", 3),
    ("listen", 4),
    ("accept", 5),
    ("getsockname", 6),
    ("getpeername", 7),
    ("socketpair", 8),
    ("send", 9),
    ("recv", 10),
    ("sendto", 11),
    ("recvfrom", 12),
    ("shutdown", 13),
    ("setsockopt", 14),
    ("getsockopt", 15),
    ("sendmsg", 16),
    ("recvmsg", 17),
    ("accept4", 18),
    ("recvmmsg", 19),
    ("sendmmsg", 20),
];

const IPC: [(&str, u64); 12] = [
    ("semop", 1),
    ("semget", 2),
    ("semctl", 3),
    ("semtimedop", 4),
    ("msgsnd", 11),
    ("msgrcv", 12),
    ("msgget", 13),
    ("msgctl", 14),
    ("shmat", 21),
    ("shmdt", 22),
    ("shmget", 23),
    ("shmctl", 24),
];

impl Gate {
    pub(super) const ALL: [Self; 2] = [Self::Socket, Self::Ipc];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Socket => "socketcall",
            Self::Ipc => "ipc",
        }
    }

    /// What the rules by name mean for this call on i386; none if they say nothing of it.
    pub(super) fn verdict(self, rules: &HashMap<&str, Vec<Rule>>, default: u32) -> Option<Verdict> {
        let (behind, mask): (&[_], _) = match self {
            Self::Socket => (&SOCKET, u64::MAX),
            // The kernel takes the upper half as a version.
            Self::Ipc => (&IPC, 0xffff),
        };
        let own = rules.get(self.name()).into_iter().flatten().cloned();
        let mut all: Vec<Rule> = own.collect();
        for &(name, number) in behind {
            let reach = |rule: &&Rule| {
                rule.conditions.is_empty() || strictness(rule.action) < strictness(default)
            };
            let carried = rules.get(name).into_iter().flatten().filter(reach);
            all.extend(carried.map(|rule| Rule {
                conditions: vec![Condition::bits(0, mask, number)],
                action: rule.action,
            }));
        }
        (!all.is_empty()).then(|| Verdict::from_rules(&all, default))
    }
}
