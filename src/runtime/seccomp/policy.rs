//! What is to be decided, without how: verdicts for system call numbers, on each architecture.
//!
//! Two sources make a [`Policy`]: Docker's default (`docker_default`) and runtime-spec's `linux.seccomp`
//! ([`Policy::from_oci`]). `compiler` turns it into a program.
//!
//! Several rules for one call, as runc and libseccomp have them: rules for the default action count for nothing; the
//! first without arguments decides alone; else the first that matches in an order of libseccomp's own
//! ([`Condition::rank`]); else the default. Where libseccomp is at odds with its documentation, or refuses, this is
//! not followed: `tests/program/libseccomp.rs` lists these cases.

use super::gate::Gate;
use super::no_op::{self, Identity};
use super::syscall_table::{Family, Table};
use crate::error::bad_input;
use anyhow::Result;
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};
use std::cmp::Reverse;
use std::collections::HashMap;

/// Lets the call through.
pub(super) const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

/// Fails the call with `number`; 0 makes it succeed without being done.
pub(super) const fn errno(number: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | number as u32
}

/// What one argument, taken as an unsigned number of 64 bits, is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Test {
    /// The bits of `mask` are those of `value`.
    Bits { mask: u64, value: u64 },
    /// Greater than.
    Above(u64),
    /// Greater than or equal.
    AtLeast(u64),
}

/// One comparison of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    /// 0 to 5.
    pub(super) argument: u32,
    pub(super) test: Test,
    /// The rule wants the test to fail.
    pub(super) negated: bool,
}

impl Condition {
    /// The bits of `mask` are those of `value`.
    pub(super) const fn bits(argument: u32, mask: u64, value: u64) -> Self {
        let value = value & mask;
        Self {
            argument,
            test: Test::Bits { mask, value },
            negated: false,
        }
    }

    /// The argument is `value`.
    pub(super) const fn equal(argument: u32, value: u64) -> Self {
        Self::bits(argument, u64::MAX, value)
    }

    /// The argument is greater than `value`.
    pub(super) const fn above(argument: u32, value: u64) -> Self {
        Self {
            argument,
            test: Test::Above(value),
            negated: false,
        }
    }

    /// The argument is `value` or more.
    pub(super) const fn at_least(argument: u32, value: u64) -> Self {
        Self {
            argument,
            test: Test::AtLeast(value),
            negated: false,
        }
    }

    /// The opposite.
    pub(super) const fn not(mut self) -> Self {
        self.negated = !self.negated;
        self
    }

    fn from_oci(argument: &LinuxSeccompArg) -> Result<Self> {
        let index = u32::try_from(argument.index())
            .ok()
            .filter(|&index| index < 6);
        let Some(index) = index else {
            let message = format!(
                "seccomp policy: argument index {} is not one of 0 to 5",
                argument.index()
            );
            return Err(bad_input(message).into());
        };
        Ok(Self::compare(
            index,
            argument.op(),
            argument.value(),
            argument.value_two().unwrap_or(0),
        ))
    }

    /// In runtime-spec's words: `value` is what is compared with, or the mask, and `second` then what is left by it.
    pub(super) const fn compare(
        argument: u32,
        operator: LinuxSeccompOperator,
        value: u64,
        second: u64,
    ) -> Self {
        match operator {
            LinuxSeccompOperator::ScmpCmpEq => Self::equal(argument, value),
            LinuxSeccompOperator::ScmpCmpNe => Self::equal(argument, value).not(),
            LinuxSeccompOperator::ScmpCmpGt => Self::above(argument, value),
            LinuxSeccompOperator::ScmpCmpGe => Self::at_least(argument, value),
            LinuxSeccompOperator::ScmpCmpLt => Self::at_least(argument, value).not(),
            LinuxSeccompOperator::ScmpCmpLe => Self::above(argument, value).not(),
            LinuxSeccompOperator::ScmpCmpMaskedEq => Self::bits(argument, value, second),
        }
    }

    /// Whether it holds whatever the argument is.
    const fn is_void(&self) -> bool {
        matches!(self.test, Test::Bits { mask: 0, .. }) && !self.negated
    }

