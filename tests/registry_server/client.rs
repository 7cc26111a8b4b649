//! A client that says exactly what it is told to.

pub use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The sha256 digest of some bytes.
pub fn digest_of(bytes: &[u8]) -> String {
    let digits = Sha256::digest(bytes);
    let hex: String = digits.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(bytes)));
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        Self {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head,
            body: bytes[end + 4..].to_vec(),
        }
    }

    /// A field of the head.
    pub fn field(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1);
        let mut fields = lines.filter_map(|line| line.split_once(": "));
        let found = fields.find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value)
    }

    #[track_caller]
    pub fn status(self, status: u16) -> Self {
        let body = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{}\n\n{body}", self.head);
        self
    }

    /// It is a refusal in the form of the specification.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Self {
        let answer = self.status(status);
        assert_eq!(answer.json()["errors"][0]["code"], code);
        assert!(answer.json()["errors"][0]["message"].is_string());
        answer
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn location(&self) -> String {
        self.field("location").unwrap().to_owned()
    }
}

/// Speaks to one registry.
#[derive(Clone)]
pub struct Client {
    address: String,
}

impl Client {
    pub fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
        }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        stream
    }

    /// Sends bytes as they are, and reads until the other end has enough.
    pub fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        // The answer may come before all is sent.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    }

    /// The head of a request with a body of that many bytes.
    pub fn head(&self, method: &str, path: &str, fields: &[(&str, &str)], length: usize) -> String {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        for (name, value) in fields {
            head += &format!("{name}: {value}\r\n");
        }
        head + &format!("Content-Length: {length}\r\nConnection: close\r\n\r\n")
    }

    pub fn send(&self, method: &str, path: &str, fields: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut bytes = self.head(method, path, fields, body.len()).into_bytes();
        bytes.extend_from_slice(body);
        Answer::parse(&self.raw(&bytes))
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    pub fn ask(&self, method: &str, path: &str) -> Answer {
        self.send(method, path, &[], b"")
    }

    /// Begins an upload; where it goes on.
    pub fn begin(&self, name: &str) -> String {
        self.ask("POST", &format!("/v2/{name}/blobs/uploads/"))
            .status(202)
            .location()
    }

    /// Sends `clay`, the first half of what it adds to an upload; the other half is to come.
    pub fn half(&self, place: &str) -> TcpStream {
        let mut stream = self.connect();
        let head = self.head("PATCH", place, &[], 8);
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(b"clay").unwrap();
        stream
    }

    /// Waits until the server has these bytes of an upload.
    pub fn await_range(&self, place: &str, range: &str) {
        while self.get(place).status(204).field("range") != Some(range) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Pushes a blob in two requests; its digest.
    pub fn blob(&self, name: &str, bytes: &[u8]) -> String {
        let digest = digest_of(bytes);
        let place = format!("{}?digest={digest}", self.begin(name));
        self.send("PUT", &place, &[], bytes).status(201);
        digest
    }

    pub fn put(&self, name: &str, reference: &str, kind: &str, manifest: &[u8]) -> Answer {
        let path = format!("/v2/{name}/manifests/{reference}");
        self.send("PUT", &path, &[("Content-Type", kind)], manifest)
    }

    /// Pushes an image of a config and a layer; the manifest.
    pub fn image(&self, name: &str, reference: &str, content: &str) -> Vec<u8> {
        let config = format!(r#"{{"made":"{content}"}}"#);
        let manifest = image(
            (&self.blob(name, config.as_bytes()), config.len()),
            (&self.blob(name, content.as_bytes()), content.len()),
        );
        let bytes = serde_json::to_vec(&manifest).unwrap();
        self.put(name, reference, OCI_MANIFEST, &bytes).status(201);
        bytes
    }
}

/// A manifest of a config and a layer, each with its size.
pub fn image(config: (&str, usize), layer: (&str, usize)) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": CONFIG, "digest": config.0, "size": config.1},
        "layers": [{"mediaType": LAYER, "digest": layer.0, "size": layer.1}],
    })
}
