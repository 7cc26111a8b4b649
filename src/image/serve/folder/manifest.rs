//! Manifests on their way into a folder, and out of it: what one must be, and that all it names is there.

use super::{Folder, LARGEST_MANIFEST, make_parent, remove};
use crate::image::manifest as kinds;
use crate::image::serve::digest::{Algorithm, AnyDigest};
use crate::image::serve::name::{Name, Reference, Tag};
use crate::image::serve::refusal::Refusal;
use crate::image::serve::storage::Storage;
use crate::paths::registry as paths;
use crate::store::atomic::{self, Durability};
use crate::store::lock::Lock;
use anyhow::Result;
use serde::{Deserialize, Serialize};

/// What is written down of a manifest.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Link {
    /// As it was pushed with.
    pub media_type: String,
    /// The digest of the manifest that it refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

/// The fields of manifests and indexes that name something (manifest.md, image-index.md).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: u32,
    media_type: Option<String>,
    config: Option<Named>,
    layers: Option<Vec<Named>>,
    manifests: Option<Vec<Named>>,
    subject: Option<Named>,
}

/// A descriptor.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    urls: Option<Vec<String>>,
}

impl Named {
    /// Whether it lies elsewhere, so that a registry need not have it.
    fn is_foreign(&self) -> bool {
        self.urls.as_ref().is_some_and(|urls| !urls.is_empty())
            || kinds::is_foreign(&self.media_type)
    }
}

/// A manifest that was taken in.
pub struct Accepted {
    /// Of its bytes.
    pub digest: AnyDigest,
    /// What it refers to.
    pub subject: Option<AnyDigest>,
}

impl Document {
    fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<(Self, String), Refusal> {
        let document: Self = serde_json::from_slice(bytes)
            .map_err(|error| Refusal::manifest_invalid(format!("it is no manifest: {error}")))?;
        // A client may say more than the type, as in `…+json; charset=utf-8`.
        let said = content_type
            .and_then(|kind| kind.split(';').next())
            .map(str::trim);
        let kind = match (said.filter(|kind| !kind.is_empty()), &document.media_type) {
            (Some(said), Some(own)) if said != own => {
                let message = format!("it is sent as `{said}` and calls itself `{own}`");
                return Err(Refusal::manifest_invalid(message));
            }
            (Some(said), _) => said.to_owned(),
            (None, Some(own)) => own.clone(),
            (None, None) => String::new(),
        };
        if document.schema_version != 2 {
            let version = document.schema_version;
            let message = format!("manifests of schema version {version} are not taken, only of 2");
            return Err(Refusal::manifest_invalid(message));
        }
        if kind.is_empty() || !kinds::is_known(&kind) {
            let message = format!("`{kind}` is the media type of no manifest");
            return Err(Refusal::manifest_invalid(message));
        }
        // What one reader takes for an image and another for an index would be two things of one digest.
        let is_whole = match kinds::is_manifest(&kind) {
            true => {
                document.config.is_some()
                    && document.layers.is_some()
                    && document.manifests.is_none()
            }
            false => {
                document.manifests.is_some()
                    && document.config.is_none()
                    && document.layers.is_none()
            }
        };
        match is_whole {
            true => Ok((document, kind)),
            false => Err(Refusal::manifest_invalid(format!(
                "it has not the fields of `{kind}`"
            ))),
        }
    }

    /// Config and layers.
    fn blobs(&self) -> impl Iterator<Item = &Named> {
        self.config.iter().chain(self.layers.iter().flatten())
    }

    fn subject(&self) -> Result<Option<AnyDigest>, Refusal> {
        let subject = self.subject.as_ref();
        subject
            .map(|named| AnyDigest::parse(&named.digest))
            .transpose()
    }
}

/// The digests of all that a manifest names, its subject apart.
pub(super) fn named(bytes: &[u8], media_type: &str) -> Result<Vec<AnyDigest>, Refusal> {
    let (document, _) = Document::parse(bytes, Some(media_type))?;
    let all = document.blobs().chain(document.manifests.iter().flatten());
    all.map(|named| AnyDigest::parse(&named.digest)).collect()
}

impl Folder {
    /// Takes a manifest in, under a tag or under its digest alone.
    pub fn put_manifest(
        &self,
        name: &Name,
        reference: &Reference,
        content_type: Option<&str>,
        bytes: &[u8],
    ) -> Result<Accepted, Refusal> {
        debug_assert!(bytes.len() as u64 <= LARGEST_MANIFEST);
        let (document, media_type) = Document::parse(bytes, content_type)?;
        let subject = document.subject()?;
        let digest = match reference {
            Reference::Tag(_) => Algorithm::Sha256.of_bytes(bytes),
            Reference::Digest(asked) => {
                let digest = asked.algorithm().of_bytes(bytes);
                if digest != *asked {
                    return Err(Refusal::digest_invalid(format!(
                        "the digest of what was sent is {digest}"
                    )));
                }
                digest
            }
        };
        let _lock = self.share()?;
        self.check_named(name, &document)?;
        let link = Link {
            media_type,
            subject: subject.as_ref().map(ToString::to_string),
        };
        self.write_manifest(name, &digest, &link, bytes)?;
        if let Reference::Tag(tag) = reference {
            self.write_tag(name, tag, &digest)?;
        }
        Ok(Accepted { digest, subject })
    }

