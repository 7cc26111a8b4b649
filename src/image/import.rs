//! `import`: makes an image of the files of a root file system, given as a tar archive, plain or compressed. It
//! becomes the only layer.

use super::change;
use super::compression;
use super::config::{Config, Execution, History, RootFs};
use super::digest::Digest;
use super::intake::{Chain, Displaced, Expected, Intake};
use super::layer::Rules;
use super::platform::Platform;
use super::reference::Reference;
use super::store;
use super::trust::Trust;
use crate::paths::Paths;
use anyhow::{Context, Result};
use jiff::{Timestamp, Unit};
use std::fs::File;
use std::path::Path;

/// What policies call root file systems.
pub const TARBALL: &str = "tarball";

/// What to make of the archive.
#[derive(Debug, Default)]
pub struct Import {
    /// Where it came from, as the user wrote it.
    pub origin: String,
    /// What the image is to be called.
    pub name: Option<Reference>,
    /// Instructions ([`change`]).
    pub changes: Vec<String>,
    /// For the history, instead of `Imported from …`.
    pub message: Option<String>,
    /// For which platform; this machine's where none is given.
    pub platform: Option<Platform>,
}

/// Makes the image; returns its id.
pub fn import(
    paths: &Paths,
    rules: &Rules,
    file: File,
    import: &Import,
    trust: &Trust,
) -> Result<(Digest, Vec<Displaced>)> {
    // Rules for it have no scopes (containers-policy.json(5), "tarball:").
    trust
        .accept_file(TARBALL, Path::new(""))
        .with_context(|| format!("import `{}`", import.origin))?;
    let mut execution = Execution::default();
    change::apply(&mut execution, &import.changes)?;
    let mut intake = Intake::new(paths, rules)?;
    let mut chain = Chain::default();
    let unpack = || {
        let (compression, stream) = compression::peek(file)?;
        match compression {
            compression::Compression::Xz | compression::Compression::Bzip2 => {
                compression.unpack(stream)
            }
            // The layer writer does these itself, in a thread of its own.
            _ => Ok(Box::new(stream) as Box<dyn std::io::Read + Send>),
        }
    };
    intake
        .layer(&mut chain, &Expected::default(), unpack)
        .with_context(|| format!("import `{}`", import.origin))?;
    let config = config(import, execution, &chain)?;
    let id = intake.image(
        &serde_json::to_vec(&config)?,
        &chain,
        import.name.iter().cloned().collect(),
    )?;
    Ok((id, intake.commit()?))
}

/// Whether what was imported is an archive of images (`docker save`, OCI layout) and not the files of one.
pub fn is_saved_image(paths: &Paths, id: &Digest) -> Result<bool> {
    let image = store::find(paths, &id.to_string())?;
    let Some(layer) = image.layers.first() else {
        return Ok(false);
    };
    let is_file = |name| {
        paths
            .layer_tree(layer)
            .join(name)
            .symlink_metadata()
            .is_ok_and(|file| file.is_file())
    };
    let saved = is_file("manifest.json") || (is_file("oci-layout") && is_file("index.json"));
    Ok(saved && !paths.layer_tree(layer).join("usr").is_dir())
}

fn config(import: &Import, execution: Execution, chain: &Chain) -> Result<Config> {
    let platform = import.platform.clone().unwrap_or_else(Platform::host);
    let created = Some(Timestamp::now().round(Unit::Microsecond)?.to_string());
    let comment = import
        .message
        .clone()
        .unwrap_or_else(|| format!("Imported from {}", import.origin));
    Ok(Config {
        architecture: platform.architecture,
        os: platform.os,
        variant: platform.variant,
        created: created.clone(),
        comment: comment.clone(),
        config: execution,
        rootfs: RootFs {
            diff_ids: chain.diff_ids().to_vec(),
            ..RootFs::default()
        },
        history: vec![History {
            created,
            comment,
            ..History::default()
        }],
        ..Config::default()
    })
}
