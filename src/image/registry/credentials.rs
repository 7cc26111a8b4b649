//! Passwords and tokens for registries, in the files that Docker and podman keep (config.json; containers-auth.json(5))
//! and in the helper programs that those name (docker-credential-helpers).
//!
//! All files are looked at; the most specific entry wins (podman files credentials for single repositories), the earlier
//! file where two are equal. What is written is Docker's format; fields that are unknown here stay.
//!
//! Invariant: a secret is never in an argument of a process, in a message, or in a file that others may read.

use super::configuration::DOCKER;
use super::keychain;
use crate::error::{Error, Kind, bad_input, kind};
use crate::paths;
use crate::store::lock::Lock;
use crate::store::{atomic, damage};
use anyhow::{Context, Result};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// How Docker files its own registry.
const DOCKER_ENTRY: &str = "https://index.docker.io/v1/";
/// The user that helpers name where the secret is a refresh token.
pub(super) const TOKEN_USER: &str = "<token>";

/// Who somebody is to a registry.
#[derive(Clone)]
pub struct Credential {
    /// The user; empty with tokens.
    pub user: String,
    /// What proves it.
    pub secret: Secret,
    /// The file, entry and helper it is from, for messages.
    pub source: String,
}

/// What proves who somebody is.
#[derive(Clone)]
pub enum Secret {
    /// A password.
    Password(String),
    /// What tokens are made of (`identitytoken`).
    Refresh(String),
    /// A token as it is (`registrytoken`).
    Token(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// Where credentials are read and written.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// `--config`: Docker's directory.
    pub directory: Option<PathBuf>,
    /// `--authfile`: this file and no other.
    pub file: Option<PathBuf>,
}

impl Files {
    /// The files to look into, in order.
    fn all(&self) -> Vec<PathBuf> {
        match &self.file {
            Some(file) => vec![file.clone()],
            None => paths::credential_files(self.directory.as_deref()),
        }
    }

    /// Whether the caller said that this is the file.
    fn is_named(&self, path: &Path) -> bool {
        self.file.is_some()
            || self
                .directory
                .as_ref()
                .is_some_and(|directory| path.starts_with(directory))
            || paths::credential_file_is_named(path)
    }

    /// The file that is written.
    fn own(&self) -> Result<PathBuf> {
        let first = self.all().into_iter().next();
        let nowhere = || {
            bad_input("HOME is not set, so there is no place for credentials")
                .hint("--config DIRECTORY")
        };
        Ok(first.ok_or_else(nowhere)?)
    }

    /// What is known for a repository (`HOST[:PORT]/PATH`, or a host alone).
    pub fn find(&self, name: &str) -> Result<Option<Credential>> {
        let mut best: Option<(usize, Found, PathBuf)> = None;
        for path in self.all() {
            let file = match File::read(&path) {
                // Much needs no credentials; and what of it the caller did not name may be another's.
                Err(error) if kind(&error) == Some(Kind::Denied) && !self.is_named(&path) => {
                    damage::remark(format_args!(
                        "{error:#}: the credentials in it are not used"
                    ));
                    continue;
                }
                file => file?,
            };
            let Some(file) = file else {
                continue;
            };
            if let Some((length, found)) = file.find(name)
                && best.as_ref().is_none_or(|(longest, ..)| length > *longest)
            {
                best = Some((length, found, path));
            }
        }
        match best {
            None => Ok(None),
            Some((_, found, path)) => found.credential(&path),
        }
    }

