//! Changes of the caller's policy: one scope is set or taken away, and everything else stays as it is written, known or
//! not. A caller without a file of his own begins with a copy of the machine's, which no longer counts then.
//!
//! Invariant: the file is there whole at any moment; of two who change it at once, none undoes what the other did.

use super::node;
use super::policy::{DEFAULT, DOCKER, Policy, is_prefix};
use crate::error::{Error, bad_input, not_found};
use crate::image::import::TARBALL;
use crate::image::reference::Reference;
use crate::paths;
use crate::store::atomic;
use crate::store::lock::Lock;
use anyhow::{Context, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Transports of files, as podman names them.
pub const FILES: [&str; 5] = ["docker-archive", "oci-archive", "oci", "dir", TARBALL];

/// What a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything that no other rule is about.
    Default,
    /// Names of a transport; the text as in the file, empty for all.
    Of(&'static str, String),
}

impl FromStr for Scope {
    type Err = Error;

    /// `default`, an image, a repository, the beginning of repositories, a host, `*.DOMAIN`, or `TRANSPORT:[PATH]`. A
    /// short name is one of Docker's registry.
    fn from_str(text: &str) -> Result<Self, Error> {
        if text == DEFAULT {
            return Ok(Self::Default);
        }
        if text.strip_suffix(':') == Some(DOCKER) {
            return Ok(Self::Of(DOCKER, String::new()));
        }
        if let Some((transport, path)) = text.split_once(':')
            && let Some(transport) = FILES.iter().find(|known| **known == transport)
            && (path.is_empty() || (path.starts_with('/') && *transport != TARBALL))
        {
            return Ok(Self::Of(transport, path.to_owned()));
        }
        let invalid = || {
            bad_input(format!("`{text}` is no scope")).hint(
                "scopes are an image (alpine:3.20), a repository (ghcr.io/acme/app), what such begin with (ghcr.io/acme), a \
                 host (ghcr.io), *.DOMAIN, or `default`",
            )
        };
        let name = text.strip_suffix('/').unwrap_or(text);
        if let Some(domain) = name.strip_prefix("*.") {
            let is_domain = !domain.contains(['/', ':']) && is_prefix(&format!("x.{domain}"));
            return match is_domain {
                true => Ok(Self::Of(DOCKER, name.to_owned())),
                false => Err(invalid()),
            };
        }
        if is_host(name) || (name.contains('/') && is_prefix(name)) {
            return Ok(Self::Of(DOCKER, name.to_owned()));
        }
        let name: Reference = text.parse().map_err(|_| invalid())?;
        if name.tag().is_some() && name.digest().is_some() {
            return Err(invalid());
        }
        Ok(Self::Of(DOCKER, name.canonical()))
    }
}

/// What stands alone and is a host rather than an image of Docker's registry.
fn is_host(name: &str) -> bool {
    let (host, port) = name.rsplit_once(':').unwrap_or((name, "0"));
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    !name.contains('/')
        && is_prefix(name)
        && (host.contains('.') || host == "localhost" || host.ends_with(']'))
        && is_port
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str(DEFAULT),
            Self::Of(DOCKER, name) if !name.is_empty() => f.write_str(name),
            Self::Of(transport, name) => write!(f, "{transport}:{name}"),
        }
    }
}

/// What is to be true of a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// One of these keys, in PEM, must have signed.
    Keys(Vec<Vec<u8>>),
    /// Nothing.
    Accept,
    /// Nothing comes in.
    Reject,
}

impl Change {
    fn requirement(&self) -> Value {
        let data = |pem: &Vec<u8>| Value::String(BASE64_STANDARD.encode(pem));
        let mut requirement = match self {
            Self::Accept => json!({"type": "insecureAcceptAnything"}),
            Self::Reject => json!({"type": "reject"}),
            // What podman reads in old versions too.
            Self::Keys(keys) if keys.len() == 1 => {
                json!({"type": "sigstoreSigned", "keyData": data(&keys[0])})
            }
            Self::Keys(keys) => {
                json!({"type": "sigstoreSigned", "keyDatas": keys.iter().map(data).collect::<Vec<_>>()})
            }
        };
        if matches!(self, Self::Keys(_)) {
            // `cosign` signs for repositories, not for tags.
            requirement["signedIdentity"] = json!({"type": "matchRepository"});
        }
        requirement
    }
}

/// What has become of a policy.
#[derive(Debug)]
pub struct Changed {
    /// The file.
    pub file: PathBuf,
    /// The file that it began with, if it was not there before.
    pub copied: Option<PathBuf>,
    /// As it is now; what is wrong with it where it cannot be read.
    pub policy: Result<Policy, Error>,
}

