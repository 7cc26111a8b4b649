//! What is done again and what is not.

use crate::support::{User, everyone_with_alpine};

#[test]
fn what_was_done_is_done_once() {
    for store in everyone_with_alpine() {
        let text = "FROM alpine:3.20\nCOPY file /file\nRUN cat /proc/sys/kernel/random/uuid > /id\nCOPY other /other\n";
        store.file("context/Dockerfile", text);
        store.file("context/file", "1");
        store.file("context/other", "1");
        let build = |more: &[&str]| {
            let words = ["build", "-q", "context"].iter().chain(more);
            let built = store.onggi(words).run();
            built.code(0);
            built.stdout_text()
        };
        let first = build(&[]);
        assert_eq!(build(&[]), first);
        // Times do not count, contents do.
        store.file("context/file", "1");
        assert_eq!(build(&[]), first);
        store.file("context/other", "2");
        let second = build(&[]);
        assert_ne!(second, first);
        let layers = |id: &str| {
            let words = [
                "image",
                "inspect",
                "-f",
                "{{json .RootFS.Layers}}",
                id.trim(),
            ];
            store.onggi(words).run().json()
        };
        let (one, two) = (layers(&first), layers(&second));
        assert_eq!((&one[0], &one[1], &one[2]), (&two[0], &two[1], &two[2]));
        // Another image goes; what the cache needs stays.
        store.onggi(["rmi", "-f", first.trim()]).run().code(0);
        store.file("context/other", "1");
        assert_eq!(build(&[]), first);
        store.file("context/file", "2");
        assert_ne!(layers(&build(&[]))[2], one[2]);
        store.file("context/file", "1");
        assert_ne!(layers(&build(&["--no-cache"]))[2], one[2]);
    }
}

#[test]
fn stages_may_be_left_out_of_the_cache() {
    for store in everyone_with_alpine().take(1) {
        let text = "FROM alpine:3.20 AS one\nRUN echo one > /one\nFROM alpine:3.20 AS two\nRUN echo two > /two\n\
                    FROM alpine:3.20\nCOPY --from=one /one /\nCOPY --from=two /two /\n";
        store.file("context/Dockerfile", text);
        let cached = |options: &[&str]| {
            let words = ["build", "--progress=plain", "context"];
            let built = store.onggi(words.iter().chain(options)).run();
            let text = built.code(0).stderr_text();
            ["RUN echo one > /one", "RUN echo two > /two"].map(|step| {
                let (_, rest) = text.split_once(step).unwrap();
                rest.lines().nth(1).unwrap().ends_with("CACHED")
            })
        };
        assert_eq!(cached(&[]), [false, false]);
        assert_eq!(cached(&[]), [true, true]);
        assert_eq!(cached(&["--no-cache-filter=two"]), [true, false]);
        assert_eq!(cached(&["--no-cache-filter=one,two"]), [false, false]);
        assert_eq!(cached(&["--no-cache"]), [false, false]);
    }
}

/// An image that is here is good enough, unless newer ones are asked for.
#[test]
fn registries_are_asked_where_that_is_wanted() {
    for store in everyone_with_alpine().take(1) {
        store.file("context/Dockerfile", "FROM alpine:3.20\n");
        let build = |option: &str| {
            let call = store.onggi(["build", "-q", option, "context"]);
            call.env("HTTPS_PROXY", "http://127.0.0.1:9").run()
        };
        for option in ["--pull=false", "--pull=missing", "--pull=never"] {
            build(option).code(0);
        }
        for option in ["--pull", "--pull=true", "--pull=always", "--pull=newer"] {
            build(option).code(1).stderr_has("fetch `3.20` of alpine");
        }
        build("--pull=sometimes").code(125).stderr_has("--pull");
    }
}

#[test]
fn cache_mounts_outlive_builds() {
    for store in everyone_with_alpine() {
        let text = "FROM alpine:3.20\nARG N\nRUN --mount=type=cache,target=/cache echo $N >> /cache/all; cat /cache/all > /all\n\
                    CMD [\"cat\", \"/all\"]\n";
        store.file("context/Dockerfile", text);
        for number in ["1", "2"] {
            let argument = format!("N={number}");
            store
                .onggi(["build", "-t", "app", "--build-arg", &argument, "context"])
                .run()
                .code(0);
        }
        store
            .onggi(["run", "--rm", "app"])
            .run()
            .code(0)
            .stdout("1\n2\n");
        store
            .onggi(["run", "--rm", "app", "ls", "/cache"])
            .run()
            .stdout("");
    }
}

#[test]
fn builds_at_the_same_time_share_their_work() {
    for store in everyone_with_alpine() {
        let text = "FROM alpine:3.20\nRUN sleep 1; cat /proc/sys/kernel/random/uuid > /id\nRUN cat /id > /again\n";
        store.file("context/Dockerfile", text);
        let build = || store.onggi(["build", "-q", "context"]);
        let (one, two) = (build().spawn(), build().spawn());
        let id = |child: std::process::Child| {
            let output = child.wait_with_output().unwrap();
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            output.stdout
        };
        assert_eq!(id(one), id(two));
    }
}

