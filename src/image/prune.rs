//! `image prune`: removes the images that no container was made from, those without tags or all.

use super::filter::Filter;
use super::remove::{self, Removal, Users};
use super::store;
use crate::paths::Paths;
use crate::store::damage;
use anyhow::Result;

/// Removes what fits; an image that comes into use meanwhile is left alone, one that cannot be removed does not keep
/// the others.
pub fn prune(paths: &Paths, all: bool, filter: &Filter, users: Users) -> Result<Removal> {
    let dangling_only = filter.dangling.unwrap_or(!all);
    let mut filter = filter.clone();
    filter.dangling = None;
    // Where the names are lost no image has one, and all would go.
    store::Names::read(paths)?;
    let mut total = Removal::default();
    match remove::sweep(paths) {
        Ok(bytes) => total.reclaimed = bytes,
        Err(error) => damage::note("layers that no image has stay", &error),
    }
    for image in store::list(paths)? {
        if image.store.is_some() {
            continue;
        }
        let is_dangling = image.is_dangling();
        if (dangling_only && !is_dangling)
            || !filter.matches(&image)
            || !users(&image.id)?.is_empty()
        {
            continue;
        }
        total.add(remove::remove_unused(paths, &image, users)?);
    }
    Ok(total)
}
