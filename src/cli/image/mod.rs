//! Commands on images: options become calls of [`crate::image`], what comes back becomes lines.

pub mod copy;
pub mod history;
pub mod import;
pub mod inspect;
pub mod limit;
pub mod load;
pub mod login;
pub mod ls;
pub mod prune;
pub mod pull;
pub mod push;
pub mod referrers;
pub mod registry;
pub mod rm;
pub mod save;
pub mod search;
pub mod tag;

use crate::cli::Context;
use crate::container::engine::Engine;
use crate::duration;
use crate::error::not_found;
use crate::image::intake::Displaced;
use crate::image::platform::Platform;
use crate::image::store::{self, Image};
use anyhow::Result;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::time::Duration;

/// Go's zero time in seconds since 1970: images without a date have it.
const NEVER: i64 = -62_135_596_800;

/// An image that must be for the platform, if one is named.
fn find(engine: &Engine, name: &str, platform: Option<&Platform>) -> Result<Image> {
    let image = store::find(&engine.paths, name)?;
    let found = image.config.platform();
    match platform.filter(|wanted| **wanted != found) {
        Some(wanted) => {
            Err(not_found(format!("image {name} is for {found}, not for {wanted}")).into())
        }
        None => Ok(image),
    }
}

/// Tells which names have gone over from other images.
pub fn tell_displaced(context: &mut Context, displaced: &[Displaced]) -> Result<()> {
    for Displaced { name, id } in displaced {
        let text = format!(
            "The image {name} already exists, renaming the old one with ID {id} to empty string"
        );
        context.output.line(text)?;
    }
    Ok(())
}

/// How long ago, as in `2 weeks ago`.
fn ago(time: Option<Timestamp>) -> Option<String> {
    let time = time.filter(|time| time.as_second() != NEVER)?;
    let age = Timestamp::now().duration_since(time);
    Some(duration::ago(Duration::try_from(age).unwrap_or_default()))
}

/// Go's zero time where there is none.
fn never(time: Option<Timestamp>) -> Timestamp {
    time.unwrap_or_else(|| Timestamp::from_second(NEVER).unwrap_or_default())
}

/// The local time as Go prints it.
fn local(time: Option<Timestamp>) -> String {
    let zoned = never(time).to_zoned(TimeZone::system());
    zoned.strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string()
}
