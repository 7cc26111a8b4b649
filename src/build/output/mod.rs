//! Where a build goes beside the store: archives, layouts, registries, plain files.
//!
//! ```text
//! images ─┬─ manifests, index, provenance ─▶ `made` (blobs and documents) ─▶ archive, layout, registry
//!         └─ merged files ─▶ `files` ─▶ directory, tar archive
//! steps ──── records, layers ─▶ `cache` (as `made`) ─▶ layout, registry
//! ```
//!
//! What is asked for is plain values; how it is spelled on a command line is not known here.
//!
//! Invariant: the same images, asked for in the same way, give the same bytes.

pub mod blob;
pub mod cache;
pub mod files;
pub mod made;
pub mod material;
pub mod provenance;

use crate::image::reference::Reference;
use blob::Packing;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// One output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// What comes of it.
    pub kind: Kind,
    /// Where it goes, unless it stays in the store.
    pub destination: Option<Destination>,
    /// What it is called, beside the names of the build.
    pub names: Vec<Reference>,
    /// It goes to the registry of its names.
    pub push: bool,
    /// It goes there without a name.
    pub by_digest: bool,
    /// It is kept in the store.
    pub store: bool,
    /// How layers are packed.
    pub packing: Packing,
    /// Documents have Docker's media types.
    pub docker_types: bool,
    /// One archive, not a directory.
    pub archive: bool,
    /// A directory for each platform; `None`: if there are several.
    pub platform_split: Option<bool>,
    /// What is said in manifests and the index.
    pub annotations: Vec<Annotation>,
}

/// The kinds of outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An image, here or in a registry.
    Image,
    /// An archive as of `docker save`.
    Docker,
    /// An OCI layout.
    Oci,
    /// The files as an archive.
    Tar,
    /// The files.
    Local,
}

/// Where an output goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard output.
    Standard,
    /// A file or a directory.
    Path(PathBuf),
}

/// `--annotation`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// Where it stands.
    pub place: Place,
    /// `None`: of all platforms.
    pub platform: Option<crate::image::platform::Platform>,
    /// Its name.
    pub key: String,
    /// What it says.
    pub value: String,
}

/// Where annotations stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the manifest.
    Manifest,
    /// In the index.
    Index,
    /// Where the index names a manifest.
    ManifestDescriptor,
    /// Where a layout names the index.
    IndexDescriptor,
}

impl Output {
    /// One of a kind with nothing else said.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            destination: None,
            names: Vec::new(),
            push: false,
            by_digest: false,
            store: kind == Kind::Image,
            packing: Packing::default(),
            docker_types: kind == Kind::Docker,
            archive: true,
            platform_split: None,
            annotations: Vec::new(),
        }
    }

    /// Whether it needs the files of the image, merged.
    pub fn is_files(&self) -> bool {
        matches!(self.kind, Kind::Tar | Kind::Local)
    }

    /// Its annotations at a place.
    pub fn annotations(
        &self,
        place: Place,
        platform: Option<&crate::image::platform::Platform>,
    ) -> BTreeMap<String, String> {
        let is_meant = |annotation: &&Annotation| {
            let wanted = annotation.platform.as_ref();
            annotation.place == place
                && wanted.is_none_or(|wanted| platform.is_some_and(|found| wanted.matches(found)))
        };
        let meant = self.annotations.iter().filter(is_meant);
        meant
            .map(|annotation| (annotation.key.clone(), annotation.value.clone()))
            .collect()
    }
}
