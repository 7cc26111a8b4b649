//! Rules with arguments: against seccompiler on random ones, against plain evaluation on random tables; and what is
//! made of several rules for one call, as `tests/program/libseccomp.rs` finds it on random ones.

use super::policy::{Condition, Rule, Section, Test, Verdict};
use super::syscall_table::Table;
use super::*;
use interpreter::{check, run};
use proptest::prelude::*;
use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};
use std::collections::BTreeMap;

/// Values around which comparisons of two halves go wrong.
fn value() -> impl Strategy<Value = u64> {
    let edge = prop_oneof![
        Just(0),
        Just(1),
        Just(u64::from(u32::MAX)),
        Just(1 << 32),
        Just(u64::MAX),
        0u64..64
    ];
    (edge, 0u64..3, any::<bool>()).prop_map(|(edge, by, up)| {
        if up {
            edge.wrapping_add(by)
        } else {
            edge.wrapping_sub(by)
        }
    })
}

fn condition() -> impl Strategy<Value = Condition> {
    (0u32..6, value(), value(), 0..3, any::<bool>()).prop_map(
        |(argument, value, mask, kind, negated)| {
            let condition = match kind {
                0 => Condition::bits(argument, if negated { u64::MAX } else { mask }, value),
                1 => Condition::above(argument, value),
                _ => Condition::at_least(argument, value),
            };
            if negated { condition.not() } else { condition }
        },
    )
}

fn arguments() -> impl Strategy<Value = [u64; 6]> {
    [value(), value(), value(), value(), value(), value()]
}

fn to_seccompiler(condition: &Condition) -> SeccompCondition {
    let (operator, value) = match (condition.test, condition.negated) {
        (Test::Bits { value, .. }, true) => (SeccompCmpOp::Ne, value),
        (Test::Bits { mask, value }, false) => (SeccompCmpOp::MaskedEq(mask), value),
        (Test::Above(value), false) => (SeccompCmpOp::Gt, value),
        (Test::Above(value), true) => (SeccompCmpOp::Le, value),
        (Test::AtLeast(value), false) => (SeccompCmpOp::Ge, value),
        (Test::AtLeast(value), true) => (SeccompCmpOp::Lt, value),
    };
    SeccompCondition::new(
        condition.argument as u8,
        SeccompCmpArgLen::Qword,
        operator,
        value,
    )
    .unwrap()
}

/// `width`: the bits that an argument has.
fn holds(condition: &Condition, arguments: &[u64; 6], width: u64) -> bool {
    let argument = arguments[condition.argument as usize] & width;
    let holds = match condition.test {
        Test::Bits { mask, value } => argument & mask == value & width,
        Test::Above(value) => argument > value & width,
        Test::AtLeast(value) => argument >= value & width,
    };
    holds != condition.negated
}

/// What a verdict means, in the plainest words.
fn evaluate(verdict: &Verdict, arguments: &[u64; 6], width: u64) -> u32 {
    let matching = verdict.rules.iter().find(|rule| {
        let mut conditions = rule.conditions.iter();
        conditions.all(|one| holds(one, arguments, width))
    });
    matching.map_or(verdict.otherwise, |rule| rule.action)
}

fn single_table(table: Table, x32: bool, default: u32, calls: BTreeMap<u32, Verdict>) -> Policy {
    let mut policy = Policy::new(default);
    let calls = calls
        .into_iter()
        .map(|(number, verdict)| (number, policy.intern(verdict)))
        .collect();
    policy.sections.push(Section { table, x32, calls });
    policy
}

/// A handful of verdicts, some with rules, among which random tables choose.
fn verdict() -> impl Strategy<Value = Verdict> {
    let action = prop_oneof![
        Just(ALLOWED),
        Just(denied(1)),
        Just(denied(38)),
        Just(0x7ff0_0007u32)
    ];
    let rule = (prop::collection::vec(condition(), 1..3), action.clone());
    let rule = rule.prop_map(|(conditions, action)| Rule { conditions, action });
    (prop::collection::vec(rule, 0..3), action)
        .prop_map(|(rules, otherwise)| Verdict { rules, otherwise })
}

