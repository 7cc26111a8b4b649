//! What has been built goes where it was asked for: the store, registries, archives, directories.
//!
//! Invariant: whoever the caller is to registries is found out before the process becomes root of the store's user
//! namespace, and that happens only where something has to be written there.

use super::attest::Attestations;
use super::cache_output::CacheTarget;
use crate::build::keep;
use crate::build::order::{Built, Order, Outcome};
use crate::build::output::made::Made;
use crate::build::output::{Destination, Kind, Output, Place, files, provenance};
use crate::cli::output::archive;
use crate::cli::output::build::Progress;
use crate::container::engine::{Engine, GlobalOptions};
use crate::container::{event, root};
use crate::error::{Error, Kind as ErrorKind};
use crate::image::copy::layout::{Directory, NAME, WHOLE_NAME};
use crate::image::copy::packed::Packed;
use crate::image::copy::registry::Registry;
use crate::image::copy::stored::Stored;
use crate::image::copy::{Order as CopyOrder, copy};
use crate::image::digest::Digest;
use crate::image::manifest::Descriptor;
use crate::image::manifest_list::{self, Entry, ManifestList};
use crate::image::platform::Platform;
use crate::image::push::push;
use crate::image::reference::Reference;
use crate::image::registry::{Options, Repository};
use crate::image::store;
use crate::progress::Silent;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Registries that outputs go to, in their order, a list for each output.
pub struct Targets(Vec<Vec<Target>>);

struct Target {
    name: Reference,
    repository: Repository,
    /// Taken by the one output that it is for.
    registry: std::cell::Cell<Option<Registry>>,
}

impl Target {
    fn registry(&self, output: &Output, digest: &Digest) -> Result<Registry> {
        let registry = self.registry.take().context("open the registry")?;
        Ok(match output.by_digest {
            true => registry.by_digest(digest),
            false => registry,
        })
    }
}

impl Targets {
    /// Finds out where they are and who we are there; asks nobody yet.
    pub fn open(outputs: &[Output], options: &Options) -> Result<Self> {
        let target = |name: &Reference| {
            Ok(Target {
                repository: Repository::open_to_push(name, &name.to_string(), options)?,
                registry: std::cell::Cell::new(Some(Registry::open_to_push(
                    name,
                    &name.to_string(),
                    options,
                )?)),
                name: name.clone(),
            })
        };
        let all = outputs.iter().map(|output| {
            let pushed = output.names.iter().filter(|_| output.push);
            pushed.map(target).collect::<Result<Vec<_>>>()
        });
        Ok(Self(all.collect::<Result<_>>()?))
    }
}

/// What is to be written.
pub struct Request<'a> {
    /// What was built.
    pub order: &'a Order,
    /// What has come of it.
    pub outcome: &'a Outcome,
    /// Where it goes.
    pub outputs: &'a [Output],
    /// The registries among them.
    pub targets: &'a Targets,
    /// Where the cache goes.
    pub caches: &'a [CacheTarget],
    /// What is told of it.
    pub attestations: &'a Attestations,
}

/// What has become of it.
#[derive(Default)]
pub struct Written {
    /// The images in the store.
    pub kept: Vec<Digest>,
    /// What a name in a registry, or in a layout, leads to.
    pub descriptor: Option<Descriptor>,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// The store, as this process reaches it now.
    pub engine: Option<Engine>,
}

/// Writes it all.
pub fn write(
    engine: Engine,
    options: &GlobalOptions,
    request: &Request<'_>,
    progress: &mut Progress<'_>,
) -> Result<Written> {
    let engine = match request.is_known(&engine) || !engine.mapping.needs_user_namespace() {
        true => engine,
        false => {
            if !request.outcome.entered {
                root::enter(&engine)?;
            }
            Engine::open(options)?
        }
    };
    let mut writing = Writing {
        engine: &engine,
        request,
        written: Written::default(),
    };
    for (output, targets) in request.outputs.iter().zip(&request.targets.0) {
        writing.output(output, targets, progress)?;
    }
    let mut written = writing.written;
    for target in request.caches {
        let warning = target.write(&engine, &request.outcome.steps, progress)?;
        written.warnings.extend(warning);
    }
    written.engine = Some(engine);
    Ok(written)
}

impl Request<'_> {
    /// Whether all that is wanted is names for images that are in the store.
    fn is_known(&self, engine: &Engine) -> bool {
        let is_here = |built: &Built| {
            let found = store::find(&engine.paths, &built.id().to_string());
            found.is_ok_and(|image| image.store.is_none())
        };
        let is_simple = |output: &Output| output.kind == Kind::Image && !output.push;
        self.caches.is_empty()
            && self.outputs.iter().all(is_simple)
            && self.outcome.images.len() == 1
            && self.outcome.images.iter().all(is_here)
    }

    /// How each image was made, if that is told.
    pub fn provenance(&self) -> Vec<(String, Value)> {
        let Some(detail) = self.attestations.provenance else {
            return Vec::new();
        };
        let images = self.outcome.images.iter();
        images
            .map(|built| {
                let predicate = provenance::predicate(self.order, built, detail);
                (provenance::PREDICATE.to_owned(), predicate)
            })
            .collect()
    }
}

