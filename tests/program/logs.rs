//! logs, --log-driver, --log-opt: what a program has written is kept in Docker's formats and shown again.

use super::life_cycle::wait_until_ready;
use crate::support::{ALPINE, Need, Store, User, everyone_with_alpine, requires, store};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command};

fn log_path(store: &Store, name: &str) -> PathBuf {
    let outcome = store.onggi(["inspect", "-f", "{{.LogPath}}", name]).run();
    outcome.code(0).stdout_text().trim().into()
}

fn follow(store: &Store, name: &str) -> Child {
    store.onggi(["logs", "-f", name]).spawn()
}

fn output(child: Child) -> String {
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

/// A container that waits for `/go`, then runs the script.
fn waiting(store: &Store, options: &[&str], script: &str) {
    let script = format!("echo ready; until [ -e /go ]; do sleep 0.05; done; {script}");
    let command = ["run", "-d", "--name", "web"];
    let program = [ALPINE, "sh", "-c", &script];
    let words = command.iter().chain(options).chain(&program);
    store.onggi(words).run().code(0);
}

fn go(store: &Store) {
    store.onggi(["exec", "web", "touch", "/go"]).run().code(0);
}

#[test]
fn what_was_written_is_shown_again() {
    for store in everyone_with_alpine() {
        let script = "echo one; sleep 0.1; echo two >&2; sleep 0.1; printf 'a\\ttab <&>\\nlast'";
        store
            .onggi(["run", "--name", "web", ALPINE, "sh", "-c", script])
            .run()
            .code(0);
        let logs = |options: &[&str]| {
            store
                .onggi(["logs"].iter().chain(options).chain(&["web"]))
                .run()
        };
        logs(&[])
            .code(0)
            .stdout("one\na\ttab <&>\nlast")
            .stderr("two\n");
        logs(&["--tail", "1"]).code(0).stdout("last").stderr("");
        logs(&["-n", "3"])
            .code(0)
            .stdout("a\ttab <&>\nlast")
            .stderr("two\n");
        logs(&["-n", "0"]).code(0).stdout("").stderr("");
        logs(&["-n", "x", "-f"])
            .code(0)
            .stdout("one\na\ttab <&>\nlast");
        let text = std::fs::read_to_string(log_path(&store, "web")).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let found: Vec<_> = lines
            .iter()
            .map(|line| {
                (
                    line["stream"].as_str().unwrap(),
                    line["log"].as_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                ("stdout", "one\n"),
                ("stderr", "two\n"),
                ("stdout", "a\ttab <&>\n"),
                ("stdout", "last")
            ]
        );
        let times: Vec<_> = lines
            .iter()
            .map(|line| line["time"].as_str().unwrap())
            .collect();
        logs(&["--since", times[1]])
            .code(0)
            .stdout("a\ttab <&>\nlast")
            .stderr("two\n");
        logs(&["--until", times[1]])
            .code(0)
            .stdout("one\n")
            .stderr("two\n");
        logs(&["--since", "0s"]).code(0).stdout("").stderr("");
        logs(&["--since", "1h", "--until", "2300-01-01"])
            .code(0)
            .stdout_has("one\n");
        let stamped = logs(&["-t", "-n", "4"]).code(0).stdout_text();
        let (time, rest) = stamped.split_once(' ').unwrap();
        assert!(time.len() == 30 && rest.starts_with("one\n"), "{stamped}");
        assert!(
            time.starts_with(times[0].trim_end_matches('Z')),
            "{stamped}"
        );
        let wrong = logs(&["--since", "yesterday"]);
        wrong.code(1).stderr_has(
            "invalid value for \"since\": failed to parse value as time or duration: \"yesterday\"",
        );
        // It is the log of all its runs.
        store.onggi(["start", "-a", "web"]).run().code(0);
        logs(&[])
            .code(0)
            .stdout("one\na\ttab <&>\nlastone\na\ttab <&>\nlast");
        store
            .onggi(["logs", "nope"])
            .run()
            .code(1)
            .stderr_has("No such container: nope");
    }
}

#[test]
fn a_terminal_is_one_stream() {
    for store in everyone_with_alpine() {
        let script = "echo one; echo two >&2";
        store
            .onggi(["run", "-dt", "--name", "web", ALPINE, "sh", "-c", script])
            .run()
            .code(0);
        store.onggi(["wait", "web"]).run().code(0);
        store
            .onggi(["logs", "web"])
            .run()
            .code(0)
            .stdout("one\r\ntwo\r\n")
            .stderr("");
    }
}

#[test]
fn following_ends_with_the_container() {
    for store in everyone_with_alpine() {
        waiting(&store, &["--rm"], "echo one; echo two");
        let mut follower = follow(&store, "web");
        wait_until_ready(&mut follower);
        go(&store);
        assert_eq!(output(follower), "one\ntwo\n");
        // The pauses in which it is started again are not the end.
        waiting(&store, &["--restart", "on-failure:2"], "echo again; exit 3");
        let mut follower = follow(&store, "web");
        wait_until_ready(&mut follower);
        go(&store);
        assert_eq!(output(follower), "again\nready\nagain\nready\nagain\n");
    }
}

/// The packed files of a log that is followed are made by the monitor's own child.
#[test]
fn a_fast_program_is_followed_across_rotations() {
    for store in everyone_with_alpine() {
        for (driver, expected) in [
            ("json-file", &[".1", ".2"][..]),
            ("local", &[".1.gz", ".2.gz", ".3.gz", ".4.gz"]),
        ] {
            waiting(
                &store,
                &["--log-driver", driver, "--log-opt", "max-size=200k"],
                "seq 1 100000",
            );
            let mut follower = follow(&store, "web");
            wait_until_ready(&mut follower);
            go(&store);
            let found = output(follower);
            let all: String = (1..=100_000).map(|number| format!("{number}\n")).collect();
            assert!(
                found == all,
                "{driver}: {} bytes of {}",
                found.len(),
                all.len()
            );
            store.onggi(["wait", "web"]).run().code(0);
            let path = log_path(&store, "web");
            let name = path.file_name().unwrap().to_str().unwrap();
            let mut files: Vec<_> = std::fs::read_dir(path.parent().unwrap())
                .unwrap()
                .filter_map(|entry| {
                    Some(
                        entry
                            .unwrap()
                            .file_name()
                            .to_str()?
                            .strip_prefix(name)?
                            .to_owned(),
                    )
                })
                .filter(|suffix| !suffix.is_empty())
                .collect();
            files.sort();
            assert_eq!(files, expected, "{driver}");
            let kept = store.onggi(["logs", "web"]).run().code(0).stdout_text();
            assert!(
                all.ends_with(&kept) && kept.lines().count() > 5000,
                "{driver}: {}",
                kept.len()
            );
            let last = store
                .onggi(["logs", "-n", "4000", "web"])
                .run()
                .code(0)
                .stdout_text();
            assert!(
                kept.ends_with(&last) && last.lines().count() == 4000,
                "{driver}: {last:.20}"
            );
            store.onggi(["rm", "web"]).run().code(0);
        }
    }
}

/// Reads protocol buffers by their specification alone: the fields of a message by number.
fn fields(mut message: &[u8]) -> BTreeMap<u64, Vec<Vec<u8>>> {
    fn varint(message: &mut &[u8]) -> u64 {
        let length = message.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
        let (number, rest) = message.split_at(length);
        *message = rest;
        number
            .iter()
            .rev()
            .fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f))
    }
    let mut found: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let value = match tag & 7 {
            0 => varint(&mut message).to_string().into_bytes(),
            2 => {
                let length = varint(&mut message) as usize;
                let (value, rest) = message.split_at(length);
                message = rest;
                value.to_vec()
            }
            other => panic!("wire type {other}"),
        };
        found.entry(tag >> 3).or_default().push(value);
    }
    found
}

