//! An HTTP server for the worst: what it answers, a closure decides for each request; most it passes on to a real
//! registry, whole or not. One request a connection.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What somebody asks for.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// With its query.
    pub path: String,
    /// By name in small letters.
    pub headers: BTreeMap<String, String>,
    /// How many asked for that path before.
    pub earlier: usize,
    /// This server's own `HOST:PORT`.
    pub host: String,
    /// What came with it, or as much of it as was taken.
    pub body: Vec<u8>,
    /// It asks whether its body is wanted, which has not come yet.
    pub waits: bool,
    /// The body was not taken to its end: nobody hears the answer.
    pub cut: bool,
}

impl Request {
    pub fn is_blob(&self) -> bool {
        self.path.contains("/blobs/")
    }

    pub fn is_manifest(&self) -> bool {
        self.path.contains("/manifests/")
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What becomes of it.
pub enum Reply {
    /// The body is wanted, and then the answer to it.
    Take,
    /// So many bytes of the body are taken, then the connection ends.
    Swallow(usize),
    /// The registry's answer.
    Forward,
    /// That, but only so many bytes of the body.
    Cut(usize),
    /// That, with a byte of the body changed.
    Corrupt(usize),
    /// That, a little of the body at a time, with a pause after each.
    Slow(usize, Duration),
    /// That, from the start, whatever range was asked for.
    Whole,
    /// These lines of a head, and a body as it is; `Content-Length` is added unless the head has one.
    Answer(String, Vec<u8>),
    /// A body without an end.
    Endless(String),
    /// Nothing, for so long.
    Silence(Duration),
    /// A tunnel to the registry, whatever is asked for.
    Tunnel,
}

/// A short answer.
pub fn answer(status: &str, headers: &[&str], body: impl Into<Vec<u8>>) -> Reply {
    let mut head = format!("HTTP/1.1 {status}");
    for header in headers {
        head += "\r\n";
        head += header;
    }
    Reply::Answer(head, body.into())
}

/// The words of registries.
pub fn error(status: &str, code: &str) -> Reply {
    let body = format!(r#"{{"errors":[{{"code":"{code}","message":"as you see"}}]}}"#);
    answer(status, &["Content-Type: application/json"], body)
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

/// A running server; its thread ends with the process of the test.
pub struct Server {
    pub port: u16,
    seen: Arc<Mutex<Vec<Request>>>,
    sent: Arc<Mutex<u64>>,
}

impl Server {
    pub fn start(
        registry: Option<u16>,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, sent) = (
            Arc::<Mutex<Vec<Request>>>::default(),
            Arc::<Mutex<u64>>::default(),
        );
        let server = Self {
            port,
            seen: seen.clone(),
            sent: sent.clone(),
        };
        let handler: Arc<Handler> = Arc::new(handler);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (handler, seen, sent) = (handler.clone(), seen.clone(), sent.clone());
                std::thread::spawn(move || {
                    // A client that has gone is no failure of the server.
                    let _ = serve(&stream.unwrap(), registry, &*handler, &seen, &sent);
                });
            }
        });
        server
    }

    /// The name of an image there.
    pub fn name(&self, image: &str) -> String {
        format!("127.0.0.1:{}/{image}", self.port)
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    /// Bytes of blobs that were sent.
    pub fn sent(&self) -> u64 {
        *self.sent.lock().unwrap()
    }
}

fn serve(
    stream: &TcpStream,
    registry: Option<u16>,
    handler: &Handler,
    seen: &Mutex<Vec<Request>>,
    sent: &Mutex<u64>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Ok(());
    };
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut request = {
        let mut seen = seen.lock().unwrap();
        let earlier = seen
            .iter()
            .filter(|other| other.path == path && other.method == method)
            .count();
        let host = format!("127.0.0.1:{}", stream.local_addr()?.port());
        let waits = headers.contains_key("expect");
        let request = Request {
            method: method.to_owned(),
            path: path.to_owned(),
            headers,
            earlier,
            host,
            body: Vec::new(),
            waits,
            cut: false,
        };
        seen.push(request.clone());
        request
    };
    let mut reply = None;
    if request.waits {
        reply = match handler(&request) {
            Reply::Take | Reply::Forward => None,
            reply => Some(reply),
        };
        request.waits = false;
        if matches!(reply, None | Some(Reply::Swallow(_))) {
            write!(&*stream, "HTTP/1.1 100 Continue\r\n\r\n")?;
        }
    }
    if let Some(Reply::Swallow(length)) = reply {
        swallow(&mut reader, &mut request, length, handler)?;
        return Ok(());
    }
    if reply.is_none() {
        request.body = body(&mut reader, &request.headers)?;
    }
    let reply = reply.unwrap_or_else(|| handler(&request));
    let mut out = stream;
    let (mut head, mut body) = match &reply {
        Reply::Answer(head, body) => (head.clone(), body.clone()),
        Reply::Endless(head) => {
            write!(out, "{head}\r\nConnection: close\r\n\r\n")?;
            let noise = vec![b' '; 1 << 16];
            loop {
                out.write_all(&noise)?;
            }
        }
        Reply::Silence(time) => {
            std::thread::sleep(*time);
            return Ok(());
        }
        Reply::Tunnel => return tunnel(stream, registry.unwrap()),
        Reply::Swallow(length) => {
            request.body.truncate(*length);
            request.cut = true;
            handler(&request);
            return Ok(());
        }
        reply => forward(&request, registry.unwrap(), matches!(reply, Reply::Whole))?,
    };
    if let Reply::Corrupt(at) = reply
        && let Some(byte) = body.get_mut(at)
    {
        *byte ^= 1;
    }
    if !head.to_ascii_lowercase().contains("content-length:") && !head.contains("Transfer-Encoding")
    {
        head += &format!("\r\nContent-Length: {}", body.len());
    }
    write!(out, "{head}\r\nConnection: close\r\n\r\n")?;
    if request.method == "HEAD" {
        return Ok(());
    }
    let (step, pause) = match reply {
        Reply::Slow(step, pause) => (step, pause),
        _ => (64 << 10, Duration::ZERO),
    };
    if let Reply::Cut(length) = reply {
        body.truncate(length);
    }
    for piece in body.chunks(step) {
        out.write_all(piece)?;
        if request.is_blob() {
            *sent.lock().unwrap() += piece.len() as u64;
        }
        std::thread::sleep(pause);
    }
    Ok(())
}