#[test]
fn what_follows_a_step_that_is_found_by_its_content_is_done() {
    for store in everyone_with_alpine() {
        for content in ["1", "2"] {
            let text = format!(
                "FROM alpine:3.20 AS made\nRUN echo {content} > /made\nFROM alpine:3.20\n\
                 COPY --from=made /etc/alpine-release /release\nCOPY --from=made /made /made\nRUN cat /made > /again\n"
            );
            store.file("context/Dockerfile", &text);
            store
                .onggi(["build", "-q", "-t", "app", "context"])
                .run()
                .code(0);
            let again = store.onggi(["run", "--rm", "app", "cat", "/again"]).run();
            again.stdout(&format!("{content}\n"));
        }
    }
}

#[test]
fn what_is_copied_from_a_stage_counts_and_not_what_else_it_holds() {
    for store in everyone_with_alpine() {
        let build_with = |other: &str, copied: &str, last: &str| {
            let text = format!(
                "FROM alpine:3.20 AS made\nRUN echo {copied} > /copied; echo {other} > /other\nFROM alpine:3.20\n\
                 COPY --from=made /copied /\nRUN {last} /proc/sys/kernel/random/uuid > /id\n"
            );
            store.file("context/Dockerfile", text);
            let built = store.onggi(["build", "-t", "app", "context"]).run();
            built.code(0);
            let words = ["run", "--rm", "app", "cat", "/copied", "/id"];
            (
                store.onggi(words).run().stdout_text(),
                built.stderr_text().matches("CACHED").count(),
            )
        };
        let build = |other: &str, copied: &str| build_with(other, copied, "cat");
        let (first, _) = build("1", "a");
        // The image, what is copied, what comes after it.
        assert_eq!(build("2", "a"), (first.clone(), 3), "what else it holds");
        assert_eq!(build("2", "a").0, first, "the same again");
        assert_ne!(build("2", "b").0, first, "what is copied");
        assert_ne!(
            build_with("3", "a", "cat -u").0,
            first,
            "what comes after it"
        );
    }
}

/// Where a cache mount comes from, and what it is to be like.
#[test]
fn a_new_cache_mount_begins_with_what_it_is_told() {
    for store in everyone_with_alpine() {
        store.file("seed/a/one", "1\n");
        let text = "FROM alpine:3.20 AS made\nRUN mkdir -p /made/dir && echo stage > /made/dir/one && chmod 711 /made/dir\n\
                    FROM alpine:3.20\nARG N\n\
                    RUN --mount=type=cache,id=x,from=made,source=/made/dir,target=/c echo $N >> /c/all; \
                        stat -c %a /c >> /told; cat /c/one /c/all >> /told\n\
                    RUN --mount=type=cache,id=x,from=seed,source=a,target=/c,mode=750 echo $N >> /c/all; \
                        stat -c %a /c >> /told; cat /c/one /c/all >> /told\n\
                    RUN --mount=type=cache,id=x,target=/c,mode=700 stat -c %a /c >> /told; ls /c >> /told; echo $N > /c/own; chmod 770 /c\n\
                    CMD cat /told\n";
        store.file("context/Dockerfile", text);
        let build = |number: &str| {
            let argument = format!("N={number}");
            let words = [
                "build",
                "-t",
                "app",
                "--build-context=seed=seed",
                "--build-arg",
            ];
            let built = store.onggi(words).args([&argument, "context"]).run();
            built.code(0);
            store.ok(["run", "--rm", "app"])
        };
        assert_eq!(build("1"), "711\nstage\n1\n750\n1\n1\n700\n");
        // What has come into it since stays, and so does what a program has made of it.
        assert_eq!(build("2"), "711\nstage\n1\n2\n750\n1\n1\n2\n770\nown\n");
        // Another begin is another cache.
        store.file("seed/a/one", "2\n");
        assert_eq!(build("3"), "711\nstage\n1\n2\n3\n750\n2\n3\n770\nown\n");
        let wrong = "FROM alpine:3.20\nRUN --mount=type=cache,from=alpine:3.20,source=/nothing,target=/c true\n";
        store.file("context/Dockerfile", wrong);
        let failed = store.onggi(["build", "context"]).run();
        failed
            .code(1)
            .stderr_has("mount on `/c`")
            .stderr_has("open `nothing`");
        store.ok(["builder", "prune", "-af"]);
        assert_eq!(store.ok(["system", "check"]), "The store is consistent\n");
        store.assert_no_process_is_left();
    }
}

/// The owner is in force where there are others than the caller.
#[test]
fn a_new_cache_mount_belongs_to_whom_it_is_told() {
    for store in everyone_with_alpine().filter(|store| store.user != User::Single) {
        let text = "FROM alpine:3.20 AS made\nRUN mkdir /d && echo x > /d/f && chown -R 5:6 /d\nFROM alpine:3.20\n\
                    RUN --mount=type=cache,id=o,from=made,source=/d,target=/c stat -c '%u:%g' /c /c/f > /told\n\
                    RUN --mount=type=cache,id=o,from=made,source=/d,target=/c,uid=7 stat -c '%u:%g' /c /c/f >> /told\n\
                    RUN --mount=type=cache,id=o,target=/c,uid=8,gid=9 stat -c '%u:%g' /c >> /told\nCMD cat /told\n";
        store.file("context/Dockerfile", text);
        store.ok(["build", "-t", "app", "context"]);
        let told = store.ok(["run", "--rm", "app"]);
        assert_eq!(told, "5:6\n5:6\n7:6\n5:6\n8:9\n");
    }
}
