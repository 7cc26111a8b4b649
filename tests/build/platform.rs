//! Foreign platforms: programs of arm64 run by an emulator that is registered in a user namespace of the test's own (Linux
//! 6.7), so that the machine knows nothing of it; images for several platforms under one name.

use crate::support::{
    ALPINE, Need, Store, User, everyone_with_alpine, image, requires, skip, store,
};

/// The entry of an emulator as binfmt-misc.rst has it: how programs of arm64 begin, by whom they are run; F: opened now.
const REGISTER: &str = r#"
    mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc || exit 77
    magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
    mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
    printf %s ":qemu-aarch64:M::$magic:$mask:$(command -v qemu-aarch64-static):F" > /proc/sys/fs/binfmt_misc/register
"#;

/// Runs a script where programs of arm64 can be executed; `false`, with a skip, where that cannot be.
#[track_caller]
fn emulated(store: &Store, script: &str) -> bool {
    store.file("script", format!("{REGISTER}{script}"));
    let namespace = "exec unshare --user --map-root-user --map-auto --mount sh -e script";
    let outcome = store.script(namespace).run();
    if outcome.exit_code() == Some(77) {
        skip("binfmt_misc cannot be mounted in a user namespace (Linux 6.7)");
        return false;
    }
    outcome.code(0);
    true
}

const FILE: &str = "ARG TARGETARCH\nFROM base-$TARGETARCH\nARG TARGETPLATFORM BUILDPLATFORM\n\
                    RUN uname -m > /machine && echo $BUILDPLATFORM to $TARGETPLATFORM >> /machine\nCMD [\"cat\", \"/machine\"]\n";

const BUILD: &str = r#"
    onggi import --platform linux/arm64 arm64.tar.gz base-arm64
    onggi import --platform linux/amd64 amd64.tar.gz base-amd64
    onggi build --platform linux/arm64 -q -t arm context
    onggi run --rm --platform linux/arm64 arm > arm

    set +e
    timeout -s KILL 100 onggi registry serve --listen 127.0.0.1:0 --storage reg >log 2>&1 </dev/null &
    server=$!
    for i in $(seq 100); do grep -q '127.0.0.1:[0-9]' log && break; sleep 0.1; done
    at=$(grep -o '127.0.0.1:[0-9]*' log | head -1)
    (
        set -e
        onggi build --platform linux/amd64,linux/arm64 -q -t $at/x/both:1 --push context
        onggi manifest inspect $at/x/both:1 | grep -c '"architecture"' > count
        onggi rmi -f $at/x/both:1 arm
        onggi run --rm --pull always --platform linux/arm64 $at/x/both:1 > pulled-arm
        onggi run --rm --pull always --platform linux/amd64 $at/x/both:1 > pulled-amd
    )
    code=$?
    kill $server
    exit $code
"#;

#[test]
fn steps_run_for_foreign_machines_and_go_into_one_index() {
    let name =
        |machine: &str| format!("alpine-3.20.3-rootfs/alpine-minirootfs-3.20.3-{machine}.tar.gz");
    let (Some(arm), Some(amd)) = (image(&name("aarch64")), image(&name("x86_64"))) else {
        return;
    };
    if std::env::consts::ARCH != "x86_64" {
        return skip("arm64 is not foreign here");
    }
    if !requires(&[Need::Program("qemu-aarch64-static")]) {
        return;
    }
    // Who has a single id cannot have another user namespace in which root gives files away.
    if let Some(store) = store(User::Subuid) {
        store.file("arm64.tar.gz", std::fs::read(&arm).unwrap());
        store.file("amd64.tar.gz", std::fs::read(&amd).unwrap());
        store.file("context/Dockerfile", FILE);
        // The namespace is another one than that of the store that was made outside of it.
        let script = format!("export ONGGI_ROOT=$HOME/data ONGGI_RUNROOT=$HOME/run\n{BUILD}");
        if !emulated(&store, &script) {
            return;
        }
        let told = |name: &str| std::fs::read_to_string(store.home().join(name)).unwrap();
        assert_eq!(told("arm"), "aarch64\nlinux/amd64 to linux/arm64\n");
        assert_eq!(told("count"), "2\n");
        assert_eq!(told("pulled-arm"), told("arm"));
        assert_eq!(told("pulled-amd"), "x86_64\nlinux/amd64 to linux/amd64\n");
        store.assert_no_process_is_left();
    }
}

#[test]
fn a_machine_that_nobody_plays_is_told_before_anything_runs() {
    for store in everyone_with_alpine() {
        let here =
            format!("FROM --platform=$BUILDPLATFORM {ALPINE} AS here\nRUN uname -m > /ran\n");
        let file = format!("{here}FROM scratch\nCOPY --from=here /ran /\nRUN [\"/x\"]\n");
        store.file("context/Dockerfile", file);
        let refused = store
            .onggi(["build", "--platform=linux/s390x", "context"])
            .run();
        refused
            .code(1)
            .stderr_has("a program for linux/s390x cannot be run on linux/")
            .stderr_has("Dockerfile:5")
            .stderr_has("qemu-user-static")
            .stderr_lacks("RUN uname -m > /ran\n#");
        // An image for another machine needs no emulator as long as nothing runs.
        let file = format!("{here}FROM scratch\nCOPY --from=here /ran /\n");
        store.file("context/Dockerfile", file);
        store.ok([
            "build",
            "-q",
            "--platform=linux/s390x",
            "-t=foreign",
            "context",
        ]);
        let told = store.ok([
            "image",
            "inspect",
            "-f",
            "{{.Os}}/{{.Architecture}}",
            "foreign",
        ]);
        assert_eq!(told, "linux/s390x\n");
        let base = store.onggi(["build", "--platform=linux/s390x", "-f", "-", "context"]);
        let wrong = base
            .stdin(format!("FROM {ALPINE}\n"))
            .env("HTTPS_PROXY", "http://127.0.0.1:9")
            .run();
        wrong.code(1).stderr_has("linux/s390x");
    }
}
