//! Public keys: PEM with a SubjectPublicKeyInfo (RFC 7468, RFC 5280 4.1.2.7), as `cosign`, `skopeo` and `openssl`
//! write them, and what they verify. No certificates, no private keys, no GPG.
//!
//! Invariant: the key alone decides the algorithm; nothing that comes with a signature does.

use crate::error::{Error, bad_input};
use crate::image::digest::Digest;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use rustls::pki_types::alg_id;
use std::fmt;

/// Kinds of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    P256,
    P384,
    Ed25519,
    Rsa(usize),
}

/// A key that can verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    kind: Kind,
    /// The content of the BIT STRING (RFC 5280, `subjectPublicKey`).
    bytes: Vec<u8>,
    fingerprint: Digest,
}

/// What to try with any other key.
const SUPPORTED: &str = "keys are ECDSA on P-256 or P-384, Ed25519, or RSA of 2048 to 8192 bits: `cosign generate-key-pair` makes one";

/// Tags of DER (X.690).
const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
const INTEGER: u8 = 0x02;

impl Key {
    /// Reads the first block of a PEM text.
    pub fn parse(pem: &[u8]) -> Result<Self, Error> {
        let (label, der) = decode(pem)?;
        match label {
            "PUBLIC KEY" => {}
            label if label.ends_with("PRIVATE KEY") => {
                return Err(bad_input("it is a private key, and the public one is wanted")
                    .hint("`cosign public-key --key FILE` or `openssl pkey -pubout -in FILE` tells it"));
            }
            label => {
                return Err(
                    bad_input(format!("it is a `{label}`, not a `PUBLIC KEY`")).hint(SUPPORTED)
                );
            }
        }
        let Some((algorithm, bytes)) = public_key_info(&der) else {
            return Err(bad_input("it is damaged: it is no SubjectPublicKeyInfo").hint(SUPPORTED));
        };
        let kind = kind(algorithm, bytes)?;
        Ok(Self {
            kind,
            bytes: bytes.to_vec(),
            fingerprint: Digest::of(&der),
        })
    }

    /// Whether the owner of the key has signed the message.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        // Signers hash with SHA-256 whatever the curve, or with what suits it; RSA comes with either padding.
        let algorithms: [&dyn VerificationAlgorithm; 2] = match self.kind {
            Kind::P256 => [
                &signature::ECDSA_P256_SHA256_ASN1,
                &signature::ECDSA_P256_SHA384_ASN1,
            ],
            Kind::P384 => [
                &signature::ECDSA_P384_SHA256_ASN1,
                &signature::ECDSA_P384_SHA384_ASN1,
            ],
            Kind::Ed25519 => [&signature::ED25519; 2],
            Kind::Rsa(_) => [
                &signature::RSA_PKCS1_2048_8192_SHA256,
                &signature::RSA_PSS_2048_8192_SHA256,
            ],
        };
        algorithms.into_iter().any(|algorithm| {
            UnparsedPublicKey::new(algorithm, &self.bytes)
                .verify(message, signature)
                .is_ok()
        })
    }
}

impl fmt::Display for Key {
    /// Its kind and the first digits of the digest of its DER form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::P256 => f.write_str("ECDSA P-256")?,
            Kind::P384 => f.write_str("ECDSA P-384")?,
            Kind::Ed25519 => f.write_str("Ed25519")?,
            Kind::Rsa(bits) => write!(f, "RSA {bits}")?,
        }
        write!(f, " key sha256:{}", self.fingerprint.short())
    }
}

/// Label and content of the first block of a PEM text.
fn decode(pem: &[u8]) -> Result<(&str, Vec<u8>), Error> {
    let block = || {
        let text = std::str::from_utf8(pem).ok()?;
        let (_, rest) = text.split_once("-----BEGIN ")?;
        let (label, rest) = rest.split_once("-----")?;
        let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
        Some((label, body))
    };
    let no_pem =
        || bad_input("it is no key in PEM, which begins with `-----BEGIN PUBLIC KEY-----`");
    let (label, body) = block().ok_or_else(no_pem)?;
    // Lines of a header, as encrypted keys have them, need not be read to refuse by the label.
    if label != "PUBLIC KEY" {
        return Ok((label, Vec::new()));
    }
    let body: String = body.split_ascii_whitespace().collect();
    let der = BASE64_STANDARD
        .decode(body)
        .map_err(|error| bad_input(format!("it is damaged: {error}")))?;
    Ok((label, der))
}

/// Algorithm and key of a SubjectPublicKeyInfo.
fn public_key_info(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (whole, end) = element(der, SEQUENCE)?;
    let (algorithm, rest) = element(whole, SEQUENCE)?;
    let (bits, rest) = element(rest, BIT_STRING)?;
    let bytes = bits.strip_prefix(&[0])?;
    (end.is_empty() && rest.is_empty()).then_some((algorithm, bytes))
}

