//! Manifests and indexes (OCI manifest.md, image-index.md; Docker's schema 2, whose documents have the same
//! fields under other media types), and what each media type means here.

use super::digest::Digest;
use super::platform::Platform;
use crate::error::{Error, bad_input};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// OCI index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// OCI manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI config.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// The config of what has none, as artifacts (image-spec, manifest.md, "Guidelines for Artifact Usage").
pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// OCI layer, not compressed.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Docker's index.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker's manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's config.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Docker's layer, not compressed.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// Points to a blob (OCI descriptor.md).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is; may be empty in what others wrote.
    #[serde(default)]
    pub media_type: String,
    /// Of the blob.
    pub digest: Digest,
    /// Of the blob in bytes.
    pub size: u64,
    /// What an artifact that is a manifest is about (OCI image-index.md, `artifactType`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Free words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// What the image behind it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<PlatformField>,
}

impl Descriptor {
    /// An error where what it is about has another length.
    pub fn check_size(&self, got: usize) -> Result<(), Error> {
        let expected = self.size;
        match expected == got as u64 {
            true => Ok(()),
            false => Err(bad_input(format!(
                "it should be {expected} bytes long and is {got}"
            ))),
        }
    }

    /// A descriptor of some bytes.
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
            artifact_type: None,
            annotations: None,
            platform: None,
        }
    }

    /// One of its annotations.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// What it is for, if it says so.
    pub fn platform(&self) -> Option<Platform> {
        let field = self.platform.as_ref()?;
        Some(Platform::new(
            &field.os,
            &field.architecture,
            field.variant.as_deref().unwrap_or_default(),
        ))
    }

    /// Signatures and statements about an image stand in an index beside it, for no platform at all.
    pub fn is_attestation(&self) -> bool {
        self.annotation("vnd.docker.reference.type").is_some()
            || self
                .platform
                .as_ref()
                .is_some_and(|field| field.os == "unknown" && field.architecture == "unknown")
    }
}

/// `platform` of a descriptor.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PlatformField {
    /// As in GOARCH.
    pub architecture: String,
    /// As in GOOS.
    pub os: String,
    /// Of the operating system, on Windows.
    #[serde(rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// What it needs of the operating system.
    #[serde(rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// As in `v7`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// The images of one name for several platforms.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    schema_version: u32,
    media_type: Option<String>,
    /// Manifests and further indexes.
    pub manifests: Vec<Descriptor>,
}

/// One image: its config and its layers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    schema_version: u32,
    media_type: Option<String>,
    /// The config.
    pub config: Descriptor,
    /// Lowest first.
    pub layers: Vec<Descriptor>,
}

impl Index {
    /// An OCI index.
    pub fn new(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(OCI_INDEX.to_owned()),
            manifests,
        }
    }
}

impl Manifest {
    /// An OCI manifest.
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(OCI_MANIFEST.to_owned()),
            config,
            layers,
        }
    }

    /// One of Docker's schema 2.
    pub fn docker(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            media_type: Some(DOCKER_MANIFEST.to_owned()),
            ..Self::new(config, layers)
        }
    }

    /// Refuses layers that are not in the archive by design, or are of no known kind.
    pub fn check(&self) -> Result<(), Error> {
        self.layers
            .iter()
            .try_for_each(|layer| check_layer(&layer.media_type))
    }

    /// What it is when it is no image but some other artifact, by the media type that says so. Not all artifacts
    /// have a config type of their own; then none of their layers is the layer of an image.
    pub fn artifact(&self) -> Option<&str> {
        if !matches!(self.config.media_type.as_str(), OCI_CONFIG | DOCKER_CONFIG) {
            return Some(&self.config.media_type);
        }
        let is_layer = |layer: &Descriptor| is_layer(&layer.media_type);
        self.layers
            .first()
            .map(|first| first.media_type.as_str())
            .filter(|_| !self.layers.iter().any(is_layer))
    }
}

fn is_layer(kind: &str) -> bool {
    kind.starts_with("application/vnd.oci.image.layer.")
        || kind.starts_with("application/vnd.docker.image.rootfs.")
}

/// Whether layers of a media type lie elsewhere by design.
pub fn is_foreign(kind: &str) -> bool {
    kind.contains(".nondistributable.") || kind.contains(".foreign.")
}

fn check_layer(kind: &str) -> Result<(), Error> {
    if is_foreign(kind) {
        return Err(unknown(format!(
            "layers of the media type `{kind}` lie elsewhere and cannot be taken in"
        )));
    }
    match kind
        .strip_prefix(OCI_LAYER)
        .or(kind.strip_prefix(DOCKER_LAYER))
    {
        Some("" | ".gzip" | "+gzip" | ".zstd" | "+zstd") => Ok(()),
        _ => Err(unknown(format!(
            "it has a layer of the unknown media type `{kind}`"
        ))),
    }
}

fn unknown(message: String) -> Error {
    bad_input(message).hint("layers are tar archives, plain or packed by gzip or zstd")
}

/// The compression that the media type of a layer promises, as [`super::compression::Compression`] calls it.
pub fn promised_compression(kind: &str) -> super::compression::Compression {
    use super::compression::Compression;
    match kind {
        kind if kind.ends_with("gzip") => Compression::Gzip,
        kind if kind.ends_with("zstd") => Compression::Zstd,
        _ => Compression::None,
    }
}

/// A document that a descriptor of an index may point to.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there are few of them, and most are manifests"
)]
pub enum Document {
    /// More descriptors.
    Index(Index),
    /// An image.
    Manifest(Manifest),
}

