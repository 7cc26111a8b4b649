//! Blobs on their way into a folder (distribution-spec, "Pushing blobs"): a file that grows, in as many requests as it
//! takes, until somebody says what digest it must have.
//!
//! Whoever adds to an upload holds the lock of its file. What a broken connection has left of it can be gone on with;
//! what does not fit on the disk, or has another digest than was said, goes at once.

use super::{Folder, is_older, make_directory, make_parent, remove};
use crate::image::serve::digest::AnyDigest;
use crate::image::serve::name::Name;
use crate::image::serve::refusal::Refusal;
use crate::paths::registry as paths;
use crate::store::directory::names_if_directory;
use crate::store::{atomic, id};
use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// Until who added before has noticed that his connection is gone.
const PATIENCE: Duration = Duration::from_secs(5);
/// After which nobody goes on with an upload any more.
const FORGOTTEN: Duration = Duration::from_secs(3600);
const PIECE: usize = 256 << 10;

/// An upload that nobody else adds to meanwhile.
pub struct Upload<'a> {
    folder: &'a Folder,
    name: &'a Name,
    file: File,
    path: PathBuf,
    size: u64,
}

impl Folder {
    /// Begins an upload; its id. Those of the repository that were left go.
    pub fn begin_upload(&self, name: &Name) -> Result<String> {
        let id = id::random_hex(32)?;
        let _lock = self.share()?;
        let repository = self.repository(name);
        make_directory(&paths::uploads_in(&repository))?;
        forget_uploads(&repository)?;
        let path = paths::upload_in(&repository, &id);
        File::create_new(&path).with_context(|| format!("create `{}`", path.display()))?;
        Ok(id)
    }

    /// How much of an upload has come.
    pub fn upload_size(&self, name: &Name, id: &str) -> Result<u64, Refusal> {
        let path = self.upload_path(name, id)?;
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Err(Refusal::upload_unknown()),
            metadata => Ok(metadata
                .with_context(|| format!("stat `{}`", path.display()))?
                .len()),
        }
    }

    /// Goes on with an upload.
    pub fn upload<'a>(&'a self, name: &'a Name, id: &str) -> Result<Upload<'a>, Refusal> {
        let path = self.upload_path(name, id)?;
        let file = match File::options().read(true).write(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Refusal::upload_unknown());
            }
            file => file.with_context(|| format!("open `{}`", path.display()))?,
        };
        let end = Instant::now() + PATIENCE;
        while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            if Instant::now() > end {
                let message = "another request adds to this upload";
                return Err(Refusal::new(409, "BLOB_UPLOAD_INVALID", message));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let metadata = file
            .metadata()
            .with_context(|| format!("stat `{}`", path.display()))?;
        // It may have ended while this waited.
        if metadata.nlink() == 0 || !path.exists() {
            return Err(Refusal::upload_unknown());
        }
        Ok(Upload {
            folder: self,
            name,
            file,
            path,
            size: metadata.len(),
        })
    }

    /// Ends an upload without a blob.
    pub fn cancel_upload(&self, name: &Name, id: &str) -> Result<(), Refusal> {
        match remove(&self.upload_path(name, id)?)? {
            true => Ok(()),
            false => Err(Refusal::upload_unknown()),
        }
    }

    fn upload_path(&self, name: &Name, id: &str) -> Result<PathBuf, Refusal> {
        match id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            true => Ok(paths::upload_in(&self.repository(name), id)),
            false => Err(Refusal::upload_unknown()),
        }
    }
}

/// Removes uploads that were left; the bytes that came free.
pub(super) fn forget_uploads(repository: &Path) -> Result<u64> {
    let mut reclaimed = 0;
    let until = SystemTime::now() - FORGOTTEN;
    for id in names_if_directory(&paths::uploads_in(repository))? {
        let path = paths::upload_in(repository, &id);
        if is_older(&path, until) {
            reclaimed += std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
            remove(&path)?;
        }
    }
    Ok(reclaimed)
}

impl Upload<'_> {
    /// How much has come.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds what comes. Where it must have a certain `length` and has another, the upload is as it was.
    pub fn append(&mut self, body: &mut dyn Read, length: Option<u64>) -> Result<(), Refusal> {
        let start = self.size;
        let shown = self.path.display().to_string();
        self.file
            .seek(SeekFrom::Start(start))
            .with_context(|| format!("seek in `{shown}`"))?;
        let mut piece = vec![0; PIECE];
        loop {
            let got = match body.read(&mut piece) {
                Ok(0) => break,
                Ok(got) => got,
                Err(error) => return Err(Refusal::body(&error)),
            };
            if let Err(error) = self.file.write_all(&piece[..got]) {
                let error = anyhow::Error::from(error).context(format!("write `{shown}`"));
                self.discard_if_full(&error);
                return Err(error.into());
            }
            self.size += got as u64;
        }
        if length.is_some_and(|length| length != self.size - start) {
            self.file
                .set_len(start)
                .with_context(|| format!("truncate `{shown}`"))?;
            let message = "the body has not the length of its range";
            return Err(Refusal::new(400, "SIZE_INVALID", message));
        }
        Ok(())
    }

    /// Makes it a blob of the repository.
    pub fn finish(mut self, digest: &AnyDigest) -> Result<(), Refusal> {
        let shown = self.path.display().to_string();
        self.file
            .seek(SeekFrom::Start(0))
            .with_context(|| format!("seek in `{shown}`"))?;
        let (got, _) = digest
            .algorithm()
            .of(&mut self.file)
            .with_context(|| format!("read `{shown}`"))?;
        if got != *digest {
            remove(&self.path)?;
            let message = format!("the digest of what was sent is {got}");
            return Err(Refusal::digest_invalid(message));
        }
        self.publish(digest).map_err(|error| {
            self.discard_if_full(&error);
            let is_gone = |cause: &std::io::Error| cause.kind() == ErrorKind::NotFound;
            match error
                .chain()
                .filter_map(|cause| cause.downcast_ref())
                .any(is_gone)
            {
                true if !self.path.exists() => Refusal::upload_unknown(),
                _ => error.into(),
            }
        })
    }

    fn publish(&self, digest: &AnyDigest) -> Result<()> {
        self.file
            .sync_all()
            .with_context(|| format!("fsync `{}`", self.path.display()))?;
        let _lock = self.folder.share()?;
        let place = self.folder.blob_path(digest);
        make_parent(&place)?;
        // One that is there already has the same bytes, or is damaged.
        std::fs::rename(&self.path, &place).with_context(|| {
            format!("rename `{}` to `{}`", self.path.display(), place.display())
        })?;
        place.parent().map_or(Ok(()), atomic::sync_directory)?;
        self.folder.link_blob(self.name, digest)
    }

    /// A full disk must not be kept full by what nobody can go on with.
    fn discard_if_full(&self, error: &anyhow::Error) {
        if atomic::is_full(error) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
