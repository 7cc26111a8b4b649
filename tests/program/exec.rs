//! exec: one more program in a running container, with the container's surroundings and privileges.

use crate::life_cycle::{send, wait_until_ready};
use crate::support::terminal::Terminal;
use crate::support::{ALPINE, Call, Outcome, Store, User, everyone, everyone_with_alpine};
use std::time::{Duration, Instant};

/// Nothing that is waited for takes this long unless it hangs.
const HANGS: Duration = Duration::from_secs(60);

/// Starts a container called `web` with these options and this script; returns when the script has said that it is
/// ready by making the file `/tmp/ready`.
pub fn run(store: &Store, options: &[&str], script: &str) {
    let start = ["run", "-d", "--name", "web"];
    let program = [ALPINE, "sh", "-c", script];
    let words = start.iter().chain(options).chain(&program);
    store.onggi(words).run().code(0);
    until("the container is ready", || {
        exec(store, &[], &["test", "-e", "/tmp/ready"]).succeeded()
    });
}

pub fn web(store: &Store) {
    run(store, &[], "touch /tmp/ready; exec sleep 100000");
}

pub fn exec(store: &Store, options: &[&str], words: &[&str]) -> Outcome {
    call(store, options, words).run()
}

pub fn call(store: &Store, options: &[&str], words: &[&str]) -> Call {
    let name = ["web"];
    store.onggi(["exec"].iter().chain(options).chain(&name).chain(words))
}

pub fn shell(store: &Store, options: &[&str], script: &str) -> Outcome {
    exec(store, options, &["sh", "-c", script])
}

#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < HANGS, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn inspect(store: &Store, template: &str) -> String {
    let outcome = store.onggi(["inspect", "-f", template, "web"]).run();
    outcome.code(0);
    outcome.stdout_text().trim().to_owned()
}

fn is_in_process_list(word: &str) -> bool {
    std::process::Command::new("pgrep")
        .args(["-f", word])
        .output()
        .unwrap()
        .status
        .success()
}

#[test]
fn environment_and_directory() {
    for store in everyone_with_alpine() {
        run(
            &store,
            &[
                "-e",
                "OWN=1",
                "-e",
                "GONE=1",
                "-w",
                "/srv",
                "--hostname",
                "h",
            ],
            "touch /tmp/ready; exec sleep 100000",
        );
        let file = store.file("variables", "FILE=f\nOWN=2\n");
        let file = file.to_str().unwrap();
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n";
        exec(&store, &[], &["env"])
            .code(0)
            .stdout(&format!("{path}HOSTNAME=h\nOWN=1\nGONE=1\nHOME=/root\n"));
        let options = [
            "--env-file",
            file,
            "-e",
            "OWN=3",
            "-e",
            "GONE",
            "-e",
            "HERE",
        ];
        call(&store, &options, &["env"])
            .env("HERE", "h")
            .run()
            .code(0)
            .stdout(&format!(
                "{path}HOSTNAME=h\nOWN=3\nFILE=f\nHERE=h\nHOME=/root\n"
            ));
        exec(&store, &[], &["pwd"]).code(0).stdout("/srv\n");
        exec(&store, &["-w", "/usr/bin"], &["pwd"])
            .code(0)
            .stdout("/usr/bin\n");
        exec(&store, &["-w", "/nosuch"], &["pwd"])
            .code(126)
            .stderr_has("cannot enter the working directory `/nosuch`");
        shell(&store, &[], "ls -d /nosuch").code(1);
        // The words of the command are its own.
        exec(&store, &[], &["echo", "-e", "-i", "--user"])
            .code(0)
            .stdout("-i --user\n");
        store
            .onggi(["container", "exec", "web", "echo", "hi"])
            .run()
            .code(0)
            .stdout("hi\n");
    }
}

