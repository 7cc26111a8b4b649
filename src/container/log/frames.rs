//! Records out of a stream of bytes: lines of `json-file`, framed messages of `local`. Bytes that are no record are
//! passed over and told; what may still become one is kept until more comes.

use super::{Entry, json_file, local};
use std::io::{self, Read};
use std::ops::Range;

/// Bytes that are asked for at once.
const BLOCK: usize = 64 * 1024;
/// No line of a log is longer; what is, is damaged: the longest text with each byte escaped, and attributes.
const LONGEST_LINE: usize = 4 << 20;
/// The shortest frame has a stream's name, and a frame begins with that.
const FRAME_START: &[u8] = b"\x0a\x06std";

/// How records lie in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One per line.
    JsonFile,
    /// With their length before and after them.
    Local,
}

/// What comes next.
#[derive(Debug)]
pub enum Frame<'a> {
    /// A record.
    Entry(Entry<'a>),
    /// So many bytes that are none.
    Damaged(u64),
    /// There is nothing more now; so many bytes may be the beginning of a record.
    End(usize),
}

/// Takes one stream apart.
pub struct Frames<R> {
    source: R,
    format: Format,
    buffer: Vec<u8>,
    start: usize,
    /// Offset of `start` in the stream.
    offset: u64,
}

enum Found {
    /// A whole record: its content, and its length with all that belongs to it.
    Record(Range<usize>, usize),
    /// So many bytes are no record.
    Damaged(usize),
    More,
}

impl<R: Read> Frames<R> {
    /// `offset` is where in the file the source stands.
    pub fn new(source: R, format: Format, offset: u64) -> Self {
        Self {
            source,
            format,
            buffer: Vec::new(),
            start: 0,
            offset,
        }
    }

    /// Where in the file the next frame begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next frame.
    pub fn next_frame(&mut self) -> io::Result<Frame<'_>> {
        let mut damaged = 0;
        loop {
            match self.format.find(&self.buffer[self.start..]) {
                Found::Damaged(length) => {
                    damaged += length as u64;
                    self.advance(length);
                }
                // Damage is told once, before what follows it.
                Found::Record(..) if damaged > 0 => return Ok(Frame::Damaged(damaged)),
                Found::Record(content, length) => {
                    let content = self.start + content.start..self.start + content.end;
                    self.advance(length);
                    return Ok(match self.format.decode(&self.buffer[content]) {
                        Some(entry) => Frame::Entry(entry),
                        None => Frame::Damaged(length as u64),
                    });
                }
                Found::More => {
                    if self.fill()? == 0 {
                        return Ok(match damaged {
                            0 => Frame::End(self.buffer.len() - self.start),
                            _ => Frame::Damaged(damaged),
                        });
                    }
                }
            }
        }
    }

    /// What is left is no beginning of a record: nobody will write its end.
    pub fn give_up(&mut self) -> u64 {
        let length = self.buffer.len() - self.start;
        self.advance(length);
        length as u64
    }

    fn advance(&mut self, length: usize) {
        self.start += length;
        self.offset += length as u64;
    }

    fn fill(&mut self) -> io::Result<usize> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let filled = self.buffer.len();
        self.buffer.resize(filled + BLOCK, 0);
        let read = loop {
            match self.source.read(&mut self.buffer[filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(filled + read.as_ref().unwrap_or(&0));
        read
    }
}

impl Format {
    fn decode(self, record: &[u8]) -> Option<Entry<'_>> {
        match self {
            Self::JsonFile => json_file::decode(record),
            Self::Local => local::decode(record),
        }
    }

    fn find(self, bytes: &[u8]) -> Found {
        match self {
            Self::JsonFile => {
                let mut rest = bytes;
                match io::BufRead::skip_until(&mut rest, b'\n') {
                    Ok(length) if length > 0 && bytes[length - 1] == b'\n' => {
                        Found::Record(0..length - 1, length)
                    }
                    _ if bytes.len() > LONGEST_LINE => Found::Damaged(bytes.len()),
                    _ => Found::More,
                }
            }
            Self::Local => find_framed(bytes),
        }
    }
}

