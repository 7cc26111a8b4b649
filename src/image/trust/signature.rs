//! What a signature says, and how far it is from being the one that is wanted. Two forms: the simple signing of
//! containers-signature(5), which `cosign` and `skopeo` keep in the layers of a manifest, and bundles of Sigstore (see
//! [`super::bundle`]). Certificates and logs are not looked at: a key is all that counts.
//!
//! Invariant: nothing that is signed is read before its signature is verified.

use super::bundle;
use super::identity::Identity;
use super::key::Key;
use crate::image::digest::Digest;
use crate::image::reference::Reference;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::fmt;

/// Media type of what is signed.
pub const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Annotation of such a layer: the signature, in base64.
pub const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// Annotation of such a layer: who has signed, where it was somebody without a key that lasts.
pub const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";

/// Something that is kept as a signature of an image; nobody vouches for it yet.
#[derive(Clone, Debug)]
pub enum Candidate {
    /// Simple signing.
    Simple {
        /// What is signed.
        payload: Vec<u8>,
        /// Base64.
        signature: String,
        /// Has a certificate beside it.
        keyless: bool,
    },
    /// A Sigstore bundle.
    Bundle(Vec<u8>),
    /// It could not be had.
    Unreadable(String),
}

/// The most of a text in a signature that is told.
const LONGEST_TOLD: usize = 400;

/// What is wanted of a signature.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// One of them must have signed.
    pub keys: &'a [Key],
    /// For which name.
    pub identity: &'a Identity,
    /// What the image is called.
    pub name: &'a Reference,
    /// The digest of the manifest or index.
    pub digest: &'a Digest,
    /// Its bytes.
    pub manifest: &'a [u8],
}

/// Why there is no good signature; the later the nearer to one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// There is none at all.
    Missing,
    /// There is something that is none.
    Unreadable(String),
    /// Made with a certificate instead of a key.
    Keyless,
    /// By somebody else.
    OtherKey,
    /// It does not say that the image is good, but something else about it.
    Statement(String),
    /// For another image.
    OtherDigest(String),
    /// For no name.
    NoName,
    /// For another name.
    OtherName(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no signature"),
            Self::Unreadable(why) => write!(f, "its signature cannot be read: {}", told(why)),
            Self::Keyless => f.write_str("it is signed with a certificate and not with a key"),
            Self::OtherKey => {
                f.write_str("it is signed by another key, or what is signed was changed")
            }
            Self::Statement(kind) => write!(
                f,
                "what is signed is no signature of it but a statement of the type `{}`",
                told(kind)
            ),
            Self::OtherDigest(digest) => write!(f, "the signature is for {}", told(digest)),
            Self::NoName => f.write_str("the signature is for no name"),
            Self::OtherName(name) => write!(f, "the signature is for `{}`", told(name)),
        }
    }
}

fn told(text: &str) -> String {
    text.chars().take(LONGEST_TOLD).collect()
}

impl Candidate {
    /// Whether it is what is wanted, or else why not.
    pub fn check(&self, wanted: &Wanted) -> Result<(), Reason> {
        match self {
            Self::Simple {
                payload,
                signature,
                keyless,
            } => wanted.simple(payload, signature, *keyless),
            Self::Bundle(bytes) => bundle::check(bytes, wanted),
            Self::Unreadable(why) => Err(Reason::Unreadable(why.clone())),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    critical: Critical,
    #[serde(default, rename = "optional")]
    _optional: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    #[serde(rename = "type")]
    kind: String,
    image: Image,
    identity: Signee,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signee {
    #[serde(rename = "docker-reference")]
    reference: String,
}

/// What `critical.type` must be.
const SIMPLE_TYPE: &str = "cosign container image signature";

impl Wanted<'_> {
    fn simple(&self, payload: &[u8], signature: &str, keyless: bool) -> Result<(), Reason> {
        let signature = decode(signature)?;
        if !self.is_by_key(payload, &signature) {
            return Err(if keyless {
                Reason::Keyless
            } else {
                Reason::OtherKey
            });
        }
        let payload: Payload = serde_json::from_slice(payload).map_err(unreadable)?;
        let critical = payload.critical;
        if critical.kind != SIMPLE_TYPE {
            return Err(Reason::Statement(critical.kind));
        }
        if critical.image.digest != self.digest.to_string() {
            return Err(Reason::OtherDigest(critical.image.digest));
        }
        self.is_for_name(&critical.identity.reference)
    }

    /// Whether one of the keys has signed the message.
    pub fn is_by_key(&self, message: &[u8], signature: &[u8]) -> bool {
        self.keys.iter().any(|key| key.verifies(message, signature))
    }

    /// Whether a name in a signature will do.
    pub fn is_for_name(&self, signed: &str) -> Result<(), Reason> {
        let fits = signed
            .parse()
            .is_ok_and(|signed| self.identity.accepts(self.name, &signed));
        fits.then_some(())
            .ok_or_else(|| Reason::OtherName(signed.to_owned()))
    }
}

/// A signature as it is written.
pub fn decode(text: &str) -> Result<Vec<u8>, Reason> {
    BASE64_STANDARD.decode(text.trim()).map_err(unreadable)
}

/// Why something is no signature.
pub fn unreadable(why: impl fmt::Display) -> Reason {
    Reason::Unreadable(why.to_string())
}
