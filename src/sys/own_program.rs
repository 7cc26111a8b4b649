//! The file of this program while it runs: whatever a container does with `/proc/PID/exe` or an interpreter line, it must
//! never get hold of a writable copy (CVE-2019-5736).
#![allow(unsafe_code)]

use super::mount;
use anyhow::{Context, Result};
use procfs::process::Process;
use rustix::fs::{
    MemfdFlags, SealFlags, StatVfsMountFlags, fcntl_add_seals, fcntl_get_seals, fstatvfs,
    memfd_create,
};
use rustix::io::Errno;
use rustix::mm::{
    MapFlags, MprotectFlags, MremapFlags, ProtFlags, mmap, mmap_anonymous, mprotect, mremap_fixed,
};
use rustix::process::{PrctlMmMap, configure_virtual_memory_map};
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Whether nobody can write to what this process runs from.
pub fn is_sealed() -> Result<bool> {
    let own = File::open("/proc/self/exe").context("open `/proc/self/exe`")?;
    let is_read_only =
        fstatvfs(&own).is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY));
    // A file that is not in memory has no seals.
    let has_seal = fcntl_get_seals(&own).is_ok_and(|seals| seals.contains(SealFlags::WRITE));
    Ok(is_read_only || has_seal)
}

/// Whether nobody with one of these ids could write to what this process runs from, nor root of a user namespace of them:
/// it is somebody else's, who alone may write to it (user_namespaces(7)). Where a list lets others, the bits of the group
/// say so (acl(5)).
pub fn is_beyond(has_uid: impl Fn(u32) -> bool) -> bool {
    const OTHERS: u32 = 0o022;
    let own = std::fs::metadata("/proc/self/exe");
    own.is_ok_and(|own| own.mode() & OTHERS == 0 && !has_uid(own.uid()))
}

/// This program, so that nobody can write to what runs from the descriptor.
pub fn seal(own: &Path) -> Result<OwnedFd> {
    let running = std::fs::metadata("/proc/self/exe").context("stat `/proc/self/exe`")?;
    if let Ok(file) = mount::open_source(own)
        && rustix::fs::fstat(&file)
            .is_ok_and(|found| (found.st_dev, found.st_ino) == (running.dev(), running.ino()))
        && let Ok(mounted) = mount::read_only_copy(file.as_fd())
    {
        return Ok(mounted);
    }
    // Replaced while it runs, or in a sandbox that forbids mounts: a sealed copy in memory, slower and as safe.
    sealed_copy()
}

/// Lets this process, which must have one thread, run from what [`seal`] has given without executing it, which takes half a
/// millisecond: each part of the program that is mapped is mapped from there, and what `/proc/PID/exe` leads to is that
/// file (prctl(2), `PR_SET_MM_MAP`).
///
/// Errors: it takes `CAP_SYS_ADMIN` or `CAP_CHECKPOINT_RESTORE`, and a kernel that can restore processes. The process goes on
/// from the old file then, or from both.
pub fn run_from(sealed: &OwnedFd) -> Result<()> {
    let path = format!("/proc/self/fd/{}", sealed.as_raw_fd());
    let file = File::open(&path).with_context(|| format!("open `{path}`"))?;
    let executable = Executable::to_be(&file)?;
    match executable.set() {
        // As long as the old one is mapped; who may not hears that first.
        Err(Errno::BUSY) => {}
        result => return result.context("prctl PR_SET_MM_MAP"),
    }
    let own = std::fs::metadata("/proc/self/exe").context("stat `/proc/self/exe`")?;
    // The kernel writes the lines anew for each read.
    let mut maps = String::with_capacity(16 * 1024);
    File::open("/proc/self/maps")
        .and_then(|mut file| file.read_to_string(&mut maps))
        .context("read `/proc/self/maps`")?;
    let parts = maps.lines().filter_map(|line| Part::read(line, own.ino()));
    let written = written();
    for part in parts.collect::<Vec<_>>() {
        let is_written = written
            .iter()
            .any(|range| range.start < part.range.end && part.range.start < range.end);
        let replaced = match is_written {
            true => part.copy(),
            false => part.map(&file),
        };
        replaced.context("map the sealed program")?;
    }
    executable.set().context("prctl PR_SET_MM_MAP")
}

/// What `/proc/PID/exe` is to lead to, with all else that the kernel remembers of the process.
struct Executable(PrctlMmMap);

