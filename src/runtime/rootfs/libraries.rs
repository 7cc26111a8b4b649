//! What ldconfig(8) would do for shared libraries that were mounted into a container: links by the names that programs
//! ask for (`DT_SONAME`, elf(5)), and entries in the loader's cache ([`super::library_cache`]).
//!
//! The files are the host's or the image's: nothing in them is believed beyond their own length.

use super::edits::link;
use super::library_cache::{self, Library};
use super::resolve::{Kind, make};
use crate::sys::openat2::open_in_root;
use anyhow::{Context, Result};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, renameat, statat, unlinkat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A name that is longer is none.
const LONGEST_NAME: usize = 255;
/// More entries than a dynamic section has.
const MOST_ENTRIES: u64 = 4096;

/// A larger cache is none.
const LARGEST_CACHE: u64 = 16 << 20;
const CACHE: &str = "ld.so.cache";
/// Where it is written before it takes its place.
const NEW_CACHE: &str = "ld.so.cache~onggi";

/// The loaders of glibc; those of other libraries know no cache.
const LOADERS: [&str; 2] = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];

/// Makes the libraries in these directories known.
pub fn announce(root: BorrowedFd<'_>, directories: &[PathBuf]) -> Result<()> {
    let mut found = Vec::new();
    for directory in directories {
        let names = link_names(root, directory)
            .with_context(|| format!("link the libraries in `{}`", directory.display()))?;
        found.extend(names.iter().map(|name| {
            let path = directory.join(name);
            Library::new(name, path.as_os_str().as_bytes())
        }));
    }
    let has_loader =
        |path: &&str| open_in_root(root, path.as_bytes(), OFlags::PATH, Mode::empty()).is_ok();
    if found.is_empty() || !LOADERS.iter().any(has_loader) {
        return Ok(());
    }
    add_to_cache(root, found).context("add libraries to `/etc/ld.so.cache`")
}

