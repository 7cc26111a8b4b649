//! Lists of manifests that are being put together here, to be pushed under one name for several platforms (`manifest
//! create`, `annotate`, `push`). Each is a file; the list that is pushed is, byte for byte, the one that Docker makes of
//! the same manifests.
//!
//! Invariant: a file is replaced as a whole by whoever holds the lock.

pub mod push;

use super::copy::{Source, small_blob};
use super::digest::Digest;
use super::manifest::{DOCKER_INDEX, Descriptor, Document, OCI_INDEX, OCI_MANIFEST, PlatformField};
use super::reference::Reference;
use super::registry::Fetched;
use super::store;
use crate::error::{Error, Kind, bad_input, not_found};
use crate::paths::Paths;
use crate::store::atomic::{self, Durability};
use crate::store::lock::Lock;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::PathBuf;

/// What Go and Docker know, beginning with the operating system.
const PLATFORMS: &[(&str, &[&str])] = &[
    ("darwin", &["386", "amd64", "arm", "arm64"]),
    ("dragonfly", &["amd64"]),
    ("freebsd", &["386", "amd64", "arm"]),
    (
        "linux",
        &[
            "386", "amd64", "arm", "arm64", "loong64", "mips64", "mips64le", "ppc64", "ppc64le",
            "riscv64", "s390x",
        ],
    ),
    ("netbsd", &["386", "amd64", "arm"]),
    ("openbsd", &["386", "amd64", "arm"]),
    ("plan9", &["386", "amd64"]),
    ("solaris", &["amd64"]),
    ("windows", &["386", "amd64", "arm64"]),
];

/// A list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ManifestList {
    version: u32,
    /// What it will be called.
    pub name: Reference,
    /// In the order of their names.
    pub entries: Vec<Entry>,
}

/// One of its manifests.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The whole name by which it was added.
    pub reference: String,
    /// The image of the store that it is of, if it is of none in a registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Digest>,
    /// With the platform.
    pub descriptor: Descriptor,
    /// The manifest itself.
    pub manifest: String,
}

/// What `manifest annotate` sets; what is empty stays as it is.
#[derive(Clone, Debug, Default)]
pub struct Annotation {
    /// As in GOARCH.
    pub architecture: String,
    /// As in GOOS.
    pub os: String,
    /// Are added.
    pub os_features: Vec<String>,
    /// Of the operating system.
    pub os_version: String,
    /// Of the architecture.
    pub variant: String,
}

impl ManifestList {
    /// An empty one.
    pub fn new(name: Reference) -> Self {
        Self {
            version: store::VERSION,
            name,
            entries: Vec::new(),
        }
    }

    /// The list of that name.
    pub fn find(paths: &Paths, name: &Reference) -> Result<Option<Self>> {
        store::read_record(&file(paths, name), |list: &Self| list.version)
    }

    /// Adds a manifest, instead of any that was added by the same name.
    pub fn add(&mut self, entry: Entry) {
        self.entries.retain(|old| old.reference != entry.reference);
        self.entries.push(entry);
        // Docker has them in files, in the order of these.
        self.entries
            .sort_by_key(|entry| entry.reference.replace(':', "-").replace('/', "_"));
    }

    /// The manifest that was added by that name.
    pub fn entry(&self, name: &Reference) -> Option<&Entry> {
        let whole = name.canonical();
        self.entries.iter().find(|entry| entry.reference == whole)
    }

    /// Likewise, to be changed.
    pub fn entry_mut(&mut self, name: &Reference) -> Result<&mut Entry, Error> {
        let (whole, list) = (name.canonical(), self.name.canonical());
        let mut entries = self.entries.iter_mut();
        let missing = || {
            not_found(format!(
                "manifest for image {whole} does not exist in {list}"
            ))
        };
        entries
            .find(|entry| entry.reference == whole)
            .ok_or_else(missing)
    }

    /// Keeps it; the caller holds the lock.
    pub fn write(&self, paths: &Paths) -> Result<()> {
        atomic::sweep(&paths.manifest_lists())?;
        let bytes = serde_json::to_vec(self)?;
        atomic::write(&file(paths, &self.name), &bytes, Durability::Durable)
    }

    /// What is pushed.
    pub fn document(&self) -> Vec<u8> {
        let descriptors = self.entries.iter().map(|entry| &entry.descriptor);
        let kind = match self.entries.first() {
            Some(first) if first.descriptor.media_type == OCI_MANIFEST => OCI_INDEX,
            _ => DOCKER_INDEX,
        };
        let manifests: Vec<Value> = descriptors
            .map(|descriptor| {
                json!({
                    "mediaType": descriptor.media_type,
                    "size": descriptor.size,
                    "digest": descriptor.digest,
                    "platform": descriptor.platform,
                })
            })
            .collect();
        let list = json!({"schemaVersion": 2, "mediaType": kind, "manifests": manifests});
        indented(&list, b"   ")
    }
}

/// JSON on several lines.
pub fn indented(value: &Value, step: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(step);
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    // Memory takes what is written, and every value can be.
    let _ = value.serialize(&mut serializer);
    text
}

