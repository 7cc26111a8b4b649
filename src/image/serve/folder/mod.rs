//! A registry's own folder: [`crate::paths::registry`] says what lies where.
//!
//! - here: what is read · `upload`: how blobs come · `manifest`: what a manifest names, and how one comes
//! - `prune`: how what nobody names any more goes · `check`: how what is damaged is found
//!
//! Invariants. A blob is renamed into place when it is whole, verified and on disk; a manifest is there when all that it
//! names is; a tag when its manifest is. So a server that is killed leaves at most blobs that nothing names and uploads
//! that nobody goes on with. Several servers may have one folder: whoever adds something shares its lock, whoever removes
//! something has it alone.

pub mod check;
pub mod manifest;
pub mod prune;
pub mod upload;

use super::digest::{Algorithm, AnyDigest};
use super::name::{Name, Reference, Tag};
use super::storage::{Blob, Manifest, Source, Storage};
use crate::error::bad_input;
use crate::paths::registry::{self as paths, RegistryPaths};
use crate::store::atomic::{self, Durability};
use crate::store::directory::names_if_directory;
use crate::store::lock::Lock;
use anyhow::{Context, Result};
use manifest::Link;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

const VERSION: u32 = 1;
/// The largest manifest that is taken in, in bytes (distribution-spec, "Pushing manifests").
pub const LARGEST_MANIFEST: u64 = 4 << 20;

/// `registry.json`.
#[derive(Serialize, Deserialize)]
struct Record {
    version: u32,
}

/// A folder.
pub struct Folder {
    paths: RegistryPaths,
    read_only: bool,
}

impl Folder {
    /// Opens a folder, which is made unless it is only to be read.
    pub fn open(root: &Path, read_only: bool) -> Result<Self> {
        let folder = Self {
            paths: RegistryPaths::new(root),
            read_only,
        };
        let record = folder.paths.record();
        match read_small(&record)? {
            Some(bytes) => {
                let found: Record = serde_json::from_slice(&bytes)
                    .with_context(|| format!("read `{}`", record.display()))?;
                if found.version != VERSION {
                    let (version, path) = (found.version, record.display());
                    return Err(bad_input(format!(
                        "`{path}` has version {version}, not {VERSION}"
                    ))
                    .hint("use the newer onggi that wrote it")
                    .into());
                }
            }
            None => folder.make(root)?,
        }
        Ok(folder)
    }

    fn make(&self, root: &Path) -> Result<()> {
        let is_empty = match std::fs::read_dir(root) {
            Err(error) if error.kind() == ErrorKind::NotFound => true,
            entries => {
                let mut entries = entries.with_context(|| format!("read `{}`", root.display()))?;
                entries.all(|entry| entry.is_ok_and(|entry| is_ours(&entry.file_name())))
            }
        };
        if !is_empty {
            let message = format!("`{}` has files, and is no registry's", root.display());
            return Err(bad_input(message).hint("name an empty directory").into());
        }
        if self.read_only {
            let message = format!("there is no registry in `{}`", root.display());
            return Err(bad_input(message)
                .hint("`onggi registry serve --storage` makes one")
                .into());
        }
        for directory in [self.paths.blobs(), self.paths.repositories()] {
            make_directory(&directory)?;
        }
        atomic::write(
            &self.paths.record(),
            &serde_json::to_vec(&Record { version: VERSION })?,
            Durability::Durable,
        )
    }

    /// Keeps away who removes something, while something is added.
    fn share(&self) -> Result<Lock> {
        Lock::shared(&self.paths.lock())
    }

    fn repository(&self, name: &Name) -> PathBuf {
        self.paths.repository(name.as_str())
    }

    fn blob_path(&self, digest: &AnyDigest) -> PathBuf {
        self.paths.blob(digest.algorithm().name(), digest.hex())
    }

    fn blob_link(&self, name: &Name, digest: &AnyDigest) -> PathBuf {
        let links = paths::blobs_in(&self.repository(name));
        paths::link_in(&links, digest.algorithm().name(), digest.hex())
    }

    fn manifest_link(&self, name: &Name, digest: &AnyDigest) -> PathBuf {
        let links = paths::manifests_in(&self.repository(name));
        paths::link_in(&links, digest.algorithm().name(), digest.hex())
    }

    /// Lets a repository have a blob that another has.
    pub fn mount(&self, name: &Name, digest: &AnyDigest, from: &Name) -> Result<bool> {
        let _lock = self.share()?;
        if !self.blob_link(from, digest).exists() || !self.blob_path(digest).exists() {
            return Ok(false);
        }
        self.link_blob(name, digest)?;
        Ok(true)
    }

