//! `RUN --mount`.

use super::Test;
use super::drive::{Script, give, listed, mount, names, on_alpine, order, shell};
use super::run::assert_nothing_is_left;
use super::support::store::{copy_program, reachable_copy};
use super::support::{Store, User, everyone_with_alpine};
use onggi::build::worker::order::{Access, Layers, Mount, NewCache, Run, Shown, Source};
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

/// All of them.
pub const TESTS: &[Test] = &[
    ("mounts_of_layers", mounts_of_layers),
    ("mounts_stay_in_their_root", mounts_stay_in_their_root),
    (
        "caches_are_not_reached_by_names",
        caches_are_not_reached_by_names,
    ),
    ("secrets_are_in_memory", secrets_are_in_memory),
    ("an_agent_is_reached", an_agent_is_reached),
    (
        "places_to_mount_on_are_no_change",
        places_to_mount_on_are_no_change,
    ),
];

fn with_mounts(script: &str, mounts: Vec<Mount>) -> Run {
    Run {
        mounts,
        ..shell(script)
    }
}

/// Files of the image, and of what was made on it, below a path.
fn of_image(path: &str) -> Source {
    Source::Layers(Shown {
        layers: Layers::default(),
        path: path.to_owned(),
    })
}

fn cache(descriptor: usize) -> Source {
    let new = NewCache {
        mode: Some(0o750),
        ..NewCache::default()
    };
    Source::Cache { descriptor, new }
}

/// A directory of the user's.
fn make_directory(store: &Store, name: &str) -> PathBuf {
    let path = store.home().join(name);
    let made = store.command("mkdir").arg("-p").arg(&path).status();
    assert!(made.unwrap().success());
    path
}

fn mounts_of_layers() {
    for store in everyone_with_alpine() {
        let runs = [
            with_mounts(
                "cat /from/alpine-release && ! touch /from/x && cat /one",
                vec![
                    mount("/from", of_image("/etc"), true),
                    mount("/one", of_image("etc/alpine-release"), true),
                ],
            ),
            with_mounts(
                "echo gone > /from/etc/alpine-release && rm -r /from/bin && cat /from/etc/alpine-release",
                vec![mount("/from", of_image("/"), false)],
            ),
            shell("cat /etc/alpine-release; ls /bin/sh; ls /from"),
        ];
        let told = give(&store, &on_alpine(runs.map(order).to_vec()));
        told[0].nothing();
        assert_eq!(told[0].output[0], "3.20.3\n3.20.3\n", "{:?}", store.user);
        told[1].nothing();
        assert_eq!(told[1].output[0], "gone\n");
        assert_eq!(told[2].output[0], "3.20.3\n/bin/sh\n");
        assert_nothing_is_left(&store);
    }
}

/// CVE-2024-1753 and CVE-2024-9407: the source of a mount is a link, or a path with dots, that leads out of the layers.
fn mounts_stay_in_their_root() {
    for store in everyone_with_alpine() {
        store.file("outside", "secret of the host");
        let home = store.home();
        let make = shell(&format!(
            "ln -s {} /link; ln -s ../../../.. /etc/up",
            home.display()
        ));
        let mut orders = vec![order(make)];
        for path in ["/link/outside", "/../outside", "link"] {
            orders.push(order(with_mounts(
                "cat /m /m/outside; true",
                vec![mount("/m", of_image(path), true)],
            )));
        }
        // Inside of it a link leads where it says.
        let inside = mount("/m", of_image("/etc/up/etc/apk"), true);
        orders.push(order(with_mounts("ls /m", vec![inside])));
        let told = give(&store, &on_alpine(orders));
        for outcome in &told[1..4] {
            assert!(outcome.failure().contains("No such file"), "{outcome:?}");
            assert!(!outcome.output[0].contains("secret"), "{outcome:?}");
        }
        assert!(told[4].output[0].contains("world"), "{:?}", told[4]);
        assert_nothing_is_left(&store);
    }
}

