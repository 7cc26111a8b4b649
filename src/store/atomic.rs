//! Files that are there whole or not at all: written under a temporary name, fsynced, renamed, the directory
//! fsynced (rename(2), fsync(2)).

use anyhow::{Context, Result};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, openat, renameat, unlinkat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufWriter, ErrorKind, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// Whether the caller may tell somebody that the data is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Survives a power cut once the call returns.
    Durable,
    /// Whole or absent while the machine runs; a power cut may undo it. For what nobody was promised.
    Volatile,
}

/// Between the name of a file and the random end of its temporary name.
const TEMPORARY: &str = ".new-";

/// Whether a file of that name is one that a killed writer left, or a living one is about to rename.
pub fn is_temporary(name: &str) -> bool {
    name.contains(TEMPORARY)
}

/// Removes what killed writers left in a directory; the caller holds the lock of what is written there.
pub fn sweep(directory: &Path) -> Result<()> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("read `{}`", directory.display()))?,
    };
    for entry in entries {
        let entry = entry.with_context(|| format!("read `{}`", directory.display()))?;
        if is_temporary(&entry.file_name().to_string_lossy()) {
            let path = entry.path();
            std::fs::remove_file(&path).with_context(|| format!("remove `{}`", path.display()))?;
        }
    }
    Ok(())
}

/// Replaces the file at `path` by `bytes`.
pub fn write(path: &Path, bytes: &[u8], durability: Durability) -> Result<()> {
    write_and_rename(path, durability, |temporary| {
        write_new(temporary, bytes, durability)
    })
}

/// Replaces a file of the user's, durably; who may read it and whose it is stays as it was.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    write_and_rename(path, Durability::Durable, |temporary| {
        write_new(temporary, bytes, Durability::Durable)?;
        let Ok(old) = std::fs::metadata(path) else {
            return Ok(());
        };
        let new = std::fs::metadata(temporary)
            .with_context(|| format!("stat `{}`", temporary.display()))?;
        if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
            std::os::unix::fs::chown(temporary, Some(old.uid()), Some(old.gid()))
                .with_context(|| format!("chown `{}`", temporary.display()))?;
        }
        std::fs::set_permissions(temporary, old.permissions())
            .with_context(|| format!("chmod `{}`", temporary.display()))
    })
}

fn write_and_rename(
    path: &Path,
    durability: Durability,
    write: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let temporary = temporary_name(path.as_os_str())?;
    let temporary = Path::new(&temporary);
    let written = write(temporary).and_then(|()| {
        std::fs::rename(temporary, path).with_context(|| format!("rename to `{}`", path.display()))
    });
    if written.is_err() {
        let _ = std::fs::remove_file(temporary);
    }
    written?;
    match (durability, path.parent()) {
        (Durability::Durable, Some(directory)) => sync_directory(directory),
        _ => Ok(()),
    }
}

/// Whether something failed since the disk, or what its user may have of it, is full.
pub fn is_full(error: &anyhow::Error) -> bool {
    let causes = error.chain().filter_map(|cause| cause.downcast_ref());
    let mut kinds = causes.map(std::io::Error::kind);
    kinds.any(|kind| matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
}

/// Replaces the content of a JSON file by one that is no longer, in the blocks that it has: for what frees room on a
/// full disk. It is filled up with white space and so keeps its length: one write(2) is all, after which a process may
/// be killed. Only a power cut may tear a content of more than one block.
pub fn overwrite(path: &Path, mut json: Vec<u8>) -> Result<()> {
    use std::os::unix::fs::FileExt;
    let overwrite = || {
        let file = File::options().write(true).open(path)?;
        let length = usize::try_from(file.metadata()?.len()).unwrap_or_default();
        if json.len() > length {
            return Err(ErrorKind::StorageFull.into());
        }
        json.resize(length, b' ');
        file.write_all_at(&json, 0)?;
        file.sync_all()
    };
    let overwritten: std::io::Result<()> = { overwrite }();
    overwritten.with_context(|| format!("overwrite `{}`", path.display()))
}

/// Lets `write` fill a file of the user's that is there whole or not at all, readable for nobody else. What is there
/// and no regular file, a pipe or a device, is written to as it is. Whoever is interrupted leaves nothing, where the file
/// system has files without names (NFS has none).
pub fn stream(
    path: &Path,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<()>,
) -> Result<()> {
    stream_with(path, 0o600, write)
}

/// Likewise with another mode, as far as the umask allows.
pub fn stream_with(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<()>,
) -> Result<()> {
    let context = || format!("create `{}`", path.display());
    let is_directory = path.as_os_str().as_encoded_bytes().ends_with(b"/");
    if is_directory || path.exists() && !path.is_file() {
        let mut out = File::options()
            .write(true)
            .open(path)
            .with_context(context)?;
        return write(&mut out);
    }
    fill(path, mode, write).map(drop)
}

/// Likewise for a file of our own, and gives what was written, from its begin, whatever has that name by now.
pub fn stream_back(
    path: &Path,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<()>,
) -> Result<File> {
    let mut file = fill(path, 0o600, write)?;
    file.rewind()
        .with_context(|| format!("read `{}`", path.display()))?;
    Ok(file)
}

fn fill(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<()>,
) -> Result<File> {
    let context = || format!("create `{}`", path.display());
    let new = New::beside(path, Mode::from_raw_mode(mode)).with_context(context)?;
    let file = new.file.try_clone().with_context(context)?;
    let mut out = BufWriter::with_capacity(1 << 20, &file);
    write(&mut out)?;
    out.flush()
        .with_context(|| format!("write `{}`", path.display()))?;
    drop(out);
    new.rename().with_context(context)?;
    Ok(file)
}

/// A file that gets its name when it is whole. The directory is held, since the caller may have come into another mount
/// namespace by then, whose mounts are others.
struct New {
    file: File,
    directory: OwnedFd,
    /// What it will be called.
    name: OsString,
    /// What it is called until then, where it has to be called something.
    temporary: Option<OsString>,
}

impl New {
    fn beside(path: &Path, mode: Mode) -> Result<Self> {
        let name = path.file_name().context("that is no name of a file")?;
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(parent.unwrap_or(Path::new(".")), flags, Mode::empty())?;
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let (file, temporary) = match openat(&directory, ".", flags | OFlags::TMPFILE, mode) {
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
                let temporary = temporary_name(name)?;
                let flags = flags | OFlags::CREATE | OFlags::EXCL;
                let file = openat(&directory, &*temporary, flags, mode)?;
                (file, Some(temporary))
            }
            file => (file?, None),
        };
        Ok(Self {
            file: file.into(),
            directory,
            name: name.to_owned(),
            temporary,
        })
    }

    /// On the disk when this returns: what is there already is not replaced by less.
    fn rename(mut self) -> Result<()> {
        self.file.sync_all()?;
        self.take_name()?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match openat(&self.directory, ".", flags, Mode::empty()) {
            // Who may write to it and not read it has done what he can.
            Err(Errno::ACCESS) => Ok(()),
            directory => Ok(rustix::fs::fsync(directory?)?),
        }
    }

    fn take_name(&mut self) -> Result<()> {
        if self.temporary.is_none() {
            match self.link(&self.name) {
                Err(Errno::EXIST) => {
                    let temporary = temporary_name(&self.name)?;
                    self.link(&temporary)?;
                    self.temporary = Some(temporary);
                }
                linked => return Ok(linked?),
            }
        }
        if let Some(temporary) = &self.temporary {
            renameat(&self.directory, &**temporary, &self.directory, &*self.name)?;
            self.temporary = None;
        }
        Ok(())
    }

    /// By the magic link: to link a descriptor itself takes privileges.
    fn link(&self, name: &OsStr) -> Result<(), Errno> {
        let magic = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        linkat(CWD, magic, &self.directory, name, AtFlags::SYMLINK_FOLLOW)
    }
}

