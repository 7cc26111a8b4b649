//! `tag`: gives an image another name.

use super::intake;
use super::reference::Reference;
use super::store;
use crate::error::bad_input;
use crate::paths::Paths;
use crate::store::lock::Lock;
use anyhow::Result;

/// Points `target` to the image that `source` means; another image that had the name loses it.
pub fn tag(paths: &Paths, source: &str, target: &str) -> Result<()> {
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
    intake::give_names(paths, &[(target.or_latest(), image.id)]).map(drop)
}
