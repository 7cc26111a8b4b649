//! Layers: from a tar stream, perhaps compressed, to a directory that overlayfs takes as a lower layer, and back
//! to the very same tar stream (OCI image-spec, layer.md; Documentation/filesystems/overlayfs.rst).
//!
//! ```text
//! blob ─▶ compression ─▶ 256 KiB pieces ─▶ archive ─▶ name ─▶ tree ─▶ DIRECTORY/tree
//!         thread 1: sha256(blob), inflate    │ thread 2: sha256(tar)   ▲
//!                                            └──────▶ journal          └ lower: the layers below, read only
//! ```
//!
//! Not here: where layers lie, which image has which, mounting them.
//!
//! Invariants. Everything in an archive is hostile: no name, link or order of entries makes anything outside
//! of `tree` be read or written. The journal and the tree together give the tar stream back byte for byte;
//! what the tree no longer shows (overwritten entries, whiteouts, names) is in the journal alone.

mod adopt;
mod archive;
pub mod changes;
mod compression;
mod journal;
pub mod lower;
mod name;
pub mod pack;
pub mod recorded;
mod tree;
mod unpack;

use super::digest::Digest;
use crate::error::{Error, Kind, bad_input};
pub use adopt::{Adopted, adopt, take};
pub use archive::{Archive, Member, MemberKind, Writer};
pub use journal::{Entry, entries, stream_part, stream_tar, verify};
use rustix::io::Errno;
pub use unpack::unpack;

/// What becomes of the owners in a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// Files get them, as seen from the user namespace of this process.
    Real,
    /// Only one user and one group exist: files stay this process's, owners live in the journal only.
    SingleId,
}

/// Under which prefix overlayfs finds its extended attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XattrPrefix {
    /// `trusted.overlay.`, for mounts made by root.
    Trusted,
    /// `user.overlay.`, for mounts with `userxattr`; `trusted.*` attributes cannot be set and are left out.
    User,
    /// Nothing is found by overlayfs, which is not used: what hides something is an empty file with the name that the
    /// archive has for it (OCI image-spec, layer.md, "Whiteouts").
    Names,
}

impl XattrPrefix {
    fn attribute(self, name: &str) -> String {
        match self {
            Self::Trusted => format!("trusted.overlay.{name}"),
            // Nobody else knows it.
            Self::User | Self::Names => format!("user.overlay.{name}"),
        }
    }
}

/// What becomes of device nodes. The journal has them in any case, so that the tar streams out the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Devices {
    /// They are made.
    Make,
    /// Below `dev/` they are left out (a container has a `/dev` of its own); elsewhere they are an error.
    Refuse,
    /// They are left out.
    Skip,
}

/// How to unpack, decided by the tier that the program runs in and by the settings.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What becomes of owners.
    pub owners: Owners,
    /// Which attributes overlayfs will look for.
    pub xattrs: XattrPrefix,
    /// What becomes of device nodes.
    pub devices: Devices,
    /// Whether `/a` is read as `a`; else it is refused.
    pub absolute_names: bool,
    /// The longest tar stream that is unpacked, in bytes.
    pub max_bytes: u64,
    /// Whether compressed blobs are kept.
    pub keep_blobs: bool,
}

/// What was unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// Digest of the tar stream.
    pub diff_id: Digest,
    /// Digest of the blob as it came.
    pub blob_digest: Digest,
    /// Length of the blob in bytes.
    pub blob_size: u64,
    /// Sum of the lengths of its files in bytes, which is what `images` shows.
    pub size: u64,
    /// Length of the tar stream in bytes.
    pub tar_size: u64,
    /// Whether the tree has something from the layers below: other parents would give another tree.
    pub depends_on_parents: bool,
    /// Whether something of it is marked by attributes that overlayfs has to find ([`XattrPrefix`]).
    pub marked: bool,
}

/// A name of an archive on one line.
/// Each level of directories holds a descriptor open.
const MAX_DEPTH: usize = 900;

/// Fails for what lies in so many directories that a walk to it would hold too many descriptors.
pub fn check_depth(depth: usize, path: &[u8]) -> Result<(), Error> {
    match depth > MAX_DEPTH {
        false => Ok(()),
        true => Err(bad_input(format!(
            "`{}`: more than {MAX_DEPTH} directories in one another",
            shown(path)
        ))),
    }
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).escape_debug().to_string()
}

/// The error that an entry is to blame for.
fn refused(name: &[u8], why: &str) -> Error {
    bad_input(format!("layer entry `{}`: {why}", shown(name)))
}

/// The error that nobody is to blame for; `doing` is what there was no room for.
fn disk_full(doing: &str) -> Error {
    Error::new(Kind::Denied, format!("{doing}: disk full")).hint(crate::error::NO_SPACE)
}

/// The error of a system call about an entry; `verb` is what was being done to it.
fn failed(verb: &str, name: &[u8], errno: Errno) -> anyhow::Error {
    let name = shown(name);
    match errno {
        Errno::NOSPC | Errno::DQUOT => disk_full(&format!("{verb} `{name}` of the layer")).into(),
        Errno::NAMETOOLONG => {
            bad_input(format!("layer entry `{name}`: its name is too long")).into()
        }
        Errno::FBIG => bad_input(format!("layer entry `{name}`: its size is implausible")).into(),
        _ => anyhow::Error::from(std::io::Error::from(errno))
            .context(format!("{verb} `{name}` of the layer")),
    }
}
