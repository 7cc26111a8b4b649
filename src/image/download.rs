//! Blobs on their way: each is a file by the digest it is to have, to which bytes are added as they come. Whatever ends
//! a download, the next one goes on where it ended, in this or any later process.
//!
//! ```text
//! worker:  flock ─▶ GET from the file's end ─▶ append ─▶ … ─▶ whole ─▶ unlock      reader: follows the file's end
//! ```
//!
//! Who downloads holds the lock of the file, one at a time and never while waiting for another, so that nobody waits in
//! a circle. A whole file stays until its layer is in the store, for others who have waited for it.
//!
//! Invariant: nothing is ever taken away from a file, which others may be reading: a wrong one is unlinked. Its digest is
//! checked by whoever unpacks it.

use super::digest::Digest;
use super::registry::Repository;
use crate::error::{self, Error, Kind, bad_input};
use crate::paths::Paths;
use crate::progress::{Progress, Step};
use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const BUFFER: usize = 128 << 10;
/// Breaks in a row without a single byte between them.
const TRIES: u32 = 6;
/// How long to wait between looks at a file that somebody else fills.
const LOOK: Duration = Duration::from_millis(50);

/// One blob.
pub struct Download {
    digest: Digest,
    size: u64,
    path: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
    /// How many of its bytes have been read for unpacking.
    read: AtomicU64,
}

#[derive(Default)]
struct State {
    /// The file, once it is ours to fill.
    file: Option<File>,
    /// How many of its bytes are there.
    received: u64,
    /// How many there were before.
    before: u64,
    end: Option<End>,
}

/// How it ended.
enum End {
    Whole,
    /// What it is for came into the store by somebody else.
    NotNeeded,
    Failed(Option<anyhow::Error>),
}

impl Download {
    /// Nothing happens yet.
    pub fn new(paths: &Paths, digest: &Digest, size: u64) -> Self {
        Self {
            digest: digest.clone(),
            size,
            path: paths.download(digest.hex()),
            state: Mutex::default(),
            changed: Condvar::new(),
            read: AtomicU64::new(0),
        }
    }

    /// The digest that the blob is to have.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many of its bytes nobody has read yet.
    pub fn not_read(&self) -> u64 {
        self.size.saturating_sub(self.read.load(Ordering::Relaxed))
    }

    /// Downloads it to its end. `is_here` says whether what it is for has come into the store meanwhile.
    pub fn fill(
        &self,
        repository: &Repository,
        is_here: &dyn Fn() -> bool,
        progress: &dyn Progress,
    ) {
        let end = self.try_fill(repository, is_here, progress);
        let mut state = self.lock();
        if let Some(file) = &state.file {
            // It goes with the descriptor at the latest.
            let _ = flock(file, FlockOperation::Unlock);
        }
        state.end = Some(end.unwrap_or_else(|error| End::Failed(Some(error))));
        self.changed.notify_all();
    }

    fn try_fill(
        &self,
        repository: &Repository,
        is_here: &dyn Fn() -> bool,
        progress: &dyn Progress,
    ) -> Result<End> {
        let id = self.digest.short();
        if repository.is_cancelled() {
            return Ok(End::NotNeeded);
        }
        let Some((file, waited)) = self.take(repository, progress)? else {
            return Ok(End::NotNeeded);
        };
        if waited && is_here() {
            self.discard()?;
            return Ok(End::NotNeeded);
        }
        let before = file
            .metadata()
            .with_context(|| format!("read `{}`", self.path.display()))?
            .len();
        let writer = file.try_clone().context("duplicate a descriptor")?;
        {
            let mut state = self.lock();
            (state.file, state.received, state.before) = (Some(file), before, before);
            self.changed.notify_all();
        }
        let mut received = before;
        let (mut breaks, mut answered) = (0, false);
        while received < self.size {
            let from = received;
            let failure = match self.receive(
                repository,
                &writer,
                (&mut received, &mut answered),
                progress,
            ) {
                Ok(()) if received == self.size => break,
                Ok(()) => {
                    bad_input(format!("it ends after {received} of {} bytes", self.size)).into()
                }
                Err(failure) => failure,
            };
            // Who drips gets no further for all that comes.
            breaks = match received > from && !is_slow(&failure) {
                true => 0,
                false => breaks + 1,
            };
            let is_final = matches!(error::kind(&failure), Some(Kind::NotFound | Kind::Conflict));
            if repository.is_cancelled() || is_final || breaks == TRIES || !answered {
                if received == 0 {
                    self.discard()?;
                }
                return Err(failure.context(format!("download {}", self.digest)));
            }
            progress.tell(id, Step::Broken(format!("{failure:#}")));
            if breaks > 0 {
                repository.pause(Duration::from_millis(250) * 2u32.pow(breaks));
            }
        }
        progress.tell(id, Step::Downloaded);
        Ok(End::Whole)
    }

