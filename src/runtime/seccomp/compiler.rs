//! From verdicts to a classic BPF program: a binary search over ranges of system call numbers for each
//! architecture. seccomp(2), linux/seccomp.h.
//!
//! ```text
//! load architecture ─▶ x86_64 ─▶ load number ─▶ binary search ─▶ return, or the arguments of this call
//!                   ├▶ i386   ─▶ load number ─▶ …
//!                   └▶ any other: the process is killed
//! ```
//!
//! Invariant: only instructions that the kernel can evaluate ahead of time stand before a verdict that does not
//! look at arguments; such calls then skip the filter altogether (seccomp_cache_prepare in kernel/seccomp.c).

use super::assembler::{Assembler, Compare, Target};
use super::policy::{Condition, Policy, Rule, Section, Test, Verdict, errno};
use super::syscall_table::{Table, X32_BIT};
use seccompiler::BpfProgram;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// A program for another architecture's calls, which no rule has looked at.
const FOREIGN: Target = Target::Return(libc::SECCOMP_RET_KILL_PROCESS);

/// How many single numbers a leaf of the search tree sorts out one after the other.
const EXCEPTIONS: usize = 3;

/// The program that carries out `policy`.
pub(super) fn compile(policy: &Policy) -> BpfProgram {
    let mut assembler = Assembler::default();
    let mut entry = FOREIGN;
    // From the end: the kernel's own architecture comes last and so stands first.
    for section in policy.sections.iter().rev() {
        let body = write_section(&mut assembler, policy, section);
        entry = assembler.branch(
            Compare::Equal,
            section.table.audit_architecture(),
            body,
            entry,
        );
    }
    let entry = assembler.load(ARCHITECTURE, entry);
    assembler.finish(entry)
}

fn write_section(assembler: &mut Assembler, policy: &Policy, section: &Section) -> Target {
    let narrow = section.table.is_narrow();
    let mut ranges = Ranges::default();
    let beyond = beyond(policy);
    let fill = |ranges: &mut Ranges, next: u32, end: u32| {
        if next < end && next <= section.table.second_block() && section.table.second_block() <= end
        {
            // No call in between exists yet: like those after the last one.
            ranges.push(next, beyond);
        } else if next < end {
            ranges.push(next, Target::Return(policy.default()));
        }
    };
    let mut targets: Vec<Option<Target>> = vec![None; policy.verdicts.len()];
    let mut next = 0;
    for &(number, index) in &section.calls {
        let target = *targets[index]
            .get_or_insert_with(|| write_verdict(assembler, &policy.verdicts[index], narrow));
        fill(&mut ranges, next, number);
        ranges.push(number, target);
        next = number + 1;
    }
    ranges.push(next, beyond);
    let search = write_search(assembler, &ranges.leaves());
    if section.table != Table::X86_64 {
        return assembler.load(NUMBER, search);
    }
    if section.x32 {
        let search = assembler.and(!X32_BIT, search);
        return assembler.load(NUMBER, search);
    }
    // A tracer that cancels a call sets its number to -1, which is no x32 call.
    let default = Target::Return(policy.default());
    let x32 = assembler.branch(Compare::Equal, u32::MAX, default, FOREIGN);
    let search = assembler.branch(Compare::AtLeast, X32_BIT, x32, search);
    assembler.load(NUMBER, search)
}

/// The verdict on numbers above all that the policy names. A policy that denies what it does not know answers
/// `ENOSYS` for calls younger than itself, so that C libraries fall back to an older call; runc does the same.
fn beyond(policy: &Policy) -> Target {
    let default = policy.default();
    let denies = matches!(
        default & libc::SECCOMP_RET_ACTION_FULL,
        libc::SECCOMP_RET_ERRNO
            | libc::SECCOMP_RET_TRAP
            | libc::SECCOMP_RET_KILL_THREAD
            | libc::SECCOMP_RET_KILL_PROCESS
    );
    Target::Return(if denies { errno(libc::ENOSYS) } else { default })
}

/// Neighbouring numbers with the same target, ascending from 0; each reaches to the next.
#[derive(Default)]
struct Ranges(Vec<(u32, Target)>);

/// A range in which a few single numbers go elsewhere.
struct Leaf {
    start: u32,
    target: Target,
    exceptions: Vec<(u32, Target)>,
}

impl Ranges {
    fn push(&mut self, start: u32, target: Target) {
        if self.0.last().is_none_or(|&(_, last)| last != target) {
            self.0.push((start, target));
        }
    }

    /// A single number between two equal ranges costs one comparison as an exception, two as a range.
    fn leaves(&self) -> Vec<Leaf> {
        let mut leaves: Vec<Leaf> = Vec::with_capacity(self.0.len());
        let mut at = 0;
        while let Some(&(start, target)) = self.0.get(at) {
            let after = self.0.get(at + 1);
            match (leaves.last_mut(), after) {
                (Some(leaf), Some(&(end, same)))
                    if end == start + 1
                        && same == leaf.target
                        && leaf.exceptions.len() < EXCEPTIONS =>
                {
                    leaf.exceptions.push((start, target));
                    at += 2;
                }
                _ => {
                    leaves.push(Leaf {
                        start,
                        target,
                        exceptions: Vec::new(),
                    });
                    at += 1;
                }
            }
        }
        leaves
    }
}

