//! Whose images are taken in: the policy and `--verify` before a real registry, with signatures by skopeo, by a library of
//! Sigstore's and by hand.

use crate::behind;
use crate::real::{DIGEST, IMAGE, Options, Registry};
use crate::server::{Reply, answer};
use crate::signer::{Signer, data, layer, payload, statement};
use crate::somebody;
use crate::support::{Need, Store, everyone, image, requires, skip};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Writes the caller's policy.
pub fn policy(store: &Store, policy: &Value) -> PathBuf {
    std::fs::create_dir_all(store.home().join(".config/containers")).unwrap();
    store.file(".config/containers/policy.json", policy.to_string())
}

/// A rule that wants a signature by the fixed key.
fn signed(identity: Option<Value>) -> Value {
    let mut rule = json!({"type": "sigstoreSigned", "keyPath": data("cosign.pub")});
    if let Some(identity) = identity {
        rule["signedIdentity"] = identity;
    }
    json!([rule])
}

/// Nothing of an image has stayed.
pub fn is_empty(store: &Store) {
    store.onggi(["images", "-aq"]).run().code(0).stdout("");
    for directory in ["downloads", "staging", "containers"] {
        let entries = std::fs::read_dir(store.data().join(directory));
        assert_eq!(entries.map_or(0, Iterator::count), 0, "{directory}");
    }
}

/// Pushes an image by skopeo, and lets that sign it with the fixed key if `sign` is given; `None`, and a skip, where there
/// is none or it was built without signatures, as Debian does.
fn push(registry: &Registry, store: &Store, name: &str, sign: bool) -> Option<String> {
    if !requires(&[Need::Program("skopeo")]) {
        return None;
    }
    let layout = image("busybox-musl-multiarch-oci")?;
    let passphrase = store.path().join("passphrase");
    std::fs::write(&passphrase, "clay").unwrap();
    let name = registry.name(name);
    let mut command = skopeo(store);
    command.args(["--insecure-policy", "copy", "-q", "--dest-tls-verify=false"]);
    if sign {
        command
            .arg("--sign-by-sigstore-private-key")
            .arg(data("cosign.key"));
        command.arg("--sign-passphrase-file").arg(&passphrase);
    }
    let from = format!("oci:{}:1.38.0-musl", layout.display());
    let copied = command
        .args([from, format!("docker://{name}")])
        .output()
        .unwrap();
    if String::from_utf8_lossy(&copied.stderr).contains("sigstore disabled") {
        skip("this skopeo does not sign");
        return None;
    }
    assert!(copied.status.success(), "{copied:?}");
    Some(name)
}

/// Reads signatures beside images.
fn skopeo(store: &Store) -> Command {
    let directory = store.path().join("registries.d");
    std::fs::create_dir_all(&directory).unwrap();
    let text = "default-docker:\n  use-sigstore-attachments: true\n";
    std::fs::write(directory.join("x.yaml"), text).unwrap();
    let mut command = Command::new("skopeo");
    command.arg("--registries.d").arg(&directory);
    command
}

/// Whether skopeo takes an image in by a policy.
fn skopeo_accepts(store: &Store, policy: &Path, name: &str) -> bool {
    let directory = tempfile::tempdir_in(store.path()).unwrap();
    let copied = skopeo(store)
        .arg("--policy")
        .arg(policy)
        .args(["copy", "-q", "--src-tls-verify=false"])
        .arg(format!("docker://{name}"))
        .arg(format!("dir:{}", directory.path().join("copy").display()))
        .output();
    copied.unwrap().status.success()
}