/// Sets what must be true of a scope.
pub fn add(scope: &Scope, change: &Change) -> Result<Changed> {
    let list = Value::Array(vec![change.requirement()]);
    edit(|policy| {
        match scope {
            Scope::Default => policy.insert(DEFAULT.to_owned(), list),
            Scope::Of(transport, name) => {
                let transports = object(policy, "transports")?;
                object(transports, transport)?.insert(name.clone(), list)
            }
        };
        Ok(())
    })
}

/// Takes away what is said of a scope.
pub fn remove(scope: &Scope) -> Result<Changed> {
    edit(|policy| {
        let removed = match scope {
            Scope::Default => {
                return Err(
                    bad_input("a policy always says what becomes of all other images").hint(
                        "`onggi trust add default --accept` takes them in, `--reject` refuses them",
                    ),
                );
            }
            Scope::Of(transport, name) => policy
                .get_mut("transports")
                .and_then(|transports| transports.get_mut(transport))
                .and_then(Value::as_object_mut)
                .and_then(|scopes| scopes.shift_remove(name)),
        };
        match removed {
            Some(_) => Ok(()),
            None => Err(not_found(format!("the policy says nothing of `{scope}`"))
                .hint("`onggi trust ls` shows all that it says")),
        }
    })
}

fn edit(change: impl FnOnce(&mut Map<String, Value>) -> Result<(), Error>) -> Result<Changed> {
    let own = paths::user_policy().ok_or_else(|| {
        bad_input("neither HOME nor XDG_CONFIG_HOME is set, so there is no place for a policy")
            .hint("set HOME, or edit the policy of the machine by hand")
    })?;
    // Links stay what they are.
    let file = std::fs::canonicalize(&own).unwrap_or(own);
    let directory = file.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(directory)
        .with_context(|| format!("create `{}`", directory.display()))?;
    let _lock = Lock::directory(directory)?;
    let (mut text, mut copied) = (read(&file)?, None);
    if text.is_none() {
        for other in paths::policy_files()
            .into_iter()
            .filter(|other| *other != file)
        {
            text = read(&other)?;
            copied = text.is_some().then_some(other);
        }
    }
    let accept_all = || format!("{{\"{DEFAULT}\": [{}]}}", Change::Accept.requirement());
    let text = text.unwrap_or_else(accept_all);
    let unreadable = |error: Error| {
        bad_input(format!(
            "the policy `{}`: {}",
            file.display(),
            error.message
        ))
    };
    let mut policy = node::parse(&text).map_err(unreadable)?;
    let top = policy
        .as_object_mut()
        .ok_or_else(|| unreadable(bad_input("it should be an object")))?;
    change(top)?;
    let text = format!("{policy:#}\n");
    atomic::replace(&file, text.as_bytes())?;
    Ok(Changed {
        policy: Policy::parse(&file, &text),
        file,
        copied,
    })
}

fn read(file: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(file) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        text => text
            .map(Some)
            .with_context(|| format!("read `{}`", file.display())),
    }
}

/// A member that is an object, made where there is none.
fn object<'a>(
    parent: &'a mut Map<String, Value>,
    key: &str,
) -> Result<&'a mut Map<String, Value>, Error> {
    parent
        .entry(key)
        .or_insert_with(|| Value::Object(Map::new()))
        .as_object_mut()
        .ok_or_else(|| bad_input(format!("`{key}` in the policy should be an object")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_hosts_names_and_beginnings_of_names() {
        for (text, scope) in [
            ("default", "default"),
            ("alpine", "docker.io/library/alpine"),
            ("alpine:3", "docker.io/library/alpine:3"),
            ("alpine:3.20", "docker.io/library/alpine:3.20"),
            ("acme/app", "docker.io/acme/app"),
            ("ghcr.io", "ghcr.io"),
            ("ghcr.io/", "ghcr.io"),
            ("docker.io", "docker.io"),
            ("docker.io/library", "docker.io/library"),
            ("localhost", "localhost"),
            ("localhost:5000", "localhost:5000"),
            ("127.0.0.1:5000", "127.0.0.1:5000"),
            ("[::1]:5000", "[::1]:5000"),
            ("ghcr.io/acme", "ghcr.io/acme"),
            ("ghcr.io/acme/app:1", "ghcr.io/acme/app:1"),
            ("*.example.com", "*.example.com"),
            ("docker:", "docker:"),
            ("docker-archive:", "docker-archive:"),
            ("oci:/srv/images", "oci:/srv/images"),
            ("tarball:", "tarball:"),
            ("oci:1", "docker.io/library/oci:1"),
        ] {
            assert_eq!(text.parse::<Scope>().unwrap().to_string(), scope, "{text}");
        }
        for text in [
            "",
            "*",
            "*.",
            "*.a.org/x",
            "a b",
            "Alpine",
            "ghcr.io/../x",
            "dir:x/",
            "tarball:/srv",
        ] {
            assert!(text.parse::<Scope>().is_err(), "{text}");
        }
    }
}
