//! The images of a build as others take them: manifests, configs and layers as blobs, an index over several platforms, and
//! beside each image what is said of how it was made.
//! <https://github.com/opencontainers/image-spec/blob/main/image-index.md>,
//! <https://docs.docker.com/build/metadata/attestations/attestation-storage/>

use super::blob::Blobs;
use super::{Output, Place};
use crate::build::order::Outcome;
use crate::error::not_found;
use crate::image::copy::{Source, Stream};
use crate::image::digest::Digest;
use crate::image::manifest::{
    DOCKER_CONFIG, DOCKER_INDEX, DOCKER_MANIFEST, Descriptor, Document, OCI_CONFIG, OCI_INDEX,
    OCI_MANIFEST, PlatformField,
};
use crate::image::platform::Platform;
use crate::image::reference::Reference;
use crate::image::registry::Fetched;
use crate::paths::Paths;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What statements about an image are (in-toto attestation framework).
const STATEMENT: &str = "application/vnd.in-toto+json";

/// Images with all that belongs to them, or a cache.
pub struct Made {
    pub(super) blobs: Blobs,
    pub(super) documents: BTreeMap<Digest, Fetched>,
    pub(super) top: Fetched,
}

impl Made {
    /// Packs the layers and writes the documents; `provenance` has a predicate and its type for each image, or nothing.
    pub fn new(
        paths: &Paths,
        outcome: &Outcome,
        output: &Output,
        provenance: &[(String, Value)],
    ) -> Result<Self> {
        let mut made = Making {
            blobs: Blobs::new(paths, output.packing, output.docker_types)?,
            documents: BTreeMap::new(),
            output,
        };
        let mut entries = Vec::new();
        for (index, built) in outcome.images.iter().enumerate() {
            let layers = made.blobs.layers(paths, &built.layers)?;
            let kind = if output.docker_types {
                DOCKER_CONFIG
            } else {
                OCI_CONFIG
            };
            let config = made.blobs.add(kind, built.bytes.clone());
            let manifest = made.manifest(&config, &layers, &built.platform)?;
            let descriptor = Descriptor {
                platform: Some(field(&built.platform)),
                annotations: some(
                    output.annotations(Place::ManifestDescriptor, Some(&built.platform)),
                ),
                ..manifest.descriptor.clone()
            };
            let subject = manifest.descriptor.digest.clone();
            entries.push((descriptor, manifest));
            if let Some((kind, predicate)) = provenance.get(index) {
                let statement = made.statement(&subject, &output.names, kind, predicate)?;
                entries.push(statement);
            }
        }
        let is_index = entries.len() != 1 || !output.annotations(Place::Index, None).is_empty();
        let top = match is_index {
            true => made.index(
                entries
                    .into_iter()
                    .map(|(descriptor, _)| descriptor)
                    .collect(),
            )?,
            false => entries.pop().context("find an image")?.1,
        };
        Ok(Self {
            blobs: made.blobs,
            documents: made.documents,
            top,
        })
    }

    /// What its name leads to.
    pub fn descriptor(&self) -> &Descriptor {
        &self.top.descriptor
    }
}

struct Making<'a> {
    blobs: Blobs,
    documents: BTreeMap<Digest, Fetched>,
    output: &'a Output,
}

