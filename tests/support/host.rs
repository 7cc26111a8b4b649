//! What this host can show: users, programs, namespaces, real images; and the skips where it cannot.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Who runs the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// Uid 0.
    Root,
    /// An ordinary user with a range in `/etc/subuid` and `/etc/subgid`.
    Subuid,
    /// An ordinary user without one.
    Single,
}

/// An account as passwd(5) has it.
#[derive(Clone, Debug)]
pub struct Account {
    /// Login name.
    pub name: String,
    /// Numeric user id.
    pub uid: u32,
    /// Numeric id of the primary group.
    pub gid: u32,
}

/// What a test cannot do without.
#[derive(Clone, Copy, Debug)]
pub enum Need<'a> {
    /// The tests run as uid 0.
    Root,
    /// A program on the search path.
    Program(&'a str),
    /// A file or directory below the directory of real images.
    Image(&'a str),
}

/// Whether the tests themselves run as uid 0.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

impl User {
    /// The account that plays this user, or why there is none.
    pub fn account(self) -> Result<Account, String> {
        let accounts = accounts();
        let wanted = match (self, is_root()) {
            (User::Root, true) => return find(&accounts, |account| account.uid == 0),
            (User::Root, false) => return Err("needs root".to_owned()),
            (User::Subuid, true) => {
                return find(&accounts, |account| account.name == "onggi-subuid");
            }
            (User::Single, true) => {
                return find(&accounts, |account| account.name == "onggi-single");
            }
            (User::Subuid, false) => true,
            (User::Single, false) => false,
        };
        let own = rustix::process::geteuid().as_raw();
        let account = find(&accounts, |account| account.uid == own)?;
        match has_subuids(&account) == wanted {
            true => Ok(account),
            false if wanted => Err(format!("{} has no subordinate ids", account.name)),
            false => Err(format!("{} has subordinate ids", account.name)),
        }
    }
}

fn find(accounts: &[Account], wanted: impl Fn(&Account) -> bool) -> Result<Account, String> {
    let missing = "no such user on this host; tests/run makes it";
    accounts
        .iter()
        .find(|account| wanted(account))
        .cloned()
        .ok_or_else(|| missing.to_owned())
}

fn accounts() -> Vec<Account> {
    let text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let account = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Account { name, uid, gid })
    };
    text.lines().filter_map(account).collect()
}

fn has_subuids(account: &Account) -> bool {
    let owner = |line: &str| {
        let owner = line.split(':').next().unwrap_or_default();
        owner == account.name || owner == account.uid.to_string()
    };
    std::fs::read_to_string("/etc/subuid")
        .unwrap_or_default()
        .lines()
        .any(owner)
}

/// The directory of real images, whether it exists or not.
pub fn images() -> PathBuf {
    match std::env::var_os("ONGGI_TEST_IMAGES") {
        Some(path) => path.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/images"),
    }
}

/// One real image; skips the test where it is missing.
pub fn image(path: &str) -> Option<PathBuf> {
    requires(&[Need::Image(path)]).then(|| images().join(path))
}

/// Whether all of it is there; says what is not and counts the skip.
pub fn requires(needs: &[Need]) -> bool {
    let missing = needs.iter().find_map(|need| match *need {
        Need::Root if !is_root() => Some("needs root".to_owned()),
        Need::Program(name) if !has_program(name) => Some(format!("`{name}` is not installed")),
        Need::Image(path) if !images().join(path).exists() => {
            Some(format!("no {}", images().join(path).display()))
        }
        _ => None,
    });
    if let Some(reason) = &missing {
        skip(reason);
    }
    missing.is_none()
}

/// Whether a program is on the search path of the tests.
pub fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let executable = |directory: PathBuf| {
        std::fs::metadata(directory.join(name))
            .is_ok_and(|file| file.is_file() && file.mode() & 0o111 != 0)
    };
    std::env::split_paths(&path).any(executable)
}

/// A search path on which Docker's engine is, containerd and all: that which tests/run has unpacked, or the host's.
/// Skips the test where `program` of it is on neither.
pub fn engine(program: &str) -> Option<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let Some(engine) = std::env::var_os("ONGGI_TEST_DOCKER_ENGINE") else {
        return requires(&[Need::Program(program)]).then_some(path);
    };
    let unpacked = ["usr/bin", "usr/sbin"].map(|below| Path::new(&engine).join(below));
    let all = unpacked.into_iter().chain(std::env::split_paths(&path));
    Some(std::env::join_paths(all).unwrap())
}

/// Says that a part of the test that runs now is left out, and why; `tests/run` counts these lines.
pub fn skip(reason: impl std::fmt::Display) {
    let thread = std::thread::current();
    let line = format!("skipped: {}: {reason}\n", thread.name().unwrap_or("main"));
    eprint!("{line}");
    if let Some(log) = std::env::var_os("ONGGI_SKIP_LOG") {
        let mut log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(log)
            .unwrap();
        log.write_all(line.as_bytes()).unwrap();
    }
}

/// Why an ordinary user of this host cannot make a user namespace, if so.
pub fn user_namespaces_refused(account: &Account) -> Option<String> {
    let mut command = Command::new("unshare");
    command.args(["--user", "true"]).stderr(Stdio::null());
    become_account(&mut command, account);
    match command.status() {
        Ok(status) if status.success() => None,
        Ok(_) => Some(format!("{} may not make a user namespace", account.name)),
        Err(error) => Some(format!("unshare: {error}")),
    }
}

/// Makes the command run as that account; does nothing when the tests already do.
pub fn become_account(command: &mut Command, account: &Account) {
    use std::os::unix::process::CommandExt;
    if is_root() && account.uid != 0 {
        // The standard library drops the supplementary groups together with the user id.
        command.gid(account.gid).uid(account.uid);
    }
}
