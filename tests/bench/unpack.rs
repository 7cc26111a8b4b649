//! How long an image takes to come in, beside tar, which computes no digest and stores no image, and podman.
//!
//! `cargo bench --bench unpack`. Two images: the largest of the real ones and a Debian made with mmdebstrap, which is
//! kept in cargo's target directory. Everything is written to a fresh directory on one file system (that of
//! `ONGGI_TEST_TMP`, else `/var/tmp`); what a round has written is removed before the next, outside of the time.
#![allow(clippy::print_stderr, reason = "a bench says what it leaves out")]

#[path = "measure.rs"]
mod measure;
#[path = "../support/mod.rs"]
mod support;

use measure::{Contender, race, rounds};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Store, User, images, store};

fn main() {
    let Some(store) = store(User::Root) else {
        return;
    };
    let largest = images().join("grootfs/garden-rootfs");
    if largest.exists() {
        unpack(&store, "grootfs/garden-rootfs, 32 layers", &largest);
    } else {
        eprintln!("left out: no {}", largest.display());
    }
    match debian() {
        Ok(layout) => unpack(&store, "Debian, one layer", &layout),
        Err(reason) => eprintln!("left out: Debian: {reason}"),
    }
}

fn unpack(store: &Store, title: &str, layout: &Path) {
    let blobs = layers(layout);
    let bytes: u64 = blobs
        .iter()
        .map(|blob| blob.metadata().unwrap().len())
        .sum();
    let fresh = |name: &str| -> PathBuf {
        let directory = store.home().join(name);
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir(&directory).unwrap();
        directory
    };
    let contenders = vec![
        Contender::new("onggi load, both digests", || {
            let root = fresh("onggi");
            let mut command = store.command(support::store::program());
            command
                .arg("--root")
                .arg(root.join("data"))
                .arg("--runroot")
                .arg(root.join("run"));
            command.args(["load", "-i"]).arg(layout);
            command
        }),
        Contender::new("tar xzf of each layer, no digest", || {
            let mut command = store.command("sh");
            let script = "cd \"$0\"; for layer; do tar -xzf \"$layer\" || exit; done";
            command.args(["-c", script]).arg(fresh("tar")).args(&blobs);
            command
        }),
        Contender::new("podman load", || {
            let root = fresh("podman");
            // It mounts its store on itself and leaves that mounted: here it goes with the namespace.
            let mut command = store.command("unshare");
            command.args(["--mount", "podman", "--storage-driver", "overlay", "--root"]);
            command
                .arg(root.join("data"))
                .arg("--runroot")
                .arg(root.join("run"));
            command.args(["load", "-q", "-i"]).arg(layout);
            command
        }),
    ];
    let megabytes = bytes as f64 / 1e6;
    race(
        &format!("{title}, {megabytes:.1} MB compressed"),
        rounds(7),
        contenders,
    );
}

/// The layers of the one image of a layout, lowest first.
fn layers(layout: &Path) -> Vec<PathBuf> {
    let json = |path: &Path| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    let blob = |descriptor: &serde_json::Value| {
        let digest = descriptor["digest"].as_str().unwrap().replace(':', "/");
        layout.join("blobs").join(digest)
    };
    let index = json(&layout.join("index.json"));
    let manifest = json(&blob(&index["manifests"][0]));
    manifest["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(blob)
        .collect()
}

/// A layout with a Debian as its only layer; made once.
fn debian() -> Result<PathBuf, String> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let layout = target.join("debian-layout");
    if layout.join("index.json").exists() {
        return Ok(layout);
    }
    let tar = target.join("debian.tar");
    let mut make = Command::new("mmdebstrap");
    make.args([
        "--variant=minbase",
        "--aptopt=Acquire::Check-Valid-Until \"false\"",
        "stable",
    ])
    .arg(&tar);
    let made = make
        .output()
        .map_err(|error| format!("mmdebstrap: {error}"))?;
    if !made.status.success() {
        return Err(String::from_utf8_lossy(&made.stderr)
            .lines()
            .last()
            .unwrap_or_default()
            .to_owned());
    }
    let content = std::fs::read(&tar).map_err(|error| error.to_string())?;
    let compressed = Command::new("gzip")
        .args(["-6", "-c"])
        .arg(&tar)
        .output()
        .map_err(|error| error.to_string())?;
    let architecture = if std::env::consts::ARCH == "aarch64" {
        "arm64"
    } else {
        "amd64"
    };
    let config = serde_json::json!({
        "architecture": architecture,
        "os": "linux",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": [digest(&content)] },
    });
    std::fs::create_dir_all(layout.join("blobs/sha256")).map_err(|error| error.to_string())?;
    let write = |kind: &str, bytes: &[u8]| {
        let digest = digest(bytes);
        std::fs::write(layout.join("blobs").join(digest.replace(':', "/")), bytes).unwrap();
        serde_json::json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest, "size": bytes.len(),
        })
    };
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": write("config.v1+json", config.to_string().as_bytes()),
        "layers": [write("layer.v1.tar+gzip", &compressed.stdout)],
    });
    let mut manifest = write("manifest.v1+json", manifest.to_string().as_bytes());
    manifest["annotations"] =
        serde_json::json!({ "org.opencontainers.image.ref.name": "debian:bench" });
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [manifest] });
    std::fs::write(
        layout.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
    std::fs::write(layout.join("index.json"), index.to_string()).unwrap();
    std::fs::remove_file(tar).map_err(|error| error.to_string())?;
    Ok(layout)
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}")
}