    /// The file, locked, and whether somebody else had it before; `None` where all was given up meanwhile.
    fn take(
        &self,
        repository: &Repository,
        progress: &dyn Progress,
    ) -> Result<Option<(File, bool)>> {
        let mut waited = false;
        loop {
            let mut options = File::options();
            let file = options
                .read(true)
                .append(true)
                .create(true)
                .open(&self.path);
            let file = file.with_context(|| format!("create `{}`", self.path.display()))?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    let held = file
                        .metadata()
                        .with_context(|| format!("read `{}`", self.path.display()))?;
                    // Whoever had it may have taken it away.
                    let is_there =
                        std::fs::metadata(&self.path).is_ok_and(|there| there.ino() == held.ino());
                    if is_there && held.len() <= self.size {
                        return Ok(Some((file, waited)));
                    }
                    if is_there {
                        self.discard()?;
                    }
                    waited = true;
                }
                Err(Errno::WOULDBLOCK) => {
                    if repository.is_cancelled() {
                        return Ok(None);
                    }
                    if !waited {
                        progress.tell(self.digest.short(), Step::Waiting);
                    }
                    waited = true;
                    std::thread::sleep(LOOK);
                }
                Err(Errno::INTR) => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("lock `{}`", self.path.display()));
                }
            }
        }
    }

    /// One request; adds what comes of it.
    fn receive(
        &self,
        repository: &Repository,
        file: &File,
        (received, answered): (&mut u64, &mut bool),
        progress: &dyn Progress,
    ) -> Result<()> {
        let mut blob = repository.blob(&self.digest, *received)?;
        *answered = true;
        let announced = blob.length.map(|length| blob.from.saturating_add(length));
        if let Some(announced) = announced.filter(|announced| *announced != self.size) {
            let message = format!(
                "it is announced with {announced} bytes instead of {}",
                self.size
            );
            // Another try would bring the same.
            return Err(Error::new(Kind::Conflict, message).into());
        }
        // A registry without ranges sends what is here again.
        let mut skip = *received - blob.from;
        let mut buffer = vec![0; BUFFER];
        loop {
            let got = match blob.body.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(got) => got,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    let broke = Error::new(Kind::Denied, "the connection broke");
                    return Err(anyhow::Error::new(error).context(broke));
                }
            };
            let skipped = skip.min(got as u64);
            skip -= skipped;
            let bytes = &buffer[skipped as usize..got];
            if *received + bytes.len() as u64 > self.size {
                let message = format!("it is longer than the {} bytes it should have", self.size);
                return Err(Error::new(Kind::Conflict, message).into());
            }
            self.append(file, bytes, *received)?;
            *received += bytes.len() as u64;
            self.lock().received = *received;
            self.changed.notify_all();
            progress.tell(self.digest.short(), Step::Downloading(*received, self.size));
        }
    }

    fn append(&self, mut file: &File, bytes: &[u8], at: u64) -> Result<()> {
        match io::Write::write_all(&mut file, bytes) {
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::StorageFull | ErrorKind::QuotaExceeded
                ) =>
            {
                let missing = self.size - at;
                let message = format!(
                    "write `{}`: disk full, {missing} bytes of it are missing",
                    self.path.display()
                );
                // What is there is kept, and gone on with.
                Err(Error::new(Kind::Conflict, message)
                    .hint(error::NO_SPACE)
                    .into())
            }
            written => written.with_context(|| format!("write `{}`", self.path.display())),
        }
    }

    /// Waits until there is something to read; false where nothing has to be.
    pub fn begun(&self) -> Result<bool> {
        let mut state = self.lock();
        loop {
            let begun = state.file.is_some();
            match &mut state.end {
                Some(End::NotNeeded) => return Ok(false),
                _ if begun => return Ok(true),
                Some(End::Failed(error)) => return Err(taken(error)),
                _ => state = self.wait(state),
            }
        }
    }

    /// The blob from its start, as far as it has come, and then as it comes.
    pub fn reader<'a>(&'a self, progress: &'a dyn Progress) -> Result<Reader<'a>> {
        let state = self.lock();
        let file = state
            .file
            .as_ref()
            .context("the layer has just been removed")?;
        let file = file.try_clone().context("duplicate a descriptor")?;
        Ok(Reader {
            download: self,
            file,
            position: 0,
            progress,
        })
    }

    /// Why it failed, if it did.
    pub fn failure(&self) -> Option<anyhow::Error> {
        match &mut self.lock().end {
            Some(End::Failed(error)) => Some(taken(error)),
            _ => None,
        }
    }

    /// After something was wrong with it: whether that was since bytes of an earlier time are, so that it may be right
    /// the next time. In any case the file goes.
    pub fn was_spoilt(&self) -> Result<bool> {
        let mut state = self.lock();
        let before = state.before;
        while before > 0 && state.end.is_none() {
            state = self.wait(state);
        }
        let whole = matches!(state.end, Some(End::Whole));
        let spoilt = match &state.file {
            Some(file) if before > 0 && whole => digest_of(file)? != self.digest,
            _ => false,
        };
        drop(state);
        self.discard()?;
        Ok(spoilt)
    }

    /// Removes the file.
    pub fn discard(&self) -> Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("remove `{}`", self.path.display()))
            }
            _ => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a server sent too little in too much time.
