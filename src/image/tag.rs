//! `tag`: gives an image another name. One of another store has to become one of this store before: what lies in the
//! other one is only read.

use super::digest::Digest;
use super::intake::{self, Chain, Displaced, Intake};
use super::layer::Rules;
use super::limit::note_use;
use super::reference::Reference;
use super::store::{self, Image};
use crate::error::bad_input;
use crate::paths::Paths;
use crate::store::lock::Lock;
use anyhow::Result;

/// Points `target` to the image that `source` means, which is returned with the whole name; another image that had
/// the name loses it.
pub fn tag(paths: &Paths, source: &str, target: &str) -> Result<(Digest, Reference)> {
    let target: Reference = target.parse()?;
    if target.digest().is_some() {
        return Err(bad_input("refusing to create a tag with a digest reference").into());
    }
    if target.repository() == "sha256" {
        return Err(bad_input(
            "refusing to create an ambiguous tag using digest algorithm as name",
        )
        .into());
    }
    let image = store::find(paths, source)?;
    let target = target.or_latest();
    let _lock = Lock::exclusive(&paths.lock())?;
    // It may have gone while we waited.
    let image = store::find_here(paths, image.id.hex())?;
    intake::give_names(paths, &[(target.clone(), image.id.clone())])?;
    note_use(paths, &image.id);
    Ok((image.id, target))
}

/// Points names to an image of this store that is known by its id, as far as they do not already; tells which other images
/// had them.
pub fn name(paths: &Paths, id: &Digest, names: &[Reference]) -> Result<Vec<Displaced>> {
    let _lock = Lock::exclusive(&paths.lock())?;
    // It may have gone while we waited.
    store::find_here(paths, id.hex())?;
    let known = store::Names::read(paths)?;
    let is_other = |name: &Reference| {
        known
            .references
            .get(name)
            .is_none_or(|known| known.image != *id)
    };
    let names = names.iter().map(|name| store::as_stored(name.clone()));
    let given = names.filter(is_other).map(|name| (name, id.clone()));
    let given: Vec<(Reference, Digest)> = given.collect();
    let displaced = intake::give_names(paths, &given)?;
    note_use(paths, id);
    Ok(displaced)
}

/// Makes an image of another store one of this store. Layers stay where they lie if they can be used there; others are
/// copied, all of them if it is to be `whole`. For that an ordinary user must be in the user namespace of the store.
pub fn adopt(paths: &Paths, rules: &Rules, image: &Image, whole: bool) -> Result<()> {
    let config = store::config_bytes(paths, &image.id)?;
    let alone = paths.clone().with_image_stores(Vec::new());
    let mut intake = Intake::new(if whole { &alone } else { paths }, rules)?;
    let mut chain = Chain::default();
    for (name, diff_id) in image.layers.iter().zip(&image.config.rootfs.diff_ids) {
        match intake.present(&mut chain, diff_id, None) {
            Ok(()) => {}
            Err(_) => intake.copied(&mut chain, diff_id, &paths.layer(name))?,
        }
    }
    intake.image(&config, &chain, Vec::new())?;
    intake.commit().map(drop)
}
