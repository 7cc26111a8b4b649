//! Whose the files of mounts are: what is announced, `U`, ids on the disk.

use crate::life_cycle::send;
use crate::support::{ALPINE, Outcome, Store, User, everyone_in_memory, everyone_with_alpine};
use crate::userns::{as_user, pool};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

/// A directory of the user's in the home directory.
fn directory(store: &Store, name: &str) -> PathBuf {
    let path = store.home().join(name);
    std::fs::create_dir(&path).unwrap();
    let (user, group) = (store.account.uid, store.account.gid);
    chown(&path, Some(user), Some(group)).unwrap();
    path
}

fn ids(path: &Path) -> (u32, u32) {
    let found = path.symlink_metadata().unwrap();
    (found.uid(), found.gid())
}

/// What a start says of mounts.
fn announced(outcome: &Outcome) -> Vec<String> {
    let said = outcome.code(0).stderr_text();
    let lines = said.lines().filter(|line| line.contains(", mounted on "));
    lines.map(str::to_owned).collect()
}

#[test]
fn what_would_surprise_is_announced_with_what_mends_it() {
    for store in everyone_with_alpine() {
        if !crate::support::host::is_root() {
            continue;
        }
        let own = directory(&store, "own").display().to_string();
        let foreign = directory(&store, "foreign");
        chown(&foreign, Some(33), Some(33)).unwrap();
        let foreign = foreign.display().to_string();
        let start = |options: &[&str], source: &str| -> Vec<String> {
            let mount = format!("{source}:/mnt");
            let options: Vec<&str> = options.iter().copied().chain(["-v", &mount]).collect();
            announced(&store.shell(&options, "true").run())
        };
        let said = |lines: &[String], words: &[&str]| {
            assert_eq!(lines.len(), 1, "{lines:?}");
            for word in words {
                assert!(lines[0].contains(word), "{lines:?} without {word}");
            }
        };
        let nothing: [&str; 0] = [];
        assert_eq!(start(&[], &own), nothing);
        match store.user {
            User::Root => {
                assert_eq!(start(&[], &foreign), nothing);
                let map = ["--uidmap", "0:100000:65536"];
                said(&start(&map, &foreign), &["`:idmap`", "`:U`"]);
                for mode in ["idmap", "U"] {
                    let mount = format!("{foreign}:/mnt:{mode}");
                    let options = ["--uidmap", "0:100000:65536", "-v", &mount];
                    let outcome = store.shell(&options, "stat -c %u /mnt").run();
                    assert_eq!(announced(&outcome), nothing);
                    outcome.stdout(if mode == "U" { "0\n" } else { "33\n" });
                }
            }
            User::Subuid | User::Single => {
                said(
                    &start(&[], &foreign),
                    &["looks like nobody's", "--userns keep-id"],
                );
            }
        }
        if store.user == User::Subuid {
            // New files would be 100004's, whom the user is not.
            let lines = start(&["--user", "5"], &own);
            said(&lines, &["--userns keep-id:uid=5", "`:U`", "which is id "]);
            assert_eq!(start(&["--userns", "keep-id:uid=5"], &own), nothing);
            let mount = format!("{own}:/mnt");
            let options = ["--userns", "keep-id:uid=5,gid=6", "-v", &mount];
            let made = store
                .shell(&options, "id -u; stat -c %u:%g /mnt; touch /mnt/new")
                .run();
            made.code(0).stdout("5\n5:6\n");
            assert_eq!(
                ids(&Path::new(&own).join("new")),
                (store.account.uid, store.account.gid)
            );
        }
    }
}