fn is_slow(failure: &anyhow::Error) -> bool {
    let mut causes = failure.chain().filter_map(|cause| cause.downcast_ref());
    causes.any(|cause: &io::Error| cause.kind() == ErrorKind::TimedOut)
}

/// An error is told once; who asks again gets less.
fn taken(error: &mut Option<anyhow::Error>) -> anyhow::Error {
    error
        .take()
        .unwrap_or_else(|| anyhow::anyhow!("the download failed"))
}

fn digest_of(file: &File) -> Result<Digest> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; BUFFER];
    let mut position = 0;
    loop {
        match file
            .read_at(&mut buffer, position)
            .context("read a download")?
        {
            0 => return Ok(Digest::from_hasher(hasher)),
            got => {
                hasher.update(&buffer[..got]);
                position += got as u64;
            }
        }
    }
}

/// Reads a blob while it comes.
pub struct Reader<'a> {
    download: &'a Download,
    file: File,
    position: u64,
    progress: &'a dyn Progress,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.download.lock();
        while state.received == self.position {
            match &state.end {
                None => state = self.download.wait(state),
                Some(End::Failed(_)) => return Err(io::Error::other("its download failed")),
                Some(_) => return Ok(0),
            }
        }
        let left = usize::try_from(state.received - self.position).unwrap_or(usize::MAX);
        drop(state);
        let end = left.min(buffer.len());
        let got = self.file.read_at(&mut buffer[..end], self.position)?;
        self.position += got as u64;
        self.download.read.store(self.position, Ordering::Relaxed);
        let id = self.download.digest.short();
        self.progress
            .tell(id, Step::Unpacking(self.position, self.download.size));
        Ok(got)
    }
}

/// Removes what nobody downloads and nobody has gone on with for so long.
pub fn sweep(paths: &Paths, unused_for: Duration) -> Result<u64> {
    let directory = paths.downloads();
    let mut freed = 0;
    for name in super::remove::file_names(&directory)? {
        freed += sweep_one(&directory.join(name), unused_for)?;
    }
    Ok(freed)
}

/// On a full disk: says how much of it is taken by what broke off, which is kept to be gone on with.
pub fn explain_full(paths: &Paths, error: anyhow::Error) -> anyhow::Error {
    if error::hint(&error) != Some(error::NO_SPACE) {
        return error;
    }
    let names = super::remove::file_names(&paths.downloads()).unwrap_or_default();
    let sizes = names.iter().filter_map(|name| {
        let found = std::fs::metadata(paths.downloads().join(name)).ok()?;
        Some(found.blocks() * 512)
    });
    match sizes.sum() {
        0u64 => error,
        bytes => error.context(format!(
            "{bytes} bytes of the disk are taken by downloads that broke off, which `onggi system prune` removes"
        )),
    }
}

fn sweep_one(path: &Path, unused_for: Duration) -> Result<u64> {
    let Ok(file) = File::open(path) else {
        return Ok(0);
    };
    let metadata = file
        .metadata()
        .with_context(|| format!("read `{}`", path.display()))?;
    let age = metadata
        .modified()
        .ok()
        .and_then(|time| time.elapsed().ok())
        .unwrap_or_default();
    if age < unused_for || flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(0);
    }
    std::fs::remove_file(path).with_context(|| format!("remove `{}`", path.display()))?;
    Ok(metadata.blocks() * 512)
}
