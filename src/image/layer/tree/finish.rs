//! The end of a tree: directories get their attributes, deepest first, when nothing is put in them any more.

use super::super::name::{AUFS_LINKS, OPAQUE, split};
use super::super::{XattrPrefix, failed};
use super::whiteout::{Form, make_mark};
use super::{Tree, replaced};
use anyhow::Result;
use rustix::fs::{AtFlags, statat};
use std::collections::BTreeSet;
use std::path::Path;

/// What is known of a tree at its end.
pub struct Finished {
    /// It has something from the layers below, so that with others it would be another tree.
    pub depends_on_parents: bool,
    /// It has marks for overlayfs.
    pub marked: bool,
}

impl Tree<'_> {
    /// Sets what has been waiting; the journal in the layer's directory must be finished.
    pub fn finish(mut self, directory: &Path) -> Result<Finished> {
        if statat(&self.root, AUFS_LINKS, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            // Its files live on in their hard links.
            self.put_aside(AUFS_LINKS)?;
        }
        self.spell_out_opaque_root()?;
        self.drop_needless_whiteouts()?;
        if let Some(root) = self.directories.get(&b""[..]) {
            self.depends_on_parents |=
                !self.has_root_entry && self.differs_from_implied(&root.attributes);
        }
        let marked = self.finish_directories()?;
        replaced::settle(directory, &self.replaced)?;
        Ok(Finished {
            depends_on_parents: self.depends_on_parents,
            marked,
        })
    }

    /// Tells whether one of them has a mark for overlayfs, as every directory has whose whiteouts are attributes.
    fn finish_directories(&mut self) -> Result<bool> {
        let mut marked = false;
        let by_attribute = self
            .whiteouts
            .iter()
            .filter(|(_, form)| **form == Form::Attribute);
        let with_whiteouts: BTreeSet<&[u8]> = by_attribute
            .filter_map(|(path, _)| split(path))
            .map(|(directory, _)| directory)
            .collect();
        for (path, pending) in self.directories.iter().rev() {
            if self.rules.xattrs == XattrPrefix::Names {
                if pending.opaque {
                    make_mark(&self.open_directory(path)?, OPAQUE)
                        .map_err(|errno| failed("make opaque", path, errno))?;
                }
                self.set_on_directory(path, &pending.attributes, None)?;
                continue;
            }
            let value: Option<&[u8]> = if pending.opaque {
                Some(b"y")
            } else {
                with_whiteouts.contains(&path[..]).then_some(b"x")
            };
            let overlay = value.map(|value| (self.rules.xattrs.attribute("opaque"), value));
            marked |= overlay.is_some();
            self.set_on_directory(path, &pending.attributes, overlay)?;
        }
        Ok(marked)
    }
}