    /// Writes down that a repository has a blob; the caller shares the lock.
    fn link_blob(&self, name: &Name, digest: &AnyDigest) -> Result<()> {
        let link = self.blob_link(name, digest);
        make_parent(&link)?;
        atomic::write(&link, b"", Durability::Durable)
    }

    /// Takes a blob from a repository; whether it was there. The bytes go with the next [`prune`].
    pub fn delete_blob(&self, name: &Name, digest: &AnyDigest) -> Result<bool> {
        // Nobody must just be looking whether a manifest may name it.
        let _lock = Lock::exclusive(&self.paths.lock())?;
        remove(&self.blob_link(name, digest))
    }

    /// The size of a blob that a repository has.
    fn blob_size(&self, name: &Name, digest: &AnyDigest) -> Result<Option<u64>> {
        self.size(&self.blob_link(name, digest), digest)
    }

    /// Likewise of a manifest.
    fn manifest_size(&self, name: &Name, digest: &AnyDigest) -> Result<Option<u64>> {
        self.size(&self.manifest_link(name, digest), digest)
    }

    fn size(&self, link: &Path, digest: &AnyDigest) -> Result<Option<u64>> {
        let path = self.blob_path(digest);
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            metadata => {
                let metadata = metadata.with_context(|| format!("stat `{}`", path.display()))?;
                Ok(link.exists().then_some(metadata.len()))
            }
        }
    }

    /// What a tag points to.
    fn tagged(&self, name: &Name, tag: &Tag) -> Result<Option<AnyDigest>> {
        let path = paths::tag_in(&self.repository(name), tag.as_str());
        let Some(bytes) = read_small(&path)? else {
            return Ok(None);
        };
        let digest = AnyDigest::parse(&String::from_utf8_lossy(&bytes));
        let digest = digest.map_err(|_| bad_input(format!("`{}` is damaged", path.display())))?;
        Ok(Some(digest))
    }

    /// What is written down of a manifest that a repository has.
    fn link(&self, name: &Name, digest: &AnyDigest) -> Result<Option<Link>> {
        let path = self.manifest_link(name, digest);
        let Some(bytes) = read_small(&path)? else {
            return Ok(None);
        };
        let link = serde_json::from_slice(&bytes);
        Ok(Some(
            link.with_context(|| format!("read `{}`", path.display()))?,
        ))
    }

    /// The manifests of a repository, sorted by digest.
    fn manifests(&self, repository: &Path) -> Result<Vec<AnyDigest>> {
        digests_in(&paths::manifests_in(repository))
    }
}

impl Storage for Folder {
    fn manifest(&self, name: &Name, reference: &Reference) -> Result<Option<Manifest>> {
        let digest = match reference {
            Reference::Digest(digest) => digest.clone(),
            Reference::Tag(tag) => match self.tagged(name, tag)? {
                Some(digest) => digest,
                None => return Ok(None),
            },
        };
        let Some(link) = self.link(name, &digest)? else {
            return Ok(None);
        };
        let path = self.blob_path(&digest);
        let Some(bytes) = read_small(&path)? else {
            return Ok(None);
        };
        if digest.algorithm().of_bytes(&bytes) != digest {
            return Err(bad_input(format!("`{}` is damaged", path.display())).into());
        }
        Ok(Some(Manifest {
            digest,
            media_type: link.media_type,
            bytes,
        }))
    }

    fn blob(&self, name: &Name, digest: &AnyDigest) -> Result<Option<Blob>> {
        if !self.blob_link(name, digest).exists() {
            return Ok(None);
        }
        let path = self.blob_path(digest);
        match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            file => {
                let file = file.with_context(|| format!("open `{}`", path.display()))?;
                let size = file
                    .metadata()
                    .with_context(|| format!("stat `{}`", path.display()))?
                    .len();
                let source = Source::File(file);
                Ok(Some(Blob { size, source }))
            }
        }
    }

    fn tags(&self, name: &Name) -> Result<Option<Vec<String>>> {
        let repository = self.repository(name);
        let mut tags: Vec<String> = names_if_directory(&paths::tags_in(&repository))?
            .iter()
            .filter_map(|file| paths::tag_of(file).map(str::to_owned))
            .collect();
        tags.sort();
        let is_known = !tags.is_empty()
            || !self.manifests(&repository)?.is_empty()
            || !digests_in(&paths::blobs_in(&repository))?.is_empty();
        Ok(is_known.then_some(tags))
    }

    fn repositories(&self) -> Result<Vec<String>> {
        let mut found = self.walk()?;
        found.retain(|(_, directory)| self.manifests(directory).is_ok_and(|all| !all.is_empty()));
        Ok(found.into_iter().map(|(name, _)| name).collect())
    }

    fn referrers(
        &self,
        name: &Name,
        subject: &AnyDigest,
        after: Option<&str>,
        visit: &mut dyn FnMut(Value) -> bool,
    ) -> Result<()> {
        for digest in self.manifests(&self.repository(name))? {
            let is_after = after.is_none_or(|after| digest.to_string().as_str() > after);
            let link = match is_after {
                true => self.link(name, &digest)?,
                false => None,
            };
            let Some(link) = link.filter(|link| link.subject == Some(subject.to_string())) else {
                continue;
            };
            let Some(bytes) = read_small(&self.blob_path(&digest))? else {
                continue;
            };
            if !visit(descriptor(&digest, &link.media_type, &bytes)?) {
                break;
            }
        }
        Ok(())
    }

    fn writable(&self) -> Result<&Folder, &'static str> {
        match self.read_only {
            true => Err("this registry is served read-only"),
            false => Ok(self),
        }
    }
}

