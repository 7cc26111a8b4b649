//! A store of its own for each test: data root, run root, home and runtime directory of one user, all below one
//! temporary directory that is gone afterwards, with every process that still uses it.

use super::command::Call;
use super::host::{self, Account, Need, User, image, is_root, skip};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// The reference under which [`Store::alpine`] imports.
pub const ALPINE: &str = "alpine:3.20";

/// A user with an empty store.
pub struct Store {
    /// Who owns it.
    pub user: User,
    /// The account that plays the user.
    pub account: Account,
    directory: Option<tempfile::TempDir>,
    /// A process in whose mount namespace everything of this store runs.
    namespace: Option<u32>,
}

/// One store for each of root, a user with subordinate ids, a user without; those that this host does not have
/// are skipped.
pub fn everyone() -> impl Iterator<Item = Store> {
    [User::Root, User::Subuid, User::Single]
        .into_iter()
        .filter_map(store)
}

/// The same in memory, for tests of thousands of commands: with the real Alpine imported as [`ALPINE`].
pub fn everyone_in_memory() -> impl Iterator<Item = Store> {
    let users = [User::Root, User::Subuid, User::Single].into_iter();
    users
        .filter_map(|user| store_in(user, memory()))
        .filter(Store::alpine)
}

/// A tmpfs, if this kernel's can hold what an ordinary user's overlay needs (Linux 6.6), else the usual place.
fn memory() -> PathBuf {
    let directory = Path::new("/dev/shm");
    let Ok(file) = tempfile::NamedTempFile::new_in(directory) else {
        return usual();
    };
    let flags = rustix::fs::XattrFlags::empty();
    match rustix::fs::setxattr(file.path(), "user.onggi", b"1", flags) {
        Ok(()) => directory.to_owned(),
        Err(_) => usual(),
    }
}

fn usual() -> PathBuf {
    std::env::var_os("ONGGI_TEST_TMP").map_or_else(|| "/var/tmp".into(), PathBuf::from)
}

/// The same with the real Alpine imported as [`ALPINE`].
pub fn everyone_with_alpine() -> impl Iterator<Item = Store> {
    everyone().filter(Store::alpine)
}

/// A store for that user, or a skip.
pub fn store(user: User) -> Option<Store> {
    store_in(user, usual())
}

fn store_in(user: User, parent: PathBuf) -> Option<Store> {
    let account =
        user.account()
            .and_then(|account| match host::user_namespaces_refused(&account) {
                Some(reason) if user != User::Root => Err(reason),
                _ => Ok(account),
            });
    match account {
        Ok(account) => Some(Store::new(user, account, &parent)),
        Err(reason) => {
            skip(format_args!("as {user:?}: {reason}"));
            None
        }
    }
}

