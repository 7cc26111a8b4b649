//! `image inspect`: all that is known of images, here or elsewhere, as JSON.

use super::registry::RegistryFlags;
use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::output::inspect::render_inspect;
use crate::container::engine::Engine;
use crate::error::{self, Kind};
use crate::image::copy::location::Location;
use crate::image::copy::open::Opening;
use crate::image::inspect::{inspect, inspect_elsewhere};
use crate::image::platform::Platform;
use crate::image::registry::Options;
use anyhow::{Context as _, Result};
use serde_json::Value;

/// What the manual says beside the options.
pub const MANUAL: &str = r#".SH IMAGES ELSEWHERE
.BI docker:// NAME\fR,
and any name with
.BR \-\-remote ,
is looked at in its registry, and
.BR oci: ", " oci\-archive: ", " docker\-archive:
in files, as
.BR onggi\-image\-copy (1)
has them; nothing is pulled or loaded. Of an index the image for this machine is shown, or the one for
.BR \-\-platform .
The fields are the same as those of an image that is here, but
.B Size
is that of its compressed layers,
.B GraphDriver
leads nowhere, and
.B Descriptor
is that of its manifest.
"#;

/// Options of `image inspect`.
#[derive(clap::Args)]
pub struct InspectImage {
    /// Print by a Go template, or "json" for one line
    #[arg(short, long)]
    format: Option<String>,
    /// Expect images for this platform ("os/arch[/variant]"), or choose it of what is elsewhere
    #[arg(long)]
    platform: Option<Platform>,
    /// Ask the registries that the names lead to, and pull nothing (as with "docker://NAME")
    #[arg(long)]
    remote: bool,
    #[command(flatten)]
    registry: RegistryFlags,
    #[arg(required = true)]
    images: Vec<String>,
}

impl Verb for InspectImage {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let engine = context.engine()?;
        let images = self.images.iter();
        let places: Vec<Option<Location>> = images
            .map(|typed| place(&engine, typed, self.remote))
            .collect::<Result<_>>()?;
        let options = match places.iter().any(Option::is_some) {
            true => Some(self.registry.options(context)?),
            false => None,
        };
        let platform = self.platform.as_ref();
        let mut found = Vec::new();
        let mut errors = Vec::new();
        for (typed, place) in self.images.iter().zip(&places) {
            let value = match (place, &options) {
                (Some(place), Some(options)) => elsewhere(&engine, place, options, platform)
                    .with_context(|| format!("inspect `{typed}`")),
                _ => super::find(&engine, typed, platform)
                    .and_then(|image| inspect(&engine.paths, &image)),
            };
            match value {
                Ok(value) => found.push(value),
                Err(error) => errors.push(error),
            }
        }
        render_inspect(&mut context.output, self.format.as_deref(), &found)?;
        errors.iter().for_each(|error| context.output.error(error));
        Ok(u8::from(!errors.is_empty()))
    }
}

/// Where an image is that is not meant to be here. `oci:v1` is a name, too, and what is here has it.
fn place(engine: &Engine, typed: &str, remote: bool) -> Result<Option<Location>> {
    if remote {
        let typed = typed.strip_prefix("docker://").unwrap_or(typed);
        return format!("docker://{typed}")
            .parse()
            .map(Some)
            .map_err(Into::into);
    }
    let elsewhere = ["docker://", "oci:", "oci-archive:", "docker-archive:"];
    if !elsewhere
        .iter()
        .any(|beginning| typed.starts_with(beginning))
    {
        return Ok(None);
    }
    match crate::image::store::find(&engine.paths, typed) {
        Ok(_) => Ok(None),
        Err(error) if matches!(error::kind(&error), Some(Kind::NotFound | Kind::BadInput)) => {
            Ok(Some(typed.parse()?))
        }
        Err(error) => Err(error),
    }
}

fn elsewhere(
    engine: &Engine,
    place: &Location,
    registries: &Options,
    platform: Option<&Platform>,
) -> Result<Value> {
    let opening = Opening {
        paths: &engine.paths,
        max_bytes: engine.layer_rules()?.max_bytes,
        registries,
    };
    inspect_elsewhere(&*opening.source(place)?, platform)
}
