//! Volumes when something is wrong: files that were removed by hand, archives that are cut off, commands that are
//! interrupted, and what is told of them.

use crate::life_cycle::send;
use crate::support::life::DEAF;
use crate::support::{ALPINE, Store, everyone, everyone_with_alpine};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn files_that_were_removed_by_hand_are_missed() {
    for store in everyone_with_alpine() {
        store.ok(["volume", "create", "data"]);
        let files = store.data().join("volumes/data/_data");
        let run = [
            "run",
            "--rm",
            "-v",
            "data:/etc",
            ALPINE,
            "cat",
            "/etc/alpine-release",
        ];
        std::fs::remove_dir(&files).unwrap();
        let lost = "the files of volume data are lost: `";
        let hint = "try: put them back from a copy; or `onggi system check --repair` makes the volume empty";
        for (words, code) in [
            (&run[..], 125),
            (&["volume", "export", "data"], 1),
            (&["volume", "import", "data", "/dev/null"], 1),
        ] {
            let outcome = store.onggi(words).run();
            outcome.code(code).stdout("").stderr_has(lost);
            outcome.stderr_has(hint);
        }
        store.ok(["volume", "inspect", "data"]);
        let outcome = store.onggi(["system", "check"]).run();
        outcome.code(1).stdout_has("lost-files");
        outcome.stdout_has("the directory of its files was removed");
        // What a fill that was killed has left cannot be moved to where there is nothing.
        std::fs::create_dir(files.with_file_name("filling")).unwrap();
        store.onggi(["system", "check", "--repair"]).run();
        store.ok(["system", "check"]);
        assert_eq!(store.ok(run), "3.20.3\n");
        std::fs::rename(&files, store.data().join("elsewhere")).unwrap();
        std::fs::write(&files, "").unwrap();
        let outcome = store.onggi(["system", "check", "--repair"]).run();
        outcome.code(1).stdout_has("put the directory back");
        let outcome = store.onggi(run).run();
        outcome.code(125).stderr_has("Not a directory");
        store.ok(["volume", "rm", "data"]);
    }
}

#[test]
fn an_archive_that_is_not_whole_is_refused() {
    for store in everyone() {
        store.ok(["volume", "create", "data"]);
        let import = |bytes: &[u8]| {
            let words = ["volume", "import", "data", "-"];
            store.onggi(words).stdin(bytes).run()
        };
        for (bytes, said) in [
            (&b""[..], "the archive is cut off: there is nothing of it"),
            // What gzip makes of nothing.
            (
                b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0",
                "the archive is cut off: there is nothing of it",
            ),
            (
                b"no archive",
                "read the archive: the archive is cut off: it ends within a member",
            ),
            (&[b'x'; 1024], "read the archive: this is no tar archive"),
        ] {
            let outcome = import(bytes);
            outcome.code(1).stdout("").stderr_has(said);
            let told = outcome.stderr_text();
            assert!(!told.contains("layer"), "{told}");
        }
        // An archive of nothing has an end.
        import(&[0; 10240]).code(0);
    }
}

#[test]
fn nothing_is_put_into_memory_that_nobody_holds() {
    for store in everyone_with_alpine() {
        let options = ["-o", "type=tmpfs", "-o", "device=tmpfs"];
        let create = ["volume", "create", "memory"];
        store.onggi(create.iter().chain(&options)).run().code(0);
        store.ok(["volume", "create", "data"]);
        let fill = "echo kept >/data/file";
        store.ok(["run", "--rm", "-v", "data:/data", ALPINE, "sh", "-c", fill]);
        let archive = store.home().join("data.tar");
        let path = archive.to_str().unwrap();
        store.ok(["volume", "export", "-o", path, "data"]);
        let import = ["volume", "import", "memory", path];
        store
            .refused(
                import,
                "volume memory is in memory, and no running container uses it",
            )
            .stderr_has("onggi run -d -v memory:/data");
        store.detached("holds", &["-v", "memory:/m"], DEAF);
        store.ok(import);
        assert_eq!(store.ok(["exec", "holds", "cat", "/m/file"]), "kept\n");
        // Over something that the image has, with which a new volume would be filled.
        let at_etc = ["-v", "memory:/etc", ALPINE, "cat", "/etc/file"];
        let run = ["run", "--rm"].iter().chain(&at_etc);
        store.onggi(run).run().code(0).stdout("kept\n");
        let create = ["create", "--name", "still"].iter().chain(&at_etc);
        store.onggi(create).run().code(0);
        store.ok(["cp", "still:/etc/file", "copied"]);
        let copied = std::fs::read_to_string(store.home().join("copied")).unwrap();
        assert_eq!(copied, "kept\n");
    }
}

/// Whether a process has a file without a name open, in that directory.
fn writes_in(directory: &Path, pid: u32) -> bool {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    let links = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    links.into_iter().any(|link| {
        let is_there = link.parent() == Some(directory);
        is_there && link.to_string_lossy().ends_with(" (deleted)")
    })
}