proptest! {
    // A failure is printed with its input; no file of old failures is kept.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn seccompiler_decides_alike(
        rules in prop::collection::btree_map(
            0u32..12,
            prop::collection::vec(prop::collection::vec(condition(), 1..4), 0..4),
            0..6,
        ),
        samples in prop::collection::vec((0u32..13, arguments()), 32),
    ) {
        let theirs = rules.iter().map(|(&number, alternatives)| {
            let rule = |conditions: &Vec<Condition>| {
                SeccompRule::new(conditions.iter().map(to_seccompiler).collect()).unwrap()
            };
            (i64::from(number), alternatives.iter().map(rule).collect())
        });
        let theirs: BpfProgram =
            SeccompFilter::new(theirs.collect(), SeccompAction::Errno(1), SeccompAction::Allow, TargetArch::x86_64)
                .unwrap()
                .try_into()
                .unwrap();
        let ours = rules.into_iter().map(|(number, alternatives)| {
            // Without alternatives seccompiler takes the call as it is.
            let otherwise = if alternatives.is_empty() { ALLOWED } else { denied(1) };
            let rule = |conditions| Rule { conditions, action: ALLOWED };
            (number, Verdict { rules: alternatives.into_iter().map(rule).collect(), otherwise })
        });
        let mut policy = single_table(Table::X86_64, false, denied(1), ours.collect());
        // The one thing in which they differ on purpose: numbers above all named.
        policy.sections[0].calls.push((13, 0));
        let ours = compiler::compile(&policy);
        check(&ours);
        for (number, arguments) in samples {
            let call = Call { number, architecture: X86_64, arguments };
            prop_assert_eq!(run(&ours, &call), run(&theirs, &call), "{:x?}", call);
        }
    }

    #[test]
    fn long_programs_reach_every_verdict(
        verdicts in prop::collection::vec(verdict(), 1..24),
        choices in prop::collection::btree_map(0u32..547, any::<prop::sample::Index>(), 0..500),
        other in prop::collection::btree_map(0u32..400, any::<prop::sample::Index>(), 0..300),
        x32 in any::<bool>(),
        samples in prop::collection::vec((0u32..560, arguments()), 64),
    ) {
        let choose = |choices: &BTreeMap<u32, prop::sample::Index>| -> BTreeMap<u32, Verdict> {
            choices.iter().map(|(&number, index)| (number, index.get(&verdicts).clone())).collect()
        };
        let (first, second) = (choose(&choices), choose(&other));
        let default = denied(1);
        let mut policy = single_table(Table::X86_64, x32, default, first.clone());
        let calls = second.iter().map(|(&number, verdict)| (number, policy.intern(verdict.clone()))).collect();
        policy.sections.push(Section { table: Table::X86, x32: false, calls });
        let program = compiler::compile(&policy);
        check(&program);
        let expect = |calls: &BTreeMap<u32, Verdict>, number: u32, arguments: &[u64; 6], block: u32, width: u64| {
            if let Some(verdict) = calls.get(&number) {
                return evaluate(verdict, arguments, width);
            }
            let before = calls.range(..number).next_back().map_or(0, |(before, _)| before + 1);
            let last = calls.last_key_value().is_none_or(|(&last, _)| last < number);
            let crossing = calls.range(number..).next().is_some_and(|(&next, _)| before <= block && block <= next);
            if last || crossing { denied(libc::ENOSYS) } else { default }
        };
        for (number, arguments) in samples {
            let call = Call { number, architecture: X86_64, arguments };
            prop_assert_eq!(run(&program, &call), expect(&first, number, &arguments, 512, u64::MAX), "{:x?}", call);
            let marked = Call { number: number | syscall_table::X32_BIT, ..call };
            let verdict = if x32 { run(&program, &call) } else { KILLED };
            prop_assert_eq!(run(&program, &marked), verdict, "{:x?}", marked);
            let width = u64::from(u32::MAX);
            let arguments = arguments.map(|argument| argument & width);
            let narrow = Call { number, architecture: X86, arguments };
            prop_assert_eq!(run(&program, &narrow), expect(&second, number, &arguments, u32::MAX, width), "{:x?}", narrow);
        }
    }
}

/// The verdicts of a policy for socket(2) on x86_64, by its first two arguments.
fn socket(rules: &str, first: u64, second: u64) -> u32 {
    let json = format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{rules}]}}"#);
    let program = program_for(&policy(&json), Identity::Mapped, Family::X86);
    check(&program);
    run(
        &program,
        &Call::new(X86_64, 41).with(0, first).with(1, second),
    )
}

