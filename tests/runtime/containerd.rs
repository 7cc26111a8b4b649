//! containerd with this runtime, in a view of the host with control groups of version 2 only; limits and the CRI are in
//! the virtual machine (tests/vm/called).

use crate::engine;
use crate::support::{self, Need, User, image, requires, store};

/// A daemon of its own, told what to do, and ended.
const SCRIPT: &str = r#"
export CONTAINERD_NAMESPACE=$(basename "${PWD%/home}")
containerd --config "$CONFIGURATION" --root "$PWD/containerd" >containerd.log 2>&1 &
daemon=$!
trap 'kill $daemon; wait $daemon || true' EXIT
tries=0
until ctr version >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ $tries -lt 300 ] && kill -0 $daemon || { cat containerd.log >&2; exit 1; }
    sleep 0.1
done
run() { ctr run --runtime io.containerd.runc.v2 --runc-binary /usr/local/bin/onggi-runtime "$@"; }
terminal() {
    said=$(script -qec "$*" /dev/null </dev/null)
    echo "$said" | grep -o '/dev/pts/.*' || { echo "$* has said: $said"; exit 1; }
}
status() { ctr task ls | awk '$1 == "web" { print $3 }'; }

ctr image import "$ARCHIVE" >/dev/null
image=$(ctr image ls -q)
run --rm "$image" x echo hello
run --rm "$image" x sh -c 'exit 5' || echo $?
run --rm "$image" x nosuch 2>&1 || echo $?
terminal ctr run --rm -t --runc-binary /usr/local/bin/onggi-runtime "$image" x tty
run -d --seccomp --read-only "$image" web sleep 1000
ctr task exec --exec-id one web cat /proc/1/comm
ctr task exec --exec-id two web sh -c 'exit 6' || echo $?
terminal ctr task exec -t --exec-id three web tty
ctr task pause web
status
ctr task resume web
status
ctr task ps web | wc -l
ctr task kill -s KILL web
tries=0
until [ "$(status)" = STOPPED ]; do
    tries=$((tries + 1))
    [ $tries -lt 300 ]
    sleep 0.1
done
ctr task delete web 2>&1 | grep -o 'exit code 137'
ctr container rm web
ls "/run/containerd/runc/$CONTAINERD_NAMESPACE" "/run/containerd/io.containerd.runtime.v2.task/$CONTAINERD_NAMESPACE" |
    grep -v :
find "/sys/fs/cgroup/$CONTAINERD_NAMESPACE" 2>/dev/null || true
"#;

#[test]
fn it_runs_execs_pauses_and_deletes() {
    let (Some(path), Some(store)) = (support::engine("containerd"), store(User::Root)) else {
        return;
    };
    let needs = [Need::Root, Need::Program("script")];
    let Some(archive) =
        image("archives/alpine-caps-opaque.docker.tar").filter(|_| requires(&needs))
    else {
        return;
    };
    let lines = engine::lines_of(SCRIPT, &store, &path, "containerd/config.toml", &archive);
    let missing = "ctr: failed to create shim task: OCI runtime create failed: exec: \"nosuch\": executable file not found in $PATH: unknown";
    let expected = [
        "hello",
        "5",
        missing,
        "1",
        "/dev/pts/0",
        "sleep",
        "6",
        "/dev/pts/0",
        "PAUSED",
        "RUNNING",
        "2",
        "exit code 137",
        "",
    ];
    assert_eq!(lines, expected);
}