impl Document {
    /// Reads what a descriptor points to. The media type decides; where it is silent, the document itself does.
    pub fn parse(descriptor: &Descriptor, bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Header {
            media_type: Option<String>,
            #[serde(default)]
            manifests: Option<serde::de::IgnoredAny>,
            #[serde(default)]
            layers: Option<serde::de::IgnoredAny>,
        }
        let read_error =
            |error: serde_json::Error| bad_input(format!("it is no valid JSON: {error}"));
        let header: Header = serde_json::from_slice(bytes).map_err(read_error)?;
        // What is signed as the one must not be taken for the other.
        if header.manifests.is_some() && header.layers.is_some() {
            return Err(bad_input("it is a manifest and an index at once").into());
        }
        let kind = match (descriptor.media_type.as_str(), header.media_type) {
            ("", Some(kind)) => kind,
            ("", None) if header.manifests.is_some() => OCI_INDEX.to_owned(),
            ("", None) => OCI_MANIFEST.to_owned(),
            (kind, _) => kind.to_owned(),
        };
        match kind.as_str() {
            OCI_INDEX | DOCKER_INDEX => {
                let index: Index = serde_json::from_slice(bytes).map_err(read_error)?;
                schema_2(index.schema_version)?;
                Ok(Self::Index(index))
            }
            OCI_MANIFEST | DOCKER_MANIFEST => {
                let manifest: Manifest = serde_json::from_slice(bytes).map_err(read_error)?;
                schema_2(manifest.schema_version)?;
                Ok(Self::Manifest(manifest))
            }
            kind => Err(bad_input(format!("it has the unknown media type `{kind}`")).into()),
        }
    }
}

impl Document {
    /// Its media type, where nothing says another one.
    pub fn media_type(&self) -> &str {
        match self {
            Self::Index(index) => index.media_type.as_deref().unwrap_or(OCI_INDEX),
            Self::Manifest(manifest) => manifest.media_type.as_deref().unwrap_or(OCI_MANIFEST),
        }
    }
}

/// The media type of a layer in another compression, in the words of the same family.
pub fn layer_kind(kind: &str, compression: super::compression::Compression) -> String {
    use super::compression::Compression;
    let (base, mark) = match kind.starts_with(DOCKER_LAYER) {
        true => (DOCKER_LAYER, '.'),
        false => (OCI_LAYER, '+'),
    };
    match compression {
        Compression::None => base.to_owned(),
        compression => format!("{base}{mark}{}", compression.name()),
    }
}

/// What [`Document::parse`] reads, for asking for it.
pub const KINDS: [&str; 4] = [OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST];

/// Whether a descriptor's media type is one that [`Document::parse`] reads.
pub fn is_known(kind: &str) -> bool {
    matches!(
        kind,
        "" | OCI_INDEX | OCI_MANIFEST | DOCKER_INDEX | DOCKER_MANIFEST
    )
}

/// Whether a media type can only be that of a single image.
pub fn is_manifest(kind: &str) -> bool {
    matches!(kind, OCI_MANIFEST | DOCKER_MANIFEST)
}

fn schema_2(version: u32) -> Result<(), Error> {
    match version {
        2 => Ok(()),
        other => Err(bad_input(format!(
            "it has the schema version {other}, only 2 is supported"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_accepted_by_name() {
        for good in [
            "application/vnd.oci.image.layer.v1.tar",
            "application/vnd.oci.image.layer.v1.tar+gzip",
            "application/vnd.oci.image.layer.v1.tar+zstd",
            "application/vnd.docker.image.rootfs.diff.tar",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "application/vnd.docker.image.rootfs.diff.tar.zstd",
        ] {
            assert!(check_layer(good).is_ok(), "{good}");
        }
        for (bad, part) in [
            (
                "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
                "lie elsewhere",
            ),
            (
                "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                "lie elsewhere",
            ),
            (
                "application/vnd.oci.image.layer.v1.tar+brotli",
                "unknown media type",
            ),
            ("text/plain", "`text/plain`"),
            ("", "unknown media type"),
        ] {
            assert!(
                check_layer(bad).unwrap_err().message.contains(part),
                "{bad}"
            );
        }
    }

    #[test]
    fn documents_are_read_by_media_type_or_by_what_they_hold() {
        let digest = Digest::of(b"");
        let blob = format!(r#"{{"mediaType":"{OCI_CONFIG}","digest":"{digest}","size":0}}"#);
        let manifest = format!(r#"{{"schemaVersion":2,"config":{blob},"layers":[]}}"#);
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{blob}]}}"#);
        let parse =
            |kind: &str, text: &str| Document::parse(&Descriptor::of(kind, b""), text.as_bytes());
        assert!(matches!(parse("", &manifest), Ok(Document::Manifest(_))));
        assert!(matches!(parse("", &index), Ok(Document::Index(_))));
        assert!(matches!(
            parse(DOCKER_INDEX, &index),
            Ok(Document::Index(_))
        ));
        for (kind, text, part) in [
            (OCI_MANIFEST, index.as_str(), "missing field `config`"),
            (
                OCI_MANIFEST,
                &manifest.replace("\"layers\"", "\"manifests\":[],\"layers\""),
                "at once",
            ),
            ("text/plain", &manifest, "unknown media type `text/plain`"),
            ("", "{", "no valid JSON"),
            (
                "",
                r#"{"schemaVersion":1,"manifests":[]}"#,
                "schema version 1",
            ),
            (
                OCI_MANIFEST,
                &manifest.replace(digest.hex(), "12"),
                "64 lower-case",
            ),
        ] {
            let error = parse(kind, text).unwrap_err().to_string();
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}
