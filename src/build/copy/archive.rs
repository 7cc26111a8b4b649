//! Whether a file is an archive that `ADD` unpacks: by what is in it, whatever it is called.

use crate::image::compression;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;

/// A tar header is so long, and says so from here on (pax(1), "ustar Interchange Format").
const BLOCK: usize = 512;
const MAGIC: (usize, &[u8]) = (257, b"ustar");
const BUFFER: usize = 128 << 10;

/// The archive in a file, unpacked as a stream; `None` if it is something else.
pub fn open(file: &OwnedFd) -> Result<Option<Box<dyn BufRead + Send>>> {
    let mut file = File::from(file.try_clone().context("duplicate a descriptor")?);
    file.seek(SeekFrom::Start(0)).context("read its begin")?;
    let (compression, stream) = compression::peek(file).context("read its begin")?;
    let mut stream = BufReader::with_capacity(BUFFER, compression.unpack(stream)?);
    // What cannot be unpacked is no archive, as for Docker.
    let Ok(start) = start(&mut stream) else {
        return Ok(None);
    };
    let is_archive = is_tar(&start) && start.iter().any(|byte| *byte != 0);
    Ok(is_archive.then(|| Box::new(Cursor::new(start).chain(stream)) as Box<dyn BufRead + Send>))
}

/// The first bytes of a stream, enough for a tar header.
pub fn start(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut start = Vec::with_capacity(BLOCK);
    stream.take(BLOCK as u64).read_to_end(&mut start)?;
    Ok(start)
}

/// Whether a stream that begins like this is a tar archive: by its magic, or, where it is of the old kind, by its
/// checksum; also one without any member.
pub fn is_tar(start: &[u8]) -> bool {
    let Ok(block) = <&[u8; BLOCK]>::try_from(start) else {
        return false;
    };
    if block.iter().all(|byte| *byte == 0) || block[MAGIC.0..].starts_with(MAGIC.1) {
        return true;
    }
    let weight = |(at, byte): (usize, &u8)| match at {
        148..156 => u32::from(b' '),
        _ => u32::from(*byte),
    };
    let sum: u32 = block.iter().enumerate().map(weight).sum();
    let written = String::from_utf8_lossy(&block[148..156]);
    let written = written.trim_matches([' ', '\0']);
    u32::from_str_radix(written, 8).is_ok_and(|written| written == sum)
}
