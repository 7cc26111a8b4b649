//! The layers of real images: diff ids as their configs have them, tar streams given back byte for byte, with
//! and without openat2.

use super::{Layers, with_failing};
use crate::support::{Need, images, requires};
use onggi::image::digest::Digest;
use onggi::image::layer::stream_tar;
use serde_json::Value;
use std::path::{Path, PathBuf};

const LAYOUTS: &[(&str, usize)] = &[
    ("grootfs/garden-rootfs", 32),
    ("alpine-caps-opaque-oci", 3),
    ("alpine-caps-opaque-zstd-oci", 3),
    ("busybox-musl-multiarch-oci", 2),
    ("hello-world-amd64-oci", 1),
    ("oci-tools/whiteout-opaque", 2),
    ("oci-tools/hard-link-1", 1),
];

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

/// Unpacks every image of a layout; gives the number of layers.
fn unpack_all(layout: &Path) -> usize {
    let mut found = Vec::new();
    manifests(layout, &read(&layout.join("index.json")), &mut found);
    let mut count = 0;
    for manifest in found {
        let config = read(&blob(layout, &manifest["config"]["digest"]));
        let mut layers = Layers::new();
        let diff_ids = config["rootfs"]["diff_ids"].as_array().unwrap();
        for (layer, diff_id) in manifest["layers"].as_array().unwrap().iter().zip(diff_ids) {
            let bytes = std::fs::read(blob(layout, &layer["digest"])).unwrap();
            let unpacked = layers
                .try_blob(&bytes)
                .unwrap_or_else(|error| panic!("{}: {error:#}", layout.display()));
            assert_eq!(unpacked.diff_id.to_string(), diff_id.as_str().unwrap());
            assert_eq!(
                unpacked.blob_digest.to_string(),
                layer["digest"].as_str().unwrap()
            );
            assert_eq!(unpacked.blob_size, bytes.len() as u64);
            let mut tar = Vec::new();
            let digest = stream_tar(&layers.layer(layers.trees.len() - 1), &mut tar).unwrap();
            assert_eq!(
                (&digest, tar.len() as u64),
                (&unpacked.diff_id, unpacked.tar_size)
            );
            assert_eq!(Digest::of(&tar), unpacked.diff_id);
            count += 1;
        }
    }
    count
}

#[test]
fn every_layer_streams_out_as_it_came() {
    for (name, layers) in LAYOUTS {
        if requires(&[Need::Root, Need::Image(name)]) {
            assert_eq!(unpack_all(&images().join(name)), *layers, "{name}");
        }
    }
}

#[test]
fn kernels_without_openat2_do_as_well() {
    for (errno, (name, layers)) in [libc::ENOSYS, libc::EPERM].into_iter().zip(LAYOUTS) {
        if requires(&[Need::Root, Need::Image(name)]) {
            let layout = images().join(name);
            assert_eq!(
                with_failing(&[libc::SYS_openat2], errno, || unpack_all(&layout)),
                *layers,
                "{name}"
            );
        }
    }
}
