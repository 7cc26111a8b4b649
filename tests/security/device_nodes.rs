//! The host's disks are numbers that anybody knows: a node for one must open nothing, wherever it lies.

use crate::situation::exec_shell;
use crate::support::{ALPINE, User, everyone_in_memory, store};

const MAKE: &str = "for node in /node /dev/node /dev/shm/node /tmp/node; do
        mknod -m 666 $node c 1 5 2>/dev/null
        head -c 1 $node >/dev/null 2>&1 && echo opened $node
    done
    head -c 1 /dev/zero | wc -c; echo x >/dev/null; head -c 1 /dev/urandom | wc -c";

#[test]
fn nodes_that_a_container_makes_open_nothing() {
    for store in everyone_in_memory() {
        let run = ["run", "--rm", "--tmpfs", "/tmp", ALPINE, "sh", "-c", MAKE];
        store.onggi(run).run().code(0).stdout("1\n1\n");
        let stay = ["run", "-d", "--name", "web", ALPINE, "sleep", "1000"];
        store.onggi(stay).run().code(0);
        exec_shell(&store, &[], MAKE).code(0).stdout("1\n1\n");
    }
}

/// Only real root can make them at all, and only where the user has opened every door.
#[test]
fn without_the_wall() {
    let Some(store) = store(User::Root).filter(crate::support::Store::alpine) else {
        return;
    };
    store
        .shell(&["--privileged"], MAKE)
        .run()
        .code(0)
        .stdout_has("opened /node\n")
        .stdout_has("opened /dev/node\n");
}
