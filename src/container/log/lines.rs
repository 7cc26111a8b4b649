//! From chunks to lines: whatever pieces a pipe hands over, a line comes out once, whole, or in pieces when it is
//! longer than Docker's limit. Nothing is allocated for a line that lies in one chunk.
//!
//! Other than Docker, a long line is never cut inside a character of UTF-8, which would destroy it.

use std::io::BufRead;

/// The longest line that is kept whole, in bytes without the newline; Docker's own buffer.
pub const LONGEST: usize = 16 * 1024;

/// Which piece of a long line a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The same for all pieces of one line.
    pub id: &'a str,
    /// From 1.
    pub ordinal: u32,
    /// No other follows.
    pub last: bool,
}

/// What of one stream waits for its newline.
#[derive(Debug, Default)]
pub struct Lines {
    waiting: Vec<u8>,
    /// Of the line whose first pieces are out already: its id and the number of those.
    cut: Option<(String, u32)>,
}

impl Lines {
    /// Calls `emit` for every line that is complete with this chunk, without its newline.
    pub fn split(&mut self, mut chunk: &[u8], mut emit: impl FnMut(&[u8], Option<Piece<'_>>)) {
        while !chunk.is_empty() {
            let room = LONGEST - self.waiting.len();
            let window = &chunk[..chunk.len().min(room)];
            let mut rest = window;
            // Reading from memory does not fail; this is the search of the C library.
            let taken = rest.skip_until(b'\n').unwrap_or(0);
            chunk = &chunk[taken..];
            let line = &window[..taken];
            match line.strip_suffix(b"\n") {
                Some(line) if self.waiting.is_empty() => self.end(line, &mut emit),
                Some(line) => {
                    let mut whole = std::mem::take(&mut self.waiting);
                    whole.extend_from_slice(line);
                    self.end(&whole, &mut emit);
                    whole.clear();
                    self.waiting = whole;
                }
                None => {
                    self.waiting.extend_from_slice(line);
                    if self.waiting.len() == LONGEST {
                        self.cut(&mut emit);
                    }
                }
            }
        }
        if self.waiting.is_empty() && self.waiting.capacity() > 0 {
            self.waiting = Vec::new();
        }
    }

    /// What waits is all there will be; as in Docker it is the piece of a line that never ended.
    pub fn finish(&mut self, mut emit: impl FnMut(&[u8], Option<Piece<'_>>)) {
        if !self.waiting.is_empty() {
            let rest = std::mem::take(&mut self.waiting);
            self.piece(&rest, &mut emit);
        }
        self.cut = None;
    }

    fn end(&mut self, line: &[u8], emit: &mut impl FnMut(&[u8], Option<Piece<'_>>)) {
        match self.cut.take() {
            None => emit(line, None),
            Some((id, before)) => emit(
                line,
                Some(Piece {
                    id: &id,
                    ordinal: before + 1,
                    last: true,
                }),
            ),
        }
    }

    /// Gives out what waits but for the beginning of a character at its end.
    fn cut(&mut self, emit: &mut impl FnMut(&[u8], Option<Piece<'_>>)) {
        let mut waiting = std::mem::take(&mut self.waiting);
        let end = whole_characters(&waiting);
        self.piece(&waiting[..end], emit);
        waiting.drain(..end);
        self.waiting = waiting;
    }

    fn piece(&mut self, bytes: &[u8], emit: &mut impl FnMut(&[u8], Option<Piece<'_>>)) {
        let (id, ordinal) = self.cut.get_or_insert_with(|| {
            // Without random numbers the pieces are still in order.
            (crate::store::id::random_hex(64).unwrap_or_default(), 0)
        });
        *ordinal += 1;
        emit(
            bytes,
            Some(Piece {
                id,
                ordinal: *ordinal,
                last: false,
            }),
        );
    }
}

/// How many bytes there are before a character that lacks its end; all of them if the bytes are no text.
fn whole_characters(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(3);
    let start = (tail..bytes.len()).rfind(|&at| bytes[at] & 0xC0 != 0x80);
    match start {
        Some(at) if bytes[at] >= 0xC0 && bytes.len() - at < length_of(bytes[at]) => at,
        _ => bytes.len(),
    }
}

/// How long the character is that begins with this byte (RFC 3629).
fn length_of(first: u8) -> usize {
    match first {
        0xC2..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF4 => 4,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of a stream that arrives in chunks of that size, with `+` for a piece that others follow.
    fn lines(text: &[u8], chunk: usize) -> Vec<String> {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        let mut note = |line: &[u8], piece: Option<Piece<'_>>| {
            let more = if piece.is_some_and(|piece| !piece.last) {
                "+"
            } else {
                ""
            };
            found.push(format!("{}{more}", String::from_utf8_lossy(line)));
        };
        for chunk in text.chunks(chunk) {
            lines.split(chunk, &mut note);
        }
        lines.finish(&mut note);
        found
    }

    #[test]
    fn lines_are_the_same_however_they_arrive() {
        for chunk in [1, 2, 3, 7, 1000] {
            assert_eq!(
                lines(b"a\n\nbc\nlast", chunk),
                ["a", "", "bc", "last+"],
                "{chunk}"
            );
        }
        let long = [
            vec![b'x'; LONGEST],
            b"\n".to_vec(),
            vec![b'y'; LONGEST + 5],
            b"\nz\n".to_vec(),
        ]
        .concat();
        for chunk in [1000, 4096, 16384, 65536] {
            let found: Vec<_> = lines(&long, chunk)
                .iter()
                .map(|line| (line.len(), line.ends_with('+')))
                .collect();
            assert_eq!(
                found,
                [
                    (LONGEST + 1, true),
                    (0, false),
                    (LONGEST + 1, true),
                    (5, false),
                    (1, false)
                ],
                "{chunk}"
            );
        }
    }

    #[test]
    fn a_cut_never_goes_through_a_character() {
        for character in ["é", "€", "🏺"] {
            for before in LONGEST - 4..=LONGEST {
                let text = format!("{}{character}{character}\n", "x".repeat(before));
                let found = lines(text.as_bytes(), 5000);
                let joined = found.concat().replace('+', "");
                assert_eq!(joined, text.trim_end(), "{before}");
            }
        }
        let noise = vec![0x80; LONGEST + 1];
        assert_eq!(lines(&noise, 4096).len(), 2);
    }

    #[test]
    fn pieces_are_numbered() {
        let mut lines = Lines::default();
        let mut pieces = Vec::new();
        let text = [vec![b'x'; 2 * LONGEST + 1], b"\nshort\n".to_vec()].concat();
        lines.split(&text, |_, piece| {
            pieces.push(piece.map(|piece| (piece.id.to_owned(), piece.ordinal, piece.last)));
        });
        let id = pieces[0].clone().unwrap().0;
        assert_eq!(id.len(), 64);
        let expected = [(1, false), (2, false), (3, true)]
            .map(|(ordinal, last)| Some((id.clone(), ordinal, last)));
        assert_eq!(pieces[..3], expected);
        assert_eq!(pieces[3], None);
    }
}
