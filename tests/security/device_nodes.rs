//! The host's memory and disks are numbers that anybody knows: a node for one must open nothing, wherever it lies.

use crate::situation::{Entry, exec_shell, hostile_with, run_hostile, web};
use crate::support::{Outcome, Store, User, everyone_in_memory, store};

/// Memory (`/dev/mem`) and a disk (`/dev/loop0`), neither of which a container has; what came of each, line by line.
const MAKE: &str =
    "for node in /node /dev/node /tmp/node /dev/shm/node; do for number in 'c 1 1' 'b 7 0'; do
        mknod -m 666 $node $number 2>/said || { cat /said; continue; }
        test -e $node || echo nothing was made
        test ! -e $node || head -c 1 $node 2>&1 >/dev/null | grep . || echo opened
        rm -f $node
    done; done";
const ATTEMPTS: usize = 8;
/// With a device to try it on, and none of that number there; the kernel has looked for it.
const LET_THROUGH: [&str; 2] = ["opened", "No such device or address"];

/// What the walls say: a filter for devices and `nodev`, or nobody may make a node of any number, or makes none.
fn walls(user: User) -> &'static [&'static str] {
    match user {
        User::Root => &["Operation not permitted", "Permission denied"],
        User::Subuid => &["Operation not permitted"],
        User::Single => &["nothing was made"],
    }
}

/// How many attempts ended with one of these words, of all that there were.
#[track_caller]
fn ended_with(outcome: &Outcome, words: &[&str]) -> usize {
    let text = outcome.stdout_text();
    outcome.expect(text.lines().count() == ATTEMPTS, "a line for each attempt");
    let is_one = |line: &&str| words.iter().any(|word| line.ends_with(word));
    text.lines().filter(is_one).count()
}

#[test]
fn nodes_that_a_container_makes_open_nothing() {
    for store in everyone_in_memory() {
        let all = |outcome: &Outcome| {
            let walls = walls(store.user);
            outcome.expect(
                ended_with(outcome, walls) == ATTEMPTS,
                &format!("{walls:?}"),
            );
        };
        all(&store.shell(&["--tmpfs", "/tmp"], MAKE).run());
        web(&store, &[], "");
        all(&exec_shell(&store, &[], MAKE));
        // What a container has can be used.
        let own = "head -c 1 /dev/zero | wc -c; echo x >/dev/null; head -c 1 /dev/urandom | wc -c";
        exec_shell(&store, &[], own).code(0).stdout("1\n1\n");
    }
}

/// Without a control group there is no filter. The node is that of zeros, which is on every host and does no harm.
#[test]
fn nodes_in_mounts_open_nothing_without_a_filter() {
    let Some(store) = store(User::Root) else {
        return;
    };
    let entries = [
        ("data/theirs", Entry::Device(1, 5)),
        ("data/below/theirs", Entry::Device(1, 5)),
    ];
    if !hostile_with(&store, &entries, &["-c", "VOLUME /data"]) {
        return;
    }
    let own = store.home().join("own");
    std::fs::create_dir(&own).unwrap();
    let own = own.display();
    let bind = format!("{own}:/bind");
    let [once, with_devices, devices] = [
        format!("type=bind,src={own},dst=/once,bind-recursive=disabled"),
        format!("type=bind,src={own},dst=/open,dev"),
        "/dev:/dev".to_owned(),
    ];
    let open = "for node in $nodes; do test -c $node && head -c 1 $node 2>&1 >/dev/null | grep -o 'Permission denied' || \
                echo opened; done";
    let script = format!(
        "for node in /data/own /named/own /bind/first /once/second; do mknod -m 666 $node c 1 5 || exit 9; \
         nodes=\"$nodes $node\"; done; nodes=\"$nodes /data/theirs /data/below/theirs\"; {open}; rm /bind/first /once/second"
    );
    let options = [
        "--cgroups=disabled",
        "-v",
        "named:/named",
        "-v",
        &bind,
        "--mount",
        &once,
    ];
    let denied = "Permission denied\n".repeat(6);
    run_hostile(&store, &options, &script)
        .code(0)
        .stdout(&denied);
    // In the root of a container that is mounted for its user as well.
    let create = ["create", "--name", "web", "--cgroups=disabled", "hostile"];
    let root = format!("mknod -m 666 /node c 1 5; nodes=/node; {open}");
    store
        .onggi(create.iter().copied().chain(["sh", "-c", &root]))
        .run()
        .code(0);
    store.ok(["mount", "web"]);
    store
        .onggi(["start", "-a", "web"])
        .run()
        .code(0)
        .stdout("Permission denied\n");
    store.ok(["rm", "-f", "web"]);
    // What the user has named can be opened.
    for (words, script) in [
        (["-v", "/dev/zero:/x"], "head -c 1 /x | wc -c"),
        (["-v", "/dev/zero:/data/x"], "head -c 1 /data/x | wc -c"),
        (["-v", &devices], "head -c 1 /dev/zero | wc -c"),
        (
            ["--mount", &with_devices],
            "mknod /open/own c 1 5; head -c 1 /open/own | wc -c; rm /open/own",
        ),
    ] {
        let options = ["--cgroups=disabled", words[0], words[1]];
        run_hostile(&store, &options, script).code(0).stdout("1\n");
    }
}

/// Only real root can make them at all, and only where the user has opened every door.
#[test]
fn without_the_wall() {
    let Some(store) = store(User::Root).filter(Store::alpine) else {
        return;
    };
    let outcome = store.shell(&["--privileged"], MAKE).run();
    // On `/dev/shm` none opens anything, which is a mount with `nodev`.
    let reached = ended_with(&outcome, &LET_THROUGH);
    outcome.expect(reached == ATTEMPTS - 2, "a way to each device");
    outcome.stdout_has("opened\n");
}
