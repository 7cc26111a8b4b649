//! Streams that are compressed as a whole, told apart by their first bytes: gzip (RFC 1952), zstd (RFC 8878),
//! xz (the .xz file format) and bzip2. What a file is called does not matter.

use crate::error::bad_input;
use anyhow::Result;
use std::io::{self, Cursor, Read};

/// The most memory that an xz stream may ask for, in KiB; `xz -9` asks for 64 MiB.
const XZ_MEMORY: u32 = 512 << 10;

/// How a stream is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// Of XZ Utils.
    Xz,
    /// Of bzip2(1).
    Bzip2,
}

impl Compression {
    /// What the first bytes of a stream say; six are enough.
    pub fn detect(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            _ => Self::None,
        }
    }

    /// As in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "no compression",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
        }
    }

    /// Unpacks `packed`, which must be in this form to its end.
    pub fn unpack<'a>(self, packed: impl Read + Send + 'a) -> Result<Box<dyn Read + Send + 'a>> {
        Ok(match self {
            Self::None => Box::new(packed),
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(packed)),
            Self::Zstd => Box::new(zstd::Decoder::new(packed)?),
            Self::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(packed, true, XZ_MEMORY)),
            Self::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(packed)),
        })
    }
}

/// A stream whose first bytes have been looked at, as if nothing had been read.
pub type Peeked<R> = io::Chain<Cursor<Vec<u8>>, R>;

/// What the first bytes of a stream say, and the stream.
pub fn peek<R: Read>(mut stream: R) -> io::Result<(Compression, Peeked<R>)> {
    let mut start = Vec::new();
    (&mut stream).take(6).read_to_end(&mut start)?;
    Ok((
        Compression::detect(&start),
        Cursor::new(start).chain(stream),
    ))
}

/// A failure to read a packed stream: the stream's own fault, unless the system says otherwise.
pub fn read_error(error: io::Error, compression: Compression) -> anyhow::Error {
    match error.raw_os_error() {
        Some(_) => error.into(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => bad_input(format!(
            "the {} stream is cut off, or something follows it",
            compression.name()
        ))
        .into(),
        None if error.to_string() == "invalid gzip header" => {
            bad_input("the gzip stream is followed by other bytes").into()
        }
        None => bad_input(format!(
            "the {} stream is damaged: {error}",
            compression.name()
        ))
        .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn streams_are_known_by_their_start_and_garbage_behind_them_is_an_error() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"pot").unwrap();
        // As `printf pot | xz` writes it.
        let xz = b"\xfd\x37\x7a\x58\x5a\x00\x00\x04\xe6\xd6\xb4\x46\x02\x00\x21\x01\x0c\x00\x00\x00\x8f\x98\x41\x9c\x01\x00\x02\x70\x6f\x74\x00\x00\x43\xbd\xa4\x51\xb5\xb7\x8b\x02\x00\x01\x1b\x03\x0b\x2f\xb9\x10\x1f\xb6\xf3\x7d\x01\x00\x00\x00\x00\x04\x59\x5a";
        let zstd = zstd::encode_all(&b"pot"[..], 3).unwrap();
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
        bzip2.write_all(b"pot").unwrap();
        for (packed, expected) in [
            (bzip2.finish().unwrap(), Compression::Bzip2),
            (gzip.finish().unwrap(), Compression::Gzip),
            (zstd, Compression::Zstd),
            (xz.to_vec(), Compression::Xz),
            (b"pot".to_vec(), Compression::None),
            (b"".to_vec(), Compression::None),
        ] {
            let (compression, stream) = peek(&packed[..]).unwrap();
            assert_eq!(compression, expected);
            let mut text = String::new();
            compression
                .unpack(stream)
                .unwrap()
                .read_to_string(&mut text)
                .unwrap();
            assert!(text == "pot" || packed.is_empty());
            if compression != Compression::None {
                for bad in [
                    [&packed[..], &b"garbage"[..]].concat(),
                    packed[..packed.len() - 2].to_vec(),
                ] {
                    let mut stream = compression.unpack(&bad[..]).unwrap();
                    assert!(
                        io::copy(&mut stream, &mut io::sink()).is_err(),
                        "{compression:?}"
                    );
                }
            }
        }
    }
}
