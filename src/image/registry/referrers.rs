//! What refers to an image: signatures, bills of materials (distribution-spec, "Listing Referrers"). A registry that has
//! no such lists has an index in their place, under a tag made of the digest ("Referrers Tag Schema").

use super::Repository;
use crate::error::{self, Kind, bad_input};
use crate::image::digest::Digest;
use crate::image::manifest::{Descriptor, Document};
use anyhow::Result;

impl Repository {
    /// Descriptors of all manifests that say that they are about this one. Nobody vouches for what they say.
    pub fn referrers(&self, digest: &Digest) -> Result<Vec<Descriptor>> {
        let listed = self
            .ask(|source| source.referrers(digest))
            .map_err(|refusal| self.refused(&digest.to_string(), refusal))?;
        match listed {
            Some(listed) => Ok(listed),
            None => self.tagged_referrers(digest),
        }
    }

    /// Whether the registry keeps such lists itself.
    pub fn lists_referrers(&self, digest: &Digest) -> Result<bool> {
        self.ask(|source| source.referrers(digest))
            .map(|listed| listed.is_some())
            .map_err(|refusal| self.refused(&digest.to_string(), refusal))
    }

    fn tagged_referrers(&self, digest: &Digest) -> Result<Vec<Descriptor>> {
        let tag = fallback_tag(digest);
        match self.manifest(&tag) {
            Err(error) if error::kind(&error) == Some(Kind::NotFound) => Ok(Vec::new()),
            Err(error) => Err(error),
            Ok(fetched) => match fetched.document {
                Document::Index(index) => Ok(index.manifests),
                Document::Manifest(_) => Err(bad_input(format!(
                    "the tag `{tag}` of {} should lead to an index of what refers to {digest}",
                    self.name()
                ))
                .into()),
            },
        }
    }
}

/// The tag of the index of what refers to a manifest, where a registry keeps no list.
pub fn fallback_tag(digest: &Digest) -> String {
    format!("sha256-{}", digest.hex())
}
