//! Digests of what is in the selected files, taken by as many threads as there are processors.

use super::selection::{Entry, Kind, Selection, changed, modified, size};
use super::stat_cache::StatCache;
use super::tree::Tree;
use anyhow::{Context, Result};
use rustix::fs::{OFlags, Stat, fstat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// More threads than that wait for each other and for the disk.
const MAX_THREADS: usize = 8;
/// With less to read one thread is done sooner.
const WORTH_THREADS: (usize, u64) = (64, 1 << 20);
/// A thread takes so many files at once.
const BATCH: usize = 32;
const PIECE: usize = 256 << 10;
/// A file that is written to meanwhile is read again this often.
const ATTEMPTS: usize = 3;

/// A file whose digest is missing, and what it turned out to be when it was read.
struct Job<'a> {
    entry: &'a mut Entry,
    found: Option<Stat>,
}

/// Gives each regular file its digest.
pub fn take(tree: &Tree<'_>, selection: &mut Selection, cache: &mut StatCache) -> Result<()> {
    let begun = SystemTime::now();
    let entries = selection
        .items
        .iter_mut()
        .flat_map(|item| &mut item.entries);
    let missing = entries.filter(|entry| entry.kind == Kind::File && entry.content.is_none());
    let jobs: Vec<Job<'_>> = missing.map(|entry| Job { entry, found: None }).collect();
    if jobs.is_empty() {
        return Ok(());
    }
    let bytes: u64 = jobs.iter().map(|job| job.entry.size).sum();
    let threads = match jobs.len() < WORTH_THREADS.0 && bytes < WORTH_THREADS.1 {
        true => 1,
        false => std::thread::available_parallelism().map_or(1, |count| count.get()),
    };
    let done = Mutex::new(Vec::with_capacity(jobs.len()));
    let jobs = Mutex::new(jobs);
    let root = tree.root;
    let is_layers = tree.is_layers();
    let mut result = std::thread::scope(|scope| {
        let work = || work(root, is_layers, &jobs, &done);
        let mut others = Vec::new();
        for _ in 1..threads.min(MAX_THREADS) {
            let thread = std::thread::Builder::new().name("digest".to_owned());
            others.push(thread.spawn_scoped(scope, work).context("start a thread")?);
        }
        let own = work();
        let results = others.into_iter().map(|other| {
            let panicked = |panic| std::panic::resume_unwind(panic);
            other.join().unwrap_or_else(panicked)
        });
        [own]
            .into_iter()
            .chain(results)
            .collect::<Result<Vec<()>>>()
    });
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    for job in done {
        match (job.found, job.entry.content) {
            (Some(found), Some(digest)) => cache.remember(&found, digest, begun),
            _ => result = result.and(Err(tree.changed(&job.entry.path).into())),
        }
    }
    result.map(drop)
}

/// Takes files until there are none.
fn work<'a>(
    root: BorrowedFd<'_>,
    is_layers: bool,
    jobs: &Mutex<Vec<Job<'a>>>,
    done: &Mutex<Vec<Job<'a>>>,
) -> Result<()> {
    let tree = match is_layers {
        true => Tree::layers(root, None),
        false => Tree::context(root, None),
    };
    let mut buffer = vec![0; PIECE];
    loop {
        let mut batch = {
            let mut jobs = jobs.lock().unwrap_or_else(PoisonError::into_inner);
            let rest = jobs.len().saturating_sub(BATCH);
            jobs.split_off(rest)
        };
        if batch.is_empty() {
            return Ok(());
        }
        for job in &mut batch {
            let read = read(&tree, job, &mut buffer);
            read.map_err(|errno| tree.failed("read", &job.entry.path, errno))?;
        }
        let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
        done.append(&mut batch);
    }
}

/// Reads one until it holds still; what it was then is what was selected.
fn read(tree: &Tree<'_>, job: &mut Job<'_>, buffer: &mut [u8]) -> rustix::io::Result<()> {
    let entry = &mut *job.entry;
    let file = tree.open(&entry.path, OFlags::RDONLY)?;
    let mut before = fstat(&file)?;
    if (before.st_dev, before.st_ino) != entry.identity {
        return Err(Errno::NOENT);
    }
    for _ in 0..ATTEMPTS {
        let (mut hasher, mut at, length) = (Sha256::new(), 0, size(&before));
        while at < length {
            match rustix::io::pread(&file, &mut *buffer, at) {
                Ok(0) => break,
                Ok(read) => {
                    hasher.update(&buffer[..read]);
                    at += read as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        let after = fstat(&file)?;
        (entry.size, entry.modified, entry.changed) =
            (size(&after), modified(&after), changed(&after));
        if at == length && entry.is_still(&before) {
            entry.content = Some(hasher.finalize().into());
            entry.mode = after.st_mode & 0o7777;
            job.found = Some(after);
            return Ok(());
        }
        before = after;
    }
    Ok(())
}
