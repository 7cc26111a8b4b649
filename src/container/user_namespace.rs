//! `--userns keep-id`: an ordinary user has the same id inside as outside, in a user namespace nested in that of
//! the store (user_namespaces(7)).
//!
//! ```text
//! outside      user   subordinate ids …
//! store          0     1 … n               what files of layers are stored with
//! container      u     0 … u-1, u+1 … n    what the container sees
//! ```
//!
//! What the image calls root is stored as the user, who is now somebody else inside. So the container runs on
//! copies of its layers whose owners are moved, made once per layer and user and kept beside the layer. With a
//! single id there is nobody else to be, and no copy.

use super::engine::Engine;
use super::record::Record;
use crate::id_mapping::{Range, Tier};
use crate::image::shift::shift;
use crate::image::store::overlay_order;
use crate::store::atomic;
use crate::store::staging::Staging;
use anyhow::{Context, Result};
use std::io::ErrorKind;
use std::path::PathBuf;

/// The id maps of the container's own user namespace, for users and for groups.
pub fn maps(engine: &Engine) -> (Vec<Range>, Vec<Range>) {
    let mapping = &engine.mapping;
    let count = |ranges: &[Range]| ranges.iter().map(|range| range.size).sum();
    (
        map(mapping.uid, count(&mapping.uids)),
        map(mapping.gid, count(&mapping.gids)),
    )
}

/// `count` ids of the store, of which 0 becomes `own` and the others fill up the rest in order.
fn map(own: u32, count: u32) -> Vec<Range> {
    let below = own.min(count - 1);
    let parts = [
        Range {
            inside: 0,
            outside: 1,
            size: below,
        },
        Range {
            inside: own,
            outside: 0,
            size: 1,
        },
        Range {
            inside: own.saturating_add(1),
            outside: below + 1,
            size: count - 1 - below,
        },
    ];
    parts.into_iter().filter(|range| range.size > 0).collect()
}

/// Where an id of the image has to be stored for the container to see it as that id.
pub(super) fn moved(map: &[Range], id: u32) -> u32 {
    let range = map
        .iter()
        .find(|range| id >= range.inside && id - range.inside < range.size);
    // An id that the map has no place for belongs to nobody in the container either.
    range.map_or(id, |range| range.outside + (id - range.inside))
}

/// The trees of the layers, uppermost first, with owners as the container has to find them.
///
/// The process must be in the store's user namespace and have one thread.
pub fn layers(engine: &Engine, record: &Record) -> Result<Vec<PathBuf>> {
    let keys = overlay_order(&record.layers).into_iter();
    if engine.mapping.tier != Tier::Subordinate {
        return Ok(keys.map(|key| engine.paths.layer_tree(key)).collect());
    }
    let (uids, gids) = maps(engine);
    keys.map(|key| {
        let place = engine
            .paths
            .layer_copy(key, engine.mapping.uid, engine.mapping.gid);
        if !place.exists() {
            let staging = Staging::new(&engine.paths.staging())?;
            let copy = staging.path().join("tree");
            shift(
                &engine.paths.layer_tree(key),
                &copy,
                &|uid| moved(&uids, uid),
                &|gid| moved(&gids, gid),
            )
            .with_context(|| format!("copy the layer {key} for keep-id"))?;
            // What a power cut leaves under that name would be taken for the layer.
            atomic::sync_file_system(&copy)?;
            match std::fs::rename(&copy, &place) {
                // Another container was faster, with the same result.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists
                    ) => {}
                result => result.with_context(|| format!("rename to `{}`", place.display()))?,
            }
        }
        Ok(place)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_of_the_store_has_one_place() {
        for (own, count) in [
            (1000, 65537),
            (0, 10),
            (5100, 65537),
            (200_000, 65537),
            (9, 10),
            (1000, 1),
        ] {
            let map = map(own, count);
            let mut outside: Vec<u32> = map
                .iter()
                .flat_map(|range| range.outside..range.outside + range.size)
                .collect();
            outside.sort_unstable();
            assert_eq!(outside, (0..count).collect::<Vec<_>>(), "{own} {count}");
            assert_eq!(moved(&map, own), 0);
            if own > 0 && count > 1 {
                assert_eq!(moved(&map, 0), 1);
            }
        }
    }
}
