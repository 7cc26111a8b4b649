//! Images come in, are found, go out and go away: real archives and damaged ones, through the library and
//! through the program.

#[path = "../support/mod.rs"]
mod support;

mod bad;
mod commands;
mod full_disk;
mod good;
mod plan;
mod remove;
mod save;

use onggi::image::layer::{Devices, Owners, Rules, XattrPrefix};
use onggi::image::load::{Loaded, Source, load};
use onggi::image::trust::Trust;
use onggi::paths::Paths;
use std::collections::BTreeMap;
use std::path::Path;
use tempfile::TempDir;

/// A store of its own, used by this process.
struct Library {
    directory: TempDir,
    paths: Paths,
    rules: Rules,
}

impl Library {
    fn new() -> Self {
        Self::at(tempfile::tempdir_in("/var/tmp").unwrap())
    }

    fn at(directory: TempDir) -> Self {
        let paths = Paths::new(directory.path().join("data"), directory.path().join("run"));
        let root = rustix::process::geteuid().is_root();
        let rules = Rules {
            owners: if root { Owners::Real } else { Owners::SingleId },
            xattrs: if root {
                XattrPrefix::Trusted
            } else {
                XattrPrefix::User
            },
            devices: if root { Devices::Make } else { Devices::Skip },
            absolute_names: false,
            max_bytes: 1 << 30,
            keep_blobs: false,
        };
        Self {
            directory,
            paths,
            rules,
        }
    }

    fn load(&self, path: &Path) -> anyhow::Result<Loaded> {
        load(
            &self.paths,
            &self.rules,
            Source::open(path)?,
            None,
            &Trust::default(),
        )
    }

    fn load_for(&self, path: &Path, platform: &str) -> anyhow::Result<Loaded> {
        load(
            &self.paths,
            &self.rules,
            Source::open(path)?,
            Some(platform.parse()?),
            &Trust::default(),
        )
    }

    /// Every file below the data root with its content; empty where nothing was made but empty directories.
    fn content(&self) -> BTreeMap<String, Vec<u8>> {
        let mut content = BTreeMap::new();
        collect(self.paths.data(), &mut content);
        content.retain(|path, _| *path != self.paths.lock().display().to_string());
        content
    }

    fn layers(&self) -> usize {
        std::fs::read_dir(self.paths.layers()).map_or(0, Iterator::count)
    }
}

fn collect(directory: &Path, content: &mut BTreeMap<String, Vec<u8>>) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for entry in entries.map(Result::unwrap) {
        let path = entry.path();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => collect(&path, content),
            kind if kind.is_file() => {
                drop(content.insert(path.display().to_string(), std::fs::read(&path).unwrap()))
            }
            _ => drop(content.insert(path.display().to_string(), Vec::new())),
        }
    }
}