#[test]
fn the_local_driver_writes_what_docker_reads() {
    for store in everyone_with_alpine() {
        let options = [
            "--log-driver",
            "local",
            "--log-opt",
            "labels=who",
            "--label",
            "who=me",
        ];
        let script = "printf '\\377x\\n'; sleep 0.1; echo no >&2; sleep 0.1; head -c 20000 /dev/zero | tr '\\0' y";
        let command = ["run", "-d", "--name", "web"];
        let program = [ALPINE, "sh", "-c", script];
        let words = command.iter().chain(&options).chain(&program);
        store.onggi(words).run().code(0);
        store.onggi(["wait", "web"]).run().code(0);
        let bytes = std::fs::read(log_path(&store, "web")).unwrap();
        let mut rest = &bytes[..];
        let mut found = Vec::new();
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let (message, after) = after.split_at(u32::from_be_bytes(*length) as usize);
            assert_eq!(&after[..4], length);
            rest = &after[4..];
            let mut entry = fields(message);
            let text = |field: Option<Vec<Vec<u8>>>| {
                field.map(|values| values[0].clone()).unwrap_or_default()
            };
            let time: u64 = String::from_utf8(text(entry.remove(&2)))
                .unwrap()
                .parse()
                .unwrap();
            assert!(time > 1_700_000_000_000_000_000);
            let attribute = fields(&text(entry.remove(&6)));
            assert_eq!(
                (&attribute[&1][0][..], &attribute[&2][0][..]),
                (&b"who"[..], &b"me"[..])
            );
            let piece = fields(&text(entry.remove(&5)));
            let line = text(entry.remove(&3));
            let shown = if line.len() > 10 {
                line.len().to_string().into_bytes()
            } else {
                line
            };
            found.push((
                text(entry.remove(&1)),
                shown,
                text(entry.remove(&4)),
                text(piece.get(&3).cloned()),
            ));
        }
        let expected: [[&[u8]; 4]; 4] = [
            [b"stdout", b"\xffx", b"", b""],
            [b"stderr", b"no", b"", b""],
            [b"stdout", b"16384", b"1", b"1"],
            [b"stdout", b"3616", b"1", b"2"],
        ];
        let expected =
            expected.map(|[a, b, c, d]| (a.to_vec(), b.to_vec(), c.to_vec(), d.to_vec()));
        assert_eq!(found, expected);
        let shown = store.onggi(["logs", "web"]).run();
        let whole = [&b"\xffx\n"[..], &[b'y'; 20000]].concat();
        shown
            .code(0)
            .stderr("no\n")
            .expect(shown.stdout_bytes() == whole, "all of it");
        store
            .onggi(["logs", "--details", "-n", "3", "web"])
            .run()
            .stderr("who=me no\n");
    }
}

