//! Known ways out of a build, tried through the command. What a worker does about each stands in `tests/build_worker/mounts.rs`.

use crate::support::{Store, everyone_with_alpine};
use std::path::Path;

/// A directory of the host with a file that no build may see or change.
fn victim(store: &Store) -> String {
    store.file("victim/place/kept", "secret of the host");
    store.home().join("victim").display().to_string()
}

#[track_caller]
fn is_whole(store: &Store) {
    let kept = std::fs::read(store.home().join("victim/place/kept")).unwrap();
    assert_eq!(kept, b"secret of the host");
    let names = |path: &str| std::fs::read_dir(store.home().join(path)).unwrap().count();
    assert_eq!((names("victim"), names("victim/place")), (1, 1));
    store.assert_no_process_is_left();
}

/// CVE-2024-1753: a link in an image as the source of a bind mount. CVE-2024-9407: a source that leaves the context, and
/// options that would reach the host's mounts.
#[test]
fn sources_of_mounts_stay_in_their_roots() {
    for store in everyone_with_alpine() {
        let victim = victim(&store);
        store.file("context/f", "f");
        let links =
            format!("ln -s {victim} context/out; ln -s ../victim context/up; ln -s / context/root");
        store.script(&links).run().code(0);
        let evil = format!(
            "FROM alpine:3.20 AS evil\nRUN ln -s {victim} /out; ln -s ../../../../..{victim} /up; ln -s / /root-link\n"
        );
        for mount in [
            "from=evil,source=/out/place",
            "from=evil,source=/up/place",
            "source=out/place",
            "source=up/place",
            "source=../victim/place",
            "source=/../victim/place",
            "type=bind,rw,source=../victim/place",
        ] {
            let step = format!(
                "{evil}FROM alpine:3.20\nRUN --mount={mount},target=/m cat /m/kept; rm -rf /m/*; ! test -e /m/kept\n"
            );
            store.file("context/Dockerfile", step);
            let failed = store.onggi(["build", "context"]).run();
            failed.code(1).stderr_lacks("secret of the host");
        }
        // The root of the link is that of the image or of the context.
        let step = format!(
            "{evil}FROM alpine:3.20\nRUN --mount=from=evil,source=/root-link{victim},target=/m true\n"
        );
        store.file("context/Dockerfile", step);
        store.onggi(["build", "context"]).run().code(1);
        let step =
            "FROM alpine:3.20\nRUN --mount=source=root,target=/m cat /m/f && ! test -e /m/etc\n";
        store.file("context/Dockerfile", step);
        store.onggi(["build", "context"]).run().code(0);
        for option in [
            "bind-propagation=shared",
            "propagation=rshared",
            "bind-nonrecursive=true",
            "U=true",
        ] {
            let step = format!("FROM alpine:3.20\nRUN --mount=type=bind,target=/m,{option} true\n");
            store.file("context/Dockerfile", step);
            store
                .onggi(["build", "context"])
                .run()
                .code(1)
                .stderr_has("unexpected key");
        }
        is_whole(&store);
    }
}

/// CVE-2024-23651: steps that share a cache, one of which replaces a directory by a link while another mounts it.
#[test]
fn a_shared_cache_does_not_lead_out() {
    for store in everyone_with_alpine() {
        let victim = victim(&store);
        let race = format!(
            "for i in $(seq 300); do mkdir -p /c/sub; rm -rf /c/sub; ln -s {victim} /c/sub; rm -f /c/sub; done"
        );
        let try_it = "cat /m/place/kept; touch /m/place/x; ls /c/sub/; true";
        let mut file = "FROM alpine:3.20 AS racer\n".to_owned();
        file += &format!("RUN --mount=type=cache,id=r,target=/c {race}\n");
        for number in 0..4 {
            file += &format!("FROM alpine:3.20 AS other{number}\n");
            file += "RUN --mount=type=cache,id=r,target=/c --mount=type=cache,id=r,source=sub,target=/m ";
            file += &format!("echo {number}; {try_it}\n");
        }
        file += "FROM alpine:3.20\nCOPY --from=racer /etc/hostname /r\n";
        for number in 0..4 {
            file += &format!("COPY --from=other{number} /etc/hostname /{number}\n");
        }
        store.file("context/Dockerfile", file);
        let built = store
            .onggi(["build", "--jobs=5", "--no-cache", "context"])
            .run();
        built.stderr_lacks("secret of the host");
        is_whole(&store);
    }
}

/// CVE-2024-23652: what was made to mount on becomes a link to a directory of the host, where what was made is removed.
#[test]
fn places_of_mounts_are_not_removed_on_the_host() {
    for store in everyone_with_alpine() {
        let victim = victim(&store);
        let steps = format!(
            "FROM alpine:3.20\nRUN --mount=type=tmpfs,target=/made/place \
             mv /made /moved; rm -rf /made; ln -s {victim} /made; true\n\
             RUN --mount=type=cache,target=/a/b/place rm -rf /a; mkdir -p /a && ln -s {victim} /a/b; true\n"
        );
        store.file("context/Dockerfile", steps);
        store.onggi(["build", "-t", "app", "context"]).run().code(0);
        is_whole(&store);
    }
}

/// CVE-2024-23653: a step that gets privileges which nobody allowed.
#[test]
fn privileges_are_not_taken() {
    for store in everyone_with_alpine() {
        let step = "FROM alpine:3.20\nRUN --security=insecure true\n";
        store.file("context/Dockerfile", step);
        store
            .onggi(["build", "context"])
            .run()
            .code(1)
            .stderr_has("security.insecure");
        // Neither by a trigger of a base image.
        store.file(
            "base/Dockerfile",
            "FROM alpine:3.20\nONBUILD RUN --security=insecure true\n",
        );
        store.ok(["build", "-q", "-t", "base", "base"]);
        store.file("context/Dockerfile", "FROM base\n");
        store
            .onggi(["build", "context"])
            .run()
            .code(1)
            .stderr_has("security.insecure");
    }
}

/// Files of the host through the destination of a copy, and through the names of the Dockerfile and its ignore file.
#[test]
fn names_do_not_lead_to_files_of_the_host() {
    for store in everyone_with_alpine() {
        let victim = victim(&store);
        store.file("context/f", "f");
        let links =
            format!("ln -s {victim}/place/kept context/.dockerignore; ln -s {victim} context/link");
        store.script(&links).run().code(0);
        let steps = format!(
            "FROM alpine:3.20\nRUN ln -s {victim} /out\nCOPY f /out/place/kept\nADD f /out/\nWORKDIR /out/made\nRUN test -e {victim}/f\n"
        );
        store.file("context/Dockerfile", steps);
        let built = store.onggi(["build", "context"]).run();
        built.stderr_lacks("secret of the host");
        is_whole(&store);
        // A named context is its own root as well.
        store.file(
            "named/Dockerfile",
            "FROM alpine:3.20\nCOPY --from=other link/place/kept /\n",
        );
        let leaves = store
            .onggi(["build", "--build-context=other=context", "named"])
            .run();
        leaves.code(1).stderr_has("link/place/kept leads to");
        assert!(Path::new(&victim).is_dir());
    }
}
