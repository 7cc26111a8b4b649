//! podman(1) with this runtime, in a view of the host with control groups of version 2 only.

use crate::scene::alpine_archive;
use crate::support::{Need, Outcome, User, requires, store};

/// Without limits that the tests' host cannot raise.
const CONFIGURATION: &str = r#"
[containers]
pids_limit = 0
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
netns = "host"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
"#;

#[test]
fn it_runs_execs_pauses_and_removes() {
    if !requires(&[Need::Root, Need::Program("podman"), Need::Program("conmon")]) {
        return;
    }
    let Some(store) = store(User::Root) else {
        return;
    };
    let Some(archive) = alpine_archive() else {
        return;
    };
    let configuration = store.file("containers.conf", CONFIGURATION);
    let runtime = store.home().join("onggi-runtime");
    std::os::unix::fs::symlink(crate::support::store::program(), &runtime).unwrap();
    let script = format!(
        r#"
        mount -t cgroup2 none /sys/fs/cgroup
        # Its run root may have 50 characters at most.
        mount -t tmpfs none /mnt
        podman() {{
            command podman --root /mnt/s --runroot /mnt/r --tmpdir /mnt/t --storage-driver vfs --runtime {runtime} "$@"
        }}
        podman import -q {archive} alpine >/dev/null
        test "$(podman run --rm alpine echo hello)" = hello
        podman run --rm alpine nosuch 2>&1 && exit 1 || test $? = 127
        podman run --rm alpine sh -c 'exit 5' && exit 1 || test $? = 5
        podman run -d --name web alpine sleep 1000 >/dev/null
        podman exec web cat /proc/1/comm
        podman exec -t web tty
        podman exec web sh -c 'exit 6' && exit 1 || test $? = 6
        podman pause web >/dev/null
        podman inspect -f '{{{{.State.Status}}}}' web
        podman unpause web >/dev/null
        podman inspect -f '{{{{.State.Status}}}}' web
        podman top web comm
        podman kill web >/dev/null
        podman wait web
        podman rm web >/dev/null
        podman run --rm -t alpine tty
        "#,
        runtime = runtime.display(),
        archive = archive.display(),
    );
    let mut command = store.command("unshare");
    command.env("CONTAINERS_CONF", configuration);
    command
        .args(["-m", "sh", "-ec", &script])
        .stdin(std::process::Stdio::null());
    let outcome = Outcome::of("podman", command.output().unwrap());
    outcome.code(0).stdout_has("sleep\n/dev/pts/0");
    let said = outcome.stdout_text();
    let lines: Vec<&str> = said.lines().map(str::trim_end).collect();
    let expected = ["paused", "running", "COMMAND", "sleep", "137", "/dev/pts/0"];
    assert!(lines.ends_with(&expected), "{lines:?}");
}