impl Entry {
    /// The manifest that a source leads to, which must be that of one image.
    pub fn of(source: &dyn Source, name: &Reference) -> Result<Self> {
        let Fetched {
            mut descriptor,
            bytes,
            document,
        } = source.top()?;
        let Document::Manifest(manifest) = document else {
            return Err(bad_input(format!("{} is a manifest list", name.canonical())).into());
        };
        let config = small_blob(source, &manifest.config)?;
        descriptor.platform = Some(platform(&config).context("read the config of the image")?);
        let manifest =
            String::from_utf8(bytes).map_err(|_| bad_input("its manifest is no text"))?;
        Ok(Self {
            reference: name.canonical(),
            image: None,
            descriptor,
            manifest,
        })
    }

    /// Changes what it is for.
    pub fn annotate(&mut self, annotation: &Annotation) -> Result<(), Error> {
        let platform = self.descriptor.platform.get_or_insert_default();
        let set = |place: &mut String, value: &str| {
            if !value.is_empty() {
                value.clone_into(place);
            }
        };
        set(&mut platform.architecture, &annotation.architecture);
        set(&mut platform.os, &annotation.os);
        for (place, value) in [
            (&mut platform.variant, &annotation.variant),
            (&mut platform.os_version, &annotation.os_version),
        ] {
            if !value.is_empty() {
                *place = Some(value.clone());
            }
        }
        for feature in &annotation.os_features {
            if !platform.os_features.contains(feature) {
                platform.os_features.push(feature.clone());
            }
        }
        let (os, architecture) = (&platform.os, &platform.architecture);
        let known = PLATFORMS.iter().find(|(known, _)| known == os);
        match known.is_some_and(|(_, known)| known.contains(&architecture.as_str())) {
            true => Ok(()),
            false => Err(bad_input(format!(
                "manifest entry for image has unsupported os/arch combination: {os}/{architecture}"
            ))),
        }
    }
}

/// What an image is for, as its config says.
pub fn platform(config: &[u8]) -> Result<PlatformField> {
    let mut value: Value =
        serde_json::from_slice(config).map_err(|error| bad_input(error.to_string()))?;
    if let Value::Object(fields) = &mut value {
        // Docker writes `null` for what is empty.
        fields.retain(|_, value| !value.is_null());
    }
    let platform: PlatformField =
        serde_json::from_value(value).map_err(|error| bad_input(error.to_string()))?;
    Ok(platform)
}

/// Taken by whoever changes a list.
pub fn lock(paths: &Paths) -> Result<Lock> {
    let directory = paths.manifest_lists();
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("create `{}`", directory.display()))?;
    Lock::directory(&directory)
}

/// Removes a list.
pub fn remove(paths: &Paths, name: &Reference) -> Result<()> {
    let file = file(paths, name);
    match std::fs::remove_file(&file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(no_such(name).into()),
        removed => removed.with_context(|| format!("remove `{}`", file.display())),
    }
}

/// Docker's words.
pub fn no_such(name: &Reference) -> Error {
    not_found(format!("No such manifest: {}", name.canonical()))
}

/// Docker's words for a list that is there already.
pub fn refuse_to_amend() -> Error {
    Error::new(
        Kind::Conflict,
        "refusing to amend an existing manifest list with no --amend flag",
    )
}

/// Names may be longer than those of files.
fn file(paths: &Paths, name: &Reference) -> PathBuf {
    paths.manifest_list(Digest::of(name.canonical().as_bytes()).hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(reference: &str, kind: &str) -> Entry {
        let mut descriptor = Descriptor::of(kind, b"{}");
        descriptor.platform =
            platform(br#"{"os":"linux","architecture":"amd64","variant":null}"#).ok();
        Entry {
            reference: reference.to_owned(),
            image: None,
            descriptor,
            manifest: "{}".to_owned(),
        }
    }

    #[test]
    fn the_order_and_the_kind_are_dockers() {
        let mut list = ManifestList::new("x:1".parse().unwrap());
        list.add(entry(
            "h/b:1",
            "application/vnd.docker.distribution.manifest.v2+json",
        ));
        list.add(entry("h/a:1", OCI_MANIFEST));
        list.add(entry("h/b:1", OCI_MANIFEST));
        let names: Vec<&str> = list
            .entries
            .iter()
            .map(|entry| entry.reference.as_str())
            .collect();
        assert_eq!(names, ["h/a:1", "h/b:1"]);
        let text = String::from_utf8(list.document()).unwrap();
        assert!(text.starts_with(
            "{\n   \"schemaVersion\": 2,\n   \"mediaType\": \"application/vnd.oci.image.index"
        ));
        assert!(text.ends_with("\n   ]\n}"));
    }

    #[test]
    fn annotations_add_and_replace() {
        let mut one = entry("h/a:1", OCI_MANIFEST);
        let annotation = Annotation {
            architecture: "arm64".to_owned(),
            os_features: vec!["a".to_owned(), "a".to_owned()],
            variant: "v8".to_owned(),
            ..Annotation::default()
        };
        one.annotate(&annotation).unwrap();
        let shown = serde_json::to_string(&one.descriptor.platform).unwrap();
        assert_eq!(
            shown,
            r#"{"architecture":"arm64","os":"linux","os.features":["a"],"variant":"v8"}"#
        );
        let wrong = Annotation {
            os: "windows".to_owned(),
            architecture: "arm".to_owned(),
            ..Annotation::default()
        };
        let error = one.annotate(&wrong).unwrap_err();
        assert!(
            error
                .message
                .ends_with("unsupported os/arch combination: windows/arm")
        );
    }
}
