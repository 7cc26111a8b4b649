//! `pull`: an image comes from a registry into the store, all of it or nothing that anybody sees.
//!
//! ```text
//! tag ─▶ digest ─▶ here already? ─▶ names
//!                  manifest ─▶ signed? ─▶ config ─▶ layers that are missing ─┬─▶ workers: download, a few at a time
//!                                          here: unpack one after the other ◀┘   while they come
//! ```
//!
//! Layers are unpacked in their order, since what an upper one looks like may depend on those below it.

use super::digest::Digest;
use super::download::{self, Download};
use super::intake::{Chain, Displaced, Expected, Intake, give_names};
use super::layer::Rules;
use super::manifest::Descriptor;
use super::origin::Blob;
use super::platform::Platform;
use super::reference::Reference;
use super::registry::{Repository, selection};
use super::shared;
use super::store::{self, Image, Names};
use super::trust::{Demands, Trust};
use crate::error::{self, Kind, not_found};
use crate::paths::{Paths, kept_blob_in};
use crate::progress::{Progress, Step};
use crate::store::lock::Lock;
use crate::store::{atomic, damage};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

/// Downloads at a time, as in Docker.
const PARALLEL: usize = 3;
/// What was not gone on with for that long is given up.
const FORGOTTEN: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a pull came to.
#[derive(Debug)]
pub struct Pulled {
    /// The image.
    pub id: Digest,
    /// The digest of what the name led to: a manifest or an index.
    pub digest: Digest,
    /// Whether the name leads to something else than before.
    pub newer: bool,
    /// Names that pointed to other images before.
    pub displaced: Vec<Displaced>,
}

/// What is to be brought in.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What it is called there; with a tag or a digest.
    pub name: &'a Reference,
    /// What it is to be called here, with a tag, where that is another name.
    pub called: Option<&'a Reference>,
    /// This machine's where none is said.
    pub platform: Option<&'a Platform>,
}

/// Brings an image in.
pub fn pull(
    paths: &Paths,
    rules: &Rules,
    repository: &Repository,
    request: &Request,
    trust: &Trust,
    progress: &dyn Progress,
) -> Result<Pulled> {
    let Request { name, platform, .. } = *request;
    let demands = trust.demands(&repository.target(name))?;
    // Only the registry has signatures, so it is asked even for what is here.
    if demands.is_empty()
        && let Some(pulled) = up_to_date(paths, repository, request)?
    {
        return Ok(pulled);
    }
    let here = request.called.unwrap_or(name);
    let before = store::find_here(paths, &here.canonical()).ok();
    let (digest, image) = choose(repository, name, platform, demands)?;
    let mut intake = Intake::new(paths, rules)?;
    let downloads = paths.downloads();
    std::fs::create_dir_all(&downloads)
        .with_context(|| format!("create `{}`", downloads.display()))?;
    let layers = Layers::plan(
        paths,
        &intake,
        &image.manifest.layers,
        &image.diff_ids,
        repository,
        progress,
    )?;
    let chain = layers.take_in(&mut intake)?;
    let names = names(request, &digest);
    let id = intake.image(&image.config, &chain, names)?;
    if let Some(origin) = image.origin {
        intake.came_by(&id, origin)?;
    }
    let displaced = intake.commit()?;
    for download in layers.downloads.values() {
        download.discard()?;
    }
    download::sweep(paths, FORGOTTEN)?;
    Ok(Pulled {
        newer: before.is_none_or(|image| image.id != id),
        id,
        digest,
        displaced,
    })
}

/// The image that the name leads to now, once its manifest has the signatures that are wanted, and the digest of what the
/// name led to. From here on everything is reached by digests.
fn choose(
    repository: &Repository,
    name: &Reference,
    platform: Option<&Platform>,
    mut demands: Demands,
) -> Result<(Digest, selection::Image)> {
    let top = repository.manifest(&name.digest_or_tag())?;
    let digest = top.descriptor.digest.clone();
    let host = Platform::host();
    let wanted = platform.unwrap_or(&host);
    let pull = || format!("pull `{name}`");
    demands.look(repository, &top)?;
    let chosen = selection::Chosen::of(repository, top, wanted).with_context(pull)?;
    if chosen.manifest.descriptor.digest != digest {
        demands.look(repository, &chosen.manifest)?;
    }
    demands.settle()?;
    let image = chosen.image(repository, wanted).with_context(pull)?;
    Ok((digest, image))
}

