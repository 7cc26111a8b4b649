//! Servers that are killed, that share a folder, and that have no room left: what was acknowledged is whole, what was
//! not can be gone on with or is gone.

use crate::client::{Client, OCI_MANIFEST, Value, image};
use crate::support::store::program;
use crate::support::{Need, requires};
use crate::{Answer, Served, digest_of, files};
use std::io::{Read, Write};
use std::process::Command;
use std::time::Duration;

/// Bytes that differ for each number.
fn content(number: usize, length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| ((at / 7 + number * 31) % 251) as u8)
        .collect()
}

#[test]
fn a_killed_server_leaves_an_upload_that_can_be_gone_on_with() {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let mut served = Served::of(directory.path(), &[]);
    let client = served.client();
    let bytes = content(1, 8 << 20);
    let place = client.begin("jar");
    let mut stream = client.connect();
    stream
        .write_all(client.head("PATCH", &place, &[], bytes.len()).as_bytes())
        .unwrap();
    stream.write_all(&bytes[..5 << 20]).unwrap();
    // Some of it has been written before the server is gone.
    let range = loop {
        let status = client.get(&place).status(204);
        let range = status.field("range").unwrap().to_owned();
        if range != "0-0" {
            break range;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(range.starts_with("0-"), "{range}");
    served.signal(libc::SIGKILL);
    served.ended();
    let served = Served::of(directory.path(), &[]);
    let client = served.client();
    let status = client.get(&place).status(204);
    let last: usize = status.field("range").unwrap()[2..].parse().unwrap();
    assert!(last < 5 << 20);
    let digest = digest_of(&bytes);
    client.get(&format!("/v2/jar/blobs/{digest}")).status(404);
    let rest = format!("{}-{}", last + 1, bytes.len() - 1);
    let fields = [("Content-Range", rest.as_str())];
    client
        .send("PATCH", &place, &fields, &bytes[last + 1..])
        .status(202);
    client
        .ask("PUT", &format!("{place}?digest={digest}"))
        .status(201);
    assert!(
        client
            .get(&format!("/v2/jar/blobs/{digest}"))
            .status(200)
            .body
            == bytes
    );
}

/// Pushes without an expectation; the tag, if that was acknowledged.
fn push(client: &Client, number: usize) -> Option<String> {
    let attempt = |method: &str, path: &str, body: &[u8]| {
        let mut stream = std::net::TcpStream::connect(client.address()).ok()?;
        let fields = [("Content-Type", OCI_MANIFEST)];
        let head = client.head(method, path, &fields, body.len());
        stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(body))
            .ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        (!answer.is_empty()).then(|| Answer::parse(&answer))
    };
    let blob = |bytes: &[u8]| {
        let digest = digest_of(bytes);
        let path = format!("/v2/jar/blobs/uploads/?digest={digest}");
        let answer = attempt("POST", &path, bytes)?.status(201);
        assert_eq!(answer.location(), format!("/v2/jar/blobs/{digest}"));
        Some((digest, bytes.len()))
    };
    let (config, layer) = (format!("{{\"n\":{number}}}"), content(number, 200_000));
    let (config, layer) = (blob(config.as_bytes())?, blob(&layer)?);
    let manifest = image((&config.0, config.1), (&layer.0, layer.1)).to_string();
    let tag = format!("t{number}");
    let path = format!("/v2/jar/manifests/{tag}");
    attempt("PUT", &path, manifest.as_bytes())?.status(201);
    Some(tag)
}

/// Every tag leads to a manifest, and every manifest to blobs that are what they are called.
fn assert_whole(client: &Client) -> Vec<String> {
    let answer = client.get("/v2/jar/tags/list");
    if answer.status == 404 {
        return Vec::new();
    }
    let tags = answer.status(200).json()["tags"]
        .as_array()
        .unwrap()
        .clone();
    let tags: Vec<String> = tags
        .iter()
        .map(|tag| tag.as_str().unwrap().to_owned())
        .collect();
    for tag in &tags {
        let manifest = client.get(&format!("/v2/jar/manifests/{tag}")).status(200);
        assert_eq!(
            manifest.field("docker-content-digest"),
            Some(digest_of(&manifest.body).as_str())
        );
        let manifest: Value = manifest.json();
        let layers = manifest["layers"].as_array().unwrap().iter();
        for named in layers.chain([&manifest["config"]]) {
            let digest = named["digest"].as_str().unwrap();
            let blob = client
                .get(&format!("/v2/jar/blobs/{digest}"))
                .status(200)
                .body;
            assert_eq!(digest_of(&blob), digest);
        }
    }
    tags
}

#[test]
fn what_was_acknowledged_survives_any_kill() {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..25usize {
        let mut served = Served::of(directory.path(), &[]);
        let client = served.client();
        let found = assert_whole(&client);
        for tag in &acknowledged {
            assert!(found.contains(tag), "{tag} was acknowledged and is gone");
        }
        let pusher = client.clone();
        let pushing = std::thread::spawn(move || {
            let numbers = round * 100..;
            let pushed: Vec<String> = numbers.map_while(|number| push(&pusher, number)).collect();
            pushed
        });
        // Somewhere within a push, another place each time.
        std::thread::sleep(Duration::from_micros(20_000 + round as u64 * 3_700));
        served.signal(libc::SIGKILL);
        served.ended();
        acknowledged.extend(pushing.join().unwrap());
    }
    assert!(!acknowledged.is_empty());
    let served = Served::of(directory.path(), &[]);
    assert_whole(&served.client());
    let mut command = Command::new(program());
    command.args([
        "registry",
        "prune",
        "-f",
        "--filter",
        "until=1ns",
        "--storage",
    ]);
    crate::support::Call::new(command)
        .args([directory.path()])
        .run()
        .code(0);
    let tags = assert_whole(&served.client());
    assert!(acknowledged.iter().all(|tag| tags.contains(tag)));
    let left = files(directory.path());
    let half = left
        .iter()
        .find(|path| path.to_string_lossy().contains(".new-"));
    assert_eq!(half, None);
}

#[test]
fn two_servers_take_the_same_layer_at_once() {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let servers = [
        Served::of(directory.path(), &[]),
        Served::of(directory.path(), &[]),
    ];
    let bytes = content(3, 3 << 20);
    let digest = digest_of(&bytes);
    std::thread::scope(|scope| {
        for number in 0..8 {
            let client = servers[number % 2].client();
            let bytes = &bytes;
            scope.spawn(move || {
                let name = format!("jar{}", number / 4);
                assert_eq!(client.blob(&name, bytes), digest_of(bytes));
                let config = client.blob(&name, b"{}");
                let manifest = image((&config, 2), (&digest_of(bytes), bytes.len()));
                let tag = format!("v{number}");
                client
                    .put(&name, &tag, OCI_MANIFEST, manifest.to_string().as_bytes())
                    .status(201);
            });
        }
    });
    for served in &servers {
        for number in 0..8 {
            let path = format!("/v2/jar{}/manifests/v{number}", number / 4);
            served.client().get(&path).status(200);
        }
        let blob = served
            .client()
            .get(&format!("/v2/jar1/blobs/{digest}"))
            .status(200);
        assert!(blob.body == bytes);
    }
    let blobs = files(&directory.path().join("blobs"));
    assert_eq!(blobs.len(), 3, "a layer, a config, a manifest: {blobs:?}");
    let left = files(directory.path());
    assert!(
        !left
            .iter()
            .any(|path| path.to_string_lossy().contains("_uploads")),
        "{left:?}"
    );
}

#[test]
fn servers_that_start_at_once_make_one_folder() {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    for round in 0..5 {
        let folder = directory.path().join(round.to_string());
        let start = || Served::of(&folder, &[]);
        let served: Vec<Served> = std::thread::scope(|scope| {
            let started: Vec<_> = (0..6).map(|_| scope.spawn(start)).collect();
            started.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let manifest = served[0].client().image("jar", "v1", "clay");
        for one in &served {
            let got = one.client().get("/v2/jar/manifests/v1").status(200);
            assert_eq!(got.body, manifest);
        }
    }
}

#[test]
fn an_upload_is_added_to_by_one_at_a_time() {
    let served = Served::start();
    let client = served.client();
    let place = client.begin("jar");
    let mut stream = client.half(&place);
    client.await_range(&place, "0-3");
    client
        .send("PATCH", &place, &[], b"sand")
        .refused(409, "BLOB_UPLOAD_INVALID");
    stream.write_all(b" pot").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    Answer::parse(&answer).status(202);
    let digest = digest_of(b"clay pot");
    client
        .ask("PUT", &format!("{place}?digest={digest}"))
        .status(201);
}

#[test]
fn a_client_that_is_gone_leaves_what_it_has_sent() {
    let served = Served::start();
    let client = served.client();
    let place = client.begin("jar");
    drop(client.half(&place));
    // The lock of the first request is free as soon as the server has seen its end.
    let fields = [("Content-Range", "4-7")];
    let mut answer = client.send("PATCH", &place, &fields, b" pot");
    while answer.status == 416 {
        answer = client.send("PATCH", &place, &fields, b" pot");
    }
    answer.status(202);
    client
        .ask("PUT", &format!("{place}?digest={}", digest_of(b"clay pot")))
        .status(201);
}

#[test]
fn a_full_disk_is_told_and_not_kept_full() {
    if !requires(&[Need::Root]) {
        return;
    }
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs -o size=4m tmpfs \"$2\" && exec \"$1\" registry serve --listen 127.0.0.1:0 --storage \"$2/r\"";
    command
        .args(["-m", "sh", "-c", script, "sh"])
        .arg(program())
        .arg(directory.path());
    let served = Served::by(command);
    let client = served.client();
    let kept = client.image("jar", "v1", "clay");
    let large = content(5, 6 << 20);
    let place = format!("/v2/jar/blobs/uploads/?digest={}", digest_of(&large));
    client
        .send("POST", &place, &[], &large)
        .refused(507, "UNKNOWN");
    let place = client.begin("jar");
    client
        .send("PATCH", &place, &[], &large)
        .refused(507, "UNKNOWN");
    client.get(&place).refused(404, "BLOB_UPLOAD_UNKNOWN");
    // What had come of it takes no room.
    let fitting = content(6, 3 << 20);
    let digest = client.blob("jar", &fitting);
    assert!(
        client
            .get(&format!("/v2/jar/blobs/{digest}"))
            .status(200)
            .body
            == fitting
    );
    assert_eq!(client.get("/v2/jar/manifests/v1").status(200).body, kept);
    // A manifest that does not fit leaves neither itself nor its tag.
    let filler = client.begin("jar");
    let fill = content(7, 4 << 20);
    for piece in fill.chunks(64 << 10) {
        if client.send("PATCH", &filler, &[], piece).status == 507 {
            break;
        }
    }
    let filler = client.begin("jar");
    for piece in fill.chunks(4 << 10) {
        let answer = client.send("PATCH", &filler, &[], piece);
        if answer.status != 202 {
            answer.status(507);
            break;
        }
    }
    client.image("jar", "v2", "clay");
    assert_eq!(
        client.get("/v2/jar/tags/list").json()["tags"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}