    /// Where libseccomp looks at it: the last arguments first; equalities, then upper bounds from the lowest, then
    /// lower bounds from the highest. So an exception stands before the range it is an exception of.
    fn rank(&self) -> (Reverse<u32>, u8, u64) {
        let (class, value) = match (self.test, self.negated) {
            (Test::Bits { value, .. }, _) => (0, !value),
            (Test::Above(value) | Test::AtLeast(value), true) => (1, value),
            (Test::Above(value) | Test::AtLeast(value), false) => (2, !value),
        };
        (Reverse(self.argument), class, value)
    }
}

/// If all conditions hold, the seccomp return value `action`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) conditions: Vec<Condition>,
    pub(super) action: u32,
}

/// What happens to a call: the first rule that matches, else `otherwise`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) rules: Vec<Rule>,
    pub(super) otherwise: u32,
}

impl Verdict {
    /// Whatever the arguments are.
    pub(super) const fn always(action: u32) -> Self {
        Self {
            rules: Vec::new(),
            otherwise: action,
        }
    }

    /// From the rules that name one call, in the order of the policy.
    pub(super) fn from_rules(rules: &[Rule], default: u32) -> Self {
        let others = rules.iter().filter(|rule| rule.action != default);
        let mut rules: Vec<Rule> = others.cloned().collect();
        if let Some(rule) = rules.iter().find(|rule| rule.conditions.is_empty()) {
            return Self::always(rule.action);
        }
        rules.sort_by_cached_key(|rule| {
            let mut ranks: Vec<_> = rule.conditions.iter().map(Condition::rank).collect();
            ranks.sort_unstable_by_key(|&(argument, ..)| Reverse(argument));
            // As the kernel orders return values: as signed numbers the strictest is the smallest.
            (ranks, strictness(rule.action))
        });
        Self {
            rules,
            otherwise: default,
        }
    }
}

/// The smaller, the stricter: whether the call is made, and what becomes of the program.
pub(super) const fn strictness(action: u32) -> i32 {
    (action & libc::SECCOMP_RET_ACTION_FULL).cast_signed()
}

/// The verdicts of one table, by number.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) table: Table,
    /// Numbers with the x32 bit are looked up like those without; else they end the process.
    pub(super) x32: bool,
    /// Number and index into [`Policy::verdicts`], ascending; what is missing gets the default.
    pub(super) calls: Vec<(u32, usize)>,
}

/// Verdicts for every call.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Policy {
    /// Each different verdict once; the first is the default.
    pub(super) verdicts: Vec<Verdict>,
    /// The kernel's own table first.
    pub(super) sections: Vec<Section>,
}

impl Policy {
    /// A policy that decides everything by `default`.
    pub(super) fn new(default: u32) -> Self {
        Self {
            verdicts: vec![Verdict::always(default)],
            sections: Vec::new(),
        }
    }

    /// What is not named.
    pub(super) fn default(&self) -> u32 {
        self.verdicts[0].otherwise
    }

    /// Whether some calls are left to an agent.
    pub(super) fn asks(&self) -> bool {
        let asks = |action: u32| action == libc::SECCOMP_RET_USER_NOTIF;
        self.verdicts.iter().any(|verdict| {
            asks(verdict.otherwise) || verdict.rules.iter().any(|rule| asks(rule.action))
        })
    }

    /// Whether a program cannot end by itself: `exit_group` (_exit(2)) fails, or is the end by a signal.
    pub(super) fn forbids_exit(&self) -> bool {
        let own = self.sections.first().map_or(&[][..], |own| &own.calls);
        let number = libc::SYS_exit_group as u32;
        let found = own.iter().find(|(call, _)| *call == number);
        let verdict = &self.verdicts[found.map_or(0, |(_, index)| *index)];
        verdict.rules.is_empty()
            && !matches!(
                verdict.otherwise & libc::SECCOMP_RET_ACTION_FULL,
                libc::SECCOMP_RET_ALLOW | libc::SECCOMP_RET_LOG | libc::SECCOMP_RET_USER_NOTIF
            )
    }

