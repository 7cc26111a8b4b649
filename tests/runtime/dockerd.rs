//! Docker's engine with this runtime, in a view of the host with control groups of version 2 only; limits, a network and
//! the comparison with runc are in the virtual machine (tests/vm/called).

use crate::engine;
use crate::scene::alpine_archive;
use crate::support::{self, Need, User, requires, store};

/// An engine of its own, told what to do, and ended.
const SCRIPT: &str = r#"
mkdir config
name=$(basename "${PWD%/home}")
export DOCKER_HOST=unix:///run/docker.sock DOCKER_CONFIG="$PWD/config"
dockerd --config-file "$CONFIGURATION" --iptables=false --ip6tables=false --bridge=none --storage-driver vfs \
    --data-root "$PWD/docker" --cgroup-parent "/$name" --exec-opt native.cgroupdriver=cgroupfs -H "$DOCKER_HOST" >dockerd.log 2>&1 &
daemon=$!
trap 'kill $daemon; wait $daemon || true' EXIT
tries=0
until docker info >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ $tries -lt 300 ] && kill -0 $daemon || { cat dockerd.log >&2; exit 1; }
    sleep 0.1
done
# What the engine says, without its own log, and the exit code.
failing() {
    code=0
    "$@" >said 2>&1 || code=$?
    grep -v level= said || true
    echo $code
}
state() { docker inspect -f "{{.State.$1}}" web; }

docker info -f '{{.DefaultRuntime}}'
docker import "$ARCHIVE" alpine >/dev/null
docker run --rm alpine echo hello
failing docker run --rm alpine sh -c 'exit 5'
failing docker run --rm alpine nosuch
failing docker run --rm alpine /etc
script -qec 'docker run --rm -it alpine tty' /dev/null </dev/null | sed 's/\^@//'
docker run -d --name web --health-cmd 'test -e /tmp' --health-interval 200ms alpine sleep 1000 >/dev/null
docker exec web cat /proc/1/comm
failing docker exec web sh -c 'exit 6'
failing docker exec web nosuch
script -qec 'docker exec -it web tty' /dev/null </dev/null | sed 's/\^@//'
docker pause web >/dev/null
state Status
docker unpause web >/dev/null
state Status
docker top web -o pid,comm | awk '{ print $2 }'
tries=0
until [ "$(state Health.Status)" = healthy ]; do
    tries=$((tries + 1))
    [ $tries -lt 300 ]
    sleep 0.1
done
docker restart -t 0 web >/dev/null
state Status
docker stop -t 0 web >/dev/null
state ExitCode
docker rm web >/dev/null
# More than this very host may give.
docker run --rm --privileged alpine true
docker run --rm --user 5:6 --cap-drop all --read-only --tmpfs /x --security-opt no-new-privileges alpine \
    sh -c 'id -u; touch /x/y; ! touch /y 2>/dev/null'
docker ps -aq
find "/sys/fs/cgroup/$name" -mindepth 1 2>/dev/null || true
"#;

#[test]
fn it_runs_execs_pauses_and_removes() {
    let (Some(path), Some(store)) = (support::engine("dockerd"), store(User::Root)) else {
        return;
    };
    let needs = [Need::Root, Need::Program("script"), Need::Program("runc")];
    let Some(archive) = alpine_archive().filter(|_| requires(&needs)) else {
        return;
    };
    let lines = engine::lines_of(SCRIPT, &store, &path, "docker/daemon.json", &archive);
    let failed = "docker: Error response from daemon: ";
    let missing = format!(
        "{failed}failed to create shim task: OCI runtime create failed: exec: \"nosuch\": executable file not found in $PATH: unknown."
    );
    let directory = format!(
        "{failed}failed to create shim task: OCI runtime create failed: exec: \"/etc\": is a directory: permission denied: unknown."
    );
    let expected = [
        "onggi",
        "hello",
        "5",
        &missing,
        "127",
        &directory,
        "126",
        "/dev/pts/0",
        "sleep",
        "6",
        "OCI runtime exec failed: exec: \"nosuch\": executable file not found in $PATH: unknown",
        "126",
        "/dev/pts/0",
        "paused",
        "running",
        "COMMAND",
        "sleep",
        "running",
        "137",
        "5",
    ];
    assert_eq!(lines, expected);
}
