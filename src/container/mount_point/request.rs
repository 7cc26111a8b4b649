//! What `-v`, `--mount` and `--tmpfs` ask for, as plain values. Nothing is looked up here: a source may be missing, a
//! volume may have to be made ([`super`]).

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is mounted.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A file or directory of the host.
    Bind,
    /// Data that outlives containers.
    #[default]
    Volume,
    /// Memory, gone with the container's run.
    Tmpfs,
    /// The files of another image, read-only.
    Image,
}

/// Mounts below that of a bind (Docker's `bind-recursive`).
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Recursion {
    /// They come along, read-only where the mount is.
    #[default]
    Enabled,
    /// They stay behind.
    Disabled,
    /// They come along and stay writable where the mount is read-only.
    Writable,
    /// They come along and are read-only; else it is an error.
    Readonly,
}

/// Which later mounts below it are seen on the other side (mount_namespaces(7)).
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Propagation {
    /// None, with all mounts below.
    #[default]
    Rprivate,
    /// None.
    Private,
    /// Those of both sides, with all mounts below.
    Rshared,
    /// Those of both sides.
    Shared,
    /// Those of the host, with all mounts below.
    Rslave,
    /// Those of the host.
    Slave,
}

/// The SELinux label that the files of a mount get.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Relabel {
    /// `z`: one that all containers may use.
    Shared,
    /// `Z`: that of this container alone.
    Private,
}

/// How the owners of files on the disk are to be seen (mount_setattr(2), `MOUNT_ATTR_IDMAP`). Entries as those of
/// `--uidmap`, `INSIDE:ON-DISK:SIZE`; none: an id on the disk is the same id in the container.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Idmap {
    /// User ids.
    pub uids: Vec<String>,
    /// Group ids.
    pub gids: Vec<String>,
}

/// One mount that is asked for.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Request {
    /// What.
    #[serde(skip_serializing_if = "is_default")]
    pub kind: Kind,
    /// An absolute path of the host, the name of a volume (empty: one without a name), a reference of an image;
    /// empty for memory.
    #[serde(skip_serializing_if = "is_default")]
    pub source: String,
    /// Where the container sees it, absolute and clean.
    #[serde(skip_serializing_if = "is_default")]
    pub target: String,
    /// Cannot be written.
    #[serde(skip_serializing_if = "is_default")]
    pub read_only: bool,
    /// The words of `-v`, as they were written; `None`: `--mount`.
    #[serde(skip_serializing_if = "is_default")]
    pub written: Option<String>,
    /// A missing source is made, as `-v` does it.
    #[serde(skip_serializing_if = "is_default")]
    pub create_source: bool,
    /// Of a bind.
    #[serde(skip_serializing_if = "is_default")]
    pub recursion: Recursion,
    /// Of a bind; `None`: Docker's `rprivate`.
    #[serde(skip_serializing_if = "is_default")]
    pub propagation: Option<Propagation>,
    /// A new volume stays empty whatever the image has there.
    #[serde(skip_serializing_if = "is_default")]
    pub no_copy: bool,
    /// Only this directory or file of a volume or image.
    #[serde(skip_serializing_if = "is_default")]
    pub subpath: Option<String>,
    /// Who keeps a volume; empty: `local`.
    #[serde(skip_serializing_if = "is_default")]
    pub driver: String,
    /// For a volume that has to be made.
    #[serde(skip_serializing_if = "is_default")]
    pub driver_options: BTreeMap<String, String>,
    /// For a volume that has to be made.
    #[serde(skip_serializing_if = "is_default")]
    pub labels: BTreeMap<String, String>,
    /// Bytes of memory; `None`: half of what there is.
    #[serde(skip_serializing_if = "is_default")]
    pub tmpfs_size: Option<u64>,
    /// Permission bits of the root of memory; `None`: those of the directory whose place it takes, or else 1777.
    #[serde(skip_serializing_if = "is_default")]
    pub tmpfs_mode: Option<u32>,
    /// `exec`, `noexec`, `suid`, `nosuid`, `dev`, `nodev`, `noatime` and the like, and further options of tmpfs.
    #[serde(skip_serializing_if = "is_default")]
    pub flags: Vec<String>,
    /// On hosts with SELinux.
    #[serde(skip_serializing_if = "is_default")]
    pub relabel: Option<Relabel>,
    /// `U`: files are given to the container's user before it starts.
    #[serde(skip_serializing_if = "is_default")]
    pub chown: bool,
    /// Owners are mapped.
    #[serde(skip_serializing_if = "is_default")]
    pub idmap: Option<Idmap>,
}

/// What is as it is by default is not written down: a container may have a thousand mounts, and its record is read by each
/// command that looks at all containers.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
