//! Entries that a later member of the same layer replaces. They are moved aside while unpacking, since the tar
//! stream still has them; at the end the journal takes their content in, and they are deleted.
//!
//! Invariant: an entry of the journal and the first replacement after it of its path, or of a directory
//! above, belong together; later ones are of other entries.

use super::super::failed;
use super::super::journal::{Content, Reader, Record, Writer};
use super::super::name::{join, split};
use super::Tree;
use crate::paths;
use anyhow::{Context, Result};
use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Something that was moved away from its path in the tree. Its new name is its number in the list of these.
pub struct Replaced {
    path: Vec<u8>,
    /// How many entries the journal had by then.
    entries: usize,
}

impl Tree<'_> {
    /// Frees a name of the tree.
    pub fn make_room(&mut self, path: &[u8]) -> Result<()> {
        if self.whiteouts.contains_key(path) {
            self.remove_whiteout(path)
        } else {
            self.put_aside(path)
        }
    }

    /// Moves an entry of the tree, with all that is in it, out of the tree.
    pub fn put_aside(&mut self, path: &[u8]) -> Result<()> {
        let replace = |errno| failed("replace", path, errno);
        if self.replaced.is_empty() {
            mkdirat(&self.staging, paths::LAYER_REPLACED, Mode::RWXU).map_err(replace)?;
        }
        let aside = format!("{}/{}", paths::LAYER_REPLACED, self.replaced.len());
        renameat(&self.root, path, &self.staging, aside).map_err(replace)?;
        self.replaced.push(Replaced {
            path: path.to_vec(),
            entries: self.entries,
        });
        self.held.clear();
        let is_within = |known: &[u8]| {
            known
                .strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        };
        self.whiteouts.retain(|known, _| !is_within(known));
        self.left_out.retain(|known| !is_within(known));
        if self.directories.remove(path).is_some() {
            let below = [path, b"/"].concat();
            let inside: Vec<_> = self
                .directories
                .range(below.clone()..)
                .map(|(known, _)| known.clone())
                .take_while(|known| known.starts_with(&below))
                .collect();
            for known in inside {
                self.directories.remove(&known);
            }
        }
        Ok(())
    }
}

/// Rewrites the journal so that it holds what was replaced, and deletes that.
pub fn settle(directory: &Path, replaced: &[Replaced]) -> Result<()> {
    if replaced.is_empty() {
        return Ok(());
    }
    let aside = directory.join(paths::LAYER_REPLACED);
    let (journal, old) = (
        directory.join(paths::LAYER_JOURNAL),
        aside.join(paths::LAYER_JOURNAL),
    );
    std::fs::rename(&journal, &old).with_context(|| format!("rename {}", journal.display()))?;
    rewrite(
        Reader::open(old)?,
        Writer::create(journal)?,
        Content::open(&aside)?,
        replaced,
    )?;
    remove(&aside)
        .map_err(io::Error::from)
        .with_context(|| format!("remove {}", aside.display()))
}

fn rewrite(
    mut reader: Reader,
    mut writer: Writer,
    mut content: Content,
    replaced: &[Replaced],
) -> Result<()> {
    let mut by_path: HashMap<&[u8], Vec<usize>> = HashMap::new();
    for (number, event) in replaced.iter().enumerate() {
        by_path.entry(&event.path).or_default().push(number);
    }
    let mut entries = 0;
    loop {
        match reader.next()? {
            Record::Raw(bytes) => writer.raw(&bytes)?,
            Record::Entry(mut entry) => {
                content.entry = None;
                if let Some(path) = new_place(
                    entry.path.as_os_str().as_bytes(),
                    entries,
                    replaced,
                    &by_path,
                ) {
                    entry.path = PathBuf::from(OsString::from_vec(path));
                    content.entry = Some((entry, None));
                } else {
                    writer.entry(&entry)?;
                }
                entries += 1;
            }
            Record::Data { offset, length } if content.entry.is_some() => {
                content.read(offset, length, &mut |bytes| writer.raw(bytes))?;
            }
            Record::Data { offset, length } => writer.data(offset, length)?,
            Record::End(_) => return writer.finish().map(drop),
        }
    }
}

/// Where an entry went, if it was replaced; `number` is how many came before it.
fn new_place(
    path: &[u8],
    number: usize,
    replaced: &[Replaced],
    by_path: &HashMap<&[u8], Vec<usize>>,
) -> Option<Vec<u8>> {
    let mut above = path;
    let mut first: Option<(usize, &[u8])> = None;
    loop {
        for &event in by_path.get(above).into_iter().flatten() {
            let is_earlier = first.is_none_or(|(known, _)| event < known);
            if replaced[event].entries > number && is_earlier {
                first = Some((
                    event,
                    path[above.len()..].strip_prefix(b"/").unwrap_or_default(),
                ));
            }
        }
        match split(above) {
            Some((directory, _)) => above = directory,
            None => break,
        }
    }
    first.map(|(event, rest)| {
        let place = event.to_string().into_bytes();
        if rest.is_empty() {
            place
        } else {
            join(&place, rest)
        }
    })
}

/// Deletes a directory of any depth with a fixed number of descriptors: directories in it are moved up first.
fn remove(path: &Path) -> rustix::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = rustix::fs::open(path, flags, Mode::empty())?;
    let mut waiting: Vec<OsString> = Vec::new();
    let mut moved = 0usize;
    let mut empty = |directory: &OwnedFd,
                     is_top: bool,
                     waiting: &mut Vec<OsString>|
     -> rustix::io::Result<()> {
        for entry in rustix::fs::Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            match unlinkat(directory, name, AtFlags::empty()) {
                Err(Errno::ISDIR | Errno::PERM) if is_top => {
                    waiting.push(OsString::from_vec(name.to_vec()))
                }
                Err(Errno::ISDIR | Errno::PERM) => {
                    let place = OsString::from(format!("moved-{moved}"));
                    moved += 1;
                    renameat(directory, name, &top, &place)?;
                    waiting.push(place);
                }
                result => result?,
            }
        }
        Ok(())
    };
    empty(&top, true, &mut waiting)?;
    while let Some(name) = waiting.pop() {
        let directory = openat(&top, &name, flags, Mode::empty())?;
        empty(&directory, false, &mut waiting)?;
        unlinkat(&top, &name, AtFlags::REMOVEDIR)?;
    }
    rustix::fs::rmdir(path)
}
