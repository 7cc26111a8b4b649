//! CVE-2016-9962: a program that is exec'd into a container is looked at by the container's processes before it has
//! given up what the container does not have. They may have CAP_SYS_PTRACE, which takes them past every other wall.

use crate::support::life::until;
use crate::support::store::copy_program;
use crate::support::{ALPINE, Need, Store, User, everyone_in_memory, requires, store};
use crate::unwalled;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::collections::BTreeSet;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

/// Set where this test program runs inside a container, to what it does there.
const INSIDE: &str = "ONGGI_TEST_ATTACKER";
/// Looks at what it catches, and kills it.
const LOOK: &str = "look";
/// Takes the channel from what it catches, keeps it, and lets the process go on.
const TAKE: &str = "take";
/// The number at which a process that joins a container has its channel to whoever waits for it.
const CHANNEL: u32 = 3;
/// Where the attacker writes down what it has seen of others, once each.
const SEEN: &str = "/tmp/seen";
/// In the environment of whoever calls `onggi exec`.
const SECRET: &str = "ONGGI_TEST_SECRET";

/// Inside the container: catches every process as early as it can, and writes down what it is and has.
#[test]
#[ignore = "runs inside containers, started by the other tests"]
fn attacker() {
    let task = std::env::var(INSIDE).expect("it kills every process that it finds");
    let mut seen = BTreeSet::new();
    let mut taken = Vec::new();
    let own = std::process::id();
    let mut next = own + 1;
    std::fs::write("/tmp/ready", "").unwrap();
    loop {
        // Process ids are given out in order, so the next one is known beforehand.
        let Some(pid) = (next..next + 16).find(|pid| attach(*pid)) else {
            next = next.max(latest().saturating_sub(8));
            continue;
        };
        next = pid + 1;
        let lines = match task.as_str() {
            LOOK => look_at(pid),
            TAKE => {
                let channel = take(pid);
                let lines = channel
                    .iter()
                    .map(|channel| format!("taken {}", kind_of(channel)));
                let lines = lines.collect();
                taken.extend(channel);
                lines
            }
            other => panic!("no task {other:?}"),
        };
        // While it stands still, so that it is written down before anybody hears of its end.
        for line in lines {
            if seen.insert(line.clone()) {
                let mut log = std::fs::File::options();
                let mut log = log.create(true).append(true).open(SEEN).unwrap();
                writeln!(log, "{line}").unwrap();
            }
        }
        let process = Pid::from_raw(pid as i32);
        if task == LOOK {
            let _ = kill(process, Signal::SIGKILL);
            // Until its tracer has seen its end, its parent does not.
            let _ = waitpid(process, None);
        } else {
            let _ = ptrace::detach(process, None);
            // Where another stop came before that of attaching, the latter is still to come.
            let _ = kill(process, Signal::SIGCONT);
        }
    }
}

/// The process id that was given out last (proc_loadavg(5)).
fn latest() -> u32 {
    let loads = std::fs::read_to_string("/proc/loadavg").unwrap();
    let latest = loads.split_whitespace().next_back();
    latest.unwrap().parse().unwrap()
}

/// A second descriptor of what that process has at the number of its channel; closed there by execve(2).
fn take(pid: u32) -> Option<OwnedFd> {
    let process = rustix::process::Pid::from_raw(pid as i32)?;
    let process = pidfd_open(process, PidfdFlags::empty()).ok()?;
    pidfd_getfd(&process, CHANNEL as i32, PidfdGetfdFlags::empty()).ok()
}

/// The kind of what is open: `socket` for `socket:[4711]`.
fn kind_of(descriptor: &OwnedFd) -> String {
    use std::os::fd::AsRawFd;
    let link = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
    let name = std::fs::read_link(link).unwrap().display().to_string();
    name.split(':').next().unwrap_or_default().to_owned()
}

/// It stands still afterwards.
fn attach(pid: u32) -> bool {
    let pid = Pid::from_raw(pid as i32);
    ptrace::attach(pid).is_ok() && waitpid(pid, None).is_ok()
}

fn look_at(pid: u32) -> Vec<String> {
    let read = |file: &str| {
        let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let status = read("status");
    if status.is_empty() {
        return Vec::new();
    }
    let field = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap_or_default().trim().to_owned()
    };
    let mut lines = vec![
        format!("name {}", field("Name:")),
        format!("filter {}", field("Seccomp:")),
    ];
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        lines.push(format!("capabilities {}", field(&format!("{set}:"))));
    }
    if read("environ").contains(SECRET) {
        lines.push("environment".to_owned());
    }
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        match target.to_str().unwrap_or_default() {
            path if path.starts_with('/') => lines.push(format!("file {path}")),
            name if name.starts_with("socket:[") => {
                lines.push(format!("socket {}", entry.file_name().display()));
            }
            // A pipe that the program gets, or already gone.
            _ => {}
        }
    }
    lines
}

