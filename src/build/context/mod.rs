//! Contexts: what the files of a build come from.
//!
//! ```text
//! Address ─ open ─▶ Context (root, perhaps a Dockerfile, a time) ─ definition::read ─▶ Dockerfile, what is left out
//!                            └─ select ─▶ Selection
//! ```
//!
//! A directory is used where it lies. Archives and repositories are unpacked into the store's staging directory, which
//! goes when the context is dropped. Images and stages are contexts too ([`Address`] names them), but what is in them
//! is layers, which the graph knows.
//!
//! Invariant: all that is ever read is below the root; nothing of an archive or a repository gets out of its directory.

pub mod address;
pub mod definition;
pub mod download;
pub mod git;
pub mod layout;

use crate::build::copy::filter;
use crate::build::copy::plan::Selector;
use crate::build::copy::selection::Selection;
use crate::build::copy::stat_cache::StatCache;
use crate::build::copy::{Tree, archive, select};
use crate::build::ignore::Ignore;
use crate::build::order::Secret;
use crate::build::output::material::Material;
use crate::container::copy::extract::{Extractor, Ids, Scope};
use crate::error::{bad_input, not_found};
use crate::image::compression::{self, Compression};
use crate::image::digest::Digest;
use crate::paths::Paths;
use crate::store::staging::Staging;
use crate::sys::openat2::open_root;
use address::{Address, Remote};
use anyhow::{Context as _, Result};
use definition::{Definition, LONGEST};
use download::Downloader;
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What is left out of a context, in this order.
const IGNORE_FILES: [&str; 2] = [".dockerignore", ".containerignore"];

/// Is told how many bytes have come, of how many if that is known.
pub type Watch<'a> = &'a dyn Fn(u64, Option<u64>);

/// What contexts need of where they are opened.
pub struct Host {
    /// The store.
    pub paths: Paths,
    /// How long a server may say nothing.
    pub silence: Duration,
    /// Of whom git servers may ask who is there.
    pub secrets: BTreeMap<String, Secret>,
    /// Standard input, or what takes its place; it is read once.
    pub input: Mutex<Option<Box<dyn Read + Send>>>,
}

impl Host {
    fn take_input(&self) -> Result<Box<dyn Read + Send>> {
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = input.take();
        Ok(taken.ok_or_else(|| {
            bad_input("invalid argument: can't use stdin for both build context and dockerfile")
        })?)
    }

    fn read_input(&self) -> Result<Vec<u8>> {
        read_text(self.take_input()?).context("read the Dockerfile from standard input")
    }

    /// What downloads.
    pub fn downloader(&self) -> Downloader {
        Downloader::new(&self.paths, self.silence)
    }
}

