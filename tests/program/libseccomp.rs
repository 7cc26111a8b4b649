//! Verdicts beside libseccomp's, on random policies and at the edges of their values. The library compiles in a
//! process of its own (`libseccomp.py`), its programs run here.
//!
//! These are not compared, since there the two differ on purpose:
//!
//! - Comparisons by size of one argument with values whose upper halves differ, and rules with several conditions of
//!   which one is by size or `NE`: libseccomp merges them into one tree and loses alternatives; a call that a rule
//!   allows is denied, or the other way round. Here each rule is what it says (seccomp_rule_add(3)).
//! - Two rules with the same conditions and different actions: libseccomp refuses the second; here the stricter one
//!   counts.
//! - Which of several rules with different actions counts if more than one is by size, by a mask or `NE`: the order
//!   depends on how libseccomp has split the values into halves.
//! - A foreign architecture ends the process, and not the thread only; a call that is younger than the policy gets
//!   `ENOSYS` where it would be denied (as runc adds to libseccomp's program).
//! - An allowing rule with arguments for a call behind socketcall(2) or ipc(2) does not open these
//!   (`runtime::seccomp::gate`).

use crate::support::skip;
use interpreter::{Call, check, run};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArgBuilder,
    LinuxSeccompOperator as Operator, LinuxSyscall,
};
use onggi::runtime::seccomp::{Identity, compile};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use seccompiler::sock_filter;
use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

#[path = "../../src/runtime/seccomp/tests/interpreter.rs"]
#[allow(dead_code, reason = "the compiler's own tests use more of it")]
mod interpreter;

const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;
const ALLOWED: u32 = libc::SECCOMP_RET_ALLOW;

const fn denied(errno: u32) -> u32 {
    libc::SECCOMP_RET_ERRNO | errno
}

/// The library, if this host has it.
struct Oracle {
    process: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Oracle {
    fn start() -> Option<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/program/libseccomp.py");
        let mut command = Command::new("python3");
        command.arg(script).stdin(Stdio::piped());
        let mut process = command.stdout(Stdio::piped()).spawn().ok()?;
        let questions = process.stdin.take();
        let answers = BufReader::new(process.stdout.take()?);
        let mut oracle = Self {
            process,
            questions,
            answers,
        };
        let nothing = Policy {
            default: ALLOWED,
            rules: Vec::new(),
        };
        oracle.program(&nothing).map(|_| oracle)
    }

    /// None if the library refuses the policy, or is not there.
    fn program(&mut self, policy: &Policy) -> Option<Vec<sock_filter>> {
        let rules = policy.rules.iter().map(|rule| {
            let comparison = |one: &Comparison| {
                json!([one.argument, number(one.operator), one.value, one.second])
            };
            let comparisons: Vec<_> = rule.comparisons.iter().map(comparison).collect();
            json!([rule.call, rule.action, comparisons])
        });
        let question = json!({
            "default": policy.default, "rules": rules.collect::<Vec<_>>(),
        });
        writeln!(self.questions.as_ref()?, "{question}").ok()?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).ok()?;
        let digits = answer.trim().as_bytes();
        let byte = |pair: &[u8]| {
            let pair = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(pair, 16).ok()
        };
        let bytes: Vec<u8> = digits.chunks(2).map(byte).collect::<Option<_>>()?;
        let instruction = |bytes: &[u8]| sock_filter {
            code: u16::from_ne_bytes([bytes[0], bytes[1]]),
            jt: bytes[2],
            jf: bytes[3],
            k: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        };
        (!bytes.is_empty()).then(|| bytes.chunks(8).map(instruction).collect())
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        drop(self.questions.take());
        let _ = self.process.wait();
    }
}

/// `enum scmp_compare` of seccomp.h.
const fn number(operator: Operator) -> u32 {
    match operator {
        Operator::ScmpCmpNe => 1,
        Operator::ScmpCmpLt => 2,
        Operator::ScmpCmpLe => 3,
        Operator::ScmpCmpEq => 4,
        Operator::ScmpCmpGe => 5,
        Operator::ScmpCmpGt => 6,
        Operator::ScmpCmpMaskedEq => 7,
    }
}

#[derive(Clone, Debug)]
struct Comparison {
    argument: usize,
    operator: Operator,
    value: u64,
    second: u64,
}

#[derive(Clone, Debug)]
struct OneRule {
    call: &'static str,
    action: u32,
    comparisons: Vec<Comparison>,
}

