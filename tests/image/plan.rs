//! Small images to order: a layout that a test may alter at every step of its making.

use onggi::image::digest::Digest;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// What goes into a layout with one image of one layer.
pub struct Plan {
    pub layer: Vec<u8>,
    pub layer_type: String,
    pub diff_id: Digest,
    pub architecture: String,
    /// Instead of the config that belongs to the layer.
    pub config: Option<Vec<u8>>,
    /// Alters the manifest before its digest is taken.
    pub manifest: fn(&mut Value),
    /// Alters the index.
    pub index: fn(&mut Value),
    /// Alters the finished files, told where the layer lies.
    pub after: fn(&Path, &Path),
}

impl Plan {
    pub fn new() -> Self {
        let layer = tar(&[("etc/motd", b"hello")]);
        Self {
            diff_id: Digest::of(&layer),
            layer,
            layer_type: LAYER.to_owned(),
            architecture: onggi::image::platform::Platform::host().architecture,
            config: None,
            manifest: |_| {},
            index: |_| {},
            after: |_, _| {},
        }
    }

    /// The layout as a directory.
    pub fn write(self) -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        std::fs::create_dir_all(root.join("blobs/sha256")).unwrap();
        let config = self
            .config
            .unwrap_or_else(|| config(&self.architecture, &[&self.diff_id]));
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": blob(root, CONFIG, &config),
            "layers": [blob(root, &self.layer_type, &self.layer)],
        });
        (self.manifest)(&mut manifest);
        let mut descriptor = blob(root, MANIFEST, manifest.to_string().as_bytes());
        descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": "test:1"});
        let mut index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor]});
        (self.index)(&mut index);
        std::fs::write(root.join("index.json"), index.to_string()).unwrap();
        std::fs::write(root.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        (self.after)(root, &blob_path(root, &Digest::of(&self.layer)));
        directory
    }
}

pub fn config(architecture: &str, diff_ids: &[&Digest]) -> Vec<u8> {
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "created": "2020-01-02T03:04:05Z",
        "config": {"Cmd": ["sh"], "Labels": {"of": "test"}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created_by": "test"}],
    });
    config.to_string().into_bytes()
}

pub fn blob_path(root: &Path, digest: &Digest) -> PathBuf {
    root.join("blobs/sha256").join(digest.hex())
}

/// Writes a blob; returns its descriptor.
pub fn blob(root: &Path, media_type: &str, bytes: &[u8]) -> Value {
    std::fs::write(blob_path(root, &Digest::of(bytes)), bytes).unwrap();
    json!({"mediaType": media_type, "digest": Digest::of(bytes), "size": bytes.len()})
}

pub fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A directory as an archive, its files in alphabetical order or the reverse.
pub fn archive(directory: &Path, reverse: bool) -> Vec<u8> {
    let mut content = std::collections::BTreeMap::new();
    super::collect(directory, &mut content);
    let mut files: Vec<(String, Vec<u8>)> = content.into_iter().collect();
    if reverse {
        files.reverse();
    }
    let prefix = format!("{}/", directory.display());
    let files: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(path, bytes)| (path.strip_prefix(&prefix).unwrap(), &bytes[..]))
        .collect();
    tar(&files)
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
