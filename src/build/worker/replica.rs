//! What would be mounted in a step, where nothing can be mounted: copies that are in its tree while its program runs
//! ([`super::guest`]). What is written to them is lost with the step, but for caches, which get it back.
//!
//! Unlike a mount they can be written to even where they are to be read only, and a secret is on the disk meanwhile.

use super::agent::{self, Agent};
use super::guest::Guests;
use super::mounts::{give, handed};
use super::order::{Access, Mount, NewCache, Run, Shown, Source};
use super::{cache, layer, layers};
use crate::container::engine::Engine;
use crate::container::step::HOSTNAME;
use crate::error::{Error, Kind};
use crate::image::intake::Intake;
use crate::image::shift::shift;
use crate::network::hosts;
use crate::runtime::rootfs;
use crate::store::lock::Lock;
use crate::sys::mount::open_source;
use crate::sys::openat2::{open_in_root, open_root};
use anyhow::{Context, Result};
use rustix::fs::{FileType, Mode, OFlags, fstat};
use std::fs::{File, Permissions};
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What goes with them.
#[derive(Default)]
pub struct Opened {
    /// Those that get back what was written.
    pub caches: Vec<Cache>,
    /// Those who pass connections to agents on, as long as they are kept.
    pub agents: Vec<Agent>,
    /// To be told to the user.
    pub warnings: Vec<String>,
}

/// A cache mount.
pub struct Cache {
    /// Which guest its copy is.
    pub number: usize,
    data: PathBuf,
}

/// Puts them all into the tree of a step; layers among them stay as long as the intake.
pub fn place(
    engine: &Engine,
    guests: &mut Guests<'_>,
    intake: &mut Intake<'_>,
    run: &Run,
    descriptors: &[OwnedFd],
) -> Result<Opened> {
    let mut copying = Copying {
        engine,
        intake,
        descriptors,
        opened: Opened::default(),
    };
    if !place_devices(guests)? {
        let text = "programs have no device nodes: they cannot be made where the store lies (CAP_MKNOD, and a mount without nodev); a file stands \
                    for /dev/null";
        copying.opened.warnings.push(text.to_owned());
    }
    place_files(guests, run)?;
    for mount in &run.mounts {
        let number = guests.count();
        let to = guests.aside(number);
        copying
            .copy(mount, number, &to)
            .and_then(|()| guests.place(&mount.target))
            .with_context(|| format!("mount on `{}`", mount.target))?;
    }
    Ok(copying.opened)
}

fn place_devices(guests: &mut Guests<'_>) -> Result<bool> {
    let to = guests.aside(guests.count());
    make_directory(&to, 0o755)?;
    let has_nodes = rootfs::make_plain(&open_root(&to)?)?;
    for name in ["shm", "mqueue"] {
        make_directory(&to.join(name), 0o1777)?;
    }
    guests.place("/dev")?;
    Ok(has_nodes)
}

/// How names are found here.
fn place_files(guests: &mut Guests<'_>, run: &Run) -> Result<()> {
    let around = |path| std::fs::read_to_string(path);
    let mut names = around("/etc/hosts").unwrap_or_else(|_| hosts::LOOPBACK.to_owned());
    let extra = run.hosts.iter().map(|host| {
        let address = match host.address.as_str() {
            "host-gateway" => "127.0.0.1",
            address => address,
        };
        (host.name.as_str(), address)
    });
    hosts::append(&mut names, extra);
    for (path, content) in [
        ("/etc/hosts", names),
        ("/etc/hostname", format!("{HOSTNAME}\n")),
        (
            "/etc/resolv.conf",
            around("/etc/resolv.conf").unwrap_or_default(),
        ),
    ] {
        let to = guests.aside(guests.count());
        std::fs::write(&to, content).with_context(|| format!("write `{}`", to.display()))?;
        guests.place(path)?;
    }
    Ok(())
}

/// What mounts are copied with, and what has come of it.
struct Copying<'a, 'b> {
    engine: &'a Engine,
    intake: &'a mut Intake<'b>,
    descriptors: &'a [OwnedFd],
    opened: Opened,
}

impl Copying<'_, '_> {
    fn copy(&mut self, mount: &Mount, number: usize, to: &Path) -> Result<()> {
        match &mount.source {
            Source::Tmpfs { .. } => make_directory(to, 0o1777),
            Source::Layers(Shown { layers, path }) => {
                layer::hold(self.intake, layers)?;
                let whole = to.with_extension("whole");
                layers::copy(self.engine, &layers.names, &whole)?;
                part(&open_root(&whole)?, path.trim_start_matches('/'), to)
            }
            Source::Cache { descriptor, new } => self.cache(*descriptor, new, number, to),
            Source::File {
                descriptor, access, ..
            } => {
                file(handed(self.descriptors, *descriptor)?, to)?;
                self.give(to, *access)
            }
            Source::Agent { socket, access } => {
                self.opened.agents.push(agent::listen(socket, to)?);
                self.give(to, *access)
            }
        }
    }

