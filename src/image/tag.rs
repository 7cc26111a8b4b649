//! `tag`: gives an image another name.

use super::digest::Digest;
use super::intake;
use super::reference::Reference;
use super::store;
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
    let _lock = Lock::exclusive(&paths.lock())?;
    // It may have gone while we waited.
    let image = store::find(paths, image.id.hex())?;
    let given = (image.id, target.or_latest());
    intake::give_names(paths, &[(given.1.clone(), given.0.clone())])?;
    Ok(given)
}
