//! HTTP as clients speak it, and as attackers do.

use crate::{Answer, Served, digest_of, files};
use std::io::{Read, Write};
use std::net::TcpStream;

#[test]
fn connections_are_kept_and_requests_may_come_at_once() {
    let served = Served::start();
    let client = served.client();
    let digest = client.blob("jar", b"clay");
    let one = format!("GET /v2/jar/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n");
    let last = "GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let text = client.raw(format!("{one}\r\n{one}{one}{last}").as_bytes());
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 4, "{text}");
    assert_eq!(text.matches("\r\n\r\nclay").count(), 3, "{text}");
    assert_eq!(text.matches("Connection: close").count(), 1, "{text}");
    let old = client.raw(b"GET /v2/ HTTP/1.0\r\n\r\n");
    Answer::parse(&old).status(200);
}

#[test]
fn a_client_that_asks_before_it_sends_is_told() {
    let served = Served::start();
    let client = served.client();
    let digest = digest_of(b"clay");
    let fields = [("Expect", "100-continue")];
    let path = format!("/v2/jar/blobs/uploads/?digest={digest}");
    let mut stream = client.connect();
    stream
        .write_all(client.head("POST", &path, &fields, 4).as_bytes())
        .unwrap();
    let mut word = [0; 25];
    stream.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"clay").unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    Answer::parse(&rest).status(201);
    // What is refused need not be sent.
    let head = client.head("PUT", "/v2/jar/manifests/-", &fields, 1 << 20);
    let answer = Answer::parse(&client.raw(head.as_bytes())).refused(400, "TAG_INVALID");
    assert_eq!(answer.field("connection"), Some("close"));
    let head = client.head("PUT", "/v2/jar/manifests/v1", &[("Expect", "tea")], 0);
    Answer::parse(&client.raw(head.as_bytes())).status(417);
}

#[test]
fn bodies_in_chunks() {
    let served = Served::start();
    let client = served.client();
    let digest = digest_of(b"clay pot");
    let head = |path: &str, fields: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n{fields}Connection: close\r\n\r\n"
        )
    };
    let path = format!("/v2/jar/blobs/uploads/?digest={digest}");
    let text = head(&path, "") + "4;x=y\r\nclay\r\n4\r\n pot\r\n0\r\nTrailer: x\r\n\r\n";
    Answer::parse(&client.raw(text.as_bytes())).status(201);
    let got = client.get(&format!("/v2/jar/blobs/{digest}")).status(200);
    assert_eq!(got.body, b"clay pot");
    let text = head(&path, "") + "4\r\nclay\r\nnonsense\r\n";
    Answer::parse(&client.raw(text.as_bytes())).status(400);
}

#[test]
fn what_could_be_two_requests_is_none() {
    let served = Served::start();
    let client = served.client();
    client.image("jar", "v1", "clay");
    let smuggled = "DELETE /v2/jar/manifests/v1 HTTP/1.1\r\nHost: x\r\n\r\n";
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 0\r\nContent-Length: 51\r\n",
        "Content-Length: 0, 51\r\n",
        "Content-Length: +0\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "X: y\nContent-Length: 0\r\n",
        " folded: x\r\n",
    ] {
        let text = format!("GET /v2/ HTTP/1.1\r\nHost: x\r\n{fields}\r\n0\r\n\r\n{smuggled}");
        let answer = String::from_utf8(client.raw(text.as_bytes())).unwrap();
        assert_eq!(
            answer.matches("HTTP/1.1 ").count(),
            1,
            "{fields:?}: {answer}"
        );
        let status = Answer::parse(answer.as_bytes()).status;
        assert!(matches!(status, 400 | 501), "{fields:?}: {answer}");
        client.get("/v2/jar/manifests/v1").status(200);
    }
}

#[test]
fn heads_have_an_end() {
    let served = Served::start();
    let client = served.client();
    let long = format!("GET /v2/{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(20_000));
    Answer::parse(&client.raw(long.as_bytes())).status(431);
    let many = format!(
        "GET /v2/ HTTP/1.1\r\nHost: x\r\n{}\r\n",
        "A: b\r\n".repeat(100)
    );
    Answer::parse(&client.raw(many.as_bytes())).status(431);
    let endless = vec![b'x'; 1 << 20];
    Answer::parse(&client.raw(&endless)).status(431);
    Answer::parse(&client.raw(b"GET /v2/ HTTP/2.0\r\nHost: x\r\n\r\n")).status(505);
    Answer::parse(&client.raw(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")).status(400);
    client.get("/v2/").status(200);
}

#[test]
fn more_clients_than_are_taken_wait_for_their_turn() {
    let served = Served::start();
    let client = served.client();
    let bytes = [7; 8];
    let path = format!("/v2/jar/blobs/uploads/?digest={}", digest_of(&bytes));
    let head = client.head("POST", &path, &[], bytes.len());
    // Most of those that are taken, all of them busy: who only holds a connection would have to make room.
    let begin = |_| {
        let mut stream = client.connect();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&bytes[..4]).unwrap();
        stream
    };
    let mut busy: Vec<_> = (0..250).map(begin).collect();
    let uploads = served.folder().join("repositories/jar/_uploads");
    crate::support::life::until("all have begun", || files(&uploads).len() == busy.len());
    let ask = |_| {
        let mut stream = client.connect();
        let request = "GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        stream
    };
    let mut waiting: Vec<_> = (0..50).map(ask).collect();
    let answer = |stream: &mut TcpStream| {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        Answer::parse(&answer)
    };
    for stream in &mut busy {
        stream.write_all(&bytes[4..]).unwrap();
        answer(stream).status(201);
    }
    for stream in &mut waiting {
        answer(stream).status(200);
    }
    client.get("/v2/").status(200);
}

#[test]
fn who_only_holds_connections_keeps_nobody_out() {
    let served = Served::start();
    let client = served.client();
    let held: Vec<_> = (0..400)
        .map(|number| {
            let mut stream = client.connect();
            // Some say nothing, some do not come to an end.
            if number % 2 == 0 {
                stream.write_all(b"GET /v2/ HTTP/1.1\r\nHo").unwrap();
            }
            stream
        })
        .collect();
    client.get("/v2/").status(200);
    drop(held);
    client.get("/v2/").status(200);
}

#[test]
fn web_pages_change_nothing() {
    let served = Served::start();
    let client = served.client();
    let manifest = client.image("jar", "v1", "clay");
    let fields = [("Origin", "http://elsewhere.example")];
    for (method, path) in [
        ("POST", "/v2/jar/blobs/uploads/"),
        ("PUT", "/v2/jar/manifests/v1"),
        ("DELETE", "/v2/jar/manifests/v1"),
    ] {
        client
            .send(method, path, &fields, b"")
            .refused(403, "DENIED");
    }
    let got = client
        .send("GET", "/v2/jar/manifests/v1", &fields, b"")
        .status(200);
    assert_eq!(got.body, manifest);
    assert_eq!(got.field("access-control-allow-origin"), None);
}