#[test]
fn an_export_that_is_interrupted_leaves_nothing() {
    for store in everyone() {
        store.ok(["volume", "create", "data"]);
        let mut big = File::create(store.data().join("volumes/data/_data/big")).unwrap();
        for _ in 0..192 {
            big.write_all(&[1; 1 << 20]).unwrap();
        }
        let place = store.home();
        for signal in ["INT", "TERM", "KILL"] {
            let start = Instant::now();
            loop {
                let words = ["volume", "export", "-o", "copy.tar", "data"];
                let mut export = store.onggi(words).spawn();
                while !writes_in(&place, export.id()) && export.try_wait().unwrap().is_none() {
                    std::thread::yield_now();
                }
                send(signal, export.id());
                let ended = export.wait().unwrap();
                if !ended.success() {
                    break;
                }
                // It was quicker.
                std::fs::remove_file(place.join("copy.tar")).unwrap();
                assert!(start.elapsed() < Duration::from_secs(60));
            }
            assert_eq!(names(&place), Vec::<String>::new(), "{signal}");
        }
        let outcome = store
            .onggi(["volume", "export", "-o", "/dev/full", "data"])
            .run();
        outcome.code(1).stderr_has("No space left on device");
        outcome.stderr_has("try: free some space where `/dev/full` lies, or write it elsewhere");
        let outcome = store
            .onggi(["volume", "export", "-o", "none/copy.tar", "data"])
            .run();
        outcome
            .code(1)
            .stderr_has("create `none/copy.tar`: No such file or directory");
    }
}

fn told(store: &Store, template: &str) -> Vec<String> {
    let words = [
        "events", "--since", "0", "--until", "0s", "--format", template,
    ];
    let filters = [
        "-f",
        "type=volume",
        "-f",
        "event=mount",
        "-f",
        "event=unmount",
    ];
    let outcome = store.onggi(words.iter().chain(&filters)).run();
    let text = outcome.code(0).stdout_text();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn it_is_told_who_has_a_volume_and_who_has_it_no_more() {
    for store in everyone_with_alpine() {
        let volumes = [
            "-v",
            "one:/a:ro",
            "-v",
            "two:/b",
            "-v",
            "/etc:/etc-of-the-host:ro",
        ];
        let run = ["run", "--name", "web"].iter().chain(&volumes);
        store.onggi(run.chain(&[ALPINE, "true"])).run().code(0);
        let id = store.ok(["ps", "-aq", "--no-trunc"]);
        let id = id.trim();
        let attributes = "{{.Action}} {{.Actor.ID}} {{json .Actor.Attributes}}";
        let mount = |name: &str, place: &str, writes: bool| {
            format!(
                "mount {name} {{\"container\":\"{id}\",\"destination\":\"{place}\",\"driver\":\"local\",\
                 \"propagation\":\"\",\"read/write\":\"{writes}\"}}"
            )
        };
        let unmount =
            |name: &str| format!("unmount {name} {{\"container\":\"{id}\",\"driver\":\"local\"}}");
        assert_eq!(
            told(&store, attributes),
            [
                mount("one", "/a", false),
                mount("two", "/b", true),
                unmount("one"),
                unmount("two")
            ]
        );
        let all = [
            "events",
            "--since",
            "0",
            "--until",
            "0s",
            "--format",
            "{{.Type}} {{.Action}}",
        ];
        let all = store.ok(all);
        let run = "volume mount\nvolume mount\ncontainer start\ncontainer die\nvolume unmount\nvolume unmount\n";
        assert!(all.ends_with(run), "{all}");
    }
}

#[test]
fn a_size_is_what_the_files_take_however_it_is_asked_for() {
    for store in everyone() {
        store.ok(["volume", "create", "data"]);
        let files = store.data().join("volumes/data/_data");
        std::fs::write(files.join("small"), "12345").unwrap();
        std::fs::hard_link(files.join("small"), files.join("again")).unwrap();
        let holes = File::create(files.join("holes")).unwrap();
        holes.set_len(1 << 30).unwrap();
        let mut du = std::process::Command::new("du");
        let du = du.args(["-s", "-B1"]).arg(&files).output().unwrap();
        let du = String::from_utf8(du.stdout).unwrap();
        let du = du.split_whitespace().next().unwrap();
        let template = "{{.UsageData.Size}}";
        let size = store.ok(["volume", "inspect", "-f", template, "data"]);
        assert_eq!(size.trim(), du);
        let all = "{{range .Volumes}}{{.Size}}{{end}}";
        let verbose = store.ok(["system", "df", "-v", "--format", all]);
        let pruned = store.ok(["volume", "prune", "-af"]);
        // One has three digits of it, the other four.
        let kilobytes = |text: &str| {
            text.trim()
                .strip_suffix("kB")
                .unwrap()
                .parse::<f64>()
                .unwrap()
        };
        let (_, pruned) = pruned.split_once("Total reclaimed space: ").unwrap();
        for shown in [&*verbose, pruned] {
            let difference = kilobytes(shown) * 1000.0 - du.parse::<f64>().unwrap();
            assert!(difference.abs() < 100.0, "{shown} {du}");
        }
    }
}
