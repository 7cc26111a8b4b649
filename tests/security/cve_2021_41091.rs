//! CVE-2021-41091: other users of the host reach the files of images and containers, setuid programs among them,
//! through the data directory.

use crate::situation::{Entry, hostile};
use crate::support::{Need, Store, User, requires, skip, store};
use crate::support::{Outcome, OwnMounts};
use crate::unwalled;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// A store with everything that leaves a trace on the disk, nothing kept from others by the mask of who made it.
struct Filled {
    mounts: OwnMounts,
    store: Store,
}

impl Filled {
    fn of(user: User) -> Option<Self> {
        let mut store = store(user)?;
        let mounts = OwnMounts::of(&mut store);
        for name in ["data", "run"] {
            std::fs::remove_dir(store.path().join(name)).unwrap();
        }
        // The roots are made by the program itself, whose user must be able to.
        set_mode(store.path(), 0o777);
        without_mask(&store, &["run", "--rm", "hello"]);
        if !hostile(&store, &[("setuid", Entry::File(b"x", 0o4755))]) {
            return None;
        }
        let script = "cp /setuid /copied; chmod 4755 /copied; echo logged; exec sleep 1000";
        let run = ["run", "-d", "--name", "web", "hostile", "sh", "-c", script];
        without_mask(&store, &run);
        if user == User::Root {
            without_mask(&store, &["mount", "web"]);
        }
        set_mode(store.path(), 0o755);
        Some(Self { mounts, store })
    }

    /// What somebody who is not the store's user finds below a directory.
    fn found_by_another(&self, directory: &Path) -> Option<Outcome> {
        let other = match self.store.user {
            User::Single => User::Subuid,
            _ => User::Single,
        };
        let Ok(account) = other.account() else {
            skip("there is no other user");
            return None;
        };
        let mut find = Command::new("nsenter");
        find.args(["-m", "-t", &self.mounts.pid().to_string()]);
        find.args([
            "-S",
            &account.uid.to_string(),
            "-G",
            &account.gid.to_string(),
        ]);
        find.args(["--wd=/", "find"])
            .arg(directory)
            .args(["-mindepth", "1"]);
        Some(unwalled::run(find))
    }
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn without_mask(store: &Store, words: &[&str]) {
    let onggi = store.onggi(words).into_command();
    let mut shell = Command::new("sh");
    shell.args(["-c", "umask 000; exec \"$0\" \"$@\""]);
    shell
        .arg(onggi.get_program())
        .args(onggi.get_args())
        .env_clear();
    for (name, value) in onggi.get_envs() {
        shell.env(name, value.unwrap());
    }
    unwalled::run(shell).code(0);
}

#[test]
fn others_find_nothing() {
    if !requires(&[Need::Root, Need::Program("nsenter")]) {
        return;
    }
    for user in [User::Root, User::Subuid, User::Single] {
        let Some(filled) = Filled::of(user) else {
            continue;
        };
        let store = &filled.store;
        if let Some(found) = filled.found_by_another(&store.data()) {
            found.code(1).stdout("").stderr_has("Permission denied");
        }
        // Only root has something to keep there.
        if let Some(found) = filled.found_by_another(&store.run_root()) {
            let reason = match user {
                User::Root => "Permission denied",
                User::Subuid | User::Single => "No such file or directory",
            };
            found.code(1).stdout("").stderr_has(reason);
        }
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&store.data()), 0o700);
        if user == User::Root {
            assert_eq!(mode(&store.run_root().join("mounts")), 0o700);
        }
        store.ok(["rm", "-f", "web"]);
    }
}

/// With the door open, the same search finds the setuid program of the image.
#[test]
fn without_the_wall() {
    if !requires(&[Need::Root, Need::Program("nsenter")]) {
        return;
    }
    let Some(filled) = Filled::of(User::Root) else {
        return;
    };
    set_mode(&filled.store.data(), 0o755);
    if let Some(found) = filled.found_by_another(&filled.store.data()) {
        found.stdout_has("/setuid\n");
    }
    filled.store.ok(["rm", "-f", "web"]);
}