#[test]
fn users_and_groups() {
    for store in everyone_with_alpine().filter(|store| store.user != User::Single) {
        run(
            &store,
            &["-u", "games", "--group-add", "7777"],
            "touch /tmp/ready; exec sleep 100000",
        );
        exec(&store, &[], &["id"])
            .code(0)
            .stdout("uid=35(games) gid=35(games) groups=35(games),100(users),7777\n");
        exec(&store, &["-u", "0"], &["id", "-u"])
            .code(0)
            .stdout("0\n");
        exec(&store, &["-u", "1234:4321"], &["id"])
            .code(0)
            .stdout("uid=1234 gid=4321 groups=4321,7777\n");
        shell(&store, &["-u", "nobody:mail"], "id -un; id -gn; echo $HOME")
            .code(0)
            .stdout("nobody\nmail\n/\n");
        // Its own streams are there for it by name, too.
        shell(
            &store,
            &["-u", "1234"],
            "echo out >/dev/stdout; echo err >/dev/stderr",
        )
        .code(0)
        .stdout("out\n")
        .stderr("err\n");
        exec(&store, &["-u", "nosuch"], &["id"])
            .code(126)
            .stderr_has("unable to find user nosuch: no matching entries in passwd file");
    }
}

#[test]
fn exit_codes_and_refusals() {
    for store in everyone_with_alpine() {
        web(&store);
        shell(&store, &[], "exit 7").code(7);
        shell(&store, &[], "kill -9 $$").code(137);
        exec(&store, &[], &["nosuch"])
            .code(127)
            .stderr_has("exec: \"nosuch\": executable file not found in $PATH");
        exec(&store, &["-d"], &["nosuch"]).code(127);
        exec(&store, &[], &["/etc/passwd"])
            .code(126)
            .stderr_has("exec: \"/etc/passwd\": permission denied");
        store
            .onggi(["exec", "nosuch", "true"])
            .run()
            .code(1)
            .stderr_has("No such container: nosuch");
        exec(&store, &[], &[])
            .code(125)
            .stderr_has("'onggi exec' requires at least 2 arguments");
        exec(&store, &["--detach-keys", "ctrl-9"], &["true"])
            .code(125)
            .stderr_has("invalid detach keys (ctrl-9)");
        exec(&store, &["-it"], &["true"])
            .code(1)
            .stderr_has("the input device is not a TTY");

        let (pid, id) = (
            inspect(&store, "{{.State.Pid}}"),
            inspect(&store, "{{.Id}}"),
        );
        send("STOP", pid.parse().unwrap());
        until("it is stopped", || {
            inspect(&store, "{{.State.Status}}") == "paused"
        });
        exec(&store, &[], &["true"]).code(1).stderr_has(&format!(
            "Container {id} is paused, unpause the container before exec"
        ));
        send("CONT", pid.parse().unwrap());
        store.onggi(["rm", "-f", "web"]).run().code(0);
        store
            .onggi(["create", "--name", "web", ALPINE, "true"])
            .run()
            .code(0);
        let id = inspect(&store, "{{.Id}}");
        exec(&store, &[], &["true"])
            .code(1)
            .stderr_has(&format!("Container {id} is not running"));
    }
}

#[test]
fn streams() {
    for store in everyone_with_alpine() {
        web(&store);
        call(&store, &["-i"], &["cat"])
            .stdin("hello")
            .run()
            .code(0)
            .stdout("hello");
        // Without -i there is nothing to read.
        call(&store, &[], &["cat"])
            .stdin("hello")
            .run()
            .code(0)
            .stdout("");
        shell(&store, &[], "echo out; echo err >&2")
            .code(0)
            .stdout("out\n")
            .stderr("err\n");
        let much = vec![b'x'; 3 << 20];
        let outcome = call(&store, &["-i"], &["cat"]).stdin(much.clone()).run();
        outcome
            .code(0)
            .expect(outcome.stdout_bytes() == much, "all that went in");
        // It is not told of the container's terminal, nor of one that is not there.
        shell(&store, &[], "echo $TERM; tty")
            .code(1)
            .stdout("\nnot a tty\n");
    }
}

#[test]
fn a_terminal() {
    for store in everyone_with_alpine() {
        web(&store);
        let words = ["exec", "-it", "web", "sh"];
        let mut terminal = Terminal::start(&store, words, 33, 101);
        terminal.types("stty size; tty; echo $TERM; test -w /dev/pts/0 && echo rea''dy\r");
        terminal.shows("33 101\r\n/dev/pts/0\r\nxterm\r\nready\r\n");
        terminal.resize(50, 132);
        terminal.types("sleep 0.1; stty size\r");
        terminal.shows("50 132\r\n");
        terminal.types("exit 5\r");
        assert_eq!(terminal.code(), Some(5));

        let mut terminal = Terminal::start(&store, words, 33, 101);
        terminal.types("echo rea''dy\r");
        terminal.shows("ready\r\n");
        terminal.types("\x10\x11");
        terminal.shows("read escape sequence");
        assert_eq!(terminal.code(), Some(1));
        assert_eq!(inspect(&store, "{{len .ExecIDs}}"), "1");
    }
}

