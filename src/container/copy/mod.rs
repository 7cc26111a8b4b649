//! `cp`: files between a container and the host, or a tar stream.
//!
//! ```text
//! source, held by a descriptor ─▶ pack ══ pipe ══▶ extract ─▶ destination, held by a descriptor
//!                                   └─▶ standard output    standard input ─▶┘
//! ```
//!
//! Both sides are found first, as whoever calls; then the process moves to where the container's files can be
//! reached. Which of the two is to be made of what follows Docker's table, see [`place`].
//!
//! Invariants. In the container every path is resolved with its root as `/`. On the host nothing is made outside of
//! the destination, and no symbolic link below it is followed. No device, pipe or socket is ever opened.

pub mod extract;
mod place;
mod view;

use super::engine::Engine;
use super::list::Container;
use super::mount_point::{self, Missing};
use super::{event, root};
use crate::error::{Kind, not_found};
use crate::id_mapping::Tier;
use crate::image::compression;
use crate::image::layer::pack::Packer;
use crate::store::lock::Lock;
use anyhow::{Context, Result};
use extract::{Extractor, Ids, Scope};
use place::{Destination, Source};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// How long a container may be between two states before the copy gives up, in steps of [`STEP`].
const STEPS: usize = 250;
const STEP: Duration = Duration::from_millis(20);

/// How to copy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Files keep their owners.
    pub archive: bool,
    /// A source that is a symbolic link stands for its target.
    pub follow: bool,
    /// A file may take the place of a directory, and the reverse.
    pub overwrite: bool,
}