/// With a digest that and no tag, as Docker has it.
fn names(request: &Request, digest: &Digest) -> Vec<Reference> {
    let with_digest = request.name.with_digest(digest.clone());
    match (request.called, request.name.digest()) {
        // It was not asked for by the name that it has there.
        (Some(called), _) => vec![called.clone()],
        (None, Some(_)) => vec![with_digest],
        (None, None) => vec![request.name.clone(), with_digest],
    }
}

/// What is here under the very digest that the name leads to needs at most its name.
fn up_to_date(paths: &Paths, repository: &Repository, request: &Request) -> Result<Option<Pulled>> {
    let Request { name, platform, .. } = *request;
    let here = request.called.unwrap_or(name);
    // An image of another store becomes one of this store, though perhaps without any layer of its own.
    let find = |name: &Reference| store::find_here(paths, &name.canonical()).ok();
    let digest = match name.digest() {
        Some(digest) => digest.clone(),
        // Only whoever has pulled before asks first: it is one request more.
        None if find(here).is_none() => return Ok(None),
        None => match repository.digest_of(&name.digest_or_tag())? {
            Some(digest) => digest,
            None => return Ok(None),
        },
    };
    let fits = |image: &Image| {
        let is = image.config.platform();
        platform.map_or_else(
            || Platform::host().matches(&is),
            |wanted| wanted.rank(&is) == Some(0),
        )
    };
    let Some(image) = find(&name.with_digest(digest.clone())).filter(fits) else {
        return Ok(None);
    };
    if !image
        .layers
        .iter()
        .all(|layer| store::layer_is_complete(&paths.layer(layer)))
    {
        return Ok(None);
    }
    let before = find(here).map(|image| image.id);
    let newer = before.as_ref() != Some(&image.id);
    let mut displaced = Vec::new();
    if newer {
        let _lock = Lock::exclusive(&paths.lock())?;
        // It may have gone while we waited.
        if find(&name.with_digest(digest.clone())).is_none() {
            return Ok(None);
        }
        displaced = give_names(paths, &[(store::as_stored(here.clone()), image.id.clone())])?;
    }
    Ok(Some(Pulled {
        id: image.id,
        digest,
        newer,
        displaced,
    }))
}

/// Tags that lead to images which the same command has just brought: they are given all at once, since each time means
/// to wait for the disk, and a repository may have thousands.
#[derive(Debug, Default)]
pub struct Later {
    /// By what a tag may lead to.
    images: BTreeMap<Digest, Digest>,
    names: Vec<(Reference, Digest)>,
}

impl Later {
    /// The images that are known.
    pub fn images(&self) -> impl Iterator<Item = &Digest> {
        self.images.values()
    }

    /// What else may lead to it needs no pull of its own.
    pub fn know(&mut self, pulled: &Pulled) {
        self.images.insert(pulled.digest.clone(), pulled.id.clone());
    }

    /// Takes a name if it leads to an image that is known: gives what it leads to and the image. Not where the policy wants
    /// a signature, which may be for one name and not for the other.
    pub fn take(
        &mut self,
        repository: &Repository,
        name: &Reference,
        trust: &Trust,
    ) -> Result<Option<(Digest, Digest)>> {
        if self.images.is_empty() || !trust.demands(&repository.target(name))?.is_empty() {
            return Ok(None);
        }
        let Some(digest) = repository.digest_of(&name.digest_or_tag())? else {
            return Ok(None);
        };
        let Some(id) = self.images.get(&digest) else {
            return Ok(None);
        };
        self.names
            .push((store::as_stored(name.clone()), id.clone()));
        Ok(Some((digest, id.clone())))
    }

