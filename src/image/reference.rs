//! Names of images by Docker's rules (distribution/reference, "Grammar"): `alpine` means
//! `docker.io/library/alpine:latest`, and is shown as `alpine:latest`.
//!
//! Not a name: an image id or a prefix of one; [`super::store::find`] knows those. Invariant: domain, path, tag
//! and digest of a [`Reference`] follow the grammar, so that none holds a space, a control character or `..`.

use super::digest::Digest;
use crate::error::{Error, bad_input};
use std::fmt;
use std::str::FromStr;

/// The registry that a name without one is in.
pub const DEFAULT_DOMAIN: &str = "docker.io";
/// The hosts that serve it.
const DOCKER_DOMAINS: [&str; 3] = [
    "index.docker.io",
    "registry-1.docker.io",
    "registry.hub.docker.com",
];
const OFFICIAL: &str = "library/";
const LONGEST_NAME: usize = 255;
const LONGEST_TAG: usize = 128;

/// A repository with a tag, a digest, both or neither.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// The same with the tag `latest` where neither tag nor digest was written.
    #[must_use]
    pub fn or_latest(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".to_owned());
        }
        self
    }

    /// The host it comes from, with its port.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository on that host, as in `library/alpine`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag as written.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest of the manifest as written.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What a registry is asked for: the digest, or else the tag.
    pub fn digest_or_tag(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.as_deref().unwrap_or("latest").to_owned(),
        }
    }

    /// The repository as tables show it: `alpine`, `user/app`, `quay.io/user/app`.
    pub fn repository(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return format!("{}/{}", self.domain, self.path);
        }
        match self.path.strip_prefix(OFFICIAL) {
            Some(rest) if !rest.contains('/') => rest.to_owned(),
            _ => self.path.clone(),
        }
    }

    /// The whole name as it is stored: domain, path and the digest, or else the tag.
    pub fn canonical(&self) -> String {
        let name = format!("{}/{}", self.domain, self.path);
        match (&self.tag, &self.digest) {
            (_, Some(digest)) => format!("{name}@{digest}"),
            (Some(tag), None) => format!("{name}:{tag}"),
            (None, None) => name,
        }
    }

    /// The repository alone.
    #[must_use]
    pub fn untagged(&self) -> Self {
        Self {
            tag: None,
            digest: None,
            ..self.clone()
        }
    }

    /// The repository of this name with a digest instead of a tag.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            domain: self.domain.clone(),
            path: self.path.clone(),
            tag: None,
            digest: Some(digest),
        }
    }

    /// The tag and the digest of this name in the repository of another.
    #[must_use]
    pub fn in_repository_of(&self, other: &Self) -> Self {
        Self {
            domain: other.domain.clone(),
            path: other.path.clone(),
            ..self.clone()
        }
    }

    /// The same name with its registry in the usual spelling ([`usual_domain`]).
    #[must_use]
    pub fn usual(&self) -> Self {
        Self {
            domain: usual_domain(&self.domain),
            ..self.clone()
        }
    }

    /// Whether both name the same repository.
    pub fn same_repository(&self, other: &Self) -> bool {
        self.domain == other.domain && self.path == other.path
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository())?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = || bad_input("invalid reference format");
        if is_whole_id(text) {
            return Err(bad_input(format!(
                "invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
            )));
        }
        if let Some((_, name)) = text.split_once("://") {
            return Err(invalid().hint(format!("a name has no scheme before it: `{name}`")));
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse::<Digest>().map_err(|_| invalid())?)),
            None => (text, None),
        };
        let (domain, rest) = split_domain(name);
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(bad_input(format!(
                "invalid reference format: repository name ({path}) must be lowercase"
            )));
        }
        let path = match domain == DEFAULT_DOMAIN && !path.contains('/') {
            true => format!("{OFFICIAL}{path}"),
            false => path.to_owned(),
        };
        if !is_domain(domain) || !path.split('/').all(is_component) || !tag.is_none_or(is_tag) {
            return Err(invalid());
        }
        if domain.len() + 1 + path.len() > LONGEST_NAME {
            return Err(bad_input(
                "invalid reference format: repository name must not be more than 255 characters",
            ));
        }
        Ok(Self {
            domain: domain.to_owned(),
            path,
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

impl serde::Serialize for Reference {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.canonical())
    }
}

impl<'de> serde::Deserialize<'de> for Reference {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Whether the text is 64 hexadecimal digits, which is an id and never a name.
pub fn is_whole_id(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// The first component is a host only if it cannot be part of a repository on the default host.
fn split_domain(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|byte| byte.is_ascii_uppercase()) =>
        {
            (
                if first == "index.docker.io" {
                    DEFAULT_DOMAIN
                } else {
                    first
                },
                rest,
            )
        }
        _ => (DEFAULT_DOMAIN, name),
    }
}

/// One spelling for all that lead to the same registry: small letters, no port that is the usual one of HTTPS or HTTP, and
/// `docker.io` for every host of Docker's registry.
pub fn usual_domain(domain: &str) -> String {
    let small = domain.to_ascii_lowercase();
    let (host, port) = match small.rsplit_once(':') {
        Some((host, port)) if is_port(port) => (host, Some(port.trim_start_matches('0'))),
        _ => (small.as_str(), None),
    };
    let address = host.strip_prefix('[').and_then(|rest| {
        let address = rest.strip_suffix(']')?.parse::<std::net::Ipv6Addr>();
        Some(format!("[{}]", address.ok()?))
    });
    let host = address.as_deref().unwrap_or(host);
    match port {
        None | Some("443" | "80") if DOCKER_DOMAINS.contains(&host) => DEFAULT_DOMAIN.to_owned(),
        None | Some("443" | "80") => host.to_owned(),
        Some(port) => format!("{host}:{port}"),
    }
}