    /// Keeps somebody's password or identity token for a host; the answer is the file, `None` where a helper keeps it.
    /// A registry's token is nothing to be kept.
    pub fn store(&self, host: &str, user: &str, secret: &Secret) -> Result<Option<PathBuf>> {
        let (name, text, value) = match secret {
            Secret::Password(password) => {
                let auth = BASE64_STANDARD.encode(format!("{user}:{password}"));
                (user, password, json!({"auth": auth}))
            }
            Secret::Refresh(token) => {
                let auth = BASE64_STANDARD.encode(format!("{user}:"));
                let value = json!({"auth": auth, "identitytoken": token});
                (TOKEN_USER, token, value)
            }
            Secret::Token(_) => return Err(bad_input("a registry's token is not kept").into()),
        };
        let path = self.own()?;
        let (_lock, mut file) = File::change(&path)?;
        let entry = entry_of(host);
        if let Some(helper) = file.helper(host) {
            let message = json!({"ServerURL": entry, "Username": name, "Secret": text});
            keychain::call(&helper, "store", message.to_string().as_bytes())?;
            file.entries("auths")?.insert(entry, json!({}));
            file.write(&path)?;
            return Ok(None);
        }
        file.entries("auths")?.insert(entry, value);
        file.write(&path)?;
        Ok(Some(path))
    }

    /// Forgets what is kept for a host; whether there was anything.
    pub fn erase(&self, host: &str) -> Result<bool> {
        let path = self.own()?;
        if !path.exists() {
            return Ok(false);
        }
        let (_lock, mut file) = File::change(&path)?;
        let helper = file.helper(host);
        let entries = file.entries("auths")?;
        let before = entries.len();
        entries.retain(|entry, _| normal(entry) != normal(host));
        let mut erased = entries.len() < before;
        if let Some(helper) = helper {
            let entry = entry_of(host);
            if keychain::call(&helper, "get", entry.as_bytes())?.is_some() {
                keychain::call(&helper, "erase", entry.as_bytes())?;
                erased = true;
            }
        }
        if erased {
            file.write(&path)?;
        }
        Ok(erased)
    }

