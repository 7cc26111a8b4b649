//! A file of the journal, as far as it takes to find the entries with a certain field (systemd, "Journal File
//! Format"). It is read while the journal writes to it, without a lock, as the format is made for; what makes no
//! sense ends the search.
//!
//! ```text
//! header ─▶ hash table ─▶ data object `FIELD=value` ─▶ entries that have it: one, then a chain of arrays
//!                                                       entry ─▶ its data objects
//! ```

use std::fs::File;
use std::hash::Hasher;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

const COMPRESSED: u32 = 1 | 2 | 8;
const KEYED_HASH: u32 = 4;
const COMPACT: u32 = 16;
const DATA: u8 = 1;
const ENTRY: u8 = 3;
const ENTRY_ARRAY: u8 = 6;
/// No field that is looked at is longer.
const LONGEST: u64 = 1 << 20;
/// No object is larger, nor is any file of the journal.
const LARGEST: u64 = 4 << 30;
/// Objects begin at multiples of this.
const ALIGNMENT: u64 = 8;

/// An open file.
#[derive(Debug)]
pub struct JournalFile {
    /// What it is known by, also after it was put aside under another name.
    pub id: [u8; 16],
    file: File,
    is_compact: bool,
    /// Its id is the key of the hash.
    is_keyed: bool,
    table: u64,
    buckets: u64,
    objects: std::ops::Range<u64>,
}

/// An entry.
#[derive(Debug)]
pub struct JournalEntry {
    /// Its place among all that one journal has written.
    pub number: u64,
    /// Microseconds since 1970.
    pub time: u64,
    /// Where its fields are.
    pub fields: Vec<u64>,
}

impl JournalFile {
    /// Opens a file; `None` when it is none of the journal, or of a version that is not known.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = File::open(path)?;
        let mut header = [0; 208];
        if file.read_exact_at(&mut header, 0).is_err() || !header.starts_with(b"LPKSHHRH") {
            return Ok(None);
        }
        let flags = u32_at(&header, 12);
        if flags & !(COMPRESSED | KEYED_HASH | COMPACT) != 0 {
            return Ok(None);
        }
        let mut id = [0; 16];
        id.copy_from_slice(&header[24..40]);
        Ok(Some(Self {
            id,
            file,
            is_compact: flags & COMPACT != 0,
            is_keyed: flags & KEYED_HASH != 0,
            table: u64_at(&header, 104),
            buckets: u64_at(&header, 112) / 16,
            objects: u64_at(&header, 88)..u64_at(&header, 136),
        }))
    }

    /// Where the field `NAME=value` is.
    pub fn find(&self, field: &[u8]) -> io::Result<Option<u64>> {
        if !self.is_keyed || self.buckets == 0 {
            return self.find_anywhere(field);
        }
        let (low, high) = (u64_at(&self.id, 0), u64_at(&self.id, 8));
        #[allow(deprecated, reason = "the format is defined by this very hash")]
        let mut hasher = std::hash::SipHasher::new_with_keys(low, high);
        hasher.write(field);
        let bucket = (hasher.finish() % self.buckets * 16).saturating_add(self.table);
        let mut next = u64_at(&self.bytes::<8>(bucket)?, 0);
        let mut last = 0;
        // Objects are only ever appended, so a chain that does not lead forward is damaged.
        while next > last {
            if self.is_field(next, field)? {
                return Ok(Some(next));
            }
            last = next;
            next = u64_at(&self.bytes::<8>(next + 24)?, 0);
        }
        Ok(None)
    }

    /// Files from before 2020 have another hash: all their objects are looked at.
    fn find_anywhere(&self, field: &[u8]) -> io::Result<Option<u64>> {
        let mut at = self.objects.start;
        while at <= self.objects.end {
            let (kind, _, size) = self.object(at)?;
            if kind == DATA && self.is_field(at, field)? {
                return Ok(Some(at));
            }
            at += size.next_multiple_of(ALIGNMENT);
        }
        Ok(None)
    }

    fn is_field(&self, at: u64, field: &[u8]) -> io::Result<bool> {
        let length = field.len() as u64 + self.payload();
        Ok(length == self.object(at)?.2 && self.field(at)? == field)
    }

    /// Where the entries are that have a field, in order, without the first `skip`.
    pub fn entries(&self, field: u64, skip: u64) -> io::Result<Vec<u64>> {
        let header = self.bytes::<64>(field)?;
        let (first, mut array) = (u64_at(&header, 40), u64_at(&header, 48));
        let mut found: Vec<u64> = (skip == 0 && first != 0)
            .then_some(first)
            .into_iter()
            .collect();
        let (mut index, mut last) = (1, 0);
        let width = if self.is_compact { 4 } else { 8 };
        while array > last {
            let (kind, _, size) = self.object(array)?;
            let items = size.saturating_sub(24) / width;
            if kind != ENTRY_ARRAY {
                return Err(damaged());
            }
            // Those before the end of the chain are full.
            let wanted = skip.saturating_sub(index).min(items);
            let mut bytes = vec![0; ((items - wanted) * width) as usize];
            self.file
                .read_exact_at(&mut bytes, array + 24 + wanted * width)?;
            let offsets = bytes.chunks_exact(width as usize).map(number);
            found.extend(offsets.take_while(|offset| *offset != 0));
            index += items;
            last = array;
            array = u64_at(&self.bytes::<8>(array + 16)?, 0);
        }
        Ok(found)
    }

    /// An entry without its fields' content.
    pub fn entry(&self, at: u64) -> io::Result<JournalEntry> {
        let (kind, _, size) = self.object(at)?;
        if kind != ENTRY || !(64..=LONGEST).contains(&size) {
            return Err(damaged());
        }
        let mut bytes = vec![0; size as usize];
        self.file.read_exact_at(&mut bytes, at)?;
        // The hash that follows an offset in files that are not compact is not needed.
        let width = if self.is_compact { 4 } else { 16 };
        let fields = bytes[64..].chunks_exact(width);
        Ok(JournalEntry {
            number: u64_at(&bytes, 16),
            time: u64_at(&bytes, 24),
            fields: fields.map(|item| number(&item[..width.min(8)])).collect(),
        })
    }

    /// `NAME=value`.
    pub fn field(&self, at: u64) -> io::Result<Vec<u8>> {
        let (kind, flags, size) = self.object(at)?;
        if kind != DATA || !(self.payload()..=LONGEST).contains(&size) {
            return Err(damaged());
        }
        let mut bytes = vec![0; (size - self.payload()) as usize];
        self.file.read_exact_at(&mut bytes, at + self.payload())?;
        let mut unpacked = Vec::new();
        let limited =
            |source: &mut dyn Read, to: &mut Vec<u8>| source.take(LONGEST).read_to_end(to);
        match flags & 7 {
            0 => return Ok(bytes),
            1 => limited(
                &mut lzma_rust2::XzReader::new(&bytes[..], true),
                &mut unpacked,
            )?,
            2 => return unpack_lz4(&bytes).ok_or_else(damaged),
            4 => limited(&mut zstd::Decoder::new(&bytes[..])?, &mut unpacked)?,
            _ => return Err(damaged()),
        };
        Ok(unpacked)
    }

    fn payload(&self) -> u64 {
        if self.is_compact { 72 } else { 64 }
    }

    /// Type, flags and size of an object.
    fn object(&self, at: u64) -> io::Result<(u8, u8, u64)> {
        let header = self.bytes::<16>(at)?;
        match u64_at(&header, 8) {
            size if (16..=LARGEST).contains(&size) && at.is_multiple_of(ALIGNMENT) => {
                Ok((header[0], header[1], size))
            }
            _ => Err(damaged()),
        }
    }

    fn bytes<const N: usize>(&self, at: u64) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the journal is damaged")
}

