//! The head of a request: method, target, the fields that matter, and how long its body is.
//!
//! What could be read in two ways is refused (RFC 9112, sections 6.3 and 11.2): a body with a length and chunks, a
//! length that is said twice, lines that end in a bare newline.

use std::io::{self, BufRead, Read};

/// The longest head in bytes.
const LONGEST: u64 = 16 << 10;
const MOST_FIELDS: usize = 64;
/// Empty lines that may stand before a request.
const EMPTY_LINES: usize = 4;

/// What is to be done; others than these are [`Method::Other`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Other,
}

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// It has that many bytes.
    Length(u64),
    /// It comes in chunks, of which the last is empty.
    Chunked,
}

/// A head that was read.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// As it was written, for whoever looks at a log.
    pub line: String,
    /// The components of the path, decoded; `/v2/a` has two.
    pub path: Vec<String>,
    query: Vec<(String, String)>,
    fields: Vec<(String, String)>,
    /// Its body.
    pub framing: Framing,
    /// Whether the client waits for a word before it sends the body.
    pub expects_continue: bool,
    /// Whether another request may follow.
    pub keep_alive: bool,
}

/// Why there is no request.
#[derive(Debug)]
pub enum Bad {
    /// The connection has broken or timed out.
    Cut(io::Error),
    /// Status and words.
    Refused(u16, &'static str),
}

impl From<io::Error> for Bad {
    fn from(error: io::Error) -> Self {
        Self::Cut(error)
    }
}

const MALFORMED: Bad = Bad::Refused(400, "the request is malformed");
const TOO_LARGE: Bad = Bad::Refused(431, "the head of the request is too large");

impl Request {
    /// Reads a head and nothing after it.
    pub fn read(reader: &mut impl BufRead) -> Result<Self, Bad> {
        Self::parse(&read_head(reader)?)
    }

    /// The value of a field, its name in lower case; the first of several.
    pub fn field(&self, name: &str) -> Option<&str> {
        value(&self.fields, name)
    }

    /// The value of a parameter of the query.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        value(&self.query, name)
    }

    fn parse(head: &[u8]) -> Result<Self, Bad> {
        let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
        let mut parsed = httparse::Request::new(&mut fields);
        match parsed.parse(head) {
            Ok(httparse::Status::Complete(length)) if length == head.len() => {}
            Err(httparse::Error::TooManyHeaders) => return Err(TOO_LARGE),
            Err(httparse::Error::Version) => {
                return Err(Bad::Refused(
                    505,
                    "only HTTP/1.1 and HTTP/1.0 are spoken here",
                ));
            }
            _ => return Err(MALFORMED),
        }
        let (Some(method), Some(target), Some(minor)) =
            (parsed.method, parsed.path, parsed.version)
        else {
            return Err(MALFORMED);
        };
        let mut fields = Vec::with_capacity(parsed.headers.len());
        for field in &*parsed.headers {
            // Values of other encodings mean nothing here.
            let value = String::from_utf8_lossy(field.value);
            fields.push((field.name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let hosts = fields.iter().filter(|(name, _)| name == "host").count();
        if hosts > 1 || (hosts == 0 && minor == 1) {
            return Err(Bad::Refused(400, "a request names one host"));
        }
        let (path, query) = split(target).ok_or(MALFORMED)?;
        let expectation = value(&fields, "expect").map(str::to_ascii_lowercase);
        if expectation
            .as_deref()
            .is_some_and(|expected| expected != "100-continue")
        {
            return Err(Bad::Refused(417, "only 100-continue can be expected"));
        }
        Ok(Self {
            method: method_of(method),
            line: format!("{method} {target}"),
            path,
            query,
            framing: framing(&fields, minor)?,
            expects_continue: expectation.is_some() && minor == 1,
            keep_alive: keeps_alive(&fields, minor),
            fields,
        })
    }
}

fn value<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = pairs.iter().find(|(key, _)| key == name);
    found.map(|(_, value)| value.as_str())
}

fn read_head(reader: &mut impl BufRead) -> Result<Vec<u8>, Bad> {
    let mut head = Vec::new();
    let mut empty = 0;
    loop {
        let before = head.len();
        let room = LONGEST - before as u64;
        reader.by_ref().take(room).read_until(b'\n', &mut head)?;
        let line = &head[before..];
        if !line.ends_with(b"\n") {
            return Err(match line.len() as u64 == room {
                true => TOO_LARGE,
                false => Bad::Cut(io::ErrorKind::UnexpectedEof.into()),
            });
        }
        match line {
            b"\r\n" if before == 0 && empty == EMPTY_LINES => return Err(MALFORMED),
            b"\r\n" if before == 0 => {
                empty += 1;
                head.clear();
            }
            b"\r\n" => return Ok(head),
            line if line.ends_with(b"\r\n") => {}
            _ => return Err(MALFORMED),
        }
    }
}

fn method_of(text: &str) -> Method {
    match text {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "PATCH" => Method::Patch,
        "DELETE" => Method::Delete,
        _ => Method::Other,
    }
}

fn framing(fields: &[(String, String)], minor: u8) -> Result<Framing, Bad> {
    let all = |wanted: &'static str| fields.iter().filter(move |(name, _)| name == wanted);
    let mut lengths = all("content-length").map(|(_, value)| value.as_str());
    let mut codings = all("transfer-encoding").map(|(_, value)| value.as_str());
    match (lengths.next(), codings.next()) {
        (None, None) => Ok(Framing::Length(0)),
        (Some(_), Some(_)) => Err(Bad::Refused(400, "a body has either a length or chunks")),
        (Some(length), None) => {
            let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
            let length = length.parse().ok().filter(|_| digits);
            match (length, lengths.next()) {
                (Some(length), None) => Ok(Framing::Length(length)),
                _ => Err(Bad::Refused(400, "the length of the body is no number")),
            }
        }
        (None, Some(coding)) => {
            if minor == 0 || codings.next().is_some() {
                return Err(MALFORMED);
            }
            match coding.eq_ignore_ascii_case("chunked") {
                true => Ok(Framing::Chunked),
                false => Err(Bad::Refused(
                    501,
                    "chunked is the only transfer encoding here",
                )),
            }
        }
    }
}

fn keeps_alive(fields: &[(String, String)], minor: u8) -> bool {
    let words = value(fields, "connection").unwrap_or_default();
    let has = |wanted: &str| {
        let mut words = words.split(',');
        words.any(|word| word.trim().eq_ignore_ascii_case(wanted))
    };
    match minor {
        0 => has("keep-alive"),
        _ => !has("close"),
    }
}

type Target = (Vec<String>, Vec<(String, String)>);

/// The components of the path and the parameters of the query.
fn split(target: &str) -> Option<Target> {
    // As it is said to a proxy (RFC 9112, section 3.2.2).
    let target = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains(['/', '?']) => {
            rest.find('/').map_or("/", |slash| &rest[slash..])
        }
        _ => target,
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = path
        .strip_prefix('/')?
        .split('/')
        .map(|part| decode(part, false));
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decode(key, true)?, decode(value, true)?))
    });
    Some((path.collect::<Option<_>>()?, pairs.collect::<Option<_>>()?))
}

