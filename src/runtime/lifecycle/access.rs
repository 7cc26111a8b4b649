//! How the calling process comes to where it can make a container, or join one.
//!
//! It must not run from a file that a container could write to (CVE-2019-5736), and an ordinary user's must be root of a
//! user namespace first: the one that the configuration asks for, or that of the container. So it goes on from a sealed
//! copy, for which most have to execute it once more, with the same words; unless nobody in that user namespace could write
//! to the file anyway.

use super::record::Container;
use crate::error::{Error, Kind, bad_input};
use crate::id_mapping::{self, IdMaps, Mapping, Tier};
use crate::runtime::mount_options;
use crate::runtime::namespaces::{Joined, inherits_mounts};
use crate::runtime::plan::{self, UserNamespace};
use crate::sys::process::{self, Words, flags};
use crate::sys::{namespace, own_program};
use anyhow::{Context, Result};
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::thread::CapabilitySet;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// Whether the calling process has become root of the user namespace that the configuration asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It is where it was: it has been root there.
    Own,
    /// It is in it.
    Entered,
}

/// Whether it needs no user namespace to be root of.
pub fn is_root() -> Result<bool> {
    let sets = rustix::thread::capabilities(None).context("capget")?;
    Ok(sets.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// For a container that is to be made with the configuration `spec`: returns where the process can do so, and how it has
/// come there; else executes `words`, told by `access` what was done, and returns only when that failed.
pub fn enter(spec: &Spec, words: &dyn Fn(Access) -> Vec<OsString>) -> Result<Access> {
    if is_root()? {
        seal(&words(Access::Own))?;
        return Ok(Access::Own);
    }
    if let Some(UserNamespace::Path(path)) = spec.linux().as_ref().and_then(plan::user) {
        let user = Joined::open(flags::NEW_USER, &path)?;
        become_root_of(user.as_fd())
            .with_context(|| format!("become root of the user namespace `{}`", path.display()))?;
        seal(&words(Access::Entered))?;
        return Ok(Access::Entered);
    }
    let mapping = mapping(spec)?;
    // Such as one that root has installed.
    let is_beyond = own_program::is_beyond(|uid| id_mapping::inside(&mapping.uids, uid).is_some());
    mapping.enter()?;
    // Who was not executed again in the user namespace belongs to the one outside, and lets nobody take the listener of an agent
    // (ptrace(2), "Ptrace access mode checking").
    let linux = spec.linux().as_ref();
    let policy = linux.and_then(|linux| linux.seccomp().as_ref());
    let has_agent = policy.is_some_and(|policy| policy.listener_path().is_some());
    let is_to_seal = !is_beyond || has_agent;
    if is_to_seal || needs_mounts(spec) {
        namespace::unshare(flags::NEW_MOUNT).context("unshare mounts")?;
    }
    if is_to_seal {
        seal(&words(Access::Entered))?;
    }
    Ok(Access::Entered)
}

/// Whether whoever makes the container makes mounts for it, or may be asked to by hooks, which takes a mount namespace of its
/// own. Where it does not, the end of such a namespace, which takes 0.4 ms, is not waited for.
pub(super) fn needs_mounts(spec: &Spec) -> bool {
    let maps_ids = spec.mounts().iter().flatten().any(mount_options::maps_ids);
    maps_ids || spec.hooks().is_some() || spec.linux().as_ref().is_none_or(inherits_mounts)
}

/// Likewise for one that is to be joined.
pub fn join(container: &Container, words: &dyn Fn(Access) -> Vec<OsString>) -> Result<()> {
    if is_root()? {
        return seal(&words(Access::Own)).map(drop);
    }
    let path = format!("/proc/{}/ns/user", container.record.init.pid);
    let user = File::open(&path).with_context(|| format!("open `{path}`"))?;
    become_root_of(user.as_fd()).context("become root of the user namespace of the container")?;
    seal(&words(Access::Entered)).map(drop)
}

/// Only who has made a user namespace has that power over it (user_namespaces(7)).
fn become_root_of(user: BorrowedFd<'_>) -> Result<()> {
    namespace::join(user, flags::NEW_USER).context("setns")?;
    id_mapping::become_root()?;
    namespace::unshare(flags::NEW_MOUNT).context("unshare mounts")
}

/// Lets this process run from a sealed copy, where it needs no user namespace to be root of. It may be executed once more, with
/// the same words. What comes out is the copy where it runs from that now: it may be closed at any time, which takes a while.
pub fn seal_as_root() -> Result<Option<OwnedFd>> {
    match is_root()? {
        true => seal(&std::env::args_os().collect::<Vec<_>>()),
        false => Ok(None),
    }
}

/// Lets this process run from a sealed copy, unless it does: where that needs it to be executed once more, with these words.
/// The copy comes out if the process has come to run from it.
fn seal(words: &[OsString]) -> Result<Option<OwnedFd>> {
    if own_program::is_sealed()? {
        return Ok(None);
    }
    let own = std::fs::read_link("/proc/self/exe").context("read the link `/proc/self/exe`")?;
    let program = own_program::seal(&own)?;
    // In a user namespace of an ordinary user's it has to be executed there, see `enter`.
    let is_own = namespace::is_initial_user();
    if is_own && own_program::run_from(&program).is_ok() && own_program::is_sealed()? {
        return Ok(Some(program));
    }
    let words = Words::new(words.iter().map(|word| word.as_bytes()))?;
    let environment = std::env::vars_os();
    let entries = environment.map(|(key, value)| [key.as_bytes(), b"=", value.as_bytes()].concat());
    let failed = process::execute_descriptor(program.as_fd(), &words, &Words::new(entries)?);
    Err(failed).context("execute this program from a sealed copy")
}

/// That of the user namespace which a configuration asks for.
fn mapping(spec: &Spec) -> Result<Mapping> {
    let maps = match spec.linux().as_ref().and_then(plan::user) {
        Some(UserNamespace::New(maps)) if !maps.uids.is_empty() && !maps.gids.is_empty() => {
            Some(maps)
        }
        _ => None,
    };
    let IdMaps { uids, gids } = maps.ok_or_else(|| {
        Error::new(
            Kind::Denied,
            "an ordinary user can start a container only in a user namespace of its own, with `uidMappings` and `gidMappings`, or in one that is there",
        )
        .hint("`onggi runtime spec --rootless` writes such a configuration")
    })?;
    if id_mapping::outside(&uids, 0).is_none() || id_mapping::outside(&gids, 0).is_none() {
        return Err(bad_input("the mappings of an ordinary user's container have no root").into());
    }
    let (uid, gid) = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    let is_single = |map: &[id_mapping::Range], own| {
        map.len() == 1 && map[0].size == 1 && map[0].outside == own
    };
    let tier = match is_single(&uids, uid) && is_single(&gids, gid) {
        true => Tier::Single,
        false => Tier::Subordinate,
    };
    Ok(Mapping::new(tier, (uid, gid), uids, gids))
}

/// The configuration without the user namespace that was entered already.
pub(super) fn without_user_namespace(spec: &mut Spec) {
    let Some(mut linux) = spec.linux().clone() else {
        return;
    };
    let mut namespaces = linux.namespaces().clone().unwrap_or_default();
    namespaces.retain(|namespace| namespace.typ() != LinuxNamespaceType::User);
    linux.set_namespaces(Some(namespaces));
    linux.set_uid_mappings(None).set_gid_mappings(None);
    spec.set_linux(Some(linux));
}
