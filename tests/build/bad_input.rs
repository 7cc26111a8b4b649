//! Builds that cannot succeed: what is said of them, and that nothing of them stays but the cache.

use crate::support::life::{peak_memory_of, until};
use crate::support::{
    ALPINE, Need, Outcome, OwnMounts, Store, User, everyone_in_memory, everyone_with_alpine,
    requires, store,
};
use std::process::Stdio;

/// A Dockerfile after its first line, and what is said of it.
type Case = (&'static str, &'static [&'static str]);

/// Mistakes of the language, each with its place.
const SYNTAX: [Case; 16] = [
    (
        "CPOY a /\n",
        &[
            "Dockerfile:2:1: unknown instruction: CPOY (did you mean COPY?)",
            "   2 | CPOY a /\n     | ^^^^",
        ],
    ),
    (
        "RUN --mont=type=cache true\n",
        &["Dockerfile:2:5: unknown flag: --mont (did you mean --mount?)"],
    ),
    (
        "COPY --chwon=1 a /\n",
        &["Dockerfile:2:6: unknown flag: --chwon (did you mean --chown?)"],
    ),
    (
        "RUN <<EOF\necho\n",
        &["Dockerfile:2:5: unterminated heredoc 'EOF'"],
    ),
    (
        "ENV\n",
        &[
            "Dockerfile:2:1: ENV requires at least one argument",
            "expected ENV NAME=VALUE",
        ],
    ),
    ("VOLUME [\"/a\n", &["Dockerfile:2:8: "]),
    (
        "EXPOSE 99999\n",
        &["Dockerfile:2:", "invalid containerPort: 99999"],
    ),
    (
        "RUN true\nENV X=${Y\n",
        &["Dockerfile:3:7: syntax error: missing '}'"],
    ),
    (
        "COPY a sub /etc/passwd\n",
        &["Dockerfile:2:1: ", "more than one source"],
    ),
    (
        "COPY a\n",
        &["Dockerfile:2:6: COPY requires at least two arguments"],
    ),
    (
        "HEALTHCHECK --interval=soon CMD true\n",
        &["Dockerfile:2:", "soon"],
    ),
    (
        "STOPSIGNAL SIGNOTHING\nRUN --mount=type=cahce,target=/x true\n",
        &["Dockerfile:", "cahce"],
    ),
    (
        "STOPSIGNAL SIGFOO\n",
        &[
            "Dockerfile:2:1: invalid signal: SIGFOO",
            "   2 | STOPSIGNAL SIGFOO\n",
            "as in SIGTERM",
        ],
    ),
    (
        "FROM --platform=foo alpine\n",
        &["Dockerfile:2:1: invalid platform `foo`: unknown operating system"],
    ),
    ("ONBUILD FROM x\n", &["Dockerfile:2:", "FROM"]),
    (
        "RUN --network=nowhere true\n",
        &["Dockerfile:2:", "nowhere"],
    ),
];

/// What a step cannot do; the step is shown with its line.
const STEPS: [Case; 18] = [
    (
        "COPY nothing /\n",
        &["\"/nothing\": not found", "   2 | >>> COPY nothing /"],
    ),
    ("COPY ../../etc/passwd /\n", &["\"/etc/passwd\": not found"]),
    ("COPY outside/passwd /\n", &["outside/passwd leads to /etc"]),
    (
        "COPY loop/x /\n",
        &[
            "`loop/x`: too many levels of symbolic links",
            "   2 | >>> COPY loop/x /",
        ],
    ),
    ("COPY up/etc /\n", &["up/etc leads to ../../.."]),
    (
        "COPY a /etc/passwd/\n",
        &["cannot copy to non-directory: /etc/passwd"],
    ),
    (
        "COPY sub /etc/passwd\n",
        &["cannot copy to non-directory: /etc/passwd"],
    ),
    ("COPY --chown=nobody-here a /\n", &["nobody-here"]),
    (
        "COPY --from=alpine:3.20 /nothing /\n",
        &["\"/nothing\": not found"],
    ),
    (
        "ADD --checksum=sha256:00 https://example.org/x /\n",
        &["checksum"],
    ),
    (
        "RUN --mount=type=secret,id=word,required=true true\n",
        &["secret word: not found", " > [2/2] RUN --mount"],
    ),
    (
        "RUN --mount=type=ssh,required=true true\n",
        &["there is no SSH agent default"],
    ),
    (
        "RUN --mount=type=bind,source=nothing,target=/x true\n",
        &["\"/nothing\": not found"],
    ),
    (
        "RUN [\"/nothing\"]\n",
        &["exec: \"/nothing\"", "no such file or directory"],
    ),
    (
        "USER nobody-here\nRUN true\n",
        &["unable to find user nobody-here", "   3 | >>> RUN true"],
    ),
    (
        "RUN --mount=type=bind,from=nothing:here,target=/x true\n",
        &["nothing"],
    ),
    (
        "RUN echo one; sh -c 'kill -9 $$'; exit $?\n",
        &["exit code: 137", "one\n"],
    ),
    (
        "RUN for i in $(seq 30); do echo \"line $i\"; done; exit 42\n",
        &[
            "exit code: 42",
            "\nline 11\n",
            "\nline 30\n",
            " > [2/2] RUN for i in",
            "   2 | >>> RUN for i",
        ],
    ),
];

/// Stages that cannot be.
const STAGES: [Case; 8] = [
    (
        "FROM alpine:3.20 AS b\nCOPY --from=c / /\nFROM alpine:3.20 AS c\nCOPY --from=b / /\n",
        &["circular dependency detected on stage: "],
    ),
    (
        "COPY --from=3 / /\n",
        &["Dockerfile:2:1: invalid stage index 3"],
    ),
    (
        "FROM alpine:3.20 AS UPPER/x\n",
        &["Dockerfile:2:", "UPPER/x"],
    ),
    ("FROM\n", &["Dockerfile:2:1: FROM requires"]),
    (
        "FROM nothing:here\n",
        &[
            "Dockerfile:2:1: nothing:here: fetch `here` of nothing",
            "   2 | FROM nothing:here\n",
        ],
    ),
    (
        "FROM Bad_Ref:::\n",
        &["Dockerfile:2:1: Bad_Ref:::: invalid reference format"],
    ),
    (
        "FROM alpine:3.20 AS base\nFROM alpine:3.20\nCOPY --from=bsae /etc /\n",
        &[
            "Dockerfile:4:1: bsae: fetch `latest` of bsae",
            "did you mean the stage `base`?",
        ],
    ),
    (
        "RUN --mount=type=bind,from=nothing:here,target=/x true\n",
        &["Dockerfile:2:1: nothing:here: fetch"],
    ),
];

fn give_context(store: &Store) {
    store.file("context/a", "a\n");
    store.file("context/sub/x", "x\n");
    let links = "ln -s /etc context/outside; ln -s ../../.. context/up; ln -s loop context/loop";
    store.script(links).run().code(0);
}

/// Ends with 1, names the reason on its last line but a hint, and no more than once with a `panic`.
#[track_caller]
fn told(outcome: &Outcome, parts: &[&str]) {
    outcome.code(1).stdout("");
    outcome.stderr_has("onggi: ").stderr_lacks("panicked");
    for part in parts {
        outcome.stderr_has(part);
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for store in everyone_with_alpine() {
        give_context(&store);
        let before = store.snapshot();
        let cases: Vec<&Case> = match store.user {
            User::Root => SYNTAX.iter().chain(&STAGES).chain(&STEPS).collect(),
            _ => STEPS.iter().collect(),
        };
        for (text, parts) in cases {
            store.file("context/Dockerfile", format!("FROM {ALPINE}\n{text}"));
            // Nobody is asked for images that are not here.
            let call = store.onggi(["build", "--progress", "plain", "context"]);
            told(&call.env("HTTPS_PROXY", "http://127.0.0.1:9").run(), parts);
        }
        store.assert_no_process_is_left();
        only_the_cache_is_new(&store, &before);
    }
}

#[test]
fn what_is_no_dockerfile_is_refused() {
    let Some(store) = store(User::Root).filter(Store::alpine) else {
        return;
    };
    store.file("context/a", "a\n");
    let rubbish: Vec<u8> = (0..100_000_u32)
        .map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let deep = format!(
        "FROM {ALPINE}\nENV A={}x{}\n",
        "${B:-".repeat(50_000),
        "}".repeat(50_000)
    );
    let long = format!("FROM {ALPINE}\nRUN {}\n", "x".repeat(1 << 20));
    for (name, content, part) in [
        ("rubbish", rubbish, "Dockerfile:1:"),
        ("nothing", Vec::new(), "file with no instructions"),
        (
            "comments",
            b"# a\n\n#b\n".to_vec(),
            "file with no instructions",
        ),
        ("zeros", vec![0; 1 << 20], "Dockerfile"),
        ("lines", vec![b'\n'; 1 << 20], "file with no instructions"),
        ("deep", deep.into_bytes(), "Dockerfile:2:"),
        ("long", long.into_bytes(), "rgument list too long"),
        (
            "no stage",
            b"RUN true\n".to_vec(),
            "Dockerfile:1:1: no build stage in current context",
        ),
    ] {
        let content_length = content.len();
        store.file("context/Dockerfile", content);
        let outcome = store.onggi(["build", "context"]).run();
        // A line of the file is shown as it is, a few times.
        let few = 8 * content_length + (1 << 16);
        outcome.expect(
            outcome.stderr_text().len() < few,
            &format!("{name}: few words"),
        );
        told(&outcome, &[part]);
    }
    std::fs::remove_file(store.home().join("context/Dockerfile")).unwrap();
    told(
        &store.onggi(["build", "context"]).run(),
        &["Dockerfile", "no such file"],
    );
    told(&store.onggi(["build", "nothing"]).run(), &["nothing"]);
    store.file("context/Dockerfile", format!("FROM {ALPINE}\n"));
    told(
        &store.onggi(["build", "-f", "/dev/null/x", "context"]).run(),
        &["/dev/null/x"],
    );
    told(&store.onggi(["build", "-"]).stdin("").run(), &[]);
    store.assert_no_process_is_left();
}

/// A word like `a` is a name in a registry, and no image whose id begins so.
#[test]
fn the_begin_of_an_id_is_no_base_image() {
    let Some(store) = store(User::Root).filter(Store::alpine) else {
        return;
    };
    let id = store.ok(["images", "-q"]);
    let build = |base: &str| {
        store.file("context/Dockerfile", format!("FROM {base}\n"));
        let call = store.onggi(["build", "context"]);
        call.env("HTTPS_PROXY", "http://127.0.0.1:9").run()
    };
    build(id.trim()).code(0);
    let first = &id[..1];
    told(&build(first), &[&format!("fetch `latest` of {first}: ")]);
    store.ok(["tag", ALPINE, first]);
    build(first).code(0);
}

#[test]
fn a_dockerfile_of_a_megabyte_is_built() {
    let Some(store) = store(User::Root).filter(Store::alpine) else {
        return;
    };
    let mut text = format!("FROM {ALPINE}\n");
    for number in 0.. {
        if text.len() >= 1 << 20 {
            break;
        }
        text += &format!(
            "# about a variable\nENV NAME_{}=\"value of {number}\"\n",
            number % 100
        );
    }
    store.file("context/Dockerfile", &text);
    store.ok(["build", "-q", "-t", "large", "context"]);
    let told = store.ok(["image", "inspect", "-f", "{{json .Config.Env}}", "large"]);
    assert!(told.contains("NAME_99=value of "), "{told}");
}

#[test]
fn a_context_of_a_hundred_thousand_files() {
    // In memory: what takes time on a disk is to remove them again.
    let Some(store) = everyone_in_memory().next() else {
        return;
    };
    let text = format!(
        "FROM {ALPINE}\nCOPY files /files\nRUN find /files -type f | wc -l > /count\nCMD cat /count\n"
    );
    store.file("context/Dockerfile", text);
    let files = store.home().join("context/files");
    for directory in 0..100 {
        let directory = files.join(directory.to_string());
        std::fs::create_dir_all(&directory).unwrap();
        for number in 0..1000 {
            std::fs::write(directory.join(number.to_string()), "").unwrap();
        }
    }
    let build = store.onggi(["build", "-q", "-t", "many", "context"]);
    let most = peak_memory_of(build.into_command());
    assert!(most < 100 << 20, "{most} bytes");
    store
        .onggi(["run", "--rm", "many"])
        .run()
        .code(0)
        .stdout("100000\n");
}

#[test]
fn an_interrupted_build_leaves_only_the_cache() {
    use rustix::process::{Pid, Signal, kill_process};
    for store in everyone_with_alpine() {
        store.file(
            "context/Dockerfile",
            format!("FROM {ALPINE}\nRUN echo kept > /kept\nRUN touch /half; sleep 1000\n"),
        );
        store.file(
            "context/done/Dockerfile",
            format!("FROM {ALPINE}\nRUN echo kept > /kept\n"),
        );
        store.ok(["build", "-q", "-t", "done", "context/done"]);
        let before = store.snapshot();
        for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
            let mut build = store.onggi(["build", "context"]).into_command();
            let mut build = build
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            until("the step sleeps", || sleeps(&store));
            kill_process(Pid::from_child(&build), signal).unwrap();
            assert!(!build.wait().unwrap().success());
            store.assert_no_process_is_left();
            store.onggi(["ps", "-aq"]).run().code(0).stdout("");
            // The next command sweeps, and finds what was done before.
            let again = store
                .onggi(["build", "--progress", "plain", "context/done"])
                .run();
            again.code(0).stderr_has("CACHED");
            store
                .onggi(["system", "check"])
                .run()
                .code(0)
                .stdout("The store is consistent\n");
            only_the_cache_is_new(&store, &before);
        }
    }
}

fn sleeps(store: &Store) -> bool {
    store.processes().iter().any(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.starts_with(b"sleep\x001000")
    })
}

/// No image, name, container, volume, network or staging directory more than before: layers and records of the cache may be.
#[track_caller]
fn only_the_cache_is_new(store: &Store, before: &[String]) {
    let data = store.data();
    let is_new = |line: &&String| {
        let path = line
            .strip_prefix(data.to_str().unwrap())
            .unwrap_or_default();
        let cache = ["/build", "/layers", "/lock", "/events"];
        !before.contains(line) && !cache.iter().any(|start| path.starts_with(start))
    };
    let after = store.snapshot();
    let new: Vec<&String> = after.iter().filter(is_new).collect();
    // The directories themselves are made at the first need.
    let new: Vec<_> = new
        .into_iter()
        .filter(|line| line.matches('/').count() > data.components().count())
        .collect();
    assert!(new.is_empty(), "{new:#?}");
}

#[test]
fn a_full_disk_ends_a_build_and_nothing_else() {
    if !requires(&[Need::Root, Need::Program("nsenter")]) {
        return;
    }
    for mut store in everyone_with_alpine() {
        store.file("context/Dockerfile", format!("FROM {ALPINE}\nRUN echo small > /small\nRUN head -c 60000000 /dev/urandom > /large\n"));
        store.file(
            "copied/Dockerfile",
            format!("FROM {ALPINE}\nCOPY large /\n"),
        );
        store.file("copied/large", vec![7; 60_000_000]);
        let script = "umask 077; cp -a \"$1\" \"$2\"; mount -t tmpfs -o size=50m,mode=700 tmpfs \"$1\"; \
                      chown --reference=\"$2\" \"$1\"; cp -a \"$2/.\" \"$1\"";
        let places = [store.data(), store.path().join("copy")];
        let _mounts = OwnMounts::prepared(&mut store, script, &places);
        for (context, part) in [
            // The program itself is told.
            ("context", "did not complete successfully: exit code: 1"),
            ("copied", "disk full"),
        ] {
            told(&store.onggi(["build", context]).run(), &[part]);
            store.onggi(["ps", "-aq"]).run().code(0).stdout("");
        }
        store.assert_no_process_is_left();
        // What was done before it is there, and there is room for more.
        store.file(
            "context/Dockerfile",
            format!("FROM {ALPINE}\nRUN echo small > /small\nRUN echo more > /more\n"),
        );
        let outcome = store.onggi(["build", "-t", "small", "context"]).run();
        outcome.code(0).stderr_has("CACHED");
        store
            .onggi(["run", "--rm", "small", "cat", "/small", "/more"])
            .run()
            .code(0)
            .stdout("small\nmore\n");
        store
            .onggi(["system", "check"])
            .run()
            .code(0)
            .stdout("The store is consistent\n");
    }
}
