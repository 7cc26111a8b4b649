//! The mounts of a container, made one after the other below its root: what is bound ([`super::trees`])
//! is attached, new file systems are made.
//!
//! Invariant: a place is found once, inside the root, and what is mounted there is attached to that very place.

use super::is_directory;
use super::resolve::{Kind, Place, mount as mount_of, target};
use super::trees;
use crate::error::{Error, Kind as Failure, bad_input};
use crate::runtime::mount_options::MountOptions;
use crate::runtime::plan::{MountStep, Source};
use crate::store::{copy, tree};
use crate::sys::mount::{self, Attributes, Change};
use crate::sys::openat2::{open_beneath, open_in_root};
use crate::sys::procfs::{Processes, is_proc};
use anyhow::{Context, Result, bail};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatxFlags, fstat, mkdirat, openat, statx};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Files of the kernel that others may be mounted over, below `/proc`: lxcfs shows there what the container may use.
/// Those of runc without `net/dev`, which is one of each process.
const EMULATED: [&str; 10] = [
    "cpuinfo",
    "diskstats",
    "loadavg",
    "meminfo",
    "slabinfo",
    "stat",
    "swaps",
    "uptime",
    "sys/crypto/fips_enabled",
    "sys/kernel/ns_last_pid",
];

/// Holds other names of files that are copied; only while they are.
const LINKS: &str = ".onggi-links";

/// Whether it is a new file system in memory, and so the container's alone. Whatever else lies at `/dev`, a directory of
/// the host for example, has the nodes that it has.
pub fn is_memory(source: &Source) -> bool {
    matches!(source, Source::Filesystem { kind, .. } if ["tmpfs", "ramfs"].contains(&kind.as_str()))
}

/// What is done, for errors.
pub fn describe(step: &MountStep) -> String {
    let target = step.target.display();
    match &step.source {
        Source::Bind { path } => format!("bind `{}` on `{target}`", path.display()),
        Source::Inside { path } | Source::Image { path, .. } => {
            let path = path.display();
            format!("bind `{path}` of the container on `{target}`")
        }
        Source::Filesystem { kind, .. } => format!("mount `{kind}` on `{target}`"),
        Source::Remount => format!("remount `{target}`"),
    }
}

/// The root that is mounted below.
#[derive(Debug)]
pub struct Below<'a> {
    root: &'a OwnedFd,
    /// SELinux context of new file systems, and the mount option that takes it.
    label: Option<(&'a str, &'a str)>,
    /// The mount that the root is, and whether that is a process file system.
    home: (Option<u64>, bool),
    /// The directory of the image that `/proc` is, by device and inode.
    proc_directory: Option<(u32, u32, u64)>,
    /// The container's process file system, once it has one.
    pub processes: Option<Processes>,
    /// What is to be read-only once all is made in it: new file systems in memory, and where they are.
    pub read_only: Vec<(PathBuf, OwnedFd)>,
}

impl<'a> Below<'a> {
    /// Nothing is mounted there yet.
    pub fn new(root: &'a OwnedFd, label: Option<(&'a str, &'a str)>) -> Result<Self> {
        let found = open_in_root(root, b"proc", OFlags::PATH, Mode::empty());
        let identity = |found: OwnedFd| {
            let found = statx(found, "", AtFlags::EMPTY_PATH, StatxFlags::INO)?;
            Ok::<_, Errno>((found.stx_dev_major, found.stx_dev_minor, found.stx_ino))
        };
        Ok(Self {
            root,
            label,
            home: (mount_of(root).context("statx")?, is_proc(root.as_fd())?),
            proc_directory: found.and_then(identity).ok(),
            processes: None,
            read_only: Vec::new(),
        })
    }

    /// Makes one mount; `tree` is what is bound. A new file system comes out.
    pub fn mount(&mut self, step: &MountStep, tree: Option<&OwnedFd>) -> Result<Option<OwnedFd>> {
        match (&step.source, tree) {
            (Source::Inside { path }, namespace) => {
                let tree = self.copy(path, &step.options, namespace)?;
                self.attach(step, &tree).map(|()| None)
            }
            (_, Some(tree)) => self.attach(step, tree).map(|()| None),
            (Source::Filesystem { kind, source }, None) => {
                self.new_filesystem(step, kind, source).map(Some)
            }
            (Source::Remount, None) => self.remount(step).map(|()| None),
            (Source::Bind { .. } | Source::Image { .. }, None) => {
                bail!("its source was not opened")
            }
        }
    }

