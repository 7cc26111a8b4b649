//! Things that are renamed into their places one after the other, all of them or none: until it is said that they stay,
//! a failure takes them back.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Directories that go back to where they were when dropped.
#[derive(Default)]
pub(super) struct Moved(Vec<(PathBuf, PathBuf)>);

impl Moved {
    /// They stay where they are now.
    pub fn stay(mut self) {
        self.0.clear();
    }

    /// Moves one to its place. What another maker has put there meanwhile is as good as ours if it is `whole`;
    /// damaged things make room, and go with the staging directory.
    pub fn place(&mut self, from: &Path, to: &Path, whole: bool, staging: &Path) -> Result<()> {
        if whole {
            return Ok(());
        }
        if to.exists() {
            let trash = staging.join(format!("damaged-{}", self.0.len()));
            self.rename(to, &trash)?;
        }
        self.rename(from, to)
    }

    /// Moves one to where nothing is.
    pub fn rename(&mut self, from: &Path, to: &Path) -> Result<()> {
        std::fs::rename(from, to)
            .with_context(|| format!("rename `{}` to `{}`", from.display(), to.display()))?;
        self.0.push((from.to_owned(), to.to_owned()));
        Ok(())
    }
}

impl Drop for Moved {
    fn drop(&mut self) {
        for (from, to) in self.0.drain(..).rev() {
            // What cannot be moved back is a layer without an image, which the next sweep removes.
            let _ = std::fs::rename(&to, &from);
        }
    }
}
