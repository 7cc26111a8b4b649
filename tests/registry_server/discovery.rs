//! Content discovery: tags and repositories a page at a time, and what refers to a manifest.

use crate::client::{Client, OCI_INDEX, OCI_MANIFEST, Value, image, json};
use crate::{Served, digest_of};

/// All pages, by way of the links.
fn pages(client: &Client, path: &str, key: &str) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut next = Some(path.to_owned());
    while let Some(path) = next {
        let answer = client.get(&path).status(200);
        let page = answer.json()[key].as_array().unwrap().clone();
        pages.push(
            page.iter()
                .map(|entry| entry.as_str().unwrap().to_owned())
                .collect(),
        );
        next = answer.field("link").map(|link| {
            let (path, relation) = link.strip_prefix('<').unwrap().split_once('>').unwrap();
            assert_eq!(relation, "; rel=\"next\"");
            path.to_owned()
        });
    }
    pages
}

#[test]
fn tags_come_in_order_and_in_pages() {
    let served = Served::start();
    let client = served.client();
    client.get("/v2/jar/tags/list").refused(404, "NAME_UNKNOWN");
    let manifest = client.image("jar", "v1", "clay");
    for tag in ["b", "A", "latest", "a.new-1234", "v1.0", "v1_0-rc.1"] {
        client.put("jar", tag, OCI_MANIFEST, &manifest).status(201);
    }
    let all = ["A", "a.new-1234", "b", "latest", "v1", "v1.0", "v1_0-rc.1"];
    let whole = client.get("/v2/jar/tags/list").status(200);
    assert_eq!(whole.json(), json!({"name": "jar", "tags": all}));
    for number in 1..=8 {
        let paged = pages(&client, &format!("/v2/jar/tags/list?n={number}"), "tags");
        assert!(paged.iter().all(|page| page.len() <= number));
        assert_eq!(paged.len(), all.len().div_ceil(number));
        assert_eq!(paged.concat(), all);
    }
    let after = client
        .get("/v2/jar/tags/list?last=latest")
        .status(200)
        .json();
    assert_eq!(after["tags"], json!(["v1", "v1.0", "v1_0-rc.1"]));
    // Between two of them, and after all.
    assert_eq!(
        client.get("/v2/jar/tags/list?n=1&last=c").json()["tags"],
        json!(["latest"])
    );
    assert_eq!(
        client.get("/v2/jar/tags/list?n=9&last=z").json()["tags"],
        json!([])
    );
    assert_eq!(
        client.get("/v2/jar/tags/list?n=0").json()["tags"],
        json!([])
    );
    for bad in ["-1", "x", "1.5", ""] {
        let path = format!("/v2/jar/tags/list?n={bad}");
        client.get(&path).refused(400, "PAGINATION_NUMBER_INVALID");
    }
}

#[test]
fn two_thousand_tags() {
    let served = Served::start();
    let client = served.client();
    let manifest = client.image("jar", "t0000", "clay");
    // As a server leaves them: pushing each would be two thousand times the same.
    let tags = served.folder().join("repositories/jar/_tags");
    for number in 1..2000 {
        let path = tags.join(format!("t{number:04}.tag"));
        std::fs::write(path, digest_of(&manifest)).unwrap();
    }
    let all = client.get("/v2/jar/tags/list").status(200).json();
    assert_eq!(all["tags"].as_array().unwrap().len(), 2000);
    let paged = pages(&client, "/v2/jar/tags/list?n=300", "tags");
    assert_eq!((paged.len(), paged.concat().len()), (7, 2000));
    assert_eq!(
        client.get("/v2/jar/manifests/t1999").status(200).body,
        manifest
    );
}

#[test]
fn repositories_are_those_with_manifests() {
    let served = Served::start();
    let client = served.client();
    assert_eq!(
        client.get("/v2/_catalog").status(200).json(),
        json!({"repositories": []})
    );
    for name in ["b/inner/most", "b", "a-c", "a"] {
        client.image(name, "v1", "clay");
    }
    client.blob("only/blobs", b"clay");
    client.begin("only/an/upload");
    let all = ["a", "a-c", "b", "b/inner/most"];
    assert_eq!(
        client.get("/v2/_catalog").json()["repositories"],
        json!(all)
    );
    assert_eq!(
        pages(&client, "/v2/_catalog?n=3", "repositories"),
        [&all[..3], &all[3..]]
    );
    assert_eq!(
        client.get("/v2/_catalog?last=a-c").json()["repositories"],
        json!(all[2..])
    );
}

