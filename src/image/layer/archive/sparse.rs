//! Maps of sparse files: which parts of a file an archive holds (GNU tar, "Storing Sparse Files").
//!
//! Four forms exist: the old one in GNU headers, and PAX 0.0, 0.1 and 1.0. Invariant: the segments of a
//! [`checked`] map are in order, do not overlap, end within the file, and their sum is what the archive stores.

use super::header::numeric;
use super::pax::{Records, number};
use crate::error::{Error, bad_input};

/// More segments than that are taken for an attack on the memory: at 4 KiB each they span 4 GiB of data.
const MAX_SEGMENTS: usize = 1 << 20;

/// A run of bytes that the archive holds; what lies between two runs is a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where in the file it begins.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
}

/// Refuses maps that do not fit the file (`size` bytes long) or the archive (which stores `stored` of them).
pub fn checked(segments: Vec<Segment>, size: u64, stored: u64) -> Result<Vec<Segment>, Error> {
    let mut end = 0;
    let mut sum = 0u64;
    let fits = segments.iter().all(|segment| {
        let next = segment
            .offset
            .checked_add(segment.length)
            .filter(|next| *next <= size);
        let ordered = segment.offset >= end;
        end = next.unwrap_or(u64::MAX);
        sum = sum.saturating_add(segment.length);
        next.is_some() && ordered
    });
    if fits && sum == stored {
        Ok(segments)
    } else {
        Err(bad_input(
            "the archive has a sparse file whose map does not fit it",
        ))
    }
}

/// Appends the pairs of an old GNU map, up to the first empty one.
pub fn read_gnu(pairs: &[u8], segments: &mut Vec<Segment>) -> Result<(), Error> {
    for pair in pairs.chunks_exact(24).take_while(|pair| pair[0] != 0) {
        let field = |bytes| numeric(bytes).and_then(|value| u64::try_from(value).ok());
        let segment = field(&pair[..12]).zip(field(&pair[12..]));
        push(segments, segment)?;
    }
    Ok(())
}

fn push(segments: &mut Vec<Segment>, segment: Option<(u64, u64)>) -> Result<(), Error> {
    let (offset, length) =
        segment.ok_or_else(|| bad_input("the archive has a malformed map of a sparse file"))?;
    if segments.len() >= MAX_SEGMENTS {
        return Err(bad_input(format!(
            "the archive has a sparse file of more than {MAX_SEGMENTS} segments"
        )));
    }
    segments.push(Segment { offset, length });
    Ok(())
}

/// What the records say about a sparse file.
pub enum PaxSparse {
    /// It is none.
    No,
    /// 0.0 and 0.1: the records hold the map.
    Map(Vec<Segment>),
    /// 1.0: the content begins with the map.
    MapInContent,
}

/// Reads the map of 0.0 (repeated records) and 0.1 (one record), or says where that of 1.0 is.
pub fn read_pax(records: &Records) -> Result<PaxSparse, Error> {
    let version = (
        records.get("GNU.sparse.major"),
        records.get("GNU.sparse.minor"),
    );
    let listed = records
        .iter()
        .any(|(key, _)| key == b"GNU.sparse.map" || key == b"GNU.sparse.offset");
    match version {
        (Some(b"1"), Some(b"0")) => Ok(PaxSparse::MapInContent),
        (Some(b"0"), Some(b"0" | b"1")) => Ok(PaxSparse::Map(listed_map(records)?)),
        (None, None) if listed || records.get("GNU.sparse.size").is_some() => {
            Ok(PaxSparse::Map(listed_map(records)?))
        }
        (None, None) => Ok(PaxSparse::No),
        _ => Err(bad_input(
            "the archive has a sparse file of an unknown version",
        )),
    }
}

fn listed_map(records: &Records) -> Result<Vec<Segment>, Error> {
    let mut segments = Vec::new();
    if let Some(map) = records.get("GNU.sparse.map") {
        let numbers: Vec<_> = map.split(|byte| *byte == b',').map(number).collect();
        for pair in numbers.chunks(2) {
            push(&mut segments, pair[0].zip(pair.get(1).copied().flatten()))?;
        }
        return Ok(segments);
    }
    let mut offset = None;
    for (key, value) in records.iter() {
        match key {
            b"GNU.sparse.offset" => offset = number(value),
            b"GNU.sparse.numbytes" => push(&mut segments, offset.take().zip(number(value)))?,
            _ => {}
        }
    }
    Ok(segments)
}

/// The map of 1.0 as it comes: decimal lines, first the number of segments, then each offset and length.
#[derive(Default)]
pub struct ContentMap {
    line: Vec<u8>,
    expected: Option<u64>,
    offset: Option<u64>,
    segments: Vec<Segment>,
}

impl ContentMap {
    /// Takes one block; gives the map once it is complete (the rest of that block is padding).
    pub fn feed(&mut self, block: &[u8]) -> Result<Option<Vec<Segment>>, Error> {
        for byte in block {
            if *byte != b'\n' {
                self.line.push(*byte);
                continue;
            }
            let value = number(&self.line);
            self.line.clear();
            if self.expected.is_none() {
                self.expected = Some(value.ok_or_else(|| {
                    bad_input("the archive has a malformed map of a sparse file")
                })?);
            } else if let Some(offset) = self.offset.take() {
                push(&mut self.segments, Some(offset).zip(value))?;
            } else {
                self.offset = Some(value.ok_or_else(|| {
                    bad_input("the archive has a malformed map of a sparse file")
                })?);
            }
            if self.expected == Some(self.segments.len() as u64) {
                return Ok(Some(std::mem::take(&mut self.segments)));
            }
        }
        // A number has at most twenty digits; a longer line is no map, and would grow without end.
        if self.line.len() > 20 {
            Err(bad_input(
                "the archive has a malformed map of a sparse file",
            ))
        } else {
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_must_fit() {
        let map = |pairs: &[(u64, u64)]| {
            pairs
                .iter()
                .map(|&(offset, length)| Segment { offset, length })
                .collect()
        };
        type Pairs = &'static [(u64, u64)];
        let cases: &[(Pairs, u64, u64, bool)] = &[
            (&[], 0, 0, true),
            (&[(0, 5), (10, 5)], 15, 10, true),
            (&[(0, 5), (15, 0)], 15, 5, true),
            (&[(0, 5), (10, 6)], 15, 11, false),
            (&[(5, 5), (0, 5)], 15, 10, false),
            (&[(0, 6), (5, 5)], 15, 11, false),
            (&[(0, 5)], 15, 6, false),
            (&[(u64::MAX, 5)], u64::MAX, 5, false),
        ];
        for (pairs, size, stored, fits) in cases {
            assert_eq!(
                checked(map(pairs), *size, *stored).is_ok(),
                *fits,
                "{pairs:?}"
            );
        }
    }

    #[test]
    fn content_map_over_blocks() {
        let mut map = ContentMap::default();
        assert_eq!(map.feed(b"2\n0\n5").unwrap(), None);
        let segments = map.feed(b"12\n1024\n3\n\0\0\0").unwrap().unwrap();
        assert_eq!(
            segments,
            [
                Segment {
                    offset: 0,
                    length: 512
                },
                Segment {
                    offset: 1024,
                    length: 3
                }
            ]
        );
        assert_eq!(
            ContentMap::default().feed(b"0\n\0").unwrap(),
            Some(Vec::new())
        );
        assert!(ContentMap::default().feed(b"x\n").is_err());
        assert!(ContentMap::default().feed(&[b'1'; 512]).is_err());
    }
}