/// A part of a target without its percent signs (RFC 3986, section 2.1).
fn decode(text: &str, plus_is_space: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || (rest.next()? as char).to_digit(16);
                (digit()? * 16 + digit()?) as u8
            }
            b'+' if plus_is_space => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Request, u16> {
        Request::read(&mut text.as_bytes()).map_err(|bad| match bad {
            Bad::Cut(_) => 0,
            Bad::Refused(status, _) => status,
        })
    }

    #[test]
    fn heads_are_read() {
        let request = read(
            "\r\nPUT /v2/a%2Db/blobs/uploads/1?digest=sha256%3Aab&x=1+2 HTTP/1.1\r\nhost: x\r\n\
             Content-Length: 12\r\nExpect: 100-Continue\r\n\r\nbody",
        )
        .unwrap();
        assert_eq!(request.method, Method::Put);
        assert_eq!(request.path, ["v2", "a-b", "blobs", "uploads", "1"]);
        assert_eq!(request.parameter("digest"), Some("sha256:ab"));
        assert_eq!(request.parameter("x"), Some("1 2"));
        assert_eq!(request.field("host"), Some("x"));
        assert_eq!(request.framing, Framing::Length(12));
        assert!(request.expects_continue && request.keep_alive);
        let chunked = read(
            "PATCH http://h:1/v2/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: Close\r\n\r\n",
        );
        let chunked = chunked.unwrap();
        assert_eq!(chunked.path, ["v2", ""]);
        assert_eq!(
            (chunked.framing, chunked.keep_alive),
            (Framing::Chunked, false)
        );
        assert!(!read("GET / HTTP/1.0\r\n\r\n").unwrap().keep_alive);
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(20_000));
        let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(80));
        for (fields, status) in [
            ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", 400),
            ("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n", 400),
            ("Content-Length: 1\r\nContent-Length: 1\r\n", 400),
            ("Content-Length: 1, 1\r\n", 400),
            ("Content-Length: +1\r\n", 400),
            ("Content-Length: 0x1\r\n", 400),
            ("Content-Length: \r\n", 400),
            ("Content-Length: 99999999999999999999\r\n", 400),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                400,
            ),
            ("Transfer-Encoding: gzip, chunked\r\n", 501),
            ("Transfer-Encoding : chunked\r\n", 400),
            ("A: b\r\n c\r\n", 400),
            ("A: b\n", 400),
            ("Host: y\r\n", 400),
            ("Expect: tea\r\n", 417),
        ] {
            let text = format!("PUT /v2/ HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
            assert_eq!(read(&text).unwrap_err(), status, "{fields:?}");
        }
        for (text, status) in [
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            ("GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
            ("GET /%4 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
            ("GET /%ff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
            ("GET * HTTP/1.1\r\nHost: x\r\n\r\n", 400),
            ("\x16\x03\x01\x02\x00\r\n\r\n", 400),
            ("\r\n\r\n\r\n\r\n\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: x\r\n", 0),
            (&long, 431),
            (&many, 431),
        ] {
            assert_eq!(read(text).unwrap_err(), status, "{text:?}");
        }
    }
}
