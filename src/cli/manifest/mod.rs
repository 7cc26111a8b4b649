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
use crate::image::manifest_list::push::Push as ListPush;
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
        let wanted = self.manifests.iter();
        let wanted = wanted.map(|typed| Wanted::open(&engine, typed, &options));
        let wanted = wanted.collect::<Result<Vec<_>>>()?;
        // Who the caller is to registries is known by now; layers here are read by whoever owns them.
        if wanted.iter().any(|wanted| wanted.here.is_some()) {
            engine.enter_user_namespace()?;
        }
        let entries = wanted.iter().map(|wanted| wanted.entry(context, &engine));
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
struct Wanted {
    reference: Reference,
    /// `None`: it is to be one of here.
    registry: Option<Registry>,
    /// The image of that name.
    here: Option<Digest>,
}

impl Wanted {
    /// Nobody is asked yet.
    fn open(engine: &Engine, typed: &str, options: &Options) -> Result<Self> {
        if let Some(name) = typed.strip_prefix("store:") {
            let image = store::find(&engine.paths, name)?;
            let named = name.parse().map(Reference::or_latest);
            let named = named.ok().filter(|name| image.names.contains(name));
            // One without a name is called by its id.
            let reference = named.map_or_else(|| image.id.to_string().parse(), Ok)?;
            return Ok(Self {
                reference,
                registry: None,
                here: Some(image.id),
            });
        }
        let typed = typed.strip_prefix("docker://").unwrap_or(typed);
        let reference = typed.parse::<Reference>().map(Reference::or_latest)?;
        Ok(Self {
            registry: Some(Registry::open(&reference, typed, options)?),
            here: store::find(&engine.paths, &reference.canonical())
                .ok()
                .map(|image| image.id),
            reference,
        })
    }

    fn entry(&self, context: &mut Context, engine: &Engine) -> Result<Entry> {
        let Some(registry) = &self.registry else {
            return self.of_here(engine);
        };
        let error = match Entry::of(registry, &self.reference) {
            Err(error) => error,
            entry => return entry,
        };
        // Docker asks registries only; whoever means an image that never was in one need not push it first.
        let is_missing = matches!(error::kind(&error), Some(Kind::NotFound | Kind::Denied));
        if is_missing && self.here.is_some() {
            let name = &self.reference;
            context.output.warn(format_args!(
                "the image `{name}` of this machine is taken: {error:#}"
            ));
            return self.of_here(engine);
        }
        Err(match error::kind(&error) {
            Some(Kind::NotFound) => {
                error.context(format!("no such manifest: {}", self.reference.canonical()))
            }
            _ => error,
        })
    }

    fn of_here(&self, engine: &Engine) -> Result<Entry> {
        let image = self.here.as_ref();
        let id = image.ok_or_else(|| store::no_such_image(&self.reference.canonical()))?;
        let stored = Stored::open(&engine.paths, &id.to_string())?;
        let mut entry = Entry::of(&stored, &self.reference)?;
        entry.image = Some(id.clone());
        Ok(entry)
    }
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
        let of_store = list.entries.iter().any(|entry| entry.image.is_some());
        // Who the caller is to registries is found out before the namespace changes who he is here.
        let push = ListPush::prepare(list, &options)?;
        if of_store {
            engine.enter_user_namespace()?;
        }
        let open = |id: &Digest| -> Result<Box<dyn Source>> {
            Ok(Box::new(Stored::open(&engine.paths, &id.to_string())?))
        };
        let mut tell = |there: &Reference, digest: &Digest| {
            let there = there.canonical();
            context
                .output
                .line(format_args!("Pushed ref {there} with digest: {digest}"))
        };
        let digest = push.push(&open, &Silent, &mut tell)?;
        context.output.line(digest)?;
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
