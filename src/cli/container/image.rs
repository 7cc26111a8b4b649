//! The image of a new container: one that is here, or the built-in `hello`.

use crate::cli::unsupported;
use crate::cli::value::Pull;
use crate::container::engine::Engine;
use crate::error::{self, Error, Kind, bad_input};
use crate::image::platform::Platform;
use crate::image::reference::Reference;
use crate::image::store::{self, Image};
use anyhow::Result;

/// Finds the image, or tells why it cannot be had.
pub fn obtain(engine: &Engine, name: &str, platform: Option<&str>, pull: Pull) -> Result<Image> {
    if pull == Pull::Always {
        return Err(
            unsupported::not_yet("--pull always", "there is no access to registries").into(),
        );
    }
    let wanted = platform.map(str::parse::<Platform>).transpose()?;
    let image = match store::find(&engine.paths, name) {
        Err(error) if error::kind(&error) == Some(Kind::NotFound) => {
            return Err(missing(name, pull).into());
        }
        found => found?,
    };
    let is = image.config.platform();
    match wanted {
        Some(wanted) if !wanted.matches(&is) => {
            let message = format!("image {name} is for {is}, not for {wanted}");
            Err(bad_input(message)
                .hint("load it for that platform: `onggi load --platform`")
                .into())
        }
        _ => Ok(image),
    }
}

/// Docker's words, and what to do as long as images cannot be fetched.
fn missing(name: &str, pull: Pull) -> Error {
    let shown = name
        .parse::<Reference>()
        .map_or_else(|_| name.to_owned(), |name| name.or_latest().to_string());
    let message = match pull {
        Pull::Never => format!("No such image: {shown}"),
        _ => format!(
            "Unable to find image '{shown}' locally, and there is no access to registries yet"
        ),
    };
    error::not_found(message)
        .hint("bring it in with `onggi load` or `onggi import`; `onggi images` lists what is here")
}
