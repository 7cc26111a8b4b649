//! As much of an engine as a client needs that only reads: HTTP/1.1 on a unix socket with one canned answer per path.
//! Not a model of an engine: it knows no query, no method and no state.

use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// Path without the version in front → body.
pub type Answers = BTreeMap<String, Value>;

/// A server that lives as long as the test's process; its socket goes with this value.
pub struct Server {
    directory: TempDir,
}

impl Server {
    /// Starts to answer.
    pub fn start(answers: Answers) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("socket")).unwrap();
        let answers = Arc::new(answers);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, answers) = (stream.unwrap(), answers.clone());
                // A client that goes away in the middle is no failure.
                std::thread::spawn(move || serve(stream, &answers).ok());
            }
        });
        Self { directory }
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// A directory of its own for the client's configuration.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

fn serve(mut stream: UnixStream, answers: &Answers) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut header = String::from("-");
        while !header.trim().is_empty() {
            header.clear();
            reader.read_line(&mut header)?;
        }
        let mut words = request.split(' ');
        let (method, target) = (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        );
        let path = unversioned(target.split('?').next().unwrap_or_default());
        let (status, body) = match answers.get(path) {
            _ if path == "/_ping" => ("200 OK", "OK".to_owned()),
            Some(Value::Array(lines)) if path == "/events" => (
                "200 OK",
                lines.iter().map(|line| format!("{line}\n")).collect(),
            ),
            Some(answer) => ("200 OK", answer.to_string()),
            None => (
                "404 Not Found",
                r#"{"message":"nothing is canned for this path"}"#.to_owned(),
            ),
        };
        write!(
            stream,
            "HTTP/1.1 {status}\r\nApi-Version: 1.41\r\nOstype: linux\r\nServer: canned\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )?;
        if method != "HEAD" {
            stream.write_all(body.as_bytes())?;
        }
    }
}

/// `/v1.41/info` → `/info`.
fn unversioned(path: &str) -> &str {
    match path.strip_prefix("/v1.") {
        Some(rest) => rest.find('/').map_or("", |slash| &rest[slash..]),
        None => path,
    }
}
