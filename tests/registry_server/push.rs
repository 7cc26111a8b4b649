//! Push: blobs at once, in pieces and without any bytes; manifests and what they must name.

use crate::client::{DOCKER_LIST, LAYER, OCI_INDEX, OCI_MANIFEST, image, json};
use crate::{Served, Value, digest_of, files};

#[test]
fn a_blob_goes_in_one_request() {
    let served = Served::start();
    let client = served.client();
    let digest = digest_of(b"clay");
    let path = format!("/v2/jar/blobs/uploads/?digest={digest}");
    let answer = client.send("POST", &path, &[], b"clay").status(201);
    assert_eq!(answer.location(), format!("/v2/jar/blobs/{digest}"));
    assert_eq!(answer.field("docker-content-digest"), Some(digest.as_str()));
    assert_eq!(client.get(&answer.location()).status(200).body, b"clay");
    // Not what it says: nothing is left.
    client
        .send("POST", &path, &[], b"sand")
        .refused(400, "DIGEST_INVALID");
    let left = files(&served.folder());
    assert!(
        !left
            .iter()
            .any(|path| path.to_string_lossy().contains("_uploads")),
        "{left:?}"
    );
}

#[test]
fn a_blob_goes_in_two_requests() {
    let served = Served::start();
    let client = served.client();
    let place = client.begin("jar");
    let digest = digest_of(b"clay");
    let put = client
        .send("PUT", &format!("{place}?digest={digest}"), &[], b"clay")
        .status(201);
    assert_eq!(client.get(&put.location()).status(200).body, b"clay");
    client
        .send("PUT", &format!("{place}?digest={digest}"), &[], b"clay")
        .refused(404, "BLOB_UPLOAD_UNKNOWN");
    let place = client.begin("jar");
    client
        .send("PUT", &place, &[], b"clay")
        .refused(400, "DIGEST_INVALID");
    client
        .send("PUT", &format!("{place}?digest=crc:1"), &[], b"clay")
        .refused(400, "DIGEST_INVALID");
    client
        .send("PUT", &format!("{place}?digest={digest}"), &[], b"sand")
        .refused(400, "DIGEST_INVALID");
    client.get(&place).refused(404, "BLOB_UPLOAD_UNKNOWN");
    // Nothing at all is a blob as well.
    let empty = client.blob("jar", b"");
    assert_eq!(
        client
            .get(&format!("/v2/jar/blobs/{empty}"))
            .status(200)
            .body,
        b""
    );
}

#[test]
fn a_blob_goes_in_chunks() {
    let served = Served::start();
    let client = served.client();
    let place = client.begin("jar");
    let at_first = client.get(&place).status(204);
    assert_eq!(at_first.field("range"), Some("0-0"));
    let chunk = |range: &str, bytes: &[u8]| {
        client.send("PATCH", &place, &[("Content-Range", range)], bytes)
    };
    let answer = chunk("0-3", b"clay").status(202);
    assert_eq!(
        (answer.field("range"), answer.location()),
        (Some("0-3"), place.clone())
    );
    for (range, bytes) in [
        ("0-3", &b"clay"[..]),
        ("5-7", b"pot"),
        ("x-y", b"pot"),
        ("7-4", b"pot"),
        ("4", b"pot"),
        ("-1-2", b"pot"),
    ] {
        let answer = chunk(range, bytes).refused(416, "BLOB_UPLOAD_INVALID");
        assert_eq!(answer.field("range"), Some("0-3"), "{range}");
    }
    chunk("4-9", b" p").refused(400, "SIZE_INVALID");
    let status = client.get(&place).status(204);
    assert_eq!(
        (status.field("range"), status.location()),
        (Some("0-3"), place.clone())
    );
    chunk("4-5", b" p").status(202);
    // Without a range what comes is added, as Docker's client does it.
    client.send("PATCH", &place, &[], b"ot").status(202);
    let digest = digest_of(b"clay pot, fired");
    let path = format!("{place}?digest={digest}");
    let put = client
        .send("PUT", &path, &[("Content-Range", "8-14")], b", fired")
        .status(201);
    assert_eq!(
        client.get(&put.location()).status(200).body,
        b"clay pot, fired"
    );
    client.get(&place).refused(404, "BLOB_UPLOAD_UNKNOWN");
}

