//! The layers of a build as blobs, packed as somebody wants them: by gzip, by zstd, or not at all.
//!
//! What is packed lies in a file until it has gone; what is not packed is streamed out of the store.
//!
//! Invariant: the same layer, packed in the same way, gives the same bytes.

use crate::build::cache::import::Blob;
use crate::build::worker::order::Layers;
use crate::error::{Error, bad_input};
use crate::image::compression::Compression;
use crate::image::copy::Stream;
use crate::image::digest::{Digest, Hashing};
use crate::image::manifest::{DOCKER_LAYER, Descriptor, OCI_LAYER, layer_kind};
use crate::image::package::{self, GZIP_LEVEL, Pieces, stream};
use crate::image::store::tar_size;
use crate::paths::Paths;
use crate::store::staging::Staging;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

const ZSTD_LEVEL: i32 = 3;

/// How layers are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packing {
    /// By what.
    pub compression: Compression,
    /// How hard; the usual where nobody says.
    pub level: Option<i32>,
}

impl Default for Packing {
    fn default() -> Self {
        Self {
            compression: Compression::Gzip,
            level: None,
        }
    }
}

impl Packing {
    /// By one of the words that BuildKit knows.
    pub fn parse(word: &str) -> Result<Compression, Error> {
        match word {
            "gzip" => Ok(Compression::Gzip),
            "zstd" => Ok(Compression::Zstd),
            "uncompressed" => Ok(Compression::None),
            other => Err(
                bad_input(format!("unsupported layer compression type: {other}"))
                    .hint("compression=gzip, zstd or uncompressed"),
            ),
        }
    }
}

/// The blobs of a build.
pub struct Blobs {
    staging: Staging,
    packing: Packing,
    docker_types: bool,
    found: BTreeMap<Digest, Place>,
    /// By the digest of the tar.
    packed: BTreeMap<Digest, Descriptor>,
}

enum Place {
    Memory(Vec<u8>),
    File(PathBuf),
    /// A layer's directory, whose tar it is.
    Layer(PathBuf),
    /// Another cache, as it is there.
    Elsewhere(Box<Blob>),
}

impl Blobs {
    /// None yet.
    pub fn new(paths: &Paths, packing: Packing, docker_types: bool) -> Result<Self> {
        Ok(Self {
            staging: Staging::new(&paths.staging())?,
            packing,
            docker_types,
            found: BTreeMap::new(),
            packed: BTreeMap::new(),
        })
    }

    /// Adds bytes.
    pub fn add(&mut self, kind: &str, bytes: Vec<u8>) -> Descriptor {
        let descriptor = Descriptor::of(kind, &bytes);
        let place = Place::Memory(bytes);
        self.found.insert(descriptor.digest.clone(), place);
        descriptor
    }

    /// Adds a layer that is not here.
    pub fn elsewhere(&mut self, blob: Blob) -> Descriptor {
        let descriptor = Descriptor {
            annotations: None,
            ..blob.descriptor.clone()
        };
        let digest = descriptor.digest.clone();
        let place = Place::Elsewhere(Box::new(blob));
        self.found.insert(digest, place);
        descriptor
    }

    /// Adds layers.
    pub fn layers(&mut self, paths: &Paths, layers: &Layers) -> Result<Vec<Descriptor>> {
        let pairs = layers.names.iter().zip(&layers.diff_ids);
        pairs
            .map(|(name, diff_id)| {
                if let Some(known) = self.packed.get(diff_id) {
                    return Ok(known.clone());
                }
                let descriptor = self
                    .layer(paths.layer(name), diff_id)
                    .with_context(|| format!("pack layer {}", diff_id.short()))?;
                self.packed.insert(diff_id.clone(), descriptor.clone());
                Ok(descriptor)
            })
            .collect()
    }

    fn layer(&mut self, directory: PathBuf, diff_id: &Digest) -> Result<Descriptor> {
        let plain = if self.docker_types {
            DOCKER_LAYER
        } else {
            OCI_LAYER
        };
        let kind = layer_kind(plain, self.packing.compression);
        if self.packing.compression == Compression::None {
            let descriptor = Descriptor {
                digest: diff_id.clone(),
                size: tar_size(&directory)?,
                ..Descriptor::of(&kind, b"")
            };
            self.found.insert(diff_id.clone(), Place::Layer(directory));
            return Ok(descriptor);
        }
        let path = self.staging.path().join(diff_id.hex());
        let context = || format!("write `{}`", path.display());
        let file = File::create_new(&path).with_context(context)?;
        let mut both = Both {
            file: BufWriter::with_capacity(1 << 20, file),
            hashing: Hashing::default(),
        };
        self.pack(&mut both, |out| stream(&directory, diff_id, out))?;
        both.file.flush().with_context(context)?;
        let (digest, size) = both.hashing.finish();
        self.found.insert(digest.clone(), Place::File(path));
        Ok(Descriptor {
            digest,
            size,
            ..Descriptor::of(&kind, b"")
        })
    }

    fn pack(
        &self,
        out: &mut dyn Write,
        write: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<()> {
        let level = self.packing.level;
        match self.packing.compression {
            Compression::Gzip => {
                let level = level.map_or(GZIP_LEVEL, |level| level.clamp(0, 9).cast_unsigned());
                let encoder = fill(package::gzip(out, level), write)?;
                encoder.finish().context("pack a layer")?;
            }
            _ => {
                let level = level.unwrap_or(ZSTD_LEVEL).clamp(1, 22);
                let encoder = zstd::Encoder::new(out, level).context("start zstd")?;
                let encoder = fill(encoder, write)?;
                encoder.finish().context("pack a layer")?;
            }
        }
        Ok(())
    }

    /// The bytes of one.
    pub fn open(&self, digest: &Digest) -> Result<Stream<'_>> {
        let place = self.found.get(digest).context("find a blob of the build")?;
        Ok(match place {
            Place::Memory(bytes) => Box::new(io::Cursor::new(bytes)),
            Place::Elsewhere(blob) => return blob.place.blob(&blob.descriptor),
            Place::File(path) => {
                let context = || format!("open `{}`", path.display());
                Box::new(File::open(path).with_context(context)?)
            }
            Place::Layer(directory) => {
                let (directory, digest) = (directory.clone(), digest.clone());
                package::piped(move |out| stream(&directory, &digest, out))
            }
        })
    }
}

/// Lets `write` fill an encoder.
fn fill<W: Write>(encoder: W, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<W> {
    let mut pieces = Pieces::new(encoder);
    write(&mut pieces)?;
    pieces.finish().context("pack a layer")
}

/// A file whose digest is taken while it is written.
struct Both {
    file: BufWriter<File>,
    hashing: Hashing,
}

impl Write for Both {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all(bytes)?;
        self.hashing.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