#[test]
fn drivers_and_options_are_checked_when_a_container_is_made() {
    for store in everyone_with_alpine() {
        for (options, message) in [
            (
                &["--log-driver", "nope"][..],
                "logger: no log driver named 'nope' is registered",
            ),
            (
                &["--log-opt", "a=b"],
                "unknown log opt 'a' for json-file log driver",
            ),
            (
                &["--log-driver", "local", "--log-opt", "a=b"],
                "unknown log opt 'a' for log driver local",
            ),
            (
                &["--log-driver", "none", "--log-opt", "max-size=1m"],
                "invalid logging opts for driver none",
            ),
            (&["--log-opt", "max-size=x"], "invalid size: 'x'"),
            (
                &["--log-opt", "max-file=0"],
                "max-file cannot be less than 1",
            ),
            (
                &["--log-opt", "mode=fast"],
                "logger: logging mode not supported: fast",
            ),
        ] {
            let words = ["run"].iter().chain(options).chain(&[ALPINE, "true"]);
            store.onggi(words).run().code(125).stderr_has(message);
        }
        store.onggi(["ps", "-aq"]).run().code(0).stdout("");
        let template = "{{json .HostConfig.LogConfig}}";
        store
            .onggi(["create", "--name", "one", ALPINE, "true"])
            .run()
            .code(0);
        let inspected = |name| {
            store
                .onggi(["inspect", "-f", template, name])
                .run()
                .code(0)
                .stdout_text()
        };
        assert_eq!(inspected("one"), "{\"Type\":\"json-file\",\"Config\":{}}\n");
        store.onggi(["logs", "-f", "one"]).run().code(0).stdout("");
        let chosen = store
            .onggi([
                "create",
                "--name",
                "two",
                "--log-opt",
                "max-file=2",
                ALPINE,
                "true",
            ])
            .env("ONGGI_LOG_DRIVER", "local")
            .env("ONGGI_LOG_OPTS", "{\"max-size\":\"1m\"}");
        chosen.run().code(0);
        assert_eq!(
            inspected("two"),
            "{\"Type\":\"local\",\"Config\":{\"max-file\":\"2\",\"max-size\":\"1m\"}}\n"
        );
        let words = [
            "run",
            "--name",
            "three",
            "--log-driver",
            "none",
            ALPINE,
            "echo",
            "hi",
        ];
        store.onggi(words).run().code(0).stdout("hi\n");
        let refused = store.onggi(["logs", "three"]).run();
        refused
            .code(1)
            .stderr_has("configured logging driver does not support reading");
    }
}

