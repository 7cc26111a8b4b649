//! The command line of `build`: arguments, secrets, files that it writes, what it refuses, `--check` and `--call`.

use crate::support::{Store, User, everyone, store};

fn one() -> Option<Store> {
    store(User::Root).or_else(|| everyone().next())
}

#[test]
fn arguments_come_from_flags_files_the_environment_and_the_configuration() {
    let Some(store) = one() else { return };
    let file = "FROM scratch\nARG A B C HTTP_PROXY\nLABEL a=$A b=$B c=$C p=$HTTP_PROXY\n";
    store.file("c/Dockerfile", file);
    store.file("arguments", "B=file\nC=file\n");
    let proxies = r#"{"proxies":{"default":{"httpProxy":"http://p:1"}}}"#;
    store.file("docker/config.json", proxies);
    let words = [
        "--config=docker",
        "build",
        "--build-arg=A",
        "--build-arg=C=flag",
        "--build-arg-file=arguments",
        "-t=x",
        "c",
    ];
    store.onggi(words).env("A", "environment").run().code(0);
    let format = "{{json .Config.Labels}}";
    let found = store.onggi(["image", "inspect", "-f", format, "x"]).run();
    let labels = r#"{"a":"environment","b":"file","c":"flag","p":"http://p:1"}"#;
    assert_eq!(found.stdout_text().trim(), labels);
}

#[test]
fn what_cannot_be_is_refused_in_dockers_words() {
    let Some(store) = one() else { return };
    store.file("c/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    for (words, code, told) in [
        (&["--progress=x"][..], 1, "invalid progress mode x"),
        (&["-o=type=x"], 1, "unknown exporter \"x\""),
        (&["-o=type=local"], 1, "dest is required for local output"),
        (&["--push"], 1, "tag is needed when pushing to registry"),
        (&["--push", "-o=out"], 1, "exclude each other"),
        (&["--allow=all"], 1, "unknown entitlement key \"all\""),
        (&["--build-context=x"], 1, "expected key=value"),
        (&["--call=x"], 1, "unknown method \"x\""),
        (&["--attest=mode=max"], 1, "attestation type not specified"),
        (&["--annotation=x"], 1, "invalid annotation"),
        (
            &["--target=nowhere"],
            1,
            "target stage \"nowhere\" could not be found",
        ),
        (
            &["--cache-to=type=gha"],
            125,
            "--cache-to type=gha is not supported yet",
        ),
        (&["--cache-to=type=local"], 1, "requires dest"),
        (&["--cache-to=type=tape"], 1, "unknown cache exporter"),
        (&["--cache-from=type=local,dest=x"], 1, "unexpected key"),
        (&["--squash"], 125, "is not supported yet"),
        (&["--no-such-flag"], 125, "unknown flag: --no-such-flag"),
        (&["--progress=tty"], 1, "failed to get console"),
    ] {
        let outcome = store.onggi(["build"]).args(words).args(["c"]).run();
        outcome.code(code).stderr_has(told);
    }
    let both = store.onggi(["build", "-f", "-", "-"]).run();
    both.code(1)
        .stderr_has("can't use stdin for both build context and dockerfile");
}

#[test]
fn checks_are_told_and_may_be_errors() {
    let Some(store) = one() else { return };
    let file =
        "# base it is\nFROM scratch as Base\nARG V=1\nRUN --mount=type=secret,id=s,required true\n";
    store.file("c/Dockerfile", file);
    store.file("c/good", "FROM scratch\nCOPY good /\n");
    store.file("c/strict", format!("# check=error=true\n{file}"));
    let found = store.onggi(["build", "--check", "c"]).run();
    found
        .code(1)
        .stdout_has("2 warnings have been found!")
        .stdout_has(
            "WARNING: FromAsCasing - https://docs.docker.com/go/dockerfile/rule/from-as-casing/",
        )
        .stdout_has("Dockerfile:2:")
        .stdout_has("FROM scratch as Base");
    let good = store.onggi(["build", "--check", "-f", "c/good", "c"]).run();
    good.code(0).stdout("Check complete, no warnings found.\n");
    let json = store
        .onggi(["build", "--call=check,format=json", "c"])
        .run();
    assert_eq!(json.json()["warnings"][0]["ruleName"], "FromAsCasing");
    let strict = store.onggi(["build", "-f", "c/strict", "c"]).run();
    strict
        .code(1)
        .stderr_has("lint violation found for rules: FromAsCasing, StageNameCasing");
    let outline = store.onggi(["build", "--call=outline", "c"]).run();
    outline.code(0).stdout_has("BUILD ARG").stdout_has("SECRET");
    let targets = store.onggi(["build", "--call=targets", "c"]).run();
    targets.code(0).stdout_has("Base (default)");
}
