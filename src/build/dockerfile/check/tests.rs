//! Each check by files that it warns of and files that it does not.

use super::super::parse;
use super::*;
use crate::build::ignore::Ignore;
use std::collections::{BTreeMap, BTreeSet};

fn file(text: &str) -> Dockerfile {
    parse("Dockerfile", text.as_bytes()).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn show<'a>(warnings: impl IntoIterator<Item = &'a Diagnostic>) -> Vec<String> {
    let shown = warnings.into_iter().map(|warning| {
        let start = warning.span.start;
        let rule = warning.rule.unwrap_or("-");
        format!(
            "{}:{} {rule}: {}",
            start.line, start.column, warning.message
        )
    });
    shown.collect()
}

/// Files, and what they are warned of.
const CHECKED: &[(&str, &[&str])] = &[
    ("FROM a AS b\nCMD [\"x\"]", &[]),
    (
        "FROM a AS Ab",
        &["1:11 StageNameCasing: Stage name 'Ab' should be lowercase"],
    ),
    (
        "FROM a as b",
        &["1:8 FromAsCasing: 'as' and 'FROM' keywords' casing do not match"],
    ),
    ("from a as b", &[]),
    (
        "FROM a\nRUN x \\\n\n y",
        &["3:1 NoEmptyContinuation: Empty continuation line"],
    ),
    (
        "FROM a\nrun x\nCOPY a b",
        &[
            "2:1 ConsistentInstructionCasing: Command 'run' should match the case of the command majority (uppercase)",
        ],
    ),
    (
        "from a\nrun x\nRun y",
        &[
            "3:1 ConsistentInstructionCasing: Command 'Run' should match the case of the command majority (lowercase)",
        ],
    ),
    (
        "FROM a AS b\nFROM c AS b",
        &["2:11 DuplicateStageName: Duplicate stage name 'b', stage names should be unique"],
    ),
    (
        "FROM a AS scratch",
        &[
            "1:11 ReservedStageName: Stage name should not use the same name as reserved stage \"scratch\"",
        ],
    ),
    (
        "FROM a\nCMD x\nENTRYPOINT y",
        &[
            "2:1 JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals",
            "3:1 JSONArgsRecommended: JSON arguments recommended for ENTRYPOINT to prevent unintended behavior related to OS signals",
        ],
    ),
    ("FROM a AS s\nSHELL [\"x\"]\nCMD x\nFROM s\nCMD y", &[]),
    (
        "FROM a\nMAINTAINER x",
        &["2:1 MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label"],
    ),
    (
        "FROM a\nCMD [\"x\"]\nRUN z\nCMD [\"y\"]\nFROM a\nCMD [\"x\"]",
        &[
            "2:1 MultipleInstructionsDisallowed: Multiple CMD instructions should not be used in the same stage because only the last one will be used",
        ],
    ),
    (
        "FROM a\nENV x y\nLABEL x y",
        &[
            "2:5 LegacyKeyValueFormat: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format",
            "3:7 LegacyKeyValueFormat: \"LABEL key=value\" should be used instead of legacy \"LABEL key value\" format",
        ],
    ),
    (
        "FROM --platform=$TARGETPLATFORM a",
        &[
            "1:17 RedundantTargetPlatform: Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
        ],
    ),
    (
        "FROM --platform=linux/amd64 a AS b",
        &[
            "1:17 FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value \"linux/amd64\"",
        ],
    ),
    (
        "FROM --platform=linux/amd64 a AS build_amd64\nFROM --platform=$BUILDPLATFORM a",
        &[],
    ),
    (
        "ARG API_KEY\nFROM a\nARG github_token=1\nENV x=1 AWS_SECRET=2 PUBLIC_KEY=3 KEYBOARD=4",
        &[
            "1:5 SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ARG \"API_KEY\")",
            "3:5 SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ARG \"github_token\")",
            "4:9 SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ENV \"AWS_SECRET\")",
        ],
    ),
    (
        "FROM a\nCMD [\"x\"] # y",
        &["2:11 -: CMD ignores what stands behind the JSON list"],
    ),
    ("# check=skip=StageNameCasing\nFROM a AS B", &[]),
    ("# check=skip=all\nFROM a as B\nCMD x", &[]),
    ("# words\nFROM a AS b", &[]),
    (
        "# check=experimental=all\n# words\nFROM a AS b\n# c is\nARG c\n# x\n\nARG d\n# no\nARG e f",
        &[
            "2:1 InvalidDefinitionDescription: Comment for FROM should follow the format: `# b <description>`",
            "9:1 InvalidDefinitionDescription: Comment for ARG should follow the format: `# <arg_key> <description>`",
        ],
    ),
];

