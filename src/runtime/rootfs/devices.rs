//! The container's `/dev`: the nodes every program expects (runtime-spec, config-linux.md "Default Devices") and
//! those the configuration names.

use super::mounts::is_memory;
use super::resolve::{Kind, make};
use crate::runtime::plan::{Device, MountStep, Plan};
use crate::sys::mount::{self, Attributes, Change};
use anyhow::{Context, Result, bail};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Uid, chmodat, chownat, fchmod, fstat, makedev, mknodat,
    openat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Name, major and minor number; all are character devices for everybody.
const DEFAULT: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// What lies at `/dev`.
pub enum Dev {
    /// Nothing was mounted there: it is the image's own directory, if that has one.
    OfImage,
    /// A new file system in memory, and whether device nodes can be opened in it.
    Memory(OwnedFd, bool),
    /// Whatever else was mounted there, a directory of the host for example, has the nodes that it has.
    Given,
}

impl Dev {
    /// What this mount there has made of it; a new file system is given.
    pub fn mounted(step: &MountStep, filesystem: Option<OwnedFd>) -> Self {
        let is_closed = Attributes::MOUNT_ATTR_NODEV;
        match filesystem.filter(|_| is_memory(&step.source)) {
            Some(directory) => {
                let is_open = !step.options.attributes().contains(is_closed);
                Self::Memory(directory, is_open)
            }
            None => Self::Given,
        }
    }
}

/// Where the nodes come from, and whether others can be opened there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nodes {
    /// They are made; so are those that the container makes.
    Open,
    /// They are made and each is a mount of its own, because others there cannot be opened (`nodev`).
    Bound,
    /// Those of the host are bound: nobody but real root may make device nodes.
    Host,
}

/// Makes the default ones in an empty directory that is to be a `/dev` without any mount. Where they may not be made, or not be
/// opened there, a file stands for `/dev/null`; whether they are there is the answer.
pub fn make_plain(directory: &OwnedFd) -> Result<bool> {
    let everybody = Mode::from_raw_mode(0o666);
    let is_made = DEFAULT.iter().try_for_each(|(name, major, minor)| {
        let device = makedev(*major, *minor);
        mknodat(
            directory,
            *name,
            FileType::CharacterDevice,
            everybody,
            device,
        )?;
        chmodat(directory, *name, everybody, AtFlags::empty())
    });
    let open = |flags| openat(directory, "null", flags | OFlags::CLOEXEC, everybody);
    let has_nodes = is_made.is_ok() && open(OFlags::WRONLY).is_ok();
    if !has_nodes {
        for (name, ..) in DEFAULT {
            match unlinkat(directory, name, AtFlags::empty()) {
                Err(Errno::NOENT) => {}
                removed => removed.with_context(|| format!("remove `/dev/{name}`"))?,
            }
        }
        let stand_in = open(OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL);
        stand_in
            .and_then(|file| fchmod(file, everybody))
            .context("make `/dev/null`")?;
    }
    for (name, target) in LINKS.iter().filter(|(name, _)| *name != "ptmx") {
        symlinkat(*target, directory, *name).with_context(|| format!("link `/dev/{name}`"))?;
    }
    Ok(has_nodes)
}

/// Makes the nodes, most of them in `/dev`.
pub fn make_all(root: &OwnedFd, dev: Dev, plan: &Plan) -> Result<()> {
    let (directory, is_open) = match dev {
        Dev::OfImage => (
            make(root.as_fd(), Path::new("/dev"), Kind::Directory)?,
            plan.root.has_devices(),
        ),
        Dev::Memory(directory, is_open) => (directory, is_open),
        Dev::Given => return Ok(()),
    };
    let nodes = match (plan.user_namespace, is_open) {
        (true, _) => Nodes::Host,
        (false, true) => Nodes::Open,
        (false, false) => Nodes::Bound,
    };
    // The mode of a node is what is asked for, not what the caller's mask leaves of it.
    let mask = rustix::process::umask(Mode::empty());
    let made = defaults(plan)
        .iter()
        .chain(&plan.devices)
        .try_for_each(|device| {
            Place::find(root, &directory, &device.path)
                .and_then(|place| match nodes {
                    // Everybody may make one, and open it anywhere.
                    _ if device.mode & libc::S_IFMT == libc::S_IFIFO => {
                        place.make_node(root, device)
                    }
                    Nodes::Open => place.make_node(root, device),
                    Nodes::Bound => place
                        .make_node(root, device)
                        .and_then(|()| place.bind_itself()),
                    Nodes::Host => place.bind(root, device),
                })
                .with_context(|| format!("make the device `{}`", device.path.display()))
        });
    rustix::process::umask(mask);
    made?;
    for (name, target) in LINKS {
        match symlinkat(target, &directory, name) {
            // It was asked for something else.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error).with_context(|| format!("link `/dev/{name}`")),
        }
    }
    Ok(())
}

