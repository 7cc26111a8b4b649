//! An image in the store, to copy from or to. It goes out under the manifest that it came by, as far as its layers can be
//! given byte for byte as they were; what comes in has one platform.

use super::{Order, Source, Stream, choose, small_blob};
use crate::error::{bad_input, not_found};
use crate::image::digest::Digest;
use crate::image::intake::{Chain, Displaced, Expected, Intake};
use crate::image::layer::Rules;
use crate::image::manifest::{Descriptor, Document, Manifest};
use crate::image::origin::{self, Blob, Origin};
use crate::image::package::{Otherwise, Package};
use crate::image::platform::Platform;
use crate::image::push::pinned;
use crate::image::reference::Reference;
use crate::image::registry::{Fetched, selection};
use crate::image::store;
use crate::paths::Paths;
use crate::progress::{Progress, Step};
use crate::store::staging::Staging;
use anyhow::{Context, Result};

/// An image of the store.
pub struct Stored {
    package: Package,
    manifest: Fetched,
    name: Option<Reference>,
    repacked: Vec<Digest>,
    /// As long as it is there, none of the layers goes.
    _staging: Staging,
}

impl Stored {
    /// The image of that name or id. Layers whose original bytes cannot be repeated are packed anew.
    pub fn open(paths: &Paths, name: &str) -> Result<Self> {
        let image = store::find(paths, name)?;
        let staging = Staging::new(&paths.staging())?;
        let package = pinned(paths, &image.id, &staging)?;
        let described = package
            .describe(paths, Otherwise::Packed)
            .with_context(|| format!("read the image `{name}`"))?;
        let bytes = described.manifest.text.clone().into_bytes();
        let descriptor = Descriptor::of(&described.manifest.media_type, &bytes);
        let asked = name.parse::<Reference>().ok().map(Reference::or_latest);
        let first = package.origins.first();
        let before = first.and_then(|origin| package.original_layers(origin));
        let repacked = before.into_iter().flatten().zip(&described.layers);
        let repacked = repacked.filter(|(before, now)| before.digest != now.digest);
        let repacked = repacked.map(|(before, _)| before.digest).collect();
        Ok(Self {
            repacked,
            manifest: Fetched {
                document: Document::parse(&descriptor, &bytes)?,
                descriptor,
                bytes,
            },
            name: asked.filter(|asked| image.names.contains(asked)),
            package,
            _staging: staging,
        })
    }
}

impl Source for Stored {
    fn top(&self) -> Result<Fetched> {
        Ok(self.manifest.clone())
    }

    fn document(&self, descriptor: &Descriptor) -> Result<Fetched> {
        Err(not_found(format!("{} is not in the store", descriptor.digest)).into())
    }

    fn blob(&self, blob: &Descriptor) -> Result<Stream<'_>> {
        if blob.digest == self.package.id {
            return Ok(Box::new(self.package.config.as_slice()));
        }
        let layer = self.package.layer_of(&blob.digest);
        let missing = || not_found(format!("{} is not in the store", blob.digest));
        layer.ok_or_else(missing)?.open(&blob.digest)
    }

    fn tagged(&self, _: &str) -> Result<Option<Fetched>> {
        Ok(None)
    }

    fn referrers(&self, _: &Digest) -> Result<Vec<Descriptor>> {
        Ok(Vec::new())
    }

    fn name(&self) -> Option<&Reference> {
        self.name.as_ref()
    }

    fn repository(&self) -> Option<&Reference> {
        self.name()
    }

    fn repacked(&self) -> Vec<Digest> {
        self.repacked.clone()
    }
}

/// An image that has come.
#[derive(Debug)]
pub struct TakenIn {
    /// Its id.
    pub id: Digest,
    /// The digest of its manifest.
    pub digest: Digest,
    /// Names that pointed to other images before.
    pub displaced: Vec<Displaced>,
}

/// An image of a place for one platform, with its documents checked.
pub struct Chosen {
    /// Its manifest.
    pub fetched: Fetched,
    manifest: Manifest,
    /// Its config, byte for byte.
    pub config: Vec<u8>,
    diff_ids: Vec<Digest>,
}

impl Chosen {
    /// That for the platform that is ordered, or for this machine.
    pub fn of(source: &dyn Source, order: &Order) -> Result<Self> {
        let wanted = order.platform.clone().unwrap_or_else(Platform::host);
        let order = Order {
            platform: Some(wanted.clone()),
            ..order.clone()
        };
        let fetched = choose(source, &order)?;
        let Document::Manifest(manifest) = &fetched.document else {
            return Err(bad_input("it is an index").into());
        };
        if let Some(kind) = manifest.artifact() {
            let message = format!("it is no image, but something of the media type `{kind}`");
            return Err(bad_input(message).into());
        }
        manifest.check()?;
        let config = small_blob(source, &manifest.config)?;
        let diff_ids = selection::check(manifest, &config, &wanted)?;
        Ok(Self {
            manifest: manifest.clone(),
            fetched,
            config,
            diff_ids,
        })
    }

    /// Takes its layers in, lowest first.
    pub fn layers(
        &self,
        source: &dyn Source,
        intake: &mut Intake<'_>,
        progress: &dyn Progress,
    ) -> Result<Chain> {
        let mut chain = Chain::default();
        for (layer, diff_id) in self.manifest.layers.iter().zip(&self.diff_ids) {
            progress.tell(layer.digest.short(), Step::Planned(layer.size));
            let expected = Expected {
                diff_id: Some(diff_id.clone()),
                blob: Some((layer.digest.clone(), layer.size)),
                remembered: source.has_manifest().then(|| Blob::new(layer, None)),
            };
            intake
                .layer(&mut chain, &expected, || source.blob(layer))
                .with_context(|| format!("layer {}", layer.digest))?;
            progress.tell(layer.digest.short(), Step::Done);
        }
        Ok(chain)
    }
}

/// Takes an image out of files into the store.
pub fn take_in(
    source: &dyn Source,
    order: &Order,
    (paths, rules): (&Paths, &Rules),
    names: Vec<Reference>,
    progress: &dyn Progress,
) -> Result<TakenIn> {
    let chosen = Chosen::of(source, order)?;
    let mut intake = Intake::new(paths, rules)?;
    let chain = chosen.layers(source, &mut intake, progress)?;
    let id = intake.image(&chosen.config, &chain, names)?;
    let Fetched {
        descriptor, bytes, ..
    } = chosen.fetched;
    let manifest = origin::Document::new(&descriptor.media_type, &bytes);
    if let Some(manifest) = manifest.filter(|_| source.has_manifest()) {
        let origin = Origin {
            manifest,
            index: None,
            repository: None,
        };
        intake.came_by(&id, origin)?;
    }
    Ok(TakenIn {
        id,
        digest: descriptor.digest,
        displaced: intake.commit()?,
    })
}
