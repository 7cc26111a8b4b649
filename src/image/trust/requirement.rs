//! One thing that must be true of an image (containers-policy.json(5), "POLICY REQUIREMENTS"), and how it is read.

use super::identity::Identity;
use super::key::Key;
use super::node::Node;
use super::policy::is_prefix;
use crate::error::Error;
use crate::image::reference::Reference;
use anyhow::{Context, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use std::path::{Path, PathBuf};

/// One thing that must be true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// `insecureAcceptAnything`: nothing.
    Accept,
    /// `reject`: what never is.
    Reject,
    /// `sigstoreSigned` with keys.
    Signed(Signed),
    /// Something that only other programs can find out; the text names it.
    Unsupported(String),
}

/// A signature is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Where the keys are; one of them is enough.
    pub keys: Vec<KeySource>,
    /// For which name.
    pub identity: Identity,
}

/// Where a key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// `keyPath`.
    File(PathBuf),
    /// `keyData`, decoded: PEM.
    Data(Vec<u8>),
}

impl KeySource {
    /// Reads the key.
    pub fn key(&self) -> Result<Key> {
        match self {
            Self::File(path) => read_key(path),
            Self::Data(pem) => Key::parse(pem).context("read a key of the policy"),
        }
    }
}

/// The longest file of a key.
const LONGEST_KEY: u64 = 64 << 10;

/// Reads a key of a file.
pub fn read_key(path: &Path) -> Result<Key> {
    use std::io::Read;
    let mut pem = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LONGEST_KEY).read_to_end(&mut pem))
        .with_context(|| format!("read the key `{}`", path.display()))?;
    Key::parse(&pem).with_context(|| format!("read the key `{}`", path.display()))
}

/// What a policy says of a set of names.
pub type Requirements = Vec<Requirement>;

/// Reads a list of requirements.
pub fn requirements(list: &Node) -> Result<Requirements, Error> {
    let items = list.list()?;
    if items.is_empty() {
        return Err(list.wrong("it is empty, and at least one requirement must stand there"));
    }
    items.iter().map(requirement).collect()
}

const GPG: &[&str] = &[
    "type",
    "keyType",
    "keyPath",
    "keyPaths",
    "keyData",
    "signedIdentity",
];
const SIGSTORE: &[&str] = &[
    "type",
    "keyPath",
    "keyPaths",
    "keyData",
    "keyDatas",
    "fulcio",
    "pki",
    "rekorPublicKeyPath",
    "rekorPublicKeyPaths",
    "rekorPublicKeyData",
    "rekorPublicKeyDatas",
    "signedIdentity",
];

fn requirement(node: &Node) -> Result<Requirement, Error> {
    match node.kind()? {
        "insecureAcceptAnything" => node.object(&["type"]).map(|_| Requirement::Accept),
        "reject" => node.object(&["type"]).map(|_| Requirement::Reject),
        "signedBy" => {
            node.object(GPG)?;
            Ok(Requirement::Unsupported(
                "a signature by GPG (`signedBy`)".to_owned(),
            ))
        }
        "signedBaseLayer" => {
            node.object(&["type", "baseLayerIdentity"])?;
            Ok(Requirement::Unsupported(
                "a signature of its lowest layer (`signedBaseLayer`)".to_owned(),
            ))
        }
        "sigstoreSigned" => sigstore(node),
        other => Err(node.wrong(&format!("the type `{other}` is unknown"))),
    }
}

fn sigstore(node: &Node) -> Result<Requirement, Error> {
    let fields = node.object(SIGSTORE)?;
    let identity = match fields.get("signedIdentity") {
        Some(given) => identity(given)?,
        None => Identity::MatchRepoDigestOrExact,
    };
    let mut sources = Vec::new();
    for (name, field) in &fields {
        let many = || match name.ends_with('s') {
            true => field.texts(),
            false => Ok(vec![field.text()?]),
        };
        match *name {
            "keyPath" | "keyPaths" => {
                let files = many()?
                    .into_iter()
                    .map(|path| KeySource::File(PathBuf::from(path)));
                sources.push(files.collect::<Vec<_>>());
            }
            "keyData" | "keyDatas" => {
                let decode = |text: &str| {
                    let pem = BASE64_STANDARD.decode(text);
                    pem.map(KeySource::Data)
                        .map_err(|error| field.wrong(&format!("it is no base64: {error}")))
                };
                sources.push(many()?.into_iter().map(decode).collect::<Result<_, _>>()?);
            }
            "fulcio" | "pki" => sources.push(Vec::new()),
            _ => {}
        }
    }
    let [keys] = sources.as_mut_slice() else {
        let ways = "one of `keyPath`, `keyPaths`, `keyData`, `keyDatas`, `fulcio`, `pki`";
        return Err(node.wrong(&format!("it must have {ways}, and has {}", sources.len())));
    };
    let unsupported =
        |name: &&&str| matches!(**name, "fulcio" | "pki") || name.starts_with("rekor");
    if let Some(name) = fields.keys().find(unsupported) {
        let what = match *name {
            "fulcio" | "pki" => format!("a signature without a key of its own (`{name}`)"),
            _ => format!("an entry in a public log (`{name}`)"),
        };
        return Ok(Requirement::Unsupported(what));
    }
    if keys.is_empty() {
        return Err(node.wrong("it has no key"));
    }
    Ok(Requirement::Signed(Signed {
        keys: std::mem::take(keys),
        identity,
    }))
}

