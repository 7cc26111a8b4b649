//! The filter for devices of a cgroup: which nodes its processes may make, read and write.
//!
//! OCI rules (runtime-spec, config-linux.md "Allowed Device list") become a program of type
//! `BPF_PROG_TYPE_CGROUP_DEVICE` (linux/bpf.h, `struct bpf_cgroup_dev_ctx`). The kernel runs it for each open(2) and
//! mknod(2) of a device. Which rules there are is decided elsewhere.
//!
//! Each kind of access is decided by the last rule that speaks of it; what no rule speaks of is denied.
//!
//! Invariant: the program only jumps forwards and reads the numbers anew before it compares them, so that the kernel's check
//! of it takes time in proportion to the number of rules.

use crate::sys::bpf::{self, Instruction};
use anyhow::{Context, Result, anyhow};
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd};

/// Name of our programs, as `bpftool prog` shows it.
const NAME: &str = "onggi_devices";

const MAKE: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;
const ALL: u32 = MAKE | READ | WRITE;

/// `BPF_DEVCG_DEV_BLOCK` and `BPF_DEVCG_DEV_CHAR`.
const BLOCK: u32 = 1;
const CHARACTER: u32 = 2;

/// Where `struct bpf_cgroup_dev_ctx` has the access in its upper and the type in its lower half, and the numbers.
const ACCESS_AND_TYPE: i16 = 0;
const MAJOR: i16 = 4;
const MINOR: i16 = 8;

/// Registers: the answer, the argument, what is looked at, the access that no rule has spoken of yet.
const ANSWER: u8 = 0;
const ARGUMENT: u8 = 1;
const VALUE: u8 = 2;
const OPEN: u8 = 3;

const LOAD_WORD: u8 = (libc::BPF_LDX | libc::BPF_MEM | libc::BPF_W) as u8;
const MOVE: u8 = (libc::BPF_ALU | 0xb0 | libc::BPF_K) as u8;
const AND: u8 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u8;
const SHIFT_RIGHT: u8 = (libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K) as u8;
/// Comparisons of 32 bits (`BPF_JMP32`).
const IF_NOT_EQUAL: u8 = 0x06 | 0x50;
const IF_ANY_BIT: u8 = 0x06 | libc::BPF_JSET as u8;
const JUMP: u8 = (libc::BPF_JMP | libc::BPF_JA) as u8;
const EXIT: u8 = (libc::BPF_JMP | 0x90) as u8;

/// Character devices that every container may use: null, zero, full, random, urandom, tty, console, ptmx, and the
/// terminals of its own devpts. As in runc 1.2, tun is none of them.
const ALLOWED: [(i64, i64); 9] = [
    (1, 3),
    (1, 5),
    (1, 7),
    (1, 8),
    (1, 9),
    (5, 0),
    (5, 1),
    (5, 2),
    (136, -1),
];

/// What every container may do, whatever else it may.
pub fn everybodys() -> Vec<LinuxDeviceCgroup> {
    use LinuxDeviceType::{B, C};
    // A node that cannot be opened does no harm.
    let mut rules = vec![
        rule(true, Some(C), -1, -1, "m"),
        rule(true, Some(B), -1, -1, "m"),
    ];
    rules.extend(ALLOWED.map(|(major, minor)| rule(true, Some(C), major, minor, "rwm")));
    rules
}

/// One rule; -1 stands for all numbers, and no kind for all devices.
pub fn rule(
    allow: bool,
    kind: Option<LinuxDeviceType>,
    major: i64,
    minor: i64,
    access: &str,
) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(allow);
    rule.set_typ(Some(kind.unwrap_or(LinuxDeviceType::A)));
    rule.set_major(Some(major).filter(|number| *number != -1));
    rule.set_minor(Some(minor).filter(|number| *number != -1));
    rule.set_access(Some(access.to_owned()));
    rule
}

/// Whether the kernel keeps to the rules.
#[derive(Debug)]
pub enum Enforcement {
    /// It does.
    InForce,
    /// This process may not load filters, or the kernel knows none; why.
    Impossible(anyhow::Error),
}

/// Makes the kernel keep to these rules in a new cgroup: those of an older filter would hold too.
pub fn attach(cgroup: BorrowedFd<'_>, rules: &[LinuxDeviceCgroup]) -> Result<Enforcement> {
    let instructions = program(rules)?;
    let filter = match bpf::load_device_filter(&instructions, NAME) {
        // A kernel without such filters says that it does not know the type.
        Err(error @ (Errno::PERM | Errno::NOSYS | Errno::INVAL)) => {
            return Ok(Enforcement::Impossible(
                anyhow!(error).context("load the filter for devices"),
            ));
        }
        filter => filter.context("load the filter for devices")?,
    };
    match bpf::attach_device_filter(cgroup, filter.as_fd()) {
        // A cgroup above it wants to be the only one that decides.
        Err(error @ Errno::PERM) => {
            return Ok(Enforcement::Impossible(
                anyhow!(error).context("attach the filter for devices"),
            ));
        }
        attached => attached.context("attach the filter for devices")?,
    }
    Ok(Enforcement::InForce)
}