struct Writing<'a> {
    engine: &'a Engine,
    request: &'a Request<'a>,
    written: Written,
}

impl Writing<'_> {
    fn output(
        &mut self,
        output: &Output,
        targets: &[Target],
        progress: &mut Progress<'_>,
    ) -> Result<()> {
        match output.kind {
            Kind::Image => self.image(output, targets, progress),
            Kind::Docker | Kind::Oci => self.archive(output, progress),
            Kind::Tar | Kind::Local => self.files(output, progress),
        }
    }

    fn image(
        &mut self,
        output: &Output,
        targets: &[Target],
        progress: &mut Progress<'_>,
    ) -> Result<()> {
        if output.store {
            progress.step("exporting to image", |tell| self.keep(output, tell))?;
        }
        if targets.is_empty() {
            return Ok(());
        }
        let places: Vec<String> = targets
            .iter()
            .map(|target| target.name.canonical())
            .collect();
        progress.step(&format!("pushing {}", places.join(" ")), |tell| {
            self.push(output, targets, tell)
        })
    }

    /// Into the store.
    fn keep(&mut self, output: &Output, tell: &mut dyn FnMut(&str)) -> Result<()> {
        let images = &self.request.outcome.images;
        let host = Platform::host();
        let chosen = images
            .iter()
            .position(|built| host.matches(&built.platform));
        let chosen = chosen.unwrap_or(0);
        for (index, built) in images.iter().enumerate() {
            let names = if index == chosen {
                &output.names[..]
            } else {
                &[]
            };
            let (id, _) = keep::keep(self.engine, built, names)?;
            event::image(self.engine, &id, &id.to_string(), "build");
            tell(&format!("writing image {id}"));
            self.written.kept.push(id);
        }
        // What a build has come to is known by the image of this machine.
        if chosen < self.written.kept.len() {
            self.written.kept.swap(0, chosen);
        }
        for name in &output.names {
            tell(&format!("naming to {}", name.canonical()));
            if images.len() > 1 {
                self.list(name)
                    .with_context(|| format!("make the list {name}"))?;
            }
        }
        if !output.annotations.is_empty() && !output.push {
            let message = "annotations are in what goes elsewhere, not in the store";
            self.written.warnings.push(message.to_owned());
        }
        Ok(())
    }

    /// A list for all platforms, which `manifest push` takes.
    fn list(&self, name: &Reference) -> Result<()> {
        let paths = &self.engine.paths;
        let mut list = ManifestList::new(name.clone());
        for built in &self.request.outcome.images {
            let stored = Stored::open(paths, &built.id().to_string())?;
            let mut entry = Entry::of(&stored, name)?;
            let digest = entry.descriptor.digest.clone();
            entry.reference = name.with_digest(digest).canonical();
            entry.image = Some(built.id());
            list.add(entry);
        }
        let _lock = manifest_list::lock(paths)?;
        list.write(paths)
    }

    fn push(
        &mut self,
        output: &Output,
        targets: &[Target],
        tell: &mut dyn FnMut(&str),
    ) -> Result<()> {
        let provenance = self.request.provenance();
        let is_usual = output.store
            && self.request.outcome.images.len() == 1
            && output.packing == crate::build::output::blob::Packing::default()
            && !output.docker_types
            && !output.by_digest
            && output.annotations.is_empty()
            && provenance.is_empty();
        if is_usual {
            let id = self.request.outcome.images[0].id();
            for target in targets {
                let tag = target.name.tag().unwrap_or("latest");
                let pushed = push(&self.engine.paths, &target.repository, &id, tag, &Silent)?;
                tell(&format!(
                    "pushing manifest for {}@{}",
                    target.name.canonical(),
                    pushed.digest
                ));
                event::image(self.engine, &id, &target.name.to_string(), "push");
                self.written.descriptor = Some(Descriptor {
                    digest: pushed.digest,
                    size: pushed.size,
                    ..Descriptor::of(crate::image::manifest::OCI_MANIFEST, b"")
                });
            }
            return Ok(());
        }
        let made = Made::new(
            &self.engine.paths,
            self.request.outcome,
            output,
            &provenance,
        )?;
        let digest = made.descriptor().digest.clone();
        for target in targets {
            copy(&made, &target.registry(output, &digest)?, &all(), &Silent)?;
            tell(&format!(
                "pushing manifest for {}@{digest}",
                target.name.canonical()
            ));
        }
        self.written.descriptor = Some(made.descriptor().clone());
        Ok(())
    }

    fn archive(&mut self, output: &Output, progress: &mut Progress<'_>) -> Result<()> {
        let what = match output.kind {
            Kind::Docker => "exporting to docker image format",
            _ => "exporting to oci image format",
        };
        progress.step(what, |tell| {
            if output.kind == Kind::Docker && self.request.outcome.images.len() > 1 {
                let message = "docker exporter does not currently support exporting manifest lists";
                return Err(Error::new(ErrorKind::BadInput, message)
                    .hint("type=oci holds all platforms")
                    .into());
            }
            // Docker's readers know no index in such an archive.
            let provenance = match output.kind {
                Kind::Docker => Vec::new(),
                _ => self.request.provenance(),
            };
            tell("exporting layers");
            let made = Made::new(
                &self.engine.paths,
                self.request.outcome,
                output,
                &provenance,
            )?;
            tell(&format!("exporting manifest {}", made.descriptor().digest));
            match &output.destination {
                Some(Destination::Path(path)) if !output.archive => {
                    layout(&made, output, path)?;
                }
                Some(Destination::Path(path)) => {
                    archive::write_shared(Some(path), |out| packed(&made, output, out))?;
                }
                _ => archive::write_shared(None, |out| packed(&made, output, out))?,
            }
            self.written.descriptor = Some(made.descriptor().clone());
            Ok(())
        })
    }

    fn files(&mut self, output: &Output, progress: &mut Progress<'_>) -> Result<()> {
        let images = &self.request.outcome.images;
        let split = output.platform_split.unwrap_or(images.len() > 1);
        let named: Vec<(String, &Built)> = images
            .iter()
            .map(|built| {
                let name = built.platform.to_string().replace('/', "_");
                (if split { name } else { String::new() }, built)
            })
            .collect();
        progress.step("exporting to client", |tell| {
            let warnings = match (&output.destination, output.kind) {
                (Some(Destination::Path(path)), Kind::Local) => {
                    tell("copying files");
                    let warnings = files::directory(self.engine, &named, path)?;
                    self.statements(&named, path)?;
                    warnings
                }
                (destination, _) => {
                    tell("sending tarball");
                    let path = match destination {
                        Some(Destination::Path(path)) => Some(path.as_path()),
                        _ => None,
                    };
                    let mut warnings = Vec::new();
                    archive::write_shared(path, |out| {
                        warnings = files::archive(self.engine, &named, out)?;
                        Ok(())
                    })?;
                    warnings
                }
            };
            self.written.warnings.extend(warnings);
            Ok(())
        })
    }

    /// `provenance.json` beside the files.
    fn statements(&self, named: &[(String, &Built)], path: &Path) -> Result<()> {
        for ((name, built), (kind, predicate)) in named.iter().zip(self.request.provenance()) {
            let statement =
                crate::build::output::made::statement(&built.id(), &[], &kind, &predicate);
            let bytes = serde_json::to_vec_pretty(&statement)?;
            files::write(path, name, "provenance.json", &bytes)?;
        }
        Ok(())
    }
}