    /// A copy of what earlier mounts and the image have at a path, which is the container's to say.
    fn copy(
        &self,
        path: &Path,
        options: &MountOptions,
        namespace: Option<&OwnedFd>,
    ) -> Result<OwnedFd> {
        let name = path.as_os_str().as_bytes();
        let place = open_in_root(self.root, name, OFlags::PATH, Mode::empty())
            .with_context(|| format!("open `{}` in the container", path.display()))?;
        trees::bind(&place, options, namespace, false)
    }

    /// Changes what is mounted there: what the options do not name stays as it is.
    fn remount(&mut self, step: &MountStep) -> Result<()> {
        let nothing = || bad_input("nothing is mounted there that could be changed");
        let path = step.target.strip_prefix("/").unwrap_or(&step.target);
        let path = Path::new(".").join(path);
        // A link of the image's would lead to another mount than the one that is meant.
        let place = open_beneath(
            self.root,
            path.as_os_str().as_bytes(),
            OFlags::PATH,
            Mode::empty(),
        );
        let place = match place {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(nothing().into()),
            place => place?,
        };
        let options = &step.options;
        let spread = options.propagation;
        for (change, recursive) in [(options.all, true), (options.own, false)] {
            let spread = spread.filter(|spread| spread.recursive == recursive);
            let propagation = spread.map(|spread| spread.propagation);
            if change.is_empty() && propagation.is_none() {
                continue;
            }
            match mount::change(place.as_fd(), change, propagation, None, recursive) {
                Err(Errno::INVAL) => return Err(nothing().into()),
                changed => changed?,
            }
            if change.clear.contains(Attributes::MOUNT_ATTR_RDONLY) {
                let is_meant = |path: &Path| match recursive {
                    true => path.starts_with(&step.target),
                    false => path == step.target,
                };
                self.read_only.retain(|(path, _)| !is_meant(path));
            }
        }
        if options.filesystem.is_empty() {
            return Ok(());
        }
        let given = options.filesystem.iter();
        let given: Vec<_> = given
            .map(|(key, value)| (key.as_str(), value.as_deref()))
            .collect();
        mount::reconfigure(place.as_fd(), &given)
    }

    fn attach(&self, step: &MountStep, tree: &OwnedFd) -> Result<()> {
        if let Some(place) = self.emulated(step, tree)? {
            return Ok(mount::attach(tree.as_fd(), place.as_fd())?);
        }
        let kind = match is_directory(tree)? {
            true => Kind::Directory,
            false => Kind::File,
        };
        let place = target(self.root.as_fd(), &step.target, kind)?;
        // The kernel's own process file system, from wherever, has nothing that `/proc` has not.
        let fits = || Ok(Processes::at(tree.try_clone()?).is_ok());
        self.guard_processes(step, &place, fits)?;
        Ok(mount::attach(tree.as_fd(), place.file.as_fd())?)
    }