#[test]
fn a_chunk_of_another_length_changes_nothing() {
    let served = Served::start();
    let client = served.client();
    let place = client.begin("jar");
    let head = format!(
        "PATCH {place} HTTP/1.1\r\nHost: x\r\nContent-Range: 0-9\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    );
    let answer = client.raw(format!("{head}4\r\nclay\r\n0\r\n\r\n").as_bytes());
    crate::Answer::parse(&answer).refused(400, "SIZE_INVALID");
    assert_eq!(client.get(&place).status(204).field("range"), Some("0-0"));
}

#[test]
fn an_upload_ends_without_a_blob() {
    let served = Served::start();
    let client = served.client();
    let place = client.begin("jar");
    client.ask("DELETE", &place).status(204);
    for method in ["GET", "PATCH", "DELETE"] {
        client
            .ask(method, &place)
            .refused(404, "BLOB_UPLOAD_UNKNOWN");
    }
    let other = place.replace("/v2/jar/", "/v2/bowl/");
    client
        .ask("GET", &other)
        .refused(404, "BLOB_UPLOAD_UNKNOWN");
    client
        .get("/v2/jar/blobs/uploads/..")
        .refused(404, "BLOB_UPLOAD_UNKNOWN");
    let place = client.begin("jar");
    let elsewhere = place.replace("/v2/jar/", "/v2/bowl/");
    client
        .send("PATCH", &elsewhere, &[], b"x")
        .refused(404, "BLOB_UPLOAD_UNKNOWN");
}

#[test]
fn a_blob_of_another_repository_is_mounted() {
    let served = Served::start();
    let client = served.client();
    let digest = client.blob("jar", b"clay");
    let mount = |from: &str| {
        client.ask(
            "POST",
            &format!("/v2/bowl/blobs/uploads/?mount={digest}&from={from}"),
        )
    };
    client.get(&format!("/v2/bowl/blobs/{digest}")).status(404);
    // Who does not have it cannot give it: then it is an upload like any other.
    let upload = mount("cup").status(202);
    client.get(&upload.location()).status(204);
    client
        .ask("POST", &format!("/v2/bowl/blobs/uploads/?mount={digest}"))
        .status(202);
    let mounted = mount("jar").status(201);
    assert_eq!(mounted.location(), format!("/v2/bowl/blobs/{digest}"));
    assert_eq!(client.get(&mounted.location()).status(200).body, b"clay");
    mount("..").refused(400, "NAME_INVALID");
    let blobs = files(&served.folder().join("blobs"));
    assert_eq!(blobs.len(), 1, "{blobs:?}");
}

#[test]
fn blobs_and_manifests_of_sha512() {
    use sha2::{Digest, Sha512};
    let served = Served::start();
    let client = served.client();
    let long = |bytes: &[u8]| {
        let hex: String = Sha512::digest(bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("sha512:{hex}")
    };
    for bytes in [&b"clay"[..], b"{}"] {
        let path = format!("/v2/jar/blobs/uploads/?digest={}", long(bytes));
        client.send("POST", &path, &[], bytes).status(201);
        let got = client
            .get(&format!("/v2/jar/blobs/{}", long(bytes)))
            .status(200);
        assert_eq!(got.body, bytes);
    }
    let manifest = image((&long(b"{}"), 2), (&long(b"clay"), 4)).to_string();
    let digest = long(manifest.as_bytes());
    let answer = client
        .put("jar", &digest, OCI_MANIFEST, manifest.as_bytes())
        .status(201);
    assert_eq!(answer.field("docker-content-digest"), Some(digest.as_str()));
    let got = client
        .get(&format!("/v2/jar/manifests/{digest}"))
        .status(200);
    assert_eq!(got.field("docker-content-digest"), Some(digest.as_str()));
    client
        .put("jar", &long(b"x"), OCI_MANIFEST, manifest.as_bytes())
        .refused(400, "DIGEST_INVALID");
}

#[test]
fn manifests_name_what_is_there() {
    let served = Served::start();
    let client = served.client();
    let (config, layer) = (client.blob("jar", b"{}"), client.blob("jar", b"clay"));
    let put = |reference: &str, manifest: &Value| {
        client.put(
            "jar",
            reference,
            OCI_MANIFEST,
            manifest.to_string().as_bytes(),
        )
    };
    let whole = image((&config, 2), (&layer, 4));
    let digest = digest_of(whole.to_string().as_bytes());
    let answer = put("v1", &whole).status(201);
    assert_eq!(answer.location(), format!("/v2/jar/manifests/{digest}"));
    assert_eq!(answer.field("docker-content-digest"), Some(digest.as_str()));
    put(&digest, &whole).status(201);
    put(&digest_of(b"other"), &whole).refused(400, "DIGEST_INVALID");
    let missing = image((&config, 2), (&digest_of(b"sand"), 4));
    put("v2", &missing).refused(404, "MANIFEST_BLOB_UNKNOWN");
    put("v2", &image((&config, 2), (&layer, 5))).refused(400, "SIZE_INVALID");
    put("v2", &image((&config, 2), ("sha256:12", 4))).refused(400, "DIGEST_INVALID");
    put("-v2", &whole).refused(400, "TAG_INVALID");
    // A blob of another repository is not there.
    let bytes = whole.to_string();
    client
        .put("bowl", "v1", OCI_MANIFEST, bytes.as_bytes())
        .refused(404, "MANIFEST_BLOB_UNKNOWN");
    // What lies elsewhere by design need not be here.
    let mut foreign = image((&config, 2), (&digest_of(b"sand"), 4));
    foreign["layers"][0]["mediaType"] =
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip".into();
    put("foreign", &foreign).status(201);
    let tags = client.get("/v2/jar/tags/list").json();
    assert_eq!(tags["tags"], json!(["foreign", "v1"]));
}

#[test]
fn what_is_no_manifest_is_refused() {
    let served = Served::start();
    let client = served.client();
    let (config, layer) = (client.blob("jar", b"{}"), client.blob("jar", b"clay"));
    let whole = image((&config, 2), (&layer, 4)).to_string();
    let put = |kind: &str, text: &str| client.put("jar", "v1", kind, text.as_bytes());
    put(OCI_MANIFEST, "<html>").refused(400, "MANIFEST_INVALID");
    put(OCI_INDEX, &whole).refused(400, "MANIFEST_INVALID");
    put("text/plain", &whole).refused(400, "MANIFEST_INVALID");
    let old = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    let schema_1 = r#"{"schemaVersion":1,"name":"jar","tag":"v1","fsLayers":[]}"#;
    put(old, schema_1).refused(400, "MANIFEST_INVALID");
    put(OCI_MANIFEST, &"[".repeat(100_000)).refused(400, "MANIFEST_INVALID");
    // 4 MiB is the most; the text of a manifest may be filled up with anything.
    let padded = |length: usize| {
        let mut manifest = image((&config, 2), (&layer, 4));
        manifest["annotations"] = json!({"a": ""});
        let short = manifest.to_string().len();
        manifest["annotations"]["a"] = "x".repeat(length - short).into();
        manifest.to_string()
    };
    put(OCI_MANIFEST, &padded(4 << 20)).status(201);
    client.get("/v2/jar/manifests/v1").status(200);
    put(OCI_MANIFEST, &padded((4 << 20) + 1)).refused(413, "MANIFEST_INVALID");
    let chunks = format!(
        "{:x}\r\n{}\r\n0\r\n\r\n",
        (4 << 20) + 1,
        padded((4 << 20) + 1)
    );
    let head = "PUT /v2/jar/manifests/v2 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\
                Connection: close\r\n\r\n";
    let answer = client.raw(format!("{head}{chunks}").as_bytes());
    crate::Answer::parse(&answer).refused(413, "MANIFEST_INVALID");
    client.get("/v2/jar/manifests/v2").status(404);
}

#[test]
fn indexes_name_manifests_and_a_tag_moves() {
    let served = Served::start();
    let client = served.client();
    let manifest = client.image("jar", "v1", "clay");
    let child =
        json!({"mediaType": OCI_MANIFEST, "digest": digest_of(&manifest), "size": manifest.len()});
    for (tag, kind) in [("index", OCI_INDEX), ("list", DOCKER_LIST)] {
        let index = json!({"schemaVersion": 2, "mediaType": kind, "manifests": [child]});
        client
            .put("jar", tag, kind, index.to_string().as_bytes())
            .status(201);
        let got = client.get(&format!("/v2/jar/manifests/{tag}")).status(200);
        assert_eq!((got.json(), got.field("content-type")), (index, Some(kind)));
    }
    let empty = json!({"schemaVersion": 2, "manifests": []}).to_string();
    client
        .put("jar", "empty", OCI_INDEX, empty.as_bytes())
        .status(201);
    let unknown = json!({"mediaType": OCI_MANIFEST, "digest": digest_of(b"no"), "size": 2});
    let index = json!({"schemaVersion": 2, "manifests": [unknown]}).to_string();
    client
        .put("jar", "bad", OCI_INDEX, index.as_bytes())
        .refused(404, "MANIFEST_BLOB_UNKNOWN");
    let second = client.image("jar", "v1", "sand");
    assert_eq!(client.get("/v2/jar/manifests/v1").body, second);
    let first = client.get(&format!("/v2/jar/manifests/{}", digest_of(&manifest)));
    assert_eq!(first.status(200).body, manifest);
}

#[test]
fn an_artifact_says_what_it_refers_to() {
    let served = Served::start();
    let client = served.client();
    let empty = client.blob("jar", b"{}");
    let subject = digest_of(b"not here yet");
    let artifact = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/x-glaze",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2},
        "layers": [{"mediaType": LAYER, "digest": empty, "size": 2}],
        "subject": {"mediaType": OCI_MANIFEST, "digest": subject, "size": 12},
    });
    let answer = client
        .put(
            "jar",
            "glaze",
            OCI_MANIFEST,
            artifact.to_string().as_bytes(),
        )
        .status(201);
    assert_eq!(answer.field("oci-subject"), Some(subject.as_str()));
}

#[test]
fn whoever_may_not_write_is_told_so() {
    let served = Served::start();
    let manifest = served.client().image("jar", "v1", "clay");
    let before = files(&served.folder());
    let read_only = Served::of(&served.folder(), &["--read-only"]);
    let client = read_only.client();
    assert_eq!(
        client.get("/v2/jar/manifests/v1").status(200).body,
        manifest
    );
    let digest = digest_of(&manifest);
    for (method, path) in [
        ("POST", "/v2/jar/blobs/uploads/".to_owned()),
        (
            "POST",
            format!(
                "/v2/bowl/blobs/uploads/?mount={}&from=jar",
                digest_of(b"clay")
            ),
        ),
        ("PUT", "/v2/jar/manifests/v2".to_owned()),
        ("DELETE", "/v2/jar/manifests/v1".to_owned()),
        ("DELETE", format!("/v2/jar/manifests/{digest}")),
        ("DELETE", format!("/v2/jar/blobs/{}", digest_of(b"clay"))),
    ] {
        client.ask(method, &path).refused(405, "UNSUPPORTED");
    }
    assert_eq!(files(&served.folder()), before);
}
