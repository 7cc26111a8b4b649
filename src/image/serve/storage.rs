//! What a registry serves, wherever it lies: a folder of its own, or the images of the store.

use super::digest::AnyDigest;
use super::folder::Folder;
use super::name::{Name, Reference};
use crate::store::lock::Lock;
use anyhow::{Context, Result};
use serde_json::Value;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::PathBuf;

/// A manifest or an index, byte for byte.
pub struct Manifest {
    /// Of the bytes, by the algorithm that was asked for.
    pub digest: AnyDigest,
    /// As it was pushed with.
    pub media_type: String,
    /// The document.
    pub bytes: Vec<u8>,
}

/// A blob.
pub struct Blob {
    /// Of all of it, in bytes.
    pub size: u64,
    /// Where it comes from.
    pub source: Source,
}

/// Where the bytes of a blob are.
pub enum Source {
    /// In a file.
    File(File),
    /// Here.
    Bytes(Vec<u8>),
    /// In a layer of the store, to be made a tar archive again; its directory, which stays meanwhile.
    Layer(PathBuf, Lock),
    /// Made as they are read, from the first one on, of a layer that stays meanwhile.
    Stream(Box<dyn Read + Send>, Lock),
}

impl Source {
    /// Writes a part of the blob, which has it.
    pub fn write(self, part: Range<u64>, out: &mut dyn Write) -> Result<()> {
        match self {
            Self::Bytes(bytes) => {
                let (start, end) = (usize::try_from(part.start)?, usize::try_from(part.end)?);
                out.write_all(&bytes[start..end]).context("write a blob")
            }
            Self::File(mut file) => {
                file.seek(SeekFrom::Start(part.start))
                    .context("seek in a blob")?;
                copy(&mut file.take(part.end - part.start), out).context("write a blob")
            }
            Self::Stream(mut stream, _lock) => {
                let skipped = io::copy(&mut stream.by_ref().take(part.start), &mut io::sink());
                skipped.context("skip a part of a blob")?;
                copy(&mut stream.take(part.end - part.start), out).context("write a blob")
            }
            Self::Layer(directory, _lock) => {
                crate::image::layer::stream_part(&directory, part, out)
            }
        }
    }
}

fn copy(input: &mut dyn Read, out: &mut dyn Write) -> io::Result<()> {
    let mut piece = vec![0; 256 << 10];
    loop {
        match input.read(&mut piece)? {
            0 => return Ok(()),
            got => out.write_all(&piece[..got])?,
        }
    }
}

/// What can be read.
pub trait Storage: Sync {
    /// A manifest, `None` when it is not there.
    fn manifest(&self, repository: &Name, reference: &Reference) -> Result<Option<Manifest>>;
    /// A blob, `None` when that repository does not have it.
    fn blob(&self, repository: &Name, digest: &AnyDigest) -> Result<Option<Blob>>;
    /// Sorted; `None` when there is no such repository.
    fn tags(&self, repository: &Name) -> Result<Option<Vec<String>>>;
    /// Sorted.
    fn repositories(&self) -> Result<Vec<String>>;
    /// Shows descriptors of the manifests that name this one as their subject, sorted by digest, those `after` one only,
    /// until `visit` has enough.
    fn referrers(
        &self,
        repository: &Name,
        subject: &AnyDigest,
        after: Option<&str>,
        visit: &mut dyn FnMut(Value) -> bool,
    ) -> Result<()>;
    /// Where things can be pushed to, or why not.
    fn writable(&self) -> Result<&Folder, &'static str>;
}
