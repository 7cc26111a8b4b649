//! An image as others take it: a manifest, a config and layers as blobs (OCI manifest.md), made out of the store. Not
//! where it goes: that is for whoever pushes, copies or serves it.
//!
//! ```text
//! a layer ─┬─ kept blob ──────────── the file                    the very bytes that came
//!          ├─ its tar ────────────── journal + tree              byte for byte; the blob, where that was not compressed
//!          └─ packed ─────────────── journal + tree ─▶ gzip      the same bytes each time, in the words of one packer
//! ```
//!
//! Invariants. A blob is described only when its bytes can be given, and given only while they lead to the diff id that
//! the config lists. Nothing is held in memory but a few pieces for each blob that is being read.

use super::compression::Compression;
use super::digest::{Digest, Hashing};
use super::layer;
use super::manifest::{self, Descriptor, Manifest};
use super::origin::{self, Blob, Document, Origin};
use super::store;
use crate::error::{bad_input, not_found};
use crate::paths::{self, Paths};
use crate::store::damage;
use crate::store::lock::Lock;
use anyhow::{Context, Result};
use flate2::GzBuilder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Who packs: another name for each change of what comes out.
pub const PACKER: &str = "gzip-6-zlib-rs-0.6";
/// How hard it packs.
pub const GZIP_LEVEL: u32 = 6;
const PIECE: usize = 128 << 10;
/// Pieces that wait for whoever reads.
const PIECES: usize = 4;

/// An image.
#[derive(Debug)]
pub struct Package {
    /// Its id.
    pub id: Digest,
    /// The config, byte for byte.
    pub config: Vec<u8>,
    /// Lowest first.
    pub layers: Vec<Layer>,
    /// The manifests that it is known to have come by, the latest first.
    pub origins: Vec<Origin>,
}

/// One of its layers.
#[derive(Debug)]
pub struct Layer {
    /// Its name in the store ([`Paths::layer`]).
    pub name: String,
    /// The digest of its tar.
    pub diff_id: Digest,
    /// The length of its tar in bytes.
    pub tar_size: u64,
    /// The blobs that it is known to be, the latest first; not all can be given.
    pub blobs: Vec<Blob>,
    directory: PathBuf,
    /// What packing it gave.
    packed: OnceLock<Descriptor>,
}

/// What becomes of layers whose original bytes cannot be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Otherwise {
    /// Their tars go as they are, which costs nothing.
    Plain,
    /// They are packed; the first time this reads each of them once more.
    Packed,
}

/// A manifest and the layers that it names, all of whose bytes [`Layer::open`] gives.
#[derive(Debug)]
pub struct Described {
    /// The manifest.
    pub manifest: Document,
    /// Its layers, in the package's order.
    pub layers: Vec<Descriptor>,
}

impl Package {
    /// What is known of an image; no layer is read.
    pub fn of(paths: &Paths, id: &Digest) -> Result<Self> {
        let image = store::find(paths, &id.to_string())?;
        let config = store::config_bytes(paths, id)?;
        let diff_ids = image.config.rootfs.diff_ids;
        let layer = |(name, diff_id): (String, Digest)| {
            let directory = paths.layer(&name);
            Ok(Layer {
                tar_size: store::layer_record(&directory)?.tar_size,
                // What another store says of its layers nobody has checked here.
                blobs: match paths.is_elsewhere(&name) {
                    true => Vec::new(),
                    false => origin::blobs(&directory),
                },
                name,
                diff_id,
                directory,
                packed: OnceLock::new(),
            })
        };
        let layers = image.layers.into_iter().zip(diff_ids);
        Ok(Self {
            id: id.clone(),
            config,
            layers: layers.map(layer).collect::<Result<_>>()?,
            origins: origin::origins(&paths.image(id.hex())),
        })
    }

