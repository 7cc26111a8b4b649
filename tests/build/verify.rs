//! `--verify`, and what makes another image and what does not.

use crate::support::everyone_with_alpine;
use std::time::{Duration, SystemTime};

#[test]
fn what_differs_is_named() {
    for store in everyone_with_alpine() {
        let text = "FROM alpine:3.20\nRUN mkdir /d && cat /proc/sys/kernel/random/uuid > /d/random; echo same > /d/same\n\
                    RUN touch /$(cat /proc/sys/kernel/random/uuid)\n";
        store.file("context/Dockerfile", text);
        let differing = store
            .onggi(["build", "--verify", "-t", "app", "context"])
            .run();
        differing
            .code(1)
            .stdout_has("/d/random: content\n")
            .stdout_has(": only in the first build\n")
            .stdout_has(": only in the second build\n")
            .stdout_lacks(": /d/same:");
        // The first is an image like any other.
        let words = ["run", "--rm", "app", "cat", "/d/same"];
        store.onggi(words).run().code(0).stdout("same\n");
        let layers = std::fs::read_dir(store.data().join("layers")).unwrap();
        // Alpine's and two of the first build; where a store holds more than layers there, it holds it before as well.
        assert_eq!(layers.count(), 3, "of {}", store.data().display());
        store.assert_no_process_is_left();
    }
}

#[test]
fn what_is_the_same_is() {
    for store in everyone_with_alpine() {
        let text = "FROM alpine:3.20\nRUN mkdir /d && echo x > /d/x && ln -s x /d/y\nCOPY f /f\nWORKDIR /w\n";
        store.file("context/Dockerfile", text);
        store.file("context/f", "f");
        let words = ["build", "--verify", "-t", "app", "context"];
        store.onggi(words).run().code(0).stdout("");
    }
}

#[test]
fn touching_files_makes_no_other_image() {
    for store in everyone_with_alpine().take(1) {
        store.file(
            "context/Dockerfile",
            "FROM alpine:3.20\nCOPY f /f\nENV A=1\n",
        );
        store.file("context/f", "f");
        let build = || {
            let built = store.onggi(["build", "-q", "context"]).run();
            built.code(0);
            built.stdout_text()
        };
        let first = build();
        for name in ["context/Dockerfile", "context/f"] {
            let path = store.home().join(name);
            let later = SystemTime::now() + Duration::from_secs(3600);
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_modified(later).unwrap();
            assert_eq!(build(), first, "{name}");
        }
    }
}
