//! The program against a plain model of the rules, run by an interpreter of the few instructions there are; and
//! against the kernel, where this process may load it.

use super::*;
use oci_spec::runtime::LinuxDeviceCgroupBuilder;
use proptest::prelude::*;

/// What the kernel asks about.
#[derive(Clone, Copy, Debug)]
struct Question {
    access: u32,
    kind: u32,
    major: u32,
    minor: u32,
}

/// Runs a program as the kernel would.
fn run(program: &[Instruction], question: Question) -> u32 {
    let mut registers = [0u32; 11];
    let mut at = 0usize;
    loop {
        let one = program[at];
        let (destination, source) = (usize::from(one.registers & 15), one.registers >> 4);
        let constant = one.immediate.cast_unsigned();
        at += 1;
        let mut skip = |taken: bool| {
            assert!(one.offset >= 0, "a jump backwards");
            at += if taken { one.offset as usize } else { 0 };
        };
        match one.code {
            0x61 => {
                assert_eq!(source, 1, "only the argument is read");
                registers[destination] = match one.offset {
                    0 => question.access << 16 | question.kind,
                    4 => question.major,
                    8 => question.minor,
                    other => panic!("a read at {other}"),
                };
            }
            0xb4 | 0xb7 => registers[destination] = constant,
            0x54 => registers[destination] &= constant,
            0x74 => registers[destination] >>= constant,
            0x56 => skip(registers[destination] != constant),
            0x46 => skip(registers[destination] & constant != 0),
            0x05 => skip(true),
            0x95 => return registers[0],
            code => panic!("an unknown instruction {code:#x}"),
        }
    }
}

/// The rules as they are meant: for each kind of access the last rule that speaks of it.
fn model(rules: &[LinuxDeviceCgroup], question: Question) -> bool {
    let letters = [('m', 1), ('r', 2), ('w', 4)];
    letters.iter().all(|(letter, bit)| {
        let speaks = |rule: &&LinuxDeviceCgroup| {
            let kind = match rule.typ() {
                Some(LinuxDeviceType::B) => question.kind == 1,
                Some(LinuxDeviceType::C) => question.kind == 2,
                _ => true,
            };
            let is = |wanted: Option<i64>, number| {
                wanted.is_none_or(|wanted| wanted == -1 || wanted == i64::from(number))
            };
            let access = rule
                .access()
                .as_ref()
                .is_none_or(|text| text.contains(*letter));
            kind && is(rule.major(), question.major) && is(rule.minor(), question.minor) && access
        };
        question.access & bit == 0
            || rules
                .iter()
                .rev()
                .find(speaks)
                .is_some_and(|rule| rule.allow())
    })
}

fn rule(
    allow: bool,
    typ: Option<LinuxDeviceType>,
    major: Option<i64>,
    minor: Option<i64>,
    access: &str,
) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroupBuilder::default()
        .allow(allow)
        .access(access)
        .build()
        .unwrap();
    rule.set_typ(typ);
    rule.set_major(major);
    rule.set_minor(minor);
    rule
}

/// Small numbers, so that rules and questions meet.
fn numbers() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![
        Just(None),
        Just(Some(-1)),
        (0i64..4).prop_map(Some),
        Just(Some(i64::from(u32::MAX)))
    ]
}

fn rules() -> impl Strategy<Value = Vec<LinuxDeviceCgroup>> {
    use LinuxDeviceType::{A, B, C};
    let kinds = prop::sample::select(vec![None, Some(A), Some(B), Some(C)]);
    let access = prop::sample::select(vec!["r", "w", "m", "rw", "rm", "wm", "rwm", ""]);
    let one = (any::<bool>(), kinds, numbers(), numbers(), access)
        .prop_map(|(allow, kind, major, minor, access)| rule(allow, kind, major, minor, access));
    prop::collection::vec(one, 0..12)
}

proptest! {
    #[test]
    fn the_program_says_what_the_rules_say(
        rules in rules(),
        access in 0u32..8,
        kind in 1u32..3,
        major in prop_oneof![0u32..4, Just(u32::MAX)],
        minor in prop_oneof![0u32..4, Just(u32::MAX)],
    ) {
        let question = Question { access, kind, major, minor };
        let answer = run(&program(&rules).unwrap(), question);
        prop_assert_eq!(answer, u32::from(model(&rules, question)));
    }
}

#[test]
fn the_word_for_any_type_is_no_kind_of_access() {
    use LinuxDeviceType::C;
    let programs =
        ["rwa", "rw"].map(|access| program(&[rule(true, Some(C), Some(1), None, access)]).unwrap());
    assert_eq!(programs[0], programs[1]);
}

#[test]
fn what_is_no_rule_is_refused() {
    use LinuxDeviceType::{C, P};
    for (broken, why) in [
        (
            rule(true, Some(C), Some(-2), None, "r"),
            "-2 is no device number",
        ),
        (
            rule(true, Some(C), None, Some(1 << 32), "r"),
            "4294967296 is no device number",
        ),
        (
            rule(true, Some(C), None, None, "rx"),
            "`x` is no kind of access",
        ),
        (rule(true, Some(P), None, None, "r"), "a pipe is no device"),
    ] {
        let error = program(&[broken]).unwrap_err();
        assert_eq!(error.root_cause().to_string(), why);
    }
}

/// The kernel takes any of the programs, and has of each what decides as ours.
#[test]
fn the_kernel_accepts_the_programs() {
    use LinuxDeviceType::{B, C};
    let many = (0..1000).map(|minor| {
        rule(
            minor % 3 != 0,
            Some(C),
            Some(minor % 7),
            Some(minor),
            ["r", "rw", "m"][minor as usize % 3],
        )
    });
    let cases = [
        vec![],
        vec![rule(true, None, None, None, "rwm")],
        vec![rule(false, None, None, None, "rwm")],
        vec![
            rule(true, Some(B), None, None, "m"),
            rule(true, Some(C), Some(1), Some(3), "rwm"),
        ],
        many.collect(),
    ];
    for rules in cases {
        let ours = program(&rules).unwrap();
        let loaded = match bpf::load_device_filter(&ours, NAME) {
            // Where bpf(2) is forbidden, the tests in the virtual machine show it.
            Err(Errno::PERM | Errno::NOSYS) => return,
            loaded => loaded.unwrap(),
        };
        let Ok(kept) = bpf::instructions(loaded.as_fd()) else {
            continue;
        };
        for index in 0..2000u32 {
            let question = Question {
                access: index % 8,
                kind: 1 + index % 2,
                major: index % 9,
                minor: index,
            };
            assert_eq!(run(&kept, question), run(&ours, question), "{question:?}");
        }
    }
}
