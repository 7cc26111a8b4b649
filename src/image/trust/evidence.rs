//! The signatures of a manifest that its repository keeps: in a manifest under the tag `sha256-HEX.sig`, and among what
//! refers to it. Fetched when they are asked for, each place once, and not more than [`MOST`] of them.

use super::bundle;
use super::signature::{CERTIFICATE, Candidate, SIGNATURE, SIMPLE_SIGNING};
use crate::error::{self, Kind};
use crate::image::digest::Digest;
use crate::image::manifest::{Descriptor, Document, Manifest, OCI_EMPTY};
use crate::image::registry::Repository;
use crate::image::registry::referrers::fallback_tag;
use anyhow::Result;
use std::cell::{Cell, OnceCell};

/// Signatures of one manifest, in each of both places, that are looked at.
pub const MOST: usize = 64;
/// The longest signature; a bundle has entries of logs beside it.
const LONGEST: u64 = 1 << 20;
/// Bytes of all that are looked at together, which are held in memory: a hundred times what signatures have.
const TOGETHER: u64 = 4 << 20;
/// What refers to an image and is a signature in the form of the tag.
const SIGNATURE_ARTIFACT: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";

/// The signatures of one manifest.
pub struct Evidence<'a> {
    repository: &'a Repository,
    digest: &'a Digest,
    tagged: OnceCell<Vec<Candidate>>,
    referring: OnceCell<Vec<Candidate>>,
    /// Of [`TOGETHER`].
    left: Cell<u64>,
}

impl<'a> Evidence<'a> {
    /// Asks nobody yet.
    pub fn new(repository: &'a Repository, digest: &'a Digest) -> Self {
        Self {
            repository,
            digest,
            tagged: OnceCell::new(),
            referring: OnceCell::new(),
            left: Cell::new(TOGETHER),
        }
    }

    /// Those under the tag.
    pub fn tagged(&self) -> Result<&[Candidate]> {
        if self.tagged.get().is_none() {
            let _ = self.tagged.set(self.fetch_tagged()?);
        }
        Ok(self.tagged.get().map_or(&[], Vec::as_slice))
    }

    /// Those that refer to it.
    pub fn referring(&self) -> Result<&[Candidate]> {
        if self.referring.get().is_none() {
            let _ = self.referring.set(self.fetch_referring()?);
        }
        Ok(self.referring.get().map_or(&[], Vec::as_slice))
    }

    fn fetch_tagged(&self) -> Result<Vec<Candidate>> {
        let tag = format!("{}.sig", fallback_tag(self.digest));
        match self.repository.manifest(&tag) {
            Err(error) if error::kind(&error) == Some(Kind::NotFound) => Ok(Vec::new()),
            // What is no manifest at all is no signature; what could not be asked is not known to be none.
            Err(error) if error::kind(&error) == Some(Kind::BadInput) => {
                Ok(vec![unreadable(&error)])
            }
            Err(error) => Err(error),
            Ok(fetched) => match fetched.document {
                Document::Manifest(manifest) => Ok(self.layers(&manifest, MOST)),
                Document::Index(_) => Ok(vec![Candidate::Unreadable(format!(
                    "the tag `{tag}` leads to an index"
                ))]),
            },
        }
    }

    fn fetch_referring(&self) -> Result<Vec<Candidate>> {
        let mut candidates = Vec::new();
        let referrers = match self.repository.referrers(self.digest) {
            Err(error) if error::kind(&error) == Some(Kind::BadInput) => {
                return Ok(vec![unreadable(&error)]);
            }
            referrers => referrers?,
        };
        for referrer in referrers
            .iter()
            .filter(|one| may_be_signature(one))
            .take(MOST)
        {
            match self.repository.manifest(&referrer.digest.to_string()) {
                Ok(fetched) => {
                    if let Document::Manifest(manifest) = fetched.document {
                        candidates.extend(self.layers(&manifest, MOST - candidates.len()));
                    }
                }
                Err(error) => candidates.push(unreadable(&error)),
            }
            if candidates.len() >= MOST {
                break;
            }
        }
        Ok(candidates)
    }

    fn layers(&self, manifest: &Manifest, most: usize) -> Vec<Candidate> {
        let layers = manifest.layers.iter();
        layers
            .filter_map(|layer| self.layer(layer))
            .take(most)
            .collect()
    }

    fn layer(&self, layer: &Descriptor) -> Option<Candidate> {
        let is_bundle = bundle::MEDIA_TYPES.contains(&layer.media_type.as_str());
        if !is_bundle && layer.media_type != SIMPLE_SIGNING {
            return None;
        }
        let signature = layer.annotation(SIGNATURE);
        let needed = layer
            .size
            .saturating_add(signature.map_or(0, |text| text.len() as u64));
        if !take(&self.left, needed) {
            let why = format!("the signatures are longer than {TOGETHER} bytes together");
            return Some(Candidate::Unreadable(why));
        }
        let bytes = match self.repository.document(layer, LONGEST) {
            Ok(bytes) => bytes,
            Err(error) => return Some(unreadable(&error)),
        };
        if is_bundle {
            return Some(Candidate::Bundle(bytes));
        }
        Some(match signature {
            Some(signature) => Candidate::Simple {
                payload: bytes,
                signature: signature.to_owned(),
                keyless: layer.annotation(CERTIFICATE).is_some(),
            },
            None => Candidate::Unreadable(format!("the annotation `{SIGNATURE}` is missing")),
        })
    }
}

/// Takes so many bytes of what is left, if there are as many.
fn take(left: &Cell<u64>, needed: u64) -> bool {
    let after = left.get().checked_sub(needed);
    after.inspect(|after| left.set(*after)).is_some()
}

/// By what a list says of it; only what says that it is something else is passed over.
fn may_be_signature(referrer: &Descriptor) -> bool {
    let kind = referrer.artifact_type.as_deref().unwrap_or_default();
    let fits =
        bundle::MEDIA_TYPES.contains(&kind) || ["", OCI_EMPTY, SIGNATURE_ARTIFACT].contains(&kind);
    let predicate = referrer.annotation(bundle::PREDICATE_ANNOTATION);
    fits && predicate.is_none_or(|predicate| predicate == bundle::PREDICATE)
}

fn unreadable(error: &anyhow::Error) -> Candidate {
    Candidate::Unreadable(format!("{error:#}"))
}
