//! Content management: tags, manifests and blobs go.

use crate::client::{OCI_MANIFEST, json};
use crate::{Served, digest_of};

#[test]
fn a_tag_goes_alone() {
    let served = Served::start();
    let client = served.client();
    let manifest = client.image("jar", "v1", "clay");
    client.put("jar", "v2", OCI_MANIFEST, &manifest).status(201);
    client.ask("DELETE", "/v2/jar/manifests/v1").status(202);
    client
        .get("/v2/jar/manifests/v1")
        .refused(404, "MANIFEST_UNKNOWN");
    assert_eq!(
        client.get("/v2/jar/manifests/v2").status(200).body,
        manifest
    );
    client
        .get(&format!("/v2/jar/manifests/{}", digest_of(&manifest)))
        .status(200);
    client
        .ask("DELETE", "/v2/jar/manifests/v1")
        .refused(404, "MANIFEST_UNKNOWN");
    assert_eq!(
        client.get("/v2/jar/tags/list").json()["tags"],
        json!(["v2"])
    );
}

#[test]
fn a_manifest_goes_with_its_tags() {
    let served = Served::start();
    let client = served.client();
    let manifest = client.image("jar", "v1", "clay");
    client.put("jar", "v2", OCI_MANIFEST, &manifest).status(201);
    client.image("jar", "other", "sand");
    client.image("bowl", "v1", "clay");
    let path = format!("/v2/jar/manifests/{}", digest_of(&manifest));
    client.ask("DELETE", &path).status(202);
    for reference in ["v1", "v2", &digest_of(&manifest)] {
        client
            .get(&format!("/v2/jar/manifests/{reference}"))
            .refused(404, "MANIFEST_UNKNOWN");
    }
    client.ask("DELETE", &path).refused(404, "MANIFEST_UNKNOWN");
    assert_eq!(
        client.get("/v2/jar/tags/list").json()["tags"],
        json!(["other"])
    );
    // The same manifest of another repository stays.
    assert_eq!(
        client.get("/v2/bowl/manifests/v1").status(200).body,
        manifest
    );
    client.ask("DELETE", "/v2/jar/manifests/other").status(202);
    assert_eq!(
        client.get("/v2/jar/tags/list").status(200).json()["tags"],
        json!([])
    );
}

#[test]
fn a_blob_goes_from_one_repository() {
    let served = Served::start();
    let client = served.client();
    let digest = client.blob("jar", b"clay");
    client
        .ask(
            "POST",
            &format!("/v2/bowl/blobs/uploads/?mount={digest}&from=jar"),
        )
        .status(201);
    client
        .ask("DELETE", &format!("/v2/jar/blobs/{digest}"))
        .status(202);
    client
        .get(&format!("/v2/jar/blobs/{digest}"))
        .refused(404, "BLOB_UNKNOWN");
    client
        .ask("DELETE", &format!("/v2/jar/blobs/{digest}"))
        .refused(404, "BLOB_UNKNOWN");
    assert_eq!(
        client
            .get(&format!("/v2/bowl/blobs/{digest}"))
            .status(200)
            .body,
        b"clay"
    );
    client
        .ask("DELETE", "/v2/jar/blobs/sha256:1")
        .refused(400, "DIGEST_INVALID");
    // It can come again.
    assert_eq!(client.blob("jar", b"clay"), digest);
    client.get(&format!("/v2/jar/blobs/{digest}")).status(200);
}