#[test]
fn overlapping_rules_decide_as_in_libseccomp() {
    let allow = r#"{"names":["socket"],"action":"SCMP_ACT_ALLOW"}"#;
    let allow_below_10 = r#"{"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":10,"op":"SCMP_CMP_LT"}]}"#;
    let allow_5 = r#"{"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":5,"op":"SCMP_CMP_EQ"}]}"#;
    let deny_5 = r#"{"names":["socket"],"action":"SCMP_ACT_ERRNO","errnoRet":2,
        "args":[{"index":0,"value":5,"op":"SCMP_CMP_EQ"}]}"#;
    let deny_below_10 = r#"{"names":["socket"],"action":"SCMP_ACT_ERRNO","errnoRet":2,
        "args":[{"index":0,"value":10,"op":"SCMP_CMP_LT"}]}"#;
    let default_5 = r#"{"names":["socket"],"action":"SCMP_ACT_ERRNO","errnoRet":1,
        "args":[{"index":0,"value":5,"op":"SCMP_CMP_EQ"}]}"#;
    let default = r#"{"names":["socket"],"action":"SCMP_ACT_ERRNO"}"#;
    let deny_second_1 = r#"{"names":["socket"],"action":"SCMP_ACT_ERRNO","errnoRet":2,
        "args":[{"index":1,"value":1,"op":"SCMP_CMP_EQ"}]}"#;
    let both = |one: &str, other: &str, first: u64, second: u64, verdict: u32| {
        for rules in [format!("{one},{other}"), format!("{other},{one}")] {
            assert_eq!(
                socket(&rules, first, second),
                verdict,
                "{first} {second} {rules}"
            );
        }
    };
    // Without arguments a rule decides alone, wherever it stands.
    both(deny_5, allow, 5, 0, ALLOWED);
    // Else an exception before its range, whatever is stricter.
    both(deny_5, allow_below_10, 5, 0, denied(2));
    both(deny_5, allow_below_10, 4, 0, ALLOWED);
    both(deny_5, allow_below_10, 20, 0, denied(1));
    both(deny_below_10, allow_5, 5, 0, ALLOWED);
    both(deny_below_10, allow_5, 4, 0, denied(2));
    // The stricter of two for the same values, which libseccomp refuses.
    both(deny_5, allow_5, 5, 0, denied(2));
    // A later argument before an earlier one.
    both(deny_second_1, allow_5, 5, 1, denied(2));
    // A rule for the default action counts for nothing.
    both(default_5, allow_below_10, 5, 0, ALLOWED);
    both(default, allow_below_10, 5, 0, ALLOWED);
    both(default, allow_below_10, 20, 0, denied(1));
    both(deny_second_1, allow_5, 5, 0, ALLOWED);
    both(deny_second_1, allow_5, 3, 1, denied(2));
    both(deny_second_1, allow_5, 3, 0, denied(1));
    // Values are 64 bits wide.
    both(deny_5, allow_below_10, 1 << 32 | 5, 0, denied(1));
}

#[test]
fn conditions_of_one_rule_are_joined_unless_they_share_an_argument() {
    let rule = |second_index: u32| {
        format!(
            r#"{{"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[{{"index":0,"value":2,"op":"SCMP_CMP_GE"}},
            {{"index":{second_index},"value":7,"op":"SCMP_CMP_EQ"}}]}}"#
        )
    };
    assert_eq!(socket(&rule(1), 3, 7), ALLOWED);
    assert_eq!(socket(&rule(1), 3, 8), denied(1));
    assert_eq!(socket(&rule(1), 1, 7), denied(1));
    // runc: alternatives.
    assert_eq!(socket(&rule(0), 3, 0), ALLOWED);
    assert_eq!(socket(&rule(0), 1, 0), denied(1));
}

#[test]
fn operators_are_read_as_runtime_spec_means_them() {
    let with = |operator: &str, value: u64, second: &str, argument: u64| {
        let rule = format!(
            r#"{{"names":["socket"],"action":"SCMP_ACT_ALLOW",
            "args":[{{"index":0,"value":{value},"op":"SCMP_CMP_{operator}"{second}}}]}}"#
        );
        socket(&rule, argument, 0) == ALLOWED
    };
    for (operator, below, equal, above) in [
        ("EQ", false, true, false),
        ("NE", true, false, true),
        ("LT", true, false, false),
        ("LE", true, true, false),
        ("GT", false, false, true),
        ("GE", false, true, true),
    ] {
        let found = [6, 7, 8].map(|argument| with(operator, 7, "", argument));
        assert_eq!(found, [below, equal, above], "{operator}");
    }
    // `value` is the mask; bits of `valueTwo` outside of it do not count, as in libseccomp.
    for (argument, allowed) in [(4, true), (5, true), (20, true), (6, false), (0, false)] {
        assert_eq!(
            with("MASKED_EQ", 6, r#","valueTwo":5"#, argument),
            allowed,
            "{argument}"
        );
    }
}