#[test]
fn everyone_takes_in_what_is_signed_and_nothing_else() {
    let Some(registry) = Registry::start(&Options::default()) else {
        return;
    };
    let host = format!("127.0.0.1:{}", registry.port);
    let signer = Signer::p256();
    for store in everyone() {
        let (Some(good), Some(bad)) = (
            push(&registry, &store, "good:1", false),
            push(&registry, &store, "bad:1", false),
        ) else {
            return;
        };
        let digest = registry.digest("good", "1");
        registry.sign(
            "good",
            &digest,
            &[layer(&signer, payload(&digest, &registry.name("good")))],
        );
        let key = store.file("key.pub", signer.pem()).display().to_string();
        store
            .onggi(["trust", "add", "default", "--reject"])
            .run()
            .code(0);
        for command in [
            &["pull", &good][..],
            &["create", &good],
            &["run", "--rm", &good, "true"],
        ] {
            let code = if command[0] == "pull" { 1 } else { 125 };
            store
                .onggi(command)
                .run()
                .code(code)
                .stderr_has(&format!("image {good} is refused: the policy `"))
                .stderr_has("for `default` accepts none");
        }
        store
            .onggi(["trust", "add", &host, "--key", &key])
            .run()
            .code(0);
        let ran = store.onggi(["run", "--rm", &good, "echo", "fired"]).run();
        ran.code(0).stdout("fired\n");
        let again = store.onggi(["pull", &good]).run();
        again.code(0).stdout_has("Status: Image is up to date");
        store.onggi(["rmi", &good]).run().code(0);
        for (command, code) in [
            (&["pull", &bad][..], 1),
            (&["create", &bad], 125),
            (&["run", &bad], 125),
        ] {
            let refused = store.onggi(command).run();
            refused
                .code(code)
                .stderr_has(&format!("onggi: image {bad} is refused: the policy `"))
                .stderr_has(&format!(
                    "for `{host}` wants a signature by ECDSA P-256 key sha256:"
                ))
                .stderr_has("there is no signature");
        }
        is_empty(&store);
    }
}

#[test]
fn what_skopeo_signs_is_judged_as_skopeo_does() {
    let (Some(registry), Some(store)) = (Registry::start(&Options::default()), somebody()) else {
        return;
    };
    let (Some(good), Some(bad)) = (
        push(&registry, &store, "good:1", true),
        push(&registry, &store, "bad:1", false),
    ) else {
        return;
    };
    let host = format!("127.0.0.1:{}", registry.port);
    let exact = |name: String| json!({"type": "exactReference", "dockerReference": name});
    let repository = |name: String| json!({"type": "exactRepository", "dockerRepository": name});
    let remap =
        |from: &str, to: &str| json!({"type": "remapIdentity", "prefix": from, "signedPrefix": to});
    for (identity, accepted) in [
        (None, true),
        (Some(json!({"type": "matchExact"})), true),
        (Some(json!({"type": "matchRepository"})), true),
        (Some(exact(registry.name("good:1"))), true),
        (Some(exact(registry.name("good:2"))), false),
        (Some(repository(registry.name("good"))), true),
        (Some(repository(registry.name("bad"))), false),
        (Some(remap(&host, "a.org")), false),
        (Some(remap("a.org", "b.org")), true),
    ] {
        let rules = json!({"docker": {&host: signed(identity.clone())}});
        let file = policy(
            &store,
            &json!({"default": [{"type": "reject"}], "transports": rules}),
        );
        for (name, accepted) in [(&good, accepted), (&bad, false)] {
            let pulled = store.onggi(["pull", "-q", name]).run();
            pulled.code(i32::from(!accepted));
            assert_eq!(
                skopeo_accepts(&store, &file, name),
                accepted,
                "{identity:?} {name}"
            );
        }
    }
}