    fn new_filesystem(&mut self, step: &MountStep, kind: &str, source: &str) -> Result<OwnedFd> {
        let place = target(self.root.as_fd(), &step.target, Kind::Directory)?;
        self.guard_processes(step, &place, || Ok(kind == "proc"))?;
        let (place, was_there) = (place.file, place.was_there);
        // The files of the kernel's own file systems have labels of their own.
        let labelled = ["tmpfs", "devpts"].contains(&kind);
        let label = self
            .label
            .filter(|_| labelled)
            .map(|(option, label)| (option, Some(label)));
        let given = &step.options.filesystem;
        // Memory that takes the place of a directory is open to those that this was open to, as with runc.
        let mode = match kind == "tmpfs" && was_there && !given.iter().any(|(key, _)| key == "mode")
        {
            true => Some(format!("{:o}", fstat(&place)?.st_mode & 0o7777)),
            false => None,
        };
        let mut options: Vec<_> = given
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_deref()))
            .chain(mode.as_deref().map(|mode| ("mode", Some(mode))))
            .chain(label)
            .collect();
        let attributes = step.options.attributes();
        let copies = step.options.copies_up && kind == "tmpfs" && was_there;
        let read_only = attributes & Attributes::MOUNT_ATTR_RDONLY;
        // Places of later mounts, and device nodes, are made in it.
        let is_filled = is_memory(&step.source) && !read_only.is_empty();
        let first = match is_filled {
            true => attributes - read_only,
            false => attributes,
        };
        let is_group = |(key, _): &mount::FsOption<'_>| *key == "gid";
        let mounted = match new_or_of_host(kind, source, &options, first) {
            // The group of terminals may have no place in the user namespace.
            Err(error) if kind == "devpts" && options.iter().any(is_group) => {
                options.retain(|option| !is_group(option));
                new_or_of_host(kind, source, &options, first).map_err(|_| error)?
            }
            mounted => mounted?,
        };
        if copies {
            copy_up(place.as_fd(), mounted.as_fd())
                .context("copy what the image has there into memory")?;
        }
        mount::attach(mounted.as_fd(), place.as_fd())?;
        if let Some(spread) = step.options.propagation {
            let propagation = Some(spread.propagation);
            mount::change(mounted.as_fd(), Change::default(), propagation, None, false)?;
        }
        if is_filled {
            let waits = mounted.try_clone().context("duplicate a descriptor")?;
            self.read_only.push((step.target.clone(), waits));
        }
        if kind == "proc" && step.target == Path::new("/proc") {
            // Where no new one can be mounted it is that of the host, which is as good.
            self.processes = Processes::at(mounted.try_clone()?).ok();
        }
        Ok(mounted)
    }

    /// The file of the kernel that is to be covered, if it is one of those that may.
    fn emulated(&self, step: &MountStep, tree: &OwnedFd) -> Result<Option<OwnedFd>> {
        let Ok(path) = step.target.strip_prefix("/proc") else {
            return Ok(None);
        };
        let (Some(known), Some(processes)) = (
            EMULATED.iter().find(|known| Path::new(known) == path),
            &self.processes,
        ) else {
            return Ok(None);
        };
        let is_file = FileType::from_raw_mode(fstat(tree)?.st_mode) == FileType::RegularFile;
        if !is_file || is_proc(tree.as_fd())? {
            let message = format!(
                "on `{}` nothing can be mounted but a regular file from outside of a process file system",
                step.target.display()
            );
            return Err(bad_input(message).into());
        }
        processes.open_file(known, OFlags::PATH).map(Some)
    }

    /// Whatever else is mounted in `/proc` would cover what is masked, or take what the runtime tells the kernel
    /// (CVE-2019-16884).
    fn guard_processes(
        &self,
        step: &MountStep,
        place: &Place,
        fits: impl FnOnce() -> Result<bool>,
    ) -> Result<()> {
        let target = step.target.display();
        let is_root = self.proc_directory == Some(place.identity);
        let lies_in = match self.home {
            (Some(home), is_proc) if place.mount == Some(home) => is_proc,
            _ => is_proc(place.file.as_fd())?,
        };
        if (is_root || lies_in) && step.target == Path::new("/proc") && fits()? {
            return Ok(());
        }
        let error = match (lies_in, is_root) {
            (true, _) => bad_input(format!("`{target}` lies in the container's `/proc`")),
            (false, true) => bad_input(format!(
                "`{target}` is for the process file system, and something else is to be mounted there"
            )),
            (false, false) => return Ok(()),
        };
        Err(error
            .hint("mount it elsewhere; if that path is outside of `/proc`, it is a link of the image's")
            .into())
    }
}

/// A new file system; where a shared namespace forbids that, the host's own one, as it is there already.
fn new_or_of_host(
    kind: &str,
    source: &str,
    options: &[mount::FsOption<'_>],
    attributes: Attributes,
) -> Result<OwnedFd> {
    let error = match mount::new_filesystem(kind, source, options, attributes) {
        Ok(mounted) => return Ok(mounted),
        Err(error) => error,
    };
    let errno = error.downcast_ref::<Errno>().copied();
    let host = match kind {
        "proc" => "/proc",
        "sysfs" => "/sys",
        "mqueue" => "/dev/mqueue",
        "cgroup2" => "/sys/fs/cgroup",
        _ => return Err(explain(kind, errno, error)),
    };
    if !matches!(errno, Some(Errno::PERM | Errno::BUSY | Errno::NODEV)) {
        return Err(error);
    }
    let source = mount::open_source(Path::new(host))?;
    let mounted =
        mount::clone_tree(source.as_fd(), true).with_context(|| format!("bind `{host}`"))?;
    mount::add_attributes(mounted.as_fd(), attributes, true)
        .with_context(|| format!("bind `{host}`"))?;
    Ok(mounted)
}

fn explain(kind: &str, errno: Option<Errno>, error: anyhow::Error) -> anyhow::Error {
    match errno {
        Some(Errno::INVAL) => bad_input(format!("{error:#}")).into(),
        Some(Errno::NODEV) => Error::new(
            Failure::Unsupported,
            format!("{error:#}: this kernel has none"),
        )
        .hint(format!("modprobe {kind}"))
        .into(),
        _ => error,
    }
}

/// Copies what lies in a directory of the image into an empty file system.
fn copy_up(source: BorrowedFd<'_>, into: BorrowedFd<'_>) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    mkdirat(into, LINKS, Mode::RWXU)?;
    let links = openat(into, LINKS, flags, Mode::empty())?;
    let same = |owner| owner;
    copy::Copier::new(links.as_fd(), &same).directory(source, into)?;
    tree::remove_at(into, LINKS.as_bytes())?;
    Ok(())
}
