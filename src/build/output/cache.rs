//! What the steps of a build have come to, for other machines: a manifest whose config holds the records, and whose layers
//! are those of the steps ([`crate::build::cache::portable`]). As an image it is for no platform, and no program runs it.
//! <https://docs.docker.com/build/cache/backends/>

use super::blob::{Blobs, Packing};
use super::made::{Made, document};
use crate::build::cache::portable::{CONFIG, Steps, config};
use crate::build::worker::order::Layers;
use crate::image::manifest::{DOCKER_INDEX, DOCKER_MANIFEST, Descriptor, OCI_INDEX, OCI_MANIFEST};
use crate::image::reference::Reference;
use crate::image::registry::Fetched;
use crate::paths::Paths;
use anyhow::{Context, Result};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// One `--cache-to` but `inline`, which is of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheOutput {
    /// Where it goes.
    pub destination: Destination,
    /// The layers of all steps, not only of those that are in an image.
    pub all: bool,
    /// How layers are packed.
    pub packing: Packing,
    /// Documents have Docker's media types.
    pub docker_types: bool,
    /// The manifest stands in an index.
    pub index: bool,
    /// That it cannot be written is no error.
    pub ignore_error: bool,
}

/// Where a cache goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A directory, which becomes an OCI layout, under that tag.
    Local(PathBuf, String),
    /// A registry.
    Registry {
        /// With a tag.
        name: Reference,
        /// Whether TLS and its certificates are insisted on; `None`: as for other registries.
        tls_verify: Option<bool>,
    },
}

/// Packs the layers and writes the documents.
pub fn made(paths: &Paths, steps: &Steps, output: &CacheOutput) -> Result<Made> {
    let mut blobs = Blobs::new(paths, output.packing, output.docker_types)?;
    let (mut diff_ids, mut layers) = (Vec::new(), Vec::new());
    let wanted = steps.layers.iter();
    for layer in wanted.filter(|layer| output.all || layer.in_image) {
        let packed = match &layer.name {
            Some(name) => {
                let one = Layers {
                    diff_ids: vec![layer.diff_id.clone()],
                    names: vec![name.clone()],
                };
                blobs.layers(paths, &one)?.pop()
            }
            // What nobody has goes without its layer.
            None => steps
                .imports
                .blob(&layer.diff_id)
                .map(|blob| blobs.elsewhere(blob)),
        };
        if let Some(descriptor) = packed {
            diff_ids.push(layer.diff_id.clone());
            layers.push(descriptor);
        }
    }
    let config = blobs.add(CONFIG, config(&steps.records, &diff_ids)?);
    let (manifest_kind, index_kind) = match output.docker_types {
        true => (DOCKER_MANIFEST, DOCKER_INDEX),
        false => (OCI_MANIFEST, OCI_INDEX),
    };
    let manifest = json!({
        "schemaVersion": 2, "mediaType": manifest_kind, "config": config, "layers": layers,
    });
    let mut tops = vec![document(manifest_kind, &manifest)?];
    if output.index {
        let manifests: Vec<&Descriptor> = tops.iter().map(|top| &top.descriptor).collect();
        let index = json!({"schemaVersion": 2, "mediaType": index_kind, "manifests": manifests});
        tops.push(document(index_kind, &index)?);
    }
    let entry = |top: &Fetched| (top.descriptor.digest.clone(), top.clone());
    let documents: BTreeMap<_, _> = tops.iter().map(entry).collect();
    Ok(Made {
        blobs,
        documents,
        top: tops.pop().context("find the manifest")?,
    })
}
