//! What an image was made of, as provenance names it: images, repositories and files from the net, each by its digest. Files of this
//! machine have no name elsewhere. <https://slsa.dev/spec/v0.2/provenance#materials>,
//! <https://github.com/package-url/purl-spec>

use crate::build::context::address::shown;
use crate::build::context::git::Repository;
use crate::image::digest::Digest;
use crate::image::platform::Platform;
use crate::image::reference::Reference;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Material {
    uri: String,
    digest: BTreeMap<&'static str, String>,
}

impl Material {
    fn new(uri: String, algorithm: &'static str, digest: &str) -> Self {
        Self {
            uri,
            digest: BTreeMap::from([(algorithm, digest.to_owned())]),
        }
    }

    /// An image by the name that the Dockerfile has for it, and what that led to.
    pub fn image(name: &Reference, platform: &Platform, digest: &Digest) -> Self {
        let version = match (name.digest(), name.tag()) {
            (Some(_), None) => String::new(),
            (_, tag) => format!("@{}", tag.unwrap_or("latest")),
        };
        let mut uri = format!("pkg:docker/{}{version}?", name.repository());
        if let Some(digest) = name.digest() {
            uri += &format!("digest={digest}&");
        }
        uri += &format!("platform={}", platform.to_string().replace('/', "%2F"));
        Self::new(uri, "sha256", digest.hex())
    }

    /// An image in a layout.
    pub fn layout(path: &Path, tag: Option<&str>, platform: &Platform, digest: &Digest) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let encoded = |text: &str| -> String { text.bytes().map(encoded).collect() };
        let (name, tag) = (encoded(&name), encoded(tag.unwrap_or("latest")));
        let platform = platform.to_string().replace('/', "%2F");
        let uri = format!("pkg:oci/{name}@{tag}?platform={platform}");
        Self::new(uri, "sha256", digest.hex())
    }

    /// A commit.
    pub fn repository(repository: &Repository, commit: &str) -> Self {
        let algorithm = if commit.len() == 64 { "sha256" } else { "sha1" };
        Self::new(repository.shown(), algorithm, commit)
    }

    /// A file.
    pub fn file(address: &str, digest: &Digest) -> Self {
        Self::new(shown(address), "sha256", digest.hex())
    }
}

fn encoded(byte: u8) -> String {
    match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn materials_have_names_that_others_know() {
        let platform: Platform = "linux/arm64".parse().unwrap();
        let digest = Digest::of(b"");
        let image = |name: &str| Material::image(&name.parse().unwrap(), &platform, &digest).uri;
        assert_eq!(
            image("alpine:3.20"),
            "pkg:docker/alpine@3.20?platform=linux%2Farm64"
        );
        assert_eq!(
            image("h:5/a/b"),
            "pkg:docker/h:5/a/b@latest?platform=linux%2Farm64"
        );
        assert_eq!(
            image(&format!("a@{digest}")),
            format!("pkg:docker/a?digest={digest}&platform=linux%2Farm64")
        );
        let layout = Material::layout(Path::new("/x/a b"), None, &platform, &digest);
        assert_eq!(layout.uri, "pkg:oci/a%20b@latest?platform=linux%2Farm64");
        let file = Material::file("https://u:p@h/x?y=a@b", &digest);
        assert_eq!(file.uri, "https://h/x");
        assert_eq!(file.digest["sha256"], digest.hex());
    }
}