impl Making<'_> {
    fn manifest(
        &mut self,
        config: &Descriptor,
        layers: &[Descriptor],
        platform: &Platform,
    ) -> Result<Fetched> {
        let kind = match self.output.docker_types {
            true => DOCKER_MANIFEST,
            false => OCI_MANIFEST,
        };
        let mut manifest =
            json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers});
        let annotations = self.output.annotations(Place::Manifest, Some(platform));
        if !annotations.is_empty() {
            manifest["annotations"] = json!(annotations);
        }
        self.document(kind, &manifest)
    }

    fn index(&mut self, manifests: Vec<Descriptor>) -> Result<Fetched> {
        let kind = match self.output.docker_types {
            true => DOCKER_INDEX,
            false => OCI_INDEX,
        };
        let mut index = json!({"schemaVersion": 2, "mediaType": kind, "manifests": manifests});
        let annotations = self.output.annotations(Place::Index, None);
        if !annotations.is_empty() {
            index["annotations"] = json!(annotations);
        }
        self.document(kind, &index)
    }

    /// What is said of an image, and where the index names it.
    fn statement(
        &mut self,
        subject: &Digest,
        names: &[Reference],
        kind: &str,
        predicate: &Value,
    ) -> Result<(Descriptor, Fetched)> {
        let statement = statement(subject, names, kind, predicate);
        let bytes = serde_json::to_vec(&statement)?;
        let layer = Descriptor {
            annotations: Some(BTreeMap::from([(
                "in-toto.io/predicate-type".to_owned(),
                kind.to_owned(),
            )])),
            ..self.blobs.add(STATEMENT, bytes)
        };
        let config = json!({
            "architecture": "unknown", "os": "unknown", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
        });
        let config = self.blobs.add(OCI_CONFIG, serde_json::to_vec(&config)?);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer],
        });
        let manifest = self.document(OCI_MANIFEST, &manifest)?;
        let annotations = BTreeMap::from([
            (
                "vnd.docker.reference.digest".to_owned(),
                subject.to_string(),
            ),
            (
                "vnd.docker.reference.type".to_owned(),
                "attestation-manifest".to_owned(),
            ),
        ]);
        let unknown = || "unknown".to_owned();
        let descriptor = Descriptor {
            annotations: Some(annotations),
            platform: Some(PlatformField {
                architecture: unknown(),
                os: unknown(),
                ..PlatformField::default()
            }),
            ..manifest.descriptor.clone()
        };
        Ok((descriptor, manifest))
    }

    fn document(&mut self, kind: &str, value: &Value) -> Result<Fetched> {
        let fetched = document(kind, value)?;
        let digest = fetched.descriptor.digest.clone();
        self.documents.insert(digest, fetched.clone());
        Ok(fetched)
    }
}

/// A document as it would be fetched.
pub(super) fn document(kind: &str, value: &Value) -> Result<Fetched> {
    let bytes = serde_json::to_vec(value)?;
    let descriptor = Descriptor::of(kind, &bytes);
    let document = Document::parse(&descriptor, &bytes)?;
    Ok(Fetched {
        descriptor,
        bytes,
        document,
    })
}

/// A statement of in-toto about an image (<https://in-toto.io/Statement/v0.1>).
pub fn statement(subject: &Digest, names: &[Reference], kind: &str, predicate: &Value) -> Value {
    let digest = json!({"sha256": subject.hex()});
    let name = |name: &Reference| {
        let version = name.tag().unwrap_or("latest");
        format!("pkg:docker/{}@{version}", name.repository())
    };
    let mut subjects: Vec<Value> = names
        .iter()
        .map(|reference| json!({"name": name(reference), "digest": digest}))
        .collect();
    if subjects.is_empty() {
        subjects.push(json!({"name": "_", "digest": digest}));
    }
    json!({
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": kind,
        "subject": subjects,
        "predicate": predicate,
    })
}

fn field(platform: &Platform) -> PlatformField {
    PlatformField {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: Some(platform.variant.clone()).filter(|variant| !variant.is_empty()),
        ..PlatformField::default()
    }
}

fn some(map: BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    (!map.is_empty()).then_some(map)
}

impl Source for Made {
    fn top(&self) -> Result<Fetched> {
        Ok(self.top.clone())
    }

    fn document(&self, descriptor: &Descriptor) -> Result<Fetched> {
        let found = self.documents.get(&descriptor.digest).cloned();
        let missing = || not_found(format!("{} is not part of the build", descriptor.digest));
        Ok(found.ok_or_else(missing)?)
    }

    fn blob(&self, blob: &Descriptor) -> Result<Stream<'_>> {
        self.blobs.open(&blob.digest)
    }

    fn tagged(&self, _: &str) -> Result<Option<Fetched>> {
        Ok(None)
    }

    fn referrers(&self, _: &Digest) -> Result<Vec<Descriptor>> {
        Ok(Vec::new())
    }

    fn name(&self) -> Option<&Reference> {
        None
    }
}