#[test]
fn actions_become_the_kernels_values() {
    for (action, value) in [
        (r#""SCMP_ACT_KILL""#, 0),
        (r#""SCMP_ACT_KILL_THREAD""#, 0),
        (r#""SCMP_ACT_KILL_PROCESS""#, 0x8000_0000),
        (r#""SCMP_ACT_TRAP""#, 0x0003_0000),
        (r#""SCMP_ACT_ERRNO""#, 0x0005_0001),
        (r#""SCMP_ACT_ERRNO","errnoRet":38"#, 0x0005_0026),
        (r#""SCMP_ACT_ERRNO","errnoRet":0"#, 0x0005_0000),
        (r#""SCMP_ACT_TRACE""#, 0x7ff0_0001),
        (r#""SCMP_ACT_TRACE","errnoRet":7"#, 0x7ff0_0007),
        (r#""SCMP_ACT_LOG""#, 0x7ffc_0000),
        (r#""SCMP_ACT_ALLOW""#, 0x7fff_0000),
        (r#""SCMP_ACT_NOTIFY""#, 0x7fc0_0000),
    ] {
        let rule = format!(r#"{{"names":["socket"],"action":{action}}}"#);
        assert_eq!(socket(&rule, 0, 0), value, "{action}");
    }
}

#[test]
fn what_cannot_be_carried_out_is_refused() {
    for (rule, reason) in [
        (
            r#""action":"SCMP_ACT_ALLOW","errnoRet":1"#,
            "SCMP_ACT_ALLOW takes no errno",
        ),
        (
            r#""action":"SCMP_ACT_ERRNO","errnoRet":4096"#,
            "errno 4096 is above 4095",
        ),
        (
            r#""action":"SCMP_ACT_ALLOW","args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]"#,
            "argument index 6 is not one of 0 to 5",
        ),
    ] {
        let json = format!(
            r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{{"names":["socket"],{rule}}}]}}"#
        );
        let error = compile(&policy(&json), Identity::Mapped)
            .unwrap_err()
            .to_string();
        assert_eq!(error, format!("seccomp policy: {reason}"));
    }
    // 90 rules of six conditions for each of a hundred calls.
    let condition =
        |index: u32| format!(r#"{{"index":{index},"value":4294967297,"op":"SCMP_CMP_EQ"}}"#);
    let conditions: Vec<String> = (0..6).map(condition).collect();
    let rule = |name: &str| {
        let conditions = conditions.join(",");
        format!(r#"{{"names":["{name}"],"action":"SCMP_ACT_ALLOW","args":[{conditions}]}}"#)
    };
    let rules = vec![rule("socket"); 200].join(",");
    let json = format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{rules}]}}"#);
    let error = compile(&policy(&json), Identity::Mapped)
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with("instructions, the kernel takes 4096"),
        "{error}"
    );
}

#[test]
fn architectures_are_those_listed_and_the_own_one() {
    let verdicts = |architectures: &str| {
        let json = format!(
            r#"{{"defaultAction":"SCMP_ACT_ERRNO",{architectures}
            "syscalls":[{{"names":["read","no_such_call","set_tls"],"action":"SCMP_ACT_ALLOW"}}]}}"#
        );
        let program = program_for(&policy(&json), Identity::Mapped, Family::X86);
        let calls = [
            Call::new(X86_64, 0),
            Call::new(X86, 3),
            Call::new(X86_64, syscall_table::X32_BIT),
            Call::new(AARCH64, 63),
        ];
        calls.map(|call| run(&program, &call))
    };
    assert_eq!(verdicts(""), [ALLOWED, KILLED, KILLED, KILLED]);
    assert_eq!(
        verdicts(r#""architectures":["SCMP_ARCH_X86","SCMP_ARCH_MIPS"],"#),
        [ALLOWED, ALLOWED, KILLED, KILLED]
    );
    assert_eq!(
        verdicts(r#""architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X32"],"#),
        [ALLOWED, KILLED, ALLOWED, KILLED]
    );
}

/// The verdicts of a policy for one call of i386, by its first argument.
fn narrow(default: &str, rules: &str, number: u32, first: u64) -> u32 {
    let json = format!(
        r#"{{"defaultAction":"SCMP_ACT_{default}","architectures":["SCMP_ARCH_X86"],"syscalls":[{rules}]}}"#
    );
    let program = program_for(&policy(&json), Identity::Mapped, Family::X86);
    check(&program);
    run(&program, &Call::new(X86, number).with(0, first))
}

#[test]
fn what_is_said_of_a_call_holds_behind_its_gate() {
    const SOCKETCALL: u32 = 102;
    const IPC: u32 = 117;
    let deny = |name: &str, arguments: &str| {
        format!(r#"{{"names":["{name}"],"action":"SCMP_ACT_ERRNO","errnoRet":9{arguments}}}"#)
    };
    let allow = |name: &str, arguments: &str| {
        format!(r#"{{"names":["{name}"],"action":"SCMP_ACT_ALLOW"{arguments}}}"#)
    };
    let unix = r#","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]"#;
    for arguments in ["", unix] {
        let rules = deny("socket", arguments);
        assert_eq!(narrow("ALLOW", &rules, SOCKETCALL, 1), denied(9));
        assert_eq!(narrow("ALLOW", &rules, SOCKETCALL, 2), ALLOWED);
    }
    // Allowing AF_UNIX does not allow every family.
    assert_eq!(
        narrow("ERRNO", &allow("socket", ""), SOCKETCALL, 1),
        ALLOWED
    );
    assert_eq!(
        narrow("ERRNO", &allow("socket", unix), SOCKETCALL, 1),
        denied(1)
    );
    // What is said of the gate itself, and its other arguments.
    let rules = format!("{},{}", allow("socketcall", ""), deny("socket", ""));
    assert_eq!(narrow("ERRNO", &rules, SOCKETCALL, 1), ALLOWED);
    let shmat = deny("shmat", "");
    for (number, verdict) in [(21, denied(9)), (1 << 16 | 21, denied(9)), (22, ALLOWED)] {
        assert_eq!(narrow("ALLOW", &shmat, IPC, number), verdict);
    }
    // Nothing is said of it.
    assert_eq!(narrow("ALLOW", &deny("read", ""), IPC, 21), ALLOWED);
}

#[test]
fn a_cancelled_call_is_no_x32_call() {
    let program = program_for(
        &policy(r#"{"defaultAction":"SCMP_ACT_ERRNO"}"#),
        Identity::Mapped,
        Family::X86,
    );
    assert_eq!(run(&program, &Call::new(X86_64, u32::MAX)), denied(1));
    assert_eq!(run(&program, &Call::new(X86_64, u32::MAX - 1)), KILLED);
}

#[test]
fn only_denying_policies_answer_enosys_for_younger_calls() {
    for (default, verdict) in [
        (r#""SCMP_ACT_ERRNO""#, denied(libc::ENOSYS)),
        (r#""SCMP_ACT_KILL_PROCESS""#, denied(libc::ENOSYS)),
        (r#""SCMP_ACT_ALLOW""#, ALLOWED),
        (r#""SCMP_ACT_LOG""#, 0x7ffc_0000),
    ] {
        let json = format!(
            r#"{{"defaultAction":{default},"syscalls":[{{"names":["read"],"action":"SCMP_ACT_TRAP"}}]}}"#
        );
        let program = program_for(&policy(&json), Identity::Mapped, Family::X86);
        assert_eq!(run(&program, &Call::new(X86_64, 1)), verdict, "{default}");
    }
}

#[test]
fn flags_are_passed_on() {
    let flags = |json: &str| {
        let json = format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW"{json}}}"#);
        compile(&policy(&json), Identity::Mapped).map(|filter| filter.flags)
    };
    assert_eq!(flags("").unwrap(), libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW);
    assert_eq!(flags(r#","flags":[]"#).unwrap(), 0);
    let both = r#","flags":["SECCOMP_FILTER_FLAG_LOG","SECCOMP_FILTER_FLAG_TSYNC"]"#;
    assert_eq!(
        flags(both).unwrap(),
        libc::SECCOMP_FILTER_FLAG_LOG | libc::SECCOMP_FILTER_FLAG_TSYNC
    );
    assert!(flags(r#","flags":["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]"#).is_err());
}
