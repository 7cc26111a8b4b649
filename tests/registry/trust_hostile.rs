//! Signatures by those who want to be believed, and registries that help them: each is refused with its reason.

use crate::real::{DIGEST, IMAGE, Options, Registry};
use crate::server::{Reply, answer, error};
use crate::signer::{Layer, Signer, layer, payload, statement};
use crate::trust::{is_empty, policy};
use crate::{behind, somebody};
use serde_json::{Value, json};

/// The digest of nothing.
const OTHER: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn simple_signatures_that_are_none_are_refused() {
    let (Some(registry), Some(store)) = (Registry::start(&Options::default()), somebody()) else {
        return;
    };
    let (signer, stranger, other) = (Signer::p256(), Signer::p256(), Signer::ed25519());
    let verify = format!("--verify={}", store.file("key.pub", signer.pem()).display());
    let (name, here) = (registry.name(IMAGE), registry.name("image"));
    let good = || payload(DIGEST, &here);
    let with = |payload: String, annotations: Value| -> Layer { (payload, annotations) };
    let signature = "dev.cosignproject.cosign/signature";
    let certificate = json!({
        signature: stranger.sign(good().as_bytes()),
        "dev.sigstore.cosign/certificate": "-----BEGIN CERTIFICATE-----",
    });
    let half = signer.sign(good().as_bytes());
    let changed = |from: &str, to: &str| layer(&signer, good().replace(from, to));
    for (layers, part) in [
        (vec![], "there is no signature"),
        (
            vec![layer(&stranger, good())],
            "it is signed by another key",
        ),
        (vec![layer(&other, good())], "it is signed by another key"),
        (
            vec![layer(&signer, payload(OTHER, &here))],
            &format!("the signature is for {OTHER}"),
        ),
        (
            vec![layer(&signer, payload(DIGEST, &registry.name("other")))],
            &format!("the signature is for `{}`", registry.name("other")),
        ),
        (
            vec![layer(&signer, payload(DIGEST, "a b"))],
            "the signature is for `a b`",
        ),
        (
            vec![layer(&signer, payload(DIGEST, ""))],
            "the signature is for ``",
        ),
        // Signed for one digest, shown for another.
        (
            vec![with(good(), layer(&signer, payload(OTHER, &here)).1)],
            "it is signed by another key, or what is signed was changed",
        ),
        (
            vec![with(good(), json!({signature: &half[..20]}))],
            "it is signed by another key",
        ),
        (
            vec![with(good(), json!({signature: &half[..21]}))],
            "its signature cannot be read",
        ),
        (
            vec![with(good(), json!({signature: "%%%"}))],
            "its signature cannot be read",
        ),
        (
            vec![with(good(), json!({signature: ""}))],
            "it is signed by another key",
        ),
        (vec![with(good(), json!({}))], "is missing"),
        (
            vec![with(good(), certificate)],
            "it is signed with a certificate and not with a key",
        ),
        (
            vec![changed(
                "cosign container image signature",
                "atomic container signature",
            )],
            "a statement of the type `atomic container signature`",
        ),
        (
            vec![changed("\"critical\"", "\"x\":1,\"critical\"")],
            "unknown field `x`",
        ),
        (
            vec![changed(
                "\"image\"",
                "\"image\":{\"docker-manifest-digest\":\"x\"},\"image\"",
            )],
            "duplicate field `image`",
        ),
        (
            vec![layer(&signer, "null".to_owned())],
            "its signature cannot be read",
        ),
        (
            vec![layer(&signer, format!("{}{}", good(), good()))],
            "trailing characters",
        ),
        // The nearest one is told of.
        (
            vec![
                layer(&stranger, good()),
                layer(&signer, payload(OTHER, &here)),
                layer(&other, good()),
            ],
            &format!("the signature is for {OTHER}"),
        ),
    ] {
        registry.sign("image", DIGEST, &layers);
        let refused = store.onggi(["pull", &verify, &name]).run();
        let words = format!(
            "onggi: image {name} is refused: `--verify` wants a signature by ECDSA P-256 key sha256:"
        );
        refused.code(1).stderr_has(&words).stderr_has(part);
        is_empty(&store);
    }
    // One good one among many that are not is enough.
    let mut many: Vec<Layer> = vec![
        layer(&stranger, good()),
        with(good(), json!({})),
        layer(&signer, payload(OTHER, &here)),
    ];
    many.push(layer(&signer, good()));
    registry.sign("image", DIGEST, &many);
    store.onggi(["pull", "-q", &verify, &name]).run().code(0);
}