#[test]
fn nothing_is_gained_by_tracing_what_is_on_its_way() {
    for store in everyone_in_memory() {
        for options in [&[][..], &["--security-opt", "no-new-privileges"]] {
            let seen = attack(&store, options);
            // It was caught before it had executed the program: it still has the name and the channel of its maker.
            assert!(
                of(&seen, "name ").iter().any(|name| *name != "true"),
                "{seen}"
            );
            assert_eq!(of(&seen, "socket "), [CHANNEL.to_string()], "{seen}");
            assert!(
                !is_mightier(&seen),
                "capabilities that the container does not have: {seen}"
            );
            assert_eq!(
                of(&seen, "filter "),
                ["2"],
                "a process without its filter: {seen}"
            );
            assert!(
                !seen.contains("environment\n"),
                "the caller's environment: {seen}"
            );
            let mut files = of(&seen, "file ");
            files.retain(|file| *file != "/dev/null");
            assert!(files.is_empty(), "a file of the host: {seen}");
        }
    }
}

/// What is seen with that word before it.
fn of<'a>(seen: &'a str, key: &str) -> Vec<&'a str> {
    seen.lines()
        .filter_map(|line| line.strip_prefix(key))
        .collect()
}

/// The end of the channel is how a program that has been executed is recognised; whoever is inside can keep it open.
#[test]
fn who_holds_the_channel_holds_nobody_up() {
    std::thread::scope(|scope| {
        // What it takes is the time after which nobody is waited for any more, the same for all.
        for store in everyone_in_memory().collect::<Vec<_>>() {
            scope.spawn(move || {
                start_attacker(&store, TAKE, &[]);
                let exec = || store.onggi(["exec", "web", "true"]).run();
                let caught = std::iter::repeat_with(exec)
                    .take(200)
                    .find(|outcome| !outcome.succeeded());
                let caught = caught.expect("the channel was not taken, or nobody noticed");
                caught
                    .code(126)
                    .stderr_has("was held up inside the container");
                assert_eq!(seen(&store), "taken socket\n", "{:?}", store.user);
                store.ok(["rm", "-f", "web"]);
            });
        }
    });
}

/// Whether a process has been seen with capabilities beside Docker's and CAP_SYS_PTRACE.
fn is_mightier(seen: &str) -> bool {
    const OWN: u64 = 0xa804_25fb | 1 << 19;
    let sets = of(seen, "capabilities ");
    assert!(!sets.is_empty(), "nothing has been caught");
    let mut sets = sets.iter().map(|set| u64::from_str_radix(set, 16).unwrap());
    sets.any(|set| set & !OWN != 0)
}

/// A program that enters the namespaces as it is, with all that its caller has.
#[test]
fn without_the_wall() {
    if !requires(&[Need::Root, Need::Program("nsenter")]) {
        return;
    }
    let Some(store) = store(User::Root).filter(Store::alpine) else {
        return;
    };
    start_attacker(&store, LOOK, &[]);
    let pid = store.field("web", "{{.State.Pid}}");
    let file = store.file("open", "").display().to_string();
    let (_ours, theirs) = UnixStream::pair().unwrap();
    let mut enter = store.command("sh");
    enter.args([
        "-c",
        "exec 5<open; exec nsenter -t \"$0\" -p sleep 1000",
        &pid,
    ]);
    enter.stdin(OwnedFd::from(theirs)).env(SECRET, SECRET);
    // It is killed by who is inside.
    let outcome = unwalled::run(enter);
    outcome.expect(!outcome.succeeded(), "an end by the attacker");
    let seen = seen(&store);
    assert!(is_mightier(&seen), "{seen}");
    assert_eq!(of(&seen, "filter "), ["0"], "{seen}");
    assert_eq!(of(&seen, "socket "), ["0"], "{seen}");
    assert!(of(&seen, "file ").contains(&file.as_str()), "{seen}");
    assert!(seen.contains("environment\n"), "{seen}");
}

/// What an attacker has seen of many programs, which it has killed.
fn attack(store: &Store, options: &[&str]) -> String {
    start_attacker(store, LOOK, options);
    for _ in 0..60 {
        let call = store.onggi(["exec", "web", "true"]);
        call.env(SECRET, SECRET).run();
    }
    seen(store)
}

fn start_attacker(store: &Store, task: &str, options: &[&str]) {
    let _ = store.onggi(["rm", "-f", "web"]).run();
    let program = store.file("attacker", "");
    copy_program(&std::env::current_exe().unwrap(), &program);
    let variable = format!("{INSIDE}={task}");
    let start = [
        "create",
        "--name",
        "web",
        "--cap-add",
        "SYS_PTRACE",
        "-e",
        &variable,
    ];
    let words = [
        ALPINE,
        "/attacker",
        "--exact",
        "--ignored",
        "cve_2016_9962::attacker",
        "--nocapture",
    ];
    store
        .onggi(start.iter().chain(options).chain(&words))
        .run()
        .code(0);
    store
        .onggi(["cp", program.to_str().unwrap(), "web:/attacker"])
        .run()
        .code(0);
    store.onggi(["start", "web"]).run().code(0);
    until("the attacker is ready", || {
        // Whoever is sent to look is killed.
        store.onggi(["cp", "web:/tmp/ready", "-"]).run().succeeded()
    });
}

fn seen(store: &Store) -> String {
    let copy = store.home().join("seen");
    let words = ["cp", &format!("web:{SEEN}"), copy.to_str().unwrap()];
    store.onggi(words).run().code(0);
    std::fs::read_to_string(copy).unwrap()
}