/// What a process may do and what it is limited to.
const STATUS: &str = "grep -E '^(Cap|NoNewPrivs|Seccomp|Groups|Uid|Gid|Umask)' /proc/self/status; ulimit -a; \
                      cat /proc/self/oom_score_adj /proc/self/cgroup; for kind in mnt pid net ipc uts cgroup user; do \
                      readlink /proc/self/ns/$kind; done";

#[test]
fn surroundings_and_privileges_are_the_containers() {
    for store in everyone_with_alpine() {
        let shared = [
            "--pid=host",
            "--network=host",
            "--ipc=host",
            "--uts=host",
            "--cgroupns=host",
        ];
        let cases: [&[&str]; 9] = [
            &[],
            &["--cap-add", "NET_ADMIN", "--cap-drop", "CHOWN"],
            &["--security-opt", "no-new-privileges"],
            &["--security-opt", "seccomp=unconfined"],
            &["--privileged"],
            &["--ulimit", "nofile=99:100"],
            &store.own_user_namespace(),
            &["-u", "guest"],
            &shared,
        ];
        for options in cases {
            let script = format!("({STATUS}) >/tmp/own; touch /tmp/ready; exec sleep 100000");
            let words = ["run", "-d", "--name", "web"];
            let program = [ALPINE, "sh", "-c", &script];
            store
                .onggi(words.iter().chain(options).chain(&program))
                .run()
                .code(0);
            until("the container is ready", || {
                exec(&store, &[], &["test", "-e", "/tmp/ready"]).succeeded()
            });
            let own = exec(&store, &[], &["cat", "/tmp/own"]);
            let found = shell(&store, &[], STATUS);
            found.code(0).stdout(&own.stdout_text());
            store.onggi(["rm", "-f", "web"]).run().code(0);
        }
    }
}

#[test]
fn privileged() {
    for store in everyone_with_alpine() {
        run(
            &store,
            &["--cap-drop", "ALL"],
            "touch /tmp/ready; grep CapBnd /proc/self/status >/tmp/ready; exec sleep 100000",
        );
        shell(&store, &[], "grep CapEff /proc/self/status")
            .code(0)
            .stdout("CapEff:\t0000000000000000\n");
        let outcome = shell(
            &store,
            &["--privileged"],
            "grep -E 'CapEff|Seccomp:' /proc/self/status",
        );
        outcome
            .code(0)
            .stdout_lacks("CapEff:\t0000000000000000")
            .stdout_has("Seccomp:\t2");
    }
}

#[test]
fn keep_id() {
    for store in everyone_with_alpine().filter(|store| store.user != User::Root) {
        run(
            &store,
            &["--userns", "keep-id"],
            "touch /tmp/ready; exec sleep 100000",
        );
        let own = format!("{}\n", store.account.uid);
        exec(&store, &[], &["id", "-u"]).code(0).stdout(&own);
    }
}

#[test]
fn twenty_at_once() {
    for store in everyone_with_alpine() {
        web(&store);
        let clients: Vec<_> = (0..20)
            .map(|number| {
                let script = format!("echo {number}; exit {number}");
                (number, call(&store, &[], &["sh", "-c", &script]).spawn())
            })
            .collect();
        for (number, client) in clients {
            let outcome = Outcome::of("exec", client.wait_with_output().unwrap());
            outcome
                .code(number)
                .stdout(&format!("{number}\n"))
                .stderr("");
        }
        assert_eq!(inspect(&store, "{{json .ExecIDs}}"), "null");
    }
}