fn identity(node: &Node) -> Result<Identity, Error> {
    let only = |known: &[&str], identity| node.object(known).map(|_| identity);
    let reference = |key: &'static str| {
        let fields = node.object(&["type", key])?;
        let field = fields
            .get(key)
            .ok_or_else(|| node.wrong(&format!("`{key}` is missing")))?;
        let name: Reference = field
            .text()?
            .parse()
            .map_err(|error: Error| field.wrong(&error.message))?;
        Ok::<_, Error>((name, field.text()?.to_owned()))
    };
    match node.kind()? {
        "matchExact" => only(&["type"], Identity::MatchExact),
        "matchRepoDigestOrExact" => only(&["type"], Identity::MatchRepoDigestOrExact),
        "matchRepository" => only(&["type"], Identity::MatchRepository),
        "exactReference" => match reference("dockerReference")? {
            (name, text) if name.tag().is_none() && name.digest().is_none() => {
                Err(node.wrong(&format!("`{text}` has neither tag nor digest")))
            }
            (name, _) => Ok(Identity::ExactReference(name)),
        },
        "exactRepository" => match reference("dockerRepository")? {
            (name, text) if name.tag().is_some() || name.digest().is_some() => {
                Err(node.wrong(&format!("`{text}` is no repository")))
            }
            (name, _) => Ok(Identity::ExactRepository(name)),
        },
        "remapIdentity" => {
            let fields = node.object(&["type", "prefix", "signedPrefix"])?;
            let prefix = |key: &str| {
                let field = fields
                    .get(key)
                    .ok_or_else(|| node.wrong(&format!("`{key}` is missing")))?;
                let text = field.text()?;
                match is_prefix(text) {
                    true => Ok(text.to_owned()),
                    false => Err(field.wrong(&format!(
                        "`{text}` is neither a host nor a repository of one"
                    ))),
                }
            };
            Ok(Identity::Remap {
                prefix: prefix("prefix")?,
                signed: prefix("signedPrefix")?,
            })
        }
        other => Err(node.wrong(&format!("the type `{other}` is unknown"))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::policy::Policy;
    use super::*;
    use serde_json::json;

    fn policy(text: &str) -> Result<Policy, Error> {
        Policy::parse(Path::new("/p/policy.json"), text)
    }

    fn signed(identity: &serde_json::Value) -> serde_json::Value {
        json!([{"type": "sigstoreSigned", "keyPath": "/k", "signedIdentity": identity}])
    }

    #[test]
    fn what_only_others_can_check_is_named() {
        for (requirement, part) in [
            (
                json!({"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k"}),
                "GPG",
            ),
            (
                json!({"type": "sigstoreSigned", "fulcio": {}, "rekorPublicKeyPath": "/r"}),
                "`fulcio`",
            ),
            (json!({"type": "sigstoreSigned", "pki": {}}), "`pki`"),
            (
                json!({"type": "sigstoreSigned", "keyPath": "/k", "rekorPublicKeyData": ""}),
                "`rekorPublicKeyData`",
            ),
        ] {
            let policy = policy(&json!({"default": [requirement]}).to_string()).unwrap();
            assert!(
                matches!(&policy.default[..], [Requirement::Unsupported(what)] if what.contains(part))
            );
        }
    }

    #[test]
    fn signatures_are_wanted_for_names() {
        for (identity, expected) in [
            (
                json!({"type": "matchRepository"}),
                Identity::MatchRepository,
            ),
            (
                json!({"type": "exactRepository", "dockerRepository": "a.org/x"}),
                Identity::ExactRepository("a.org/x".parse().unwrap()),
            ),
            (
                json!({"type": "remapIdentity", "prefix": "m.org:5000", "signedPrefix": "docker.io/library"}),
                Identity::Remap {
                    prefix: "m.org:5000".to_owned(),
                    signed: "docker.io/library".to_owned(),
                },
            ),
        ] {
            let policy = policy(&json!({"default": signed(&identity)}).to_string()).unwrap();
            assert!(
                matches!(&policy.default[..], [Requirement::Signed(wanted)] if wanted.identity == expected)
            );
        }
        let bare =
            policy(r#"{"default":[{"type":"sigstoreSigned","keyPaths":["/a","/b"]}]}"#).unwrap();
        let [Requirement::Signed(wanted)] = &bare.default[..] else {
            panic!("{bare:?}");
        };
        assert_eq!(
            (wanted.keys.len(), &wanted.identity),
            (2, &Identity::MatchRepoDigestOrExact)
        );
    }
}
