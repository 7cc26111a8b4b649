//! What goes wrong: damaged and missing files, processes killed at any point, a full disk, many at once. Nothing
//! acknowledged is lost, nothing half-made is visible, no debris stays, and no command is in another's way.

mod cases;
mod check;
mod concurrent;
mod damage;
mod full_disk;
mod killed;
#[path = "../support/mod.rs"]
mod support;
mod tracer;

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