/// All platforms.
pub fn all() -> CopyOrder {
    CopyOrder {
        all: true,
        ..CopyOrder::default()
    }
}

/// What an image is called in a layout, for each name, or once without one.
fn called(output: &Output) -> Vec<BTreeMap<String, String>> {
    let own = output.annotations(Place::IndexDescriptor, None);
    let name = |name: &Reference| {
        let mut annotations = own.clone();
        annotations.insert(WHOLE_NAME.to_owned(), name.canonical());
        let tag = name.tag().unwrap_or_default().to_owned();
        annotations.insert(NAME.to_owned(), tag);
        annotations
    };
    match &output.names[..] {
        [] => vec![own],
        names => names.iter().map(name).collect(),
    }
}

fn packed(made: &Made, output: &Output, out: &mut (dyn std::io::Write + Send)) -> Result<()> {
    let docker = (output.kind == Kind::Docker)
        .then(|| output.names.iter().map(Reference::to_string).collect());
    let mut called = called(output).into_iter();
    let mut target = Packed::new(out, called.next().unwrap_or_default(), docker)?;
    called.for_each(|annotations| target.also(annotations));
    copy(made, &target, &all(), &Silent)?;
    target.finish()
}

fn layout(made: &Made, output: &Output, path: &Path) -> Result<()> {
    for annotations in called(output) {
        let target = Directory::open(path.to_owned(), annotations)?;
        copy(made, &target, &all(), &Silent)?;
    }
    Ok(())
}
