//! Inside another container: what its walls leave is found by trying, and what they take is named.
//!
//! The outer container is one of this program's own, which has Docker's default filter, masks and capabilities.

use crate::support::store::{copy_program, program};
use crate::support::{ALPINE, Need, Outcome, Store, User, image, requires, store};

/// Makes a store in memory, or where `STORE` says, and runs something in it.
const SCRIPT: &str = "inner() { /onggi --root ${STORE:-/memory}/data --runroot ${STORE:-/memory}/run \"$@\"; }; \
                      inner import /alpine.tar.gz alpine:3.20 >/dev/null && inner run --rm alpine:3.20 sh -c";
const LOOK: &str = "\"id -u; hostname >/proc/self/comm; readlink /proc/self/exe; cat /proc/1/comm; ls /sys/class >/dev/null && echo sys\"";

fn outer(store: &Store, options: &[&str], before: &str) -> Outcome {
    let words = [
        "create",
        "--name",
        "outer",
        "--tmpfs",
        "/memory:exec,mode=1777",
    ];
    let program_words = [ALPINE, "sh", "-c"];
    // Without privileges there is no bridge to be made.
    let script = format!("export ONGGI_NETWORK=none; {before} {SCRIPT} {LOOK}");
    let create = words.iter().chain(options).chain(&program_words).copied();
    store.onggi(create.chain([script.as_str()])).run().code(0);
    for (from, to) in [
        (inner_program(store), "/onggi"),
        (alpine(), "/alpine.tar.gz"),
    ] {
        let copy = ["cp", from.to_str().unwrap(), &format!("outer:{to}")];
        store.onggi(copy).run().code(0);
    }
    let outcome = store.onggi(["start", "-a", "outer"]).run();
    store.onggi(["rm", "-f", "outer"]).run().code(0);
    outcome
}

fn inner_program(store: &Store) -> std::path::PathBuf {
    let copy = store.file("inner", "");
    copy_program(program(), &copy);
    copy
}

fn alpine() -> std::path::PathBuf {
    let arch = std::env::consts::ARCH;
    let file = format!("alpine-3.20.3-rootfs/alpine-minirootfs-3.20.3-{arch}.tar.gz");
    image(&file).unwrap()
}

fn root() -> Option<Store> {
    store(User::Root).filter(Store::alpine)
}

const NO_FILTER: [&str; 2] = ["--security-opt", "seccomp=unconfined"];
/// What Kubernetes' restricted profile asks for, beside the default filter.
const RESTRICTED: [&str; 6] = [
    "--user",
    "1000",
    "--cap-drop",
    "ALL",
    "--security-opt",
    "no-new-privileges",
];
const NO_MASKS: [&str; 2] = ["--security-opt", "systempaths=unconfined"];

#[test]
fn dockers_default_filter_forbids_it_and_is_named() {
    let Some(store) = root() else { return };
    // Kubernetes' restricted profile is the second one.
    for options in [&[][..], &RESTRICTED] {
        let outcome = outer(&store, options, "export HOME=/memory;");
        outcome.expect(!outcome.succeeded(), "a refusal");
        outcome
            .stderr_has("cannot create a user namespace: Operation not permitted")
            .stderr_has(
                "the seccomp filter of the container or sandbox that this runs in forbids it",
            )
            .stderr_has("--security-opt seccomp=unconfined");
    }
    // The same by the command that starts containers.
    let script = "export HOME=/memory; /onggi --root /memory/d --runroot /memory/r run --rm x; echo $?; false &&";
    outer(&store, &RESTRICTED, script).stdout_has("125\n");
}

#[test]
fn with_a_filter_that_allows_it_and_masks_proc_is_bound() {
    let Some(store) = root() else { return };
    for user in [&[][..], &RESTRICTED] {
        let outcome = outer(&store, &[user, &NO_FILTER].concat(), "export HOME=/memory;");
        outcome.code(0).stdout("0\n/bin/busybox\nsh\nsys\n");
        outcome.stderr_has("parts of /proc are hidden where onggi runs");
        let open = [user, &NO_FILTER, &NO_MASKS].concat();
        let outcome = outer(&store, &open, "export HOME=/memory;");
        outcome
            .code(0)
            .stdout("0\n/bin/busybox\nsh\nsys\n")
            .stderr("");
    }
}

#[test]
fn with_the_capability_but_dockers_filter_pivot_root_is_missing() {
    let Some(store) = root() else { return };
    let outcome = outer(&store, &["--cap-add", "SYS_ADMIN"], "");
    outcome
        .code(125)
        .stderr_has("pivot_root: Operation not permitted")
        .stderr_has("--security-opt seccomp=unconfined");
    let outcome = outer(&store, &["--privileged"], "");
    outcome
        .code(0)
        .stdout("0\n/bin/busybox\nsh\nsys\n")
        .stderr("");
}

#[test]
fn a_store_on_the_root_of_the_outer_container_has_copies_instead_of_overlays() {
    let Some(store) = root() else { return };
    outer(&store, &["--privileged"], "STORE=/;")
        .code(0)
        .stdout("0\n/bin/busybox\nsh\nsys\n")
        .stderr_has("cannot hold the changes of containers as overlays (the store lies on an overlay file system");
}

/// A sandbox that is none of ours, without any filter but with nothing mounted that is not asked for.
#[test]
fn in_bubblewrap() {
    if !requires(&[Need::Program("bwrap")]) {
        return;
    }
    let Some(store) = store(User::Subuid).or_else(|| store(User::Single)) else {
        return;
    };
    if !store.alpine() {
        return;
    }
    let words = [
        "--unshare-user",
        "--bind",
        "/",
        "/",
        "--dev-bind",
        "/dev",
        "/dev",
        "--proc",
        "/proc",
    ];
    let mut command = store.command("bwrap");
    command.args(words).arg("--").arg(program());
    command.arg("--root").arg(store.path().join("home/data"));
    command.arg("--runroot").arg(store.path().join("home/run"));
    command.arg("import").arg(alpine()).arg(ALPINE);
    let outcome = Outcome::of("bwrap import", command.output().unwrap());
    outcome.code(0);
    let mut command = store.command("bwrap");
    command.args(words).arg("--").arg(program());
    command.arg("--root").arg(store.path().join("home/data"));
    command.arg("--runroot").arg(store.path().join("home/run"));
    command.args(["run", "--rm", ALPINE, "id", "-u"]);
    let outcome = Outcome::of("bwrap run", command.output().unwrap());
    outcome.code(0).stdout("0\n");
}
