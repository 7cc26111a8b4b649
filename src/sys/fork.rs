//! A child of a process with several threads. Another thread may be in the middle of an allocation when it is born: the C
//! library's fork(2) leaves the child an allocator that works, the bare clone3(2) one that may be locked for ever. What it
//! is not to share it leaves afterwards.
#![allow(unsafe_code)]

use super::process::{Child, exit_now, flags, last_error};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// What a child can leave after it was born, too (unshare(2)).
const AFTERWARDS: u64 = flags::NEW_MOUNT
    | flags::NEW_CGROUP
    | flags::NEW_UTS
    | flags::NEW_IPC
    | flags::NEW_USER
    | flags::NEW_NET;

/// Whether a child with these namespaces is to be made here: there are other threads, or may be. Who has none may
/// unshare them from himself (unshare(2)).
pub fn is_wanted(namespaces: u64) -> bool {
    // SAFETY: an integer; it changes nothing.
    namespaces & !AFTERWARDS == 0 && unsafe { libc::unshare(libc::CLONE_THREAD) != 0 }
}

/// As [`super::process::clone3`].
pub fn fork(namespaces: u64, child: impl FnOnce() -> u8) -> Result<Child, Errno> {
    let (born, tell) = pipe_with(PipeFlags::CLOEXEC)?;
    // SAFETY: the child has its own copy of our memory, in which the C library holds no lock.
    let pid = match unsafe { libc::fork() } {
        -1 => return Err(last_error()),
        0 => {
            drop(born);
            // SAFETY: an integer; the child has one thread.
            let unshare = || unsafe { libc::syscall(libc::SYS_unshare, namespaces) };
            // Some sandboxes deny the call even where it asks for nothing.
            let errno = match namespaces {
                0 => 0,
                _ if unshare() == 0 => 0,
                _ => last_error().raw_os_error(),
            };
            // Whoever does not hear it is gone.
            let _ = rustix::io::write(&tell, &errno.to_ne_bytes());
            drop(tell);
            exit_now(match errno {
                0 => child(),
                _ => 125,
            })
        }
        pid => pid,
    };
    drop(tell);
    let known = Pid::from_raw(pid).ok_or(Errno::SRCH)?;
    let pidfd = pidfd_open(known, PidfdFlags::empty())?;
    let child = Child { pid, pidfd };
    let mut errno = [0; 4];
    let read = rustix::io::retry_on_intr(|| rustix::io::read(&born, &mut errno));
    match (read, i32::from_ne_bytes(errno)) {
        (Ok(4), 0) => Ok(child),
        (read, errno) => {
            // It ends by itself.
            child.wait()?;
            read?;
            Err(Errno::from_raw_os_error(errno))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::sys::process::{Ended, clone3, flags};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::channel;

    #[test]
    fn children_of_threads_can_allocate() {
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // What one thread gives back that another has taken is taken from the other's heap.
            let (give, take) = channel::<Vec<Vec<u8>>>();
            scope.spawn(move || take.into_iter().for_each(drop));
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    drop(vec![vec![1_u8; 2000]; 50]);
                }
            });
            for _ in 0..300 {
                give.send(vec![vec![1; 2000]; 500]).unwrap();
                let allocate = || u8::from(vec![vec![1_u8; 3000]; 500].len() != 500);
                let child = clone3(0, allocate).unwrap();
                assert_eq!(child.wait(), Ok(Ended::Exited(0)));
            }
            drop(give);
            is_over.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn namespaces_are_left_afterwards() {
        let own = std::fs::read_link("/proc/self/ns/user").unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| std::thread::sleep(std::time::Duration::from_secs(1)));
            let is_another = || u8::from(std::fs::read_link("/proc/self/ns/user").unwrap() == own);
            let child = clone3(flags::NEW_USER | flags::NEW_MOUNT, is_another).unwrap();
            assert_eq!(child.wait(), Ok(Ended::Exited(0)));
        });
    }
}