impl Folder {
    /// All folders of repositories, sorted by name, whatever is in them.
    fn walk(&self) -> Result<Vec<(String, PathBuf)>> {
        let mut found = Vec::new();
        let mut waiting = vec![(String::new(), self.paths.repositories())];
        while let Some((name, directory)) = waiting.pop() {
            for entry in names_if_directory(&directory)? {
                let inner = directory.join(&entry);
                if RegistryPaths::is_own(&entry) || !inner.is_dir() {
                    continue;
                }
                let inner_name = match name.as_str() {
                    "" => entry,
                    outer => format!("{outer}/{entry}"),
                };
                waiting.push((inner_name, inner));
            }
            if !name.is_empty() {
                found.push((name, directory));
            }
        }
        found.sort();
        Ok(found)
    }
}

/// A manifest in the list of those that refer to another (image-index.md, "Listing referrers").
fn descriptor(digest: &AnyDigest, media_type: &str, bytes: &[u8]) -> Result<Value> {
    let document: Value = serde_json::from_slice(bytes).context("read a manifest")?;
    let mut descriptor = json!({
        "mediaType": media_type,
        "digest": digest.to_string(),
        "size": bytes.len(),
    });
    // An image that is an artifact says so by the type of its config.
    let kind = [&document["artifactType"], &document["config"]["mediaType"]];
    if let Some(kind) = kind
        .iter()
        .find_map(|kind| kind.as_str().filter(|kind| !kind.is_empty()))
    {
        descriptor["artifactType"] = kind.into();
    }
    if document["annotations"].is_object() {
        descriptor["annotations"] = document["annotations"].clone();
    }
    Ok(descriptor)
}

/// What [`Folder::open`] may find of itself where it was killed, or of another that opens the same folder now.
fn is_ours(name: &std::ffi::OsStr) -> bool {
    let own = RegistryPaths::new("");
    let known = [own.record(), own.lock(), own.blobs(), own.repositories()];
    known.iter().any(|path| path.as_os_str() == name)
        || atomic::is_temporary(&name.to_string_lossy())
}

/// Makes a directory that survives a power cut.
fn make_directory(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_directory(parent)?;
    }
    match std::fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        made => made.with_context(|| format!("create `{}`", path.display()))?,
    }
    path.parent().map_or(Ok(()), atomic::sync_directory)
}

fn make_parent(path: &Path) -> Result<()> {
    path.parent().map_or(Ok(()), make_directory)
}

/// Whether there was such a file; it is gone for good.
fn remove(path: &Path) -> Result<bool> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        removed => removed.with_context(|| format!("remove `{}`", path.display()))?,
    }
    path.parent().map_or(Ok(()), atomic::sync_directory)?;
    Ok(true)
}

fn is_older(path: &Path, until: SystemTime) -> bool {
    let changed = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    changed.is_ok_and(|changed| changed < until)
}

/// The digests that the files of a directory are called by, sorted; others are half made.
fn digests_in(directory: &Path) -> Result<Vec<AnyDigest>> {
    let mut digests = Vec::new();
    for algorithm in Algorithm::ALL {
        for hex in names_if_directory(&directory.join(algorithm.name()))? {
            digests.extend(AnyDigest::parse(&format!("{}:{hex}", algorithm.name())));
        }
    }
    digests.sort();
    Ok(digests)
}

/// A record or a manifest, `None` where there is none.
fn read_small(path: &Path) -> Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        file => file.with_context(|| format!("open `{}`", path.display()))?,
    };
    let mut bytes = Vec::new();
    let mut small = file.take(LARGEST_MANIFEST + 1);
    small
        .read_to_end(&mut bytes)
        .with_context(|| format!("read `{}`", path.display()))?;
    match bytes.len() as u64 > LARGEST_MANIFEST {
        true => Err(bad_input(format!("`{}` is too large", path.display())).into()),
        false => Ok(Some(bytes)),
    }
}
