//! What a context is called on the command line and in `ADD`.
//! <https://docs.docker.com/build/concepts/context/>

use super::git::Repository;
use crate::error::{Error, bad_input};
use crate::image::digest::Digest;
use std::path::PathBuf;

/// How a context that is an image begins.
pub const IMAGE: &str = "docker-image://";
/// How a context that is an image in a directory begins.
pub const LAYOUT: &str = "oci-layout://";

/// Where files come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A directory of the host.
    Directory(PathBuf),
    /// Standard input: an archive, or a Dockerfile without any files.
    Input,
    /// In the net: files, an archive or a Dockerfile.
    Remote(Remote),
    /// `docker-image://`: an image by its reference.
    Image(String),
    /// `oci-layout://`: an image in a directory.
    Layout {
        /// The directory.
        path: PathBuf,
        /// Behind `:`.
        tag: Option<String>,
        /// Behind `@`: of a manifest or an index.
        digest: Option<Digest>,
    },
    /// `target:`: a stage of the same Dockerfile.
    Stage(String),
}

/// Something in the net, or spelled as if it were.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remote {
    /// A git repository.
    Git(Repository),
    /// A file.
    Url(String),
}

impl Remote {
    /// `None` where it is the name of something else: also a source of an `ADD`.
    pub fn parse(text: &str) -> Result<Option<Self>, Error> {
        if let Some(repository) = Repository::parse(text)? {
            return Ok(Some(Self::Git(repository)));
        }
        let is_url = ["http://", "https://"].iter().any(|scheme| {
            let start = text.get(..scheme.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        });
        Ok(is_url.then(|| Self::Url(text.to_owned())))
    }

    /// As messages show it.
    pub fn shown(&self) -> String {
        match self {
            Self::Git(repository) => repository.shown(),
            Self::Url(url) => shown(url),
        }
    }
}

impl Address {
    /// The main context: a directory unless it looks like something else.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text == "-" {
            return Ok(Self::Input);
        }
        match Remote::parse(text)? {
            Some(remote) => Ok(Self::Remote(remote)),
            None => Ok(Self::Directory(PathBuf::from(text))),
        }
    }

    /// One of `--build-context`.
    pub fn parse_named(text: &str) -> Result<Self, Error> {
        let refused = |what: &str| bad_input(format!("invalid build context `{text}`: {what}"));
        if let Some(reference) = text.strip_prefix(IMAGE) {
            return match reference {
                "" => Err(refused("it names no image")),
                reference => Ok(Self::Image(reference.to_owned())),
            };
        }
        if let Some(layout) = text.strip_prefix(LAYOUT) {
            let (path, tag, digest) = split_layout(layout);
            if path.is_empty() {
                return Err(refused("it names no directory"));
            }
            let digest = digest.map(str::parse).transpose();
            return Ok(Self::Layout {
                path: PathBuf::from(path),
                tag: tag.map(str::to_owned),
                digest: digest.map_err(|error: Error| refused(&error.message))?,
            });
        }
        if let Some(stage) = text.strip_prefix("target:") {
            return Ok(Self::Stage(stage.to_owned()));
        }
        match text {
            "-" => Err(refused("only the main context comes from standard input")),
            "" => Err(refused("it names nothing")),
            text => Self::parse(text),
        }
    }
}

/// An address as messages and attestations show it: without a password, and without whatever may be one.
pub fn shown(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let is_web = scheme.to_ascii_lowercase().starts_with("http");
    let authority = match authority.rsplit_once('@') {
        // A token may stand in the user's place; with others that is only a name.
        Some((_, host)) if is_web => host.to_owned(),
        Some((user, host)) => format!("{}@{host}", user.split(':').next().unwrap_or_default()),
        None => authority.to_owned(),
    };
    // The query of a file may hold a signature; that of a repository says which files.
    let name = path.split(['?', '#']).next().unwrap_or_default();
    let is_repository = name.trim_end_matches('/').ends_with(".git");
    let path = if is_web && !is_repository { name } else { path };
    format!("{scheme}://{authority}{path}")
}

/// The path of a layout, a tag, and a digest.
fn split_layout(text: &str) -> (&str, Option<&str>, Option<&str>) {
    let name = text.rfind('/').map_or(0, |slash| slash + 1);
    let cut = |text: &'_ str, by| text[name..].find(by).map(|at| name + at);
    let (rest, digest) = match cut(text, '@') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    match cut(rest, ':') {
        Some(at) => (&rest[..at], Some(&rest[at + 1..]), digest),
        None => (rest, None, digest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        for (text, expected) in [
            ("https://h/x.git#v1:d", "https://h/x.git#v1:d"),
            ("https://u:p@h:1/x.git#v1", "https://h:1/x.git#v1"),
            ("https://token@h/x.git?ref=v1", "https://h/x.git?ref=v1"),
            ("HTTPS://u:p@w@h/x?signature=s", "HTTPS://h/x"),
            ("https://u:p@h", "https://h"),
            ("https://h/@x", "https://h/@x"),
            ("ssh://git:p@h/x", "ssh://git@h/x"),
            ("git@h:x/y.git", "git@h:x/y.git"),
            ("dir", "dir"),
        ] {
            assert_eq!(shown(text), expected);
        }
    }

    #[test]
    fn contexts_are_told_apart() {
        let directory = |path: &str| Address::Directory(PathBuf::from(path));
        let url = |text: &str| Address::Remote(Remote::Url(text.to_owned()));
        for (text, expected) in [
            ("-", Address::Input),
            (".", directory(".")),
            ("../a:b", directory("../a:b")),
            ("http", directory("http")),
            ("https://h/x.tar.gz", url("https://h/x.tar.gz")),
            ("HTTP://h/x", url("HTTP://h/x")),
        ] {
            assert_eq!(Address::parse(text).unwrap(), expected, "{text}");
        }
        for text in [
            "https://h/x.git",
            "git://h/x",
            "git@h:x/y.git#main",
            "ssh://git@h/x",
            "github.com/a/b",
        ] {
            assert!(
                matches!(Address::parse(text), Ok(Address::Remote(Remote::Git(_)))),
                "{text}"
            );
        }
        let whole = Digest::of(b"");
        let layout = |path: &str, tag: Option<&str>, digest: Option<&Digest>| Address::Layout {
            path: PathBuf::from(path),
            tag: tag.map(str::to_owned),
            digest: digest.cloned(),
        };
        let by_digest = format!("oci-layout://a@{whole}");
        let by_both = format!("oci-layout://../a:b@{whole}");
        for (text, expected) in [
            (
                "docker-image://debian:12",
                Address::Image("debian:12".to_owned()),
            ),
            ("oci-layout://a/b", layout("a/b", None, None)),
            (
                "oci-layout:///a:b/c:tag",
                layout("/a:b/c", Some("tag"), None),
            ),
            (&by_digest, layout("a", None, Some(&whole))),
            (&by_both, layout("../a", Some("b"), Some(&whole))),
            ("target:base", Address::Stage("base".to_owned())),
            ("dir", directory("dir")),
        ] {
            assert_eq!(Address::parse_named(text).unwrap(), expected, "{text}");
        }
        for text in [
            "",
            "-",
            "docker-image://",
            "oci-layout://",
            "oci-layout://a@sha256:00",
        ] {
            assert!(Address::parse_named(text).is_err(), "{text}");
        }
    }
}
