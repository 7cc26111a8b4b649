//! The client of systemd against the systemd of this host: the system's for root, the own one for a user, from
//! inside a user namespace too (`onggi unshare` around this program). Skipped where there is none; the virtual
//! machine has all of them.

mod support;

use onggi::cgroup::systemd::{Manager, Scope};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Our uid outside of all user namespaces; `None` for root.
fn user() -> Option<u32> {
    let own = rustix::process::geteuid().as_raw();
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap();
    let lines = map
        .lines()
        .map(|line| line.split_whitespace().map(|word| word.parse().unwrap()));
    let outer = lines.map(Iterator::collect).find_map(|range: Vec<u32>| {
        let at = own.checked_sub(range[0])?;
        (at < range[2]).then(|| range[1] + at)
    });
    outer.filter(|uid| *uid != 0)
}

/// The manager for us, or a skip.
fn manager() -> Option<Manager> {
    if !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        support::skip("needs control groups of version 2");
        return None;
    }
    let found = Manager::connect(user()).unwrap();
    if found.is_none() {
        support::skip(Manager::absent(user()));
    }
    found
}

struct Sleeper(Child);

impl Sleeper {
    fn start() -> Self {
        let mut command = Command::new("sleep");
        Self(command.arg("1000").stdin(Stdio::null()).spawn().unwrap())
    }

    fn group(&self) -> String {
        let text = std::fs::read_to_string(format!("/proc/{}/cgroup", self.0.id())).unwrap();
        text.lines()
            .find_map(|line| line.strip_prefix("0::"))
            .unwrap()
            .to_owned()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn directory(path: &Path) -> PathBuf {
    Path::new("/sys/fs/cgroup").join(path.strip_prefix("/").unwrap())
}

fn vanishes(path: &Path) {
    let until = Instant::now() + Duration::from_secs(60);
    while directory(path).exists() {
        assert!(Instant::now() < until, "`{}` stays", path.display());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn scope(name: &str) -> Scope<'_> {
    Scope {
        name,
        description: "a test of onggi",
        slice: None,
        patience: Some(Duration::from_secs(1)),
        properties: &[],
    }
}

#[test]
fn a_scope_is_ours_and_goes_with_its_processes() {
    let Some(mut manager) = manager() else { return };
    let name = format!("onggi-test-{}.scope", std::process::id());
    let one = Sleeper::start();
    let path = manager.start_scope(&scope(&name), &[one.0.id()]).unwrap();
    assert_eq!(Path::new(&one.group()), path);
    assert_eq!(path.file_name().unwrap(), &*name);
    for file in [
        "",
        "cgroup.procs",
        "cgroup.subtree_control",
        "cgroup.threads",
    ] {
        let owner = std::fs::metadata(directory(&path).join(file))
            .unwrap()
            .uid();
        assert_eq!(
            owner,
            rustix::process::geteuid().as_raw(),
            "owner of `{file}`"
        );
    }
    let limit = std::fs::read_to_string(directory(&path).join("pids.max")).unwrap();
    assert_eq!(limit, "max\n");
    // The process is moved on, so that controllers can be enabled below.
    let inner = directory(&path).join("inner");
    std::fs::create_dir(&inner).unwrap();
    std::fs::write(inner.join("cgroup.procs"), one.0.id().to_string()).unwrap();
    std::fs::write(
        directory(&path).join("cgroup.subtree_control"),
        "+memory +pids",
    )
    .unwrap();
    // A process elsewhere comes here although the group that both have in common may not be ours.
    let two = Sleeper::start();
    manager.attach(&name, "inner", &[two.0.id()]).unwrap();
    assert_eq!(Path::new(&two.group()), path.join("inner"));
    drop((one, two));
    vanishes(&path);
}

#[test]
fn a_name_can_be_taken_again_at_once() {
    let Some(mut manager) = manager() else { return };
    let name = format!("onggi-again-{}.scope", std::process::id());
    for _ in 0..5 {
        let sleeper = Sleeper::start();
        manager
            .start_scope(&scope(&name), &[sleeper.0.id()])
            .unwrap();
        drop(sleeper);
    }
    let one = Sleeper::start();
    let path = manager.start_scope(&scope(&name), &[one.0.id()]).unwrap();
    let other = Sleeper::start();
    let error = manager
        .start_scope(&scope(&name), &[other.0.id()])
        .unwrap_err();
    assert_eq!(
        onggi::error::kind(&error),
        Some(onggi::error::Kind::Conflict),
        "{error:#}"
    );
    drop(one);
    vanishes(&path);
}

#[test]
fn a_slice_is_where_its_name_says() {
    let Some(mut manager) = manager() else { return };
    let name = format!("onggi-slice-{}.scope", std::process::id());
    let scope = Scope {
        slice: Some("onggitest-a.slice"),
        ..scope(&name)
    };
    let sleeper = Sleeper::start();
    let path = manager.start_scope(&scope, &[sleeper.0.id()]).unwrap();
    let end = Path::new("onggitest.slice/onggitest-a.slice").join(&name);
    assert!(path.ends_with(end), "{}", path.display());
    drop(sleeper);
    vanishes(&path);
}

#[test]
fn a_process_that_is_gone_is_an_error() {
    let Some(mut manager) = manager() else { return };
    let name = format!("onggi-gone-{}.scope", std::process::id());
    let gone = Sleeper::start();
    let pid = gone.0.id();
    drop(gone);
    let error = manager.start_scope(&scope(&name), &[pid]).unwrap_err();
    assert_eq!(
        onggi::error::kind(&error),
        Some(onggi::error::Kind::Denied),
        "{error:#}"
    );
    // The connection is as good as before.
    let name = format!("onggi-there-{}.scope", std::process::id());
    let there = Sleeper::start();
    let path = manager.start_scope(&scope(&name), &[there.0.id()]);
    drop(there);
    vanishes(&path.unwrap());
}
