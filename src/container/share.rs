//! `system share-images`: root shows the images of a store to an ordinary user, as if they were his own.
//!
//! ```text
//! RUN/shared/UID/NAME/          a tmpfs that only the user may enter
//!     store.json                the user's ids
//!     images, layers            mounts of those of the store, with owners mapped (mount_setattr(2)), read-only, without
//!                               setuid programs, devices and links that could be followed
//! ```
//!
//! Files have the owners that the user's own layers would have, so that his overlays can stack and change them, and
//! nothing is copied. The store stays closed to everybody; what is beside images and layers is not in the view.
//!
//! Invariant: what a program of an image could do as another user it cannot do outside of a container through the view.

use super::engine::{Engine, STORE_VERSION, StoreRecord};
use crate::error::{Error, Kind, not_found};
use crate::id_mapping::{IdMaps, Mapping, Range, Tier, outside};
use crate::paths::Paths;
use crate::sys::mount::{self, Attributes, Change};
use anyhow::{Context, Result};
use rustix::io::Errno;
use std::fs::Permissions;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Shows the images of a store to a user, anew if they are shown already; the answer is where.
pub fn share(engine: &Engine, user: &str) -> Result<PathBuf> {
    let target = Mapping::of_user(user)?
        .ok_or_else(|| not_found(format!("there is no user {user} in /etc/passwd")))?;
    let place = unshare(engine, &target)?;
    let maps = IdMaps {
        uids: composed(&engine.mapping.uids, &target.uids, engine.mapping.tier),
        gids: composed(&engine.mapping.gids, &target.gids, engine.mapping.tier),
    };
    let namespace = maps.namespace()?;
    make_way(&place)?;
    let owner = format!("uid={},gid={}", target.uid, target.gid);
    mount_tmpfs(&place, &target).with_context(|| format!("show images to {user} ({owner})"))?;
    let filled = fill(engine, &place, &target, namespace.as_fd());
    if filled.is_err() {
        // It shows nothing yet.
        let _ = mount::detach(&place);
    }
    filled.map(|()| place)
}

/// Ends it; containers that run keep what they have. `false` where nothing was shown.
pub fn unshare_from(engine: &Engine, user: &str) -> Result<bool> {
    let target = Mapping::of_user(user)?
        .ok_or_else(|| not_found(format!("there is no user {user} in /etc/passwd")))?;
    let place = Paths::shared(engine.paths.run(), target.uid, engine.paths.data());
    let was_shown = mount::is_mount_point(&place) == Ok(true);
    unshare(engine, &target)?;
    // `RUN/shared/UID/NAME`, unless something else is shown there.
    for directory in place.ancestors().take(3) {
        if std::fs::remove_dir(directory).is_err() {
            break;
        }
    }
    Ok(was_shown)
}

fn unshare(engine: &Engine, target: &Mapping) -> Result<PathBuf> {
    let place = Paths::shared(engine.paths.run(), target.uid, engine.paths.data());
    while mount::is_mount_point(&place) == Ok(true) {
        mount::detach(&place).with_context(|| format!("unmount `{}`", place.display()))?;
    }
    Ok(place)
}

/// The ids on the disk that stand for the ids of an image, and those of the user that stand for the same.
fn composed(store: &[Range], user: &[Range], tier: Tier) -> Vec<Range> {
    let mut composed: Vec<Range> = Vec::new();
    for range in user {
        let mut done = 0;
        while done < range.size {
            let id = range.inside + done;
            let line = store
                .iter()
                .find(|line| outside(std::slice::from_ref(line), id).is_some());
            let (disk, size) = match (tier, line) {
                (Tier::Root, _) => (id, range.size - done),
                (_, Some(line)) => {
                    let rest = line.inside + (line.size - 1) - id + 1;
                    (
                        line.outside + (id - line.inside),
                        rest.min(range.size - done),
                    )
                }
                // What the store has nobody for.
                (_, None) => break,
            };
            composed.push(Range {
                inside: disk,
                outside: range.outside + done,
                size,
            });
            done += size;
        }
    }
    composed
}