/// CVE-2024-23651: a cache's directory becomes a link while it is about to be mounted. CVE-2024-23652: a program puts a
/// link in the place that was made to mount on, whose removal would then remove files of the host.
fn caches_are_not_reached_by_names() {
    for store in everyone_with_alpine() {
        // One lies among the files of another.
        let caches = make_directory(&store, "caches/files/one");
        let all = caches.ancestors().nth(2).unwrap();
        let victim = make_directory(&store, "victim/place");
        let runs = [
            with_mounts(
                "echo 1 > /cache/first",
                vec![mount("/cache", cache(1), false)],
            ),
            with_mounts(
                &format!(
                    "mv /all/one /all/old && ln -s {} /all/one",
                    victim.display()
                ),
                vec![mount("/all", cache(0), false)],
            ),
            with_mounts(
                "cat /cache/first && echo 2 > /cache/second && stat -c %a /cache",
                vec![mount("/cache", cache(1), false)],
            ),
            with_mounts(
                &format!(
                    "mv /made /moved; rm -rf /made; ln -s {} /made; true",
                    store.home().join("victim").display()
                ),
                vec![mount("/made/place", Source::Tmpfs { size: None }, false)],
            ),
        ];
        let script = Script {
            files: vec![all.to_owned(), caches.clone()],
            ..on_alpine(runs.map(order).to_vec())
        };
        let told = give(&store, &script);
        for outcome in &told[..3] {
            outcome.nothing();
        }
        assert_eq!(told[2].output[0], "1\n750\n");
        assert!(victim.is_dir() && listed(&victim).is_empty());
        assert_eq!(listed(&all.join("files/old/files")), ["first", "second"]);
        assert_nothing_is_left(&store);
    }
}

fn secrets_are_in_memory() {
    for store in everyone_with_alpine() {
        let file = store.file("token", "hush");
        let secret = |mode, uid| Source::File {
            descriptor: 0,
            access: Access { mode, uid, gid: 0 },
            is_program: false,
        };
        let run = with_mounts(
            "cat /run/secrets/token; stat -c '%a %u' /run/secrets/token /other; ! echo x > /other; grep -c ramfs /proc/mounts",
            vec![
                mount("/run/secrets/token", secret(0o400, 0), true),
                mount("/other", secret(0o440, 1000), true),
            ],
        );
        let script = Script {
            files: vec![file],
            ..on_alpine(vec![order(run)])
        };
        let told = give(&store, &script);
        told[0].nothing();
        let owner = if store.user == User::Single { 0 } else { 1000 };
        assert_eq!(told[0].output[0], format!("hush400 0\n440 {owner}\n2\n"));
        assert_nothing_is_left(&store);
    }
}

/// What this program does in a step: it says something to a socket, and what that answers.
pub fn speak(path: &str) {
    let mut stream = std::os::unix::net::UnixStream::connect(path).unwrap();
    stream.write_all(b"question").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    println!("{answer}");
}

fn an_agent_is_reached() {
    for store in everyone_with_alpine() {
        let path = store.home().join("agent.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let given = std::os::unix::fs::chown(&path, Some(store.account.uid), None);
        assert!(given.is_ok() || !rustix::process::geteuid().is_root());
        let answering = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = String::new();
            stream.read_to_string(&mut question).unwrap();
            write!(stream, "an answer to a {question}").unwrap();
        });
        let program = reachable_copy(&std::env::current_exe().unwrap());
        let programs = make_directory(&store, "programs/files");
        copy_program(&program, &programs.join("speak"));
        let agent = Source::Agent {
            socket: path.to_string_lossy().into_owned(),
            access: Access {
                mode: 0o600,
                uid: 0,
                gid: 0,
            },
        };
        let run = with_mounts(
            "stat -c '%F %a' /run/agent.sock && /programs/speak speak /run/agent.sock",
            vec![
                mount("/run/agent.sock", agent, false),
                mount("/programs", cache(0), true),
            ],
        );
        let script = Script {
            files: vec![store.home().join("programs")],
            ..on_alpine(vec![order(run)])
        };
        let told = give(&store, &script);
        assert_eq!(
            told[0].output,
            ["socket 600\nan answer to a question\n", ""],
            "{told:?}"
        );
        told[0].nothing();
        answering.join().unwrap();
        assert_nothing_is_left(&store);
    }
}

fn places_to_mount_on_are_no_change() {
    for store in everyone_with_alpine() {
        let memory = || Source::Tmpfs {
            size: Some(1 << 20),
        };
        let runs = [
            shell("mkdir /real && ln -s /real /link && ln -s link /again"),
            with_mounts(
                "touch /link/sub/x /new/place/x && df -k /new/place | grep -o ' 1024 ' | head -n1",
                vec![
                    mount("/again/sub", memory(), false),
                    mount("/new/place", memory(), false),
                    mount("/run/lock/file", of_image("/etc/hostname"), true),
                ],
            ),
            with_mounts(
                "echo > /new/file",
                vec![mount("/new/place", memory(), false)],
            ),
        ];
        let told = give(&store, &on_alpine(runs.map(order).to_vec()));
        told[1].nothing();
        assert_eq!(told[1].output[0], " 1024 \n");
        assert_eq!(names(&store, told[2].layer()), ["new/", "new/file"]);
        assert_nothing_is_left(&store);
    }
}
