//! The host's memory and disks are numbers that anybody knows: a node for one must open nothing, wherever it lies.

use crate::situation::{exec_shell, web};
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
