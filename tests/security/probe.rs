//! A static program to put into containers: these tests themselves, of which only [`inside`] runs there. It makes the
//! attempts that Alpine has no program for, and says what came of them.
#![allow(
    unsafe_code,
    clippy::print_stdout,
    reason = "system calls are made with arguments that no library would give"
)]

use crate::support::store::copy_program;
use crate::support::{ALPINE, Outcome, Store};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Says what is to be done; unset outside of containers.
const TASK: &str = "ONGGI_PROBE";
/// What libtest needs to hear to run only that.
const ONLY: [&str; 5] = [
    "probe::inside",
    "--exact",
    "--ignored",
    "--nocapture",
    "--quiet",
];
/// Before each line of ours, since libtest prints too.
const MARK: &str = "probe: ";

/// The program where the user of the store can read it.
pub fn program(store: &Store) -> PathBuf {
    let copy = store.path().join("probe");
    if !copy.exists() {
        copy_program(&std::env::current_exe().unwrap(), &copy);
    }
    copy
}

/// Does a task in a new Alpine container with these options.
pub fn run(store: &Store, options: &[&str], task: &str) -> Outcome {
    prepare(store, "probe", options, task);
    let outcome = store.onggi(["start", "-a", "probe"]).run();
    store.onggi(["rm", "-f", "probe"]).run().code(0);
    outcome
}

/// Makes the container that does it when it is started.
pub fn prepare(store: &Store, name: &str, options: &[&str], task: &str) {
    let variable = format!("{TASK}={task}");
    let create = ["create", "--name", name, "-e", &variable];
    let program_of = [ALPINE, "/probe"];
    let words = create.iter().chain(options).chain(&program_of).chain(&ONLY);
    store.onggi(words).run().code(0);
    let program = program(store);
    let copy = ["cp", program.to_str().unwrap(), &format!("{name}:/probe")];
    store.onggi(copy).run().code(0);
}

/// The shell's words for a task of the program at that path.
pub fn words(path: &str, task: &str) -> String {
    format!("{TASK}='{task}' {path} {}", ONLY.join(" "))
}

/// The lines of the program's own.
pub fn lines(outcome: &Outcome) -> Vec<String> {
    let text = outcome.stdout_text();
    let own = text.lines().filter_map(|line| line.split_once(MARK));
    own.map(|(_, line)| line.to_owned()).collect()
}

#[test]
#[ignore = "runs inside containers, started by the other tests"]
fn inside() {
    let task = std::env::var(TASK).unwrap_or_else(|_| panic!("{TASK} says what to do"));
    let mut words = task.split(' ');
    let mut word = || words.next().unwrap_or_default();
    match word() {
        "calls" => calls(),
        "climb" => climb(word()),
        "connect" => say(connect(word())),
        "identity" => {
            say(rustix::process::getuid().as_raw());
            say(rustix::process::geteuid().as_raw());
        }
        "overwrite" => overwrite(Path::new(word())),
        "exchange" => exchange(Path::new(word()), Path::new(word())),
        other => panic!("no task {other:?}"),
    }
}

fn say(line: impl std::fmt::Display) {
    println!("{MARK}{line}");
}

/// Calls that a container has no business with, with arguments that do no harm where they are let through.
pub const CALLS: [(&str, i64, [i64; 4]); 30] = [
    ("add_key", libc::SYS_add_key, [0; 4]),
    ("keyctl", libc::SYS_keyctl, [0, -3, 0, 0]),
    ("request_key", libc::SYS_request_key, [0; 4]),
    ("bpf", libc::SYS_bpf, [-1, 0, 0, 0]),
    ("userfaultfd", libc::SYS_userfaultfd, [0x4000_0001, 0, 0, 0]),
    ("io_uring_setup", libc::SYS_io_uring_setup, [0; 4]),
    ("io_uring_enter", libc::SYS_io_uring_enter, [-1, 0, 0, 0]),
    (
        "io_uring_register",
        libc::SYS_io_uring_register,
        [-1, 0, 0, 0],
    ),
    ("perf_event_open", libc::SYS_perf_event_open, [0; 4]),
    ("init_module", libc::SYS_init_module, [0; 4]),
    ("finit_module", libc::SYS_finit_module, [-1, 0, 0, 0]),
    ("delete_module", libc::SYS_delete_module, [0; 4]),
    (
        "open_by_handle_at",
        libc::SYS_open_by_handle_at,
        [-1, 0, 0, 0],
    ),
    ("setns", libc::SYS_setns, [-1, 0, 0, 0]),
    (
        "unshare",
        libc::SYS_unshare,
        [libc::CLONE_NEWUSER as i64, 0, 0, 0],
    ),
    ("mount", libc::SYS_mount, [0; 4]),
    ("umount2", libc::SYS_umount2, [0; 4]),
    ("pivot_root", libc::SYS_pivot_root, [0; 4]),
    ("fsopen", libc::SYS_fsopen, [0; 4]),
    ("fsmount", libc::SYS_fsmount, [-1, 0, 0, 0]),
    ("fsconfig", libc::SYS_fsconfig, [-1, 0, 0, 0]),
    ("open_tree", libc::SYS_open_tree, [-1, 0, 0, 0]),
    ("move_mount", libc::SYS_move_mount, [-1, 0, -1, 0]),
    ("mount_setattr", libc::SYS_mount_setattr, [-1, 0, 0, 0]),
    ("swapon", libc::SYS_swapon, [0; 4]),
    ("reboot", libc::SYS_reboot, [0; 4]),
    ("clock_settime", libc::SYS_clock_settime, [0; 4]),
    ("kcmp", libc::SYS_kcmp, [-1, -1, 0, 0]),
    ("fanotify_init", libc::SYS_fanotify_init, [-1, 0, 0, 0]),
    ("quotactl", libc::SYS_quotactl, [-1, 0, 0, 0]),
];