#[derive(Clone, Debug)]
struct Policy {
    default: u32,
    rules: Vec<OneRule>,
}

impl Policy {
    fn to_oci(&self) -> LinuxSeccomp {
        let call = |rule: &OneRule| {
            let argument = |one: &Comparison| {
                let argument = LinuxSeccompArgBuilder::default().index(one.argument);
                let argument = argument.op(one.operator).value(one.value);
                argument.value_two(one.second).build().unwrap()
            };
            let (action, errno) = words(rule.action);
            let mut call = LinuxSyscall::default();
            call.set_names(vec![rule.call.to_owned()])
                .set_action(action)
                .set_errno_ret(errno)
                .set_args(Some(rule.comparisons.iter().map(argument).collect()));
            call
        };
        let (action, errno) = words(self.default);
        // With a young call named, none of the others is younger than the policy.
        let last = call(&OneRule {
            call: "cachestat",
            action: self.default,
            comparisons: Vec::new(),
        });
        let mut seccomp = LinuxSeccomp::default();
        seccomp
            .set_default_action(action)
            .set_default_errno_ret(errno)
            .set_architectures(Some(vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86]))
            .set_listener_path(Some("/nobody".into()))
            .set_syscalls(Some(self.rules.iter().map(call).chain([last]).collect()));
        seccomp
    }
}

fn words(action: u32) -> (LinuxSeccompAction, Option<u32>) {
    let data = action & libc::SECCOMP_RET_DATA;
    match action & libc::SECCOMP_RET_ACTION_FULL {
        libc::SECCOMP_RET_ERRNO => (LinuxSeccompAction::ScmpActErrno, Some(data)),
        libc::SECCOMP_RET_TRACE => (LinuxSeccompAction::ScmpActTrace, Some(data)),
        libc::SECCOMP_RET_KILL_PROCESS => (LinuxSeccompAction::ScmpActKillProcess, None),
        libc::SECCOMP_RET_KILL_THREAD => (LinuxSeccompAction::ScmpActKillThread, None),
        libc::SECCOMP_RET_TRAP => (LinuxSeccompAction::ScmpActTrap, None),
        libc::SECCOMP_RET_LOG => (LinuxSeccompAction::ScmpActLog, None),
        libc::SECCOMP_RET_USER_NOTIF => (LinuxSeccompAction::ScmpActNotify, None),
        _ => (LinuxSeccompAction::ScmpActAllow, None),
    }
}

/// What a policy may consist of so that the two can be compared.
#[derive(Clone, Copy)]
struct Shape {
    operators: &'static [Operator],
    /// Conditions in a rule.
    most: usize,
    /// Rules for one call have one action.
    alike: bool,
}

const EQUALITIES: &[Operator] = &[Operator::ScmpCmpEq, Operator::ScmpCmpMaskedEq];
const ALL: &[Operator] = &[
    Operator::ScmpCmpNe,
    Operator::ScmpCmpLt,
    Operator::ScmpCmpLe,
    Operator::ScmpCmpEq,
    Operator::ScmpCmpGe,
    Operator::ScmpCmpGt,
    Operator::ScmpCmpMaskedEq,
];

/// Each is one that libseccomp gets right.
const SHAPES: [Shape; 4] = [
    Shape {
        operators: ALL,
        most: 1,
        alike: true,
    },
    Shape {
        operators: EQUALITIES,
        most: 3,
        alike: true,
    },
    Shape {
        operators: &[Operator::ScmpCmpEq],
        most: 3,
        alike: false,
    },
    // One rule alone may be of any kind.
    Shape {
        operators: ALL,
        most: 6,
        alike: false,
    },
];

const CALLS: [&str; 4] = ["read", "socket", "shmat", "clone"];

fn any_action() -> impl Strategy<Value = u32> {
    prop::sample::select(vec![
        ALLOWED,
        libc::SECCOMP_RET_KILL_PROCESS,
        denied(1),
        denied(2),
        denied(38),
        libc::SECCOMP_RET_KILL_THREAD,
        libc::SECCOMP_RET_TRAP,
        libc::SECCOMP_RET_LOG,
        libc::SECCOMP_RET_TRACE | 7,
        libc::SECCOMP_RET_USER_NOTIF,
    ])
}

