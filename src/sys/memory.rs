//! Memory that a process does not need as long as it sleeps, given back to the kernel: for processes of which there
//! are many, and which sleep for days (madvise(2), malloc_trim(3), dl_iterate_phdr(3)).
//!
//! Nothing is lost by it: the program's own pages are read again from its file when they are needed, free pages of
//! the heap are made anew.
#![allow(unsafe_code)]

use rustix::mm::{Advice, madvise};
use std::ffi::{c_int, c_void};

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