/// Head and body of the registry's answer.
fn forward(request: &Request, registry: u16, whole: bool) -> std::io::Result<(String, Vec<u8>)> {
    let mut stream = super::real::connect(registry)?;
    // HTTP/1.0: the answer is not in chunks.
    write!(
        stream,
        "{} {} HTTP/1.0\r\nHost: {}\r\n",
        request.method, request.path, request.host
    )?;
    for (name, value) in &request.headers {
        let passed = [
            "accept",
            "range",
            "content-type",
            "content-range",
            "authorization",
        ];
        if passed.contains(&name.as_str()) && !(whole && name == "range") {
            write!(stream, "{name}: {value}\r\n")?;
        }
    }
    if ["POST", "PUT", "PATCH"].contains(&request.method.as_str()) {
        write!(stream, "Content-Length: {}\r\n", request.body.len())?;
    }
    write!(stream, "Accept: */*\r\n\r\n")?;
    stream.write_all(&request.body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")
        .unwrap();
    let head = String::from_utf8(answer[..end].to_vec())
        .unwrap()
        .replacen("HTTP/1.0", "HTTP/1.1", 1);
    let lines: Vec<&str> = head
        .split("\r\n")
        .filter(|line| !line.starts_with("Connection"))
        .collect();
    Ok((lines.join("\r\n"), answer[end + 4..].to_vec()))
}

/// Takes a part of a body, and lets the handler know.
fn swallow(
    reader: &mut impl BufRead,
    request: &mut Request,
    length: usize,
    handler: &Handler,
) -> std::io::Result<()> {
    request.cut = true;
    match request.headers.contains_key("content-length") {
        true => drop(reader.take(length as u64).read_to_end(&mut request.body)?),
        false => {
            chunks(reader, length, &mut request.body)?;
            request.body.truncate(length);
        }
    }
    handler(request);
    Ok(())
}

/// What comes with a request.
fn body(reader: &mut impl BufRead, headers: &BTreeMap<String, String>) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    match headers
        .get("content-length")
        .map(|text| text.parse::<u64>().unwrap())
    {
        Some(length) => drop(reader.take(length).read_to_end(&mut body)?),
        None if headers.contains_key("transfer-encoding") => {
            chunks(reader, usize::MAX, &mut body)?;
        }
        None => {}
    }
    Ok(body)
}

/// A body in chunks (RFC 9112, 7.1), up to at least so many bytes of it.
fn chunks(reader: &mut impl BufRead, most: usize, body: &mut Vec<u8>) -> std::io::Result<()> {
    while body.len() < most {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let length = u64::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
        reader.by_ref().take(length).read_to_end(body)?;
        reader.read_line(&mut line)?;
        if length == 0 {
            break;
        }
    }
    Ok(())
}

fn tunnel(stream: &TcpStream, registry: u16) -> std::io::Result<()> {
    let mut out = stream;
    out.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let other = super::real::connect(registry)?;
    let (mut from, mut to) = (stream.try_clone()?, other.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Write);
    });
    std::io::copy(&mut &other, &mut &*stream)?;
    stream.shutdown(std::net::Shutdown::Write)
}