    /// All hosts that something is kept for in the file that is written.
    pub fn hosts(&self) -> Result<Vec<String>> {
        let mut file = File::read(&self.own()?)?.unwrap_or_default();
        Ok(file
            .entries("auths")?
            .keys()
            .map(|entry| normal(entry))
            .collect())
    }
}

/// How an entry for a host is called.
fn entry_of(host: &str) -> String {
    match host == DOCKER {
        true => DOCKER_ENTRY.to_owned(),
        false => host.to_owned(),
    }
}

/// An entry without what says nothing: the scheme, and for Docker's registry and entries with a scheme, the path.
fn normal(entry: &str) -> String {
    let (scheme, rest) = match entry.split_once("://") {
        Some((_, rest)) => (true, rest),
        None => (false, entry),
    };
    let rest = rest.trim_end_matches('/');
    let host = rest.split('/').next().unwrap_or(rest);
    match host {
        "index.docker.io" | "registry-1.docker.io" => DOCKER.to_owned(),
        DOCKER if scheme => DOCKER.to_owned(),
        host if scheme => host.to_owned(),
        _ => rest.to_owned(),
    }
}

/// One file, with all that is in it.
#[derive(Default)]
struct File(Map<String, Value>);

fn not_yours(path: &Path) -> Error {
    let message = format!("`{}` is not yours to read", path.display());
    Error::new(Kind::Denied, message)
        .hint("`chown` gives it to who is to use it; --authfile names another")
}

/// Where a credential is to be had.
enum Found {
    Entry(String, Value),
    Helper(String, String),
}

impl File {
    /// `None` where there is none.
    fn read(path: &Path) -> Result<Option<Self>> {
        let text = match std::fs::read(path) {
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                return Ok(None);
            }
            // Whether there is one in a directory of somebody else cannot be known.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return match path.symlink_metadata() {
                    Ok(_) => Err(not_yours(path).into()),
                    Err(_) => Ok(None),
                };
            }
            text => text.with_context(|| format!("read `{}`", path.display()))?,
        };
        if text.iter().all(u8::is_ascii_whitespace) {
            return Ok(Some(Self::default()));
        }
        let bad = |error| {
            bad_input(format!("`{}` is no valid JSON: {error}", path.display()))
                .hint("mend it or move it away; `onggi login` writes a new one")
        };
        Ok(Some(Self(serde_json::from_slice(&text).map_err(bad)?)))
    }

    /// To be changed, with nobody else of us changing it meanwhile.
    fn change(path: &Path) -> Result<(Lock, Self)> {
        let directory = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        let mut private = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(private.recursive(true), 0o700)
            .create(directory)
            .with_context(|| format!("create `{}`", directory.display()))?;
        let lock = Lock::directory(directory)?;
        Ok((lock, Self::read(path)?.unwrap_or_default()))
    }

    fn entries(&mut self, key: &str) -> Result<&mut Map<String, Value>> {
        let value = self.0.entry(key).or_insert_with(|| json!({}));
        value
            .as_object_mut()
            .ok_or_else(|| bad_input(format!("`{key}` is no JSON object")).into())
    }

    /// A link to the file stays one.
    fn write(&self, path: &Path) -> Result<()> {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let mut text = serde_json::to_vec_pretty(&self.0)?;
        text.push(b'\n');
        atomic::stream(&path, |out| {
            out.write_all(&text)
                .with_context(|| format!("write `{}`", path.display()))
        })
    }

    /// The program that keeps what belongs to a host.
    fn helper(&self, host: &str) -> Option<String> {
        let helpers = self.0.get("credHelpers").and_then(Value::as_object);
        let own = helpers.and_then(|helpers| {
            let found = helpers.iter().find(|(entry, _)| normal(entry) == host);
            found.and_then(|(_, helper)| helper.as_str())
        });
        let all = self.0.get("credsStore").and_then(Value::as_str);
        own.or(all)
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
    }

    /// The most specific that is here for a name, and how specific it is.
    fn find(&self, name: &str) -> Option<(usize, Found)> {
        let host = name.split('/').next().unwrap_or(name);
        let covers = |entry: &str| {
            let rest = name.strip_prefix(entry);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let entries = self.0.get("auths").and_then(Value::as_object);
        let fitting = entries
            .into_iter()
            .flatten()
            .map(|(entry, value)| (normal(entry), entry, value));
        let filled = |value: &Value| {
            let fields = ["auth", "identitytoken", "registrytoken", "username"];
            fields.iter().any(|field| {
                value
                    .get(field)
                    .and_then(Value::as_str)
                    .is_some_and(|text| !text.is_empty())
            })
        };
        let best = fitting
            .filter(|(normal, _, value)| covers(normal) && filled(value))
            .max_by_key(|(normal, ..)| normal.len());
        let entry = best.map(|(normal, entry, value)| {
            (normal.len(), Found::Entry(entry.clone(), value.clone()))
        });
        let helper = self
            .helper(host)
            .map(|helper| (host.len(), Found::Helper(helper, entry_of(host))));
        match (entry, helper) {
            (Some(entry), Some(helper)) if entry.0 > helper.0 => Some(entry),
            (entry, helper) => helper.or(entry),
        }
    }
}

impl Found {
    fn credential(self, path: &Path) -> Result<Option<Credential>> {
        match self {
            Self::Entry(entry, value) => {
                let source = format!("the entry `{entry}` of `{}`", path.display());
                from_entry(&value, &source).map(Some)
            }
            Self::Helper(helper, entry) => {
                let source = format!(
                    "what docker-credential-{helper} (named in `{}`) has for `{entry}`",
                    path.display()
                );
                let answer = keychain::call(&helper, "get", entry.as_bytes())?;
                answer
                    .map(|answer| keychain::credential(&helper, &answer, source))
                    .transpose()
            }
        }
    }
}