#[test]
fn all_files_are_given_to_the_user_of_the_container() {
    for store in everyone_with_alpine() {
        let site = directory(&store, "site");
        store.file("site/file", "text");
        // One of the user's groups, which has no id in the container.
        let has_ids = store.user != User::Single && crate::support::host::is_root();
        let group = Some(33).filter(|_| has_ids);
        chown(site.join("file"), None, group).unwrap();
        let mut link = store.command("ln");
        link.args(["-s", "/etc/passwd", "site/link"]);
        assert!(link.status().unwrap().success());
        let passwd = ids(Path::new("/etc/passwd"));
        let mount = format!("{}:/mnt:U", site.display());
        let look = "stat -c %u:%g /mnt /mnt/file; id -u; touch /mnt/new";
        let given = store.shell(&["--user", "5:6", "-v", &mount], look).run();
        // With a single id there is nobody to give them to: they are the program's.
        let (inside, user) = match store.user {
            User::Single => ("0:0", 0),
            _ => ("5:6", 5),
        };
        given
            .code(0)
            .stdout(&format!("{inside}\n{inside}\n{user}\n"));
        assert_eq!(ids(&site.join("file")), ids(&site));
        assert_eq!(ids(&site.join("new")), ids(&site));
        assert_eq!(ids(Path::new("/etc/passwd")), passwd);
        // A volume, too, with what the image has there.
        let options = ["--user", "5:6", "-v", "vol:/etc/apk:U"];
        let given = store
            .shell(&options, "stat -c %u:%g /etc/apk /etc/apk/arch")
            .run();
        given.code(0).stdout(&format!("{inside}\n{inside}\n"));
    }
}

#[test]
fn what_is_given_is_what_is_mounted() {
    for store in everyone_with_alpine().filter(|store| store.user != User::Single) {
        let home = store.home();
        let site = directory(&store, "site");
        store.file("site/file", "text");
        let single = store.file("single", "text");
        let mut link = store.command("ln");
        assert!(
            link.args(["-s", "site", "link"])
                .status()
                .unwrap()
                .success()
        );
        let own = (store.account.uid, store.account.gid);
        let give = |mount: &[&str]| {
            let options: Vec<&str> = ["--user", "5:6"].iter().chain(mount).copied().collect();
            let outcome = store.shell(&options, "stat -c %u:%g /given").run();
            outcome.code(0).stdout("5:6\n");
        };
        give(&["-v", "./link:/given:U"]);
        assert_eq!(ids(&home.join("link")), own);
        assert!(ids(&site) != own && ids(&site.join("file")) != own);
        give(&["-v", "./single:/given:U"]);
        assert_eq!(ids(&single), ids(&site));
        // A part of a volume is given, and the rest is not.
        let fill = "mkdir /vol/part /vol/rest; touch /vol/part/file";
        store.shell(&["-v", "vol:/vol"], fill).run().code(0);
        let part = "type=volume,source=vol,target=/given,volume-subpath=part,U=true";
        give(&["--mount", part]);
        let look = "stat -c '%n %u' /vol /vol/part /vol/part/file /vol/rest";
        let found = store.shell(&["-v", "vol:/vol"], look).run();
        found
            .code(0)
            .stdout("/vol 0\n/vol/part 5\n/vol/part/file 5\n/vol/rest 0\n");
        // Of a volume that is elsewhere, what is there.
        let elsewhere = directory(&store, "elsewhere");
        let device = format!("device={}", elsewhere.display());
        store.ok(["volume", "create", "-o", "o=bind", "-o", &device, "bound"]);
        give(&["-v", "bound:/given:U"]);
        assert_eq!(ids(&elsewhere), ids(&site));
    }
}

/// More than two lines of progress, of which each is for 20,000.
const MANY: usize = 50_000;

