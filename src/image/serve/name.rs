//! Names of repositories and tags as they stand in paths of requests (distribution-spec, "Pulling manifests").
//!
//! Invariant: a [`Name`] and a [`Tag`] follow the grammar. None holds a `..`, a space or anything that ends a line, none
//! begins with a `_` or a `.`, so that they are safe in paths of the disk and in fields of an answer.

use super::digest::AnyDigest;
use super::refusal::Refusal;
use crate::image::reference;
use std::fmt;

const LONGEST_NAME: usize = 255;

/// A repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let good = text.len() <= LONGEST_NAME && text.split('/').all(reference::is_component);
        match good {
            true => Ok(Self(text.to_owned())),
            false => Err(Refusal::name_invalid()),
        }
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag(String);

impl Tag {
    /// Reads one.
    pub fn parse(text: &str) -> Option<Self> {
        reference::is_tag(text).then(|| Self(text.to_owned()))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a manifest is called by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// By what somebody has called it.
    Tag(Tag),
    /// By what it is.
    Digest(AnyDigest),
}

impl Reference {
    /// A tag has no colon, a digest has.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if text.contains(':') {
            return AnyDigest::parse(text).map(Self::Digest);
        }
        let tag = Tag::parse(text).map(Self::Tag);
        tag.ok_or_else(|| Refusal::new(400, "TAG_INVALID", "invalid tag"))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag.as_str()),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_name_leads_nowhere() {
        for good in ["a", "library/alpine", "a/b/c", "a-b/c__d.e", "quay.io/x/y"] {
            assert_eq!(Name::parse(good).unwrap().as_str(), good);
        }
        let long = "a/".repeat(128) + "a";
        for bad in [
            "", "/", "a/", "/a", "..", "a/../b", "a//b", "_blobs", "a/_tags", "A", "a:b", "a b",
            "a\r\nb", "-a", &long,
        ] {
            assert!(Name::parse(bad).is_err(), "{bad:?}");
        }
        for bad in ["", ".a", "-a", "a/b", "..", "a\n", &"a".repeat(129)] {
            assert!(Tag::parse(bad).is_none(), "{bad:?}");
        }
    }
}
