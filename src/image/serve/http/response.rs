//! What is answered: status, fields, and a body whose length is known before its first byte.

use anyhow::{Context, Result};
use std::io::Write;

/// An answer.
pub struct Response {
    /// RFC 9110, section 15.
    pub status: u16,
    fields: Vec<(&'static str, String)>,
    body: Content,
}

type Writer = Box<dyn FnOnce(&mut dyn Write) -> Result<()>>;

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
        write: impl FnOnce(&mut dyn Write) -> Result<()> + 'static,
    ) -> Self {
        self.body = Content::Stream(length, Box::new(write));
        self
    }

    /// Writes it, without its body where the request asked for the head alone.
    pub fn write(self, out: &mut dyn Write, head_only: bool, keep_alive: bool) -> Result<()> {
        let length = match &self.body {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Stream(length, _) => *length,
        };
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.fields {
            debug_assert!(!value.contains(['\r', '\n']), "{name}: {value:?}");
            head += &format!("{name}: {value}\r\n");
        }
        // These two have no body by definition, and no length either (RFC 9110, section 8.6).
        if ![204, 304].contains(&self.status) {
            head += &format!("Content-Length: {length}\r\n");
        }
        head +=
            "Docker-Distribution-Api-Version: registry/2.0\r\nX-Content-Type-Options: nosniff\r\n";
        if !keep_alive {
            head += "Connection: close\r\n";
        }
        head += "\r\n";
        let mut bytes = head.into_bytes();
        match self.body {
            Content::Bytes(body) => {
                if !head_only {
                    bytes.extend_from_slice(&body);
                }
                out.write_all(&bytes)
            }
            Content::Stream(_, write) => {
                out.write_all(&bytes).context("write the answer")?;
                if !head_only {
                    write(out)?;
                }
                Ok(())
            }
        }
        .and_then(|()| out.flush())
        .context("write the answer")
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