impl Store {
    fn new(user: User, account: Account, parent: &Path) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("onggi-test-")
            .tempdir_in(parent)
            .unwrap();
        let store = Self {
            user,
            account,
            directory: Some(directory),
            namespace: None,
        };
        chmod(store.path(), 0o755);
        for name in ["data", "run", "home", "runtime"] {
            let path = store.path().join(name);
            std::fs::create_dir(&path).unwrap();
            chmod(&path, 0o700);
            if is_root() {
                std::os::unix::fs::chown(&path, Some(store.account.uid), Some(store.account.gid))
                    .unwrap();
            }
        }
        store
    }

    /// The temporary directory; searchable by all.
    pub fn path(&self) -> &Path {
        self.directory.as_ref().unwrap().path()
    }

    /// The data root.
    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// The run root.
    pub fn run_root(&self) -> PathBuf {
        self.path().join("run")
    }

    /// The home directory, where commands start.
    pub fn home(&self) -> PathBuf {
        self.path().join("home")
    }

    /// The program with these arguments, on this store, as this user.
    pub fn onggi<I: IntoIterator<Item: AsRef<OsStr>>>(&self, arguments: I) -> Call {
        let mut command = self.command(program());
        command
            .arg("--root")
            .arg(self.data())
            .arg("--runroot")
            .arg(self.run_root());
        command.args(arguments);
        Call::new(command)
    }

    /// The option that gives a container of this user a user namespace of its own.
    pub fn own_user_namespace(&self) -> [&'static str; 2] {
        match self.user {
            User::Root => ["--uidmap", "0:100000:65536"],
            User::Subuid | User::Single => ["--userns", "keep-id"],
        }
    }

    /// A shell script on the host, in the home directory, whose `onggi` is the program on this store.
    pub fn script(&self, text: &str) -> Call {
        let programs = self.home().join("bin");
        if !programs.exists() {
            std::fs::create_dir(&programs).unwrap();
            std::os::unix::fs::symlink(program(), programs.join("onggi")).unwrap();
        }
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = self.command("/bin/sh");
        command
            .env("PATH", format!("{}:{path}", programs.display()))
            .env("ONGGI_ROOT", self.data())
            .env("ONGGI_RUNROOT", self.run_root());
        Call::new(command).args(["-e", "-c", text])
    }

    /// A shell script in a new [`ALPINE`] container that is removed when it ends, with these options.
    pub fn shell(&self, options: &[&str], script: &str) -> Call {
        let (run, shell) = (["run", "--rm"], [ALPINE, "sh", "-c", script]);
        self.onggi(run.iter().chain(options).chain(&shell))
    }

    /// Any program as this user, in a clean environment, in the home directory.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = match self.namespace {
            None => Command::new(program.as_ref()),
            Some(pid) => self.enter(pid, program.as_ref()),
        };
        command.env_clear().env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        );
        command
            .env("HOME", self.home())
            .env("XDG_RUNTIME_DIR", self.path().join("runtime"))
            // What is not about networks makes none in that of the machine.
            .env("ONGGI_NETWORK", "none");
        command.current_dir(self.home());
        if self.namespace.is_none() {
            host::become_account(&mut command, &self.account);
        }
        command
    }

    /// A program in the mount namespace of another process, which only root can enter.
    fn enter(&self, pid: u32, program: &OsStr) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-m", "-t", &pid.to_string()]);
        command.arg(format!("--wd={}", self.home().display()));
        if self.account.uid != 0 {
            let (uid, gid) = (self.account.uid, self.account.gid);
            command.args(["-S", &uid.to_string(), "-G", &gid.to_string()]);
        }
        command.arg("--").arg(program);
        command
    }

    /// From now on all commands run in the mount namespace of that process.
    pub fn set_namespace(&mut self, pid: Option<u32>) {
        self.namespace = pid;
    }

    /// Where the tests themselves find a file that the commands see at that path.
    pub fn seen(&self, path: &Path) -> PathBuf {
        match self.namespace {
            None => path.to_owned(),
            Some(pid) => {
                Path::new(&format!("/proc/{pid}/root")).join(path.strip_prefix("/").unwrap())
            }
        }
    }

    /// Writes a file that the user owns into the home directory, making directories on the way.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.home().join(name);
        let parents: Vec<&Path> = path.ancestors().skip(1).collect();
        for parent in parents.into_iter().rev().filter(|parent| !parent.exists()) {
            std::fs::create_dir(parent).unwrap();
            if is_root() {
                let (uid, gid) = (self.account.uid, self.account.gid);
                std::os::unix::fs::chown(parent, Some(uid), Some(gid)).unwrap();
            }
        }
        std::fs::write(&path, content).unwrap();
        if is_root() {
            std::os::unix::fs::chown(&path, Some(self.account.uid), Some(self.account.gid))
                .unwrap();
        }
        path
    }

    /// Imports the real Alpine as [`ALPINE`]; false, with a skip, where it is missing.
    #[must_use]
    pub fn alpine(&self) -> bool {
        let file = format!(
            "alpine-3.20.3-rootfs/alpine-minirootfs-3.20.3-{}.tar.gz",
            std::env::consts::ARCH
        );
        let Some(path) = image(&file) else {
            return false;
        };
        self.onggi([OsStr::new("import"), path.as_os_str(), OsStr::new(ALPINE)])
            .run()
            .code(0);
        true
    }

    /// Loads a real image and gives the reference that `load` tells; `None`, with a skip, where it is missing.
    #[must_use]
    pub fn load(&self, path: &str) -> Option<String> {
        let file = image(path)?;
        let outcome = self
            .onggi([OsStr::new("load"), OsStr::new("-i"), file.as_os_str()])
            .run();
        outcome.code(0);
        let told = |line: &str| {
            line.split_once(": ")
                .map(|(_, reference)| reference.trim().to_owned())
        };
        Some(
            outcome
                .stdout_text()
                .lines()
                .filter_map(told)
                .next_back()
                .expect("a `Loaded image` line"),
        )
    }

    /// Every file below the data root with its type, mode and size, and what links and small files hold: equal
    /// before and after a command that must not have changed anything.
    pub fn snapshot(&self) -> Vec<String> {
        let mut lines = Vec::new();
        snapshot(&self.data(), &mut lines);
        // What happens is announced whatever becomes of it, and places to mount on stay for the next start.
        for kept in [
            "events",
            "mount-points",
            "networks/lock",
            "networks/unique-local",
        ] {
            let kept = self.data().join(kept);
            lines.retain(|line| !line.starts_with(kept.to_str().unwrap()));
        }
        // The networks that are always there are written down when somebody first looks for one.
        let networks = self.data().join("networks");
        for entry in std::fs::read_dir(&networks).into_iter().flatten().flatten() {
            let record = std::fs::read_to_string(entry.path().join("network.json"));
            let record: serde_json::Value = record
                .ok()
                .and_then(|text| serde_json::from_str(&text).ok())
                .unwrap_or_default();
            if ["bridge", "host", "none"]
                .iter()
                .any(|name| record["name"] == *name)
            {
                let built_in = entry.path();
                lines.retain(|line| !line.starts_with(built_in.to_str().unwrap()));
            }
        }
        let itself = format!("{} ", networks.display());
        lines.retain(|line| !line.starts_with(&itself));
        lines.sort();
        lines
    }

    /// Fails with what has been added and removed since the snapshot was taken.
    #[track_caller]
    pub fn assert_unchanged(&self, before: &[String]) {
        let after = self.snapshot();
        let added: Vec<_> = after.iter().filter(|line| !before.contains(line)).collect();
        let removed: Vec<_> = before.iter().filter(|line| !after.contains(line)).collect();
        assert!(
            added.is_empty() && removed.is_empty(),
            "added: {added:#?}\nremoved: {removed:#?}"
        );
    }

    /// The processes, other than this one, whose arguments name this store or whose file systems are made of it.
    ///
    /// A mount at a path of the store tells nothing: every process of the host sees one that is made there.
    pub fn processes(&self) -> Vec<u32> {
        let needle = self.path().to_str().unwrap();
        let file = |pid: u32, name: &str| {
            let bytes = std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let is_of_it = |line: &str| {
            let point = line.split(' ').nth(4).unwrap_or_default();
            line.contains(needle) && !point.starts_with(needle)
        };
        let names_it = |pid: &u32| {
            file(*pid, "cmdline").contains(needle) || file(*pid, "mountinfo").lines().any(is_of_it)
        };
        let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| *pid != std::process::id() && Some(*pid) != self.namespace)
            .filter(names_it)
            .collect()
    }

    /// A monitor tells everybody of the end before its own, which on a busy machine takes a while.
    #[track_caller]
    pub fn assert_no_process_is_left(&self) {
        let start = Instant::now();
        while !self.processes().is_empty() {
            let has_time = start.elapsed() < Duration::from_secs(10);
            assert!(has_time, "{:?} are left", self.processes());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Takes away what is still mounted in the store where the tests run.
    fn unmount(&self) {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        for point in points.filter(|point| Path::new(point).starts_with(self.path())) {
            let _ = rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH);
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.unmount();
        for pid in self.processes() {
            if let Some(pid) = i32::try_from(pid)
                .ok()
                .and_then(rustix::process::Pid::from_raw)
            {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        let path = self.directory.take().unwrap().keep();
        if std::fs::remove_dir_all(&path).is_err() {
            // Files of subordinate ids, and overlay's work directories of mode 000, obey only root of a namespace.
            for maps in [&["--map-root-user", "--map-auto"][..], &["--map-root-user"]] {
                if path.exists() {
                    let script = "chmod -R u+rwx \"$1\"; rm -rf \"$1\"";
                    let mut remove = Command::new("unshare");
                    let _ = remove
                        .args(maps)
                        .args(["sh", "-c", script, "sh"])
                        .arg(&path)
                        .status();
                }
            }
        }
    }
}

fn snapshot(directory: &Path, lines: &mut Vec<String>) {
    use std::os::unix::fs::MetadataExt;
    for entry in std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
    {
        let path = entry.path();
        let file = path.symlink_metadata().unwrap();
        let content = if file.is_symlink() {
            std::fs::read_link(&path)
                .unwrap()
                .into_os_string()
                .into_encoded_bytes()
        } else if file.is_file() && file.len() < 1 << 16 {
            std::fs::read(&path).unwrap_or_default()
        } else {
            Vec::new()
        };
        let (mode, size) = (file.mode(), if file.is_dir() { 0 } else { file.len() });
        lines.push(format!(
            "{} {mode:o} {size} {}",
            path.display(),
            String::from_utf8_lossy(&content)
        ));
        if file.is_dir() {
            snapshot(&path, lines);
        }
    }
}

fn chmod(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// The program under test where every user can reach it: `ONGGI_BIN`, else a copy of what cargo has built.
pub fn program() -> &'static Path {
    static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
        if let Some(path) = std::env::var_os("ONGGI_BIN") {
            return path.into();
        }
        let built = Path::new(env!("CARGO_BIN_EXE_onggi"));
        if !is_root() {
            return built.to_owned();
        }
        reachable_copy(built)
    });
    &PROGRAM
}

/// A copy below `/var/tmp`, named after the original and its age; copies of earlier builds are removed.
pub fn reachable_copy(built: &Path) -> PathBuf {
    use std::hash::{DefaultHasher, Hash, Hasher};
    use std::os::unix::fs::MetadataExt;
    let mut hasher = DefaultHasher::new();
    built.hash(&mut hasher);
    let directory = Path::new("/var/tmp");
    let prefix = format!("onggi-under-test-{:x}-", hasher.finish());
    let built_at = std::fs::metadata(built).unwrap();
    let copy = directory.join(format!(
        "{prefix}{}.{}",
        built_at.mtime(),
        built_at.mtime_nsec()
    ));
    if !copy.exists() {
        for entry in std::fs::read_dir(directory).unwrap().filter_map(Result::ok) {
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        // Renamed into place: another test crate may do the same at the same time, and remove what has the prefix.
        let half = directory.join(format!("onggi-half-{}", std::process::id()));
        copy_program(built, &half);
        std::fs::rename(&half, &copy).unwrap();
    }
    copy
}

/// Copies a program by another process: a descriptor open for writing here would be inherited by whatever another
/// thread starts meanwhile, and a program that is open for writing cannot be executed.
pub fn copy_program(from: &Path, to: &Path) {
    let mut copy = Command::new("cp");
    assert!(copy.arg(from).arg(to).status().unwrap().success());
    chmod(to, 0o755);
}