/// Values around which comparisons of two halves go wrong.
fn value() -> impl Strategy<Value = u64> {
    let edges = vec![0, 1, 5, u64::from(u32::MAX), 1 << 32, 5 << 32, u64::MAX];
    (prop::sample::select(edges), 0u64..3)
        .prop_map(|(edge, by)| edge.wrapping_add(by).wrapping_sub(1))
}

fn comparison(operators: &'static [Operator]) -> impl Strategy<Value = Comparison> {
    let operator = prop::sample::select(operators);
    (operator, value(), value()).prop_map(|(operator, value, second)| Comparison {
        argument: 0,
        operator,
        // By size only below 2^32, see above.
        value: match operator {
            Operator::ScmpCmpLt | Operator::ScmpCmpLe => value & u64::from(u32::MAX),
            Operator::ScmpCmpGt | Operator::ScmpCmpGe => value & u64::from(u32::MAX),
            _ => value,
        },
        second,
    })
}

fn policy_of(shape: Shape, single: bool) -> impl Strategy<Value = Policy> {
    let indexes = prop::sample::subsequence(vec![0, 1, 2, 3, 4, 5], 0..=shape.most);
    let comparisons = indexes.prop_flat_map(move |indexes| {
        prop::collection::vec(comparison(shape.operators), indexes.len()).prop_map(
            move |mut comparisons| {
                for (one, &index) in comparisons.iter_mut().zip(&indexes) {
                    one.argument = index;
                }
                comparisons
            },
        )
    });
    let rule = (0..CALLS.len(), any_action(), comparisons);
    let rules = prop::collection::vec(rule, 1..if single { 2 } else { 7 });
    (any_action(), any_action(), rules).prop_map(move |(default, common, rules)| Policy {
        default,
        rules: rules
            .into_iter()
            .map(|(call, action, comparisons)| OneRule {
                call: CALLS[call],
                action: if shape.alike { common } else { action },
                comparisons,
            })
            .collect(),
    })
}

/// Calls on both tables, with values of the policy and beside them as arguments.
fn samples(policy: &Policy, runner: &mut TestRunner) -> Vec<Call> {
    let mut values: Vec<u64> = vec![0, 1, u64::MAX];
    for one in policy.rules.iter().flat_map(|rule| &rule.comparisons) {
        for value in [one.value, one.second, one.value & one.second] {
            values.extend([value, value.wrapping_add(1), value.wrapping_sub(1), !value]);
        }
    }
    let value = prop::sample::select(values);
    let arguments = prop::collection::vec(value, 6);
    let calls = [
        (X86_64, 0),
        (X86_64, 41),
        (X86_64, 30),
        (X86_64, 56),
        (X86, 3),
        (X86, 359),
        (X86, 397),
        (X86, 120),
    ];
    let mut samples = Vec::new();
    for (architecture, number) in calls {
        for _ in 0..24 {
            let drawn = arguments.new_tree(runner).unwrap().current();
            let mut call = Call::new(architecture, number);
            for (index, value) in drawn.into_iter().enumerate() {
                let narrow = value & u64::from(u32::MAX);
                call.arguments[index] = if architecture == X86 { narrow } else { value };
            }
            samples.push(call);
        }
    }
    samples
}

#[test]
#[cfg_attr(not(target_arch = "x86_64"), ignore = "its numbers are those of x86")]
fn libseccomp_decides_alike() {
    let Some(mut oracle) = Oracle::start() else {
        skip("python3 with libseccomp.so.2 is not installed");
        return;
    };
    let mut runner = TestRunner::deterministic();
    let (mut compared, mut refused) = (0, 0);
    for (index, shape) in SHAPES.into_iter().enumerate() {
        let strategy = policy_of(shape, index == SHAPES.len() - 1);
        for _ in 0..150 {
            let policy = strategy.new_tree(&mut runner).unwrap().current();
            let Some(theirs) = oracle.program(&policy) else {
                refused += 1;
                continue;
            };
            let ours = compile(&policy.to_oci(), Identity::Mapped).unwrap();
            check(ours.program());
            for call in samples(&policy, &mut runner) {
                let (ours, theirs) = (run(ours.program(), &call), run(&theirs, &call));
                assert_eq!(ours, theirs, "{call:x?} {policy:x?}");
            }
            compared += 1;
        }
    }
    // Refused are policies that contradict themselves.
    assert!(compared > 500 && refused < 60, "{compared}, {refused}");
}