#[test]
fn checks_of_the_text() {
    for (text, expected) in CHECKED {
        assert_eq!(show(&file(text).warnings), *expected, "{text}");
    }
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn undefined_variables_have_a_place() {
    let file = file("FROM a:$TGA\nRUN x\nENV y=${foo:-1} \\\n  z=$PAHT w=$known");
    let stage = &file.stages[0];
    let span = stage.instructions[1].span;
    let found = file.undefined_variables(
        span,
        &set(&["foo", "PAHT", "known"]),
        &set(&["PATH", "known"]),
    );
    assert_eq!(
        show(&found),
        [
            "4:5 UndefinedVar: Usage of undefined variable '$PAHT' (did you mean $PATH?)",
            "3:7 UndefinedVar: Usage of undefined variable '$foo'"
        ]
    );
    let found = file.undefined_arguments(stage.span, &set(&["TGA"]), &set(&["TAG"]));
    assert_eq!(
        show(&found),
        ["1:8 UndefinedArgInFrom: FROM argument 'TGA' is not declared (did you mean TAG?)"]
    );
}

#[test]
fn bases_are_images_without_build_arguments() {
    let cases = [
        ("ARG TAG\nFROM busybox:${TAG}", true),
        ("ARG TAG=1\nFROM busybox:${TAG}", false),
        ("ARG A=x\nARG B=${A}:1\nFROM $B", false),
        ("ARG VARIANT\nFROM busybox:stable${VARIANT}", false),
        ("FROM alpine:${TAG:-3.14}", false),
        ("ARG BASE\nFROM $BASE", true),
        ("FROM a-$TARGETARCH", false),
        ("FROM UPPER", false),
    ];
    let predefined = BTreeMap::from([("TARGETARCH".to_owned(), "amd64".to_owned())]);
    for (text, expected) in cases {
        let found = show(&file(text).invalid_defaults(&predefined));
        assert_eq!(!found.is_empty(), expected, "{text}: {found:?}");
    }
    assert_eq!(
        show(&file("ARG TAG\nFROM busybox:${TAG}").invalid_defaults(&predefined)),
        [
            "2:6 InvalidDefaultArgInFrom: Default value for ARG busybox:${TAG} results in empty or invalid base image name"
        ]
    );
}

#[test]
fn checks_of_what_is_evaluated() {
    let file = file("FROM a\nWORKDIR x\nCOPY a ./b/ c/d /\nEXPOSE 1:2 80/TCP 80");
    let steps = &file.stages[0].instructions;
    let workdir = |path, based| show(&file.relative_workdir(steps[0].span, path, based));
    assert_eq!(
        workdir("x", false),
        [
            "2:9 WorkdirRelativePath: Relative workdir \"x\" can have unexpected results if the base image changes"
        ]
    );
    assert!(workdir("x", true).is_empty() && workdir("/x", false).is_empty());
    let ignore = Ignore::parse("i", b"a\nb\n!b/c\nc").unwrap();
    let copy = |source| show(&file.ignored_source(steps[1].span, false, source, &ignore));
    assert_eq!(
        copy("a"),
        ["3:6 CopyIgnoredFile: Attempting to Copy file \"a\" that is excluded by .dockerignore"]
    );
    assert_eq!(copy("c/d").len(), 1);
    assert!(copy("./b/").is_empty() && copy("x").is_empty() && copy(".").is_empty());
    let expose = |port| show(&file.exposed(steps[2].span, port));
    assert_eq!(
        expose("1:2"),
        [
            "4:8 ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '1:2'"
        ]
    );
    assert_eq!(
        expose("80/TCP"),
        [
            "4:12 ExposeProtoCasing: Defined protocol '80/TCP' in EXPOSE instruction should be lowercase"
        ]
    );
    assert!(expose("80").is_empty());
    let platform =
        |found| show(&file.base_platform(file.stages[0].span, "a", found, "linux/amd64"));
    assert_eq!(
        platform("linux/arm64"),
        [
            "1:1 InvalidBaseImagePlatform: Base image a was pulled with platform \"linux/arm64\", expected \"linux/amd64\" for current build"
        ]
    );
    assert!(platform("linux/amd64").is_empty());
}
