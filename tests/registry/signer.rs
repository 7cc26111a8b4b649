//! Makes signatures of all kinds and leaves them in a registry, in the forms that `cosign` documents (its "Signature
//! Specification" and "Bundle Specification"); the keys are ring's or lie in `tests/data/trust`.

use crate::real::{Registry, connect};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use onggi::image::digest::Digest;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair,
};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// A file of `tests/data/trust`.
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/trust")
        .join(name)
}

/// Somebody with a key.
pub enum Signer {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Pkcs1(RsaKeyPair),
    Pss(RsaKeyPair),
}

impl Signer {
    pub fn p256() -> Self {
        let (kind, random) = (&ECDSA_P256_SHA256_ASN1_SIGNING, SystemRandom::new());
        let document = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        Self::P256(EcdsaKeyPair::from_pkcs8(kind, document.as_ref(), &random).unwrap())
    }

    pub fn p384() -> Self {
        let (kind, random) = (&ECDSA_P384_SHA384_ASN1_SIGNING, SystemRandom::new());
        let document = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        Self::P384(EcdsaKeyPair::from_pkcs8(kind, document.as_ref(), &random).unwrap())
    }

    pub fn ed25519() -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::Ed25519(Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap())
    }

    pub fn rsa() -> RsaKeyPair {
        RsaKeyPair::from_pkcs8(&std::fs::read(data("rsa.pk8")).unwrap()).unwrap()
    }

    /// The public key in PEM.
    pub fn pem(&self) -> String {
        // The beginnings of RFC 5480 and RFC 8410, with lengths.
        let (head, key): (&[u8], &[u8]) = match self {
            Self::P256(pair) => (
                b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\0",
                pair.public_key().as_ref(),
            ),
            Self::P384(pair) => (
                b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\0",
                pair.public_key().as_ref(),
            ),
            Self::Ed25519(pair) => (
                b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\0",
                pair.public_key().as_ref(),
            ),
            Self::Pkcs1(_) | Self::Pss(_) => return std::fs::read_to_string(data("rsa.pub")).unwrap(),
        };
        let body = BASE64_STANDARD.encode([head, key].concat());
        format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
    }

    /// The signature of a message, in base64.
    pub fn sign(&self, message: &[u8]) -> String {
        let random = SystemRandom::new();
        let rsa = |pair: &RsaKeyPair, padding| {
            let mut signature = vec![0; pair.public().modulus_len()];
            pair.sign(padding, &random, message, &mut signature)
                .unwrap();
            signature
        };
        BASE64_STANDARD.encode(match self {
            Self::P256(pair) | Self::P384(pair) => {
                pair.sign(&random, message).unwrap().as_ref().to_vec()
            }
            Self::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Self::Pkcs1(pair) => rsa(pair, &RSA_PKCS1_SHA256),
            Self::Pss(pair) => rsa(pair, &RSA_PSS_SHA256),
        })
    }

    /// A statement in a bundle.
    pub fn bundle(&self, statement: &Value) -> Value {
        let (kind, payload) = ("application/vnd.in-toto+json", statement.to_string());
        let signed = format!("DSSEv1 {} {kind} {} {payload}", kind.len(), payload.len());
        json!({
            "mediaType": BUNDLE,
            "verificationMaterial": {"publicKey": {"hint": "x"}, "tlogEntries": []},
            "dsseEnvelope": {
                "payload": BASE64_STANDARD.encode(&payload), "payloadType": kind,
                "signatures": [{"sig": self.sign(signed.as_bytes()), "keyid": ""}],
            },
        })
    }
}

pub const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const SIMPLE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What is signed in simple signing.
pub fn payload(digest: &str, name: &str) -> String {
    json!({
        "critical": {
            "identity": {"docker-reference": name},
            "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature",
        },
        "optional": null,
    })
    .to_string()
}

/// A statement that says that an image is good.
pub fn statement(digest: &str) -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {"sha256": digest.trim_start_matches("sha256:")}}],
        "predicateType": "https://sigstore.dev/cosign/sign/v1",
        "predicate": {},
    })
}

