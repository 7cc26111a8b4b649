//! buildah(1) with this runtime: `run` and `bud` in isolation `oci`, as root in a view of the host with control groups of
//! version 2 only, and as a user with subordinate ids.

use crate::scene::alpine_archive;
use crate::support::{Need, Outcome, User, requires, store};

/// Without limits that the tests' host cannot raise.
const CONFIGURATION: &str = r#"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
"#;

const SCRIPT: &str = r#"
[ "$(id -u)" != 0 ] || mount -t cgroup2 none /sys/fs/cgroup
options="--root $PWD/storage --runroot $PWD/r --storage-driver vfs"
started="--isolation oci --runtime $PWD/onggi-runtime --network host"
run() { buildah $options run $started "$@"; }
base=$(buildah $options from scratch)
buildah $options add -q "$base" "$ARCHIVE" / >/dev/null
buildah $options commit -q "$base" alpine >/dev/null
container=$(buildah $options from alpine)
run "$container" -- echo hello
run "$container" -- sh -c 'exit 5' 2>/dev/null || echo $?
run "$container" -- nosuch 2>&1 | grep -o 'exec: "nosuch".*'
echo given | run "$container" -- cat
run --user 5:6 --cap-drop all --workingdir /tmp --hostname kiln -e A=b "$container" -- \
    sh -c 'echo $(id -u):$(id -g) $(pwd) $(hostname) $A $(grep CapEff /proc/self/status)'
script -qec "buildah $options run $started -t $container -- tty" /dev/null </dev/null | sed 's/\^@//'
printf 'FROM alpine\nRUN echo made >/made\nRUN --mount=type=tmpfs,dst=/x touch /x/y\nRUN test "$(cat /made)" = made\n' >Dockerfile
made=$(buildah $options from "$(buildah $options bud $started -q .)")
run "$made" -- cat /made
"#;

#[test]
fn it_runs_and_builds() {
    let Some(archive) =
        alpine_archive().filter(|_| requires(&[Need::Program("buildah"), Need::Program("script")]))
    else {
        return;
    };
    for store in [User::Root, User::Subuid].into_iter().filter_map(store) {
        let configuration = store.file("containers.conf", CONFIGURATION);
        let runtime = store.home().join("onggi-runtime");
        std::os::unix::fs::symlink(crate::support::store::program(), runtime).unwrap();
        let mut command = match store.user {
            User::Root => store.command("unshare"),
            _ => store.command("env"),
        };
        if store.user == User::Root {
            command.arg("-m");
        }
        command
            .env("CONTAINERS_CONF", configuration)
            .env("ARCHIVE", &archive)
            .args(["sh", "-ec", SCRIPT])
            .stdin(std::process::Stdio::null());
        let outcome = Outcome::of("buildah", command.output().unwrap());
        let said = outcome.code(0).stdout_text();
        let lines: Vec<&str> = said.lines().map(str::trim_end).collect();
        let expected = [
            "hello",
            "5",
            "exec: \"nosuch\": executable file not found in $PATH",
            "given",
            "5:6 /tmp kiln b CapEff: 0000000000000000",
            "/dev/pts/0",
            "made",
        ];
        assert_eq!(lines, expected, "{:?}", store.user);
    }
}
