//! The file of this program while it runs: whatever a container does with `/proc/PID/exe` or an interpreter line, it must
//! never get hold of a writable copy (CVE-2019-5736).

use super::mount;
use anyhow::{Context, Result};
use rustix::fs::{
    MemfdFlags, SealFlags, StatVfsMountFlags, fcntl_add_seals, fcntl_get_seals, fstatvfs,
    memfd_create,
};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
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
