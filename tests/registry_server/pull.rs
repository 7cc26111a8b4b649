//! Pull: manifests by tag and digest, blobs whole and in parts.

use crate::client::{DOCKER_MANIFEST, OCI_MANIFEST};
use crate::{Served, digest_of};

#[test]
fn it_is_a_registry() {
    let served = Served::start();
    for path in ["/v2/", "/v2"] {
        let answer = served.client().get(path).status(200);
        assert_eq!(
            answer.field("docker-distribution-api-version"),
            Some("registry/2.0")
        );
    }
    served.client().get("/").status(404);
    served.client().get("/v1/_ping").status(404);
    let answer = served
        .client()
        .ask("PUT", "/v2/")
        .refused(405, "UNSUPPORTED");
    assert_eq!(answer.field("allow"), Some("GET, HEAD"));
    served
        .client()
        .ask("BREW", "/v2/")
        .refused(405, "UNSUPPORTED");
}

#[test]
fn manifests_come_by_tag_and_by_digest_as_they_went() {
    let served = Served::start();
    let client = served.client();
    let manifest = client.image("kiln/jar", "v1", "clay");
    let digest = digest_of(&manifest);
    for reference in ["v1", &digest, &digest.replace(':', "%3A")] {
        let path = format!("/v2/kiln/jar/manifests/{reference}");
        let whole = client.get(&path).status(200);
        assert_eq!(whole.body, manifest);
        let head = client.ask("HEAD", &path).status(200);
        assert_eq!(head.body, b"");
        for answer in [whole, head] {
            assert_eq!(answer.field("content-type"), Some(OCI_MANIFEST));
            assert_eq!(answer.field("docker-content-digest"), Some(digest.as_str()));
            let length = answer.field("content-length").unwrap();
            assert_eq!(length, manifest.len().to_string());
        }
    }
    for reference in ["v2", ".INVALID_MANIFEST_NAME", &digest_of(b"other")] {
        let path = format!("/v2/kiln/jar/manifests/{reference}");
        client.get(&path).refused(404, "MANIFEST_UNKNOWN");
        assert_eq!(client.ask("HEAD", &path).status(404).body, b"");
    }
    client
        .get(&format!("/v2/kiln/other/manifests/{digest}"))
        .refused(404, "MANIFEST_UNKNOWN");
    client
        .get("/v2/kiln/jar/manifests/sha256:12")
        .refused(400, "DIGEST_INVALID");
    client
        .get("/v2/kiln/jar/manifests/md5:12")
        .refused(400, "DIGEST_INVALID");
}

#[test]
fn the_media_type_is_that_of_the_push() {
    let served = Served::start();
    let client = served.client();
    let manifest = client.image("jar", "oci", "clay");
    let docker = String::from_utf8(manifest)
        .unwrap()
        .replace(OCI_MANIFEST, DOCKER_MANIFEST);
    client
        .put("jar", "docker", DOCKER_MANIFEST, docker.as_bytes())
        .status(201);
    let answer = client.get("/v2/jar/manifests/docker").status(200);
    assert_eq!(answer.field("content-type"), Some(DOCKER_MANIFEST));
    assert_eq!(answer.body, docker.as_bytes());
}

#[test]
fn blobs_come_whole_and_in_parts() {
    let served = Served::start();
    let client = served.client();
    let bytes: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
    let size = bytes.len();
    let digest = client.blob("jar", &bytes);
    let path = format!("/v2/jar/blobs/{digest}");
    let whole = client.get(&path).status(200);
    assert!(whole.body == bytes);
    assert_eq!(whole.field("docker-content-digest"), Some(digest.as_str()));
    assert_eq!(whole.field("accept-ranges"), Some("bytes"));
    let head = client.ask("HEAD", &path).status(200);
    assert_eq!(
        head.field("content-length"),
        Some(size.to_string().as_str())
    );
    assert_eq!(head.body, b"");
    for (range, start, end) in [
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        ("bytes=3999990-", 3_999_990, size),
        ("bytes=-7", size - 7, size),
        ("bytes=3999990-99999999", 3_999_990, size),
    ] {
        let part = client
            .send("GET", &path, &[("Range", range)], b"")
            .status(206);
        assert!(part.body == bytes[start..end], "{range}");
        let told = format!("bytes {start}-{}/{size}", end - 1);
        assert_eq!(part.field("content-range"), Some(told.as_str()));
    }
    let beyond = client
        .send("GET", &path, &[("Range", "bytes=4000000-")], b"")
        .status(416);
    assert_eq!(beyond.field("content-range"), Some("bytes */4000000"));
    let several = client
        .send("GET", &path, &[("Range", "bytes=0-1,4-5")], b"")
        .status(200);
    assert_eq!(several.body.len(), size);
    client
        .get(&format!("/v2/jar/blobs/{}", digest_of(b"other")))
        .refused(404, "BLOB_UNKNOWN");
    client
        .get(&format!("/v2/bowl/blobs/{digest}"))
        .refused(404, "BLOB_UNKNOWN");
    client
        .get("/v2/jar/blobs/sha256:zz")
        .refused(400, "DIGEST_INVALID");
}

#[test]
fn names_that_lead_elsewhere_are_none() {
    let served = Served::start();
    let client = served.client();
    client.image("jar", "v1", "clay");
    for name in [
        "..",
        "a/..",
        "../../etc",
        "%2e%2e",
        "a%2f..%2fb",
        "_blobs",
        "jar/_tags",
        "UPPER",
        "a//b",
        "-a",
        "a%00b",
    ] {
        for rest in ["manifests/v1", "blobs/uploads/", "tags/list"] {
            let method = if rest.ends_with('/') { "POST" } else { "GET" };
            let answer = client.ask(method, &format!("/v2/{name}/{rest}"));
            answer.refused(400, "NAME_INVALID");
        }
    }
    let long = "a".repeat(256);
    client
        .get(&format!("/v2/{long}/tags/list"))
        .refused(400, "NAME_INVALID");
    client
        .get("/v2/jar/manifests/..%2fv1.tag")
        .refused(404, "MANIFEST_UNKNOWN");
}