/// The directories on the way, which everybody may enter and nobody list.
fn make_way(place: &Path) -> Result<()> {
    let context = || format!("create `{}`", place.display());
    std::fs::create_dir_all(place).with_context(context)?;
    // The run root too: other things there have modes of their own.
    for directory in place.ancestors().skip(1).take(3) {
        let mode = std::fs::metadata(directory)
            .with_context(context)?
            .permissions()
            .mode();
        std::fs::set_permissions(directory, Permissions::from_mode(mode | 0o111))
            .with_context(context)?;
    }
    Ok(())
}

fn mount_tmpfs(place: &Path, target: &Mapping) -> Result<()> {
    let (uid, gid) = (target.uid.to_string(), target.gid.to_string());
    let options = [
        ("mode", Some("0500")),
        ("uid", Some(uid.as_str())),
        ("gid", Some(gid.as_str())),
        ("size", Some("1m")),
    ];
    let attributes = Attributes::MOUNT_ATTR_NOSUID
        | Attributes::MOUNT_ATTR_NODEV
        | Attributes::MOUNT_ATTR_NOEXEC;
    let made = mount::new_filesystem("tmpfs", "onggi", &options, attributes)?;
    mount::attach(made.as_fd(), mount::open_source(place)?.as_fd())
        .with_context(|| format!("mount on `{}`", place.display()))
}

fn fill(engine: &Engine, place: &Path, target: &Mapping, namespace: BorrowedFd<'_>) -> Result<()> {
    let view = Paths::new(place, "");
    let record = StoreRecord {
        version: STORE_VERSION,
        mapping: target.clone(),
        file_system: engine.file_system.clone(),
        view_of: Some(engine.mapping.tier),
    };
    let context = || format!("write to `{}`", place.display());
    std::fs::write(view.store_record(), serde_json::to_vec(&record)?).with_context(context)?;
    for (source, place) in [
        (engine.paths.images(), view.images()),
        (engine.paths.layers(), view.layers()),
    ] {
        std::fs::create_dir(&place).with_context(context)?;
        show(&source, &place, namespace).with_context(|| format!("show `{}`", source.display()))?;
    }
    let made = mount::open_source(place)?;
    let read_only = Change {
        set: Attributes::MOUNT_ATTR_RDONLY,
        ..Change::default()
    };
    mount::change(made.as_fd(), read_only, None, None, false).with_context(context)
}

/// Mounts one directory with mapped owners.
fn show(source: &Path, place: &Path, namespace: BorrowedFd<'_>) -> Result<()> {
    let tree =
        mount::clone_tree(mount::open_source(source)?.as_fd(), false).context("open_tree")?;
    let set = Attributes::MOUNT_ATTR_RDONLY
        | Attributes::MOUNT_ATTR_NOSUID
        | Attributes::MOUNT_ATTR_NODEV
        | Attributes::MOUNT_ATTR_NOSYMFOLLOW;
    let change = Change {
        set,
        ..Change::default()
    };
    mount::change(tree.as_fd(), change, None, Some(namespace), false).map_err(
        |error| match error {
            Errno::INVAL => {
                let message =
                    "the kernel cannot map owners on this file system (mount_setattr: EINVAL)";
                Error::new(Kind::Unsupported, message)
                    .hint("put the store on ext4, xfs, btrfs or tmpfs")
                    .into()
            }
            error => anyhow::Error::from(error),
        },
    )?;
    mount::attach(tree.as_fd(), mount::open_source(place)?.as_fd()).context("move_mount")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(list: &[(u32, u32, u32)]) -> Vec<Range> {
        let range = |&(inside, outside, size): &(u32, u32, u32)| Range {
            inside,
            outside,
            size,
        };
        list.iter().map(range).collect()
    }

    #[test]
    fn ids_of_an_image_become_those_of_the_user() {
        let bob = ranges(&[(0, 1001, 1), (1, 300_000, 65_536)]);
        assert_eq!(
            composed(&[], &bob, Tier::Root),
            ranges(&[(0, 1001, 1), (1, 300_000, 65_536)])
        );
        let ann = ranges(&[(0, 1000, 1), (1, 100_000, 10), (11, 500_000, 10)]);
        assert_eq!(
            composed(&ann, &bob, Tier::Subordinate),
            ranges(&[
                (1000, 1001, 1),
                (100_000, 300_000, 10),
                (500_000, 300_010, 10)
            ])
        );
    }
}