#[test]
fn giving_files_stops_when_it_is_interrupted() {
    // With a single id there is nobody to give them to.
    for store in everyone_in_memory().filter(|store| store.user != User::Single) {
        let many = directory(&store, "many");
        let (uid, gid) = (store.account.uid, store.account.gid);
        for number in 0..MANY {
            let file = File::create(many.join(number.to_string())).unwrap();
            std::os::unix::fs::fchown(file, Some(uid), Some(gid)).unwrap();
        }
        let mount = format!("{}:/mnt:U", many.display());
        let words = [
            "create", "--name", "web", "--user", "5:6", "-v", &mount, ALPINE, "true",
        ];
        store.onggi(words).run().code(0);
        let given = || {
            let entries = std::fs::read_dir(&many).unwrap();
            let changed =
                entries.filter(|entry| ids(&entry.as_ref().unwrap().path()) != (uid, gid));
            changed.count() + usize::from(ids(&many) != (uid, gid))
        };
        // Not to the whole group, as Ctrl-C would.
        let mut client = store.onggi(["start", "web"]).spawn();
        let mut said = BufReader::new(client.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert!(line.contains("20000 so far"), "{line}");
        send("INT", client.id());
        said.read_to_string(&mut line).unwrap();
        assert_eq!(client.wait().unwrap().code(), Some(1), "{line}");
        let now = given();
        assert!((20_000..=MANY).contains(&now), "{now}");
        assert!(
            line.contains(&format!(
                "was interrupted: {now} files were changed, the others are as they were\n\
                 try: `onggi start web` goes on\n"
            )),
            "{line}"
        );
        assert_eq!(store.status("web"), "created 0");
        store.ok(["start", "web"]);
        assert_eq!(given(), MANY + 1);
    }
}

#[test]
fn a_file_that_cannot_be_given_is_named() {
    let Some(store) = as_user(User::Subuid) else {
        return;
    };
    let site = directory(&store, "site");
    store.file("site/file", "text");
    chown(site.join("file"), Some(33), None).unwrap();
    let mount = format!("{}:/mnt:U", site.display());
    let outcome = store.shell(&["--user", "5", "-v", &mount], "true").run();
    outcome
        .code(125)
        .stderr_has(&format!(
            "`{}/file`, whose owner or group has no id",
            site.display()
        ))
        .stderr_has("(1 files were changed, the others are as they were)");
    // As it was to be removed, with its volumes.
    store.onggi(["ps", "-aq"]).run().code(0).stdout("");
}

/// As often as the host gives ids to others: a volume keeps the ids that its containers know.
#[test]
fn ids_in_a_volume_are_those_of_the_container() {
    let Some(mut store) = as_user(User::Root) else {
        return;
    };
    let Some(_mounts) = pool(&mut store, "containers:300000:200000\n") else {
        return;
    };
    let write = "cat /etc/apk/arch >/dev/null; stat -c %u:%g /etc/apk /etc/apk/arch; \
                 touch /etc/apk/made; chown 7:8 /etc/apk/made; awk '{ print $2 }' /proc/self/uid_map";
    let auto = ["--userns", "auto", "-v", "vol:/etc/apk"];
    store
        .shell(&auto, write)
        .run()
        .code(0)
        .stdout("0:0\n0:0\n300000\n");
    let data = store.seen(&store.data().join("volumes/vol/_data"));
    assert_eq!(ids(&data), (0, 0));
    assert_eq!(ids(&data.join("arch")), (0, 0));
    assert_eq!(ids(&data.join("made")), (7, 8));
    let read = "stat -c %u:%g /etc/apk/made; touch /etc/apk/more";
    // Other ids, given explicitly or not at all, see the same.
    store.ok([
        "create", "--name", "first", "--userns", "auto", ALPINE, "true",
    ]);
    for options in [
        &auto[..],
        &["--uidmap", "0:700000:65536", "-v", "vol:/etc/apk"],
        &auto[2..],
    ] {
        store.shell(options, read).run().code(0).stdout("7:8\n");
    }
    assert_eq!(ids(&data.join("more")), (0, 0));
    let given = ["--userns", "auto", "--user", "5:6", "-v", "vol:/etc/apk:U"];
    store.shell(&given, read).run().code(0).stdout("5:6\n");
    assert_eq!(ids(&data.join("made")), (5, 6));
}
