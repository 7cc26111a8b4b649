//! A finished build becomes an image of the store, or a name of one that is there already.

use super::order::Built;
use crate::container::engine::Engine;
use crate::image::digest::Digest;
use crate::image::intake::{Chain, Displaced, Intake};
use crate::image::reference::Reference;
use crate::image::store;
use crate::image::tag;
use anyhow::Result;

/// Gives the image its names, making it if it is not there. For an ordinary user that may make this process root of the
/// store's user namespace.
pub fn keep(
    engine: &Engine,
    built: &Built,
    names: &[Reference],
) -> Result<(Digest, Vec<Displaced>)> {
    let id = built.id();
    if store::find(&engine.paths, &id.to_string()).is_ok_and(|image| image.store.is_none()) {
        let displaced = tag::name(&engine.paths, &id, names)?;
        return Ok((id, displaced));
    }
    engine.enter_user_namespace()?;
    let rules = engine.layer_rules()?;
    let mut intake = Intake::new(&engine.paths, &rules)?;
    let mut chain = Chain::default();
    for diff_id in &built.layers.diff_ids {
        intake.present(&mut chain, diff_id, None)?;
    }
    let id = intake.image(&built.bytes, &chain, names.to_vec())?;
    Ok((id, intake.commit()?))
}
