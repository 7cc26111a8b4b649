//! Instructions and variables, one by one, by what becomes of the image.

use crate::support::{Store, User, everyone_with_alpine};
use serde_json::{Value, json};

fn one() -> Option<Store> {
    everyone_with_alpine().next()
}

#[track_caller]
fn build(store: &Store, options: &[&str], file: &str) {
    store.file("context/Dockerfile", file);
    let words = ["build", "-q", "-t", "app"];
    store
        .onggi(words)
        .args(options)
        .args(["context"])
        .run()
        .code(0);
}

/// A field of the image's config.
#[track_caller]
fn config(store: &Store, field: &str) -> Value {
    let format = format!("{{{{json .Config.{field}}}}}");
    store
        .onggi(["image", "inspect", "-f", &format, "app"])
        .run()
        .json()
}

#[track_caller]
fn labels(store: &Store, options: &[&str], file: &str) -> Value {
    build(store, options, file);
    config(store, "Labels")
}

#[test]
fn variables_have_all_modifiers_of_the_shell() {
    let Some(store) = one() else { return };
    let file = r#"FROM scratch
ENV path=/usr/lib/libc.so.6 empty= version=1.2.3
LABEL default=${none:-d} unset=${none-d} set=${empty-d} empty=${empty:-d} other=${path:+yes} no=${none+yes} \
      first=${path#*/} last=${path##*/} begin=${path%/*} least=${path%%/*}. \
      once=${version/./-} all=${version//./-} nested=${none:-${version}} demanded=${version:?missing} \
      quoted='$version' escaped=\$version joined="a ${version} b"
"#;
    let expected = json!({
        "default": "d", "unset": "d", "set": "", "empty": "d", "other": "yes", "no": "",
        "first": "usr/lib/libc.so.6", "last": "libc.so.6", "begin": "/usr/lib", "least": ".",
        "once": "1-2.3", "all": "1-2-3", "nested": "1.2.3", "demanded": "1.2.3",
        "quoted": "$version", "escaped": "$version", "joined": "a 1.2.3 b",
    });
    assert_eq!(labels(&store, &[], file), expected);
}

#[test]
fn variables_are_expanded_where_docker_does() {
    let Some(store) = one() else { return };
    store.file("context/f", "f");
    let file = "ARG TAG=3.20\nFROM alpine:$TAG AS base\nFROM base\nENV D=/dir U=7:8 P=80 S=SIGQUIT F=f V=/vol\nWORKDIR $D\nUSER $U\nEXPOSE $P/udp\n\
                STOPSIGNAL $S\nCOPY $F ${F}2\nADD $F /added/$F\nVOLUME $V\nENV A=$D/$F A2=${A}x\nONBUILD ENV X=$D\n\
                CMD [\"$D\"]\n";
    build(&store, &[], file);
    for (field, expected) in [
        ("WorkingDir", json!("/dir")),
        ("User", json!("7:8")),
        ("ExposedPorts", json!({"80/udp": {}})),
        ("StopSignal", json!("SIGQUIT")),
        ("Volumes", json!({"/vol": {}})),
        ("OnBuild", json!(["ENV X=$D"])),
        ("Cmd", json!(["$D"])),
    ] {
        assert_eq!(config(&store, field), expected, "{field}");
    }
    let variables = config(&store, "Env").to_string();
    // What an instruction sets is seen from the next one on.
    assert!(
        variables.contains("A=/dir/f") && variables.contains("A2=x"),
        "{variables}"
    );
    let words = ["run", "--rm", "app", "cat", "/dir/f2", "/added/f"];
    store.onggi(words).run().code(0).stdout("ff");
}

#[test]
fn arguments_have_scopes() {
    let Some(store) = one() else { return };
    let file = "ARG G=global\nARG H=$G-h\nFROM scratch AS one\nARG G\nARG L=local\nARG E=arg\nENV E=env\nLABEL a=$G b=$L c=$E d=[$H]\n\
                FROM one\nLABEL e=[$G] f=[$L] g=$E\nARG L=again\nARG H\nLABEL h=$L i=$H\n";
    let expected = json!({
        "a": "global", "b": "local", "c": "env", "d": "[]",
        // A stage on another one has its variables and its arguments.
        "e": "[global]", "f": "[local]", "g": "env", "h": "again", "i": "global-h",
    });
    let found = labels(&store, &[], file);
    assert_eq!(found, expected);
    let given = labels(&store, &["--build-arg=G=given", "--build-arg=E=no"], file);
    assert_eq!(given["a"], "given");
    assert_eq!(given["i"], "given-h");
    assert_eq!(given["c"], "env");
}

#[test]
fn platforms_are_arguments_that_are_there() {
    let Some(store) = one() else { return };
    let file = "FROM scratch\nARG BUILDPLATFORM BUILDOS BUILDARCH TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT TARGETSTAGE\n\
                LABEL b=$BUILDPLATFORM bo=$BUILDOS ba=$BUILDARCH t=$TARGETPLATFORM to=$TARGETOS ta=$TARGETARCH tv=$TARGETVARIANT s=$TARGETSTAGE\n";
    let found = labels(&store, &["--platform=linux/arm/v6"], file);
    let host = onggi::image::platform::Platform::host();
    let expected = json!({
        "b": host.to_string(), "bo": "linux", "ba": host.architecture,
        "t": "linux/arm/v6", "to": "linux", "ta": "arm", "tv": "v6", "s": "default",
    });
    assert_eq!(found, expected);
    // Those of FROM need no ARG.
    let file = "FROM --platform=$BUILDPLATFORM alpine:3.20 AS tools\nRUN uname -m > /m\nFROM scratch\nCOPY --from=tools /m /m-$TARGETARCH\n";
    store.file("context/Dockerfile", file);
    store
        .onggi(["build", "--platform=linux/arm64", "-o=out", "context"])
        .run()
        .code(0);
    let machine = std::fs::read_to_string(store.home().join("out/m-")).unwrap();
    assert_eq!(machine.trim(), std::env::consts::ARCH);
}

#[test]
fn a_shell_is_what_the_file_says() {
    let Some(store) = one() else { return };
    let file = "FROM alpine:3.20\nSHELL [\"/bin/sh\", \"-c\", \"echo shell:$0 > /told; eval \\\"$0\\\"\"]\nRUN echo run >> /told\n\
                FROM alpine:3.20\nCOPY --from=0 /told /told\nSHELL [\"/bin/ash\", \"-e\", \"-c\"]\nCMD cat /told\nHEALTHCHECK CMD true\n";
    build(&store, &[], file);
    assert_eq!(
        config(&store, "Cmd"),
        json!(["/bin/ash", "-e", "-c", "cat /told"])
    );
    let told = store.onggi(["run", "--rm", "app"]).run();
    told.code(0).stdout("shell:echo run >> /told\nrun\n");
}

#[test]
fn what_is_changed_in_a_volume_stays() {
    for store in everyone_with_alpine() {
        let file = "FROM alpine:3.20\nRUN mkdir /v && echo before > /v/before\nVOLUME /v\nRUN echo after > /v/after && rm /v/before\n\
                    CMD [\"ls\", \"/v\"]\n";
        build(&store, &[], file);
        store
            .onggi(["run", "--rm", "app"])
            .run()
            .code(0)
            .stdout("after\n");
    }
}

#[test]
fn what_a_base_image_says_is_overridden() {
    let Some(store) = one() else { return };
    let base = "FROM scratch\nCMD [\"base\"]\nENTRYPOINT [\"entry\"]\nENV A=1 B=1\nLABEL a=1 b=1\nEXPOSE 1\nVOLUME /1\nWORKDIR /w\nUSER 7\n\
                HEALTHCHECK --interval=5s --timeout=4s --start-period=3s --start-interval=2s --retries=1 CMD [\"x\"]\nSTOPSIGNAL 9\nMAINTAINER me\n";
    build(&store, &[], base);
    let health = json!({
        "Test": ["CMD", "x"], "Interval": 5_000_000_000_i64, "Timeout": 4_000_000_000_i64,
        "StartPeriod": 3_000_000_000_i64, "StartInterval": 2_000_000_000_i64, "Retries": 1,
    });
    assert_eq!(config(&store, "Healthcheck"), health);
    let author = store.ok(["image", "inspect", "-f", "{{.Author}}", "app"]);
    assert_eq!(author, "me\n");
    store.ok(["tag", "app", "base"]);
    build(
        &store,
        &[],
        "FROM base\nENTRYPOINT [\"other\"]\nENV B=2\nLABEL b=2\nEXPOSE 2\nVOLUME /2\nHEALTHCHECK NONE\nWORKDIR sub\n",
    );
    for (field, expected) in [
        // Another entry point leaves nothing of the command that was meant for the first.
        ("Cmd", Value::Null),
        ("Entrypoint", json!(["other"])),
        (
            "Env",
            json!([
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "A=1",
                "B=2"
            ]),
        ),
        ("Labels", json!({"a": "1", "b": "2"})),
        ("ExposedPorts", json!({"1/tcp": {}, "2/tcp": {}})),
        ("Volumes", json!({"/1": {}, "/2": {}})),
        ("Healthcheck", json!({"Test": ["NONE"]})),
        ("WorkingDir", json!("/w/sub")),
        ("User", json!("7")),
        ("StopSignal", json!("9")),
    ] {
        assert_eq!(config(&store, field), expected, "{field}");
    }
    build(&store, &[], "FROM base\nCMD [\"mine\"]\n");
    assert_eq!(config(&store, "Cmd"), json!(["mine"]));
    assert_eq!(config(&store, "Entrypoint"), json!(["entry"]));
}

#[test]
fn triggers_copy_of_the_context_that_they_come_to_and_end_there() {
    for store in everyone_with_alpine() {
        let base = "FROM alpine:3.20\nONBUILD COPY mine /mine\nONBUILD RUN <<EOF\ncat /mine > /read\nEOF\nONBUILD ARG A=1\nONBUILD LABEL a=$A\n";
        build(&store, &[], base);
        store.ok(["tag", "app", "base"]);
        store.file("context/mine", "mine\n");
        build(
            &store,
            &["--build-arg=A=2"],
            "FROM base\nCMD [\"cat\", \"/read\"]\n",
        );
        store
            .onggi(["run", "--rm", "app"])
            .run()
            .code(0)
            .stdout("mine\n");
        assert_eq!(config(&store, "Labels"), json!({"a": "2"}));
        assert_eq!(config(&store, "OnBuild"), Value::Null);
        store.file("context/Dockerfile", "FROM base\n");
        std::fs::remove_file(store.home().join("context/mine")).unwrap();
        let failed = store.onggi(["build", "--no-cache", "context"]).run();
        failed.code(1).stderr_has("\"/mine\": not found");
    }
}

const HEREDOCS: &str = r#"FROM alpine:3.20
ARG WHO=world
RUN <<EOF
set -e
cd /tmp
echo "shell $WHO" > /told
EOF
RUN <<'SCRIPT'
#!/usr/bin/awk BEGIN{print "awk" >> "/told"}
SCRIPT
RUN cat <<ONE - <<-TWO >> /told
one $WHO
ONE
	two
	TWO
COPY <<file.txt <<"literal" /texts/
hello $WHO
file.txt
literal $WHO
literal
ADD --chmod=600 --chown=7:8 <<EOF /added
added ${WHO:+yes}
EOF
CMD ["sh", "-c", "cat /told /texts/file.txt /texts/literal /added; stat -c '%a %u' /added"]
"#;

#[test]
fn heredocs_are_scripts_input_and_files() {
    for store in everyone_with_alpine() {
        build(&store, &["--build-arg=WHO=you"], HEREDOCS);
        let owner = if store.user == User::Single { 0 } else { 7 };
        let expected =
            format!("shell you\nawk\ntwo\nhello you\nliteral $WHO\nadded yes\n600 {owner}\n");
        store
            .onggi(["run", "--rm", "app"])
            .run()
            .code(0)
            .stdout(&expected);
    }
}

#[test]
fn directives_and_comments_and_continued_lines() {
    let Some(store) = one() else { return };
    let file = "# syntax=docker/dockerfile:1\n# escape=`\n# check=skip=all\nfrom scratch\nlabel a=x `\n  # a comment inside\n\n  b=y` z `\n  c=\\d\n";
    let expected = json!({"a": "x", "b": "y z", "c": "\\d"});
    assert_eq!(labels(&store, &[], file), expected);
}

#[test]
fn all_that_can_be_said_of_an_image_and_nothing_done() {
    let Some(store) = one() else { return };
    build(&store, &[], "FROM scratch\n");
    let layers = store.ok(["image", "inspect", "-f", "{{json .RootFS.Layers}}", "app"]);
    assert!(["[]\n", "null\n"].contains(&&*layers), "{layers}");
    build(
        &store,
        &[],
        "FROM scratch\nEXPOSE 9000-9002/tcp 53/udp\nUSER 1\nCMD echo $HOME\n",
    );
    let ports = json!({"53/udp": {}, "9000/tcp": {}, "9001/tcp": {}, "9002/tcp": {}});
    assert_eq!(config(&store, "ExposedPorts"), ports);
    assert_eq!(
        config(&store, "Cmd"),
        json!(["/bin/sh", "-c", "echo $HOME"])
    );
}
