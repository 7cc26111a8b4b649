//! System calls: the only room with `unsafe`. Each wrapper is one call, named after its man page; what it
//! returns (an [`std::os::fd::OwnedFd`], a [`process::Child`]) proves what the kernel has confirmed.
//!
//! Everything here assumes that the process has a single thread when it forks or changes its user namespace;
//! nothing above starts a thread on those paths.

pub mod bpf;
pub mod capability;
pub mod descriptor;
mod fork;
pub mod identity;
pub mod memory;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod openat2;
pub mod own_program;
pub mod packet;
pub mod process;
pub mod procfs;
pub mod quota;
pub mod root;
pub mod scheduling;
pub mod seccomp;
pub mod signal;
pub mod socket;
pub mod terminal;
pub mod transparent;

/// What the last call of this thread has failed with.
fn last_error() -> rustix::io::Errno {
    rustix::io::Errno::from_io_error(&std::io::Error::last_os_error())
        .unwrap_or(rustix::io::Errno::IO)
}