/// The default devices that nothing else takes the place of.
fn defaults(plan: &Plan) -> Vec<Device> {
    let device = |(name, major, minor)| Device {
        path: Path::new("/dev").join(name),
        mode: libc::S_IFCHR | 0o666,
        major,
        minor,
        uid: 0,
        gid: 0,
    };
    let is_free = |device: &Device| {
        let mut taken = plan.devices.iter().map(|other| &other.path);
        let mut covered = plan.mounts.iter().map(|step| &step.target);
        !taken.any(|path| *path == device.path) && !covered.any(|path| *path == device.path)
    };
    DEFAULT.map(device).into_iter().filter(is_free).collect()
}

/// Where a node comes to lie: a directory that is open, and a name in it.
struct Place<'a> {
    /// `/dev`.
    dev: BorrowedFd<'a>,
    /// Another directory, if it is not that.
    other: Option<OwnedFd>,
    name: OsString,
}

impl<'a> Place<'a> {
    /// The directory is made where it is missing. Outside of `/dev` the image decides what lies there, and its links
    /// lead nowhere but into the root; below `/dev` nothing but what was mounted there.
    fn find(root: &OwnedFd, dev: &'a OwnedFd, path: &Path) -> Result<Self> {
        let name = path
            .file_name()
            .with_context(|| format!("`{}` is no name of a file", path.display()))?
            .to_owned();
        let parent = path.parent().unwrap_or(Path::new("/"));
        let other = match parent == Path::new("/dev") {
            true => None,
            false => Some(make(root.as_fd(), parent, Kind::Directory)?),
        };
        let dev = dev.as_fd();
        Ok(Self { dev, other, name })
    }

    fn directory(&self) -> BorrowedFd<'_> {
        self.other.as_ref().map_or(self.dev, AsFd::as_fd)
    }

    fn make_node(&self, root: &OwnedFd, device: &Device) -> Result<()> {
        let kind = FileType::from_raw_mode(device.mode);
        let mode = Mode::from(device.mode & 0o7777);
        let number = makedev(device.major, device.minor);
        match mknodat(self.directory(), &self.name, kind, mode, number) {
            // Left there by an earlier run, or the image has the same.
            Err(Errno::EXIST) if self.is(kind, number)? => {}
            // The image has another file there: the empty one, for example, that a node was once bound on.
            Err(Errno::EXIST) => return self.cover(root, device),
            made => made?,
        }
        if (device.uid, device.gid) != (0, 0) {
            let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            chownat(self.directory(), &self.name, Some(uid), Some(gid), flags)?;
        }
        Ok(())
    }

    fn is(&self, kind: FileType, number: u64) -> Result<bool> {
        let found = statat(self.directory(), &self.name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok((FileType::from_raw_mode(found.st_mode), found.st_rdev) == (kind, number))
    }

    /// Mounts a node on itself, where it can be opened whatever the mount that it lies in says.
    fn bind_itself(&self) -> Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let node = openat(self.directory(), &self.name, flags, Mode::empty())?;
        let copy = mount::clone_tree(node.as_fd(), false)?;
        mount::remove_attributes(copy.as_fd(), Attributes::MOUNT_ATTR_NODEV)?;
        Ok(mount::attach(copy.as_fd(), node.as_fd())?)
    }

    /// Covers what is there with the node of the host, whose mode and owner nobody inside is to change.
    fn cover(&self, root: &OwnedFd, device: &Device) -> Result<()> {
        let source = mount::open_source(&device.path)?;
        let found = fstat(&source)?;
        let number = makedev(device.major, device.minor);
        if (found.st_mode & libc::S_IFMT, found.st_rdev) != (device.mode & libc::S_IFMT, number) {
            bail!("the image has another file there, and the host has no such device to cover it");
        }
        let target = make(root.as_fd(), &device.path, Kind::File)?;
        let copy = mount::clone_tree(source.as_fd(), false)?;
        let change = Change {
            set: Attributes::MOUNT_ATTR_RDONLY,
            clear: Attributes::MOUNT_ATTR_NODEV,
        };
        mount::change(copy.as_fd(), change, None, None, false)?;
        Ok(mount::attach(copy.as_fd(), target.as_fd())?)
    }

    /// Mounts that of the host.
    fn bind(&self, root: &OwnedFd, device: &Device) -> Result<()> {
        let source = mount::open_source(&device.path)?;
        let target = make(root.as_fd(), &device.path, Kind::File)?;
        let copy = mount::clone_tree(source.as_fd(), false)?;
        Ok(mount::attach(copy.as_fd(), target.as_fd())?)
    }
}
