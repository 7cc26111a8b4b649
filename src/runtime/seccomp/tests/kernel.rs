//! Filters in the kernel. A filter belongs to a thread, so each test loads its own into a thread of its own.

use super::*;
use crate::sys::seccomp::{call, mode};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

/// Runs `body` in a thread under `filter`.
fn under<T: Send + 'static>(filter: Filter, body: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::spawn(move || {
        rustix::thread::set_no_new_privs(true).unwrap();
        filter.load().unwrap();
        assert_eq!(mode().unwrap(), 2);
        body()
    });
    thread.join().unwrap()
}

fn errno(number: i64, arguments: [u64; 4]) -> i32 {
    call(number, arguments).map_or_else(|error| error.raw_os_error().unwrap(), |_| 0)
}

fn default(identity: Identity) -> Filter {
    let capabilities = CapabilitySet::DOCKER_DEFAULT;
    default_filter(
        Circumstances {
            capabilities,
            kernel: KernelVersion::running(),
        },
        identity,
    )
}

#[test]
fn the_kernel_takes_dockers_default() {
    under(default(Identity::Mapped), || {
        assert_eq!(errno(libc::SYS_clone3, [0; 4]), libc::ENOSYS);
        assert_eq!(
            errno(libc::SYS_clone, [libc::CLONE_NEWUSER as u64, 0, 0, 0]),
            libc::EPERM
        );
        assert_eq!(errno(libc::SYS_mount, [0; 4]), libc::EPERM);
        assert_eq!(errno(libc::SYS_unshare, [0; 4]), libc::EPERM);
        for family in [libc::AF_ALG, libc::AF_VSOCK] {
            assert_eq!(
                errno(
                    libc::SYS_socket,
                    [family as u64, libc::SOCK_SEQPACKET as u64, 0, 0]
                ),
                libc::EPERM
            );
        }
        std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(errno(libc::SYS_personality, [0xffff_ffff, 0, 0, 0]), 0);
        let personality = libc::ADDR_NO_RANDOMIZE as u64;
        assert_eq!(
            errno(libc::SYS_personality, [personality, 0, 0, 0]),
            libc::EPERM
        );
        assert_eq!(errno(600, [0; 4]), libc::ENOSYS);
        // x32 is listed, so the call is let through, and a kernel without x32 does not know it.
        let x32_unshare = 0x4000_0000 | libc::SYS_unshare;
        #[cfg(target_arch = "x86_64")]
        assert_eq!(errno(x32_unshare, [0; 4]), libc::EPERM);
    });
}

#[test]
fn programs_still_start() {
    // The C library starts threads and processes with clone3 and must find its way back to clone.
    let status = under(default(Identity::Mapped), || {
        std::thread::spawn(|| 7).join().unwrap();
        Command::new("/bin/sh")
            .args(["-c", "exit 7"])
            .status()
            .unwrap()
    });
    assert_eq!(status.code(), Some(7));
}

#[test]
fn ids_and_owners_are_pretended() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    under(default(Identity::Single), move || {
        let file = path.join("file");
        std::fs::write(&file, "").unwrap();
        let before = std::fs::metadata(&file).unwrap();
        std::os::unix::fs::chown(&file, Some(12_345), Some(54_321)).unwrap();
        std::os::unix::fs::lchown(&file, Some(12_345), Some(54_321)).unwrap();
        std::os::unix::fs::fchown(std::fs::File::open(&file).unwrap(), Some(1), Some(1)).unwrap();
        let after = std::fs::metadata(&file).unwrap();
        assert_eq!((before.uid(), before.gid()), (after.uid(), after.gid()));

        let ids = [4242, 4242, 4242, 0];
        for number in [
            libc::SYS_setuid,
            libc::SYS_setresgid,
            libc::SYS_setreuid,
            libc::SYS_setfsuid,
        ] {
            assert_eq!(call(number, ids).unwrap(), 0);
        }
        assert_eq!(call(libc::SYS_setgroups, [70_000, 0, 0, 0]).unwrap(), 0);
        assert_ne!(call(libc::SYS_getuid, [0; 4]).unwrap(), 4242);

        let node = |name: &str, kind| {
            let path = path.join(name);
            rustix::fs::mknodat(
                rustix::fs::CWD,
                &path,
                kind,
                0o600.into(),
                rustix::fs::makedev(1, 3),
            )
            .unwrap();
            path.exists()
        };
        assert!(!node("device", rustix::fs::FileType::CharacterDevice));
        assert!(!node("disk", rustix::fs::FileType::BlockDevice));
        assert!(node("pipe", rustix::fs::FileType::Fifo));
    });
}

#[test]
fn without_a_policy_nothing_is_denied() {
    under(no_op_filter().unwrap(), || {
        assert_eq!(call(libc::SYS_setresuid, [4242, 4242, 4242, 0]).unwrap(), 0);
        // EFAULT and not ENOSYS: the kernel has looked at it.
        assert_ne!(errno(libc::SYS_clone3, [0; 4]), libc::ENOSYS);
        assert_eq!(errno(libc::SYS_unshare, [0; 4]), 0);
    });
}

#[test]
fn a_policy_from_a_file_holds() {
    let json = r#"{"defaultAction":"SCMP_ACT_ALLOW","archMap":null,"syscalls":[
        {"name":"getppid","action":"SCMP_ACT_ERRNO","errnoRet":13,"args":[],"comment":"","includes":{},"excludes":{}}]}"#;
    let seccomp = parse_policy(json, circumstances(CapabilitySet::EMPTY)).unwrap();
    let result = under(compile(&seccomp, Identity::Mapped).unwrap(), || {
        errno(libc::SYS_getppid, [0; 4])
    });
    assert_eq!(result, libc::EACCES);
}

/// Not a test: what the next one runs in a process of its own.
#[test]
#[ignore = "ends its process"]
fn calls_x32_where_it_is_not_listed() {
    rustix::thread::set_no_new_privs(true).unwrap();
    compile(
        &policy(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#),
        Identity::Mapped,
    )
    .unwrap()
    .load()
    .unwrap();
    let _ = call(0x4000_0000 | libc::SYS_getpid, [0; 4]);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn an_unlisted_architecture_ends_the_process() {
    let program = std::env::current_exe().unwrap();
    let name = "runtime::seccomp::tests::kernel::calls_x32_where_it_is_not_listed";
    let output = Command::new(program)
        .args(["--ignored", "--exact", name])
        .output()
        .unwrap();
    assert_eq!(output.status.signal(), Some(libc::SIGSYS), "{output:?}");
}
