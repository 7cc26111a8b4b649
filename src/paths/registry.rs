//! Where things lie in the folder of a registry that is served.
//!
//! | path | content | guarded by |
//! |---|---|---|
//! | `registry.json` | format version | written once |
//! | `lock` | shared by whoever adds something, taken exclusively by whoever removes something | flock |
//! | `blobs/ALGORITHM/HEX` | blobs and manifests of all repositories, each once, immutable | renamed into place |
//! | `repositories/NAME/_blobs/ALGORITHM/HEX` | empty: the repository has that blob | `lock` |
//! | `repositories/NAME/_manifests/ALGORITHM/HEX` | media type of a manifest that it has | `lock` |
//! | `repositories/NAME/_tags/TAG.tag` | digest of a manifest | `lock` |
//! | `repositories/NAME/_uploads/ID` | as much of a blob as has come | flock of the file: who adds to it |
//!
//! No component of a repository's name begins with `_`, and no temporary name ends in `.tag`.

use std::path::{Path, PathBuf};

/// After a tag, so that no name of a temporary file is one of a tag.
const TAG_SUFFIX: &str = ".tag";

/// The folder of a registry.
#[derive(Clone, Debug)]
pub struct RegistryPaths(PathBuf);

impl RegistryPaths {
    /// A folder, there or not.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self(root.into())
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// Format version.
    pub fn record(&self) -> PathBuf {
        self.0.join("registry.json")
    }

    /// The lock of everything but uploads.
    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// All blobs, in one folder for each algorithm.
    pub fn blobs(&self) -> PathBuf {
        self.0.join("blobs")
    }

    /// A blob.
    pub fn blob(&self, algorithm: &str, hex: &str) -> PathBuf {
        self.blobs().join(algorithm).join(hex)
    }

    /// All repositories.
    pub fn repositories(&self) -> PathBuf {
        self.0.join("repositories")
    }

    /// A repository; further ones may lie in it.
    pub fn repository(&self, name: &str) -> PathBuf {
        self.repositories().join(name)
    }

    /// Whether a folder in that of a repository is no further repository.
    pub fn is_own(name: &str) -> bool {
        name.starts_with('_')
    }
}

/// The blobs of a repository.
pub fn blobs_in(repository: &Path) -> PathBuf {
    repository.join("_blobs")
}

/// The manifests of a repository.
pub fn manifests_in(repository: &Path) -> PathBuf {
    repository.join("_manifests")
}

/// One of either.
pub fn link_in(links: &Path, algorithm: &str, hex: &str) -> PathBuf {
    links.join(algorithm).join(hex)
}

/// The tags of a repository.
pub fn tags_in(repository: &Path) -> PathBuf {
    repository.join("_tags")
}

/// One of them.
pub fn tag_in(repository: &Path, tag: &str) -> PathBuf {
    tags_in(repository).join(format!("{tag}{TAG_SUFFIX}"))
}

/// The tag that a file is.
pub fn tag_of(file: &str) -> Option<&str> {
    file.strip_suffix(TAG_SUFFIX)
}

/// What is on its way into a repository.
pub fn uploads_in(repository: &Path) -> PathBuf {
    repository.join("_uploads")
}

/// One of them.
pub fn upload_in(repository: &Path, id: &str) -> PathBuf {
    uploads_in(repository).join(id)
}
