//! What cannot be used ends with 125 and leaves the store as it was.

use crate::support::{everyone, everyone_with_alpine, image};

/// The store after a command that had to fail is the store before it.
fn assert_refused(store: &crate::support::Store, words: &[&str]) {
    // The first command on a store may make its folders.
    store.onggi(["images"]).run().code(0);
    store.onggi(["load", "-i", "/dev/null"]).run().code(1);
    let before = store.snapshot();
    let outcome = store.onggi(words).run();
    let code = if ["load", "import"].contains(&words[0]) {
        1
    } else {
        125
    };
    outcome
        .code(code)
        .stdout("")
        .expect(!outcome.stderr_text().trim().is_empty(), "a reason");
    store.assert_unchanged(&before);
    store.onggi(["ps", "-aq"]).run().code(0).stdout("");
}

#[test]
fn broken_images() {
    for store in everyone() {
        for path in [
            "grootfs/corrupted",
            "grootfs/invalid-config",
            "buildpacks-busybox-sparse-oci",
            "README.md",
        ] {
            let Some(path) = image(path) else { continue };
            assert_refused(&store, &["load", "-i", path.to_str().unwrap()]);
        }
    }
}

#[test]
fn broken_archives() {
    for store in everyone() {
        let Some(path) = image("archives/test-docker-image.tar") else {
            return;
        };
        let whole = std::fs::read(path).unwrap();
        let cut = store.file("cut.tar", &whole[..whole.len() / 2]);
        assert_refused(&store, &["load", "-i", cut.to_str().unwrap()]);
        let noise: Vec<u8> = (0..100_000u32)
            .map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        let noise = store.file("noise", noise);
        assert_refused(&store, &["load", "-i", noise.to_str().unwrap()]);
        assert_refused(&store, &["import", noise.to_str().unwrap(), "noise:1"]);
        assert_refused(&store, &["load", "-i", "/no/such/file"]);
    }
}

#[test]
fn options_that_cannot_be() {
    for store in everyone_with_alpine() {
        let bad = [
            &["--ulimit", "nofile=abc"][..],
            &["--tmpfs", "relative"],
            &["--shm-size", "-1"],
            &["--add-host", "no-address"],
            &["--security-opt", "nonsense=1"],
            &["--env-file", "/no/such/file"],
            &["--platform", "windows/amd64"],
            &["--network", "no-such-network"],
            &["-e", "=value"],
        ];
        let before = store.snapshot();
        for options in bad {
            store.shell(options, "true").run().code(125).stdout("");
            store.assert_unchanged(&before);
        }
    }
}