/// Before all others, since the loader takes the first of a name.
fn add_to_cache(root: BorrowedFd<'_>, mut libraries: Vec<Library>) -> Result<()> {
    let directory = make(root, Path::new("/etc"), Kind::Directory)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    if let Ok(file) = openat(&directory, CACHE, flags, Mode::empty()) {
        let mut old = Vec::new();
        File::from(file).take(LARGEST_CACHE).read_to_end(&mut old)?;
        let others = library_cache::read(&old).unwrap_or_default();
        let known = libraries.clone();
        libraries.extend(others.into_iter().filter(|one| !known.contains(one)));
    }
    match unlinkat(&directory, NEW_CACHE, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = openat(&directory, NEW_CACHE, flags, Mode::from(0o644))?;
    File::from(file).write_all(&library_cache::write(&libraries))?;
    Ok(renameat(&directory, NEW_CACHE, &directory, CACHE)?)
}

/// Gives the libraries in a directory the names that programs ask for, and returns those.
fn link_names(root: BorrowedFd<'_>, directory: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let opened = open_in_root(root, directory.as_os_str().as_bytes(), flags, Mode::empty());
    let opened = match opened {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(names),
        opened => opened?,
    };
    for entry in Dir::read_from(&opened)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        let is_library = name.windows(3).any(|part| part == b".so");
        if !is_library || entry.file_type() != FileType::RegularFile {
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(file) = openat(&opened, entry.file_name(), flags, Mode::empty()) else {
            continue;
        };
        let Some(wanted) = soname(&File::from(file)) else {
            continue;
        };
        let target = Path::new(std::ffi::OsStr::from_bytes(name));
        let path = directory.join(&wanted);
        match statat(&opened, wanted.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => link(root, target, &path)?,
            Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Symlink => {
                link(root, target, &path)?;
            }
            // A library that is there under its own name stays.
            _ => {}
        }
        names.push(wanted);
    }
    Ok(names)
}

/// The name of a 64-bit little-endian library; `None` if it has none, or is none.
fn soname(file: &File) -> Option<String> {
    let header = bytes::<64>(file, 0)?;
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let segments = u64_at(&header, 32)?;
    let (size, count) = (u16_at(&header, 54)?, u16_at(&header, 56)?);
    let segments: Vec<[u8; 56]> = (0..u64::from(count))
        .map(|number| bytes(file, segments.checked_add(number * u64::from(size))?))
        .collect::<Option<_>>()?;
    const LOAD: u32 = 1;
    const DYNAMIC: u32 = 2;
    let dynamic = segments
        .iter()
        .find(|segment| u32_at(*segment, 0) == Some(DYNAMIC))?;
    let (start, length) = (u64_at(dynamic, 8)?, u64_at(dynamic, 32)?);
    const STRINGS: u64 = 5;
    const SONAME: u64 = 14;
    let (mut strings, mut name) = (None, None);
    for number in 0..(length / 16).min(MOST_ENTRIES) {
        let entry = bytes::<16>(file, start.checked_add(number * 16)?)?;
        match u64_at(&entry, 0)? {
            0 => break,
            STRINGS => strings = u64_at(&entry, 8),
            SONAME => name = u64_at(&entry, 8),
            _ => {}
        }
    }
    let address = strings?.checked_add(name?)?;
    // The table of strings is given by where it is in memory.
    let offset = segments.iter().find_map(|segment| {
        let (offset, memory) = (u64_at(segment, 8)?, u64_at(segment, 16)?);
        let inside = address.checked_sub(memory)?;
        let is_here = u32_at(segment, 0)? == LOAD && inside < u64_at(segment, 32)?;
        is_here.then_some(offset.checked_add(inside)?)
    })?;
    let mut text = [0; LONGEST_NAME + 1];
    let length = file.read_at(&mut text, offset).ok()?;
    let end = text[..length].iter().position(|byte| *byte == 0)?;
    let name = std::str::from_utf8(&text[..end]).ok()?;
    let is_name = !name.is_empty() && !name.contains('/') && ![".", ".."].contains(&name);
    is_name.then(|| name.to_owned())
}

fn bytes<const LENGTH: usize>(file: &File, offset: u64) -> Option<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    file.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    let bytes = bytes.get(offset..offset + 2)?;
    Some(u16::from_le_bytes(bytes.try_into().ok()?))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..offset + 4)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    let bytes = bytes.get(offset..offset + 8)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn libraries_of_this_host_have_their_names() {
        let directory = Path::new("/lib/x86_64-linux-gnu");
        for name in ["libc.so.6", "libm.so.6"] {
            let Ok(file) = File::open(directory.join(name)) else {
                continue;
            };
            assert_eq!(soname(&file).as_deref(), Some(name));
        }
        let text = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(soname(text.as_file()), None);
    }

    #[test]
    fn links_are_made_beside_them() {
        let library = Path::new("/lib/x86_64-linux-gnu/libm.so.6");
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("lib")).unwrap();
        std::fs::write(root.path().join("lib/libx.so"), "no library").unwrap();
        if library.exists() {
            std::fs::copy(library, root.path().join("lib/libm.so.9.9")).unwrap();
        }
        let opened = crate::sys::mount::open_source(root.path()).unwrap();
        announce(opened.as_fd(), &["/lib".into(), "/nowhere".into()]).unwrap();
        assert_eq!(root.path().join("lib/libm.so.6").exists(), library.exists());
        // Without glibc's loader there is no cache; with it, libraries that it has stay.
        let cache = root.path().join("etc/ld.so.cache");
        assert!(!cache.exists());
        std::fs::create_dir_all(root.path().join("lib64")).unwrap();
        std::fs::create_dir_all(root.path().join("etc")).unwrap();
        std::fs::write(root.path().join("lib64/ld-linux-x86-64.so.2"), "").unwrap();
        let other = Library::new("libother.so.1", b"/usr/lib/libother.so.1");
        std::fs::write(&cache, library_cache::write(std::slice::from_ref(&other))).unwrap();
        for _ in 0..2 {
            announce(opened.as_fd(), &["/lib".into()]).unwrap();
            let mut all = vec![other.clone()];
            if library.exists() {
                all.push(Library::new("libm.so.6", b"/lib/libm.so.6"));
            }
            assert_eq!(
                library_cache::read(&std::fs::read(&cache).unwrap()).unwrap(),
                all
            );
        }
    }
}
