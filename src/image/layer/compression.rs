//! Finding out how a blob is compressed, by its first bytes, and inflating it to its very end.
//!
//! The OCI image-spec (layer.md) has uncompressed, gzip (RFC 1952) and zstd (RFC 8878) layers. Invariant: a
//! stream is accepted only if all its bytes belong to it; nothing may follow the last gzip member or zstd frame.

use crate::error::{Error, bad_input};
use crate::image::digest::Digest;
use anyhow::{Context, Result};
use flate2::bufread::MultiGzDecoder;
use sha2::{Digest as _, Sha256};
use std::io::{self, BufRead, Read};
use zstd::stream::read::Decoder as ZstdDecoder;

const BUFFER: usize = 128 << 10;

/// A compression that layers may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// A plain tar.
    None,
    /// One or more gzip members.
    Gzip,
    /// One or more zstd frames.
    Zstd,
}

impl Compression {
    /// Looks at the first bytes of a blob.
    pub fn detect(start: &[u8]) -> Result<Self, Error> {
        let refused = |what: &str| {
            let hint = "layers are plain, gzip or zstd: compress it anew";
            Err(bad_input(format!(
                "layer is compressed with {what}, which no image format allows"
            ))
            .hint(hint))
        };
        match start {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [
                b'B',
                b'Z',
                b'h',
                b'1'..=b'9',
                0x31,
                0x41,
                0x59,
                0x26,
                0x53,
                0x59,
                ..,
            ] => refused("bzip2"),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => refused("xz"),
            _ => Ok(Self::None),
        }
    }
}

/// The blob as it comes, counted and hashed.
pub struct Blob<R> {
    inner: R,
    buffer: Vec<u8>,
    position: usize,
    filled: usize,
    size: u64,
    hasher: Option<Sha256>,
    broken: bool,
}

impl<R: Read> Blob<R> {
    /// Reads `inner` in large pieces.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            buffer: vec![0; BUFFER],
            position: 0,
            filled: 0,
            size: 0,
            hasher: Some(Sha256::new()),
            broken: false,
        }
    }

    /// Length and digest; no digest where [`Inflated`] found that the blob is the tar itself.
    pub fn finish(self) -> (u64, Option<Digest>) {
        (self.size, self.hasher.map(Digest::from_hasher))
    }

    /// Reads the first bytes without consuming them.
    fn start(&mut self) -> io::Result<&[u8]> {
        while self.filled < 16 && self.read_more()? > 0 {}
        Ok(&self.buffer[..self.filled])
    }

    fn read_more(&mut self) -> io::Result<usize> {
        loop {
            match self.inner.read(&mut self.buffer[self.filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.broken = true;
                    return Err(error);
                }
                Ok(length) => {
                    if let Some(hasher) = &mut self.hasher {
                        hasher.update(&self.buffer[self.filled..self.filled + length]);
                    }
                    self.filled += length;
                    self.size += length as u64;
                    return Ok(length);
                }
            }
        }
    }
}

impl<R: Read> Read for Blob<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(into)?;
        self.consume(length);
        Ok(length)
    }
}

impl<R: Read> BufRead for Blob<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position == self.filled {
            (self.position, self.filled) = (0, 0);
            self.read_more()?;
        }
        Ok(&self.buffer[self.position..self.filled])
    }

    fn consume(&mut self, length: usize) {
        self.position += length;
    }
}

/// A blob being inflated.
pub enum Inflated<'a, R: Read> {
    /// It is the tar.
    Plain(Blob<R>),
    /// All gzip members, and whether the first has begun.
    Gzip(Box<MultiGzDecoder<Blob<R>>>, bool),
    /// All zstd frames.
    Zstd(ZstdDecoder<'a, Blob<R>>),
}

impl<R: Read> Inflated<'_, R> {
    /// Looks at the magic.
    pub fn new(blob: R) -> Result<Self> {
        let mut blob = Blob::new(blob);
        Ok(
            match Compression::detect(blob.start().context("read layer")?)? {
                Compression::None => {
                    // The digest of the blob is that of the tar, which the other end computes anyway.
                    blob.hasher = None;
                    Self::Plain(blob)
                }
                Compression::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(blob)), false),
                Compression::Zstd => {
                    Self::Zstd(ZstdDecoder::with_buffer(blob).context("start zstd")?)
                }
            },
        )
    }

    /// Fills `into` as far as the stream goes; fewer bytes only at its end.
    pub fn fill(&mut self, into: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < into.len() {
            match self.read(&mut into[filled..]) {
                Ok(0) => break,
                Ok(length) => filled += length,
                Err(error) if self.blob().broken => return Err(error).context("read layer"),
                Err(error) => return Err(self.malformed(&error).into()),
            }
        }
        Ok(filled)
    }

    /// The blob, at its end.
    pub fn into_blob(self) -> Blob<R> {
        match self {
            Self::Plain(blob) => blob,
            Self::Gzip(decoder, _) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.finish(),
        }
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(blob) => blob.read(into),
            Self::Gzip(decoder, begun) => {
                let length = decoder.read(into)?;
                *begun |= length > 0;
                Ok(length)
            }
            Self::Zstd(decoder) => decoder.read(into),
        }
    }

    fn blob(&self) -> &Blob<R> {
        match self {
            Self::Plain(blob) => blob,
            Self::Gzip(decoder, _) => decoder.get_ref(),
            Self::Zstd(decoder) => decoder.get_ref(),
        }
    }

    fn malformed(&self, error: &io::Error) -> Error {
        let name = if matches!(self, Self::Zstd(_)) {
            "zstd"
        } else {
            "gzip"
        };
        // Where the next member would begin there is something else.
        if matches!(self, Self::Gzip(_, true)) && error.to_string() == "invalid gzip header" {
            let hint = "something was appended to it: download or compress it anew";
            return bad_input("layer does not end with its gzip stream: other bytes follow it")
                .hint(hint);
        }
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return bad_input(format!("layer is cut off: its {name} stream does not end"));
        }
        bad_input(format!(
            "layer is not an intact {name} stream to its very end: {error}"
        ))
    }
}