fn from_entry(value: &Value, source: &str) -> Result<Credential> {
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
    let bad =
        || bad_input(format!("{source} is no credential")).hint("`onggi login` writes it anew");
    let (mut user, mut password) = (text("username").to_owned(), text("password").to_owned());
    if !text("auth").is_empty() {
        let decoded = BASE64_STANDARD.decode(text("auth")).map_err(|_| bad())?;
        let decoded = String::from_utf8(decoded).map_err(|_| bad())?;
        let (name, secret) = decoded.split_once(':').ok_or_else(bad)?;
        (user, password) = (name.to_owned(), secret.trim_end_matches('\0').to_owned());
    }
    let secret = match (text("registrytoken"), text("identitytoken")) {
        ("", "") => Secret::Password(password),
        ("", token) => Secret::Refresh(token.to_owned()),
        (token, _) => Secret::Token(token.to_owned()),
    };
    Ok(Credential {
        user,
        secret,
        source: source.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_named_must_be_one_to_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let files = |file: &Path| Files {
            directory: None,
            file: Some(file.to_owned()),
        };
        assert!(
            files(&directory.path().join("none"))
                .find("a.org/x")
                .unwrap()
                .is_none()
        );
        let error = files(directory.path()).find("a.org/x").unwrap_err();
        assert!(format!("{error:#}").contains(directory.path().to_str().unwrap()));
    }

    fn files(text: &str) -> (tempfile::TempDir, Files) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("auth.json"), text).unwrap();
        let file = directory.path().join("auth.json");
        (
            directory,
            Files {
                directory: None,
                file: Some(file),
            },
        )
    }

    fn user(files: &Files, name: &str) -> Option<(String, bool)> {
        let found = files.find(name).unwrap()?;
        Some((found.user, matches!(found.secret, Secret::Password(_))))
    }

    #[test]
    fn the_most_specific_entry_wins() {
        let auth = |user: &str| BASE64_STANDARD.encode(format!("{user}:secret:with:colons"));
        let text = json!({"auths": {
            "https://index.docker.io/v1/": {"auth": auth("hub")},
            "a.org": {"auth": auth("host")},
            "a.org/team": {"auth": auth("team")},
            "https://b.org/v2/": {"auth": auth("b"), "identitytoken": "refresh"},
            "c.org": {},
            "d.org:5000": {"username": "d", "password": "p"},
        }});
        let (_directory, files) = files(&text.to_string());
        for (name, expected) in [
            ("docker.io/library/alpine", Some(("hub", true))),
            ("a.org/other/x", Some(("host", true))),
            ("a.org/team/x", Some(("team", true))),
            ("a.org/teams/x", Some(("host", true))),
            ("b.org/x", Some(("b", false))),
            ("c.org/x", None),
            ("d.org:5000/x", Some(("d", true))),
            ("d.org/x", None),
        ] {
            let expected = expected.map(|(user, password)| (user.to_owned(), password));
            assert_eq!(user(&files, name), expected, "{name}");
        }
        let found = files.find("a.org/x").unwrap().unwrap();
        assert!(matches!(&found.secret, Secret::Password(text) if text == "secret:with:colons"));
        assert!(found.source.contains("entry `a.org`") && !format!("{found:?}").contains("secret"));
    }

    #[test]
    fn what_is_unknown_stays_and_nobody_else_may_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let (_directory, files) =
            files(r#"{"HttpHeaders":{"x":"y"},"auths":{"z.org":{"auth":"eTp6","email":"e"}}}"#);
        let path = files.file.clone().unwrap();
        let password = Secret::Password("pass".to_owned());
        files.store("docker.io", "me", &password).unwrap();
        let text: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(text["HttpHeaders"]["x"], "y");
        assert_eq!(text["auths"]["z.org"]["email"], "e");
        assert_eq!(
            text["auths"][DOCKER_ENTRY]["auth"],
            BASE64_STANDARD.encode("me:pass")
        );
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            user(&files, "docker.io/library/x"),
            Some(("me".to_owned(), true))
        );
        assert!(files.erase("docker.io").unwrap());
        assert!(!files.erase("docker.io").unwrap());
        assert_eq!(files.hosts().unwrap(), ["z.org"]);
    }

    #[test]
    fn damaged_files_are_told_without_their_secrets() {
        for text in [
            "{",
            r#"{"auths":{"a.org":{"auth":"%%%"}}}"#,
            r#"{"auths":{"a.org":{"auth":"c2VjcmV0"}}}"#,
        ] {
            let (_directory, files) = files(text);
            let error = format!("{:#}", files.find("a.org/x").unwrap_err());
            assert!(
                !error.contains("secret") && error.contains("auth.json"),
                "{error}"
            );
        }
        let (_directory, files) = files(" \n");
        assert!(files.find("a.org/x").unwrap().is_none());
    }
}
