//! What lies beside an image and is about it: what names it as its `subject`, and what cosign keeps under tags made of
//! its digest. Where a place lists no subjects, an index under a tag does (distribution-spec, "Referrers Tag Schema").

use super::{Name, Plan};
use crate::image::digest::Digest;
use crate::image::manifest::{Descriptor, Document, Index, OCI_INDEX};
use crate::image::registry::Fetched;
use crate::image::registry::referrers::fallback_tag;
use anyhow::Result;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What cosign adds to the tag: signatures, attestations, bills of materials.
pub const ENDINGS: [&str; 3] = ["sig", "att", "sbom"];

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
