//! `manifest push`: the images of a list go where the list goes, and then the list itself.

use super::{Entry, ManifestList};
use crate::error::bad_input;
use crate::image::copy::registry::Registry;
use crate::image::copy::{Order, Source, copy};
use crate::image::digest::Digest;
use crate::image::manifest::Descriptor;
use crate::image::reference::Reference;
use crate::image::registry::{Options, Repository};
use crate::progress::Progress;
use anyhow::{Context, Result};

/// Pushes a list. `open` gives an image of the store; `tell` is told of each manifest that was pushed to the repository.
pub fn push(
    list: &ManifestList,
    options: &Options,
    open: &dyn Fn(&Digest) -> Result<Box<dyn Source>>,
    progress: &dyn Progress,
    tell: &mut dyn FnMut(&Reference) -> Result<()>,
) -> Result<Digest> {
    if list.entries.is_empty() {
        return Err(bad_input(format!("{} has no manifests", list.name.canonical())).into());
    }
    for entry in &list.entries {
        check(entry)?;
    }
    for entry in &list.entries {
        let there = list.name.with_digest(entry.descriptor.digest.clone());
        if push_entry(entry, &there, options, open, progress)
            .with_context(|| format!("push `{}`", entry.reference))?
        {
            tell(&there)?;
        }
    }
    let bytes = list.document();
    let kind = super::Document::parse(&Descriptor::of("", &bytes), &bytes)?;
    let repository = Repository::open_to_push(&list.name, &list.name.canonical(), options)?;
    let tag = list.name.tag().unwrap_or("latest");
    repository.put_manifest(tag, kind.media_type(), &bytes)
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

/// Whether there was anything to push: what lies in the repository already stays where it is.
fn push_entry(
    entry: &Entry,
    there: &Reference,
    options: &Options,
    open: &dyn Fn(&Digest) -> Result<Box<dyn Source>>,
    progress: &dyn Progress,
) -> Result<bool> {
    let source: Box<dyn Source> = match &entry.image {
        Some(image) => open(image)?,
        None => {
            let name: Reference = entry.reference.parse()?;
            if name.same_repository(there) {
                return Ok(false);
            }
            let name = name.with_digest(entry.descriptor.digest.clone());
            Box::new(Registry::open(&name, &name.canonical(), options)?)
        }
    };
    let target = Registry::open_to_push(there, &there.canonical(), options)?;
    let order = Order {
        all: true,
        ..Order::default()
    };
    copy(&*source, &target, &order, progress)?;
    Ok(true)
}