/// Pushes an artifact that refers to a digest; its own digest.
fn artifact(client: &Client, subject: &str, kind: &str, note: &str) -> String {
    let empty = client.blob("jar", b"{}");
    let mut manifest = image((&empty, 2), (&empty, 2));
    match kind.strip_prefix("config:") {
        Some(kind) => manifest["config"]["mediaType"] = kind.into(),
        None => manifest["artifactType"] = kind.into(),
    }
    manifest["subject"] = json!({"mediaType": OCI_MANIFEST, "digest": subject, "size": 1});
    manifest["annotations"] = json!({"note": note});
    let text = manifest.to_string();
    let digest = digest_of(text.as_bytes());
    let put = client
        .put("jar", &digest, OCI_MANIFEST, text.as_bytes())
        .status(201);
    assert_eq!(put.field("oci-subject"), Some(subject));
    digest
}

fn digests(index: &Value) -> Vec<&str> {
    let manifests = index["manifests"].as_array().unwrap();
    manifests
        .iter()
        .map(|one| one["digest"].as_str().unwrap())
        .collect()
}

#[test]
fn what_refers_to_a_manifest_is_listed() {
    let served = Served::start();
    let client = served.client();
    let subject = digest_of(b"not here yet");
    let path = format!("/v2/jar/referrers/{subject}");
    let none = client.get(&path).status(200);
    assert_eq!(none.field("content-type"), Some(OCI_INDEX));
    assert_eq!(
        none.json(),
        json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []})
    );
    let glaze = artifact(&client, &subject, "application/x-glaze", "one");
    let other = artifact(&client, &subject, "application/x-glaze", "two");
    let by_config = artifact(&client, &subject, "config:application/x-mark", "three");
    artifact(
        &client,
        &digest_of(b"another"),
        "application/x-glaze",
        "four",
    );
    let index = json!({
        "schemaVersion": 2, "mediaType": OCI_INDEX, "artifactType": "application/x-set", "manifests": [],
        "subject": {"mediaType": OCI_MANIFEST, "digest": subject, "size": 1},
    })
    .to_string();
    client
        .put("jar", "set", OCI_INDEX, index.as_bytes())
        .status(201);
    let set = digest_of(index.as_bytes());
    let all = client.get(&path).status(200);
    assert_eq!(all.field("oci-filters-applied"), None);
    let mut expected = [glaze.as_str(), &other, &by_config, &set];
    expected.sort_unstable();
    assert_eq!(digests(&all.json()), expected);
    let manifests = all.json()["manifests"].as_array().unwrap().clone();
    let of = |digest: &str| {
        manifests
            .iter()
            .find(|one| one["digest"] == digest)
            .unwrap()
    };
    assert_eq!(of(&glaze)["artifactType"], "application/x-glaze");
    assert_eq!(of(&glaze)["annotations"], json!({"note": "one"}));
    assert_eq!(of(&glaze)["mediaType"], OCI_MANIFEST);
    assert_eq!(of(&by_config)["artifactType"], "application/x-mark");
    assert_eq!(
        (&of(&set)["artifactType"], &of(&set)["mediaType"]),
        (&json!("application/x-set"), &json!(OCI_INDEX))
    );
    assert_eq!(of(&set)["size"], index.len());
    let filtered = client
        .get(&format!("{path}?artifactType=application%2Fx-mark"))
        .status(200);
    assert_eq!(filtered.field("oci-filters-applied"), Some("artifactType"));
    assert_eq!(digests(&filtered.json()), [&by_config]);
    let nothing = client.get(&format!("{path}?artifactType=none")).status(200);
    assert_eq!(digests(&nothing.json()), [""; 0]);
    client
        .ask("DELETE", &format!("/v2/jar/manifests/{by_config}"))
        .status(202);
    assert!(!digests(&client.get(&path).json()).contains(&by_config.as_str()));
    client
        .get("/v2/jar/referrers/sha256:totallywrong")
        .refused(400, "DIGEST_INVALID");
}

#[test]
fn many_referrers_come_in_pages() {
    let served = Served::start();
    let client = served.client();
    let subject = digest_of(b"subject");
    let note = "x".repeat(1 << 20);
    let mut made: Vec<String> = (0..5)
        .map(|number| {
            artifact(
                &client,
                &subject,
                "application/x+y",
                &format!("{number}{note}"),
            )
        })
        .collect();
    made.sort();
    let path = format!("/v2/jar/referrers/{subject}?artifactType=application/x%2By");
    let first = client.get(&path).status(200);
    assert!(first.body.len() <= 4 << 20);
    let link = first.field("link").unwrap();
    let next = link.strip_prefix('<').unwrap().split_once('>').unwrap().0;
    let second = client.get(next).status(200);
    assert_eq!(second.field("link"), None);
    let (first, second) = (first.json(), second.json());
    assert_eq!([digests(&first), digests(&second)].concat(), made);
}
