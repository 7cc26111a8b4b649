//! The body of a request, whether it has a length or comes in chunks (RFC 9112, sections 6 and 7).
//!
//! A client that asked whether it may send is told so by the first read, and not before: what is refused is not sent.

use super::request::{Framing, Request};
use super::socket::Wire;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};

/// The longest line between chunks, and all lines after the last one.
const LONGEST_LINE: u64 = 4 << 10;

/// What requests are read from.
pub type Reader = BufReader<Box<dyn Wire>>;

/// The body of one request.
pub struct Body<'a> {
    reader: &'a mut Reader,
    rest: Rest,
    /// The client waits for a word.
    waits: bool,
}

enum Rest {
    /// Bytes without further ado.
    Plain(u64),
    /// Bytes of a chunk, then its end and another chunk.
    Chunk(u64),
    /// The size of a chunk comes next.
    Size,
    Nothing,
}

impl<'a> Body<'a> {
    /// The body that follows a head.
    pub fn new(reader: &'a mut Reader, request: &Request) -> Self {
        let rest = match request.framing {
            Framing::Length(0) => Rest::Nothing,
            Framing::Length(length) => Rest::Plain(length),
            Framing::Chunked => Rest::Size,
        };
        let waits = request.expects_continue && !matches!(rest, Rest::Nothing);
        Self {
            reader,
            rest,
            waits,
        }
    }

    /// Where the answer goes.
    pub fn wire(&mut self) -> &mut dyn Wire {
        &mut **self.reader.get_mut()
    }

    /// Whether nothing of it is left to come. A short rest that comes anyway is read for that.
    pub fn is_over(&mut self, at_most: u64) -> bool {
        if self.waits {
            return false;
        }
        let mut rest = self.by_ref().take(at_most);
        let _ = io::copy(&mut rest, &mut io::sink());
        matches!(self.rest, Rest::Nothing)
    }

    fn begin_chunk(&mut self) -> io::Result<()> {
        let size = match httparse::parse_chunk_size(&self.line(LONGEST_LINE)?) {
            Ok(httparse::Status::Complete((_, size))) => size,
            _ => return Err(malformed()),
        };
        self.rest = match size {
            0 => {
                self.skip_trailers()?;
                Rest::Nothing
            }
            size => Rest::Chunk(size),
        };
        Ok(())
    }

    fn skip_trailers(&mut self) -> io::Result<()> {
        let mut room = LONGEST_LINE;
        loop {
            let line = self.line(room)?;
            if line == b"\r\n" {
                return Ok(());
            }
            room -= line.len() as u64;
        }
    }

    fn line(&mut self, longest: u64) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        self.reader
            .by_ref()
            .take(longest)
            .read_until(b'\n', &mut line)?;
        match line.ends_with(b"\r\n") {
            true => Ok(line),
            false if line.is_empty() => Err(ErrorKind::UnexpectedEof.into()),
            false => Err(malformed()),
        }
    }
}

fn malformed() -> io::Error {
    io::Error::new(
        ErrorKind::InvalidData,
        "the chunks of the body are malformed",
    )
}

impl Read for Body<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.waits {
            self.waits = false;
            self.wire().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            self.wire().flush()?;
        }
        if matches!(self.rest, Rest::Size) {
            self.begin_chunk()?;
        }
        let (left, chunk) = match self.rest {
            Rest::Nothing | Rest::Size => return Ok(0),
            Rest::Plain(left) => (left, false),
            Rest::Chunk(left) => (left, true),
        };
        let wanted = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        if wanted == 0 {
            return Ok(0);
        }
        let got = self.reader.read(&mut bytes[..wanted])?;
        if got == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.rest = match (left - got as u64, chunk) {
            (0, false) => Rest::Nothing,
            (left, false) => Rest::Plain(left),
            (0, true) => Rest::Size,
            (left, true) => Rest::Chunk(left),
        };
        if matches!(self.rest, Rest::Size) && self.line(2)? != b"\r\n" {
            return Err(malformed());
        }
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// What comes is given, what goes is kept.
    struct Recorded {
        input: io::Cursor<Vec<u8>>,
        output: std::sync::Arc<std::sync::Mutex<Vec<u8>>>,
    }

    impl Read for Recorded {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            self.input.read(bytes)
        }
    }

    impl Write for Recorded {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.output.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Wire for Recorded {
        fn farewell(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The body, what was written meanwhile, and what comes after the request.
    fn read(fields: &str, body: &str) -> (io::Result<String>, String, String) {
        let text = format!("PUT / HTTP/1.1\r\nHost: x\r\n{fields}\r\n{body}");
        let output = std::sync::Arc::default();
        let wire = Recorded {
            input: io::Cursor::new(text.into_bytes()),
            output: std::sync::Arc::clone(&output),
        };
        let mut reader: Reader = BufReader::new(Box::new(wire));
        let request = Request::read(&mut reader).unwrap();
        let mut got = String::new();
        let read = Body::new(&mut reader, &request).read_to_string(&mut got);
        let mut after = String::new();
        reader.read_to_string(&mut after).unwrap();
        let written = String::from_utf8(output.lock().unwrap().clone()).unwrap();
        (read.map(|_| got), written, after)
    }

    #[test]
    fn bodies_end_where_they_say() {
        let chunked = "Transfer-Encoding: chunked\r\n";
        for (fields, body, expected, after) in [
            ("", "next", "", "next"),
            ("Content-Length: 3\r\n", "abcnext", "abc", "next"),
            (
                chunked,
                "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\nnext",
                "abcde",
                "next",
            ),
            (
                chunked,
                "A\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n",
                "0123456789",
                "",
            ),
        ] {
            let (got, _, rest) = read(fields, body);
            assert_eq!(
                (got.unwrap().as_str(), rest.as_str()),
                (expected, after),
                "{body:?}"
            );
        }
        for (fields, body, kind) in [
            ("Content-Length: 3\r\n", "ab", ErrorKind::UnexpectedEof),
            (chunked, "3\r\nab", ErrorKind::UnexpectedEof),
            (chunked, "3\r\nabc\r\n", ErrorKind::UnexpectedEof),
            (chunked, "3\r\nabcd\r\n0\r\n\r\n", ErrorKind::InvalidData),
            (chunked, "3\nabc\r\n0\r\n\r\n", ErrorKind::InvalidData),
            (chunked, "-3\r\nabc\r\n0\r\n\r\n", ErrorKind::InvalidData),
            (chunked, "11111111111111111\r\nabc", ErrorKind::InvalidData),
            (chunked, "x\r\n", ErrorKind::InvalidData),
        ] {
            assert_eq!(read(fields, body).0.unwrap_err().kind(), kind, "{body:?}");
        }
    }

    #[test]
    fn who_waits_for_a_word_gets_it() {
        let fields = "Content-Length: 3\r\nExpect: 100-continue\r\n";
        let (got, written, _) = read(fields, "abc");
        assert_eq!(got.unwrap(), "abc");
        assert_eq!(written, "HTTP/1.1 100 Continue\r\n\r\n");
        assert_eq!(read("Expect: 100-continue\r\n", "").1, "");
    }
}
