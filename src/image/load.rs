//! `load`: takes in the images of an archive of any known kind, all of them or none.
//!
//! The kinds are told apart by what is in them: an OCI layout ([`super::oci_layout`]; what Docker has written
//! since 25 is one as well), `manifest.json` ([`super::docker_archive`]), or neither ([`super::v1_archive`]).

use super::archive::{Archive, Section, missing};
use super::compression::{self, Compression};
use super::config::{Config, History};
use super::digest::Digest;
use super::intake::{Chain, Displaced, Expected, Intake};
use super::layer::Rules;
use super::manifest::Descriptor;
use super::origin::{Blob, Origin};
use super::platform::Platform;
use super::reference::Reference;
use super::trust::Trust;
use super::{docker_archive, oci_layout, v1_archive};
use crate::error::bad_input;
use crate::paths::Paths;
use anyhow::{Context, Result};
use serde_json::{Map, Value};
use std::fs::File;
use std::path::Path;

/// Where images are read from.
pub enum Source<'a> {
    /// A layout or an archive that was unpacked.
    Directory(&'a Path),
    /// An open file, or a pipe, which has no path.
    File {
        /// The file.
        file: File,
        /// What it is called.
        path: Option<&'a Path>,
    },
}

impl<'a> Source<'a> {
    /// Opens a file or a directory.
    pub fn open(path: &'a Path) -> Result<Self> {
        if path.is_dir() {
            return Ok(Self::Directory(path));
        }
        let file = File::open(path).with_context(|| format!("open `{}`", path.display()))?;
        Ok(Self::File {
            file,
            path: Some(path),
        })
    }
}

/// What was taken in.
#[derive(Debug)]
pub struct Loaded {
    /// The images in the order of the archive.
    pub images: Vec<LoadedImage>,
    /// Names that pointed to other images before.
    pub displaced: Vec<Displaced>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// One image that was taken in.
#[derive(Debug)]
pub struct LoadedImage {
    /// Its id.
    pub id: Digest,
    /// The names it got.
    pub names: Vec<Reference>,
}

/// What the caller wants of an archive.
pub struct Wanted<'a> {
    /// For which platform.
    pub platform: Platform,
    /// What the archive is called, without directory and extension; a repository for tags without one.
    pub stem: Option<&'a str>,
}

impl Wanted<'_> {
    /// An error if there are platforms, and none that suits.
    pub fn refuse_foreign(&self, platforms: &[&Platform]) -> Result<()> {
        if platforms.is_empty()
            || platforms
                .iter()
                .any(|platform| self.platform.matches(platform))
        {
            return Ok(());
        }
        let mut names: Vec<String> = platforms.iter().map(ToString::to_string).collect();
        names.dedup();
        let message = format!(
            "the image is for {}, not for {}",
            names.join(", "),
            self.platform
        );
        Err(bad_input(message)
            .hint(format!(
                "`--platform {}` takes it in all the same",
                names[0]
            ))
            .into())
    }
}

/// A layer in an archive.
pub struct Layer {
    /// The file.
    pub file: String,
    /// The blob's digest and size in bytes, where something says so.
    pub blob: Option<(Digest, u64)>,
    /// The compression that something promises.
    pub compression: Option<Compression>,
    /// How a manifest describes the blob.
    pub descriptor: Option<Descriptor>,
}

/// An image in an archive.
pub struct Offered {
    config: OfferedConfig,
    layers: Vec<Layer>,
    /// What it is for.
    pub platform: Platform,
    /// What it is called.
    pub names: Vec<Reference>,
    /// By which manifest it came.
    pub origin: Option<Origin>,
}

enum OfferedConfig {
    Whole {
        bytes: Vec<u8>,
        diff_ids: Vec<Digest>,
    },
    /// To be made when the diff ids are known.
    V1 {
        top: Map<String, Value>,
        history: Vec<History>,
    },
}

impl Offered {
    /// An image with its config, which must list as many layers as there are.
    pub fn new(
        (config, bytes): (Config, Vec<u8>),
        layers: Vec<Layer>,
        names: Vec<Reference>,
    ) -> Result<Self> {
        let diff_ids = config.rootfs.diff_ids.clone();
        if diff_ids.len() != layers.len() {
            let (listed, here) = (diff_ids.len(), layers.len());
            return Err(bad_input(format!(
                "its config lists {listed} layers, and it has {here}"
            ))
            .into());
        }
        let platform = config.platform();
        Ok(Self {
            config: OfferedConfig::Whole { bytes, diff_ids },
            layers,
            platform,
            names,
            origin: None,
        })
    }

    /// An image whose config is made of its topmost layer's description.
    pub fn without_config(
        top: Map<String, Value>,
        history: Vec<History>,
        platform: Platform,
        layers: Vec<Layer>,
        names: Vec<Reference>,
    ) -> Self {
        Self {
            config: OfferedConfig::V1 { top, history },
            layers,
            platform,
            names,
            origin: None,
        }
    }
}

