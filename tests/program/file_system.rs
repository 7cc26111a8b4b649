//! A store where there are no overlays: FUSE, with and without extended attributes, and the root of another container
//! (which is an overlay itself, see `nested`). What is found is told once, and everything goes on with copies.

use crate::support::{ALPINE, Need, OwnMounts, Store, User, requires, store};

/// The store's data root lies on a FUSE file system.
fn on_fuse(user: User, options: &str) -> Option<(Store, OwnMounts)> {
    if !requires(&[Need::Root, Need::Program("bindfs")]) {
        return None;
    }
    let mut store = store(user)?;
    let (home, data) = (store.home(), store.data());
    let script = format!(
        "mkdir -p \"$1/back\"; chown --reference=\"$1\" \"$1/back\"; mkdir -p \"$2\"; bindfs {options} \"$1/back\" \"$2\""
    );
    let mounts = OwnMounts::prepared(&mut store, &script, &[home, data]);
    Some((store, mounts))
}

fn everyone_on_fuse() -> impl Iterator<Item = (Store, OwnMounts)> {
    let users = [User::Root, User::Subuid, User::Single];
    users
        .into_iter()
        .filter_map(|user| on_fuse(user, "--xattr-none"))
}

const TOLD: &str = "cannot hold the changes of containers as overlays (";

#[test]
fn it_is_told_once_and_shown_by_info_and_check() {
    for (store, _mounts) in everyone_on_fuse() {
        let first = store.onggi(["ps"]).run();
        first
            .code(0)
            .stderr_has(TOLD)
            .stderr_has("another --root is faster");
        store.onggi(["ps"]).run().code(0).stderr("");
        let info = store.onggi(["info"]).run();
        info.code(0)
            .stdout_has("Storage Driver: vfs")
            .stdout_has("Roots of containers: copies of all files of the image (");
        let check = store.onggi(["system", "check"]).run();
        check
            .code(0)
            .stdout("The store is consistent\n")
            .stderr_has(TOLD);
    }
}

#[test]
fn changes_are_kept_shown_and_committed() {
    for (store, _mounts) in everyone_on_fuse() {
        if !store.alpine() {
            return;
        }
        let change = "echo new >/new; rm -r /media /etc/issue; mkdir /media; echo x >>/etc/motd; chmod 700 /srv";
        let run = ["run", "--name", "box", ALPINE, "sh", "-c", change];
        store.onggi(run).run().code(0);
        let diff = "C /etc\nD /etc/issue\nC /etc/motd\nC /media\nD /media/cdrom\nD /media/floppy\nD /media/usb\n\
                    A /new\nC /srv\n";
        let mut expected: Vec<&str> = diff.lines().collect();
        expected.sort_unstable();
        let told = store.onggi(["diff", "box"]).run();
        told.code(0);
        let text = told.stdout_text();
        let mut told: Vec<&str> = text.lines().collect();
        told.sort_unstable();
        assert_eq!(told, expected);
        store.onggi(["commit", "box", "changed"]).run().code(0);
        let look = "cat /new; ls /media /etc/issue 2>&1; tail -n 1 /etc/motd; stat -c %a /srv";
        let outcome = store
            .onggi(["run", "--rm", "changed", "sh", "-c", look])
            .run();
        outcome
            .code(0)
            .stdout("new\nls: /etc/issue: No such file or directory\n/media:\nx\n700\n");
        // Nobody else's copy has changed, and its own goes on.
        let outcome = store.shell(&[], "ls /new /etc/issue").run();
        outcome.code(1).stdout("/etc/issue\n");
        store.onggi(["start", "-a", "box"]).run().code(0);
        store
            .onggi(["cp", "box:/etc/motd", "-"])
            .run()
            .code(0)
            .stdout_has("x\nx\n");
        // A layer that hides what is below it, all of a directory and single files.
        let hide = [
            "run", "--name", "less", "changed", "rm", "-r", "/new", "/home",
        ];
        store.onggi(hide).run().code(0);
        store.onggi(["commit", "less", "less"]).run().code(0);
        let outcome = store
            .onggi(["run", "--rm", "less", "sh", "-c", "ls -d /new /home /srv"])
            .run();
        outcome.stdout("/srv\n");
        store.onggi(["rm", "box", "less"]).run().code(0);
        store.onggi(["system", "check", "--deep"]).run().code(0);
        let left = store.seen(&store.data().join("containers"));
        assert_eq!(std::fs::read_dir(left).unwrap().count(), 0);
    }
}