/// A layer of simple signing: what is signed, and the annotations.
pub type Layer = (String, Value);

/// Such a layer as `cosign` makes it.
pub fn layer(signer: &Signer, payload: String) -> Layer {
    let signature = signer.sign(payload.as_bytes());
    (
        payload,
        json!({"dev.cosignproject.cosign/signature": signature}),
    )
}

/// The registry, spoken to by hand.
impl Registry {
    fn request(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> (u16, String) {
        let mut stream = connect(self.port).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1:{}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n",
            self.port
        )
        .unwrap();
        stream.write_all(body).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer)
    }

    /// The digest behind a tag.
    pub fn digest(&self, repository: &str, tag: &str) -> String {
        let path = format!("/v2/{repository}/manifests/{tag}");
        let mut stream = connect(self.port).unwrap();
        write!(
            stream,
            "HEAD {path} HTTP/1.0\r\nHost: x\r\nAccept: {MANIFEST}\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let mut lines = answer.lines();
        let digest = lines.find_map(|line| line.strip_prefix("Docker-Content-Digest: "));
        digest.unwrap().trim().to_owned()
    }

    /// Pushes a blob; its descriptor.
    pub fn put_blob(&self, repository: &str, kind: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        let (_, answer) =
            self.request("POST", &format!("/v2/{repository}/blobs/uploads/"), "", b"");
        let location = answer
            .lines()
            .find_map(|line| line.strip_prefix("Location: "))
            .unwrap()
            .trim();
        let path = &location[location.find("/v2/").unwrap()..];
        let path = format!("{path}&digest={digest}");
        let (status, answer) = self.request("PUT", &path, "application/octet-stream", bytes);
        assert_eq!(status, 201, "{answer}");
        json!({"mediaType": kind, "digest": digest.to_string(), "size": bytes.len()})
    }

    /// Pushes a manifest; its descriptor.
    pub fn put_manifest(&self, repository: &str, tag: &str, document: &Value) -> Value {
        let (text, kind) = (
            document.to_string(),
            document["mediaType"].as_str().unwrap(),
        );
        let path = format!("/v2/{repository}/manifests/{tag}");
        let (status, answer) = self.request("PUT", &path, kind, text.as_bytes());
        assert_eq!(status, 201, "{answer}");
        json!({"mediaType": kind, "digest": Digest::of(text.as_bytes()).to_string(), "size": text.len()})
    }

    /// Leaves signatures under the tag of a digest.
    pub fn sign(&self, repository: &str, digest: &str, layers: &[Layer]) {
        let layers: Vec<Value> = layers
            .iter()
            .map(|(payload, annotations)| {
                let mut descriptor = self.put_blob(repository, SIMPLE, payload.as_bytes());
                descriptor["annotations"] = annotations.clone();
                descriptor
            })
            .collect();
        let config = self.put_blob(
            repository,
            "application/vnd.oci.image.config.v1+json",
            b"{}",
        );
        let manifest =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        self.put_manifest(
            repository,
            &format!("{}.sig", digest.replace(':', "-")),
            &manifest,
        );
    }

    /// Leaves bundles among what refers to a digest, in the index that stands for the list.
    pub fn attach(&self, repository: &str, digest: &str, bundles: &[String]) -> Value {
        let config = self.put_blob(repository, "application/vnd.oci.empty.v1+json", b"{}");
        let referrer = |bundle: &String| {
            let layer = self.put_blob(repository, BUNDLE, bundle.as_bytes());
            let manifest = json!({
                "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": BUNDLE, "config": config,
                "layers": [layer],
            });
            let mut descriptor = self.put_manifest(
                repository,
                layer["digest"]
                    .as_str()
                    .unwrap()
                    .rsplit(':')
                    .next()
                    .unwrap(),
                &manifest,
            );
            descriptor["artifactType"] = BUNDLE.into();
            descriptor
        };
        let referrers: Vec<Value> = bundles.iter().map(referrer).collect();
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": referrers});
        self.put_manifest(repository, &digest.replace(':', "-"), &index);
        index
    }
}