fn is_domain(domain: &str) -> bool {
    if let Some(bracketed) = domain.strip_prefix('[') {
        let Some((address, port)) = bracketed.split_once(']') else {
            return false;
        };
        let port = port.strip_prefix(':').is_none_or(is_port)
            && (port.is_empty() || port.starts_with(':'));
        return port && address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let (host, port) = domain
        .split_once(':')
        .map_or((domain, None), |(host, port)| (host, Some(port)));
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    host.split('.').all(label) && port.is_none_or(is_port)
}

fn is_port(port: &str) -> bool {
    !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// Lower-case words joined by one `.`, one or two `_`, or any number of `-`.
pub(super) fn is_component(component: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    word(first)
        && word(last)
        && bytes.split(|&byte| word(byte)).all(|joint| {
            matches!(joint, b"" | b"." | b"_" | b"__") || joint.iter().all(|&byte| byte == b'-')
        })
}

pub(super) fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= LONGEST_TAG
        && tag.bytes().next().is_some_and(word)
        && tag
            .bytes()
            .all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed_and_shortened() {
        let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for (text, canonical, familiar) in [
            ("alpine", "docker.io/library/alpine:latest", "alpine:latest"),
            (
                "alpine:3.20",
                "docker.io/library/alpine:3.20",
                "alpine:3.20",
            ),
            ("user/app", "docker.io/user/app:latest", "user/app:latest"),
            (
                "docker.io/library/alpine",
                "docker.io/library/alpine:latest",
                "alpine:latest",
            ),
            (
                "index.docker.io/alpine",
                "docker.io/library/alpine:latest",
                "alpine:latest",
            ),
            ("localhost/a", "localhost/a:latest", "localhost/a:latest"),
            (
                "localhost:5000/a/b:1",
                "localhost:5000/a/b:1",
                "localhost:5000/a/b:1",
            ),
            (
                "quay.io/a__b/c--d:T_1",
                "quay.io/a__b/c--d:T_1",
                "quay.io/a__b/c--d:T_1",
            ),
            ("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"),
            (
                "docker.io/library/a/b",
                "docker.io/library/a/b:latest",
                "library/a/b:latest",
            ),
            ("UPPER/app", "UPPER/app:latest", "UPPER/app:latest"),
            (
                &format!("alpine@{digest}"),
                &format!("docker.io/library/alpine@{digest}"),
                &format!("alpine@{digest}"),
            ),
            (
                &format!("alpine:1@{digest}"),
                &format!("docker.io/library/alpine@{digest}"),
                &format!("alpine:1@{digest}"),
            ),
        ] {
            let reference: Reference = text
                .parse::<Reference>()
                .unwrap_or_else(|error| panic!("{text}: {error}"));
            let reference = reference.or_latest();
            assert_eq!(
                (
                    reference.canonical().as_str(),
                    reference.to_string().as_str()
                ),
                (canonical, familiar)
            );
        }
    }

    #[test]
    fn a_registry_has_one_usual_spelling() {
        for (domain, usual) in [
            ("a.org", "a.org"),
            ("A.Org", "a.org"),
            ("a.org:443", "a.org"),
            ("a.org:0443", "a.org"),
            ("a.org:80", "a.org"),
            ("a.org:8443", "a.org:8443"),
            ("a.org:05000", "a.org:5000"),
            ("docker.io:443", "docker.io"),
            ("index.docker.io", "docker.io"),
            ("Registry-1.docker.io:443", "docker.io"),
            ("registry-1.docker.io:5000", "registry-1.docker.io:5000"),
            ("[::1]:443", "[::1]"),
            ("[0:0::443]", "[::443]"),
            ("[2001:DB8::1]:5000", "[2001:db8::1]:5000"),
        ] {
            assert_eq!(usual_domain(domain), usual, "{domain}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused_in_dockers_words() {
        let long = "a/".repeat(130);
        let id = "e".repeat(64);
        let error = "docker://a.org/b".parse::<Reference>().unwrap_err();
        assert!(error.hint.is_some_and(|hint| hint.ends_with("`a.org/b`")));
        for (text, part) in [
            ("", "invalid reference format"),
            ("a b", "invalid reference format"),
            ("a:", "invalid reference format"),
            ("-a", "invalid reference format"),
            ("a..b", "invalid reference format"),
            ("a___b", "invalid reference format"),
            ("a/../b", "invalid reference format"),
            ("/a", "invalid reference format"),
            ("a/", "invalid reference format"),
            ("a@sha256:12", "invalid reference format"),
            ("quay.io:/a", "invalid reference format"),
            ("a:b:c", "invalid reference format"),
            ("a.-b.io/c", "invalid reference format"),
            ("Alpine", "repository name (Alpine) must be lowercase"),
            (&format!("{long}a"), "must not be more than 255 characters"),
            (&id, "cannot specify 64-byte hexadecimal strings"),
        ] {
            let error = text.parse::<Reference>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
