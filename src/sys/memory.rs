//! Memory: what a process does not need as long as it sleeps, given back to the kernel, for processes of which there
//! are many, and which sleep for days (madvise(2), malloc_trim(3), dl_iterate_phdr(3)); and a flag that a process
//! shares with its child (mmap(2)).
//!
//! Nothing is lost by giving back: the program's own pages are read again from its file when they are needed, free
//! pages of the heap are made anew.
#![allow(unsafe_code)]

use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
use std::ffi::{c_int, c_void};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set once by one process, awaited without a system call by another that was forked from it.
#[derive(Debug)]
pub struct SharedFlag(NonNull<AtomicBool>);

// SAFETY: all access to the page is atomic, and it is not bound to the thread that has mapped it.
unsafe impl Send for SharedFlag {}
// SAFETY: as above.
unsafe impl Sync for SharedFlag {}

impl SharedFlag {
    /// Not set (mmap(2), `MAP_SHARED`).
    pub fn new() -> Result<Self, Errno> {
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: the kernel chooses the place, so no memory of ours is replaced.
        let page = unsafe {
            mmap_anonymous(std::ptr::null_mut(), size_of::<AtomicBool>(), access, flags)?
        };
        NonNull::new(page.cast()).map(Self).ok_or(Errno::NOMEM)
    }

    fn flag(&self) -> &AtomicBool {
        // SAFETY: mapped as long as `self` lives, aligned to a page, zeroed by the kernel, which is `false`; only
        // atomic accesses are made to it in either process.
        unsafe { self.0.as_ref() }
    }

    /// Lets everybody go on who awaits it.
    pub fn set(&self) {
        self.flag().store(true, Ordering::Release);
    }

    /// Waits until it is set, busily: for where a system call is not to be made, and for a short time.
    pub fn spin(&self) {
        while !self.flag().load(Ordering::Acquire) {
            std::hint::spin_loop();
        }
    }
}

impl Drop for SharedFlag {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this size; nothing refers to it any more. Failing costs a page only.
        let _ = unsafe { munmap(self.0.as_ptr().cast(), size_of::<AtomicBool>()) };
    }
}

/// The segments of the program that nobody writes to, as first address and length.
type Segments = [(usize, usize); MOST_SEGMENTS];
const MOST_SEGMENTS: usize = 8;

/// Gives back the free pages of the heap, and the pages of the program that cannot have been written to; then waits
/// in `sleep`. Whatever runs after the last page was given back brings some in again, so that is next to nothing.
#[inline(always)]
pub fn sleep_lightly<T>(sleep: impl FnOnce() -> T) -> T {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no pointer, and leaves alone what is in use.
    unsafe {
        libc::malloc_trim(0);
    }
    let mut segments: Segments = [(0, 0); MOST_SEGMENTS];
    // SAFETY: `note` is called with what it expects while `segments` lives.
    unsafe {
        libc::dl_iterate_phdr(Some(note), (&raw mut segments).cast());
    }
    for (begin, length) in segments {
        if length > 0 {
            // SAFETY: these pages come from the program's file and nobody can have written to them, so that what is
            // read there afterwards is what was there before. Failing costs memory only.
            let _ = unsafe { madvise(begin as *mut c_void, length, Advice::LinuxDontNeed) };
        }
    }
    sleep()
}

/// Notes the read-only segments of the program. One that is written to before it is made read-only
/// (`PT_GNU_RELRO`) lies in a writable segment and is left alone.
unsafe extern "C" fn note(
    object: *mut libc::dl_phdr_info,
    _: usize,
    segments: *mut c_void,
) -> c_int {
    // SAFETY: dl_iterate_phdr(3) passes a valid description, whose headers are mapped with the object, and what
    // `sleep_lightly` gave it.
    let (base, headers, segments) = unsafe {
        let object = &*object;
        let count = usize::from(object.dlpi_phnum);
        let headers = std::slice::from_raw_parts(object.dlpi_phdr, count);
        (object.dlpi_addr, headers, &mut *segments.cast::<Segments>())
    };
    let page = rustix::param::page_size() as u64;
    let read_only = headers
        .iter()
        .filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0);
    for (header, segment) in read_only.zip(segments) {
        let begin = (base + header.p_vaddr) & !(page - 1);
        let end = (base + header.p_vaddr + header.p_memsz).next_multiple_of(page);
        *segment = (begin as usize, (end - begin) as usize);
    }
    // The program itself comes first; what else is loaded is the kernel's, or shared with everybody.
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_waits_for_the_flag() {
        let flag = SharedFlag::new().unwrap();
        let child = crate::sys::process::clone3(0, || {
            flag.spin();
            7
        });
        let child = child.unwrap();
        assert!(!child.has_ended_within(std::time::Duration::from_millis(20)));
        flag.set();
        assert_eq!(child.wait().unwrap().code(), 7);
    }

    static TEXT: &str = "what the program's file holds";

    #[test]
    fn everything_is_still_there() {
        let kept = vec![7u8; 1 << 20];
        for _ in 0..3 {
            drop(vec![1u8; 1 << 16]);
            assert_eq!(sleep_lightly(|| 5), 5);
            assert!(TEXT.ends_with("holds"));
            assert!(kept.iter().all(|byte| *byte == 7));
        }
    }
}
