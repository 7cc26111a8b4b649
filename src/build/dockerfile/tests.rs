//! The language as a whole: texts of many styles, what they come to, and what wrong ones are told.

use super::instruction::*;
use super::*;

fn read(text: &str) -> Dockerfile {
    parse("Dockerfile", text.as_bytes()).unwrap_or_else(|errors| panic!("{errors:?}\n{text}"))
}

fn instruction(line: &str) -> Instruction {
    let mut file = read(&format!("FROM a\n{line}\n"));
    file.stages.remove(0).instructions.remove(0).instruction
}

/// `LINE:COLUMN-END: message (hint)` of each error.
fn errors(bytes: &[u8]) -> Vec<String> {
    let errors = parse("Dockerfile", bytes).expect_err("an error");
    let shown = errors.iter().map(|error| {
        assert!(error.hint.is_some(), "{error:?}");
        let (start, end) = (error.span.start, error.span.end);
        format!(
            "{}:{}-{}:{}: {}",
            start.line, start.column, end.line, end.column, error.message
        )
    });
    shown.collect()
}

#[test]
fn a_file_of_every_style() {
    let text = "\u{feff}# syntax=docker/dockerfile:1-labs\r\n# escape=\\\r\n\r\nARG VERSION=1 \\\r\n  OTHER\r\n\
        from --platform=$BUILDPLATFORM debian:$VERSION as Build\r\n\
        RUN apt-get update && \\\r\n    # a comment\r\n\r\n    apt-get install -y x \\  \r\n  # another\r\n && true\r\n\
        \tcopy --from=0 a \\\r\n b /c/\r\nFROM scratch\r\nENTRYPOINT [\"/x\"]";
    let file = read(text);
    assert_eq!(
        file.directives.syntax.as_deref(),
        Some("docker/dockerfile:1-labs")
    );
    let names: Vec<&str> = file
        .arguments
        .iter()
        .map(|it| it.value.name.as_str())
        .collect();
    assert_eq!(names, ["VERSION", "OTHER"]);
    let stage = &file.stages[0];
    assert_eq!(stage.name.as_deref(), Some("Build"));
    assert_eq!(stage.base, "debian:$VERSION");
    assert_eq!(stage.platform.as_deref(), Some("$BUILDPLATFORM"));
    assert_eq!(
        stage.instructions[0].text,
        "RUN apt-get update &&     apt-get install -y x  && true"
    );
    let span = stage.instructions[0].span;
    assert_eq!(
        (span.start.line, span.start.column, span.end.line),
        (7, 1, 12)
    );
    assert_eq!(stage.instructions[1].span.start.column, 2);
    assert_eq!(file.stages[1].base, "scratch");
}

#[test]
fn the_escape_character_can_be_a_backquote() {
    let file = read("# escape=`\nFROM a\nRUN dir C:\\ `\n  && x\nCOPY a`` b\nENV x=a` b y=c\n");
    let steps = &file.stages[0].instructions;
    assert_eq!(steps[0].text, "RUN dir C:\\   && x");
    assert_eq!(steps[1].text, "COPY a`` b");
    let Instruction::Env(pairs) = &steps[2].instruction else {
        panic!("{:?}", steps[2]);
    };
    assert_eq!(pairs[0].1, "a` b");
}

#[test]
fn two_escape_characters_do_not_continue() {
    let file = read("FROM a\nRUN echo \\\\\nRUN b\n");
    assert_eq!(file.stages[0].instructions.len(), 2);
}

#[test]
fn a_file_may_end_within_a_line() {
    for text in [
        "FROM a\\",
        "FROM a\\\n",
        "FROM a \\\n\n",
        "FROM a\n\\",
        "\\\nFROM a",
    ] {
        assert_eq!(read(text).stages[0].base, "a", "{text:?}");
    }
}