fn read_text(input: impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(LONGEST + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > LONGEST {
        true => Err(bad_input(format!("it is longer than {LONGEST} bytes and no archive")).into()),
        false => Ok(bytes),
    }
}

/// A context that files are taken from.
pub struct Context {
    root: OwnedFd,
    is_local: bool,
    /// Where the context is nothing but a Dockerfile.
    definition: Option<Definition>,
    /// When it was committed.
    epoch: Option<i64>,
    /// What it is in the net.
    material: Option<Material>,
    ignored: Ignore,
    digests: Mutex<StatCache>,
    warnings: Vec<String>,
    /// Its files lie here.
    _staging: Option<Staging>,
}

impl Context {
    /// Opens one. Images, layouts and stages have none.
    pub fn open(address: &Address, host: &Host, watch: Watch<'_>) -> Result<Self> {
        match address {
            Address::Directory(path) => Self::directory(path, &host.paths),
            Address::Input => {
                let input = host.take_input()?;
                Self::stream(input, "standard input", &host.paths)
                    .context("read the context from standard input")
            }
            Address::Remote(Remote::Git(repository)) => {
                let keep = repository.keep_git_directory.unwrap_or(false);
                Self::repository(repository, keep, None, host)
            }
            Address::Remote(Remote::Url(url)) => {
                let download = host.downloader().get(url, None, watch)?;
                let (name, modified) = (download.name, download.modified);
                let mut context = Self::stream(File::from(download.file), &name, &host.paths)
                    .with_context(|| format!("read the context {}", address::shown(url)))?;
                context.material = Some(Material::file(url, &download.digest));
                if let Some(definition) = &mut context.definition {
                    definition.modified = modified;
                }
                Ok(context)
            }
            Address::Image(name) | Address::Stage(name) => {
                Err(bad_input(format!("`{name}` has no files of its own")).into())
            }
            Address::Layout { path, .. } => {
                Err(bad_input(format!("`{}` has no files of its own", path.display())).into())
            }
        }
    }

    /// A directory of the host.
    pub fn directory(path: &Path, paths: &Paths) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = match openat(rustix::fs::CWD, path, flags, Mode::empty()) {
            Err(Errno::NOENT) => {
                let message = format!(
                    "unable to prepare context: path \"{}\" not found",
                    path.display()
                );
                return Err(not_found(message).into());
            }
            Err(Errno::NOTDIR) => {
                let message = format!(
                    "unable to prepare context: path \"{}\" is not a directory",
                    path.display()
                );
                let hint = "an archive or a Dockerfile comes by standard input: name `-`";
                return Err(bad_input(message).hint(hint).into());
            }
            root => root.with_context(|| format!("open the context `{}`", path.display()))?,
        };
        let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let key = Digest::of(real.as_os_str().as_encoded_bytes());
        let digests = StatCache::open(&paths.build_digests().join(key.hex()));
        Ok(Self {
            root,
            is_local: true,
            definition: None,
            epoch: None,
            material: None,
            ignored: Ignore::default(),
            digests: Mutex::new(digests),
            warnings: Vec::new(),
            _staging: None,
        })
    }

    /// A commit of a repository, with `checksum` if that is asked for: as a context, or for `ADD`.
    pub fn repository(
        repository: &git::Repository,
        keep_git_directory: bool,
        checksum: Option<&str>,
        host: &Host,
    ) -> Result<Self> {
        let staging = Staging::new(&host.paths.staging())?;
        let place = staging.path().join("repository");
        std::fs::create_dir(&place).with_context(|| format!("create `{}`", place.display()))?;
        let keep = repository.keep_git_directory.unwrap_or(keep_git_directory);
        let login = git::login(&repository.url, &host.secrets)?;
        let checkout = git::fetch(repository, keep, checksum, login.as_ref(), &place)?;
        Ok(Self {
            material: Some(Material::repository(repository, &checkout.commit)),
            epoch: Some(checkout.time),
            ..Self::staged(checkout.root, staging)
        })
    }

    /// An archive, or a Dockerfile, which comes with no files.
    fn stream(input: impl Read + Send, name: &str, paths: &Paths) -> Result<Self> {
        let staging = Staging::new(&paths.staging())?;
        let place = staging.path().join("files");
        std::fs::create_dir(&place).with_context(|| format!("create `{}`", place.display()))?;
        let root = open_root(&place).with_context(|| format!("open `{}`", place.display()))?;
        let (compression, stream) = compression::peek(input).context("read its begin")?;
        let packed = compression != Compression::None;
        let mut unpacked = BufReader::with_capacity(128 << 10, compression.unpack(stream)?);
        let failed = |error| compression::read_error(error, compression);
        let start = archive::start(&mut unpacked).map_err(failed)?;
        let is_empty = start.is_empty();
        let is_archive = archive::is_tar(&start);
        let whole = Cursor::new(start).chain(unpacked);
        if !is_archive {
            if packed {
                return Err(bad_input("it is compressed, but no archive").into());
            }
            if is_empty {
                return Err(bad_input("it is empty: neither an archive nor a Dockerfile").into());
            }
            let bytes = read_text(whole)?;
            let mut context = Self::staged(root, staging);
            let name = if name == "standard input" {
                "Dockerfile"
            } else {
                name
            };
            context.definition = Some(Definition::text(name, bytes));
            return Ok(context);
        }
        let into = root.try_clone().context("duplicate a descriptor")?;
        let mut extractor = Extractor::new(Scope::Beneath(into), Ids::Caller, true);
        let warnings = extractor.extract(BufReader::with_capacity(128 << 10, whole))?;
        Ok(Self {
            warnings,
            ..Self::staged(root, staging)
        })
    }

    fn staged(root: OwnedFd, staging: Staging) -> Self {
        Self {
            root,
            is_local: false,
            definition: None,
            epoch: None,
            material: None,
            ignored: Ignore::default(),
            digests: Mutex::default(),
            warnings: Vec::new(),
            _staging: Some(staging),
        }
    }

    /// The root of its files.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Whether it is a directory of the host, beside which the Dockerfile may be.
    pub fn is_local(&self) -> bool {
        self.is_local
    }

    /// Whether it is nothing but a Dockerfile.
    pub fn is_definition(&self) -> bool {
        self.definition.is_some()
    }

    /// When it was committed, in seconds since 1970.
    pub fn epoch(&self) -> Option<i64> {
        self.epoch
    }

    /// What it is in the net, if it is there.
    pub fn material(&self) -> Option<&Material> {
        self.material.as_ref()
    }

    /// What the user should know.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Reads its own list of what is left out of it; [`definition::read`] does it for the main context.
    pub fn read_ignored(&mut self) -> Result<()> {
        for name in IGNORE_FILES {
            if let Some(bytes) = definition::read_inside(self.root(), name)? {
                return self.set_ignored(name, &bytes);
            }
        }
        Ok(())
    }

    /// Leaves out what a list says; `name` is that of its file.
    pub fn set_ignored(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.ignored = Ignore::parse(name, bytes)?;
        Ok(())
    }

    /// What is left out of it.
    pub fn ignored(&self) -> &Ignore {
        &self.ignored
    }

    /// Looks for files and takes their digests.
    pub fn select(&self, selector: &Selector) -> Result<Selection> {
        let ignored = (!self.ignored.is_empty()).then(|| filter::of(&self.ignored));
        let tree = Tree::context(self.root(), ignored.as_deref());
        let mut digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        let selection = select(&tree, selector, &mut digests)?;
        if self.is_local {
            // It is only about being quicker the next time; a full disk is told by what needs it.
            let _ = digests.save();
        }
        Ok(selection)
    }
}

#[cfg(test)]
mod tests;
