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
use std::collections::BTreeSet;
use std::io::Write;

/// Set where this test program runs inside a container.
const INSIDE: &str = "ONGGI_TEST_ATTACKER";
/// Where the attacker writes down what it has seen of others, once each.
const SEEN: &str = "/tmp/seen";
/// In the environment of whoever calls `onggi exec`.
const SECRET: &str = "ONGGI_TEST_SECRET";

/// Inside the container: catches every process as early as it can, and writes down what it is and has.
#[test]
#[ignore = "runs inside containers, started by the other tests"]
fn attacker() {
    assert!(
        std::env::var_os(INSIDE).is_some(),
        "it kills every process that it finds"
    );
    let mut seen = BTreeSet::new();
    let own = std::process::id();
    let mut next = own + 1;
    std::fs::write("/tmp/ready", "").unwrap();
    loop {
        // Process ids are given out in order, so the next one is known beforehand.
        let Some(pid) = (next..next + 16).find(|pid| attach(*pid)) else {
            continue;
        };
        next = pid + 1;
        let lines = look_at(pid);
        for line in lines {
            if seen.insert(line.clone()) {
                let mut log = std::fs::File::options();
                let mut log = log.create(true).append(true).open(SEEN).unwrap();
                writeln!(log, "{line}").unwrap();
            }
        }
        // Last: whoever waits for its end may look at once.
        let process = Pid::from_raw(pid as i32);
        let _ = kill(process, Signal::SIGKILL);
        // Until its tracer has seen its end, its parent does not.
        let _ = waitpid(process, None);
    }
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
        if target.starts_with("/") {
            lines.push(format!("file {}", target.display()));
        }
    }
    lines
}

#[test]
fn nothing_is_gained_by_tracing_what_is_on_its_way() {
    for store in everyone_in_memory() {
        for options in [&[][..], &["--security-opt", "no-new-privileges"]] {
            let seen = attack(&store, options);
            let of = |key: &str| -> Vec<String> {
                let lines = seen.lines().filter_map(|line| line.strip_prefix(key));
                lines.map(str::to_owned).collect()
            };
            // Once at least it was caught before it had executed the program.
            assert!(of("name ").iter().any(|name| name != "true"), "{seen}");
            assert!(
                !is_mightier(&seen),
                "capabilities that the container does not have: {seen}"
            );
            assert_eq!(of("filter "), ["2"], "a process without its filter: {seen}");
            assert!(of("environment").is_empty(), "the caller's environment");
            let hosts = |file: &String| file != "/dev/null";
            assert!(!of("file ").iter().any(hosts), "a file of the host: {seen}");
        }
    }
}

/// Whether a process has been seen with capabilities beside Docker's and CAP_SYS_PTRACE.
fn is_mightier(seen: &str) -> bool {
    const OWN: u64 = 0xa804_25fb | 1 << 19;
    let sets = seen
        .lines()
        .filter_map(|line| line.strip_prefix("capabilities "));
    let mut sets = sets.map(|set| u64::from_str_radix(set, 16).unwrap());
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
    start_attacker(&store, &[]);
    let pid = store.field("web", "{{.State.Pid}}");
    let mut enter = store.command("nsenter");
    enter.args(["-t", &pid, "-p", "sleep", "1000"]);
    // It is killed by who is inside.
    let outcome = unwalled::run(enter);
    outcome.expect(!outcome.succeeded(), "an end by the attacker");
    let seen = seen(&store);
    assert!(is_mightier(&seen), "{seen}");
    assert!(seen.contains("filter 0\n"), "{seen}");
}

/// What an attacker has seen of many programs, which it has killed.
fn attack(store: &Store, options: &[&str]) -> String {
    start_attacker(store, options);
    for _ in 0..60 {
        let call = store.onggi(["exec", "web", "true"]);
        call.env(SECRET, SECRET).run();
    }
    seen(store)
}

fn start_attacker(store: &Store, options: &[&str]) {
    let _ = store.onggi(["rm", "-f", "web"]).run();
    let program = store.file("attacker", "");
    copy_program(&std::env::current_exe().unwrap(), &program);
    let start = [
        "create",
        "--name",
        "web",
        "--cap-add",
        "SYS_PTRACE",
        "-e",
        "ONGGI_TEST_ATTACKER=1",
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