impl Drop for New {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            let _ = unlinkat(&self.directory, &**temporary, AtFlags::empty());
        }
    }
}

fn temporary_name(name: &OsStr) -> Result<OsString> {
    let mut temporary = name.to_owned();
    temporary.push(format!("{TEMPORARY}{}", super::id::random_hex(8)?));
    Ok(temporary)
}

fn write_new(path: &Path, bytes: &[u8], durability: Durability) -> Result<()> {
    let mut file =
        File::create_new(path).with_context(|| format!("create `{}`", path.display()))?;
    file.write_all(bytes)
        .with_context(|| format!("write `{}`", path.display()))?;
    if durability == Durability::Durable {
        file.sync_all()
            .with_context(|| format!("fsync `{}`", path.display()))?;
    }
    Ok(())
}

/// Makes what was created, renamed or removed in a directory survive a power cut.
pub fn sync_directory(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .with_context(|| format!("fsync directory `{}`", path.display()))
}

/// Makes everything below a directory, which may be thousands of files, survive a power cut (syncfs(2)).
pub fn sync_file_system(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|directory| Ok(rustix::fs::syncfs(directory)?))
        .with_context(|| format!("syncfs `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_overwritten_keeps_its_length() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record");
        std::fs::write(&path, b"[1, 2, 3]").unwrap();
        overwrite(&path, b"[1, 3]".to_vec()).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"[1, 3]   ");
        let error = overwrite(&path, vec![b' '; 10]).unwrap_err();
        assert!(is_full(&error), "{error:#}");
        assert_eq!(std::fs::read(&path).unwrap(), b"[1, 3]   ");
    }

    #[test]
    fn a_file_of_the_users_is_there_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("archive");
        let names = || {
            let entries = std::fs::read_dir(directory.path()).unwrap();
            entries
                .map(|entry| entry.unwrap().file_name())
                .collect::<Vec<_>>()
        };
        for text in ["one", "another"] {
            let fill = |out: &mut (dyn Write + Send)| -> Result<()> {
                // While it is written it has no name: nobody has to take that away.
                assert!(
                    names().len() <= usize::from(text == "another"),
                    "{:?}",
                    names()
                );
                Ok(write!(out, "{text}")?)
            };
            stream(&path, fill).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
            assert_eq!(names(), ["archive"]);
        }
        let failed = stream(&path, |_| anyhow::bail!("no")).unwrap_err();
        assert_eq!(format!("{failed:#}"), "no");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "another");
        assert_eq!(names(), ["archive"]);
        for wrong in ["missing/archive", "archive/", "archive/x", ".."] {
            let wrong = directory.path().join(wrong);
            let error = stream(&wrong, |_| Ok(())).unwrap_err();
            let said = format!("create `{}`: ", wrong.display());
            assert!(format!("{error:#}").starts_with(&said), "{error:#}");
        }
    }

    #[test]
    fn replaces_and_leaves_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record");
        write(&path, b"one", Durability::Durable).unwrap();
        write(&path, b"two", Durability::Volatile).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        let left = directory.path().join("record.new-0123");
        std::fs::write(&left, b"half").unwrap();
        sweep(directory.path()).unwrap();
        assert!(path.exists() && !left.exists());
        assert!(
            write(
                &directory.path().join("none/record"),
                b"",
                Durability::Volatile
            )
            .is_err()
        );
    }
}
