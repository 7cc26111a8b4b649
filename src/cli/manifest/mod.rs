//! Commands on lists of manifests: they are put together here and pushed under one name.

pub mod inspect;

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::image::registry::RegistryFlags;
use crate::container::engine::Engine;
use crate::error::{self, Kind};
use crate::image::copy::Source;
use crate::image::copy::registry::Registry;
use crate::image::copy::stored::Stored;
use crate::image::digest::Digest;
use crate::image::manifest_list::push::push;
use crate::image::manifest_list::{self, Annotation, Entry, ManifestList};
use crate::image::reference::Reference;
use crate::image::registry::Options;
use crate::image::store;
use crate::progress::Silent;
use anyhow::{Context as _, Result};

/// A name with its tag; `what` it is for, in Docker's words.
fn parse(text: &str, what: &str) -> Result<Reference> {
    let name = text.parse::<Reference>().map(Reference::or_latest);
    name.with_context(|| format!("error parsing name for {what} {text}"))
}

/// The name by which a manifest was added to a list, however its place was spelled.
fn parse_manifest(text: &str) -> Result<Reference> {
    let bare = text
        .strip_prefix("docker://")
        .or(text.strip_prefix("store:"));
    parse(bare.unwrap_or(text), "manifest")
}

fn options(flags: RegistryFlags, insecure: bool, context: &Context) -> Result<Options> {
    let mut options = flags.options(context)?;
    if insecure {
        options.tls_verify = Some(false);
    }
    Ok(options)
}

/// Options of `manifest create`.
#[derive(clap::Args)]
pub struct Create {
    /// Add to a list that is there already
    #[arg(short, long)]
    amend: bool,
    /// Speak to registries without TLS, or whatever their certificates
    #[arg(long)]
    insecure: bool,
    #[command(flatten)]
    registry: RegistryFlags,
    list: String,
    #[arg(required = true)]
    manifests: Vec<String>,
}

impl Verb for Create {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let name = parse(&self.list, "manifest list")?;
        let options = options(self.registry, self.insecure, context)?;
        let engine = context.engine()?;
        let refuse = |list: &Option<ManifestList>| match list.is_some() && !self.amend {
            true => Err(manifest_list::refuse_to_amend()),
            false => Ok(()),
        };
        // Before anything is fetched, and again once nobody else can make it.
        refuse(&ManifestList::find(&engine.paths, &name)?)?;
        let entries = self.manifests.iter();
        let entries = entries.map(|typed| entry(context, &engine, typed, &options));
        let entries = entries.collect::<Result<Vec<_>>>()?;
        let _lock = manifest_list::lock(&engine.paths)?;
        let found = ManifestList::find(&engine.paths, &name)?;
        refuse(&found)?;
        let mut list = found.unwrap_or_else(|| ManifestList::new(name.clone()));
        entries.into_iter().for_each(|entry| list.add(entry));
        list.write(&engine.paths)?;
        context
            .output
            .line(format_args!("Created manifest list {}", name.canonical()))?;
        Ok(0)
    }
}

/// A manifest to add: that of a registry, or else that of an image here.
fn entry(context: &mut Context, engine: &Engine, typed: &str, options: &Options) -> Result<Entry> {
    if let Some(image) = typed.strip_prefix("store:") {
        return of_store(engine, image);
    }
    let name = typed.strip_prefix("docker://").unwrap_or(typed);
    let reference = name.parse::<Reference>().map(Reference::or_latest)?;
    let fetched = Registry::open(&reference, name, options)
        .and_then(|registry| Entry::of(&registry, &reference));
    let Err(error) = fetched else {
        return fetched;
    };
    // Docker asks registries only; whoever means an image that never was in one is not told to push it first.
    let is_missing = matches!(error::kind(&error), Some(Kind::NotFound | Kind::Denied));
    if is_missing && store::find(&engine.paths, &reference.canonical()).is_ok() {
        context.output.warn(format_args!(
            "the image `{reference}` of this machine is taken: {error:#}"
        ));
        return of_store(engine, &reference.canonical());
    }
    match error::kind(&error) {
        Some(Kind::NotFound) => {
            Err(error.context(format!("no such manifest: {}", reference.canonical())))
        }
        _ => Err(error),
    }
}