    /// The image by the manifest that it came by last, if all its bytes can be given; else by one that has as much of it
    /// as possible.
    pub fn describe(&self, paths: &Paths, otherwise: Otherwise) -> Result<Described> {
        for origin in &self.origins {
            let Some(layers) = self.original_layers(origin) else {
                continue;
            };
            let all = layers.iter().zip(&self.layers);
            if all
                .into_iter()
                .all(|(blob, layer)| layer.gives(&blob.digest))
            {
                return Ok(Described {
                    manifest: origin.manifest.clone(),
                    layers,
                });
            }
        }
        let first = self.origins.first();
        let originals = first.and_then(|origin| self.original_layers(origin));
        let mut layers = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            let original = originals.as_ref().map(|layers| &layers[index]);
            let given = original.filter(|blob| layer.gives(&blob.digest)).cloned();
            layers.push(match (given, otherwise) {
                (Some(given), _) => given,
                (None, Otherwise::Plain) => layer.plain(),
                (None, Otherwise::Packed) => match layer.packed() {
                    Some(packed) => packed,
                    None => layer.pack(paths, &mut io::sink())?,
                },
            });
        }
        Ok(Described {
            manifest: self.manifest(first, &layers)?,
            layers,
        })
    }

    /// The layers as a manifest that it came by describes them.
    pub fn original_layers(&self, origin: &Origin) -> Option<Vec<Descriptor>> {
        let manifest = origin.manifest.manifest()?;
        let fits = manifest.config.digest == self.id && manifest.layers.len() == self.layers.len();
        fits.then_some(manifest.layers)
    }

    /// The manifest for these layers: that of `origin` if it has the very same, else that with other layers, or an OCI
    /// manifest.
    pub fn manifest(&self, origin: Option<&Origin>, layers: &[Descriptor]) -> Result<Document> {
        let originals = origin.and_then(|origin| Some((origin, self.original_layers(origin)?)));
        let bytes = match originals {
            Some((origin, originals)) => {
                let same = |(one, other): (&Descriptor, &Descriptor)| one.digest == other.digest;
                if originals.iter().zip(layers).all(same) {
                    return Ok(origin.manifest.clone());
                }
                with_layers(origin, layers)?
            }
            None => {
                let config = Descriptor::of(manifest::OCI_CONFIG, &self.config);
                serde_json::to_vec(&Manifest::new(config, layers.to_vec()))?
            }
        };
        let kind = origin.map_or(manifest::OCI_MANIFEST, |origin| &origin.manifest.media_type);
        Document::new(kind, &bytes).context("write a manifest")
    }

    /// The layer that gives a blob.
    pub fn layer_of(&self, digest: &Digest) -> Option<&Layer> {
        self.layers.iter().find(|layer| layer.gives(digest))
    }
}

/// A manifest with other layers and everything else as it is.
fn with_layers(origin: &Origin, layers: &[Descriptor]) -> Result<Vec<u8>> {
    let mut value: Value = serde_json::from_str(&origin.manifest.text)?;
    let places = value["layers"]
        .as_array_mut()
        .ok_or_else(|| bad_input("the manifest has no layers"))?;
    for (place, layer) in places.iter_mut().zip(layers) {
        if place["digest"].as_str() != Some(&layer.digest.to_string()) {
            let old = place["mediaType"].as_str().unwrap_or_default();
            let compression = manifest::promised_compression(&layer.media_type);
            place["mediaType"] = json!(manifest::layer_kind(old, compression));
            place["digest"] = json!(layer.digest);
            place["size"] = json!(layer.size);
        }
    }
    Ok(serde_json::to_vec(&value)?)
}

impl Layer {
    /// Its tar as a blob.
    pub fn plain(&self) -> Descriptor {
        Descriptor {
            digest: self.diff_id.clone(),
            size: self.tar_size,
            ..Descriptor::of(manifest::OCI_LAYER, b"")
        }
    }

    /// It packed, if that was done before.
    pub fn packed(&self) -> Option<Descriptor> {
        if let Some(packed) = self.packed.get() {
            return Some(packed.clone());
        }
        let is_ours = |blob: &&Blob| blob.packer.as_deref() == Some(PACKER);
        let blob = self.blobs.iter().find(is_ours)?;
        Some(packed_descriptor(blob.digest.clone(), blob.size))
    }

    /// Packs it into `out`, and remembers what came out.
    pub fn pack(&self, paths: &Paths, out: &mut dyn Write) -> Result<Descriptor> {
        let mut hashing = Hashing::default();
        let mut buffer = vec![0; PIECE];
        let mut packed = self.packing();
        loop {
            let got = packed.read(&mut buffer).with_context(|| self.shown())?;
            if got == 0 {
                break;
            }
            hashing.write_all(&buffer[..got])?;
            out.write_all(&buffer[..got]).context("write a blob")?;
        }
        let (digest, size) = hashing.finish();
        let descriptor = packed_descriptor(digest, size);
        let blob = Blob {
            packer: Some(PACKER.to_owned()),
            ..Blob::new(&descriptor, None)
        };
        let remember = || {
            let _lock = Lock::exclusive(&paths.lock())?;
            origin::add_to_store(paths, &self.name, &blob)
        };
        if let Err(error) = remember() {
            damage::note("what a layer was packed to is not remembered", &error);
        }
        // Another has packed it meanwhile, to the same.
        let _ = self.packed.set(descriptor.clone());
        Ok(descriptor)
    }