    /// Gives the names that were taken; whether one of them leads to something else than before.
    pub fn give(self, paths: &Paths) -> Result<bool> {
        if self.names.is_empty() {
            return Ok(false);
        }
        let _lock = Lock::exclusive(&paths.lock())?;
        let names = Names::read(paths)?;
        for (name, id) in &self.names {
            if !paths.image(id.hex()).exists() {
                return Err(not_found(format!("the image of {name} has just been removed")).into());
            }
        }
        let newer = self
            .names
            .iter()
            .any(|(name, id)| names.references.get(name).map(|record| &record.image) != Some(id));
        give_names(paths, &self.names)?;
        Ok(newer)
    }
}

/// The layers of an image, and what has to come for them.
struct Layers<'a> {
    paths: &'a Paths,
    repository: &'a Repository,
    progress: &'a dyn Progress,
    layers: &'a [Descriptor],
    diff_ids: &'a [Digest],
    /// The names that each layer may have in the store, and what it must be.
    keys: Vec<[String; 2]>,
    expected: Vec<Expected>,
    /// Whether its blob is to be kept.
    keeps: Vec<bool>,
    /// By digest, each once.
    downloads: BTreeMap<Digest, Download>,
    /// By place: those that lie in other stores, to be copied from there.
    copies: BTreeMap<usize, PathBuf>,
    /// In the order in which they are needed, with the place of the first layer that does.
    order: Vec<(Digest, usize)>,
}

