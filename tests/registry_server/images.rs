//! `registry serve --images`: what is in the store is pulled by others, and nothing goes in.

use crate::client::{Value, json};
use crate::support::{ALPINE, Need, Store, everyone, requires};
use crate::{Answer, Served, digest_of};
use std::io::{Read, Write};
use std::process::Command;

fn serve(store: &Store) -> Served {
    let words = ["registry", "serve", "--images", "--listen", "127.0.0.1:0"];
    Served::by(store.onggi(words).into_command())
}

fn diff_ids(store: &Store, image: &str) -> Value {
    store.onggi(["image", "inspect", image]).run().json()[0]["RootFS"]["Layers"].clone()
}

#[test]
fn the_images_of_everyone_are_pulled() {
    for store in everyone() {
        let Some(name) = store.load("busybox-musl-multiarch-oci") else {
            return;
        };
        let served = serve(&store);
        let client = served.client();
        let (repository, tag) = name.split_once(':').unwrap();
        assert_eq!(
            client.get("/v2/_catalog").status(200).json()["repositories"],
            json!([repository])
        );
        let tags = client
            .get(&format!("/v2/{repository}/tags/list"))
            .status(200)
            .json();
        assert_eq!(tags["tags"], json!([tag]));
        let manifest = client
            .get(&format!("/v2/{repository}/manifests/{tag}"))
            .status(200);
        let digest = digest_of(&manifest.body);
        assert_eq!(
            manifest.field("docker-content-digest"),
            Some(digest.as_str())
        );
        for name in [
            repository.to_owned(),
            format!("library/{repository}"),
            format!("docker.io/library/{repository}"),
        ] {
            let same = client
                .get(&format!("/v2/{name}/manifests/{digest}"))
                .status(200);
            assert_eq!(same.body, manifest.body);
        }
        let manifest = manifest.json();
        assert_eq!(
            digest_of(
                &client
                    .get(&format!(
                        "/v2/{repository}/blobs/{}",
                        manifest["config"]["digest"].as_str().unwrap()
                    ))
                    .status(200)
                    .body
            ),
            manifest["config"]["digest"]
        );
        for layer in manifest["layers"].as_array().unwrap() {
            let (digest, size) = (
                layer["digest"].as_str().unwrap(),
                layer["size"].as_u64().unwrap(),
            );
            let path = format!("/v2/{repository}/blobs/{digest}");
            let whole = client.get(&path).status(200);
            assert_eq!(
                (whole.body.len() as u64, digest_of(&whole.body).as_str()),
                (size, digest)
            );
            for (start, end) in [
                (0, 1),
                (100, 1000),
                (511, 1025),
                (size / 2, size / 2 + 4097),
                (size - 600, size),
            ] {
                let end = end.min(size);
                let range = format!("bytes={start}-{}", end - 1);
                let part = client
                    .send("GET", &path, &[("Range", &range)], b"")
                    .status(206);
                assert!(
                    part.body == whole.body[start as usize..end as usize],
                    "{range}"
                );
            }
        }
        // Another onggi takes it, and it is the same.
        let copy = served.name(&name);
        store.onggi(["pull", "-q", &copy]).run().code(0);
        assert_eq!(diff_ids(&store, &copy), diff_ids(&store, &name));
        let id = |image: &str| store.field_of_image(image);
        assert_eq!(id(&copy), id(&name));
    }
}

trait ImageField {
    fn field_of_image(&self, image: &str) -> String;
}

impl ImageField for Store {
    fn field_of_image(&self, image: &str) -> String {
        let outcome = self
            .onggi(["image", "inspect", "--format", "{{.Id}}", image])
            .run();
        outcome.code(0).stdout_text()
    }
}

#[test]
fn who_downloads_gets_all_of_an_image_that_is_removed_meanwhile() {
    // More than all buffers on the way hold.
    let content: Vec<u8> = (0..48u32 << 18).flat_map(u32::to_le_bytes).collect();
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in [("first", &content[..]), ("second", b"clay")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, content).unwrap();
    }
    let tar = builder.into_inner().unwrap();
    for store in everyone() {
        let file = store.file("large.tar", &tar);
        let import = ["import", file.to_str().unwrap(), "kiln/large:1"];
        store.onggi(import).run().code(0);
        let served = serve(&store);
        let client = served.client();
        let manifest = client.get("/v2/kiln/large/manifests/1").status(200).json();
        let digest = manifest["layers"][0]["digest"].as_str().unwrap();
        let path = format!("/v2/kiln/large/blobs/{digest}");
        let mut stream = client.connect();
        let head = client.head("GET", &path, &[], 0);
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = vec![0; 1000];
        stream.read_exact(&mut answer).unwrap();
        store.onggi(["rmi", "-f", "kiln/large:1"]).run().code(0);
        client.get(&path).refused(404, "BLOB_UNKNOWN");
        stream.read_to_end(&mut answer).unwrap();
        let answer = Answer::parse(&answer).status(200);
        assert!(digest_of(&answer.body) == digest);
        // It goes with the next command that looks.
        let layers = store.data().join("layers");
        let is_gone = || {
            store.onggi(["system", "prune", "-f"]).run().code(0);
            layers.read_dir().unwrap().next().is_none()
        };
        crate::support::life::until("the layer is gone", is_gone);
    }
}

