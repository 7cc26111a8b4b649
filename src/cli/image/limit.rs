//! The setting `storage.max-size`, after images have come in.

use crate::cli::Context;
use crate::cli::output::size;
use crate::container::engine::Engine;
use crate::container::{event, list};
use crate::image::digest::Digest;
use crate::image::limit::{Limited, limit};
use crate::image::store::Image;
use crate::settings::Settings;
use anyhow::Result;

/// Removes images that were not used for longest if there are too many, and tells it in one line. `new`: those that have
/// just come, which is done whatever becomes of this.
pub fn enforce(context: &mut Context, engine: &Engine, new: &[Digest]) -> Result<()> {
    let Some(max) = Settings::load()?.storage_max_size else {
        return Ok(());
    };
    let users = |image: &Digest| list::users(engine, image);
    let limited = match limit(&engine.paths, max, new, &users) {
        Ok(limited) => limited,
        Err(error) => {
            context
                .output
                .warn(format_args!("storage.max-size: {error:#}"));
            return Ok(());
        }
    };
    event::removal(engine, &limited.removal);
    for error in &limited.removal.failures {
        context.output.warn(format_args!("{error:#}"));
    }
    if !limited.images.is_empty() {
        context.output.progress(removed(&limited, max));
    }
    if limited.after > max {
        context.output.warn(format_args!(
            "images take {}, more than storage.max-size ({}): what is left is in use or has just come",
            size::decimal(limited.after),
            size::decimal(max)
        ));
    }
    Ok(())
}

fn removed(limited: &Limited, max: u64) -> String {
    let name = |image: &Image| {
        let tags: Vec<String> = image.tags().map(ToString::to_string).collect();
        match tags.is_empty() {
            true => image.id.short().to_owned(),
            false => tags.join(", "),
        }
    };
    let names: Vec<String> = limited.images.iter().map(name).collect();
    format!(
        "removed what was not used for longest, {}, for storage.max-size ({}): {}",
        size::decimal(limited.before.saturating_sub(limited.after)),
        size::decimal(max),
        names.join(", ")
    )
}