/// Takes in all images of an archive that suit `platform`, or this machine.
pub fn load(
    paths: &Paths,
    rules: &Rules,
    source: Source,
    platform: Option<Platform>,
    trust: &Trust,
) -> Result<Loaded> {
    let path = match &source {
        Source::Directory(path) => Some(*path),
        Source::File { path, .. } => *path,
    };
    let shown = path.map_or("load standard input".to_owned(), |path| {
        format!("load `{}`", path.display())
    });
    let is_directory = matches!(source, Source::Directory(_));
    let stem = path.and_then(stem);
    let wanted = Wanted {
        platform: platform.unwrap_or_else(Platform::host),
        stem: stem.as_deref(),
    };
    let mut intake = Intake::new(paths, rules)?;
    let archive = match source {
        Source::Directory(path) => Archive::directory(path),
        Source::File { file, .. } => Archive::read(file, intake.scratch(), intake.max_bytes()),
    };
    let taken = archive.and_then(|archive| {
        accept(&archive, is_directory, trust)?;
        take_in(&mut intake, &archive, &wanted)
    });
    let (images, warnings) = taken.context(shown)?;
    Ok(Loaded {
        images,
        warnings,
        displaced: intake.commit()?,
    })
}

/// Refuses what the policy does not accept as it is, by the names that podman has for kinds of archives.
fn accept(archive: &Archive, is_directory: bool, trust: &Trust) -> Result<()> {
    let is_docker = docker_archive::is_here(archive)? || !oci_layout::is_here(archive)?;
    let transport = match (is_directory && oci_layout::is_here(archive)?, is_docker) {
        (true, _) => "oci",
        (false, true) => "docker-archive",
        (false, false) => "oci-archive",
    };
    Ok(trust.accept_file(transport, archive.place())?)
}

fn take_in(
    intake: &mut Intake,
    archive: &Archive,
    wanted: &Wanted,
) -> Result<(Vec<LoadedImage>, Vec<String>)> {
    let offered = if oci_layout::is_here(archive)? {
        oci_layout::images(archive, wanted)?
    } else if docker_archive::is_here(archive)? {
        docker_archive::images(archive, wanted)?
    } else if v1_archive::is_here(archive)? {
        v1_archive::images(archive, wanted)?
    } else {
        return Err(bad_input(
            "it holds no images: no `index.json`, `manifest.json` or `repositories` is in it",
        )
        .hint("`import` makes an image of the files of a root file system")
        .into());
    };
    let mut images = Vec::new();
    let mut warnings = Vec::new();
    for image in offered {
        images.push(take_in_image(intake, archive, image, &mut warnings)?);
    }
    Ok((images, warnings))
}

fn take_in_image(
    intake: &mut Intake,
    archive: &Archive,
    image: Offered,
    warnings: &mut Vec<String>,
) -> Result<LoadedImage> {
    let mut chain = Chain::default();
    for (index, layer) in image.layers.iter().enumerate() {
        let diff_id = match &image.config {
            OfferedConfig::Whole { diff_ids, .. } => Some(diff_ids[index].clone()),
            OfferedConfig::V1 { .. } => None,
        };
        let expected = Expected {
            diff_id,
            blob: layer.blob.clone(),
            remembered: (layer.descriptor.as_ref()).map(|found| Blob::new(found, None)),
        };
        intake
            .layer(&mut chain, &expected, || {
                open_layer(archive, layer, warnings)
            })
            .with_context(|| {
                format!(
                    "layer {} of {} (`{}`)",
                    index + 1,
                    image.layers.len(),
                    layer.file
                )
            })?;
    }
    let config = match image.config {
        OfferedConfig::Whole { bytes, .. } => bytes,
        OfferedConfig::V1 { top, history } => v1_archive::config(&top, &history, chain.diff_ids())?,
    };
    let id = intake.image(&config, &chain, image.names.clone())?;
    if let Some(origin) = image.origin {
        intake.came_by(&id, origin)?;
    }
    Ok(LoadedImage {
        id,
        names: image.names,
    })
}

/// The start of the blob decides how it is unpacked; a manifest that says otherwise is worth a warning.
fn open_layer<'a>(
    archive: &'a Archive,
    layer: &Layer,
    warnings: &mut Vec<String>,
) -> Result<Section<'a>> {
    let open = || {
        archive
            .file(&layer.file)?
            .ok_or_else(|| missing(&layer.file).into())
    };
    let section: Section = open()?;
    if let Some((_, size)) = &layer.blob
        && section.left() != *size
    {
        let got = section.left();
        return Err(bad_input(format!("it should be {size} bytes long and is {got}")).into());
    }
    if let Some(promised) = layer.compression {
        let (found, _) =
            compression::peek(section).with_context(|| format!("read `{}`", layer.file))?;
        if found != promised {
            let (promised, found) = (promised.name(), found.name());
            warnings.push(format!(
                "layer `{}` is announced as {promised} and is {found}",
                layer.file
            ));
        }
        return open();
    }
    Ok(section)
}

/// `dir/app.tar.gz` is called `app`, `dir/app-1.2/` is called `app-1.2`.
fn stem(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let name = path.file_name()?.to_str()?;
    if path.is_dir() {
        return Some(name.to_owned());
    }
    let packed = [
        ".gz", ".tgz", ".xz", ".txz", ".zst", ".tzst", ".bz2", ".tbz2", ".tbz",
    ];
    let name = packed
        .iter()
        .find_map(|extension| name.strip_suffix(extension))
        .unwrap_or(name);
    Some(name.strip_suffix(".tar").unwrap_or(name).to_owned())
}