#[test]
fn an_image_is_built() {
    for (store, _mounts) in everyone_on_fuse() {
        if !store.alpine() {
            return;
        }
        store.file("context/one", "1");
        store.file(
            "context/Dockerfile",
            "FROM alpine:3.20 AS first\nRUN echo 2 > /two && rm -r /media && mkdir /media\nFROM alpine:3.20\nCOPY one /one\n\
             COPY --from=first /two /three/\nRUN --mount=type=bind,from=first,target=/m cat /m/two /m/etc/hostname > /four; ls /m/media\n",
        );
        let build = [
            "build",
            "--network",
            "none",
            "--progress",
            "plain",
            "-t",
            "app",
            "context",
        ];
        store.onggi(build).run().code(0);
        let look = ["run", "--rm", "app", "cat", "/one", "/three/two", "/four"];
        let looked = store.onggi(look).run();
        looked.code(0).stdout_has("12\n2\n");
    }
}

#[test]
fn an_image_with_opaque_directories_and_capabilities_is_the_same_as_with_overlays() {
    let archive = "archives/alpine-caps-opaque.docker.tar";
    let script = "find / -xdev ! -path '/dev*' ! -path '/proc*' ! -path '/sys*' ! -path '/etc/host*' \
                  ! -path /etc/resolv.conf -exec stat -c '%n %a %u %g %F' {} + | sort";
    let listing = |store: &Store| {
        let name = store.load(archive)?;
        let run = ["run", "--rm", "-u", "0", "--entrypoint", "sh"];
        let outcome = store
            .onggi(run.iter().chain(&[&name[..], "-c", script]))
            .run();
        outcome.code(0);
        // What was only made to mount on has no mode that would say anything.
        let is_image = |line: &&str| !line.starts_with("/ ") && !line.starts_with("/etc ");
        let text = outcome.stdout_text();
        let lines = text.lines().filter(is_image);
        Some(lines.map(str::to_owned).collect::<Vec<_>>())
    };
    let Some((copies, _mounts)) = on_fuse(User::Root, "") else {
        return;
    };
    let Some(overlays) = store(User::Root) else {
        return;
    };
    if let (Some(copied), Some(overlaid)) = (listing(&copies), listing(&overlays)) {
        assert!(overlaid.len() > 100, "{overlaid:?}");
        assert_eq!(copied, overlaid);
    }
}

#[test]
fn a_size_needs_quotas() {
    let words = "--storage-opt is supported only for overlay over xfs with 'pquota' mount option";
    for user in [User::Root, User::Subuid, User::Single] {
        let Some(store) = store(user).filter(Store::alpine) else {
            continue;
        };
        let outcome = store.shell(&["--storage-opt", "size=10M"], "true").run();
        outcome.code(125).stderr_has(words);
        let outcome = store.shell(&["--storage-opt", "size=much"], "true").run();
        outcome.code(125).stderr_has("size");
        let outcome = store.shell(&["--storage-opt", "inodes=7"], "true").run();
        outcome.code(125).stderr_has("Unknown option inodes");
        store.onggi(["ps", "-aq"]).run().code(0).stdout("");
        let left = std::fs::read_dir(store.data().join("containers")).unwrap();
        assert_eq!(left.count(), 0);
    }
    if let Some((store, _mounts)) = on_fuse(User::Root, "--xattr-none").filter(|(s, _)| s.alpine())
    {
        let outcome = store.shell(&["--storage-opt", "size=10M"], "true").run();
        outcome.code(125).stderr_has(words);
    }
}
