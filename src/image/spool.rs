//! A file that is written by one thread and read by others from its start while it grows. On disk, and gone with the
//! value that made it.

use anyhow::{Context, Result};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Where it is read; clones read the same file.
#[derive(Clone, Debug)]
pub struct Spool {
    file: Arc<File>,
    progress: Arc<(Mutex<Progress>, Condvar)>,
}

#[derive(Debug, Default)]
struct Progress {
    written: u64,
    /// Whether nothing comes any more, and whether all came.
    end: Option<bool>,
    /// Nobody wants the rest.
    abandoned: bool,
}

/// Where it is written. Unless it is finished, readers are told that it is not whole.
#[derive(Debug)]
pub struct Writer(Spool);

impl Spool {
    /// Makes one in a directory, where nobody sees it.
    pub fn new(directory: &Path) -> Result<(Self, Writer)> {
        let file = tempfile(directory)
            .with_context(|| format!("create a file in `{}`", directory.display()))?;
        let spool = Self {
            file: Arc::new(file),
            progress: Arc::default(),
        };
        Ok((spool.clone(), Writer(spool)))
    }

    /// All of it from the start, as it comes.
    pub fn reader(&self) -> Reader {
        Reader {
            spool: self.clone(),
            position: 0,
        }
    }

    /// Lets the writer fail, since nobody wants the rest.
    pub fn abandon(&self) {
        self.lock().abandoned = true;
    }

    /// Whether the writer has gone before its end.
    pub fn is_cut(&self) -> bool {
        self.lock().end == Some(false)
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, whole: bool) {
        self.lock().end.get_or_insert(whole);
        self.progress.1.notify_all();
    }
}

fn tempfile(directory: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags, open};
    match open(
        directory,
        OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC,
        Mode::RUSR | Mode::WUSR,
    ) {
        Ok(file) => Ok(file.into()),
        // Not every file system has files without a name.
        Err(_) => {
            let path = directory.join(crate::store::id::random_hex(16).map_err(io::Error::other)?);
            let mut options = File::options();
            let file = options
                .read(true)
                .write(true)
                .create_new(true)
                .open(&path)?;
            std::fs::remove_file(&path)?;
            Ok(file)
        }
    }
}

impl Writer {
    /// All of it is written.
    pub fn finish(self) {
        self.0.end(true);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.end(false);
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (at, abandoned) = {
            let progress = self.0.lock();
            (progress.written, progress.abandoned)
        };
        if abandoned {
            return Err(io::Error::other("nobody wants the rest"));
        }
        let written = self.0.file.write_at(bytes, at)?;
        self.0.lock().written += written as u64;
        self.0.progress.1.notify_all();
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads it while it grows.
#[derive(Debug)]
pub struct Reader {
    spool: Spool,
    position: u64,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut progress = self.spool.lock();
        while progress.written == self.position {
            match progress.end {
                Some(true) => return Ok(0),
                Some(false) => return Err(io::Error::other("it was not written to its end")),
                None => {
                    let waited = self.spool.progress.1.wait(progress);
                    progress = waited.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
        let left = usize::try_from(progress.written - self.position).unwrap_or(usize::MAX);
        drop(progress);
        let end = left.min(buffer.len());
        let got = self.spool.file.read_at(&mut buffer[..end], self.position)?;
        self.position += got as u64;
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_follow_and_learn_how_it_ends() {
        let directory = tempfile::tempdir().unwrap();
        let (spool, mut writer) = Spool::new(directory.path()).unwrap();
        let read = |spool: &Spool| {
            let mut reader = spool.reader();
            std::thread::spawn(move || {
                let mut text = String::new();
                reader.read_to_string(&mut text).map(|_| text)
            })
        };
        let early = read(&spool);
        writer.write_all(b"on").unwrap();
        writer.write_all(b"ggi").unwrap();
        writer.finish();
        for reader in [early, read(&spool)] {
            assert_eq!(reader.join().unwrap().unwrap(), "onggi");
        }
        let (spool, mut writer) = Spool::new(directory.path()).unwrap();
        writer.write_all(b"on").unwrap();
        let cut = read(&spool);
        assert!(!spool.is_cut());
        spool.abandon();
        assert!(writer.write(b"ggi").is_err());
        drop(writer);
        assert!(spool.is_cut());
        assert!(cut.join().unwrap().is_err());
    }
}