/// Unmounted when dropped, also when the test fails.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_costs_lines_and_says_so() {
    let Some(store) = store(User::Root).filter(|_| requires(&[Need::Root])) else {
        return;
    };
    if !store.alpine() {
        return;
    }
    let script = "seq 1 20000; echo full; until [ -e /go ]; do sleep 0.05; done; echo after";
    let words = [
        "create",
        "--name",
        "web",
        "--log-driver",
        "local",
        ALPINE,
        "sh",
        "-c",
        script,
    ];
    store.onggi(words).run().code(0);
    let directory = log_path(&store, "web").parent().unwrap().to_owned();
    std::fs::create_dir(&directory).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=160k", "tmpfs"])
        .arg(&directory)
        .status();
    assert!(mounted.unwrap().success());
    let _mounted = Mounted(directory.clone());
    let ballast = directory.join("ballast");
    std::fs::write(&ballast, vec![0; 64 << 10]).unwrap();
    let mut client = store.onggi(["start", "-a", "web"]).spawn();
    // The program is not held up.
    let mut seen = std::io::BufReader::new(client.stdout.take().unwrap());
    let mut line = String::new();
    while line != "full\n" {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut seen, &mut line).unwrap() > 0);
    }
    std::fs::remove_file(&ballast).unwrap();
    go(&store);
    store.onggi(["wait", "web"]).run().code(0);
    let outcome = store.onggi(["logs", "web"]).run();
    outcome
        .code(0)
        .stdout_has("1\n2\n3\n")
        .stdout_has("after\n");
    outcome.stderr_has(" lines are missing in this log: No space left on device");
    let told: usize = outcome
        .stderr_text()
        .lines()
        .filter_map(|line| {
            line.strip_prefix("onggi: ")?
                .split(' ')
                .next()?
                .parse::<usize>()
                .ok()
        })
        .sum();
    assert_eq!(outcome.stdout_text().lines().count() + told, 20_002);
    client.wait().unwrap();
}

/// With a journal of its own in a mount namespace.
#[test]
fn the_journal_keeps_a_log_and_gives_it_back() {
    const JOURNAL: &str = "/lib/systemd/systemd-journald";
    let Some(store) =
        store(User::Root).filter(|_| requires(&[Need::Root, Need::Program("unshare")]))
    else {
        return;
    };
    if !std::path::Path::new(JOURNAL).exists() {
        return crate::support::skip(format!("no {JOURNAL}"));
    }
    if !store.alpine() {
        return;
    }
    let script = format!(
        r#"mount -t tmpfs tmpfs /run && mkdir -p /run/log/journal /run/systemd/journal || exit
        {JOURNAL} >/run/out 2>&1 & journal=$!
        until [ -S /run/systemd/journal/socket ]; do sleep 0.05; done
        $0 run -d --name web --log-driver journald --log-opt labels=who --label who=me {ALPINE} sh -c '
            echo one; sleep 0.3; echo two >&2; sleep 0.3; head -c 20000 /dev/zero | tr "\0" x; echo; printf "\377last"'
        $0 logs -f web >/run/followed 2>/run/error
        $0 logs --details web >/run/again 2>/dev/null
        $0 logs -n 1 web
        echo; cat /run/error; head -n 1 /run/followed; tail -n +2 /run/followed | wc -c; head -n 1 /run/again
        kill $journal; wait $journal"#
    );
    let (data, run) = (store.data(), store.run_root());
    let program = format!(
        "{} --root {} --runroot {}",
        crate::support::store::program().display(),
        data.display(),
        run.display()
    );
    let mut command = store.command("unshare");
    command.args(["--mount", "sh", "-c", &script, &program]);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<_> = text.lines().skip(1).collect();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        lines,
        ["\u{fffd}last", "two", "one", "20006", "WHO=me one"],
        "{error}"
    );
}
