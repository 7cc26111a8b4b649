//! Who asks a git server over HTTP: the secrets `GIT_AUTH_TOKEN` and `GIT_AUTH_HEADER`, or those of one host
//! (`GIT_AUTH_TOKEN.HOST`). <https://docs.docker.com/build/building/secrets/#git-authentication-for-remote-contexts>
//!
//! Invariant: what is secret is in no argument, no variable of the environment, and on no disk: git reads it as
//! configuration out of memory.

use crate::build::order::Secret;
use crate::error::{Error, bad_input};
use anyhow::{Context, Result};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustix::fs::{MemfdFlags, memfd_create};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

/// The user that a token stands for, whoever has it.
const USER: &str = "x-access-token";
/// One token is for all repositories there.
const WHOLE: [&str; 2] = ["https://github.com/", "https://www.github.com/"];

/// What is sent to a server.
#[derive(Debug)]
pub struct Login {
    /// To addresses that begin like this.
    scope: String,
    /// Behind `Authorization: `.
    header: String,
}

/// What the secrets have for an address, if it is one of HTTP.
pub fn login(url: &str, secrets: &BTreeMap<String, Secret>) -> Result<Option<Login>> {
    let Some(host) = host(url) else {
        return Ok(None);
    };
    let name = host.split(':').next().unwrap_or(host);
    for place in [Some(host), Some(name), None] {
        for (kind, is_token) in [("GIT_AUTH_HEADER", false), ("GIT_AUTH_TOKEN", true)] {
            let id = place.map_or(kind.to_owned(), |place| format!("{kind}.{place}"));
            let found = secrets.get(&id).map(Secret::read).transpose()?;
            let found = found.filter(|bytes| !bytes.is_empty());
            if let Some(text) = found.map(|bytes| checked(&id, bytes)).transpose()? {
                let encoded = || BASE64_STANDARD.encode(format!("{USER}:{text}"));
                let header = if is_token {
                    format!("basic {}", encoded())
                } else {
                    text
                };
                let whole = WHOLE.iter().find(|whole| url.starts_with(**whole));
                let scope = whole.map_or(url, |whole| *whole).to_owned();
                return Ok(Some(Login { scope, header }));
            }
        }
    }
    Ok(None)
}

/// With its port.
fn host(url: &str) -> Option<&str> {
    let rest = ["https://", "http://"].iter().find_map(|scheme| {
        let start = url.get(..scheme.len())?;
        start
            .eq_ignore_ascii_case(scheme)
            .then(|| &url[scheme.len()..])
    })?;
    let authority = rest.split('/').next().unwrap_or(rest);
    Some(
        authority
            .rsplit_once('@')
            .map_or(authority, |(_, host)| host),
    )
}

/// Without the end of the line that files have. A line more would be a header more.
fn checked(id: &str, bytes: Vec<u8>) -> Result<String, Error> {
    let text = String::from_utf8(bytes).unwrap_or_default();
    let text = text.trim_end_matches(['\r', '\n']);
    match text.is_empty() || text.contains(char::is_control) {
        false => Ok(text.to_owned()),
        true => Err(bad_input(format!("the secret {id} is no line of text"))),
    }
}

impl Login {
    /// Git's configuration that says so, in memory; git and what it starts inherit the descriptor.
    pub fn configuration(&self) -> Result<OwnedFd> {
        // git-config(1), "Syntax".
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let (scope, header) = (quoted(&self.scope), quoted(&self.header));
        let text = format!("[http \"{scope}\"]\n\textraHeader = \"Authorization: {header}\"\n");
        let file = memfd_create("git", MemfdFlags::empty()).context("memfd_create")?;
        let mut file = File::from(file);
        file.write_all(text.as_bytes())
            .context("write into memory")?;
        Ok(file.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn the_secret_of_the_host_comes_first() {
        let directory = tempfile::tempdir().unwrap();
        let secret = |name: &str, text: &str| {
            let path: PathBuf = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            (name.to_owned(), Secret::File(path))
        };
        let all = BTreeMap::from([
            secret("GIT_AUTH_TOKEN", "any\n"),
            secret("GIT_AUTH_TOKEN.h", "own"),
            secret("GIT_AUTH_HEADER.h:8", "bearer x"),
            secret("GIT_AUTH_TOKEN.bad", "a\nb"),
        ]);
        for (url, expected) in [
            (
                "https://github.com/a/b.git",
                Some(("https://github.com/", "basic eC1hY2Nlc3MtdG9rZW46YW55")),
            ),
            (
                "https://h/a.git",
                Some(("https://h/a.git", "basic eC1hY2Nlc3MtdG9rZW46b3du")),
            ),
            (
                "http://u:p@h:8/a.git",
                Some(("http://u:p@h:8/a.git", "bearer x")),
            ),
            ("ssh://git@h/a.git", None),
            ("git@h:a.git", None),
        ] {
            let found = login(url, &all).unwrap();
            let found = found.as_ref().map(|found| (&*found.scope, &*found.header));
            assert_eq!(found, expected, "{url}");
        }
        let error = login("https://bad/x.git", &all).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the secret GIT_AUTH_TOKEN.bad is no line of text"
        );
        assert!(
            login("https://h/a.git", &BTreeMap::new())
                .unwrap()
                .is_none()
        );
    }
}
