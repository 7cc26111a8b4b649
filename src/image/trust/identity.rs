//! Which name a signature must be for (containers-policy.json(5), `signedIdentity`). A signature is for a name and a
//! digest; that the digest is right is not decided here.

use super::policy::usual_scope;
use crate::image::reference::Reference;
use std::fmt;

/// A rule about the name in a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The very name of the image, with its tag or digest.
    MatchExact,
    /// That; for an image that is named by its digest, its repository.
    MatchRepoDigestOrExact,
    /// The repository of the image.
    MatchRepository,
    /// This name, whatever the image is called.
    ExactReference(Reference),
    /// This repository, whatever the image is called.
    ExactRepository(Reference),
    /// As `MatchRepoDigestOrExact`, with another beginning: for mirrors.
    Remap {
        /// What the name of the image begins with.
        prefix: String,
        /// What the name in the signature begins with instead.
        signed: String,
    },
}

impl Identity {
    /// Whether a signature for `signed` is one for the image called `name`, which has a tag or a digest, not both.
    /// A registry is the same however it is spelled.
    pub fn accepts(&self, name: &Reference, signed: &Reference) -> bool {
        let (name, signed) = (&name.usual(), &signed.usual());
        match self {
            Self::MatchExact => !is_bare(signed) && name == signed,
            Self::MatchRepoDigestOrExact => match name.digest() {
                _ if is_bare(signed) => false,
                Some(_) => signed.same_repository(name),
                None => name == signed,
            },
            Self::MatchRepository => signed.same_repository(name),
            Self::ExactReference(wanted) => !is_bare(signed) && *signed == wanted.usual(),
            Self::ExactRepository(wanted) => signed.same_repository(&wanted.usual()),
            Self::Remap { .. } => self
                .remapped(name)
                .is_some_and(|name| Self::MatchRepoDigestOrExact.accepts(&name, signed)),
        }
    }

    /// Whether a signature that names nothing will do: bundles are about a digest only, and are found in the repository
    /// of the image. A rule that wants more than the repository is not kept by that.
    pub fn accepts_unnamed(&self) -> bool {
        *self == Self::MatchRepository
    }

    fn remapped(&self, name: &Reference) -> Option<Reference> {
        let Self::Remap { prefix, signed } = self else {
            return None;
        };
        let whole = name.canonical();
        let repository = format!("{}/{}", name.domain(), name.path());
        let prefix = usual_scope(prefix);
        match repository.strip_prefix(prefix.as_str()) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                format!("{signed}{}", &whole[prefix.len()..]).parse().ok()
            }
            _ => Some(name.clone()),
        }
    }
}

impl fmt::Display for Identity {
    /// After "a signature for".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MatchExact => f.write_str("its very name"),
            Self::MatchRepoDigestOrExact => {
                f.write_str("its very name, or its repository by digest")
            }
            Self::MatchRepository => f.write_str("its repository"),
            Self::ExactReference(wanted) | Self::ExactRepository(wanted) => {
                f.write_str(&wanted.canonical())
            }
            Self::Remap { prefix, signed } => {
                write!(f, "its name, with {signed} instead of {prefix}")
            }
        }
    }
}

/// Neither tag nor digest.
fn is_bare(name: &Reference) -> bool {
    name.tag().is_none() && name.digest().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::digest::Digest;

    #[test]
    fn names_are_compared_as_podman_does() {
        let digest = format!("@{}", Digest::of(b""));
        let name = |text: &str| text.replace("@D", &digest).parse::<Reference>().unwrap();
        let exact = |text: &str| Identity::ExactReference(name(text));
        let repository = |text: &str| Identity::ExactRepository(name(text));
        let remap = |prefix: &str, signed: &str| Identity::Remap {
            prefix: prefix.to_owned(),
            signed: signed.to_owned(),
        };
        use Identity::{MatchExact, MatchRepoDigestOrExact, MatchRepository};
        for (identity, image, signed, accepted) in [
            (MatchExact, "a.org/x:1", "a.org/x:1", true),
            (MatchExact, "A.org:443/x:1", "a.org/x:1", true),
            (MatchExact, "a.org/x:1", "a.org/x:2", false),
            (MatchExact, "a.org/x:1", "a.org/x", false),
            (MatchExact, "a.org/x@D", "a.org/x@D", true),
            (MatchExact, "a.org/x@D", "a.org/x:1", false),
            (
                MatchExact,
                "alpine:1",
                "index.docker.io/library/alpine:1",
                true,
            ),
            (MatchRepoDigestOrExact, "a.org/x:1", "a.org/x:1", true),
            (MatchRepoDigestOrExact, "a.org/x:1", "a.org/x:2", false),
            (MatchRepoDigestOrExact, "a.org/x@D", "a.org/x:2", true),
            (MatchRepoDigestOrExact, "a.org/x@D", "a.org/y:2", false),
            (MatchRepoDigestOrExact, "a.org/x@D", "a.org/x", false),
            (MatchRepository, "a.org/x:1", "a.org/x", true),
            (MatchRepository, "a.org/x:1", "a.org/x:2", true),
            (MatchRepository, "a.org/x:1", "a.org/x/y", false),
            (exact("b.org/z:3"), "a.org/x:1", "b.org/z:3", true),
            (exact("b.org/z:3"), "b.org/z:3", "a.org/x:1", false),
            (repository("b.org/z"), "a.org/x:1", "b.org/z:9", true),
            (repository("b.org/z"), "a.org/x:1", "a.org/x:1", false),
            (remap("a.org", "b.org/m"), "a.org/x:1", "b.org/m/x:1", true),
            (
                remap("A.org", "b.org/m"),
                "a.org:443/x:1",
                "b.org/m/x:1",
                true,
            ),
            (remap("a.org", "b.org/m"), "a.org/x:1", "a.org/x:1", false),
            (remap("a.org/x", "b.org/m"), "a.org/x@D", "b.org/m:7", true),
            (
                remap("a.org/x", "b.org/m"),
                "a.org/xy:1",
                "a.org/xy:1",
                true,
            ),
            (
                remap("a.org/x", "b.org/m"),
                "a.org/xy:1",
                "b.org/my:1",
                false,
            ),
        ] {
            let got = identity.accepts(&name(image), &name(signed));
            assert_eq!(got, accepted, "{identity:?} {image} {signed}");
        }
    }
}
