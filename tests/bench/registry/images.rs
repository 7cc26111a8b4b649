//! Two images of real files: a Debian with git, Python and a compiler, cut into ten layers (about 180 MB with gzip), and
//! the first part of the same as one layer (about 100 MB). They are made once and kept in cargo's target directory.

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How much of the tar is in the image of one layer.
const ONE: u64 = 265_000_000;

/// An image as an OCI layout whose tag is `v1`.
pub struct Image {
    pub name: &'static str,
    pub layout: PathBuf,
}

impl Image {
    /// The blobs of its layers, lowest first.
    pub fn layers(&self) -> Vec<PathBuf> {
        let json = |path: &Path| -> serde_json::Value {
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
        };
        let blob = |descriptor: &serde_json::Value| {
            let digest = descriptor["digest"].as_str().unwrap().replace(':', "/");
            self.layout.join("blobs").join(digest)
        };
        let index = json(&self.layout.join("index.json"));
        let manifest = json(&blob(&index["manifests"][0]));
        manifest["layers"]
            .as_array()
            .unwrap()
            .iter()
            .map(blob)
            .collect()
    }
}

/// Both, the one layer first.
pub fn images() -> Result<[Image; 2], String> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let [one, ten] = ["one", "ten"].map(|name| Image {
        name,
        layout: directory.join(format!("pull-{name}-layout")),
    });
    if !one.layout.join("index.json").exists() || !ten.layout.join("index.json").exists() {
        let tar = debian(directory)?;
        let length = tar.metadata().map_err(|error| error.to_string())?.len();
        for (image, cut, most) in [(&one, ONE, 1), (&ten, length / 10, usize::MAX)] {
            make(image, &tar, cut, most).map_err(|error| error.to_string())?;
        }
    }
    Ok([one, ten])
}

fn debian(directory: &Path) -> Result<PathBuf, String> {
    let tar = directory.join("pull-debian.tar");
    if tar.exists() {
        return Ok(tar);
    }
    let half = directory.join(format!("pull-debian-{}.tar", std::process::id()));
    let made = Command::new("mmdebstrap")
        .args([
            "--quiet",
            "--variant=minbase",
            "--include=gcc,git,python3",
            "--aptopt=Acquire::Check-Valid-Until \"false\"",
            "stable",
        ])
        .arg(&half)
        .output()
        .map_err(|error| format!("mmdebstrap: {error}"))?;
    if !made.status.success() {
        let _ = std::fs::remove_file(&half);
        let said = String::from_utf8_lossy(&made.stderr);
        return Err(said.lines().last().unwrap_or_default().to_owned());
    }
    std::fs::rename(&half, &tar).map_err(|error| error.to_string())?;
    Ok(tar)
}

/// A layout with the members of the tar in order, a new layer after each `cut` bytes, `most` layers at most.
fn make(image: &Image, tar: &Path, cut: u64, most: usize) -> io::Result<()> {
    let blobs = image.layout.join("blobs/sha256");
    std::fs::create_dir_all(&blobs)?;
    let mut archive = tar::Archive::new(BufReader::new(File::open(tar)?));
    let mut directories: BTreeMap<PathBuf, tar::Header> = BTreeMap::new();
    let mut layers = Vec::new();
    let mut current = Some(Layer::new(&image.layout)?);
    for member in archive.entries()? {
        let mut member = member?;
        let path = member.path()?.into_owned();
        if member.raw_file_position() >= cut * (layers.len() as u64 + 1) {
            if let Some(full) = current.take() {
                layers.push(full.finish(&image.layout)?);
            }
            if layers.len() == most {
                break;
            }
        }
        let layer = match &mut current {
            Some(layer) => layer,
            None => current.insert(Layer::above(&path, &directories, &image.layout)?),
        };
        let mut header = member.header().clone();
        match member.link_name()? {
            Some(link) => layer.builder.append_link(&mut header, &path, link)?,
            None => layer.builder.append_data(&mut header, &path, &mut member)?,
        }
        if header.entry_type().is_dir() {
            directories.insert(path, header);
        }
    }
    if let Some(last) = current {
        layers.push(last.finish(&image.layout)?);
    }
    let (diff_ids, layers): (Vec<_>, Vec<_>) = layers.into_iter().unzip();
    let architecture = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    };
    let config = serde_json::json!({
        "architecture": architecture,
        "os": "linux",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let write = |kind: &str, document: serde_json::Value| -> io::Result<serde_json::Value> {
        let bytes = document.to_string();
        let digest = hex(&Sha256::digest(&bytes));
        std::fs::write(blobs.join(&digest), &bytes)?;
        Ok(descriptor(kind, &digest, bytes.len() as u64))
    };
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": write("config.v1+json", config)?,
        "layers": layers,
    });
    let mut manifest = write("manifest.v1+json", manifest)?;
    manifest["annotations"] = serde_json::json!({ "org.opencontainers.image.ref.name": "v1" });
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [manifest] });
    std::fs::write(
        image.layout.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )?;
    std::fs::write(image.layout.join("index.json"), index.to_string())
}

fn descriptor(kind: &str, digest: &str, size: u64) -> serde_json::Value {
    serde_json::json!({
        "mediaType": format!("application/vnd.oci.image.{kind}"),
        "digest": format!("sha256:{digest}"),
        "size": size,
    })
}

/// A layer on its way to disk.
struct Layer {
    builder: tar::Builder<BufWriter<File>>,
    path: PathBuf,
}

impl Layer {
    fn new(layout: &Path) -> io::Result<Self> {
        let path = layout.join("layer.tar");
        let mut builder = tar::Builder::new(BufWriter::new(File::create(&path)?));
        builder.mode(tar::HeaderMode::Complete);
        Ok(Self { builder, path })
    }

    /// One that begins with the directories above the path, as all tools write them.
    fn above(
        path: &Path,
        directories: &BTreeMap<PathBuf, tar::Header>,
        layout: &Path,
    ) -> io::Result<Self> {
        let mut layer = Self::new(layout)?;
        let above: Vec<_> = path.ancestors().skip(1).collect();
        for directory in above.into_iter().rev() {
            if let Some(header) = directories.get(directory) {
                let mut header = header.clone();
                layer
                    .builder
                    .append_data(&mut header, directory, io::empty())?;
            }
        }
        Ok(layer)
    }

    /// Its diff id and its descriptor.
    fn finish(self, layout: &Path) -> io::Result<(String, serde_json::Value)> {
        self.builder
            .into_inner()?
            .into_inner()
            .map_err(|error| error.into_error())?;
        let (diff_id, _) = digest(&self.path)?;
        let packed = layout.join("layer.tar.gz");
        let status = Command::new("gzip")
            .args(["-6", "-n", "-c"])
            .arg(&self.path)
            .stdout(Stdio::from(File::create(&packed)?))
            .status()?;
        assert!(status.success());
        let (digest, size) = digest(&packed)?;
        std::fs::rename(&packed, layout.join("blobs/sha256").join(&digest))?;
        std::fs::remove_file(&self.path)?;
        Ok((
            format!("sha256:{diff_id}"),
            descriptor("layer.v1.tar+gzip", &digest, size),
        ))
    }
}

fn digest(path: &Path) -> io::Result<(String, u64)> {
    let mut hasher = Sha256::new();
    let size = io::copy(
        &mut File::open(path)?,
        &mut io::BufWriter::with_capacity(1 << 20, Hashing(&mut hasher)),
    )?;
    Ok((hex(&hasher.finalize()), size))
}

struct Hashing<'a>(&'a mut Sha256);

impl io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