fn calls() {
    for (name, number, [a, b, c, d]) in CALLS {
        // SAFETY: every pointer among the arguments is null, so the kernel reads and writes nothing here.
        let result = unsafe { libc::syscall(number, a, b, c, d, 0) };
        let error = std::io::Error::last_os_error();
        let errno = error.raw_os_error().filter(|_| result == -1);
        say(format_args!(
            "{name} {}",
            match errno {
                None => "ok".to_owned(),
                Some(libc::EPERM) => "EPERM".to_owned(),
                Some(libc::ENOSYS) => "ENOSYS".to_owned(),
                Some(other) => other.to_string(),
            }
        ));
    }
    for family in [libc::AF_ALG, libc::AF_VSOCK] {
        // SAFETY: socket(2) takes no pointers.
        let socket = unsafe { libc::socket(family, libc::SOCK_SEQPACKET, 0) };
        let error = std::io::Error::last_os_error().raw_os_error();
        say(match (socket, error) {
            (-1, Some(libc::EPERM)) => format!("socket-{family} EPERM"),
            _ => format!("socket-{family} ok"),
        });
    }
}

/// The classic way out of a root that was only changed: into another one below it, with a directory above still open.
fn climb(secret: &str) {
    let above = std::fs::File::open("/").unwrap();
    std::fs::create_dir_all("/jail").unwrap();
    rustix::process::chroot("/jail").unwrap();
    rustix::process::fchdir(&above).unwrap();
    for _ in 0..50 {
        rustix::process::chdir("..").unwrap();
    }
    rustix::process::chroot(".").unwrap();
    say(match Path::new(secret).exists() {
        true => "outside",
        false => "inside",
    });
}

/// Whether somebody listens at that abstract address (unix(7)).
fn connect(name: &str) -> String {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, socket};
    let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap();
    match rustix::net::connect(&socket, &address) {
        Ok(()) => "connected".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// Opens what others are executing and, where that has the bytes of `original`, tries to change it; says once each what
/// came of it in `/said`, until it is killed.
fn overwrite(original: &Path) {
    let original = std::fs::read(original).unwrap();
    let mut said = BTreeSet::new();
    let mut say = |line: String| {
        if said.insert(line.clone()) {
            let log = std::fs::File::options()
                .create(true)
                .append(true)
                .open("/said");
            writeln!(log.unwrap(), "{line}").unwrap();
        }
    };
    std::fs::write("/ready", "").unwrap();
    let mut held: Vec<(u64, std::fs::File)> = Vec::new();
    loop {
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let path = entry.path().join("exe");
            let Ok(mut file) = std::fs::File::open(&path) else {
                continue;
            };
            let Ok(metadata) = file.metadata() else {
                continue;
            };
            let is_known = held.iter().any(|(inode, _)| *inode == metadata.ino());
            if is_known || metadata.len() != original.len() as u64 {
                continue;
            }
            if let Err(error) = std::fs::File::options().write(true).open(&path) {
                say(format!("exe {error}"));
            }
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            if bytes == original {
                say(format!("open {}", guard_of(&file)));
            }
            held.push((metadata.ino(), file));
        }
        // Also when nobody executes it any more.
        for (_, file) in &held {
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            let written = std::fs::File::options().write(true).open(path);
            match written.and_then(|mut file| file.write(b"x")) {
                Ok(_) => say("written".to_owned()),
                Err(error) => say(format!("descriptor {error}")),
            }
        }
    }
}

/// What keeps a file as it is when nobody executes it.
fn guard_of(file: &std::fs::File) -> &'static str {
    use rustix::fs::{SealFlags, StatVfsMountFlags, fcntl_get_seals, fstatvfs};
    let is_sealed = fcntl_get_seals(file).is_ok_and(|seals| seals.contains(SealFlags::WRITE));
    let mount = fstatvfs(file).unwrap();
    match (is_sealed, mount.f_flag.contains(StatVfsMountFlags::RDONLY)) {
        (true, _) => "sealed",
        (false, true) => "read-only",
        (false, false) => "bare",
    }
}

/// Exchanges two names until it is killed (rename(2), `RENAME_EXCHANGE`).
pub fn exchange(one: &Path, other: &Path) {
    while renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).is_ok() {}
}
