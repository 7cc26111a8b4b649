//! A tar archive of blobs on its way out (ustar of pax(1)): `blobs/sha256/HEX`, each once, and documents beside them.
//! The same content gives the same bytes.

use super::digest::Digest;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::io::Write;

/// Where blobs lie (OCI image-layout.md).
pub const BLOBS: &str = "blobs/sha256";

/// Where a blob lies.
pub fn blob(digest: &Digest) -> String {
    format!("{BLOBS}/{}", digest.hex())
}

/// An archive.
pub struct Tar<W> {
    out: W,
    written: BTreeSet<Digest>,
}

impl<W: Write> Tar<W> {
    /// One with the directories of blobs.
    pub fn new(out: W) -> Result<Self> {
        let mut tar = Self {
            out,
            written: BTreeSet::new(),
        };
        for directory in ["blobs/", "blobs/sha256/"] {
            tar.header(directory, tar::EntryType::Directory, 0o755, 0)?;
        }
        Ok(tar)
    }

    /// Adds a file.
    pub fn file(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.header(name, tar::EntryType::Regular, 0o644, content.len() as u64)?;
        self.write(content)?;
        self.pad(content.len() as u64)
    }

    /// Adds a blob that is in memory.
    pub fn blob(&mut self, content: &[u8]) -> Result<()> {
        let digest = Digest::of(content);
        if self.written.insert(digest.clone()) {
            self.file(&blob(&digest), content)?;
        }
        Ok(())
    }

    /// Adds a blob of `size` bytes, which `write` must write.
    pub fn blob_of(
        &mut self,
        digest: &Digest,
        size: u64,
        write: impl FnOnce(&mut W) -> Result<()>,
    ) -> Result<()> {
        if !self.written.insert(digest.clone()) {
            return Ok(());
        }
        self.header(&blob(digest), tar::EntryType::Regular, 0o644, size)?;
        write(&mut self.out)?;
        self.pad(size)
    }

    /// Whether a blob is in it.
    pub fn has(&self, digest: &Digest) -> bool {
        self.written.contains(digest)
    }

    /// Writes the end mark.
    pub fn end(&mut self) -> Result<()> {
        self.write(&[0; 1024])?;
        self.out.flush().context("write the archive")
    }

    fn header(&mut self, name: &str, kind: tar::EntryType, mode: u32, size: u64) -> Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_path(name)?;
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        self.write(header.as_bytes())
    }

    fn pad(&mut self, size: u64) -> Result<()> {
        let missing = size.next_multiple_of(512) - size;
        self.write(&[0; 512][..usize::try_from(missing)?])
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).context("write the archive")
    }
}