impl Executable {
    fn to_be(file: &File) -> Result<Self> {
        let known = Process::myself()?.stat()?;
        let told = |value: Option<u64>| value.context("the kernel does not tell it");
        Ok(Self(PrctlMmMap {
            start_code: known.startcode,
            end_code: known.endcode,
            start_data: told(known.start_data)?,
            end_data: told(known.end_data)?,
            start_brk: told(known.start_brk)?,
            brk: 0,
            start_stack: known.startstack,
            arg_start: told(known.arg_start)?,
            arg_end: told(known.arg_end)?,
            env_start: told(known.env_start)?,
            env_end: told(known.env_end)?,
            auxv: std::ptr::null_mut(),
            auxv_size: 0,
            exe_fd: file.as_raw_fd(),
        }))
    }

    fn set(&self) -> Result<(), Errno> {
        let map = PrctlMmMap {
            // SAFETY: moves nothing.
            brk: unsafe { libc::sbrk(0) } as u64,
            ..self.0
        };
        // SAFETY: all values but the last are those that are in force.
        unsafe { configure_virtual_memory_map(&map) }
    }
}

/// Where this program has what it may have written to since it was mapped: its writable segments (elf(5)).
fn written() -> Vec<Range<usize>> {
    // SAFETY: the kernel says where the table is, which stays as it is for as long as the process lives.
    let table = unsafe {
        let first = libc::getauxval(libc::AT_PHDR) as *const libc::Elf64_Phdr;
        std::slice::from_raw_parts(first, libc::getauxval(libc::AT_PHNUM) as usize)
    };
    let own = table.iter().find(|entry| entry.p_type == libc::PT_PHDR);
    // Where it was put, beyond what it says itself.
    let moved = own.map_or(0, |own| {
        (table.as_ptr() as usize).wrapping_sub(own.p_vaddr as usize)
    });
    let is_written = |entry: &&libc::Elf64_Phdr| {
        entry.p_type == libc::PT_LOAD && entry.p_flags & libc::PF_W != 0
    };
    let range = |entry: &libc::Elf64_Phdr| {
        let start = moved.wrapping_add(entry.p_vaddr as usize);
        start..start + entry.p_memsz as usize
    };
    table.iter().filter(is_written).map(range).collect()
}

/// What is mapped of a file at one place (proc_pid_maps(5)).
struct Part {
    range: Range<usize>,
    access: ProtFlags,
    offset: u64,
}

impl Part {
    /// `None` for that of another file.
    fn read(line: &str, inode: u64) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let number = |text| usize::from_str_radix(text, 16).ok();
        let letters = words.next()?;
        let mut access = ProtFlags::empty();
        for (letter, flag) in [
            ('r', ProtFlags::READ),
            ('w', ProtFlags::WRITE),
            ('x', ProtFlags::EXEC),
        ] {
            access.set(flag, letters.contains(letter));
        }
        let offset = number(words.next()?)? as u64;
        let is_own = words.nth(1)?.parse() == Ok(inode);
        is_own.then_some(Self {
            range: number(start)?..number(end)?,
            access,
            offset,
        })
    }

    /// Puts the same from that file in its place.
    fn map(&self, file: &File) -> Result<(), Errno> {
        let flags = MapFlags::PRIVATE | MapFlags::FIXED;
        let place = self.range.start as *mut _;
        // SAFETY: the file has the same content, and nobody has written to this part: who reads it or runs in it finds
        // what was there.
        unsafe {
            mmap(
                place,
                self.range.len(),
                self.access,
                flags,
                file,
                self.offset,
            )
        }
        .map(drop)
    }

    /// Puts a copy that is of no file in its place.
    fn copy(&self) -> Result<(), Errno> {
        let (place, length) = (self.range.start as *mut u8, self.range.len());
        let both = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the copy has the same content, and the one thread that there is writes nothing to the original meanwhile:
        // its stack and its heap are elsewhere.
        unsafe {
            // All of it is written to at once: page after page takes a fault for each.
            let flags = MapFlags::PRIVATE | MapFlags::POPULATE;
            let copy = mmap_anonymous(std::ptr::null_mut(), length, both, flags)?;
            std::ptr::copy_nonoverlapping(place, copy.cast(), length);
            let access = MprotectFlags::from_bits_retain(self.access.bits());
            mprotect(copy, length, access)?;
            mremap_fixed(copy, length, length, MremapFlags::MAYMOVE, place.cast()).map(drop)
        }
    }
}

fn sealed_copy() -> Result<OwnedFd> {
    let copy = memfd_create("onggi", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .context("memfd_create")?;
    let mut copy = File::from(copy);
    let mut program = File::open("/proc/self/exe").context("open `/proc/self/exe`")?;
    std::io::copy(&mut program, &mut copy).context("copy this program into memory")?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&copy, seals).context("seal the copy of this program")?;
    Ok(copy.into())
}