/// The content of the first element, which must have that tag, and what follows it (DER: the shortest length).
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let rest = der.strip_prefix(&[tag])?;
    let (length, rest) = match *rest {
        [length @ 0..=0x7f, ref rest @ ..] => (usize::from(length), rest),
        [0x81, length @ 0x80..=0xff, ref rest @ ..] => (usize::from(length), rest),
        [0x82, high @ 1..=0xff, low, ref rest @ ..] => {
            (usize::from(high) << 8 | usize::from(low), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

fn kind(algorithm: &[u8], key: &[u8]) -> Result<Kind, Error> {
    let kind = match algorithm {
        id if id == alg_id::ECDSA_P256.as_ref() => (key.len() == 65).then_some(Kind::P256),
        id if id == alg_id::ECDSA_P384.as_ref() => (key.len() == 97).then_some(Kind::P384),
        id if id == alg_id::ED25519.as_ref() => (key.len() == 32).then_some(Kind::Ed25519),
        id if id == alg_id::RSA_ENCRYPTION.as_ref() => modulus_bits(key).map(Kind::Rsa),
        _ => return Err(bad_input("keys of its kind are not supported").hint(SUPPORTED)),
    };
    match kind {
        Some(Kind::Rsa(bits)) if !(2048..=8192).contains(&bits) => {
            Err(bad_input(format!("it is an RSA key of {bits} bits")).hint(SUPPORTED))
        }
        Some(kind) => Ok(kind),
        None => Err(bad_input("it is damaged: it has not the length of its kind").hint(SUPPORTED)),
    }
}

/// The length of an RSA key (RFC 8017, A.1.1).
fn modulus_bits(key: &[u8]) -> Option<usize> {
    let (whole, _) = element(key, SEQUENCE)?;
    let (modulus, _) = element(whole, INTEGER)?;
    let modulus = modulus.strip_prefix(&[0]).unwrap_or(modulus);
    let first = modulus.first()?;
    Some(modulus.len() * 8 - first.leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};

    fn pem(label: &str, der: &[u8]) -> String {
        let body = BASE64_STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    }

    fn info(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
        let mut der = vec![SEQUENCE, u8::try_from(algorithm.len()).unwrap()];
        der.extend(algorithm);
        der.extend([BIT_STRING, u8::try_from(key.len() + 1).unwrap(), 0]);
        der.extend(key);
        der.splice(0..0, [SEQUENCE, u8::try_from(der.len()).unwrap()]);
        der
    }

    #[test]
    fn keys_verify_what_they_have_signed_and_nothing_else() {
        let random = SystemRandom::new();
        let signing = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(signing, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(signing, document.as_ref(), &random).unwrap();
        let public = info(alg_id::ECDSA_P256.as_ref(), pair.public_key().as_ref());
        let key = Key::parse(pem("PUBLIC KEY", &public).as_bytes()).unwrap();
        assert!(key.to_string().starts_with("ECDSA P-256 key sha256:"));
        let signature = pair.sign(&random, b"clay").unwrap();
        assert!(key.verifies(b"clay", signature.as_ref()));
        assert!(!key.verifies(b"cla", signature.as_ref()));
        assert!(!key.verifies(b"clay", &signature.as_ref()[..20]));
        assert!(!key.verifies(b"clay", b""));

        let document = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
        let public = info(alg_id::ED25519.as_ref(), pair.public_key().as_ref());
        let other = Key::parse(pem("PUBLIC KEY", &public).as_bytes()).unwrap();
        let own = pair.sign(b"clay");
        assert!(other.verifies(b"clay", own.as_ref()));
        assert!(!key.verifies(b"clay", own.as_ref()));
        assert!(!other.verifies(b"clay", signature.as_ref()));
    }

    #[test]
    fn what_is_no_usable_key_is_told() {
        let p256 = info(alg_id::ECDSA_P256.as_ref(), &[4; 65]);
        let rsa = |first: u8| {
            let integer = [&[INTEGER, 0x82, 1, 0, first][..], &[0; 255]].concat();
            [&[SEQUENCE, 0x82, 1, 4][..], &integer].concat()
        };
        assert_eq!(modulus_bits(&rsa(0x80)), Some(2048));
        for (text, part) in [
            (String::new(), "no key in PEM"),
            (
                "-----BEGIN PUBLIC KEY-----\nAAAA".to_owned(),
                "no key in PEM",
            ),
            (
                "-----BEGIN PUBLIC KEY-----\n%\n-----END PUBLIC KEY-----".to_owned(),
                "damaged",
            ),
            (pem("PUBLIC KEY", b""), "damaged"),
            (pem("PUBLIC KEY", &p256[..40]), "damaged"),
            (pem("PUBLIC KEY", &[&p256[..], b"x"].concat()), "damaged"),
            (
                pem("PUBLIC KEY", &info(alg_id::ECDSA_P384.as_ref(), &[4; 65])),
                "length of its kind",
            ),
            (
                pem("PUBLIC KEY", &info(b"\x06\x01\x01", &[4; 65])),
                "not supported",
            ),
            (pem("ENCRYPTED SIGSTORE PRIVATE KEY", b"x"), "private key"),
            (pem("CERTIFICATE", b"x"), "`CERTIFICATE`"),
        ] {
            let error = Key::parse(text.as_bytes()).unwrap_err().message;
            assert!(error.contains(part), "{text}: {error}");
        }
        let short = kind(alg_id::RSA_ENCRYPTION.as_ref(), &rsa(1)).unwrap_err();
        assert_eq!(short.message, "it is an RSA key of 2041 bits");
    }
}
