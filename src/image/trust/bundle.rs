//! Bundles of Sigstore (protobuf-specs, `sigstore_bundle.proto`), as `cosign` attaches them to images
//! (cosign, "Bundle Specification"): in one of two ways they say that the owner of a key has signed a digest.
//!
//! - `messageSignature`: the bytes of the manifest are signed as they are
//! - `dsseEnvelope`: a statement of in-toto is signed, whose subject is the digest (DSSE, "Protocol"; in-toto,
//!   "Statement")
//!
//! Certificates, time stamps and entries of logs in a bundle are not looked at.

use super::signature::{Reason, Wanted, decode, unreadable};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;

/// Media types of bundles; those that differ in what is not looked at here are all read.
pub const MEDIA_TYPES: [&str; 4] = [
    "application/vnd.dev.sigstore.bundle.v0.3+json",
    "application/vnd.dev.sigstore.bundle+json;version=0.3",
    "application/vnd.dev.sigstore.bundle+json;version=0.2",
    "application/vnd.dev.sigstore.bundle+json;version=0.1",
];
/// The predicate of a statement that is a signature. Whoever signs a bill of materials does not sign the image.
pub const PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";
/// Annotation that tells the predicate in advance.
pub const PREDICATE_ANNOTATION: &str = "dev.sigstore.bundle.predicateType";

const STATEMENT: &str = "application/vnd.in-toto+json";
const STATEMENT_TYPES: [&str; 2] = [
    "https://in-toto.io/Statement/v1",
    "https://in-toto.io/Statement/v0.1",
];
/// Signatures of one statement that are tried.
const SIGNATURES: usize = 16;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    media_type: String,
    #[serde(default)]
    verification_material: Material,
    message_signature: Option<MessageSignature>,
    dsse_envelope: Option<Envelope>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Material {
    certificate: Option<IgnoredAny>,
    x509_certificate_chain: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct MessageSignature {
    signature: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    sig: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    predicate_type: String,
    subject: Vec<Subject>,
}

#[derive(Deserialize)]
struct Subject {
    #[serde(default)]
    name: String,
    digest: BTreeMap<String, String>,
}

/// Whether a bundle is what is wanted, or else why not.
pub fn check(bytes: &[u8], wanted: &Wanted) -> Result<(), Reason> {
    let bundle: Bundle = serde_json::from_slice(bytes).map_err(unreadable)?;
    if !MEDIA_TYPES.contains(&bundle.media_type.as_str()) {
        return Err(unreadable(format!(
            "bundles of the kind `{}` are unknown",
            bundle.media_type
        )));
    }
    let material = &bundle.verification_material;
    let keyless = material.certificate.is_some() || material.x509_certificate_chain.is_some();
    let stranger = || {
        if keyless {
            Reason::Keyless
        } else {
            Reason::OtherKey
        }
    };
    match (bundle.message_signature, bundle.dsse_envelope) {
        (Some(message), None) => {
            let signature = decode(&message.signature)?;
            match wanted.is_by_key(wanted.manifest, &signature) {
                true => unnamed(wanted),
                false => Err(stranger()),
            }
        }
        (None, Some(envelope)) => {
            let payload = decode(&envelope.payload)?;
            let signed = encoding(&envelope.payload_type, &payload);
            let is_good = |signature: &Signature| {
                decode(&signature.sig).is_ok_and(|signature| wanted.is_by_key(&signed, &signature))
            };
            if !envelope.signatures.iter().take(SIGNATURES).any(is_good) {
                return Err(stranger());
            }
            if envelope.payload_type != STATEMENT {
                return Err(Reason::Statement(envelope.payload_type));
            }
            statement(&payload, wanted)
        }
        _ => Err(unreadable("the bundle holds no signature, or two")),
    }
}

/// What is signed instead of a statement, so that nothing else can be taken for one (DSSE, "PAE").
fn encoding(kind: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

fn statement(payload: &[u8], wanted: &Wanted) -> Result<(), Reason> {
    let statement: Statement = serde_json::from_slice(payload).map_err(unreadable)?;
    if !STATEMENT_TYPES.contains(&statement.kind.as_str()) {
        return Err(Reason::Statement(statement.kind));
    }
    if statement.predicate_type != PREDICATE {
        return Err(Reason::Statement(statement.predicate_type));
    }
    let digest = |subject: &Subject| subject.digest.get("sha256").cloned();
    let is_it = |subject: &&Subject| digest(subject).as_deref() == Some(wanted.digest.hex());
    let judged =
        statement
            .subject
            .iter()
            .filter(is_it)
            .map(|subject| match subject.name.as_str() {
                "" => unnamed(wanted),
                name => wanted.is_for_name(name),
            });
    judged
        .max_by_key(|judged| judged.is_ok())
        .unwrap_or_else(|| {
            let other = statement.subject.iter().find_map(digest);
            Err(Reason::OtherDigest(other.map_or_else(
                || "no digest at all".to_owned(),
                |hex| format!("sha256:{hex}"),
            )))
        })
}

fn unnamed(wanted: &Wanted) -> Result<(), Reason> {
    match wanted.identity.accepts_unnamed() {
        true => Ok(()),
        false => Err(Reason::NoName),
    }
}
