//! `manifest push`: the images of a list go where the list goes, and then the list itself.

use super::{Entry, ManifestList};
use crate::error::bad_input;
use crate::image::copy::registry::Registry;
use crate::image::copy::{Order, Source, copy};
use crate::image::digest::Digest;
use crate::image::manifest::{Descriptor, Document};
use crate::image::reference::Reference;
use crate::image::registry::{Options, Repository};
use crate::progress::Progress;
use anyhow::{Context, Result};

/// A list with all places that its push asks; nobody is asked yet.
pub struct Push {
    list: ManifestList,
    repository: Repository,
    /// Where each entry comes from and goes to; `None`: it lies in the repository already.
    ways: Vec<Option<Way>>,
}

struct Way {
    /// `None`: the store.
    source: Option<Registry>,
    target: Registry,
}

impl Push {
    /// Finds out where everything is and who we are there.
    pub fn prepare(list: ManifestList, options: &Options) -> Result<Self> {
        if list.entries.is_empty() {
            return Err(bad_input(format!("{} has no manifests", list.name.canonical())).into());
        }
        list.entries.iter().try_for_each(check)?;
        let untagged = list.name.untagged();
        let way = |entry: &Entry| -> Result<Option<Way>> {
            let name: Reference = entry.reference.parse()?;
            if entry.image.is_none() && name.same_repository(&untagged) {
                return Ok(None);
            }
            let there = untagged.with_digest(entry.descriptor.digest.clone());
            let source = name.with_digest(entry.descriptor.digest.clone());
            let source = Registry::open(&source, &source.canonical(), options);
            Ok(Some(Way {
                source: entry.image.is_none().then_some(source).transpose()?,
                target: Registry::open_to_push(&there, &there.canonical(), options)?,
            }))
        };
        Ok(Self {
            repository: Repository::open_to_push(&list.name, &list.name.canonical(), options)?,
            ways: list.entries.iter().map(way).collect::<Result<_>>()?,
            list,
        })
    }

    /// Pushes it. `open` gives an image of the store; `tell` is told of each manifest that has come to the repository.
    pub fn push(
        &self,
        open: &dyn Fn(&Digest) -> Result<Box<dyn Source>>,
        progress: &dyn Progress,
        tell: &mut dyn FnMut(&Reference, &Digest) -> Result<()>,
    ) -> Result<Digest> {
        let order = Order {
            all: true,
            ..Order::default()
        };
        for (entry, way) in self.list.entries.iter().zip(&self.ways) {
            let Some(Way { source, target }) = way else {
                continue;
            };
            let what = || format!("push `{}`", entry.reference);
            let stored = entry
                .image
                .as_ref()
                .map(open)
                .transpose()
                .with_context(what)?;
            let source: &dyn Source = match (&stored, source) {
                (Some(stored), _) => &**stored,
                (None, Some(registry)) => registry,
                (None, None) => continue,
            };
            copy(source, target, &order, progress).with_context(what)?;
            let digest = &entry.descriptor.digest;
            tell(&self.list.name.with_digest(digest.clone()), digest)?;
        }
        let bytes = self.list.document();
        let document = Document::parse(&Descriptor::of("", &bytes), &bytes)?;
        let tag = self.list.name.tag().unwrap_or("latest");
        self.repository
            .put_manifest(tag, document.media_type(), &bytes)
    }
}

fn check(entry: &Entry) -> Result<()> {
    let platform = entry.descriptor.platform.as_ref();
    match platform
        .is_some_and(|platform| !platform.os.is_empty() && !platform.architecture.is_empty())
    {
        true => Ok(()),
        false => Err(bad_input(format!(
            "manifest {} must have an OS and Architecture to be pushed to a registry",
            entry.reference
        ))
        .hint("`manifest annotate --os --arch`")
        .into()),
    }
}