fn of_store(engine: &Engine, name: &str) -> Result<Entry> {
    let image = store::find(&engine.paths, name)?;
    let stored = Stored::open(&engine.paths, &image.id.to_string())?;
    let reference = match name.parse::<Reference>() {
        Ok(reference) if image.names.contains(&reference.clone().or_latest()) => {
            reference.or_latest()
        }
        // One without a name is called by its id.
        _ => format!("sha256:{}", image.id.hex()).parse()?,
    };
    let mut entry = Entry::of(&stored, &reference)?;
    entry.image = Some(image.id);
    Ok(entry)
}

/// Options of `manifest annotate`.
#[derive(clap::Args)]
pub struct Annotate {
    /// Set the architecture
    #[arg(long, default_value = "")]
    arch: String,
    /// Set the operating system
    #[arg(long, default_value = "")]
    os: String,
    /// Add features of the operating system
    #[arg(long, value_delimiter = ',')]
    os_features: Vec<String>,
    /// Set the version of the operating system
    #[arg(long, default_value = "")]
    os_version: String,
    /// Set the variant of the architecture
    #[arg(long, default_value = "")]
    variant: String,
    list: String,
    manifest: String,
}

impl Verb for Annotate {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let name = parse(&self.list, "manifest list")?;
        let manifest = parse_manifest(&self.manifest)?;
        let paths = context.engine()?.paths;
        let _lock = manifest_list::lock(&paths)?;
        let mut list =
            ManifestList::find(&paths, &name)?.unwrap_or_else(|| ManifestList::new(name.clone()));
        let annotation = Annotation {
            architecture: self.arch,
            os: self.os,
            os_features: self.os_features,
            os_version: self.os_version,
            variant: self.variant,
        };
        list.entry_mut(&manifest)?.annotate(&annotation)?;
        list.write(&paths)?;
        Ok(0)
    }
}

/// Options of `manifest push`.
#[derive(clap::Args)]
pub struct Push {
    /// Speak to registries without TLS, or whatever their certificates
    #[arg(long)]
    insecure: bool,
    /// Remove the list here after it was pushed
    #[arg(short, long)]
    purge: bool,
    #[command(flatten)]
    registry: RegistryFlags,
    list: String,
}

impl Verb for Push {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let name = parse(&self.list, "manifest list")?;
        let options = options(self.registry, self.insecure, context)?;
        let engine = context.engine()?;
        let list = ManifestList::find(&engine.paths, &name)?
            .ok_or_else(|| manifest_list::no_such(&name))?;
        if list.entries.iter().any(|entry| entry.image.is_some()) {
            engine.enter_user_namespace()?;
        }
        let open = |id: &Digest| -> Result<Box<dyn Source>> {
            Ok(Box::new(Stored::open(&engine.paths, &id.to_string())?))
        };
        let mut pushed = Vec::new();
        let mut tell = |there: &Reference| {
            pushed.push(there.clone());
            Ok(())
        };
        let digest = push(&list, &options, &open, &Silent, &mut tell);
        for there in pushed {
            if let Some(digest) = there.digest() {
                let there = there.canonical();
                context
                    .output
                    .line(format_args!("Pushed ref {there} with digest: {digest}"))?;
            }
        }
        context.output.line(digest?)?;
        if self.purge {
            let _lock = manifest_list::lock(&engine.paths)?;
            manifest_list::remove(&engine.paths, &name)?;
        }
        Ok(0)
    }
}

/// Options of `manifest rm`.
#[derive(clap::Args)]
pub struct Rm {
    #[arg(required = true)]
    lists: Vec<String>,
}

impl Verb for Rm {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let paths = context.engine()?.paths;
        let _lock = manifest_list::lock(&paths)?;
        let mut failed = false;
        for text in &self.lists {
            let removed =
                parse(text, "manifest list").and_then(|name| manifest_list::remove(&paths, &name));
            if let Err(error) = removed {
                failed = true;
                context.output.error(&error);
            }
        }
        Ok(u8::from(failed))
    }
}
