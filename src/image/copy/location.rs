//! Where images are copied from and to, as people spell it: mostly as skopeo does (containers-transports(5)).
//!
//! | spelling | place |
//! |---|---|
//! | `docker://NAME[:TAG\|@DIGEST]` | a registry |
//! | `oci:DIRECTORY[:NAME]` | an OCI layout |
//! | `oci-archive:FILE[:NAME]` | a tar archive of one |
//! | `docker-archive:FILE[:NAME]` | a tar archive as of `docker save` |
//! | `store:NAME` | the store of images here |
//! | `/PATH`, `./PATH`, `../PATH`, or one that is there | a layout or an archive, whatever it is or is called |
//! | `NAME` | the store |

use crate::error::{Error, bad_input};
use crate::image::reference::Reference;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The spellings, for hints.
const CHOICES: &str = "`docker://NAME` is in a registry, `store:NAME` is here; `oci:DIRECTORY`, `oci-archive:FILE` and \
     `docker-archive:FILE` are paths";

/// A place of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// In a registry; with tag or digest, and as it was written.
    Registry(Reference, String),
    /// In files.
    Files {
        /// Where.
        path: PathBuf,
        /// What they are; `None` where the spelling leaves it open.
        form: Option<Form>,
        /// Which image of them.
        name: Option<String>,
    },
    /// In the store, by name or id.
    Store(String),
    /// A bare word.
    Bare(String),
}

/// A form of files with images in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A directory (OCI image-layout.md).
    Layout,
    /// That in a tar archive.
    OciArchive,
    /// What `docker save` writes.
    DockerArchive,
}

impl Form {
    /// What a path that is not there yet is to be.
    pub fn of_new(path: &Path) -> Self {
        match path.extension().is_some_and(|extension| extension == "tar") {
            true => Self::OciArchive,
            false => Self::Layout,
        }
    }
}

impl FromStr for Location {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if let Some(typed) = text.strip_prefix("docker://") {
            let name: Reference = typed.parse()?;
            return Ok(Self::Registry(name.or_latest(), typed.to_owned()));
        }
        let files = |form, rest: &str| {
            let (path, name) = rest.split_once(':').unwrap_or((rest, ""));
            match path.is_empty() {
                true => Err(bad_input(format!("`{text}` names no path")).hint(CHOICES)),
                false => Ok(Self::Files {
                    path: PathBuf::from(path),
                    form: Some(form),
                    name: (!name.is_empty()).then(|| name.to_owned()),
                }),
            }
        };
        match text.split_once(':') {
            Some(("oci", rest)) => files(Form::Layout, rest),
            Some(("oci-archive", rest)) => files(Form::OciArchive, rest),
            Some(("docker-archive", rest)) => files(Form::DockerArchive, rest),
            Some(("store", name)) if !name.is_empty() => Ok(Self::Store(name.to_owned())),
            Some((other @ ("containers-storage" | "docker-daemon"), _)) => {
                let whose = if other == "docker-daemon" {
                    "docker"
                } else {
                    "podman"
                };
                let message =
                    format!("`{other}:` is the store of another program, which is not read");
                let hint = format!("`{whose} save NAME -o FILE` and `docker-archive:FILE`");
                Err(bad_input(message).hint(hint))
            }
            Some((other @ ("dir" | "ostree" | "sif" | "tarball" | "http" | "https"), _)) => {
                Err(bad_input(format!("`{other}:` is no place of images here")).hint(CHOICES))
            }
            _ if text.is_empty() => Err(bad_input("there is a place missing").hint(CHOICES)),
            _ => Ok(match looks_like_path(text) {
                true => Self::path(text),
                false => Self::Bare(text.to_owned()),
            }),
        }
    }
}

impl Location {
    fn path(text: &str) -> Self {
        Self::Files {
            path: PathBuf::from(text),
            form: None,
            name: None,
        }
    }

    /// What a bare word means: a path if it is there, else a name in the store; not both.
    pub fn settled(self, is_here: impl FnOnce(&str) -> bool) -> Result<Self, Error> {
        let Self::Bare(word) = self else {
            return Ok(self);
        };
        match (Path::new(&word).exists(), is_here(&word)) {
            (true, true) => {
                let message = format!("`{word}` is the name of an image here and that of a file");
                Err(bad_input(message).hint(format!("`store:{word}` or `./{word}`")))
            }
            (true, false) => Ok(Self::path(&word)),
            (false, _) => Ok(Self::Store(word)),
        }
    }
}

/// Names of images begin otherwise.
fn looks_like_path(text: &str) -> bool {
    text.starts_with(['/', '.', '~'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_spelled_as_by_skopeo() {
        let files = |path: &str, form, name: Option<&str>| Location::Files {
            path: PathBuf::from(path),
            form,
            name: name.map(str::to_owned),
        };
        for (text, expected) in [
            ("oci:dir:v1", files("dir", Some(Form::Layout), Some("v1"))),
            ("oci:/a/b", files("/a/b", Some(Form::Layout), None)),
            (
                "oci-archive:a.tar:x/y:1",
                files("a.tar", Some(Form::OciArchive), Some("x/y:1")),
            ),
            (
                "docker-archive:a.tar",
                files("a.tar", Some(Form::DockerArchive), None),
            ),
            ("./a", files("./a", None, None)),
            ("/a:b", files("/a:b", None, None)),
            ("store:alpine", Location::Store("alpine".to_owned())),
            ("alpine:3.20", Location::Bare("alpine:3.20".to_owned())),
            ("h:5000/a:1", Location::Bare("h:5000/a:1".to_owned())),
            (
                "docker://alpine",
                Location::Registry("alpine:latest".parse().unwrap(), "alpine".to_owned()),
            ),
        ] {
            assert_eq!(text.parse::<Location>().unwrap(), expected, "{text}");
        }
        for (text, part) in [
            ("", "missing"),
            ("oci:", "names no path"),
            ("dir:x", "no place of images"),
            ("https://h/x", "no place of images"),
            ("containers-storage:x", "another program"),
            ("docker://UPPER", "must be lowercase"),
        ] {
            let error = text.parse::<Location>().unwrap_err();
            assert!(error.message.contains(part), "{text}: {}", error.message);
        }
    }

    #[test]
    fn a_bare_word_is_what_is_there() {
        let settle = |word: &str, here| Location::Bare(word.to_owned()).settled(|_| here);
        assert_eq!(
            settle("none", true).unwrap(),
            Location::Store("none".to_owned())
        );
        assert_eq!(
            settle("none", false).unwrap(),
            Location::Store("none".to_owned())
        );
        assert!(matches!(
            settle("src", false).unwrap(),
            Location::Files { .. }
        ));
        let error = settle("src", true).unwrap_err();
        assert_eq!(error.hint.as_deref(), Some("`store:src` or `./src`"));
    }
}