impl<'a> Layers<'a> {
    fn plan(
        paths: &'a Paths,
        intake: &Intake,
        layers: &'a [Descriptor],
        diff_ids: &'a [Digest],
        repository: &'a Repository,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        let expected = |(layer, diff_id): (&Descriptor, &Digest)| Expected {
            diff_id: Some(diff_id.clone()),
            blob: Some((layer.digest.clone(), layer.size)),
            remembered: Some(Blob::new(layer, Some(repository.name()))),
        };
        let mut plan = Self {
            paths,
            repository,
            progress,
            layers,
            diff_ids,
            keys: Vec::new(),
            expected: layers.iter().zip(diff_ids).map(expected).collect(),
            keeps: Vec::new(),
            downloads: BTreeMap::new(),
            copies: BTreeMap::new(),
            order: Vec::new(),
        };
        let mut chain_id = None;
        for (index, (layer, diff_id)) in layers.iter().zip(diff_ids).enumerate() {
            let chain = super::config::chain_id(chain_id.as_ref(), diff_id);
            plan.keys
                .push([diff_id.hex().to_owned(), chain.hex().to_owned()]);
            plan.keeps.push(intake.keeps(&plan.expected[index]));
            let here = intake.pins(&plan.keys[index])?
                && !intake.wants_blob(&plan.keys[index], &plan.expected[index]);
            chain_id = Some(chain);
            let keys = plan.keys[index].each_ref().map(String::as_str);
            if here {
                progress.tell(layer.digest.short(), Step::AlreadyHere);
            } else if let Some(found) =
                shared::layer(paths, &keys, store::layer_is_complete).filter(|_| !plan.keeps[index])
            {
                progress.tell(layer.digest.short(), Step::AlreadyHere);
                plan.copies.insert(index, found.directory);
            } else if !plan.downloads.contains_key(&layer.digest) {
                progress.tell(layer.digest.short(), Step::Planned(layer.size));
                let download = Download::new(paths, &layer.digest, layer.size);
                plan.downloads.insert(layer.digest.clone(), download);
                plan.order.push((layer.digest.clone(), index));
            }
        }
        Ok(plan)
    }

    fn is_here(&self, index: usize) -> bool {
        let hex = self.layers[index].digest.hex();
        self.keys[index].iter().any(|key| {
            let directory = self.paths.layer(key);
            store::layer_is_whole(&directory)
                && (!self.keeps[index] || kept_blob_in(&directory, hex).exists())
        })
    }

    /// Downloads and unpacks; the first failure ends all of it.
    fn take_in(&self, intake: &mut Intake) -> Result<Chain> {
        let next = Mutex::new(self.order.iter());
        let work = || loop {
            let one = next
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .next();
            let Some((digest, index)) = one else {
                return;
            };
            // All are waited for, so each must come to an end, even where all is given up.
            self.downloads[digest].fill(self.repository, &|| self.is_here(*index), self.progress);
        };
        std::thread::scope(|scope| {
            for _ in 0..PARALLEL.min(self.order.len()) {
                scope.spawn(work);
            }
            let mut chain = Chain::default();
            for index in 0..self.layers.len() {
                if let Err(error) = self.layer(index, &mut chain, intake) {
                    self.repository.cancel();
                    return Err(error);
                }
            }
            Ok(chain)
        })
    }

    fn layer(&self, index: usize, chain: &mut Chain, intake: &mut Intake) -> Result<()> {
        let layer = &self.layers[index];
        let what = || {
            let (number, all) = (index + 1, self.layers.len());
            let place = self.repository.place();
            format!("layer {number} of {all} of {place} ({})", layer.digest)
        };
        let expected = &self.expected[index];
        if let Some(from) = self.copies.get(&index) {
            let copied = intake.copied(chain, &self.diff_ids[index], from);
            return match copied {
                // It has files that only others may read, or has just gone.
                Err(error) if !atomic::is_full(&error) => {
                    damage::note(format_args!("{} is downloaded", what()), &error);
                    self.fetch(index, chain, intake).with_context(what)
                }
                copied => copied.with_context(what),
            };
        }
        let Some(download) = self.downloads.get(&layer.digest) else {
            return intake
                .present(chain, &self.diff_ids[index], expected.remembered.as_ref())
                .with_context(what);
        };
        download.begun().with_context(what)?;
        let unpacked = intake.layer(chain, expected, || download.reader(self.progress));
        let unpacked = match unpacked {
            Err(error) => self.again(download, error, chain, intake, expected),
            unpacked => unpacked,
        };
        unpacked.map_err(|error| match error::hint(&error) {
            Some(error::NO_SPACE) => error.context(self.with_missing(&what())),
            _ => error.context(what()),
        })?;
        self.progress.tell(layer.digest.short(), Step::Done);
        Ok(())
    }

    /// How much there must be room for yet, at least: what has come is not come by again.
    fn with_missing(&self, what: &str) -> String {
        let left: u64 = self.downloads.values().map(Download::not_read).sum();
        format!("{what}, {left} bytes of the image not yet unpacked")
    }

    /// After a failure: the download's own is the cause of any other. What is damaged and was begun by somebody who was
    /// killed, or before a power cut, is fetched once more from its start.
    fn again(
        &self,
        download: &Download,
        error: anyhow::Error,
        chain: &mut Chain,
        intake: &mut Intake,
        expected: &Expected,
    ) -> Result<()> {
        if let Some(failure) = download.failure() {
            return Err(failure);
        }
        if error::kind(&error) != Some(Kind::BadInput) || !download.was_spoilt()? {
            return Err(error);
        }
        let fresh = Download::new(self.paths, download.digest(), download.size());
        self.download_and_unpack(&fresh, chain, intake, expected)
    }

    /// Downloads a layer that was not planned to be.
    fn fetch(&self, index: usize, chain: &mut Chain, intake: &mut Intake) -> Result<()> {
        let layer = &self.layers[index];
        let id = layer.digest.short();
        let download = Download::new(self.paths, &layer.digest, layer.size);
        self.progress.tell(id, Step::Planned(layer.size));
        self.download_and_unpack(&download, chain, intake, &self.expected[index])?;
        self.progress.tell(id, Step::Done);
        download.discard()
    }

    fn download_and_unpack(
        &self,
        download: &Download,
        chain: &mut Chain,
        intake: &mut Intake,
        expected: &Expected,
    ) -> Result<()> {
        let unpacked = std::thread::scope(|scope| {
            scope.spawn(|| download.fill(self.repository, &|| false, self.progress));
            download.begun()?;
            let unpacked = intake.layer(chain, expected, || download.reader(self.progress));
            if unpacked.is_err() {
                self.repository.cancel();
            }
            unpacked
        });
        match (unpacked, download.failure()) {
            (Err(_), Some(failure)) => Err(failure),
            (unpacked, _) => unpacked,
        }
    }
}
