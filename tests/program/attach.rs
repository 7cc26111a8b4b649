//! attach: several clients, the keys that leave, signals, the size of the terminal; and that no client, however it
//! fares, harms the container.

use crate::life_cycle::send;
use crate::support::life::{OBEDIENT, until};
use crate::support::terminal::Terminal;
use crate::support::{ALPINE, Outcome, Store, User, everyone_with_alpine};
use rustix::termios::LocalModes;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout};

const LEAVE: &str = "\x10\x11";

/// A client of a container that echoes lines.
struct Client {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Client {
    fn new(store: &Store, words: &[&str]) -> Self {
        let mut child = store.onggi(words).spawn();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    fn types(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().unwrap();
        input.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn shows(&mut self, line: &str) {
        let mut seen = String::new();
        while seen != format!("{line}\n") {
            seen.clear();
            assert_ne!(
                self.output.read_line(&mut seen).unwrap(),
                0,
                "the end instead of {line}"
            );
        }
    }
}

/// A container with a shell on a terminal, which nobody is attached to.
fn shell(store: &Store, name: &str) {
    store.ok(["run", "-dit", "--name", name, ALPINE, "sh"]);
}

fn attached(store: &Store, words: &[&str]) -> Terminal {
    let mut terminal = Terminal::start(store, words, 24, 80);
    // What the shell printed before was for nobody: it prints its prompt again.
    terminal.types("echo rea''dy\r");
    terminal.shows("ready");
    terminal
}

fn is_cooked(terminal: &Terminal) -> bool {
    terminal
        .settings()
        .local_modes
        .contains(LocalModes::ICANON | LocalModes::ECHO)
}

#[test]
fn several_clients_see_all_and_may_leave() {
    for store in everyone_with_alpine() {
        store.ok(["run", "-di", "--name", "one", ALPINE, "cat"]);
        let mut clients: Vec<Client> = (0..3)
            .map(|_| Client::new(&store, &["attach", "one"]))
            .collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.types(&format!("here {number}"));
            client.shows(&format!("here {number}"));
        }
        clients[0].types("for all");
        for client in &mut clients {
            client.shows("for all");
        }
        // The end of one's input is not the end of the program's, nor is the end of one.
        drop(clients[0].child.stdin.take());
        clients[1].child.kill().unwrap();
        clients[1].child.wait().unwrap();
        clients[2].types("still there");
        clients[2].shows("still there");
        clients[0].shows("still there");
        assert_eq!(store.status("one"), "running 0");
        store.ok(["kill", "one"]);
        for index in [0, 2] {
            assert_eq!(clients[index].child.wait().unwrap().code(), Some(137));
        }
    }
}

/// `run -i` gives its input's end to the program; a container that was made detached keeps its input open.
#[test]
fn the_end_of_input() {
    for store in everyone_with_alpine() {
        store
            .onggi(["run", "--rm", "-i", ALPINE, "cat"])
            .stdin("a\n")
            .run()
            .code(0)
            .stdout("a\n");
        store.ok([
            "run",
            "-di",
            "--name",
            "one",
            ALPINE,
            "sh",
            "-c",
            "read a; echo $a; read b; echo $b; exit 4",
        ]);
        let mut first = Client::new(&store, &["attach", "one"]);
        first.types("a");
        drop(first.child.stdin.take());
        first.shows("a");
        store
            .onggi(["attach", "one"])
            .stdin("b\n")
            .run()
            .code(4)
            .stdout("b\n");
        first.shows("b");
        assert_eq!(first.child.wait().unwrap().code(), Some(4));
    }
}

#[test]
fn the_keys_that_leave() {
    for store in everyone_with_alpine() {
        let mut terminal = attached(&store, &["run", "-it", "--name", "one", ALPINE, "sh"]);
        terminal.types(LEAVE);
        assert_eq!(terminal.code(), Some(0));
        assert!(is_cooked(&terminal));
        let mut terminal = attached(&store, &["attach", "one"]);
        terminal.types("\x10");
        terminal.types("\x11");
        terminal.shows("read escape sequence");
        assert_eq!(terminal.code(), Some(1));
        assert!(is_cooked(&terminal));
        let mut terminal = attached(
            &store,
            &["start", "-ai", "--detach-keys", "ctrl-x,x", "one"],
        );
        terminal.types("\x18x");
        assert_eq!(terminal.code(), Some(0));
        // Without any keys all is for the program.
        let mut terminal = attached(&store, &["attach", "--detach-keys", "", "one"]);
        terminal.types("stty raw; echo go; head -c 2 | od -An -tx1; stty sane\r");
        terminal.shows("go\n");
        terminal.types(LEAVE);
        terminal.shows("10 11");
        terminal.types("exit 6\r");
        assert_eq!(terminal.code(), Some(6));
        assert!(is_cooked(&terminal));
    }
}

#[test]
fn only_what_is_asked_for() {
    for store in everyone_with_alpine() {
        let script = "echo out; echo error >&2; cat";
        for (choice, stdout, stderr) in [
            (&["-a", "stdout"][..], "out\n", ""),
            (&["-a", "stderr"], "", "error\n"),
            (&["-a", "stdout", "-a", "stderr"], "out\n", "error\n"),
            (&["-i", "-a", "stdin", "-a", "STDOUT"], "out\nin", ""),
        ] {
            store
                .shell(choice, script)
                .stdin("in")
                .run()
                .code(0)
                .stdout(stdout)
                .stderr(stderr);
        }
        let outcome = store
            .onggi([
                "run",
                "-i",
                "-a",
                "stdin",
                "--name",
                "one",
                ALPINE,
                "sh",
                "-c",
                "cat >/got",
            ])
            .stdin("in")
            .run();
        outcome
            .code(0)
            .stdout(&(store.field("one", "{{.Id}}") + "\n"));
        store
            .onggi(["run", "-a", "nothing", ALPINE])
            .run()
            .code(125);
        store.ok([
            "run",
            "-di",
            "--name",
            "two",
            ALPINE,
            "sh",
            "-c",
            "while ! test -e /go; do echo wait; sleep 0.1; done; read line; echo $line; exit 4",
        ]);
        let mut deaf = Client::new(&store, &["attach", "--no-stdin", "two"]);
        deaf.types("not this");
        deaf.shows("wait");
        store.ok(["exec", "two", "touch", "/go"]);
        store
            .onggi(["attach", "two"])
            .stdin("this\n")
            .run()
            .code(4)
            .stdout_has("this\n");
        deaf.shows("this");
        assert_eq!(deaf.child.wait().unwrap().code(), Some(4));
    }
}

#[test]
fn signals_are_passed_on_unless_asked_otherwise() {
    for store in everyone_with_alpine() {
        let script =
            "trap 'exit 7' TERM; while read line; do echo $line; done; while :; do sleep 0.1; done";
        store.ok(["run", "-di", "--name", "one", ALPINE, "sh", "-c", script]);
        let mut client = Client::new(&store, &["attach", "--sig-proxy=false", "one"]);
        client.types("a");
        client.shows("a");
        send("TERM", client.child.id());
        assert_eq!(client.child.wait().unwrap().code(), Some(143));
        assert_eq!(store.status("one"), "running 0");
        let mut client = Client::new(&store, &["attach", "one"]);
        client.types("b");
        client.shows("b");
        send("TERM", client.child.id());
        client.types("c");
        assert_eq!(client.child.wait().unwrap().code(), Some(7));
    }
}

#[test]
fn the_size_of_the_terminal() {
    for store in everyone_with_alpine() {
        shell(&store, "one");
        let mut terminal = Terminal::start(&store, ["attach", "one"], 31, 91);
        terminal.types("stty size\r");
        terminal.shows("31 91");
        terminal.resize(45, 123);
        terminal.types("until stty size | grep '45 123'; do sleep 0.1; done\r");
        terminal.shows("\n45 123");
        terminal.types("exit 3\r");
        assert_eq!(terminal.code(), Some(3));
    }
}

#[test]
fn a_killed_client_harms_nobody() {
    for store in everyone_with_alpine() {
        shell(&store, "one");
        // A shell leads the session: a terminal is hung up with its leader.
        let mut terminal = Terminal::below_shell(&store, ["attach", "one"]);
        terminal.types("echo rea''dy\r");
        terminal.shows("ready");
        assert!(!is_cooked(&terminal));
        let shell = terminal.child.id();
        let children =
            std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
        send("KILL", children.trim().parse().unwrap());
        terminal.shows("ended");
        until("cooked again", || is_cooked(&terminal));
        assert_eq!(store.status("one"), "running 0");
        let mut terminal = attached(&store, &["attach", "one"]);
        terminal.types("exit 2\r");
        assert_eq!(terminal.code(), Some(2));
    }
}

/// A client that is stopped reads nothing: the program may have to wait with its output, nobody else with anything.
#[test]
fn a_stopped_client_holds_up_nobody() {
    for store in everyone_with_alpine() {
        let flood = "touch /ready; exec yes";
        for ending in [
            &["stop", "-t", "0", "one"][..],
            &["kill", "one"],
            &["rm", "-f", "one"],
        ] {
            store.detached("one", &[], flood);
            let mut client = Client::new(&store, &["attach", "one"]);
            client.shows("y");
            send("STOP", client.child.id());
            store.onggi(["exec", "one", "true"]).run().code(0);
            store.onggi(ending).run().code(0).stdout("one\n");
            if ending[0] != "rm" {
                assert_eq!(store.status("one"), "exited 137");
                store.ok(["start", "one"]);
                store.ok(["rm", "-f", "one"]);
            }
            // It still hears how it ended.
            send("CONT", client.child.id());
            drop(client.output);
            client.child.wait().unwrap();
        }
        // The end comes by itself, and the one who started it is the one who is stopped.
        let mut client = Client::new(
            &store,
            &[
                "run",
                "-i",
                "--name",
                "two",
                ALPINE,
                "sh",
                "-c",
                "echo ready; sleep 1; exit 3",
            ],
        );
        client.shows("ready");
        send("STOP", client.child.id());
        assert_eq!(store.ok(["wait", "two"]), "3\n");
        store.ok(["rm", "two"]);
        send("CONT", client.child.id());
        assert_eq!(client.child.wait().unwrap().code(), Some(3));
        until("no process is left", || store.processes().is_empty());
    }
}

#[test]
fn a_hundred_megabytes_arrive_whole() {
    for store in everyone_with_alpine() {
        let last = if store.user == User::Root {
            12_000_000
        } else {
            600_000
        };
        store.ok([
            "run",
            "-di",
            "--name",
            "one",
            ALPINE,
            "sh",
            "-c",
            &format!("read line; exec seq 1 {last}"),
        ]);
        let outcome = store.onggi(["attach", "one"]).stdin("go\n").run();
        outcome.code(0);
        let mut lines = outcome.stdout_bytes().split(|byte| *byte == b'\n');
        let wrong = (1..=last).find(|number| lines.next() != Some(number.to_string().as_bytes()));
        assert_eq!(wrong, None);
        assert_eq!(lines.next(), Some(&b""[..]));
    }
}

#[test]
fn what_does_not_run_cannot_be_attached_to() {
    for store in everyone_with_alpine() {
        store.ok(["create", "--name", "one", ALPINE, "true"]);
        store.refused(
            ["attach", "one"],
            "You cannot attach to a stopped container, start it first",
        );
        store.refused(["attach", "missing"], "No such container: missing");
        store.ok([
            "run",
            "-d",
            "--restart",
            "always",
            "--name",
            "again",
            ALPINE,
            "false",
        ]);
        until("restarting", || store.status("again") == "restarting 1");
        store.refused(
            ["attach", "again"],
            "You cannot attach to a restarting container, wait until it is running",
        );
        // A terminal inside wants one outside.
        shell(&store, "two");
        store.refused(["attach", "two"], "the input device is not a TTY");
        store.detached("three", &[], OBEDIENT);
        let client = store.onggi(["attach", "three"]).spawn();
        store.ok(["stop", "three"]);
        let outcome = Outcome::of("attach", client.wait_with_output().unwrap());
        outcome.expect(
            !outcome.stderr_text().contains("killed"),
            "no word of a killed monitor",
        );
    }
}
