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
use crate::store::tree;
use anyhow::{Context, Result};
use rustix::fs::{Mode, mkdirat, renameat};
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
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
        remove_within(&mut self.whiteouts, path);
        remove_within(&mut self.left_out, path);
        remove_within(&mut self.directories, path);
        Ok(())
    }
}

/// Forgets a path with all below it, without a look at any other: a hostile layer may replace very many.
fn remove_within<V>(known: &mut BTreeMap<Vec<u8>, V>, path: &[u8]) {
    known.remove(path);
    let below = [path, b"/"].concat();
    let inside = known.range(below.clone()..).map(|(path, _)| path.clone());
    let inside: Vec<_> = inside.take_while(|path| path.starts_with(&below)).collect();
    for path in inside {
        known.remove(&path);
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
    tree::remove(&aside).with_context(|| format!("remove {}", aside.display()))
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
        // Those of one path are in the order in which they happened, and there may be very many.
        let events = by_path.get(above).map_or(&[][..], Vec::as_slice);
        let after = events.partition_point(|&event| replaced[event].entries <= number);
        if let Some(&event) = events.get(after)
            && first.is_none_or(|(known, _)| event < known)
        {
            let rest = path[above.len()..].strip_prefix(b"/");
            first = Some((event, rest.unwrap_or_default()));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_goes_with_what_is_below_it_and_nothing_else() {
        let names = ["a", "a!", "a/b", "a/b/c", "a0", "b/a/b"];
        let mut known: BTreeMap<Vec<u8>, ()> = names.map(|name| (name.into(), ())).into();
        remove_within(&mut known, b"a");
        assert!(known.keys().eq([&b"a!"[..], b"a0", b"b/a/b"]));
    }

    #[test]
    fn an_entry_went_with_the_first_replacement_after_it() {
        let event = |path: &str, entries| Replaced {
            path: path.into(),
            entries,
        };
        let replaced = [
            event("d/f", 1),
            event("d/f", 3),
            event("d", 3),
            event("d/f", 6),
        ];
        let mut by_path: HashMap<&[u8], Vec<usize>> = HashMap::new();
        for (number, event) in replaced.iter().enumerate() {
            by_path.entry(&event.path).or_default().push(number);
        }
        for (path, number, expected) in [
            ("d/f", 0, Some("0")),
            ("d/f", 1, Some("1")),
            ("d/f", 3, Some("3")),
            ("d/f", 6, None),
            ("d/g", 0, Some("2/g")),
            ("d", 2, Some("2")),
            ("d", 3, None),
        ] {
            let place = new_place(path.as_bytes(), number, &replaced, &by_path);
            assert_eq!(
                place.as_deref(),
                expected.map(str::as_bytes),
                "{path} {number}"
            );
        }
    }
}