/// A frame that is whole, or the bytes before the next that may be one.
fn find_framed(bytes: &[u8]) -> Found {
    match framed(bytes) {
        Some(found) => found,
        None => {
            let next = (1..bytes.len()).find(|&at| framed(&bytes[at..]).is_some());
            Found::Damaged(next.unwrap_or(bytes.len()))
        }
    }
}

/// `None` when no frame begins here.
fn framed(bytes: &[u8]) -> Option<Found> {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else {
        return Some(Found::More);
    };
    let size = u32::from_be_bytes(*length) as usize;
    let seen = rest.len().min(FRAME_START.len());
    if !(8..=local::LONGEST_RECORD).contains(&size) || rest[..seen] != FRAME_START[..seen] {
        return None;
    }
    match rest.get(size..size + 4) {
        None => Some(Found::More),
        Some(after) if after == length => Some(Found::Record(4..4 + size, size + 8)),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::log::Stream;

    fn record(format: Format, text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        match format {
            Format::JsonFile => {
                let mut encoder = json_file::Encoder::default();
                encoder.begin(Stream::Output, 1);
                encoder.line(&mut out, text.as_bytes(), None);
            }
            Format::Local => {
                let mut encoder = local::Encoder::default();
                encoder.begin(Stream::Output, 1);
                encoder.line(&mut out, text.as_bytes(), None);
            }
        }
        out
    }

    /// What comes out, with `?` for damage and the length of what is left.
    fn frames(format: Format, bytes: &[u8]) -> (String, usize) {
        let mut frames = Frames::new(bytes, format, 0);
        let mut text = String::new();
        loop {
            match frames.next_frame().unwrap() {
                Frame::Entry(entry) => text.push_str(str::from_utf8(&entry.line).unwrap()),
                Frame::Damaged(_) => text.push('?'),
                Frame::End(left) => return (text, left),
            }
        }
    }

    #[test]
    fn damage_costs_nothing_but_itself() {
        for format in [Format::JsonFile, Format::Local] {
            let (a, b) = (record(format, "a"), record(format, "b"));
            assert_eq!(
                frames(format, &[a.clone(), b.clone()].concat()),
                ("a\nb\n".into(), 0)
            );
            let torn = &b[..b.len() - 3];
            assert_eq!(
                frames(format, &[&a, torn].concat()),
                ("a\n".into(), torn.len()),
                "{format:?}"
            );
            let mut damaged = b.clone();
            let middle = damaged.len() / 2;
            damaged.truncate(middle);
            if format == Format::JsonFile {
                damaged.push(b'\n');
            }
            let all = [
                a.clone(),
                damaged,
                b.clone(),
                vec![0; 100],
                b"\n".to_vec(),
                a.clone(),
            ]
            .concat();
            assert_eq!(
                frames(format, &all),
                ("a\n?b\n?a\n".into(), 0),
                "{format:?}"
            );
        }
    }

    #[test]
    fn what_is_incomplete_goes_on_later() {
        struct Slowly<'a>(&'a [u8]);
        impl Read for Slowly<'_> {
            fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
                let length = self.0.len().min(3);
                to[..length].copy_from_slice(&self.0[..length]);
                self.0 = &self.0[length..];
                Ok(length)
            }
        }
        for format in [Format::JsonFile, Format::Local] {
            let text = [record(format, "a"), record(format, "b")].concat();
            let mut frames = Frames::new(Slowly(&text), format, 7);
            for line in ["a\n", "b\n"] {
                assert!(
                    matches!(frames.next_frame().unwrap(), Frame::Entry(entry) if entry.line == line.as_bytes())
                );
            }
            assert!(matches!(frames.next_frame().unwrap(), Frame::End(0)));
            assert_eq!(frames.offset(), 7 + text.len() as u64);
        }
    }
}