    /// Whether [`Layer::open`] gives a blob.
    pub fn gives(&self, digest: &Digest) -> bool {
        *digest == self.diff_id
            || self.kept(digest).is_some()
            || self.packed().is_some_and(|packed| packed.digest == *digest)
    }

    /// The bytes of a blob that it gives.
    pub fn open(&self, digest: &Digest) -> Result<Box<dyn Read + Send>> {
        if let Some(path) = self.kept(digest) {
            let file = File::open(&path).with_context(|| format!("open `{}`", path.display()))?;
            return Ok(Box::new(file));
        }
        if *digest == self.diff_id {
            let (directory, diff_id) = (self.directory.clone(), self.diff_id.clone());
            return Ok(Box::new(Pipe::from(move |out: &mut dyn Write| {
                stream(&directory, &diff_id, out)
            })));
        }
        match self.packed() {
            Some(packed) if packed.digest == *digest => Ok(Box::new(self.packing())),
            _ => Err(not_found(format!("{digest} is not here")).into()),
        }
    }

    /// Its bytes, packed as they are read.
    fn packing(&self) -> Pipe {
        let (directory, diff_id) = (self.directory.clone(), self.diff_id.clone());
        Pipe::from(move |out: &mut dyn Write| {
            let mut pieces = Pieces::new(gzip(out, GZIP_LEVEL));
            stream(&directory, &diff_id, &mut pieces)?;
            let packed = pieces.finish().and_then(GzEncoder::finish);
            packed.map(drop).context("pack a layer")
        })
    }

    /// The file that a blob was kept in.
    pub fn kept(&self, digest: &Digest) -> Option<PathBuf> {
        let path = paths::kept_blob_in(&self.directory, digest.hex());
        path.exists().then_some(path)
    }

    fn shown(&self) -> String {
        format!("stream the layer `{}`", self.directory.display())
    }
}

fn packed_descriptor(digest: Digest, size: u64) -> Descriptor {
    let kind = manifest::layer_kind(manifest::OCI_LAYER, Compression::Gzip);
    Descriptor {
        digest,
        size,
        ..Descriptor::of(&kind, b"")
    }
}

/// Packs by gzip: no name, no time, nothing of this machine.
pub fn gzip<W: Write>(out: W, level: u32) -> GzEncoder<W> {
    GzBuilder::new().write(out, flate2::Compression::new(level))
}

/// Hands on what is written to it in pieces of one length, since what an encoder makes depends on the lengths.
#[derive(Debug)]
pub struct Pieces<W: Write> {
    out: W,
    piece: Vec<u8>,
}

impl<W: Write> Pieces<W> {
    /// To `out`.
    pub fn new(out: W) -> Self {
        Self {
            out,
            piece: Vec::with_capacity(PIECE),
        }
    }

    /// Hands on the rest.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&self.piece)?;
        Ok(self.out)
    }
}

