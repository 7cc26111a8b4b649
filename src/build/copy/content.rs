//! Digests of what is in the selected files, taken by as many threads as there are processors.

use super::selection::{Entry, Kind, Selection, changed, modified, size};
use super::threads::together;
use super::tree::Tree;
use anyhow::Result;
use rustix::fs::{OFlags, fstat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::sync::{Mutex, PoisonError};

/// More threads than that wait for each other and for the disk.
const MAX_THREADS: usize = 8;
/// With less to read one thread is done sooner.
const WORTH_THREADS: (usize, u64) = (64, 1 << 20);
/// A thread takes so many files at once.
const BATCH: usize = 32;
const PIECE: usize = 256 << 10;
/// A file that is written to meanwhile is read again this often.
const ATTEMPTS: usize = 3;

/// Gives each regular file that has none its digest. Whether there was one to be read.
pub fn take(tree: &Tree<'_>, selection: &mut Selection) -> Result<bool> {
    let entries = selection
        .items
        .iter_mut()
        .flat_map(|item| &mut item.entries);
    let jobs: Vec<&mut Entry> = entries
        .filter(|entry| entry.kind == Kind::File && entry.content.is_none())
        .collect();
    if jobs.is_empty() {
        return Ok(false);
    }
    let bytes: u64 = jobs.iter().map(|entry| entry.size).sum();
    let threads = match jobs.len() < WORTH_THREADS.0 && bytes < WORTH_THREADS.1 {
        true => 1,
        false => MAX_THREADS,
    };
    let jobs = Mutex::new(jobs);
    together("digest", threads, || work(tree, &jobs))?;
    Ok(true)
}

/// Takes files until there are none.
fn work(tree: &Tree<'_>, jobs: &Mutex<Vec<&mut Entry>>) -> Result<()> {
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
        for entry in &mut batch {
            let read = read(tree, entry, &mut buffer);
            read.map_err(|errno| tree.failed("read", &entry.path, errno))?;
            if entry.content.is_none() {
                return Err(tree.changed(&entry.path).into());
            }
        }
    }
}

/// Reads one until it holds still; what it was then is what was selected.
fn read(tree: &Tree<'_>, entry: &mut Entry, buffer: &mut [u8]) -> rustix::io::Result<()> {
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
            return Ok(());
        }
        before = after;
    }
    Ok(())
}