/// The program for these rules.
fn program(rules: &[LinuxDeviceCgroup]) -> Result<Vec<Instruction>> {
    let mut program = vec![
        load(OPEN, ACCESS_AND_TYPE),
        on(SHIFT_RIGHT, OPEN, 16),
        on(AND, OPEN, ALL),
    ];
    // From the last rule to the first: what one has decided, those before it are not asked.
    let mut read = Vec::new();
    for rule in rules.iter().rev() {
        let rule = Rule::read(rule).with_context(|| format!("read the device rule `{rule}`"))?;
        read.push(rule);
        if rule.is_for_all() {
            break;
        }
    }
    read.chunks(NEIGHBOURS)
        .for_each(|rules| program.extend(of_kinds(rules)));
    if read
        .last()
        .is_some_and(|last| last.is_for_all() && last.allow)
    {
        // Nothing comes after it, and the kernel takes no instructions that are never reached.
        return Ok(program);
    }
    // Whoever asks for nothing is denied nothing, as stat(2) never asks.
    program.extend([
        on(MOVE, ANSWER, 0),
        jump(IF_ANY_BIT, OPEN, ALL, 1),
        on(MOVE, ANSWER, 1),
        exit(),
    ]);
    Ok(program)
}

/// So many rules at most are skipped by one jump, whose length is a number of 16 bits.
const NEIGHBOURS: usize = 1000;

/// Rules one after the other. What neighbours have in common is looked at once: each branch costs the kernel's check of the
/// program about a microsecond.
fn of_kinds(rules: &[Rule]) -> Vec<Instruction> {
    let kinds = rules.chunk_by(|one, next| one.kind == next.kind);
    let of_kind = |rules: &[Rule]| {
        let majors = rules.chunk_by(|one, next| one.major == next.major);
        let of_major = |rules: &[Rule]| {
            let minors = rules.iter();
            let one = |rule: &Rule| provided(MINOR, None, rule.minor, rule.verdict());
            provided(MAJOR, None, rules[0].major, minors.flat_map(one).collect())
        };
        let all = majors.flat_map(of_major).collect();
        provided(ACCESS_AND_TYPE, Some(0xffff), rules[0].kind, all)
    };
    kinds.flat_map(of_kind).collect()
}

/// Instructions that are skipped unless a value is the wanted one, if any is.
fn provided(
    offset: i16,
    mask: Option<u32>,
    wanted: Option<u32>,
    instructions: Vec<Instruction>,
) -> Vec<Instruction> {
    let Some(wanted) = wanted else {
        return instructions;
    };
    let mut all = vec![load(VALUE, offset)];
    all.extend(mask.map(|mask| on(AND, VALUE, mask)));
    all.push(jump(IF_NOT_EQUAL, VALUE, wanted, instructions.len() as i16));
    all.extend(instructions);
    all
}

/// A rule in the kernel's words; `None` stands for all.
#[derive(Clone, Copy, Debug)]
struct Rule {
    allow: bool,
    kind: Option<u32>,
    major: Option<u32>,
    minor: Option<u32>,
    access: u32,
}

impl Rule {
    fn read(rule: &LinuxDeviceCgroup) -> Result<Self> {
        let number = |value: Option<i64>| match value {
            None | Some(-1) => Ok(None),
            Some(value) => u32::try_from(value)
                .map(Some)
                .map_err(|_| anyhow!("{value} is no device number")),
        };
        let access = match rule.access().as_deref() {
            None => ALL,
            Some(letters) => letters.chars().try_fold(0, |sum, letter| match letter {
                'r' => Ok(sum | READ),
                'w' => Ok(sum | WRITE),
                'm' => Ok(sum | MAKE),
                // The word for any type stands here in some configurations, and says nothing.
                'a' => Ok(sum),
                other => Err(anyhow!("`{other}` is no kind of access")),
            })?,
        };
        Ok(Self {
            allow: rule.allow(),
            kind: match rule.typ() {
                None | Some(LinuxDeviceType::A) => None,
                Some(LinuxDeviceType::B) => Some(BLOCK),
                Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(CHARACTER),
                Some(LinuxDeviceType::P) => return Err(anyhow!("a pipe is no device")),
            },
            major: number(rule.major())?,
            minor: number(rule.minor())?,
            access,
        })
    }

    /// Whether nothing is left for the rules before it.
    fn is_for_all(&self) -> bool {
        (self.kind, self.major, self.minor, self.access) == (None, None, None, ALL)
    }

    /// What it decides for a device that it speaks of; the next rule's instructions follow.
    fn verdict(&self) -> Vec<Instruction> {
        let decide = |answer| [on(MOVE, ANSWER, answer), exit()];
        match (self.allow, self.access) {
            (true, ALL) => decide(1).to_vec(),
            (true, access) => {
                // What is still open after this is for the rules before it.
                let mut verdict = vec![on(AND, OPEN, !access), jump(IF_ANY_BIT, OPEN, ALL, 2)];
                verdict.extend(decide(1));
                verdict
            }
            (false, access) => {
                let mut verdict = vec![jump(IF_ANY_BIT, OPEN, access, 1), jump(JUMP, 0, 0, 2)];
                verdict.extend(decide(0));
                verdict
            }
        }
    }
}

fn load(register: u8, offset: i16) -> Instruction {
    Instruction {
        code: LOAD_WORD,
        registers: register | ARGUMENT << 4,
        offset,
        immediate: 0,
    }
}

fn on(code: u8, register: u8, constant: u32) -> Instruction {
    jump(code, register, constant, 0)
}

fn jump(code: u8, register: u8, constant: u32, offset: i16) -> Instruction {
    Instruction {
        code,
        registers: register,
        offset,
        immediate: constant.cast_signed(),
    }
}

fn exit() -> Instruction {
    on(EXIT, 0, 0)
}

#[cfg(test)]
mod tests;