impl<W: Write> Write for Pieces<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE {
            self.out.write_all(&self.piece)?;
            self.piece.clear();
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The tar of a layer; an error if it is not what the image was made of.
pub fn stream(directory: &Path, diff_id: &Digest, out: &mut dyn Write) -> Result<()> {
    let got = layer::stream_tar(directory, out)?;
    match got == *diff_id {
        true => Ok(()),
        false => Err(bad_input(format!(
            "it gives {got} instead of {diff_id}: its files were changed in the store"
        ))
        .into()),
    }
}

/// What `write` writes in a thread, to be read.
pub fn piped(
    write: impl FnOnce(&mut dyn Write) -> Result<()> + Send + 'static,
) -> Box<dyn Read + Send> {
    Box::new(Pipe::from(write))
}

/// What a thread writes, to be read. It ends when its reader is gone.
struct Pipe {
    pieces: Receiver<Part>,
    piece: Vec<u8>,
    position: usize,
    ended: bool,
}

enum Part {
    Piece(Vec<u8>),
    End,
    Failed(String),
}

impl Pipe {
    fn from(write: impl FnOnce(&mut dyn Write) -> Result<()> + Send + 'static) -> Self {
        let (sender, pieces) = sync_channel(PIECES);
        std::thread::spawn(move || {
            let mut out = Writer {
                sender,
                piece: Vec::with_capacity(PIECE),
            };
            let written = write(&mut out).and_then(|()| Ok(out.flush()?));
            // Nobody is left to be told where the reader is gone.
            let _ = out.sender.send(match written {
                Ok(()) => Part::End,
                Err(error) => Part::Failed(format!("{error:#}")),
            });
        });
        Self {
            pieces,
            piece: Vec::new(),
            position: 0,
            ended: false,
        }
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.position == self.piece.len() && !self.ended {
            match self.pieces.recv() {
                Ok(Part::Piece(piece)) => (self.piece, self.position) = (piece, 0),
                Ok(Part::End) => self.ended = true,
                Ok(Part::Failed(why)) => return Err(io::Error::other(why)),
                Err(_) => return Err(io::Error::other("what gives the layer has stopped")),
            }
        }
        let got = (&self.piece[self.position..]).read(buffer)?;
        self.position += got;
        Ok(got)
    }
}

/// The other end.
struct Writer {
    sender: SyncSender<Part>,
    piece: Vec<u8>,
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        let sent = self.sender.send(Part::Piece(piece));
        sent.map_err(|_| io::Error::other("nobody reads it any more"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the packer is called says what comes out of it: another digest here wants another name there.
    #[test]
    fn the_packer_gives_what_it_always_gave() {
        let mut text = Vec::new();
        let mut state = 1u32;
        for _ in 0..300_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            text.push(b"onggi jars, kiln and clay"[(state >> 24) as usize % 25]);
        }
        let packed = |piece: usize| {
            let mut packer = Pieces::new(gzip(Vec::new(), GZIP_LEVEL));
            text.chunks(piece)
                .for_each(|piece| packer.write_all(piece).unwrap());
            Digest::of(&packer.finish().unwrap().finish().unwrap()).to_string()
        };
        assert_eq!(packed(1000), packed(text.len()));
        assert_eq!(
            (PACKER, packed(PIECE).as_str()),
            (
                "gzip-6-zlib-rs-0.6",
                "sha256:e877de1a1fe2c2dfef591f855750a81cc4989df2cf30299eea9466e5d007a077"
            )
        );
    }

    #[test]
    fn a_pipe_gives_all_of_it_or_says_why_not() {
        let length = 3 * PIECE + 5;
        let mut whole = Vec::new();
        let mut pipe = Pipe::from(move |out| Ok(out.write_all(&vec![7; length])?));
        pipe.read_to_end(&mut whole).unwrap();
        assert_eq!(whole, vec![7; length]);
        let mut broken = Pipe::from(|out| {
            out.write_all(b"x")?;
            anyhow::bail!("no more clay")
        });
        let error = broken.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "no more clay");
        // Nobody waits for a reader that is gone.
        let (sender, ended) = std::sync::mpsc::channel();
        drop(Pipe::from(move |out| {
            let written = out.write_all(&vec![7; 100 * PIECE]);
            sender.send(written.is_err())?;
            Ok(written?)
        }));
        assert!(ended.recv().unwrap());
    }

    #[test]
    fn a_manifest_keeps_all_but_its_layers() {
        let config = Descriptor::of(manifest::OCI_CONFIG, b"{}");
        let layer = |kind: &str, text: &[u8]| Descriptor::of(kind, text);
        let gzip = "application/vnd.docker.image.rootfs.diff.tar.gzip";
        let text = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": config,
            "layers": [layer(gzip, b"a"), layer(gzip, b"b")],
            "annotations": {"jar": "brown"},
        });
        let text = text.to_string();
        let kind = "application/vnd.docker.distribution.manifest.v2+json";
        let origin = Origin {
            manifest: Document::new(kind, text.as_bytes()).unwrap(),
            index: None,
            repository: None,
        };
        let oci = manifest::layer_kind(manifest::OCI_LAYER, Compression::Gzip);
        let package = Package {
            id: Digest::of(b"{}"),
            config: b"{}".to_vec(),
            layers: Vec::new(),
            origins: vec![origin.clone()],
        };
        // Without layers of its own it cannot have come by that manifest.
        assert!(package.original_layers(&origin).is_none());
        let changed = with_layers(&origin, &[layer(gzip, b"a"), layer(&oci, b"c")]).unwrap();
        let expected = text.replace(&Digest::of(b"b").to_string(), &Digest::of(b"c").to_string());
        assert_eq!(String::from_utf8(changed).unwrap(), expected);
    }
}