    fn write_manifest(
        &self,
        name: &Name,
        digest: &AnyDigest,
        link: &Link,
        bytes: &[u8],
    ) -> Result<()> {
        let (blob, place) = (self.blob_path(digest), self.manifest_link(name, digest));
        make_parent(&blob)?;
        atomic::write(&blob, bytes, Durability::Durable)?;
        make_parent(&place)?;
        atomic::write(&place, &serde_json::to_vec(link)?, Durability::Durable)
    }

    fn write_tag(&self, name: &Name, tag: &Tag, digest: &AnyDigest) -> Result<()> {
        let path = paths::tag_in(&self.repository(name), tag.as_str());
        make_parent(&path)?;
        atomic::write(&path, digest.to_string().as_bytes(), Durability::Durable)
    }

    /// Refuses a manifest whose parts are not there, or not of the size that it says.
    fn check_named(&self, name: &Name, document: &Document) -> Result<(), Refusal> {
        let unknown = |digest: &AnyDigest| {
            Refusal::new(
                404,
                "MANIFEST_BLOB_UNKNOWN",
                format!("the repository has no {digest}"),
            )
        };
        for named in document.blobs().filter(|named| !named.is_foreign()) {
            let digest = AnyDigest::parse(&named.digest)?;
            let size = self
                .blob_size(name, &digest)?
                .ok_or_else(|| unknown(&digest))?;
            check_size(named, size)?;
        }
        for named in document
            .manifests
            .iter()
            .flatten()
            .filter(|named| !named.is_foreign())
        {
            let digest = AnyDigest::parse(&named.digest)?;
            let size = self.manifest_size(name, &digest)?;
            check_size(named, size.ok_or_else(|| unknown(&digest))?)?;
        }
        Ok(())
    }

    /// Takes a tag away; whether it was there.
    pub fn delete_tag(&self, name: &Name, tag: &Tag) -> Result<bool> {
        let _lock = Lock::exclusive(&self.paths.lock())?;
        remove(&paths::tag_in(&self.repository(name), tag.as_str()))
    }

    /// Takes a manifest away with all its tags; whether it was there.
    pub fn delete_manifest(&self, name: &Name, digest: &AnyDigest) -> Result<bool> {
        let _lock = Lock::exclusive(&self.paths.lock())?;
        for tag in self.tags(name)?.unwrap_or_default() {
            let Some(tag) = Tag::parse(&tag) else {
                continue;
            };
            if self.tagged(name, &tag)?.as_ref() == Some(digest) {
                remove(&paths::tag_in(&self.repository(name), tag.as_str()))?;
            }
        }
        remove(&self.manifest_link(name, digest))
    }
}

fn check_size(named: &Named, size: u64) -> Result<(), Refusal> {
    match named.size == size {
        true => Ok(()),
        false => Err(Refusal::new(
            400,
            "SIZE_INVALID",
            format!("{} has {size} bytes, not {}", named.digest, named.size),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_manifest_is_refused() {
        let digest = Algorithm::Sha256.of_bytes(b"");
        let blob = format!(r#"{{"mediaType":"x","digest":"{digest}","size":0}}"#);
        let image = format!(r#"{{"schemaVersion":2,"config":{blob},"layers":[{blob}]}}"#);
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{blob}]}}"#);
        let both =
            format!(r#"{{"schemaVersion":2,"config":{blob},"layers":[],"manifests":[{blob}]}}"#);
        assert_eq!(
            named(image.as_bytes(), kinds::OCI_MANIFEST).unwrap().len(),
            2
        );
        assert_eq!(named(index.as_bytes(), kinds::OCI_INDEX).unwrap().len(), 1);
        let called = image.replacen('{', &format!(r#"{{"mediaType":"{}","#, kinds::OCI_INDEX), 1);
        for (text, kind, part) in [
            ("{", kinds::OCI_MANIFEST, "no manifest"),
            ("[]", kinds::OCI_MANIFEST, "no manifest"),
            (
                &image.replace(":2,", ":1,"),
                kinds::OCI_MANIFEST,
                "schema version 1",
            ),
            (
                &image,
                "application/vnd.docker.distribution.manifest.v1+prettyjws",
                "media type of no manifest",
            ),
            (&image, "", "media type of no manifest"),
            (&image, kinds::OCI_INDEX, "has not the fields"),
            (&index, kinds::OCI_MANIFEST, "has not the fields"),
            (&both, kinds::OCI_MANIFEST, "has not the fields"),
            (&both, kinds::OCI_INDEX, "has not the fields"),
            (&called, kinds::OCI_MANIFEST, "calls itself"),
            (
                &image.replace("sha256:", "md5:"),
                kinds::OCI_MANIFEST,
                "a digest is",
            ),
        ] {
            let refusal = named(text.as_bytes(), kind).unwrap_err();
            assert!(
                refusal.message.contains(part),
                "{text}: {}",
                refusal.message
            );
        }
    }
}
