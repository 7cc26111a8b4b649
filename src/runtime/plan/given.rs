//! What a plan is made of: a bundle, with all that its configuration cannot hold, since it is open or made already.

use crate::cgroup::Cgroup;
use crate::id_mapping::{IdMaps, Tier};
use crate::runtime::seccomp::Filter;
use crate::sys::descriptor;
use crate::sys::socket::Listener;
use anyhow::Result;
use oci_spec::runtime::{Spec, State};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;

/// What the container's root file system is made of.
#[derive(Debug)]
pub enum Root {
    /// A directory of the host.
    Directory {
        /// Which.
        path: PathBuf,
        /// Whether device nodes in it can be opened, as far as its mount lets them.
        devices: bool,
    },
    /// Layers with a writable one on top.
    Overlay {
        /// Lower layers, uppermost first.
        lower: Vec<PathBuf>,
        /// Where changes go.
        upper: PathBuf,
        /// Scratch space of the overlay.
        work: PathBuf,
        /// Thrown away when the container ends, so never worth a sync.
        volatile: bool,
        /// Whether device nodes in it can be opened: those of the image, and those that the container makes.
        devices: bool,
        /// Whether the lower layers have the owners of the image, which the user namespace of the container is to show
        /// as its own; else they have those that it shows.
        mapped: bool,
    },
}

impl Root {
    /// Whether device nodes in it can be opened.
    pub fn has_devices(&self) -> bool {
        match self {
            Self::Directory { devices, .. } | Self::Overlay { devices, .. } => *devices,
        }
    }
}

/// A user namespace below that of this process, which the container's other namespaces belong to.
#[derive(Debug)]
pub enum UserNamespace {
    /// A new one.
    New(IdMaps),
    /// One that somebody else has made.
    Path(PathBuf),
    /// One that is there, and who in it makes the container's root file system ([`IdMaps::owner`]).
    Held(OwnedFd, (u32, u32)),
}

impl UserNamespace {
    /// Who in it acts before the program's user does.
    pub fn owner(&self) -> (u32, u32) {
        match self {
            Self::New(maps) => maps.owner(),
            Self::Path(_) => (0, 0),
            Self::Held(_, owner) => *owner,
        }
    }
}

/// A container's configuration and its root file system (runtime-spec, bundle.md).
#[derive(Debug)]
pub struct Bundle {
    /// config.json.
    pub spec: Spec,
    /// The root file system.
    pub root: Root,
    /// Further groups of the user by name or number, beside those of config.json, which knows only numbers.
    pub groups: Vec<String>,
    /// The user namespace, where that is not for the runtime to make; wins over the one in `spec`.
    pub user_namespace: Option<UserNamespace>,
    /// What the calling process may do: it is real root, or root of a user namespace.
    pub tier: Tier,
    /// Where it is born, made and limited already; `None`: where this process is.
    pub cgroup: Option<Cgroup>,
    /// What the seccomp agent and hooks are told of the container (runtime.md, "State").
    pub state: State,
    /// What it keeps of the calling process.
    pub life: Life,
    /// Already compiled, so that the default policy need not pass through its JSON form; wins over the one in `spec`.
    pub seccomp: Option<Filter>,
    /// What is made or changed in the root file system once everything is mounted.
    pub edits: Vec<FileEdit>,
    /// What the program gets from descriptor 3 on, as a service does (sd_listen_fds(3)), and what they are called.
    pub sockets: Sockets,
    /// Sources of mounts that are open already, by destination; they win over the ones in `spec`.
    pub sources: Sources,
}

/// Whoever starts a container that is made.
#[derive(Debug)]
pub enum Gate {
    /// Its maker.
    Maker,
    /// Who connects to this.
    Socket(Listener),
}

impl Gate {
    /// What its first process waits at, beside the channel to its maker.
    pub fn socket(&self) -> Option<&Listener> {
        match self {
            Self::Maker => None,
            Self::Socket(listener) => Some(listener),
        }
    }
}

/// What a container keeps of the process that makes it.
#[derive(Debug, Default)]
pub struct Life {
    /// Whom its first process waits for, once all else is done; it then outlives its maker. `None`: it starts at once, and
    /// ends with that.
    pub gate: Option<Gate>,
    /// It stays in the session keyring of its maker (keyrings(7)).
    pub keeps_keyring: bool,
    /// Its root covers that of its maker, which is a ramdisk and cannot be dropped.
    pub moves_root: bool,
    /// Where its root is mounted, if that is seen by its maker; else on its own directory.
    pub place: Option<PathBuf>,
    /// Its first process makes what is bound into it: its maker has no power over the mount namespace that it is in.
    pub binds_inside: bool,
}

/// Descriptors for a program, which is told of them as by a service manager (sd_listen_fds(3)).
#[derive(Debug, Default)]
pub struct Sockets {
    /// In order, from 3 on.
    pub descriptors: Vec<OwnedFd>,
    /// Their names, separated by colons; empty: they have none.
    pub names: String,
    /// Further ones, which it is not told of, and their numbers, which rise.
    pub untold: Vec<(RawFd, OwnedFd)>,
}

impl Sockets {
    /// All of them, in order.
    pub fn all(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let untold = self.untold.iter().map(|(_, file)| file);
        self.descriptors.iter().chain(untold).map(AsFd::as_fd)
    }

    /// Where the program finds them, in the same order.
    pub fn numbers(&self) -> impl Iterator<Item = RawFd> {
        const FIRST: RawFd = 3;
        let untold = self.untold.iter().map(|(number, _)| *number);
        (FIRST..).take(self.descriptors.len()).chain(untold)
    }

    /// They lie from that number on by now, and nowhere else.
    pub fn moved_to(&mut self, first: RawFd) -> Result<()> {
        let untold = self.untold.iter_mut().map(|(_, file)| file);
        let all = self.descriptors.iter_mut().chain(untold);
        for (number, file) in (first..).zip(all) {
            // Its number is nobody's, or somebody else's.
            std::mem::forget(std::mem::replace(file, descriptor::inherited(number)?));
        }
        Ok(())
    }

    /// What the calling process, which becomes the program, tells it of them.
    pub fn variables(&self) -> Vec<String> {
        let count = self.descriptors.len();
        if count == 0 {
            return Vec::new();
        }
        let names = (!self.names.is_empty()).then(|| format!("LISTEN_FDNAMES={}", self.names));
        let pid = std::process::id();
        let told = [format!("LISTEN_FDS={count}"), format!("LISTEN_PID={pid}")];
        told.into_iter().chain(names).collect()
    }
}

/// What is open already of the sources of mounts, by destination as config.json writes it: to compare paths part by part
/// takes longer than all else about many mounts.
pub type Sources = BTreeMap<OsString, Held>;

/// The source of a mount that is open already.
#[derive(Debug)]
pub enum Held {
    /// A file or directory in the mount namespace of this process, to be bound.
    Place(OwnedFd),
    /// A mount that is attached nowhere yet.
    Mount(OwnedFd),
}

/// A change of the container's own files, which devices may need beside their nodes and mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileEdit {
    /// A symbolic link in the place of whatever file is there.
    SymbolicLink {
        /// What it says.
        target: PathBuf,
        /// Where it is.
        path: PathBuf,
    },
    /// The mode of something that is there.
    Mode {
        /// Where it is.
        path: PathBuf,
        /// Permission bits.
        mode: u32,
    },
    /// Shared libraries in these directories are found by the names that programs ask for (ldconfig(8)).
    Libraries {
        /// Where they are.
        directories: Vec<PathBuf>,
    },
}
