//! container exists: an exit code for scripts, and not a word.

use crate::support::{ALPINE, everyone_with_alpine};

#[test]
fn by_name_and_id() {
    for store in everyone_with_alpine() {
        let id = store.ok(["create", "--name", "one", ALPINE, "true"]);
        for (name, code) in [
            ("one", 0),
            (id.trim(), 0),
            (&id[..6], 0),
            ("on", 1),
            ("missing", 1),
            ("", 1),
            ("../one", 1),
        ] {
            store
                .onggi(["container", "exists", name])
                .run()
                .code(code)
                .stdout("")
                .stderr("");
        }
        store.ok(["rm", "one"]);
        store
            .onggi(["container", "exists", "one"])
            .run()
            .code(1)
            .stdout("")
            .stderr("");
    }
}
