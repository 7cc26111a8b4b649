//! `push`: images go out to registries.

use super::registry::{RegistryFlags, complete};
use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::output::progress::Bars;
use crate::container::engine::Engine;
use crate::container::event;
use crate::error::{Kind, bad_input, kind, not_found};
use crate::image::platform::Platform;
use crate::image::push::{Pushed, push};
use crate::image::reference::Reference;
use crate::image::registry::Repository;
use crate::image::store::{self, Image};
use crate::progress::{Progress, Silent};
use anyhow::Result;

/// Options of `push`.
#[derive(clap::Args)]
pub struct Push {
    /// Push all tags of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Refuse an image that is not for this platform ("os/arch[/variant]")
    #[arg(long)]
    platform: Option<Platform>,
    /// Print the name only
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    registry: RegistryFlags,
    name: String,
}

impl Verb for Push {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let (name, bare) = complete(&self.name)?;
        if self.all_tags && !bare {
            return Err(bad_input("tag can't be used with --all-tags/-a").into());
        }
        if name.digest().is_some() {
            return Err(bad_input("cannot push a digest reference")
                .hint("name a tag: the digest follows from the image")
                .into());
        }
        let engine = context.engine()?;
        let images = match self.all_tags {
            true => all_tags(&engine, &name)?,
            false => vec![(name.clone(), find(&engine, &name)?)],
        };
        for (name, image) in &images {
            refuse_foreign(name, image, self.platform.as_ref())?;
        }
        let options = self.registry.options(context)?;
        // Who the caller is to registries is found out before the namespace changes who he is here.
        let repository = Repository::open_to_push(&name, &self.name, &options)?;
        engine.enter_user_namespace()?;
        if !self.quiet {
            if bare && !self.all_tags {
                context.output.line("Using default tag: latest")?;
            }
            context.output.line(format_args!(
                "The push refers to repository [{}/{}]",
                name.domain(),
                name.path()
            ))?;
        }
        for (name, image) in &images {
            let tag = name.tag().unwrap_or_default();
            let bars = (!self.quiet).then(Bars::new);
            let progress: &dyn Progress = match &bars {
                Some(bars) => bars,
                None => &Silent,
            };
            let pushed = push(&engine.paths, &repository, &image.id, tag, progress);
            bars.iter().for_each(Bars::finish);
            let pushed = pushed?;
            event::image(&engine, &image.id, &name.to_string(), "push");
            match self.quiet {
                true => context.output.line(name.canonical())?,
                false => tell(context, tag, &pushed)?,
            }
        }
        Ok(0)
    }
}

fn tell(context: &mut Context, tag: &str, pushed: &Pushed) -> Result<()> {
    let Pushed {
        digest,
        size,
        changed,
    } = pushed;
    context
        .output
        .line(format_args!("{tag}: digest: {digest} size: {size}"))?;
    if !changed.is_empty() {
        let changed = changed
            .iter()
            .map(|(before, after)| format!("{} is now {}", before.short(), after.short()));
        context.output.progress(format_args!(
            "packed anew, since the originals were not kept: {} (the setting storage.keep-blobs keeps those of what is \
             pulled from then on)",
            changed.collect::<Vec<_>>().join(", ")
        ));
    }
    Ok(())
}

/// The image of exactly that name, in Docker's words where there is none.
fn find(engine: &Engine, name: &Reference) -> Result<Image> {
    store::find(&engine.paths, &name.canonical()).map_err(|error| match kind(&error) {
        Some(Kind::NotFound) => none(name),
        _ => error,
    })
}

fn all_tags(engine: &Engine, name: &Reference) -> Result<Vec<(Reference, Image)>> {
    let mut found = Vec::new();
    for image in store::list(&engine.paths)? {
        let tags = image.tags().filter(|tag| tag.same_repository(name));
        found.extend(tags.map(|tag| (tag.clone(), image.clone())));
    }
    found.sort_by_key(|(name, _)| name.to_string());
    match found.is_empty() {
        true => Err(none(name)),
        false => Ok(found),
    }
}

fn none(name: &Reference) -> anyhow::Error {
    let repository = name.repository();
    let message = format!("An image does not exist locally with the tag: {repository}");
    not_found(message)
        .hint(
            "`onggi images` lists what is here, `onggi tag` gives an image the name of a registry",
        )
        .into()
}

fn refuse_foreign(name: &Reference, image: &Image, platform: Option<&Platform>) -> Result<()> {
    let found = image.config.platform();
    match platform.filter(|wanted| !wanted.matches(&found)) {
        Some(wanted) => {
            let message = format!("image {name} is for {found}, not for {wanted}");
            Err(not_found(message).into())
        }
        None => Ok(()),
    }
}