#[test]
fn bundles_that_are_none_are_refused() {
    let (Some(registry), Some(store)) = (Registry::start(&Options::default()), somebody()) else {
        return;
    };
    let (signer, stranger) = (Signer::p256(), Signer::p384());
    let verify = format!("--verify={}", store.file("key.pub", signer.pem()).display());
    let name = registry.name(IMAGE);
    let good = statement(DIGEST);
    let changed = |key: &str, value: Value| {
        let mut statement = good.clone();
        statement[key] = value;
        signer.bundle(&statement)
    };
    let edited = |edit: &dyn Fn(&mut Value)| {
        let mut bundle = signer.bundle(&good);
        edit(&mut bundle);
        bundle
    };
    let own = signer.bundle(&good)["dsseEnvelope"].clone();
    let message = json!({"messageDigest": {"algorithm": "SHA2_256", "digest": ""}, "signature": signer.sign(b"x")});
    let twice = format!(
        "{{\"mediaType\":\"x\",{}",
        &signer.bundle(&good).to_string()[1..]
    );
    for (bundle, part) in [
        (stranger.bundle(&good).to_string(), "it is signed by another key"),
        (signer.bundle(&statement(OTHER)).to_string(), &format!("the signature is for {OTHER}")),
        (changed("subject", json!([])).to_string(), "the signature is for no digest at all"),
        (changed("subject", json!([{"digest": {"sha1": "x"}}])).to_string(), "the signature is for no digest at all"),
        (
            changed("subject", json!([{"name": "a.org/x", "digest": {"sha256": &DIGEST[7..]}}])).to_string(),
            "the signature is for `a.org/x`",
        ),
        (changed("predicateType", "https://slsa.dev/provenance/v1".into()).to_string(), "a statement of the type `https://slsa.dev/provenance/v1`"),
        (changed("_type", "x".into()).to_string(), "a statement of the type `x`"),
        (edited(&|bundle| bundle["mediaType"] = "x".into()).to_string(), "bundles of the kind `x` are unknown"),
        (edited(&|bundle| bundle["dsseEnvelope"]["payloadType"] = "x".into()).to_string(), "it is signed by another key"),
        (edited(&|bundle| bundle["dsseEnvelope"]["payload"] = "bnVsbA==".into()).to_string(), "it is signed by another key"),
        (edited(&|bundle| bundle["dsseEnvelope"]["payload"] = "bnVsbA".into()).to_string(), "its signature cannot be read"),
        (edited(&|bundle| bundle["dsseEnvelope"]["signatures"] = json!([])).to_string(), "it is signed by another key"),
        (edited(&|bundle| bundle["messageSignature"] = message.clone()).to_string(), "the bundle holds no signature, or two"),
        (edited(&|bundle| *bundle = json!({"mediaType": bundle["mediaType"], "messageSignature": message})).to_string(), "it is signed by another key"),
        (
            edited(&|bundle| {
                *bundle = json!({
                    "mediaType": bundle["mediaType"], "verificationMaterial": {"certificate": {"rawBytes": ""}},
                    "dsseEnvelope": stranger.bundle(&good)["dsseEnvelope"],
                });
            })
            .to_string(),
            "it is signed with a certificate and not with a key",
        ),
        (
            changed("predicateType", "x".repeat(500_000).into()).to_string(),
            &format!("`{}`\n", "x".repeat(400)),
        ),
        (own.to_string(), "its signature cannot be read"),
        (twice, "duplicate field"),
        ("[".repeat(100_000), "its signature cannot be read"),
    ] {
        registry.attach("image", DIGEST, &[bundle]);
        let refused = store.onggi(["pull", &verify, &name]).run();
        refused.code(1).stderr_has("is refused: `--verify` wants a signature").stderr_has(part);
        is_empty(&store);
    }
    let both = json!([{"digest": {"sha256": &OTHER[7..]}}, {"name": registry.name("image"), "digest": {"sha256": &DIGEST[7..]}}]);
    registry.attach("image", DIGEST, &[changed("subject", both).to_string()]);
    store.onggi(["pull", "-q", &verify, &name]).run().code(0);
}

#[test]
fn a_flood_of_signatures_has_an_end() {
    let signer = Signer::p256();
    let (good, stranger) = (layer(&signer, payload(DIGEST, "x")), Signer::p256());
    let Some((registry, server, store)) = behind(move |request| {
        match request.path.contains("/referrers/") {
            true => {
                let one = json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": OTHER, "size": 1});
                let list = json!({"schemaVersion": 2, "manifests": vec![one; 9000]});
                answer(
                    "200 OK",
                    &["Content-Type: application/vnd.oci.image.index.v1+json"],
                    list.to_string(),
                )
            }
            false => Reply::Forward,
        }
    }) else {
        return;
    };
    let verify = format!("--verify={}", store.file("key.pub", signer.pem()).display());
    let many: Vec<Layer> = (0..100)
        .map(|number| layer(&stranger, payload(DIGEST, &format!("x{number}"))))
        .collect();
    registry.sign("image", DIGEST, &[many, vec![good]].concat());
    let refused = store.onggi(["pull", &verify, &server.name(IMAGE)]).run();
    refused.code(1).stderr_has("it is signed by another key");
    let seen = server.seen().len();
    assert!(seen < 210, "{seen} requests");
    is_empty(&store);
}