#[test]
fn heredocs_are_scripts_files_and_input() {
    let run = |line: &str| match instruction(line) {
        Instruction::Run(run) => run,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        run("RUN <<EOF\necho a\n\tb\nEOF").program(),
        Program::Shell("echo a\n\tb\n".to_owned())
    );
    let script = run("RUN --network=none <<-\"EOF\"\n\t#!/usr/bin/python3\n\tprint()\n\tEOF");
    match script.program() {
        Program::Script(heredoc) => assert_eq!(heredoc.content, "#!/usr/bin/python3\nprint()\n"),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        run("RUN cat <<A <<'B' > /x\n$a\nA\n# b\n\nB").program(),
        Program::Shell("cat <<A <<'B' > /x\n$a\nA\n# b\n\nB".to_owned())
    );
    let Instruction::Copy(copy) =
        instruction("COPY --chmod=755 <<a.txt x <<\"b\" /d/\n1 $x\\\na.txt\n2\nb")
    else {
        panic!("no COPY");
    };
    assert_eq!(copy.sources, ["x"]);
    assert_eq!(copy.destination, "/d/");
    let heredoc = |name: &str, content: &str, expand| Heredoc {
        name: name.to_owned(),
        content: content.to_owned(),
        expand,
    };
    assert_eq!(
        copy.heredocs,
        [
            heredoc("a.txt", "1 $x\\\n", true),
            heredoc("b", "2\n", false)
        ]
    );
    let Instruction::OnBuild(trigger) = instruction("ONBUILD RUN <<E\nx\nE") else {
        panic!("no ONBUILD");
    };
    assert_eq!(trigger, "RUN <<E\nx\nE");
    let step = parse_instruction("onbuild", &trigger).unwrap();
    assert!(step.on_build);
    match step.instruction {
        Instruction::Run(run) => assert_eq!(run.program(), Program::Shell("x\n".to_owned())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_space_may_stand_before_the_name_of_a_heredoc() {
    let file = read(
        "FROM a\nRUN cat << EOF > /x\n1\nEOF\nRUN <<- 'EOF'\n\t2\n\tEOF\nCOPY << EOF /y\n3\nEOF\nRUN echo $(( 1 << 2 ))\n",
    );
    let programs = file.stages[0]
        .instructions
        .iter()
        .map(|step| match &step.instruction {
            Instruction::Run(run) => format!("{:?}", run.program()),
            Instruction::Copy(copy) => format!(
                "{} {:?} {}",
                copy.heredocs[0].content, copy.sources, copy.destination
            ),
            other => panic!("{other:?}"),
        });
    let programs: Vec<_> = programs.collect();
    assert_eq!(
        programs,
        [
            "Shell(\"cat << EOF > /x\\n1\\nEOF\")",
            "Shell(\"2\\n\")",
            "3\n [] /y",
            "Shell(\"echo $(( 1 << 2 ))\")",
        ]
    );
}

#[test]
fn heredocs_keep_their_line_ends() {
    let file = parse("x", b"FROM a\r\nCOPY <<E /x\r\na\r\nb\r\nE\r\nRUN c\r\n").unwrap();
    let Instruction::Copy(copy) = &file.stages[0].instructions[0].instruction else {
        panic!("no COPY");
    };
    assert_eq!(copy.heredocs[0].content, "a\r\nb\r\n");
    assert_eq!(file.stages[0].instructions.len(), 2);
}

#[test]
fn instructions_in_all_forms() {
    let cases = [
        (r#"CMD ["a", "b c"]"#, r#"Cmd(Exec(["a", "b c"]))"#),
        ("CMD []", "Cmd(Exec([]))"),
        ("CMD echo  $x", r#"Cmd(Shell("echo  $x"))"#),
        ("cmd ['a']", r#"Cmd(Shell("['a']"))"#),
        ("ENTRYPOINT [ \"a\" ]", r#"Entrypoint(Exec(["a"]))"#),
        ("ENV a b  c", r#"Env([("a", "b  c")])"#),
        (
            "ENV a=b c=\"d e\" f=g\\ h i=",
            r#"Env([("a", "b"), ("c", "\"d e\""), ("f", "g\\ h"), ("i", "")])"#,
        ),
        (
            "LABEL \"a b\"=c d='e'",
            r#"Label([("\"a b\"", "c"), ("d", "'e'")])"#,
        ),
        ("LABEL a b=c", r#"Label([("a", "b=c")])"#),
        (
            "EXPOSE 80 $PORT/udp  1-3",
            r#"Expose(["80", "$PORT/udp", "1-3"])"#,
        ),
        ("VOLUME /a /b", r#"Volume(["/a", "/b"])"#),
        (r#"VOLUME ["/a b"]"#, r#"Volume(["/a b"])"#),
        ("WORKDIR /a b ", r#"Workdir("/a b")"#),
        ("USER $u:g", r#"User("$u:g")"#),
        ("STOPSIGNAL SIGKILL", r#"StopSignal("SIGKILL")"#),
        ("MAINTAINER O'Brien <x@y>", r#"Maintainer("O'Brien <x@y>")"#),
        (r#"SHELL ["/bin/sh", "-c"]"#, r#"Shell(["/bin/sh", "-c"])"#),
        ("ONBUILD copy . /x", r#"OnBuild("copy . /x")"#),
        ("HEALTHCHECK NONE", "Healthcheck(None)"),
        (
            "HEALTHCHECK --interval=5m --timeout=3s --start-period=1s --start-interval=1s --retries=3 CMD curl x",
            r#"Healthcheck(Check { command: Shell("curl x"), interval: Some("5m"), timeout: Some("3s"), start_period: Some("1s"), start_interval: Some("1s"), retries: Some("3") })"#,
        ),
        (
            "ARG a b= c=\"d e\"",
            r#"Arg([Argument { name: "a", default: None, comment: None }, Argument { name: "b", default: Some(""), comment: None }, Argument { name: "c", default: Some("\"d e\""), comment: None }])"#,
        ),
    ];
    for (line, expected) in cases {
        assert_eq!(format!("{:?}", instruction(line)), expected, "{line}");
    }
}

#[test]
fn copies_with_all_flags() {
    let Instruction::Copy(copy) = instruction(
        "COPY --from=build --chown=a:$b --chmod=u+x --link --parents --exclude=*.md --exclude=\"a b\" x y z",
    ) else {
        panic!("no COPY");
    };
    assert_eq!(copy.from.as_deref(), Some("build"));
    assert_eq!(copy.owner.as_deref(), Some("a:$b"));
    assert_eq!(copy.mode.as_deref(), Some("u+x"));
    assert!(copy.link && copy.parents);
    assert_eq!(copy.excludes, ["*.md", "a b"]);
    assert_eq!((copy.sources.len(), copy.destination.as_str()), (2, "z"));
    let Instruction::Add(add) = instruction(
        "ADD --keep-git-dir=true --checksum=sha256:1 --unpack=false --link=false [\"a b\", \"/c/\"]",
    ) else {
        panic!("no ADD");
    };
    assert!(add.keep_git_directory && !add.link);
    assert_eq!(add.unpack, Some(false));
    assert_eq!(add.checksum.as_deref(), Some("sha256:1"));
    assert_eq!(
        (add.sources[0].as_str(), add.destination.as_str()),
        ("a b", "/c/")
    );
}

#[test]
fn runs_with_all_flags() {
    let Instruction::Run(run) = instruction(
        "RUN --mount=target=/a --mount=type=cache,id=i,dst=/c,sharing=locked,from=b,source=s,mode=0700,uid=1,gid=$g,ro \
         --mount=type=tmpfs,target=/t,size=1g --mount=type=secret,id=s,env=S,required \
         --mount=type=ssh --network=host --security=insecure --device=a/b [\"x\"]",
    ) else {
        panic!("no RUN");
    };
    assert_eq!(run.program(), Program::Exec(&["x".to_owned()]));
    assert_eq!(run.network.as_deref(), Some("host"));
    assert_eq!(run.security.as_deref(), Some("insecure"));
    assert_eq!(run.devices, ["a/b"]);
    let [bind, cache, tmpfs, secret, ssh] = run.mounts.as_slice() else {
        panic!("{:?}", run.mounts);
    };
    assert_eq!(
        (bind.kind, bind.target.as_str(), bind.read_only),
        (MountKind::Bind, "/a", None)
    );
    let expected = Mount {
        kind: MountKind::Cache,
        target: "/c".to_owned(),
        source: "s".to_owned(),
        from: Some("b".to_owned()),
        id: "i".to_owned(),
        read_only: Some(true),
        sharing: Sharing::Locked,
        mode: Some("0700".to_owned()),
        uid: Some("1".to_owned()),
        gid: Some("$g".to_owned()),
        ..Mount::default()
    };
    assert_eq!(*cache, expected);
    assert_eq!(tmpfs.size.as_deref(), Some("1g"));
    assert_eq!(
        (
            secret.variable.as_deref(),
            secret.required,
            secret.identifier()
        ),
        (Some("S"), true, "s")
    );
    assert_eq!(ssh.identifier(), "default");
}

/// Files, and the first thing that is told of each.
const WRONG: &[(&str, &str)] = &[
    ("", "1:1-1:1: file with no instructions"),
    ("# x\n\n", "2:1-2:1: file with no instructions"),
    ("ARG x", "1:1-1:6: dockerfile contains no stages to build"),
    ("RUN x\nRUN y", "1:1-1:6: no build stage in current context"),
    (
        "FROM a\nCOPPY b c",
        "2:1-2:6: unknown instruction: COPPY (did you mean COPY?)",
    ),
    ("FROM a\nRUN x\n  && y", "3:3-3:5: unknown instruction: &&"),
    (
        "FROM",
        "1:1-1:5: FROM requires either one or three arguments",
    ),
    (
        "FROM a b",
        "1:8-1:9: FROM requires either one or three arguments",
    ),
    ("FROM a is b", "1:8-1:10: unexpected 'is' in FROM"),
    (
        "FROM a AS 1b",
        "1:11-1:13: invalid name for build stage: \"1b\", name can't start with a number or contain symbols",
    ),
    (
        "FROM --platfrom=b a",
        "1:6-1:18: unknown flag: --platfrom (did you mean --platform?)",
    ),
    ("FROM a\nRUN", "2:1-2:4: RUN requires at least one argument"),
    ("FROM a\nCMD --x y", "2:5-2:8: unknown flag: --x"),
    (
        "FROM a\nCOPY a",
        "2:6-2:7: COPY requires at least two arguments, but only one was provided. Destination could not be determined",
    ),
    (
        "FROM a\nCOPY \"a b\" c",
        "2:6-2:8: a quote in \"a is left open",
    ),
    (
        "FROM a\nCOPY a \\\n  --from=x <<b",
        "3:12-3:15: unterminated heredoc 'b'",
    ),
    (
        "FROM a\nRUN x <<E\ny\n",
        "2:7-2:10: unterminated heredoc 'E'",
    ),
    ("FROM a\nENV", "2:1-2:4: ENV requires at least one argument"),
    ("FROM a\nENV a", "2:5-2:6: ENV must have two arguments"),
    (
        "FROM a\nENV a=b \\\n  c d=e",
        "3:3-3:4: can't find = in 'c'. Must be of the form: name=value",
    ),
    ("FROM a\nENV a=b =c", "2:9-2:11: ENV names can not be blank"),
    ("FROM a\nENV a=b c='d e", "2:9-2:15: a quote is left open"),
    ("FROM a\nARG =x", "2:5-2:7: ARG names can not be blank"),
    (
        "FROM a\nWORKDIR",
        "2:1-2:8: WORKDIR requires exactly one argument",
    ),
    (
        "FROM a\nSHELL x",
        "2:7-2:8: SHELL requires the arguments to be in JSON form",
    ),
    (
        "FROM a\nSHELL []",
        "2:7-2:9: SHELL requires at least one argument",
    ),
    (
        "FROM a\nVOLUME [\"\"]",
        "2:8-2:12: VOLUME specified can not be an empty string",
    ),
    (
        "FROM a\nRUN [1]",
        "2:5-2:8: when using JSON array syntax, arrays must be comprised of strings only",
    ),
    (
        "FROM a\nONBUILD",
        "2:1-2:8: ONBUILD requires at least one argument",
    ),
    (
        "FROM a\nONBUILD FROM b",
        "2:9-2:13: FROM isn't allowed as an ONBUILD trigger",
    ),
    (
        "FROM a\nONBUILD onbuild RUN b",
        "2:9-2:16: Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
    ),
    (
        "FROM a\nONBUILD COPPY b c",
        "2:9-2:14: unknown instruction: COPPY (did you mean COPY?)",
    ),
    (
        "FROM a\nONBUILD COPY --form=x b c",
        "2:14-2:22: unknown flag: --form (did you mean --from?)",
    ),
    (
        "FROM a\nHEALTHCHECK x",
        "2:13-2:14: Unknown type \"x\" in HEALTHCHECK (try CMD)",
    ),
    (
        "FROM a\nHEALTHCHECK CMD",
        "2:13-2:16: Missing command after HEALTHCHECK CMD",
    ),
    (
        "FROM a\nHEALTHCHECK NONE x",
        "2:18-2:19: HEALTHCHECK NONE takes no arguments",
    ),
    (
        "FROM a\nHEALTHCHECK --interval=x CMD y",
        "2:13-2:25: invalid duration \"x\" of --interval",
    ),
    (
        "FROM a\nHEALTHCHECK --timeout=1us CMD y",
        "2:13-2:26: Interval \"timeout\" cannot be less than 1ms",
    ),
    (
        "FROM a\nHEALTHCHECK --retries=-1 CMD y",
        "2:13-2:25: --retries must be a number that is at least 0 (not -1)",
    ),
    (
        "FROM a\nRUN --mount=type=bnd,target=/x y",
        "2:5-2:31: unsupported mount type \"bnd\" (did you mean bind?)",
    ),
    (
        "FROM a\nRUN --mount=trget=/x y",
        "2:5-2:21: unexpected key 'trget' in 'trget=/x' (did you mean target?)",
    ),
    (
        "FROM a\nRUN --mount=type=cache y",
        "2:5-2:23: the cache mount has no target",
    ),
    (
        "FROM a\nRUN --mount=type=bind,target=/x,mode=0700 y",
        "2:5-2:42: mode not allowed for \"bind\" type mounts",
    ),
    (
        "FROM a\nRUN --network=hots y",
        "2:5-2:19: network \"hots\" is not supported (did you mean host?)",
    ),
    (
        "# escape=x\nFROM a",
        "1:10-1:11: invalid escape character 'x'",
    ),
    (
        "FROM a\nRUN \u{e9}\u{e9} \\\n \u{e9} <<x",
        "3:4-3:7: unterminated heredoc 'x'",
    ),
    ("FROM\u{a0}a", "1:1-1:7: unknown instruction: FROM\\u{a0}a"),
];

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (text, expected) in WRONG {
        assert_eq!(errors(text.as_bytes())[0], *expected, "{text}");
    }
}

#[test]
fn bytes_that_are_no_text_are_told() {
    let cases: &[(&[u8], &str)] = &[
        (
            b"\x7fELF\x02\0\0",
            "1:6-1:7: there is a NUL byte: this is no text",
        ),
        (b"\xff\xfeF\0R\0", "1:1-1:1: the file is UTF-16 text"),
        (b"FROM a\nRUN \xe9 x", "2:5-2:6: the text is not UTF-8 here"),
        (
            b"FROM a\nRUN <<E\n# \xe9\nE",
            "3:3-3:4: the text is not UTF-8 here",
        ),
    ];
    for (bytes, expected) in cases {
        assert_eq!(errors(bytes)[0], *expected);
    }
    assert!(parse("x", b"FROM a\n# caf\xe9\nRUN b \\\n# \xe9\n c\n").is_ok());
}

#[test]
fn errors_are_gathered_up_to_some() {
    let found = errors(b"FROM a\nCOPPY a b\nRUN\nENV x\n");
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(errors("nonsense\n".repeat(100_000).as_bytes()).len(), 20);
}

#[test]
fn triggers_are_one_instruction() {
    let error = |text| {
        parse_instruction("onbuild", text)
            .unwrap_err()
            .remove(0)
            .message
    };
    assert_eq!(error(""), "the onbuild trigger is empty");
    assert_eq!(
        error("RUN a\nRUN b"),
        "onbuild trigger should be a single expression"
    );
    assert_eq!(
        error("FROM a"),
        "this instruction isn't allowed as an ONBUILD trigger"
    );
    assert_eq!(
        error("RNU a"),
        "unknown instruction: RNU (did you mean RUN?)"
    );
    let step = parse_instruction("onbuild", "COPY . /x").unwrap();
    assert_eq!((step.text.as_str(), step.on_build), ("COPY . /x", true));
}

#[test]
fn a_snippet_marks_what_is_meant() {
    let error = parse("Dockerfile", b"FROM a\nCOPPY b c")
        .unwrap_err()
        .remove(0);
    assert_eq!(
        error.to_string(),
        "Dockerfile:2:1: unknown instruction: COPPY (did you mean COPY?)"
    );
    assert_eq!(error.snippet(), "   2 | COPPY b c\n     | ^^^^^");
    let long = format!("FROM a\nRUN {} <<E", "x".repeat(5000));
    let error = parse("Dockerfile", long.as_bytes()).unwrap_err().remove(0);
    let snippet = error.snippet();
    assert!(snippet.chars().count() < 400, "{snippet}");
    assert!(snippet.ends_with("^^^"), "{snippet}");
}
