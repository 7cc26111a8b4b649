//! `RUN --mount`: what a step sees of a context, and directories that outlive builds.

use crate::support::{Store, User, everyone_with_alpine};
use std::os::unix::net::UnixListener;

/// Builds the steps on Alpine; what progress has told.
#[track_caller]
fn build(store: &Store, options: &[&str], steps: &str) -> String {
    store.file("context/Dockerfile", format!("FROM alpine:3.20\n{steps}\n"));
    let words = ["build", "-t=app"].iter().chain(options);
    let built = store.onggi(words.chain(&["context"])).run();
    built.code(0);
    built.stderr_text()
}

#[test]
fn a_step_has_a_copy_of_the_context() {
    for store in everyone_with_alpine() {
        store.file("context/.dockerignore", "secret.env\n");
        store.file("context/secret.env", "SECRET=1");
        let kept = store.file("context/sub/file", "as it was");
        store.file("context/a*[b]", "wild");
        let _socket = UnixListener::bind(store.home().join("context/socket")).unwrap();
        let steps = "RUN --mount=target=/src,rw echo changed >> /src/sub/file && touch /src/new && \
                     test ! -e /src/secret.env -a ! -e /src/socket && cat /src/sub/file > /told\n\
                     RUN --mount=target=/src ! touch /src/sub/new && test ! -e /src/new && cat /src/sub/file >> /told\n\
                     RUN --mount=source=sub/file,target=/one cat /one >> /told\n\
                     RUN --mount=source=a*[b],target=/wild cat /wild >> /told\n\
                     RUN --mount=from=other,source=sub,target=/other stat -c %u:%g /other/file >> /told";
        let other = "--build-context=other=context";
        build(&store, &[other], steps);
        let told = store.ok(["run", "--rm", "app", "cat", "/told"]);
        assert_eq!(told, "as it waschanged\nas it wasas it waswild0:0\n");
        assert_eq!(std::fs::read(kept).unwrap(), b"as it was");
        assert!(!store.home().join("context/new").exists());
        // What is left out changes nothing, what is there does.
        store.file("context/secret.env", "SECRET=2");
        let cached = |told: String| told.matches(" CACHED").count();
        let all = cached(build(&store, &[other], steps));
        store.file("context/sub/file", "as it is");
        let fewer = cached(build(&store, &[other], steps));
        assert!(all >= 9 && fewer < all, "{all} {fewer}");
        store.file(
            "context/Dockerfile",
            "FROM alpine:3.20\nRUN --mount=source=secret.env,target=/x cat /x\n",
        );
        let left_out = store.onggi(["build", "context"]).run();
        left_out
            .code(1)
            .stderr_has("\"/secret.env\": not found")
            .stderr_has("Dockerfile:2");
    }
}

#[test]
fn a_cache_is_mounted_twice_in_one_step() {
    for store in everyone_with_alpine() {
        for (one, other) in [
            ("locked", "locked"),
            ("shared", "locked"),
            ("private", "shared"),
        ] {
            let step = format!(
                "RUN --mount=type=cache,id={one}{other},target=/a,sharing={one} \
                 --mount=type=cache,id={one}{other},target=/b,sharing={other} echo same > /a/file && cat /b/file > /told"
            );
            // It would wait for itself until the test is given up.
            build(&store, &[], &step);
            assert_eq!(store.ok(["run", "--rm", "app", "cat", "/told"]), "same\n");
        }
    }
}

/// The mode and the owner are for a new one: what a step has made of it stays, also while others have it.
#[test]
fn a_cache_keeps_what_was_made_of_it() {
    for store in everyone_with_alpine() {
        let step = |script: &str| {
            let mount = "--mount=type=cache,id=c,target=/c,mode=0750,uid=7,gid=8";
            let script = format!("RUN {mount} stat -c '%a %u:%g' /c > /told; {script}");
            build(&store, &["--no-cache"], &script);
            store.ok(["run", "--rm", "app", "cat", "/told"])
        };
        let owner = |text: &'static str| match store.user {
            User::Single => "0:0",
            _ => text,
        };
        assert_eq!(
            step("chmod 711 /c; chown 9:9 /c || true"),
            format!("750 {}\n", owner("7:8"))
        );
        assert_eq!(step("true"), format!("711 {}\n", owner("9:9")));
    }
}

#[test]
fn a_cache_is_known_by_its_clean_target() {
    for store in everyone_with_alpine().take(1) {
        let steps = "RUN --mount=type=cache,target=/c/ echo one > /c/file\n\
                     RUN --mount=type=cache,target=/x/../c cat /c/file";
        build(&store, &[], steps);
        for kind in ["bind", "cache", "tmpfs"] {
            let step = format!("FROM alpine:3.20\nRUN --mount=type={kind},target=/ true\n");
            store.file("context/Dockerfile", step);
            let refused = store.onggi(["build", "context"]).run();
            refused
                .code(1)
                .stderr_has("invalid mount target \"/\"")
                .stderr_has("Dockerfile:2");
        }
    }
}

#[test]
fn what_limits_a_step_is_part_of_it() {
    for store in everyone_with_alpine().take(1) {
        let told = |options: &[&str], mount: &str| {
            let step = format!(
                "RUN {mount} {{ ulimit -n; df -m /dev/shm | tail -n1 | awk '{{print $2}}'; }} > /told"
            );
            build(&store, options, &step);
            store.ok(["run", "--rm", "app", "cat", "/told"])
        };
        assert_eq!(
            told(&["--ulimit=nofile=100", "--shm-size=2m"], ""),
            "100\n2\n"
        );
        assert_eq!(
            told(&["--ulimit=nofile=200", "--shm-size=2m"], ""),
            "200\n2\n"
        );
        assert_eq!(
            told(&["--ulimit=nofile=200", "--shm-size=3m"], ""),
            "200\n3\n"
        );
        for mode in ["711", "755"] {
            let step = format!("RUN --mount=type=cache,id={mode},target=/c,mode={mode} true");
            build(&store, &[], &step);
        }
        let step = |mode: &str| format!("RUN --mount=type=cache,target=/c,mode={mode} true");
        build(&store, &[], &step("711"));
        let other = build(&store, &[], &step("755"));
        assert!(!other.contains("CACHED [2/2]"), "{other}");
    }
}