/// The number is in the accumulator.
fn write_search(assembler: &mut Assembler, leaves: &[Leaf]) -> Target {
    if let [leaf] = leaves {
        return leaf
            .exceptions
            .iter()
            .fold(leaf.target, |no, &(number, yes)| {
                assembler.branch(Compare::Equal, number, yes, no)
            });
    }
    let (lower, upper) = leaves.split_at(leaves.len() / 2);
    let above = write_search(assembler, upper);
    let below = write_search(assembler, lower);
    assembler.branch(Compare::AtLeast, upper[0].start, above, below)
}

fn write_verdict(assembler: &mut Assembler, verdict: &Verdict, narrow: bool) -> Target {
    let otherwise = Target::Return(verdict.otherwise);
    let alike = |one: &Rule, other: &Rule| {
        one.action == other.action && choice(one).is_some() && choice(one) == choice(other)
    };
    let groups: Vec<&[Rule]> = verdict.rules.chunk_by(alike).collect();
    groups.into_iter().rev().fold(otherwise, |no, group| {
        let yes = Target::Return(group[0].action);
        if group.len() > 1 {
            return write_choices(assembler, group, narrow, yes, no);
        }
        let conditions = group[0].conditions.iter().rev();
        conditions.fold(yes, |yes, condition| {
            write_condition(assembler, condition, narrow, yes, no)
        })
    })
}

/// Of a rule that wants one value of one argument: the argument, and the upper half of the value.
fn choice(rule: &Rule) -> Option<(u32, u32)> {
    match rule.conditions[..] {
        [
            Condition {
                argument,
                test:
                    Test::Bits {
                        mask: u64::MAX,
                        value,
                    },
                negated: false,
            },
        ] => Some((argument, (value >> 32) as u32)),
        _ => None,
    }
}

/// Rules of the same [`choice`] share what they load; neighbouring values are a range.
fn write_choices(
    assembler: &mut Assembler,
    rules: &[Rule],
    narrow: bool,
    yes: Target,
    no: Target,
) -> Target {
    let Some((argument, high)) = choice(&rules[0]) else {
        return no;
    };
    let value = |rule: &Rule| match rule.conditions[0].test {
        Test::Bits { value, .. } | Test::Above(value) | Test::AtLeast(value) => value as u32,
    };
    let mut values: Vec<u32> = rules.iter().map(value).collect();
    values.sort_unstable();
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for value in values {
        match ranges.last_mut() {
            Some((_, last)) if value - *last <= 1 => *last = value,
            _ => ranges.push((value, value)),
        }
    }
    let offset = ARGUMENTS + 8 * argument;
    let search = ranges.into_iter().fold(no, |next, (first, last)| {
        if first == last {
            return assembler.branch(Compare::Equal, first, yes, next);
        }
        // What is above this range has been looked for already.
        let inside = assembler.branch(Compare::Greater, last, no, yes);
        assembler.branch(Compare::AtLeast, first, inside, next)
    });
    let search = assembler.load(offset, search);
    if narrow {
        return search;
    }
    let search = assembler.branch(Compare::Equal, high, search, no);
    assembler.load(offset + 4, search)
}

/// Compares an argument in two halves, since the accumulator holds 32 bits. Where arguments are narrow the values are
/// so, too: -1 in 64 bits is -1 in 32, as in libseccomp.
fn write_condition(
    assembler: &mut Assembler,
    condition: &Condition,
    narrow: bool,
    yes: Target,
    no: Target,
) -> Target {
    let (yes, no) = if condition.negated {
        (no, yes)
    } else {
        (yes, no)
    };
    let low = ARGUMENTS + 8 * condition.argument;
    let high = low + 4;
    let halves = |value: u64| ((value >> 32) as u32, value as u32);
    match condition.test {
        Test::Bits { mask, value } => {
            let ((high_mask, low_mask), (high_value, low_value)) = (halves(mask), halves(value));
            let lower = write_bits(assembler, low, low_mask, low_value, yes, no);
            match narrow {
                true => lower,
                false => write_bits(assembler, high, high_mask, high_value, lower, no),
            }
        }
        Test::Above(value) | Test::AtLeast(value) => {
            let (high_value, low_value) = halves(value);
            let compare = match condition.test {
                Test::Above(_) => Compare::Greater,
                _ => Compare::AtLeast,
            };
            let lower = assembler.branch(compare, low_value, yes, no);
            let lower = assembler.load(low, lower);
            if narrow {
                return lower;
            }
            let equal = assembler.branch(Compare::Equal, high_value, lower, no);
            let upper = assembler.branch(Compare::Greater, high_value, yes, equal);
            assembler.load(high, upper)
        }
    }
}

/// The bits of `mask` in the word at `offset` are those of `value`.
fn write_bits(
    assembler: &mut Assembler,
    offset: u32,
    mask: u32,
    value: u32,
    yes: Target,
    no: Target,
) -> Target {
    if mask == 0 {
        return yes;
    }
    let test = assembler.branch(Compare::Equal, value, yes, no);
    let test = if mask == u32::MAX {
        test
    } else {
        assembler.and(mask, test)
    };
    assembler.load(offset, test)
}
