//! Templates from a small grammar: statements around expressions around the fields of the canned container.
//! Most of them run; those that fail must fail with Docker's message.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// As many templates, the same each time.
pub fn templates(count: usize) -> Vec<String> {
    let mut runner = TestRunner::deterministic();
    let template = template();
    (0..count)
        .map(|_| template.new_tree(&mut runner).unwrap().current())
        .collect()
}

fn one_of(words: &'static [&'static str]) -> BoxedStrategy<String> {
    prop::sample::select(words).prop_map(str::to_owned).boxed()
}

/// Values that fields and literals give, of all kinds.
fn atom() -> BoxedStrategy<String> {
    one_of(&[
        ".State.Status",
        ".State.Running",
        ".State.Pid",
        ".State.ExitCode",
        ".State.Health.Status",
        ".State.Health",
        ".Config.Labels",
        ".Config.Env",
        ".Config.Cmd",
        ".Config.Volumes",
        ".Config.ExposedPorts",
        ".Config.StopTimeout",
        ".HostConfig.Memory",
        ".HostConfig.Binds",
        ".HostConfig.CapDrop",
        ".HostConfig.PidsLimit",
        ".HostConfig.Init",
        ".HostConfig.RestartPolicy",
        ".HostConfig.OomScoreAdj",
        ".HostConfig.Tmpfs",
        ".NetworkSettings.Ports",
        ".Mounts",
        ".Args",
        ".Name",
        ".RestartCount",
        ".ID",
        "$.Name",
        "$x",
        "1",
        "0",
        "-7",
        "1.5",
        "\"text\"",
        "\"\"",
        "`r\"w`",
        "true",
        "false",
        "'c'",
        "nil",
        "0x1F",
        "1e3",
        ".Nope",
        ".Config.Labels.nope",
        "(index .Config.Labels \"a.b\")",
        "(index .Args 0)",
        "(index .Mounts 1).Name",
        "(index .NetworkSettings.Networks \"back\").IPAddress",
    ])
}

/// What loops go through; numbers are not among it, since only newer clients count.
fn several() -> BoxedStrategy<String> {
    one_of(&[
        ".Args",
        ".Mounts",
        ".Config.Env",
        ".Config.Labels",
        ".Config.Cmd",
        ".Config.Volumes",
        ".HostConfig.CapDrop",
        ".HostConfig.Binds",
        ".HostConfig.Tmpfs",
        ".NetworkSettings.Ports",
        ".Config.ExposedPorts",
        "$.Args",
        ".State.Health.Log",
        ".Name",
        "(split $.Name \"e\")",
        "$.Config.Labels",
        "nil",
        ".State",
    ])
}

fn expression() -> BoxedStrategy<String> {
    let function = one_of(&[
        "len",
        "not",
        "json",
        "upper",
        "lower",
        "title",
        "html",
        "js",
        "urlquery",
        "print",
        "println",
        "printf \"%v\"",
        "printf \"%q\"",
        "printf \"%d\"",
        "printf \"%5s|\"",
        "printf \"%-8v|\"",
        "printf \"%x\"",
        "printf \"%T\"",
        "printf \"%t\"",
        "printf \"%+v\"",
        "printf \"%06d\"",
        "printf \"%.2f\"",
        "printf \"%c\"",
    ]);
    let two = one_of(&[
        "eq",
        "ne",
        "lt",
        "le",
        "gt",
        "ge",
        "and",
        "or",
        "index",
        "print",
        "printf \"%v-%v\"",
        "split",
        "join",
        "printf \"%*d\"",
        "printf \"%s\"",
        "slice",
    ]);
    atom().prop_recursive(3, 12, 3, move |inner| {
        prop_oneof![
            3 => (function.clone(), inner.clone()).prop_map(|(function, value)| format!("({function} {value})")),
            3 => (two.clone(), inner.clone(), inner.clone()).prop_map(|(function, a, b)| format!("({function} {a} {b})")),
            1 => (inner.clone(), function.clone()).prop_map(|(value, function)| format!("({value} | {function})")),
            1 => (one_of(&["eq", "and", "or", "print"]), inner.clone(), inner.clone(), inner)
                .prop_map(|(function, a, b, c)| format!("({function} {a} {b} {c})")),
        ]
    }).boxed()
}

fn template() -> BoxedStrategy<String> {
    let action = (
        one_of(&["{{", "{{- ", "{{"]),
        expression(),
        one_of(&["}}", " -}}", "}}"]),
    )
        .prop_map(|(open, value, close)| format!("{open}{value}{close}"));
    let text = one_of(&[" ", "a", "\n", "옹", "/* */", "\\t", "<&>"]);
    let statement = prop_oneof![3 => action, 2 => text]
        .boxed()
        .prop_recursive(3, 10, 3, |inner| {
            let body = prop::collection::vec(inner, 1..3)
                .prop_map(|parts| parts.concat())
                .boxed();
            prop_oneof![
                (expression(), body.clone(), body.clone()).prop_map(|(test, yes, no)| format!(
                    "{{{{if {test}}}}}{yes}{{{{else}}}}{no}{{{{end}}}}"
                )),
                (expression(), body.clone()).prop_map(|(value, body)| format!(
                    "{{{{with {value}}}}}{body}{{{{.}}}}{{{{end}}}}"
                )),
                (several(), body.clone(), body.clone()).prop_map(|(value, body, no)| format!(
                    "{{{{range {value}}}}}{body}{{{{.}}}}{{{{else}}}}{no}{{{{end}}}}"
                )),
                (several(), body.clone()).prop_map(|(value, body)| format!(
                    "{{{{range $k, $x := {value}}}}}{{{{$k}}}}={body}{{{{end}}}}"
                )),
                (expression(), body)
                    .prop_map(|(value, body)| format!("{{{{$x := {value}}}}}{body}{{{{$x}}}}")),
            ]
        });
    prop::collection::vec(statement, 1..4)
        .prop_map(|parts| format!("{{{{$x := 1}}}}{}", parts.concat()))
        .boxed()
}