#[test]
fn nothing_goes_in() {
    for store in everyone().take(1) {
        let served = serve(&store);
        let client = served.client();
        assert_eq!(
            client.get("/v2/_catalog").json(),
            json!({"repositories": []})
        );
        for (method, path) in [
            ("POST", "/v2/jar/blobs/uploads/"),
            ("PUT", "/v2/jar/manifests/v1"),
            ("DELETE", "/v2/jar/manifests/v1"),
        ] {
            let answer = client.ask(method, path).refused(405, "UNSUPPORTED");
            let message = answer.json()["errors"][0]["message"].clone();
            assert_eq!(message, "the images of the store are served read-only");
        }
        client
            .get("/v2/jar/manifests/v1")
            .refused(404, "MANIFEST_UNKNOWN");
        client.get("/v2/jar/tags/list").refused(404, "NAME_UNKNOWN");
        client
            .get(&format!("/v2/jar/blobs/{}", digest_of(b"x")))
            .refused(404, "BLOB_UNKNOWN");
        client
            .get(&format!("/v2/jar/referrers/{}", digest_of(b"x")))
            .status(200);
        let both = store
            .onggi(["registry", "serve", "--images", "--storage", "x"])
            .run();
        both.code(1)
            .stderr_has("--images and --storage exclude each other");
    }
}

#[test]
fn names_with_hosts_are_found_with_and_without_them() {
    for store in everyone().take(1).filter(Store::alpine) {
        for name in [
            "quay.io/kiln/jar:1",
            "localhost:5000/kiln/cup:1",
            "kiln/bowl:1",
            "quay.io/kiln/bowl:2",
            "ghcr.io/kiln/plate:1",
            "quay.io/kiln/plate:2",
        ] {
            store.onggi(["tag", ALPINE, name]).run().code(0);
        }
        let served = serve(&store);
        let client = served.client();
        let listed = client.get("/v2/_catalog").json()["repositories"].clone();
        let alpine = ALPINE.split(':').next().unwrap();
        let mut expected = [
            alpine,
            "ghcr.io/kiln/plate",
            "kiln/bowl",
            "kiln/cup",
            "quay.io/kiln/bowl",
            "quay.io/kiln/jar",
            "quay.io/kiln/plate",
        ];
        expected.sort_unstable();
        assert_eq!(listed, json!(expected));
        for (path, status) in [
            ("quay.io/kiln/jar/manifests/1", 200),
            ("kiln/jar/manifests/1", 200),
            ("kiln/cup/manifests/1", 200),
            ("kiln/bowl/manifests/1", 200),
            ("quay.io/kiln/bowl/manifests/2", 200),
            // Docker's own registry has that repository, and no such tag.
            ("kiln/bowl/manifests/2", 404),
            // Two registries have it.
            ("kiln/plate/manifests/1", 404),
            ("ghcr.io/kiln/plate/manifests/1", 200),
        ] {
            client.get(&format!("/v2/{path}")).status(status);
        }
    }
}

#[test]
fn skopeo_copies_out_of_the_store() {
    if !requires(&[Need::Program("skopeo")]) {
        return;
    }
    for store in everyone().take(1) {
        let Some(name) = store.load("alpine-caps-opaque-oci") else {
            return;
        };
        let served = serve(&store);
        let target = store.home().join("copied");
        let copied = Command::new("skopeo")
            .args(["--insecure-policy", "copy", "-q", "--src-tls-verify=false"])
            .arg(format!("docker://{}", served.name(&name)))
            .arg(format!("oci:{}:v1", target.display()))
            .output()
            .unwrap();
        assert!(copied.status.success(), "{copied:?}");
        let id = store.field_of_image(&name);
        let blob = target.join("blobs").join(id.trim().replace(':', "/"));
        assert!(blob.exists(), "the config is the same, byte for byte");
    }
}