/// A number of four or eight bytes, the lowest first.
fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    number(&bytes[at..at + 8])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    number(&bytes[at..at + 4]) as u32
}

/// The length in eight bytes and a block of LZ4 ("LZ4 Block Format Description").
fn unpack_lz4(packed: &[u8]) -> Option<Vec<u8>> {
    let (length, mut rest) = packed.split_at_checked(8)?;
    let length = usize::try_from(number(length).min(LONGEST)).ok()?;
    let mut out = Vec::with_capacity(length);
    while out.len() < length {
        let token = take(&mut rest, 1)?[0];
        let literals = extended(token >> 4, &mut rest)?;
        out.extend_from_slice(take(&mut rest, literals)?);
        if rest.is_empty() {
            break;
        }
        let distance = number(take(&mut rest, 2)?) as usize;
        let repeated = extended(token & 15, &mut rest)? + 4;
        let start = out.len().checked_sub(distance).filter(|_| distance > 0)?;
        if repeated > length.checked_sub(out.len())? {
            return None;
        }
        // It may reach into what it makes.
        for at in start..start + repeated {
            out.push(out[at]);
        }
    }
    Some(out)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

fn extended(start: u8, rest: &mut &[u8]) -> Option<usize> {
    let mut length = usize::from(start);
    if start == 15 {
        loop {
            let more = take(rest, 1)?[0];
            length += usize::from(more);
            if more != 255 {
                break;
            }
        }
    }
    Some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Worked out by hand from the description of the format.
    #[test]
    fn lz4_blocks_are_unpacked() {
        for (block, text) in [
            (&b"\x30abc"[..], "abc".to_owned()),
            // Three bytes, then ten more from three back; then one.
            (b"\x36abc\x03\x00\x10d", "abcabcabcabcad".to_owned()),
            (b"\xf0\x01abcdefghijklmnop", "abcdefghijklmnop".to_owned()),
        ] {
            let packed = [&(text.len() as u64).to_le_bytes()[..], block].concat();
            assert_eq!(unpack_lz4(&packed).unwrap(), text.into_bytes());
            assert_eq!(unpack_lz4(&packed[..packed.len() - 1]), None);
        }
        // More than it says.
        assert_eq!(unpack_lz4(b"\x01\0\0\0\0\0\0\0\x30abc\x01\x00"), None);
        assert_eq!(unpack_lz4(b"\x09\0\0\0\0\0\0\0\x10a\x05\x00\x10b"), None);
    }
}