#[test]
fn the_client_may_be_killed() {
    for store in everyone_with_alpine() {
        web(&store);
        let script = "echo ready; until test -e /go; do sleep 0.1; done; echo much; touch /done";
        let mut client = call(&store, &["-i"], &["sh", "-c", script]).spawn();
        wait_until_ready(&mut client);
        assert_eq!(inspect(&store, "{{len .ExecIDs}}"), "1");
        client.kill().unwrap();
        client.wait().unwrap();
        exec(&store, &[], &["touch", "/go"]).code(0);
        until("it has gone on", || {
            exec(&store, &[], &["test", "-e", "/done"]).succeeded()
        });
        until("it is forgotten", || {
            inspect(&store, "{{json .ExecIDs}}") == "null"
        });
    }
}

#[test]
fn what_a_killed_holder_leaves_is_swept() {
    for store in everyone_with_alpine() {
        web(&store);
        exec(&store, &["-d"], &["sleep", "100000"]).code(0);
        let id = inspect(&store, "{{index .ExecIDs 0}}");
        let note = store
            .data()
            .join("containers")
            .join(inspect(&store, "{{.Id}}"))
            .join("exec")
            .join(id);
        assert!(note.exists());
        let is_holder = |pid: &u32| {
            std::fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.starts_with(b"onggi-exec"))
        };
        let holder = store.processes().into_iter().find(is_holder).unwrap();
        send("KILL", holder);
        until("the program has gone with it", || {
            inspect(&store, "{{json .ExecIDs}}") == "null"
        });
        exec(&store, &[], &["true"]).code(0);
        assert!(!note.exists());
    }
}

#[test]
fn detached() {
    for store in everyone_with_alpine() {
        web(&store);
        exec(
            &store,
            &["-d"],
            &["sh", "-c", "echo lost; cat; sleep 0.2; touch /done"],
        )
        .code(0)
        .stdout("")
        .stderr("");
        exec(&store, &["-dt"], &["sh", "-c", "tty >/terminal"])
            .code(0)
            .stdout("");
        until("it has gone on", || {
            exec(
                &store,
                &[],
                &["test", "-e", "/done", "-a", "-s", "/terminal"],
            )
            .succeeded()
        });
        exec(&store, &[], &["cat", "/terminal"])
            .code(0)
            .stdout("/dev/pts/0\n");
    }
}

#[test]
fn ends_with_the_container() {
    for store in everyone_with_alpine() {
        for (options, seconds) in [(&[][..], "91919191"), (&["--pid=host"], "92929292")] {
            run(&store, options, "touch /tmp/ready; exec sleep 100000");
            let seconds = format!("{seconds}{}", std::process::id());
            let client = call(
                &store,
                &[],
                &["sh", "-c", &format!("sleep {seconds}; true")],
            )
            .spawn();
            until("it runs", || {
                is_in_process_list(&format!("^sleep {seconds}"))
            });
            store.onggi(["rm", "-f", "web"]).run().code(0);
            Outcome::of("exec", client.wait_with_output().unwrap()).code(137);
            until("all of it has ended", || {
                !is_in_process_list(&format!("^sleep {seconds}"))
            });
        }
        until("nothing is left", || store.processes().is_empty());
    }
}

/// Images with another libc, and with files and users of a whole distribution.
#[test]
fn other_images() {
    for store in everyone() {
        for image in ["busybox-musl-multiarch-oci", "grootfs/garden-rootfs"] {
            let Some(image) = store.load(image) else {
                continue;
            };
            let words = ["run", "-d", "--name", "web", &image, "sleep", "100000"];
            store.onggi(words).run().code(0);
            call(
                &store,
                &["-i", "-e", "A=1"],
                &["sh", "-c", "cat; echo $A; cat /proc/1/cmdline; exit 3"],
            )
            .stdin("in ")
            .run()
            .code(3)
            .stdout("in 1\nsleep\x00100000\0");
            exec(&store, &[], &["nosuch"]).code(127);
            store.onggi(["rm", "-f", "web"]).run().code(0);
        }
    }
}

#[test]
fn with_a_single_id_another_user_is_warned_of() {
    for store in everyone_with_alpine() {
        if store.user != crate::support::User::Single {
            continue;
        }
        let stay = ["run", "-d", "--name", "single", ALPINE, "sleep", "1000"];
        store.onggi(stay).run().code(0);
        store
            .onggi(["exec", "-u", "nobody", "single", "id", "-u"])
            .run()
            .code(0)
            .stdout("0\n")
            .stderr_has("this host gives you a single id");
    }
}
