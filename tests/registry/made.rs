//! Images made in memory, and what a registry says of them: of any layers, whatever they are.

use crate::server::{Reply, Request, answer};
use onggi::image::digest::Digest;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Write;

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// A layer as a registry has it.
pub struct Layer {
    /// The end of its media type: `tar`, `tar+gzip`, `tar+zstd`.
    pub kind: &'static str,
    pub blob: Vec<u8>,
    pub tar: Vec<u8>,
}

impl Layer {
    /// One with these files, with gzip.
    pub fn gzip(files: &[(&str, &[u8])]) -> Self {
        let tar = tar(files);
        let blob = gzip(&tar);
        Self {
            kind: "tar+gzip",
            blob,
            tar,
        }
    }
}

/// A tar of files.
pub fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(1_000_000_000);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Numbers that look random and are the same in each run (Marsaglia's xorshift).
pub struct Numbers(pub u64);

impl Numbers {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    /// Bytes that nothing compresses.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.below(256) as u8).collect()
    }
}

/// A registry that has one image, under any name and tag.
pub struct Made {
    pub layers: Vec<(String, u64)>,
    pub digest: String,
    /// By digest: media type and bytes.
    documents: BTreeMap<String, (String, Vec<u8>)>,
}

impl Made {
    pub fn new(layers: &[Layer]) -> Self {
        let diff_ids: Vec<_> = layers.iter().map(|layer| digest(&layer.tar)).collect();
        let config = json!({
            "architecture": onggi::image::platform::Platform::host().architecture,
            "os": "linux",
            "config": { "Cmd": ["/bin/true"] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let mut made = Self {
            layers: Vec::new(),
            digest: String::new(),
            documents: BTreeMap::new(),
        };
        let config = made.put(CONFIG, config.to_string().into_bytes());
        let mut list = Vec::new();
        for layer in layers {
            let kind = format!("application/vnd.oci.image.layer.v1.{}", layer.kind);
            made.layers
                .push((digest(&layer.blob), layer.blob.len() as u64));
            list.push(made.put(&kind, layer.blob.clone()));
        }
        let manifest =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": list});
        let manifest = made.put(MANIFEST, manifest.to_string().into_bytes());
        made.digest = manifest["digest"].as_str().unwrap().to_owned();
        made
    }

    /// Keeps a document, and gives what describes it.
    fn put(&mut self, kind: &str, bytes: Vec<u8>) -> serde_json::Value {
        let digest = digest(&bytes);
        let descriptor = json!({"mediaType": kind, "digest": digest, "size": bytes.len()});
        self.documents.insert(digest, (kind.to_owned(), bytes));
        descriptor
    }

    /// What a registry answers.
    pub fn reply(&self, request: &Request) -> Reply {
        let last = request.path.rsplit('/').next().unwrap();
        let wanted = match last.starts_with("sha256:") {
            true => last,
            false => &self.digest,
        };
        if request.path == "/v2/" {
            return answer("200 OK", &[], "{}");
        }
        let Some((kind, bytes)) = self.documents.get(wanted) else {
            return crate::server::error("404 Not Found", "BLOB_UNKNOWN");
        };
        let (kind, digest) = (
            format!("Content-Type: {kind}"),
            format!("Docker-Content-Digest: {wanted}"),
        );
        let from = request.header("range").strip_prefix("bytes=");
        match from.and_then(|from| from.strip_suffix('-')?.parse::<usize>().ok()) {
            None => answer("200 OK", &[&kind, &digest], bytes.clone()),
            Some(from) => {
                let (size, last) = (bytes.len(), bytes.len() - 1);
                let range = format!("Content-Range: bytes {from}-{last}/{size}");
                answer("206 Partial Content", &[&kind, &range], &bytes[from..])
            }
        }
    }
}

fn digest(bytes: &[u8]) -> String {
    Digest::of(bytes).to_string()
}