    /// The index of `verdict`.
    pub(super) fn intern(&mut self, verdict: Verdict) -> usize {
        self.verdicts
            .iter()
            .position(|known| *known == verdict)
            .unwrap_or_else(|| {
                self.verdicts.push(verdict);
                self.verdicts.len() - 1
            })
    }

    /// Lowers runtime-spec's form for the architectures of `family`. Names that an architecture does not have
    /// are skipped there, and so are architectures this kernel cannot run.
    ///
    /// Errors: an argument index above 5, an errno where none belongs or above 4095.
    pub(super) fn from_oci(
        seccomp: &LinuxSeccomp,
        identity: Identity,
        family: Family,
    ) -> Result<Self> {
        let default = action(seccomp.default_action(), seccomp.default_errno_ret())?;
        let mut rules: HashMap<&str, Vec<Rule>> = HashMap::new();
        for call in seccomp.syscalls().iter().flatten() {
            let lowered = lower(call)?;
            for name in call.names() {
                rules.entry(name).or_default().extend_from_slice(&lowered);
            }
        }
        let mut policy = Self::new(default);
        let gates = Gate::ALL.map(|gate| gate.verdict(&rules, default));
        let gates = gates.map(|verdict| verdict.map(|verdict| policy.intern(verdict)));
        let mut named: HashMap<&str, usize> = HashMap::with_capacity(rules.len());
        for (name, rules) in rules {
            let index = policy.intern(Verdict::from_rules(&rules, default));
            named.insert(name, index);
        }
        let listed = |architecture: Arch| {
            seccomp
                .architectures()
                .iter()
                .flatten()
                .any(|&one| one == architecture)
        };
        for table in family.tables() {
            // libseccomp starts every filter with the kernel's own architecture.
            if table != family.tables()[0] && !listed(table.architecture()) {
                continue;
            }
            let x32 = table == Table::X86_64 && listed(Arch::ScmpArchX32);
            let mut calls = Vec::with_capacity(512);
            table.for_each(|number, name| {
                let gate = match table {
                    Table::X86 => Gate::ALL.iter().position(|gate| gate.name() == name),
                    _ => None,
                };
                let base = gate.map_or_else(|| named.get(name).copied(), |gate| gates[gate]);
                let index = match no_op::class(name) {
                    0 => base,
                    class => no_op::overlay(&mut policy, base, class, identity),
                };
                if let Some(index) = index
                    && (x32 || table != Table::X86_64 || number < table.second_block())
                {
                    calls.push((number, index));
                }
            });
            policy.sections.push(Section { table, x32, calls });
        }
        Ok(policy)
    }
}

/// The alternatives of one entry of `syscalls`.
fn lower(call: &LinuxSyscall) -> Result<Vec<Rule>> {
    let action = action(call.action(), call.errno_ret())?;
    let mut conditions = call
        .args()
        .iter()
        .flatten()
        .map(Condition::from_oci)
        .collect::<Result<Vec<_>>>()?;
    let argument_twice = conditions.iter().enumerate().any(|(at, one)| {
        conditions[..at]
            .iter()
            .any(|other| other.argument == one.argument)
    });
    // runc reads a list that names an argument twice as alternatives, and published policies rely on it.
    if argument_twice {
        return Ok(conditions
            .into_iter()
            .map(|one| Rule {
                conditions: if one.is_void() { vec![] } else { vec![one] },
                action,
            })
            .collect());
    }
    conditions.retain(|condition| !condition.is_void());
    Ok(vec![Rule { conditions, action }])
}

/// The seccomp return value of an action.
fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Result<u32> {
    use LinuxSeccompAction::{ScmpActErrno, ScmpActTrace};
    match errno {
        Some(_) if !matches!(action, ScmpActErrno | ScmpActTrace) => {
            Err(bad_input(format!("seccomp policy: {action} takes no errno")).into())
        }
        // MAX_ERRNO: the kernel would silently return 4095 for more.
        Some(number) if number > 4095 => {
            Err(bad_input(format!("seccomp policy: errno {number} is above 4095")).into())
        }
        _ => Ok(action.as_u32(errno)),
    }
}
