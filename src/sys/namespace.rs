//! Namespaces of the calling process: unshare(2), its id maps, the loopback interface (user_namespaces(7),
//! netdevice(7)).
#![allow(unsafe_code)]

use super::process::flags::NEW_NET;
use anyhow::{Context, Result};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Leaves the namespaces named by `flags` of [`super::process::flags`] for new ones (unshare(2)).
pub fn unshare(flags: u64) -> Result<(), Errno> {
    // SAFETY: plain integer; CLONE_NEWUSER fails with EINVAL by itself when there are more threads.
    match unsafe { libc::unshare(flags as i32) } {
        -1 => Err(last_error()),
        _ => Ok(()),
    }
}

/// Joins the namespace behind a descriptor, or those of the process behind a pidfd that `flags` of
/// [`super::process::flags`] name, all of them or none (setns(2)).
pub fn join(handle: BorrowedFd<'_>, flags: u64) -> Result<(), Errno> {
    // SAFETY: plain integers.
    match unsafe { libc::setns(handle.as_raw_fd(), flags as i32) } {
        -1 => Err(last_error()),
        _ => Ok(()),
    }
}

/// The user namespace in which another one was made; `EPERM` where that is outside of our own (ioctl_nsfs(2)).
pub fn parent(user_namespace: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    const NS_GET_PARENT: libc::Ioctl = 0xb702;
    // SAFETY: the request takes no argument.
    match unsafe { libc::ioctl(user_namespace.as_raw_fd(), NS_GET_PARENT) } {
        -1 => Err(last_error()),
        // SAFETY: just made, owned by nobody else; the kernel has made it close-on-exec.
        descriptor => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
    }
}

/// Whether a descriptor is that of a namespace of the kind that a flag of [`super::process::flags`] names (ioctl_nsfs(2)).
pub fn is_of_kind(descriptor: BorrowedFd<'_>, flag: u64) -> bool {
    const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
    // SAFETY: the request takes no argument, and what is no namespace does not know it.
    let kind = unsafe { libc::ioctl(descriptor.as_raw_fd(), NS_GET_NSTYPE) };
    u64::try_from(kind).is_ok_and(|kind| kind == flag)
}

/// Whether the calling process is in the first user namespace of the machine, whose root is real: all ids are mapped to
/// themselves there.
pub fn is_initial_user() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

/// The user namespaces from the one just below ours down to that one; none where it is ours. Fails for one that is not
/// below ours.
pub fn lineage(user_namespace: OwnedFd) -> Result<Vec<OwnedFd>> {
    use rustix::fs::{fstat, stat};
    let own = stat("/proc/self/ns/user").context("stat `/proc/self/ns/user`")?;
    let mut lineage = Vec::new();
    let mut next = user_namespace;
    loop {
        let found = fstat(&next).context("fstat")?;
        if (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino) {
            lineage.reverse();
            return Ok(lineage);
        }
        let above =
            parent(next.as_fd()).context("the user namespace is not below that of the caller")?;
        lineage.push(std::mem::replace(&mut next, above));
    }
}

/// Runs `work` in a network namespace that is not the caller's, and returns what it returns: sockets that it opens stay
/// in that namespace for as long as they live (network_namespaces(7)).
///
/// The calling thread does it itself where it can come back. Otherwise, as for an ordinary user in the host's namespace, a
/// thread does, which has ended from the caller's point of view when this returns, so that it can fork again. A thread can
/// join a namespace of which it has `CAP_SYS_ADMIN` in the owner and in its own user namespace.
pub fn inside_network<T: Send>(
    namespace: BorrowedFd<'_>,
    work: impl FnOnce() -> T + Send,
) -> Result<T> {
    if let Some(here) = Here::find() {
        join(namespace, NEW_NET).context("join the network namespace")?;
        let result = work();
        drop(here);
        return Ok(result);
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .spawn_scoped(scope, move || join(namespace, NEW_NET).map(|()| work()))
            .context("start a thread")?;
        match thread.join() {
            Ok(result) => result.context("join the network namespace"),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// The network namespace that the calling thread goes back to when this is dropped.
struct Here(OwnedFd);

impl Here {
    /// `None` for who could not come back: it takes the same privileges to join it now.
    fn find() -> Option<Self> {
        let own = File::open("/proc/thread-self/ns/net").ok()?;
        join(own.as_fd(), NEW_NET).ok()?;
        Some(Self(own.into()))
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        // It was allowed a moment ago, so the kernel has no memory; nothing that follows may happen elsewhere.
        if join(self.0.as_fd(), NEW_NET).is_err() {
            std::process::abort();
        }
    }
}

/// Writes one of the `*_map` or `setgroups` files of a process (user_namespaces(7)).
pub fn write_map(pid: i32, file: &str, content: &str) -> Result<()> {
    super::procfs::Processes::open()?.write(&format!("{pid}/{file}"), content)
}

/// Brings the loopback interface of this network namespace up (netdevice(7), SIOCSIFFLAGS).
pub fn bring_loopback_up() -> Result<(), Errno> {
    // SAFETY: plain integers; the result is checked before it is owned.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if socket == -1 {
        return Err(last_error());
    }
    // SAFETY: just made, owned by nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: all-zero is a valid `ifreq`: integers and a union of plain data.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (target, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *target = *byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an `ifreq`, which outlives the call.
    match unsafe {
        libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFFLAGS as libc::Ioctl,
            &raw const request,
        )
    } {
        -1 => Err(last_error()),
        _ => Ok(()),
    }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