#[test]
fn policies_are_read_as_skopeo_reads_them() {
    let (Some(registry), Some(store)) = (Registry::start(&Options::default()), somebody()) else {
        return;
    };
    let Some(name) = push(&registry, &store, "team/app:1", false) else {
        return;
    };
    let host = format!("127.0.0.1:{}", registry.port);
    let (accept, reject) = (
        json!([{"type": "insecureAcceptAnything"}]),
        json!([{"type": "reject"}]),
    );
    let of = |scope: &str| json!({"default": reject, "transports": {"docker": {scope: accept, &host: reject}}});
    let twice = json!([{"type": "insecureAcceptAnything"}, {"type": "reject"}]);
    let mut cases: Vec<(String, bool)> = vec![
        (json!({"default": accept}).to_string(), true),
        (json!({"default": reject}).to_string(), false),
        (json!({"default": twice}).to_string(), false),
        (json!({"default": []}).to_string(), false),
        (json!({"default": accept, "x": {}}).to_string(), false),
        (
            json!({"default": [{"type": "insecureAcceptAnything", "x": 1}]}).to_string(),
            false,
        ),
        (json!({"default": [{"type": "x"}]}).to_string(), false),
        (
            json!({"transports": {"docker": {"": accept}}}).to_string(),
            false,
        ),
        (
            json!({"default": reject, "transports": {"docker": {"": accept}}}).to_string(),
            true,
        ),
        (
            json!({"default": reject, "transports": {"atomic": {"": accept}}}).to_string(),
            false,
        ),
        (
            json!({"default": accept, "transports": {"dir": {"": reject}}}).to_string(),
            true,
        ),
        (
            format!(r#"{{"default":{accept},"default":{accept}}}"#),
            false,
        ),
        ("{".to_owned(), false),
    ];
    for (scope, accepted) in [
        (format!("{host}/team"), true),
        (format!("{host}/team/app"), true),
        (format!("{host}/team/app:1"), true),
        (format!("{host}/team/app:2"), false),
        (format!("{host}/te"), false),
        ("127.0.0.1".to_owned(), false),
    ] {
        cases.push((of(&scope).to_string(), accepted));
    }
    for (text, accepted) in cases {
        let file = policy(&store, &json!({}));
        std::fs::write(&file, &text).unwrap();
        assert_eq!(skopeo_accepts(&store, &file, &name), accepted, "{text}");
        let pulled = store.onggi(["pull", "-q", &name]).run();
        pulled.code(i32::from(!accepted));
        if !accepted {
            pulled.stderr_has(&file.display().to_string());
            is_empty(&store);
        } else {
            store.onggi(["rmi", &name]).run().code(0);
        }
    }
}

#[test]
fn bundles_of_sigstores_own_library_are_found_and_verified() {
    let Some((registry, server, store)) = behind(|_| Reply::Forward) else {
        return;
    };
    let verify = format!("--verify={}", data("cosign.pub").display());
    let pull = |name: &str| store.onggi(["pull", "-q", &verify, name]).run();
    let name = server.name(IMAGE);
    pull(&name)
        .code(1)
        .stderr_has("`--verify` wants a signature by ECDSA P-256 key sha256:")
        .stderr_has("there is no signature");
    is_empty(&store);
    for bundle in ["statement", "message"] {
        let bundle = std::fs::read_to_string(data(&format!("{bundle}.sigstore.json"))).unwrap();
        registry.attach("image", DIGEST, &[bundle]);
        let asked = || {
            let seen = server.seen();
            seen.iter()
                .filter(|request| request.path.ends_with("/manifests/multi"))
                .count()
        };
        let before = asked();
        pull(&name).code(0).stdout(&format!("{DIGEST}\n"));
        // Nobody looks at the tag a second time.
        assert_eq!(asked(), before + 1);
        pull(&server.name(&format!("image@{DIGEST}"))).code(0);
        store.onggi(["rmi", "-f", &name]).run().code(0);
        // They are for no name, which not all rules allow.
        for (identity, accepted) in [
            (None, false),
            (Some(json!({"type": "matchRepository"})), true),
            (
                Some(json!({"type": "exactRepository", "dockerRepository": server.name("image")})),
                false,
            ),
        ] {
            policy(&store, &json!({"default": signed(identity)}));
            let pulled = store.onggi(["pull", &name]).run();
            match accepted {
                true => pulled.code(0),
                false => pulled.code(1).stderr_has("the signature is for no name"),
            };
        }
        std::fs::remove_file(store.home().join(".config/containers/policy.json")).unwrap();
        store.onggi(["rmi", "-f", &name]).run().code(0);
    }
}

#[test]
fn a_registrys_own_list_of_referrers_is_read() {
    let signer = Signer::p256();
    let bundle = signer.bundle(&statement(DIGEST)).to_string();
    let list = std::sync::Arc::new(std::sync::OnceLock::<Value>::new());
    let listed = list.clone();
    let Some((registry, server, store)) =
        behind(move |request| match request.path.contains("/referrers/") {
            true => answer(
                "200 OK",
                &["Content-Type: application/vnd.oci.image.index.v1+json"],
                listed.get().unwrap().to_string(),
            ),
            false => Reply::Forward,
        })
    else {
        return;
    };
    let key = store.file("key.pub", signer.pem());
    let verify = format!("--verify={}", key.display());
    let mut index = registry.attach("image", DIGEST, &[bundle]);
    // Bills of materials come first, and are not even fetched.
    let mut other = index["manifests"][0].clone();
    other["artifactType"] = "application/spdx+json".into();
    let mut statement = index["manifests"][0].clone();
    statement["annotations"] =
        json!({"dev.sigstore.bundle.predicateType": "https://slsa.dev/provenance/v1"});
    index["manifests"]
        .as_array_mut()
        .unwrap()
        .splice(0..0, [other, statement]);
    list.set(index).unwrap();
    store
        .onggi(["pull", "-q", &verify, &server.name(IMAGE)])
        .run()
        .code(0);
    assert!(
        !server
            .seen()
            .iter()
            .any(|request| request.path.ends_with(&DIGEST.replace(':', "-")))
    );
}

#[test]
fn all_kinds_of_keys_sign() {
    let (Some(registry), Some(store)) = (Registry::start(&Options::default()), somebody()) else {
        return;
    };
    let name = registry.name(IMAGE);
    for signer in [
        Signer::p256(),
        Signer::p384(),
        Signer::ed25519(),
        Signer::Pkcs1(Signer::rsa()),
        Signer::Pss(Signer::rsa()),
    ] {
        let verify = format!("--verify={}", store.file("key.pub", signer.pem()).display());
        let pull = || store.onggi(["pull", "-q", &verify, &name]).run();
        registry.sign(
            "image",
            DIGEST,
            &[layer(&signer, payload(DIGEST, &registry.name("image")))],
        );
        pull().code(0);
        registry.sign(
            "image",
            DIGEST,
            &[layer(
                &Signer::p256(),
                payload(DIGEST, &registry.name("image")),
            )],
        );
        pull().code(1).stderr_has("it is signed by another key");
        registry.attach(
            "image",
            DIGEST,
            &[signer.bundle(&statement(DIGEST)).to_string()],
        );
        pull().code(0);
        registry.attach("image", DIGEST, &[]);
    }
    let key = store.file("key.pub", std::fs::read(data("p521.pub")).unwrap());
    let refused = store
        .onggi(["pull", &format!("--verify={}", key.display()), &name])
        .run();
    refused
        .code(1)
        .stderr_has("keys of its kind are not supported");
}

#[test]
fn the_manifest_for_the_platform_may_be_signed_instead_of_the_index() {
    let (Some(registry), Some(store)) = (Registry::start(&Options::default()), somebody()) else {
        return;
    };
    let index = registry.get("/v2/image/manifests/multi");
    let signer = Signer::p256();
    let verify = format!("--verify={}", store.file("key.pub", signer.pem()).display());
    let name = registry.name(IMAGE);
    for platform in ["amd64", "arm64"] {
        let manifests = index["manifests"].as_array().unwrap().iter();
        let manifest = manifests
            .clone()
            .find(|one| one["platform"]["architecture"] == platform)
            .unwrap();
        let digest = manifest["digest"].as_str().unwrap();
        let pull = || {
            store
                .onggi([
                    "pull",
                    "-q",
                    &verify,
                    "--platform",
                    &format!("linux/{platform}"),
                    &name,
                ])
                .run()
        };
        pull().code(1).stderr_has("there is no signature");
        registry.sign(
            "image",
            digest,
            &[layer(&signer, payload(digest, &registry.name("image")))],
        );
        pull().code(0);
    }
}
