//! What the root file system of a container with a single id needs beside the filter that pretends changes of ids
//! (`seccomp::Identity::Single`).
//!
//! apt downloads as the user `_apt`, and after setresuid(2) it asks the kernel whether it is that user; no filter
//! can answer yes. Its setting for systems without such a user is given to it in a layer of its own, above the
//! image's and below the container's: the file is there, and neither a diff nor a commit contains it. apt.conf(5).
//!
//! Invariant: images without apt get nothing.

use crate::sys::mount::{self, Attributes};
use crate::sys::openat2::open_beneath;
use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Where apt reads settings from, in the order of their names: the image's own come after ours and win. The last
/// path is our file, the others its directories.
const PATHS: [&str; 4] = [
    "etc",
    "etc/apt",
    "etc/apt/apt.conf.d",
    "etc/apt/apt.conf.d/00single-id",
];
const SETTING: &[u8] =
    b"// This container has a single id, so that apt cannot become another user.\n\
    APT::Sandbox::User \"root\";\n";

/// Overlayfs takes no more lower layers.
const MOST_LAYERS: usize = 500;

/// The layer to put above `lower` (uppermost first), if the image has apt.
///
/// It is attached over `place`, a directory that only this mount namespace sees and that is open already, since
/// before Linux 6.15 overlayfs takes no layer that is attached nowhere.
pub fn layer(lower: &[OwnedFd], place: BorrowedFd<'_>) -> Result<Option<OwnedFd>> {
    if lower.len() >= MOST_LAYERS || !has_apt(lower)? {
        return Ok(None);
    }
    write(place)
        .context("make the layer with the setting for apt")
        .map(Some)
}

/// Whether the uppermost layer that says anything of the directory has it, without a symbolic link on the way.
fn has_apt(lower: &[OwnedFd]) -> Result<bool> {
    let [.., directory, _] = PATHS;
    for layer in lower {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match open_beneath(layer, directory.as_bytes(), flags, Mode::empty()) {
            Ok(_) => return Ok(true),
            Err(Errno::NOENT) => {}
            // A whiteout, a file or a link: our directory must not replace it.
            Err(Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => return Ok(false),
            Err(error) => return Err(error).context("look for apt's settings"),
        }
    }
    Ok(false)
}

fn write(place: BorrowedFd<'_>) -> Result<OwnedFd> {
    let options = [
        ("mode", Some("755")),
        ("nr_blocks", Some("1")),
        ("nr_inodes", Some("8")),
    ];
    let layer = mount::new_filesystem("tmpfs", "tmpfs", &options, Attributes::empty())?;
    mount::attach(layer.as_fd(), place).context("attach tmpfs")?;
    let [directories @ .., file] = PATHS;
    for directory in directories {
        mkdirat(&layer, directory, Mode::from(0o755))
            .with_context(|| format!("mkdirat `{directory}`"))?;
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = openat(&layer, file, flags, Mode::from(0o644))
        .with_context(|| format!("openat `{file}`"))?;
    File::from(file)
        .write_all(SETTING)
        .context("write the setting")?;
    Ok(layer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    type Layer = fn(&Path);

    fn with_apt(layer: &Path) {
        std::fs::create_dir_all(layer.join("etc/apt/apt.conf.d")).unwrap();
    }

    fn with_other_settings(layer: &Path) {
        std::fs::create_dir_all(layer.join("etc/apt")).unwrap();
    }

    fn without_apt(_: &Path) {}

    fn with_a_link(layer: &Path) {
        with_other_settings(layer);
        symlink("/", layer.join("etc/apt/apt.conf.d")).unwrap();
    }

    fn with_a_link_on_the_way(layer: &Path) {
        with_apt(&layer.join("elsewhere"));
        symlink("elsewhere/etc", layer.join("etc")).unwrap();
    }

    fn with_a_file(layer: &Path) {
        std::fs::create_dir_all(layer.join("etc")).unwrap();
        std::fs::write(layer.join("etc/apt"), "").unwrap();
    }

    #[test]
    fn the_uppermost_layer_that_knows_apt_decides() {
        let cases: &[(&[Layer], bool)] = &[
            (&[], false),
            (&[without_apt], false),
            (&[with_apt], true),
            (&[without_apt, with_other_settings, with_apt], true),
            (&[with_other_settings, without_apt], false),
            (&[with_a_link, with_apt], false),
            (&[with_a_link_on_the_way], false),
            (&[with_a_file, with_apt], false),
            (&[with_apt, with_a_file], true),
        ];
        for (at, (layers, expect)) in cases.iter().enumerate() {
            let root = tempfile::tempdir().unwrap();
            let open = |(number, fill): (usize, &Layer)| {
                let path = root.path().join(number.to_string());
                std::fs::create_dir(&path).unwrap();
                fill(&path);
                File::open(path).unwrap().into()
            };
            let lower: Vec<OwnedFd> = layers.iter().enumerate().map(open).collect();
            assert_eq!(has_apt(&lower).unwrap(), *expect, "case {at}");
        }
    }
}