    fn give(&self, to: &Path, access: Access) -> Result<()> {
        give(self.engine, open_source(to)?.as_fd(), access)
    }

    fn cache(&mut self, descriptor: usize, new: &NewCache, number: usize, to: &Path) -> Result<()> {
        let engine = self.engine;
        let scratch = || {
            let path = to.with_extension("new");
            make_directory(&path, 0o700).map(|()| path)
        };
        let mut seed = |scratch: &Path| {
            let Some(Shown { layers, path }) = &new.seed else {
                return Ok(None);
            };
            layer::hold(self.intake, layers)?;
            let whole = scratch.join("whole");
            layers::copy(engine, &layers.names, &whole)?;
            let path = below(path.trim_start_matches('/'));
            let found = open_in_root(open_root(&whole)?, path, OFlags::PATH, Mode::empty());
            found.map(Some).context("open what it begins with")
        };
        let place = handed(self.descriptors, descriptor)?;
        let (data, warnings) = cache::files(engine, place, new, &scratch, &mut seed)?;
        self.opened.warnings.extend(warnings);
        let found = fstat(&data).context("stat the cache's directory")?;
        let path = std::fs::read_link(magic_link(data.as_fd()));
        let data = path.context("find the cache's directory")?;
        {
            let _lock = Lock::directory(&data)?;
            shift(&data, to, &Ok, &Ok)?;
        }
        self.opened.caches.push(Cache { number, data });
        self.give(to, Access::of(&found))
    }
}

/// Makes a file of what is read.
fn file(from: BorrowedFd<'_>, to: &Path) -> Result<()> {
    let from = from.try_clone_to_owned();
    let mut from = File::from(from.context("duplicate a descriptor")?);
    let mut options = File::options();
    let made = options.write(true).create_new(true).mode(0o600).open(to);
    let mut file = made.with_context(|| format!("create `{}`", to.display()))?;
    std::io::copy(&mut from, &mut file).with_context(|| format!("write `{}`", to.display()))?;
    Ok(())
}

/// The kernel takes no empty path.
fn below(path: &str) -> &[u8] {
    match path {
        "" => b".",
        path => path.as_bytes(),
    }
}

/// Copies what lies at a path below a directory, which may be a link in it.
fn part(root: &OwnedFd, path: &str, to: &Path) -> Result<()> {
    let context = || format!("open `{path}`");
    let found = open_in_root(root, below(path), OFlags::PATH, Mode::empty());
    let found = found.with_context(context)?;
    let link = magic_link(found.as_fd());
    match FileType::from_raw_mode(fstat(&found).with_context(context)?.st_mode) {
        FileType::Directory => shift(&link.join("."), to, &Ok, &Ok),
        FileType::RegularFile => {
            // With its mode.
            std::fs::copy(&link, to).with_context(|| format!("copy `{path}`"))?;
            Ok(())
        }
        _ => {
            let message = format!("`{path}` is neither a directory nor a file");
            Err(Error::new(Kind::Unsupported, message).into())
        }
    }
}

impl Cache {
    /// Gets what is in its copy, if that is there still, in place of what it had.
    pub fn keep(&self, copy: &Path) -> Result<()> {
        let context = || format!("keep the cache `{}`", self.data.display());
        let entries = match std::fs::read_dir(copy) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries.with_context(context)?,
        };
        let _lock = Lock::directory(&self.data)?;
        let old = copy.with_extension("old");
        make_directory(&old, 0o700)?;
        let before = std::fs::read_dir(&self.data).with_context(context)?;
        for (entries, to) in [(before, &old), (entries, &self.data)] {
            for entry in entries {
                let entry = entry.with_context(context)?;
                std::fs::rename(entry.path(), to.join(entry.file_name())).with_context(context)?;
            }
        }
        Ok(())
    }
}

fn make_directory(path: &Path, mode: u32) -> Result<()> {
    std::fs::create_dir(path)
        .and_then(|()| std::fs::set_permissions(path, Permissions::from_mode(mode)))
        .with_context(|| format!("create `{}`", path.display()))
}

fn magic_link(file: BorrowedFd<'_>) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}
