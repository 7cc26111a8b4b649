//! The first use of a volume, when several come at once, and when whoever fills it is killed in the midst of it: what
//! anybody sees of it is whole.

use crate::support::{ALPINE, Store, everyone_in_memory};
use std::path::Path;
use std::process::{Child, Command};

/// So many files of a megabyte, which take a while.
const MANY: usize = 60;

/// An image with many files at `/many` and some at `/some`.
fn image(store: &Store) {
    let script = format!(
        "mkdir -p /many/below /some; cd /many; seq 100 | split -l 1 - below/; cp -r below/. /some; \
         for file in $(seq {MANY}); do {{ echo $file; head -c 1000000 /dev/zero; }} >$file; done; chmod 1750 /many /some; \
         chown 5:6 /many /some /some/xaa; ln /some/xaa /some/linked 2>/dev/null; \
         ls /many | wc -l"
    );
    let words = ["run", "--name", "made", ALPINE, "sh", "-c", &script];
    let said = store.onggi(words).run().code(0).stdout_text();
    assert_eq!(said, format!("{}\n", MANY + 1));
    store.ok(["commit", "made", "image"]);
    store.ok(["rm", "made"]);
}

/// Tells all that is in a directory in one line.
fn look(place: &str) -> [String; 3] {
    let script = format!(
        "cd {place}; {{ find . | sort | xargs stat -c '%n %a %u:%g'; find . -type f | sort | xargs cat; }} | md5sum"
    );
    ["sh".to_owned(), "-c".to_owned(), script]
}

fn run(store: &Store, options: &[&str], place: &str) -> Child {
    let words = ["run", "--rm"].iter().chain(options).chain(&["image"]);
    store.onggi(words).args(look(place)).spawn()
}

#[track_caller]
fn told(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn twenty_times_two_at_once_see_a_fresh_volume_whole() {
    for store in everyone_in_memory() {
        image(&store);
        let expected = told(run(&store, &[], "/some"));
        for round in 0..20 {
            let mount = format!("volume{round}:/some");
            let both = [(); 2].map(|()| run(&store, &["-v", &mount], "/some"));
            for child in both {
                assert_eq!(told(child), expected, "round {round} as {:?}", store.user);
            }
        }
    }
}

/// How many names are in a directory; none where there is none.
fn count(directory: &Path) -> usize {
    std::fs::read_dir(directory).map_or(0, Iterator::count)
}

/// Kills a client with all that it has started as soon as so many files are copied; whether that left a half volume.
fn cut(store: &Store, mut client: Child, volume: &Path, files: usize) -> bool {
    let half = volume.join("filling/tree");
    while count(&half) < files && client.try_wait().unwrap().is_none() {}
    client.kill().unwrap();
    for pid in store.processes() {
        let _ = Command::new("kill")
            .args(["-KILL", &pid.to_string()])
            .output();
    }
    client.wait().unwrap();
    store.assert_no_process_is_left();
    half.exists()
}

/// Until it was cut so often; a machine that is busy may be too slow to be in time for each.
fn until_cut(times: usize, mut attempt: impl FnMut(usize) -> bool) {
    let mut cuts = 0;
    for number in 0..200 {
        cuts += usize::from(attempt(MANY / 2 * (number % 2)));
        if cuts == times {
            return;
        }
    }
    panic!("never killed in the midst of it but {cuts} times");
}

#[test]
fn who_fills_a_volume_may_be_killed_in_the_midst_of_it() {
    for store in everyone_in_memory() {
        image(&store);
        let expected = told(run(&store, &[], "/many"));
        let volume = store.data().join("volumes/vol");
        let is_settled = || {
            !["filling", "filled"]
                .iter()
                .any(|name| volume.join(name).exists())
        };
        until_cut(3, |files| {
            // A client fills what is new.
            let words = [
                "create",
                "--name",
                "cut",
                "-v",
                "vol:/many",
                "image",
                "true",
            ];
            let is_cut = cut(&store, store.onggi(words).spawn(), &volume, 1 + files);
            let both = [(); 2].map(|()| run(&store, &["-v", "vol:/many"], "/many"));
            assert_eq!(both.map(told), [&*expected; 2]);
            assert!(is_settled());
            let _ = store.onggi(["rm", "cut"]).run();
            store.ok(["volume", "rm", "vol"]);
            is_cut
        });
        until_cut(3, |files| {
            // A monitor fills what has become empty since its container was made.
            let words = ["create", "--name", "web", "-v", "vol:/many", "image"];
            store.onggi(words).args(look("/many")).run().code(0);
            let empty = "find /x -mindepth 1 -delete";
            store.shell(&["-v", "vol:/x"], empty).run().code(0);
            let is_cut = cut(
                &store,
                store.onggi(["start", "web"]).spawn(),
                &volume,
                1 + files,
            );
            store
                .onggi(["start", "-a", "web"])
                .run()
                .code(0)
                .stdout(&expected);
            assert!(is_settled());
            store.ok(["rm", "web"]);
            store.ok(["volume", "rm", "vol"]);
            is_cut
        });
    }
}
