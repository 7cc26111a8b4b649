//! `RUN`.

use super::Test;
use super::drive::{command, give, listed, members, names, on_alpine, order, shell};
use super::support::{Store, everyone_with_alpine};
use onggi::build::worker::order::{Answer, Network, Run};
use onggi::container::options::{ExtraHost, Ulimit};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Stdio};

/// All of them.
pub const TESTS: &[Test] = &[
    (
        "what_a_step_writes_is_its_layer",
        what_a_step_writes_is_its_layer,
    ),
    ("how_a_program_ends", how_a_program_ends),
    (
        "a_build_that_is_killed_leaves_nothing",
        a_build_that_is_killed_leaves_nothing,
    ),
    ("nobody_sees_a_step", nobody_sees_a_step),
    ("owners_get_into_the_layer", owners_get_into_the_layer),
    ("options_of_steps", options_of_steps),
    (
        "layers_of_another_boot_are_made_again",
        layers_of_another_boot_are_made_again,
    ),
];

#[track_caller]
pub fn assert_nothing_is_left(store: &Store) {
    store.assert_no_process_is_left();
    for name in ["containers", "pending", "staging"] {
        let left = listed(&store.data().join(name));
        assert!(left.is_empty(), "{:?} {name}: {left:?}", store.user);
    }
}

fn what_a_step_writes_is_its_layer() {
    for store in everyone_with_alpine() {
        let scripts = [
            "echo out; echo err >&2; echo x > /new; mkdir /d; touch -d @5 /d/old; rm /etc/motd",
            "cat /new; ls /d; cat /etc/hostname; ls /etc/motd",
            "test ! -e /etc/motd && pwd && printenv A",
            "rm -r /d && mkdir /d && echo 2 > /d/two",
        ];
        let mut runs = scripts.map(shell);
        runs[2].environment.push("A=b".into());
        runs[2].working_directory = "/tmp".into();
        let told = give(&store, &on_alpine(runs.map(order).to_vec()));
        assert_eq!(told[0].output, ["out\n", "err\n"]);
        let layer = told[0].layer();
        assert_eq!(
            members(&store, layer),
            [
                "d/ 755 0:0 1000000000 0",
                "d/old 644 0:0 5 0",
                "etc/ 755 0:0 1000000000 0",
                "etc/.wh.motd 600 0:0 0 0",
                "new 644 0:0 1000000000 2"
            ]
        );
        assert_eq!(layer.size, 2);
        assert!(
            matches!(told[1].last, Answer::Exited { code: 1 }),
            "{:?}",
            told[1]
        );
        assert_eq!(told[1].output[0], "x\nold\nbuildkitsandbox\n");
        told[2].nothing();
        assert_eq!(told[2].output, ["/tmp\nb\n", ""]);
        assert_eq!(names(&store, told[3].layer()), ["d/", "d/.wh.old", "d/two"]);
        assert_nothing_is_left(&store);
    }
}

fn how_a_program_ends() {
    for store in everyone_with_alpine() {
        let scripts = [
            "exit 7",
            "sh -c 'kill -9 $$'; exit $?",
            // Whoever is left ends with the first process.
            "(sleep 1000; echo late > /late) & echo done",
        ];
        let mut runs = scripts.map(shell).to_vec();
        runs.push(shell(""));
        runs[3].words = vec!["no-such-program".into()];
        let told = give(&store, &on_alpine(runs.into_iter().map(order).collect()));
        assert!(matches!(told[0].last, Answer::Exited { code: 7 }));
        assert!(matches!(told[1].last, Answer::Exited { code: 137 }));
        told[2].nothing();
        assert_eq!(told[2].output[0], "done\n");
        assert!(told[3].failure().contains("not found in $PATH"));
        assert_nothing_is_left(&store);
    }
}

