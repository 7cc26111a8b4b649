//! Layers of real images: their diff ids, and their tar streams given back byte for byte.

use onggi::image::digest::Digest;
use onggi::image::layer::{Devices, Owners, Rules, XattrPrefix, stream_tar, unpack};
use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};

fn images() -> Option<PathBuf> {
    let fallback = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/images");
    let path = std::env::var_os("ONGGI_TEST_IMAGES").map_or(fallback, PathBuf::from);
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: owners and devices need root");
        return None;
    }
    if !path.exists() {
        eprintln!("skipped: {} is missing", path.display());
        return None;
    }
    Some(path)
}

fn blob(layout: &Path, digest: &Value) -> PathBuf {
    layout
        .join("blobs")
        .join(digest.as_str().unwrap().replace(':', "/"))
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The manifests with layers that an index leads to.
fn manifests(layout: &Path, document: &Value, found: &mut Vec<Value>) {
    if document["layers"].is_array() {
        found.push(document.clone());
    }
    for child in document["manifests"].as_array().into_iter().flatten() {
        let path = blob(layout, &child["digest"]);
        if path.exists() {
            manifests(layout, &read(&path), found);
        }
    }
}

#[test]
fn every_layer_streams_out_as_it_came() {
    let Some(images) = images() else { return };
    let rules = Rules {
        owners: Owners::Real,
        xattrs: XattrPrefix::Trusted,
        devices: Devices::Make,
        absolute_names: false,
        max_bytes: 1 << 30,
    };
    let mut layers = 0;
    for name in [
        "grootfs/garden-rootfs",
        "alpine-caps-opaque-oci",
        "alpine-caps-opaque-zstd-oci",
        "busybox-musl-multiarch-oci",
        "hello-world-amd64-oci",
        "oci-tools/whiteout-opaque",
        "oci-tools/hard-link-1",
    ] {
        let layout = images.join(name);
        let mut found = Vec::new();
        manifests(&layout, &read(&layout.join("index.json")), &mut found);
        assert!(!found.is_empty(), "{name}");
        for manifest in found {
            let config = read(&blob(&layout, &manifest["config"]["digest"]));
            let diff_ids = config["rootfs"]["diff_ids"].as_array().unwrap();
            let directory = tempfile::tempdir().unwrap();
            let mut parents: Vec<PathBuf> = Vec::new();
            for (number, (layer, diff_id)) in manifest["layers"]
                .as_array()
                .unwrap()
                .iter()
                .zip(diff_ids)
                .enumerate()
            {
                let place = directory.path().join(number.to_string());
                std::fs::create_dir(&place).unwrap();
                let path = blob(&layout, &layer["digest"]);
                let unpacked = unpack(File::open(&path).unwrap(), &place, &parents, &rules)
                    .unwrap_or_else(|error| panic!("{name} layer {number}: {error:#}"));
                assert_eq!(
                    unpacked.diff_id.to_string(),
                    diff_id.as_str().unwrap(),
                    "{name}"
                );
                assert_eq!(
                    unpacked.blob_digest.to_string(),
                    layer["digest"].as_str().unwrap(),
                    "{name}"
                );
                assert_eq!(
                    unpacked.blob_size,
                    layer["size"].as_u64().unwrap(),
                    "{name}"
                );
                let mut tar = Vec::new();
                assert_eq!(
                    stream_tar(&place, &mut tar).unwrap(),
                    unpacked.diff_id,
                    "{name}"
                );
                assert_eq!(tar.len() as u64, unpacked.tar_size);
                assert_eq!(Digest::of(&tar), unpacked.diff_id);
                parents.push(place.join("tree"));
                layers += 1;
            }
        }
    }
    assert!(layers > 40, "{layers}");
}
