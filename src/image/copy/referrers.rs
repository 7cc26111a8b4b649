//! What lies beside an image and is about it: what names it as its `subject`, and what cosign keeps under tags made of
//! its digest. Where a place lists no subjects, an index under a tag does (distribution-spec, "Referrers Tag Schema").

use super::{Name, Plan, Source};
use crate::image::digest::Digest;
use crate::image::manifest::{Descriptor, Document, Index, OCI_EMPTY, OCI_INDEX};
use crate::image::registry::Fetched;
use crate::image::registry::referrers::fallback_tag;
use anyhow::Result;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What cosign adds to the tag: signatures, attestations, bills of materials.
pub const ENDINGS: [&str; 3] = ["sig", "att", "sbom"];

/// Something that is about an image.
#[derive(Clone, Debug)]
pub struct Referrer {
    /// Of its manifest.
    pub digest: Digest,
    /// Of its manifest in bytes.
    pub size: u64,
    /// The media type that says what it is.
    pub kind: String,
    /// What it is about.
    pub subject: Digest,
    /// The tag that leads to it, where it is known by that.
    pub tag: Option<String>,
    /// Free words.
    pub annotations: BTreeMap<String, String>,
}

/// What is about a manifest: what names it as its subject, and what has a tag made of its digest.
pub fn of(source: &dyn Source, subject: &Digest) -> Result<Vec<Referrer>> {
    let mut found = Vec::new();
    for referrer in source.referrers(subject)? {
        let kind = match referrer.artifact_type.clone() {
            Some(kind) => kind,
            // An index of the client's own making may say nothing of it.
            None => kind(&source.document(&referrer)?),
        };
        found.push(Referrer {
            digest: referrer.digest,
            size: referrer.size,
            kind,
            subject: subject.clone(),
            tag: None,
            annotations: referrer.annotations.unwrap_or_default(),
        });
    }
    for ending in ENDINGS {
        let tag = format!("{}.{ending}", fallback_tag(subject));
        if let Some(fetched) = source.tagged(&tag)? {
            found.push(Referrer {
                kind: kind(&fetched),
                digest: fetched.descriptor.digest,
                size: fetched.descriptor.size,
                subject: subject.clone(),
                tag: Some(tag),
                annotations: BTreeMap::new(),
            });
        }
    }
    Ok(found)
}

/// What a manifest is of: as it says, or as its config or first layer does (image-spec manifest.md, `artifactType`).
fn kind(fetched: &Fetched) -> String {
    let said = serde_json::from_slice::<Value>(&fetched.bytes).ok();
    let said = said.and_then(|value| Some(value.get("artifactType")?.as_str()?.to_owned()));
    match (said, &fetched.document) {
        (Some(said), _) => said,
        (None, Document::Manifest(manifest)) => {
            let first = manifest
                .layers
                .first()
                .filter(|_| manifest.config.media_type == OCI_EMPTY);
            let own = manifest.artifact().unwrap_or(&manifest.config.media_type);
            first.map_or(own, |first| &first.media_type).to_owned()
        }
        (None, Document::Index(_)) => fetched.descriptor.media_type.clone(),
    }
}

impl Plan<'_> {
    /// Adds what refers to the documents of the plan, and what refers to that.
    pub(super) fn add_referrers(&mut self) -> Result<()> {
        let mut place = 0;
        while let Some(document) = self.documents.get(place) {
            let digest = document.descriptor.digest.clone();
            for ending in ENDINGS {
                let tag = format!("{}.{ending}", fallback_tag(&digest));
                if let Some(fetched) = self.source.tagged(&tag)? {
                    self.tags.push((tag, fetched.descriptor.digest.clone()));
                    self.add_once(fetched)?;
                }
            }
            for referrer in self.source.referrers(&digest)? {
                if !self.seen.contains(&referrer.digest) {
                    let fetched = self.source.document(&referrer)?;
                    self.add_once(fetched)?;
                }
                self.about.push((digest.clone(), referrer));
            }
            place += 1;
        }
        Ok(())
    }

    fn add_once(&mut self, document: Fetched) -> Result<()> {
        match self.seen.contains(&document.descriptor.digest) {
            true => Ok(()),
            false => self.add(document, 1),
        }
    }

    /// Gives what was added its tags, and tells the target what it is about where nothing else would.
    pub(super) fn put_referrers(&self) -> Result<()> {
        for (tag, digest) in &self.tags {
            if let Some(document) = self
                .documents
                .iter()
                .find(|one| one.descriptor.digest == *digest)
            {
                self.target.put_document(document, Name::Tag(tag))?;
            }
        }
        let mut subjects: BTreeMap<&Digest, Vec<&Descriptor>> = BTreeMap::new();
        for (subject, referrer) in &self.about {
            subjects.entry(subject).or_default().push(referrer);
        }
        for (subject, referrers) in subjects {
            if self.target.lists_referrers(subject)? {
                continue;
            }
            let tag = fallback_tag(subject);
            let index = merged(self.target.tagged(&tag)?, &referrers)?;
            self.target.put_document(&index, Name::Tag(&tag))?;
        }
        Ok(())
    }
}

/// An index with some entries more.
fn merged(index: Option<Fetched>, referrers: &[&Descriptor]) -> Result<Fetched> {
    let mut value = match index {
        Some(index) => serde_json::from_slice(&index.bytes)?,
        None => serde_json::to_value(Index::new(Vec::new()))?,
    };
    if let Some(entries) = value.get_mut("manifests").and_then(Value::as_array_mut) {
        for referrer in referrers {
            if !entries
                .iter()
                .any(|entry| entry["digest"] == referrer.digest.to_string())
            {
                entries.push(json!(referrer));
            }
        }
    }
    let bytes = serde_json::to_vec(&value)?;
    let descriptor = Descriptor::of(OCI_INDEX, &bytes);
    Ok(Fetched {
        document: Document::parse(&descriptor, &bytes)?,
        bytes,
        descriptor,
    })
}