/// One that gives an order which takes for ever, once its program runs.
fn begin(store: &Store) -> Child {
    let mut child = command(store)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let script = on_alpine(vec![order(shell("echo >&2; sleep 1000"))]);
    let mut input = child.stdin.take().unwrap();
    input
        .write_all(&serde_json::to_vec(&script).unwrap())
        .unwrap();
    drop(input);
    let output = BufReader::new(child.stdout.as_mut().unwrap());
    // The worker's number.
    let line = output.lines().next().unwrap().unwrap();
    assert!(line.starts_with("worker "), "{line}");
    while !store
        .data()
        .join("containers")
        .read_dir()
        .unwrap()
        .any(|entry| {
            let state = std::fs::read_to_string(entry.unwrap().path().join("state.json"));
            state.is_ok_and(|state| state.contains("\"program\":{"))
        })
    {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child
}

fn a_build_that_is_killed_leaves_nothing() {
    for store in everyone_with_alpine() {
        let mut builder = begin(&store);
        builder.kill().unwrap();
        builder.wait().unwrap();
        assert_nothing_is_left(&store);

        // Everybody is killed at once: the program goes with the worker, the rest by the next command.
        let mut builder = begin(&store);
        for pid in store.processes() {
            let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        builder.wait().unwrap();
        store.assert_no_process_is_left();
        assert!(!listed(&store.data().join("pending")).is_empty());
        store.shell(&[], "true").run().code(0);
        assert_nothing_is_left(&store);
    }
}

fn nobody_sees_a_step() {
    for store in everyone_with_alpine() {
        store.onggi(["ps"]).run().code(0);
        let mut builder = begin(&store);
        let empty = store.onggi(["ps", "-aq"]).run();
        empty.code(0).stdout("");
        let usage = store
            .onggi(["system", "df", "--format", "{{.Type}} {{.TotalCount}}"])
            .run();
        usage.code(0);
        assert!(
            usage.stdout_text().contains("Containers 0"),
            "{}",
            usage.stdout_text()
        );
        let events = store
            .onggi([
                "events",
                "--since",
                "1h",
                "--until",
                "0s",
                "--filter",
                "type=container",
            ])
            .run();
        events.code(0).stdout("");
        let checked = store.onggi(["check"]).run();
        assert!(
            !checked.stdout_text().contains("step-"),
            "{}",
            checked.stdout_text()
        );
        builder.kill().unwrap();
        builder.wait().unwrap();
        assert_nothing_is_left(&store);
    }
}

/// With a single id as well, where the files cannot have them.
fn owners_get_into_the_layer() {
    for store in everyone_with_alpine() {
        let runs = [
            shell(
                "mkdir /d /d/e; touch /d/a.new /d/b /d/c; cd /d; chown 5:6 a.new; mv a.new a; chown daemon ../d/b; \
                 ln -s /d/c link; chown 8:9 link; chown -h 1:1 link; chown -R 10:11 e; touch e/f; chown 3 /none || echo none",
            ),
            // Files that are below are changed as well.
            shell("chown 4:4 /d/c /etc/motd; chroot /d /none; adduser -D app; stat -c %a /d/a"),
            // What busybox gives beside what was asked for is not meant.
            shell("cd /d; touch p q r; chown 7:8 p q r; chgrp 9 p; chown 10 q; chown :11 r"),
            // What a user makes is its own.
            Run {
                user: "app".to_owned(),
                ..shell(
                    "cd; mkdir new; echo > new/file; ln -s new link; test -w /etc/motd || echo denied",
                )
            },
        ];
        let told = give(&store, &on_alpine(runs.map(order).to_vec()));
        assert_eq!(told[0].output[0], "none\n", "{:?}", told[0]);
        let owners = |index: usize| -> Vec<String> {
            let all = members(&store, told[index].layer());
            let owner = |line: &String| {
                let fields: Vec<&str> = line.split(' ').collect();
                format!("{} {}", fields[0], fields[2])
            };
            all.iter().map(owner).collect()
        };
        let expected = [
            "d/ 0:0",
            "d/a 5:6",
            "d/b 2:0",
            "d/c 8:9",
            "d/e/ 10:11",
            "d/e/f 0:0",
            "d/link 1:1",
        ];
        assert_eq!(owners(0), expected, "{:?}", store.user);
        assert_eq!(
            owners(2),
            ["d/ 0:0", "d/p 7:9", "d/q 10:8", "d/r 7:11"],
            "{:?}",
            store.user
        );
        let own = ["home/app/link", "home/app/new/", "home/app/new/file"];
        let own = own.map(|name| format!("{name} 1000:1000"));
        let made = owners(3);
        assert!(
            own.iter().all(|line| made.contains(line)),
            "{:?}: {made:?}",
            store.user
        );
        let changed = owners(1);
        for owner in [
            "d/c 4:4",
            "etc/motd 4:4",
            "etc/shadow 0:42",
            "home/app/ 1000:1000",
        ] {
            assert!(
                changed.iter().any(|line| line == owner),
                "{:?}: {changed:?}",
                store.user
            );
        }
        assert_nothing_is_left(&store);
    }
}

/// They are those of containers.
fn options_of_steps() {
    for store in everyone_with_alpine() {
        let made = store
            .onggi(["network", "create", "--subnet", "10.87.65.0/24", "steps"])
            .run();
        made.code(0);
        let runs = [
            Run {
                ulimits: vec![Ulimit {
                    name: "nofile".to_owned(),
                    soft: 123,
                    hard: 456,
                }],
                shm_size: Some(3 << 20),
                hosts: vec![ExtraHost {
                    name: "other".to_owned(),
                    address: "10.1.2.3".to_owned(),
                }],
                ..shell(
                    "ulimit -n; ulimit -Hn; df -k /dev/shm | grep -c ' 3072 '; getent hosts other",
                )
            },
            Run {
                insecure: true,
                ..shell("grep -E 'Seccomp:|CapEff' /proc/self/status")
            },
            shell("grep -E 'Seccomp:|CapEff' /proc/self/status"),
            Run {
                network: Network::Named("steps".to_owned()),
                ..shell("ip -4 -o addr show dev eth0; ip route show default")
            },
            Run {
                network: Network::Named("missing".to_owned()),
                ..shell("true")
            },
            Run {
                network: Network::Host,
                ..shell("readlink /proc/self/ns/net")
            },
        ];
        let told = give(&store, &on_alpine(runs.map(order).to_vec()));
        let output = |index: usize| {
            let outcome = &told[index];
            outcome.nothing();
            outcome.output[0].clone()
        };
        let limits = output(0);
        assert!(
            limits.starts_with("123\n456\n1\n10.1.2.3"),
            "{:?}: {limits}",
            store.user
        );
        let capabilities = |index: usize| {
            let text = output(index);
            let value = text.lines().find_map(|line| line.strip_prefix("CapEff:"));
            u64::from_str_radix(value.unwrap().trim(), 16).unwrap()
        };
        let (open, closed) = (capabilities(1), capabilities(2));
        assert!(
            open & closed == closed && open.count_ones() > closed.count_ones(),
            "{:?}: {open:x} {closed:x}",
            store.user
        );
        assert!(output(2).contains("Seccomp:\t2"));
        let address = output(3);
        assert!(
            address.contains("inet 10.87.65.") && address.contains("via 10.87.65.1"),
            "{:?}: {address}",
            store.user
        );
        assert!(told[4].failure().contains("missing"), "{:?}", told[4]);
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        assert_eq!(output(5).trim(), own.to_string_lossy());
        store.onggi(["network", "rm", "steps"]).run().code(0);
        assert_nothing_is_left(&store);
    }
}

/// Nobody knows what of them is on the disk, since they were not synced.
fn layers_of_another_boot_are_made_again() {
    for store in everyone_with_alpine() {
        let mut run = shell("echo content > /file");
        run.epoch = 7;
        let script = on_alpine(vec![order(run)]);
        let told = give(&store, &script);
        let layer = told[0].layer();
        let directory = store.data().join("layers").join(&layer.name);
        let (file, mark) = (directory.join("tree/file"), directory.join("unsynced"));
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        let boot = read(&mark);
        for (mark_is, content) in [(&*boot, "cut of"), ("another boot", "content\n")] {
            // Of the same length, as what was never written.
            std::fs::write(&file, "cut of\n\n").unwrap();
            std::fs::write(&mark, mark_is).unwrap();
            let again = give(&store, &script);
            assert_eq!(again[0].layer(), layer);
            assert!(read(&file).starts_with(content), "{mark_is}");
            assert_eq!(read(&mark), boot);
        }
        assert_nothing_is_left(&store);
    }
}

/// Milliseconds of steps as they are in many Dockerfiles, for whoever asks: `build_worker speed`.
pub fn speed() {
    for store in everyone_with_alpine() {
        let scripts = [
            "true",
            "echo one > /one",
            "mkdir -p /opt/app && echo two > /opt/app/two",
            "adduser -D app",
            "for i in $(seq 200); do echo $i > /opt/app/$i; done",
            "dd if=/dev/zero of=/opt/zero bs=1M count=10",
        ];
        for _ in 0..3 {
            let told = give(
                &store,
                &on_alpine(scripts.map(|script| order(shell(script))).to_vec()),
            );
            let times: Vec<String> = told
                .iter()
                .map(|outcome| format!("{:.1}", outcome.milliseconds))
                .collect();
            println!("{:?}: {} ms", store.user, times.join(" "));
        }
    }
}
