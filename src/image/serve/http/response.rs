//! What is answered: status, fields, and a body whose length is known before its first byte.

use std::io::{self, Write};

/// An answer.
pub struct Response {
    /// RFC 9110, section 15.
    pub status: u16,
    fields: Vec<(&'static str, String)>,
    body: Content,
}

type Writer = Box<dyn FnOnce(&mut dyn Write) -> anyhow::Result<()>>;

enum Content {
    Bytes(Vec<u8>),
    /// Writes exactly that many bytes.
    Stream(u64, Writer),
}

impl Response {
    /// An answer without a body.
    pub fn new(status: u16) -> Self {
        Self {
            status,
            fields: Vec::new(),
            body: Content::Bytes(Vec::new()),
        }
    }

    /// An answer that is a document.
    pub fn json(status: u16, value: &serde_json::Value) -> Self {
        let text = value.to_string().into_bytes();
        Self::new(status)
            .field("Content-Type", "application/json")
            .bytes(text)
    }

    /// Adds a field. The value must not hold anything that ends a line; see the callers.
    #[must_use]
    pub fn field(mut self, name: &'static str, value: impl ToString) -> Self {
        self.fields.push((name, value.to_string()));
        self
    }

    /// With these bytes as its body.
    #[must_use]
    pub fn bytes(mut self, bytes: Vec<u8>) -> Self {
        self.body = Content::Bytes(bytes);
        self
    }

    /// With a body of `length` bytes that is written when its turn has come.
    #[must_use]
    pub fn stream(
        mut self,
        length: u64,
        write: impl FnOnce(&mut dyn Write) -> anyhow::Result<()> + 'static,
    ) -> Self {
        self.body = Content::Stream(length, Box::new(write));
        self
    }

    /// Writes it, without its body where the request asked for the head alone.
    pub fn write(
        self,
        out: &mut dyn Write,
        head_only: bool,
        keep_alive: bool,
    ) -> Result<(), Broken> {
        let length = match &self.body {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Stream(length, _) => *length,
        };
        let mut head = self.head(length, keep_alive).into_bytes();
        match self.body {
            Content::Bytes(body) if !head_only => {
                head.extend_from_slice(&body);
                out.write_all(&head)?;
            }
            Content::Stream(length, write) if !head_only => {
                out.write_all(&head)?;
                let mut counted = Counted {
                    out,
                    left: length,
                    failure: None,
                };
                let written = write(&mut counted);
                match (counted.failure, written, counted.left) {
                    (Some(error), ..) => return Err(error.into()),
                    (None, Err(error), _) => return Err(Broken::Source(error)),
                    (None, Ok(()), 0) => {}
                    (None, Ok(()), left) => {
                        let error = anyhow::anyhow!("{left} of {length} bytes are missing");
                        return Err(Broken::Source(error));
                    }
                }
            }
            _ => out.write_all(&head)?,
        }
        Ok(out.flush()?)
    }

    fn head(&self, length: u64, keep_alive: bool) -> String {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.fields {
            debug_assert!(!value.contains(['\r', '\n']), "{name}: {value:?}");
            head += &format!("{name}: {value}\r\n");
        }
        // This has no body by definition, and no length either (RFC 9110, section 8.6).
        if self.status != 204 {
            head += &format!("Content-Length: {length}\r\n");
        }
        head += "Docker-Distribution-Api-Version: registry/2.0\r\n";
        head += "X-Content-Type-Options: nosniff\r\n";
        if !keep_alive {
            head += "Connection: close\r\n";
        }
        head + "\r\n"
    }
}

/// Why an answer has not been given whole.
#[derive(Debug)]
pub enum Broken {
    /// The client does not take it.
    Client(io::Error),
    /// What it is made of cannot be read.
    Source(anyhow::Error),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Client(error)
    }
}

/// Takes as many bytes as were promised, and keeps why it could not.
struct Counted<'a> {
    out: &'a mut dyn Write,
    left: u64,
    failure: Option<io::Error>,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left {
            return Err(io::Error::other("there are more bytes than were promised"));
        }
        match self.out.write(bytes) {
            Ok(written) => {
                self.left -= written as u64;
                Ok(written)
            }
            Err(error) => {
                let kind = error.kind();
                self.failure = Some(error);
                Err(kind.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(response: Response, head_only: bool) -> (Result<(), Broken>, String) {
        let mut out = Vec::new();
        let result = response.write(&mut out, head_only, true);
        (result, String::from_utf8(out).unwrap())
    }

    #[test]
    fn an_answer_has_the_length_that_it_says() {
        let stream = |length, bytes: &'static [u8]| {
            Response::new(200).stream(length, move |out| Ok(out.write_all(bytes)?))
        };
        let (result, text) = written(stream(3, b"abc"), false);
        assert!(result.is_ok() && text.ends_with("\r\n\r\nabc"), "{text}");
        let (result, text) = written(stream(3, b"abc"), true);
        assert!(result.is_ok() && text.ends_with("\r\n\r\n"), "{text}");
        assert!(text.contains("Content-Length: 3\r\n"), "{text}");
        for bytes in [&b"ab"[..], b"abcd"] {
            let (result, _) = written(stream(3, bytes), false);
            assert!(matches!(result, Err(Broken::Source(_))), "{result:?}");
        }
        let (result, text) = written(Response::new(204), false);
        assert!(result.is_ok() && !text.contains("Content-Length"), "{text}");
    }

    #[test]
    fn who_is_at_fault_is_told_apart() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                match bytes.starts_with(b"HTTP") {
                    true => Ok(bytes.len()),
                    false => Err(io::ErrorKind::BrokenPipe.into()),
                }
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let response = Response::new(200).stream(3, |out| Ok(out.write_all(b"abc")?));
        let result = response.write(&mut Gone, false, true);
        assert!(matches!(result, Err(Broken::Client(_))), "{result:?}");
        let response = Response::new(200).stream(3, |_| Err(io::Error::other("damaged").into()));
        let result = response.write(&mut Gone, false, true);
        assert!(matches!(result, Err(Broken::Source(_))), "{result:?}");
    }
}
