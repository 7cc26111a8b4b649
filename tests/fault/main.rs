//! What goes wrong: damaged and missing files, processes killed at any point, a full disk, many at once. Nothing
//! acknowledged is lost, nothing half-made is visible, no debris stays, and no command is in another's way.
#![allow(
    clippy::print_stderr,
    reason = "a failing test shows at which call and with which seed"
)]

mod cases;
mod check;
mod concurrent;
mod damage;
#[cfg(target_arch = "x86_64")]
mod full_disk;
#[cfg(target_arch = "x86_64")]
mod killed;
#[path = "../support/mod.rs"]
mod support;
#[cfg(target_arch = "x86_64")]
mod tracer;

#[cfg(not(target_arch = "x86_64"))]
#[test]
fn faults_at_system_calls() {
    support::skip("system calls are told apart on x86-64 only");
}

/// SIGKILL, and waits until it is dead.
pub fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    let flags = rustix::process::PidfdFlags::empty();
    let pidfd = rustix::process::pidfd_open(pid, flags).unwrap();
    rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL).unwrap();
    let mut ended = [rustix::event::PollFd::new(
        &pidfd,
        rustix::event::PollFlags::IN,
    )];
    rustix::event::poll(&mut ended, None).unwrap();
}