#[test]
fn signatures_take_so_much_memory_at_most() {
    let (Some(registry), Some(store)) = (Registry::start(&Options::default()), somebody()) else {
        return;
    };
    let signer = Signer::p256();
    let verify = format!("--verify={}", store.file("key.pub", signer.pem()).display());
    let long = |number: usize| (number.to_string().repeat(900_000), json!({}));
    let many: Vec<Layer> = (1..6).map(long).collect();
    registry.sign("image", DIGEST, &many);
    let refused = store.onggi(["pull", &verify, &registry.name(IMAGE)]).run();
    refused
        .code(1)
        .stderr_has("the signatures are longer than 4194304 bytes together");
    is_empty(&store);
}

#[test]
fn registries_that_do_not_answer_or_lie_are_no_proof() {
    let signer = Signer::p256();
    for (number, part) in [
        "answers 500",
        "leads to an index",
        "no valid JSON",
        "its digest is",
        "it is longer than",
    ]
    .into_iter()
    .enumerate()
    {
        let Some((registry, server, store)) = behind(move |request| {
            let is_signature = request.path.ends_with(".sig");
            let lie = |body: &str| {
                answer(
                    "200 OK",
                    &["Content-Type: application/vnd.oci.image.index.v1+json"],
                    body,
                )
            };
            match number {
                0 if is_signature => error("500 Internal Server Error", "UNKNOWN"),
                1 if is_signature => lie(r#"{"schemaVersion":2,"manifests":[]}"#),
                2 if is_signature => lie("<html>"),
                3 if request.is_blob() => Reply::Corrupt(0),
                4 if is_signature => lie(&" ".repeat(5 << 20)),
                _ => Reply::Forward,
            }
        }) else {
            return;
        };
        let verify = format!("--verify={}", store.file("key.pub", signer.pem()).display());
        registry.sign(
            "image",
            DIGEST,
            &[layer(&signer, payload(DIGEST, &server.name("image")))],
        );
        let refused = store.onggi(["pull", &verify, &server.name(IMAGE)]).run();
        refused
            .code(1)
            .stderr_has("wants a signature")
            .stderr_has(part);
        is_empty(&store);
    }
}

#[test]
fn what_is_pulled_is_what_was_verified() {
    // The tag leads elsewhere as soon as it was looked at once.
    let Some((registry, server, store)) =
        behind(
            |request| match (request.path.ends_with("/manifests/multi"), request.earlier) {
                (true, 1..) => error("404 Not Found", "MANIFEST_UNKNOWN"),
                _ => Reply::Forward,
            },
        )
    else {
        return;
    };
    let signer = Signer::p256();
    let verify = format!("--verify={}", store.file("key.pub", signer.pem()).display());
    registry.sign(
        "image",
        DIGEST,
        &[layer(&signer, payload(DIGEST, &server.name("image")))],
    );
    let pulled = store
        .onggi(["pull", "-q", &verify, &server.name(IMAGE)])
        .run();
    pulled.code(0).stdout(&format!("{DIGEST}\n"));
}

#[test]
fn policies_that_cannot_be_kept_refuse() {
    let (Some(registry), Some(store)) = (Registry::start(&Options::default()), somebody()) else {
        return;
    };
    let (name, host) = (registry.name(IMAGE), format!("127.0.0.1:{}", registry.port));
    let pull = || store.onggi(["pull", &name]).run();
    let gpg = json!([{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/keys"}]);
    let keyless = json!([{"type": "sigstoreSigned", "fulcio": {"caPath": "/ca", "oidcIssuer": "x", "subjectEmail": "x"}, "rekorPublicKeyPath": "/r"}]);
    let missing = json!([{"type": "sigstoreSigned", "keyPath": "/nowhere/key.pub"}]);
    for (rules, part) in [
        (
            &gpg,
            format!("for `{host}` wants a signature by GPG (`signedBy`), which is not supported"),
        ),
        (
            &keyless,
            "a signature without a key of its own (`fulcio`), which is not supported".to_owned(),
        ),
        (
            &missing,
            "read the key `/nowhere/key.pub`: No such file or directory".to_owned(),
        ),
    ] {
        policy(
            &store,
            &json!({"default": [{"type": "insecureAcceptAnything"}], "transports": {"docker": {&host: rules}}}),
        );
        pull().code(1).stderr_has(&part);
        let run = store.onggi(["run", &name]).run();
        run.code(125).stderr_has(&part);
    }
    // What they are not about comes in.
    policy(
        &store,
        &json!({"default": [{"type": "insecureAcceptAnything"}], "transports": {"docker": {"a.org": gpg, "b.org": keyless}}}),
    );
    pull().code(0);
    store.onggi(["rmi", &name]).run().code(0);
    // An alias is judged by where it leads.
    policy(
        &store,
        &json!({"default": [{"type": "insecureAcceptAnything"}], "transports": {"docker": {&host: [{"type": "reject"}]}}}),
    );
    let aliases = store.file(
        "registries.conf",
        format!("[aliases]\n\"pot\" = \"{host}/image\"\n"),
    );
    let alias = store
        .onggi(["pull", "pot:multi"])
        .env("CONTAINERS_REGISTRIES_CONF", aliases)
        .run();
    alias
        .code(1)
        .stderr_has(&format!("image {host}/image:multi is refused"));
    is_empty(&store);
}