/// What was copied.
#[derive(Debug, Default)]
pub struct Copied {
    /// Length of the tar stream in bytes, which is what Docker tells; of one that is written, without what only
    /// ours has: extended headers for fractions of seconds.
    pub bytes: u64,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// A container's root, and what has to be held as long as it is used.
struct Opened {
    root: OwnedFd,
    _lock: Option<Lock>,
}

/// Copies a file or directory of a container to a path of the host.
pub fn to_host(
    engine: &Engine,
    container: &Container,
    source: &str,
    target: &Path,
    options: Options,
) -> Result<Copied> {
    let destination = Destination::on_host(target)?;
    let opened = open(engine, container, false)?;
    let source = find(container, &opened.root, source, options)?;
    let (directory, name) = destination.of(&source, options)?;
    let owners = root::Owners::of(engine, &container.record);
    // Only root can give files away.
    let ids = match options.archive && engine.mapping.tier == Tier::Root {
        true => Ids::Keep,
        false => Ids::Caller,
    };
    let scope = Scope::Beneath(directory);
    let extractor = Extractor::new(scope, ids, options.overwrite);
    let copied = through_pipe(source, &name, owners, extractor)?;
    event::container(engine, &container.record, "archive-path", &[]);
    Ok(copied)
}

/// Writes a file or directory of a container as a tar stream.
pub fn to_stream(
    engine: &Engine,
    container: &Container,
    source: &str,
    out: &mut dyn Write,
    options: Options,
) -> Result<Copied> {
    let opened = open(engine, container, false)?;
    let source = find(container, &opened.root, source, options)?;
    let owners = root::Owners::of(engine, &container.record);
    let name = source.name();
    let copied = pack(source, &name, owners, out)?;
    event::container(engine, &container.record, "archive-path", &[]);
    Ok(copied)
}

/// Copies a file or directory of the host into a container.
pub fn to_container(
    engine: &Engine,
    container: &Container,
    source: &Path,
    target: &str,
    options: Options,
) -> Result<Copied> {
    let source = Source::on_host(source, options.follow)?;
    let opened = open(engine, container, true)?;
    let destination = Destination::in_container(&opened.root, target, &container.record.name)?;
    let (directory, name) = destination.of(&source, options)?;
    view::check_writable(&directory, &container.record)?;
    let ids = ids(engine, options.archive);
    let scope = Scope::Root {
        root: opened.root,
        directory,
        owners: root::Owners::of(engine, &container.record),
    };
    let extractor = Extractor::new(scope, ids, options.overwrite);
    let as_they_are = root::Owners::default();
    let copied = through_pipe(source, &name, as_they_are, extractor);
    let copied = copied.with_context(|| format!("copy to container {}", container.record.name))?;
    event::container(engine, &container.record, "extract-to-dir", &[]);
    Ok(copied)
}

/// Unpacks a tar stream, perhaps compressed, in a directory of a container. Files get the owners that it names.
pub fn from_stream(
    engine: &Engine,
    container: &Container,
    stream: File,
    target: &str,
    options: Options,
) -> Result<Copied> {
    let opened = open(engine, container, true)?;
    let name = &container.record.name;
    let directory =
        Destination::in_container(&opened.root, target, name)?.directory(target, name)?;
    view::check_writable(&directory, &container.record)?;
    let scope = Scope::Root {
        root: opened.root,
        directory,
        owners: root::Owners::of(engine, &container.record),
    };
    let mut extractor = Extractor::new(scope, ids(engine, true), options.overwrite);
    let unpack = || {
        let (compression, stream) = compression::peek(stream).context("read the archive")?;
        let mut counted = Counted {
            inner: compression.unpack(stream)?,
            bytes: 0,
        };
        let warnings = extractor.extract(BufReader::with_capacity(256 << 10, &mut counted))?;
        Ok::<_, anyhow::Error>(Copied {
            bytes: counted.bytes,
            warnings,
        })
    };
    let copied = unpack().with_context(|| format!("copy to container {name}"))?;
    event::container(engine, &container.record, "extract-to-dir", &[]);
    Ok(copied)
}

/// With a single id there is nobody to give a file to.
fn ids(engine: &Engine, keep: bool) -> Ids {
    match (engine.mapping.tier, keep) {
        (Tier::Single, _) => Ids::Single,
        (_, true) => Ids::Keep,
        (_, false) => Ids::Root,
    }
}

/// Opens the container's root and moves the process to where it can be used.
fn open(engine: &Engine, container: &Container, write: bool) -> Result<Opened> {
    let record = &container.record;
    let mut state = container.state.clone();
    let mut entered = false;
    for _ in 0..STEPS {
        if let Some(root) = root::running(state.as_ref())? {
            root::enter(engine)?;
            return Ok(Opened { root, _lock: None });
        }
        if !write {
            if !entered {
                mount_point::enter(engine, record.volumes())?;
                entered = true;
            }
            if let Some(root) = view::to_read(engine, record)? {
                return Ok(Opened { root, _lock: None });
            }
        }
        if let Some(lock) = root::lock(engine, record)? {
            if !entered {
                mount_point::enter(engine, record.volumes())?;
            }
            let missing = if write { Missing::Make } else { Missing::Show };
            let root = view::to_write(engine, record, &lock, missing)?;
            return Ok(Opened {
                root,
                _lock: Some(lock),
            });
        }
        // It is being started, is ending, or somebody else copies into it.
        std::thread::sleep(STEP);
        state = super::list::find(engine, &record.id)?.state;
    }
    Err(root::busy(record).into())
}

fn find(container: &Container, top: &OwnedFd, path: &str, options: Options) -> Result<Source> {
    Source::in_container(top, path, options.follow)?.ok_or_else(|| {
        let name = &container.record.name;
        let error = not_found(format!(
            "Could not find the file {path} in container {name}"
        ));
        let tmpfs = &container.record.options.tmpfs;
        match tmpfs.keys().any(|mount| Path::new(path).starts_with(mount))
            && !container.status().is_up()
        {
            true => error.hint("it is not running, so its tmpfs is gone").into(),
            false => error.into(),
        }
    })
}

fn pack(source: Source, name: &[u8], owners: root::Owners, out: impl Write) -> Result<Copied> {
    let owner = Box::new(move |_: &[u8], found| owners.inside(found));
    let mut packer = Packer::new(BufWriter::with_capacity(1 << 20, out), owner);
    packer.tree(source.entry, name)?;
    let (bytes, warnings) = packer.finish()?;
    Ok(Copied { bytes, warnings })
}

/// Packs in one thread and extracts in another.
fn through_pipe(
    source: Source,
    name: &[u8],
    owners: root::Owners,
    mut extractor: Extractor,
) -> Result<Copied> {
    let (reader, writer) = std::io::pipe().context("pipe")?;
    std::thread::scope(|scope| {
        let packing = std::thread::Builder::new()
            .name("pack".to_owned())
            .spawn_scoped(scope, move || pack(source, name, owners, writer))
            .context("start a thread")?;
        let extracted = extractor.extract(BufReader::with_capacity(256 << 10, reader));
        let packed = packing
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // When one side fails, the other's complaint of a broken pipe or a stream that is cut off is a consequence.
        match (packed, extracted) {
            (Ok(mut copied), Ok(warnings)) => {
                copied.warnings.extend(warnings);
                Ok(copied)
            }
            (Err(error), Ok(_)) => Err(error),
            (Ok(_), Err(error)) => Err(error),
            (Err(error), Err(extracting)) => match crate::error::kind(&extracting) {
                Some(Kind::BadInput) if !is_broken_pipe(&error) => Err(error),
                _ => Err(extracting),
            },
        }
    })
}

/// Whether a writer found nobody reading any more.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |cause: &std::io::Error| cause.kind() == std::io::ErrorKind::BrokenPipe;
    error
        .chain()
        .any(|cause| cause.downcast_ref().is_some_and(broken))
}

struct Counted<R> {
    inner: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(into)?;
        self.bytes += read as u64;
        Ok(read)
    }
}
