//! The mounts of a step: what an order names becomes mounts that are attached nowhere yet.
//!
//! Everything in layers and caches is hostile: a path there is resolved by the kernel as for a process whose
//! root that is (openat2(2), `RESOLVE_IN_ROOT`), so that it never leads out of it (CVE-2024-1753, CVE-2024-9407,
//! CVE-2024-23651), and what was made to mount on is never removed by its name (CVE-2024-23652): it is left out of the
//! layer.

use super::agent::{self, Agent};
use super::order::{Access, Mount, NewCache, Shown, Source};
use super::{cache, layer, layers};
use crate::container::engine::Engine;
use crate::container::step::{self, Step};
use crate::error::bad_input;
use crate::id_mapping::Tier;
use crate::image::intake::Intake;
use crate::runtime::plan::{Held, Sources};
use crate::sys::mount::{self, Attributes};
use crate::sys::openat2::open_in_root;
use anyhow::{Context, Result};
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Stat, Uid, chmodat, chownat, fstat, openat};
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// As [`step::Wanted`] has them.
pub fn wanted(mounts: &[Mount]) -> Vec<step::Mount> {
    let wanted = |mount: &Mount| step::Mount {
        target: mount.target.clone(),
        read_only: mount.read_only,
        memory: match mount.source {
            Source::Tmpfs { size } => Some(size),
            _ => None,
        },
    };
    mounts.iter().map(wanted).collect()
}

/// What is open for the mounts of a step.
pub struct Opened {
    /// By target.
    pub sources: Sources,
    /// Those who pass connections to agents on, as long as they are kept.
    pub agents: Vec<Agent>,
    /// To be told to the user.
    pub warnings: Vec<String>,
}

/// Opens the sources of all mounts; layers among them stay as long as the intake.
pub fn open(
    engine: &Engine,
    step: &Step<'_>,
    intake: &mut Intake<'_>,
    mounts: &[Mount],
    descriptors: &[OwnedFd],
) -> Result<Opened> {
    let mut opening = Opening {
        engine,
        step,
        intake,
        descriptors,
        agents: Vec::new(),
        warnings: Vec::new(),
    };
    let mut sources = Sources::new();
    for (number, mount) in mounts.iter().enumerate() {
        let tree = opening.tree(number, mount);
        let tree = tree.with_context(|| format!("mount on `{}`", mount.target))?;
        let held = tree.map(|tree| (OsString::from(&mount.target), Held::Mount(tree)));
        sources.extend(held);
    }
    Ok(Opened {
        sources,
        agents: opening.agents,
        warnings: opening.warnings,
    })
}

/// What mounts are opened with, and what has come of it.
struct Opening<'a, 'b> {
    engine: &'a Engine,
    step: &'a Step<'a>,
    intake: &'a mut Intake<'b>,
    descriptors: &'a [OwnedFd],
    agents: Vec<Agent>,
    warnings: Vec<String>,
}

impl Opening<'_, '_> {
    /// What a mount shows, attached nowhere; `None` for what is made where it is attached.
    fn tree(&mut self, number: usize, mount: &Mount) -> Result<Option<OwnedFd>> {
        let engine = self.engine;
        Ok(Some(match &mount.source {
            Source::Tmpfs { .. } => return Ok(None),
            Source::Cache { descriptor, new } => self.cache(number, *descriptor, new)?,
            Source::Layers(Shown { layers, path }) => {
                layer::hold(self.intake, layers)?;
                let scratch = scratch(self.step, number)?;
                layers::part(engine, &layers.names, path, &scratch, !mount.read_only)?
            }
            Source::File {
                descriptor,
                access,
                is_program,
            } => {
                let attributes = match is_program {
                    true => hardened().difference(Attributes::MOUNT_ATTR_NOEXEC),
                    false => hardened(),
                };
                let give = |file: BorrowedFd<'_>| give(engine, file, *access);
                in_memory(handed(self.descriptors, *descriptor)?, attributes, give)?
            }
            Source::Agent { socket, access } => {
                let (tree, agent) = agent::open(socket, |place| give(engine, place, *access))?;
                self.agents.push(agent);
                tree
            }
        }))
    }

    fn cache(&mut self, number: usize, descriptor: usize, new: &NewCache) -> Result<OwnedFd> {
        let place = handed(self.descriptors, descriptor)?;
        let (engine, step) = (self.engine, self.step);
        let scratch = || scratch(step, number);
        let mut seeded = |scratch: &Path| {
            let Some(Shown { layers, path }) = &new.seed else {
                return Ok(None);
            };
            layer::hold(self.intake, layers)?;
            layers::part(engine, &layers.names, path, scratch, false).map(Some)
        };
        let (files, warnings) = cache::files(engine, place, new, &scratch, &mut seeded)?;
        self.warnings.extend(warnings);
        mount::clone_tree(files.as_fd(), false).context("bind it")
    }
}

/// A directory of a mount's own.
fn scratch(step: &Step<'_>, number: usize) -> Result<PathBuf> {
    step.scratch(&format!("mount-{number}"))
}

/// What was handed over under a number.
pub fn handed(descriptors: &[OwnedFd], number: usize) -> Result<BorrowedFd<'_>> {
    let found = descriptors.get(number).map(AsFd::as_fd);
    found.with_context(|| format!("descriptor {number} was not handed over"))
}

/// A file in memory that is never written to a disk: ramfs is not swapped. `give` gives it a mode and an owner.
fn in_memory(
    from: BorrowedFd<'_>,
    attributes: Attributes,
    give: impl FnOnce(BorrowedFd<'_>) -> Result<()>,
) -> Result<OwnedFd> {
    const NAME: &str = "file";
    let memory = mount::new_filesystem("ramfs", "ramfs", &[], attributes)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = openat(&memory, NAME, flags, Mode::RUSR).context("make a file in memory")?;
    let (mut from, mut file) = (File::from(from.try_clone_to_owned()?), File::from(file));
    std::io::copy(&mut from, &mut file).context("write into memory")?;
    give(file.as_fd())?;
    part_of(&memory, NAME.as_bytes(), Attributes::MOUNT_ATTR_RDONLY)
}

/// What nobody has use for in a secret or a socket.
pub fn hardened() -> Attributes {
    Attributes::MOUNT_ATTR_NOSUID | Attributes::MOUNT_ATTR_NODEV | Attributes::MOUNT_ATTR_NOEXEC
}

/// What lies in a mount that is attached nowhere: it has to be for a moment before a part of it can be taken (before
/// Linux 6.15).
pub fn part_of(whole: &OwnedFd, path: &[u8], more: Attributes) -> Result<OwnedFd> {
    mount::apart(|| {
        let place = mount::open_source(Path::new("/"))?;
        mount::attach(whole.as_fd(), place.as_fd()).context("attach it")?;
        let part = open_in_root(whole, path, OFlags::PATH, Mode::empty())
            .with_context(|| format!("open `{}`", String::from_utf8_lossy(path)))?;
        let part = mount::clone_tree(part.as_fd(), false).context("bind a part of it")?;
        mount::add_attributes(part.as_fd(), more, false).context("protect it")?;
        Ok(part)
    })
}

/// What was handed over, in the mount namespace of this process: only from there can it be mounted. Nothing else can have
/// come in its place meanwhile.
pub fn here(handed: BorrowedFd<'_>) -> Result<OwnedFd> {
    let path = std::fs::read_link(format!("/proc/self/fd/{}", handed.as_raw_fd()))
        .context("find what was handed over")?;
    let found = mount::open_source(&path)?;
    let [there, here] = [fstat(handed), fstat(&found)];
    let (there, here) = (there.context("fstat")?, here.context("fstat")?);
    if (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino) {
        let message = format!("`{}` was replaced meanwhile", path.display());
        return Err(bad_input(message).hint("try again").into());
    }
    Ok(found)
}

/// Gives a file of ours a mode and an owner. With a single id there is nobody else to give it to.
pub fn give(engine: &Engine, place: BorrowedFd<'_>, access: Access) -> Result<()> {
    let Access { mode, uid, gid } = access;
    let found = fstat(place).context("fstat")?;
    let itself = format!("/proc/self/fd/{}", place.as_raw_fd());
    if engine.mapping.tier != Tier::Single && (found.st_uid, found.st_gid) != (uid, gid) {
        let (owner, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
        chownat(CWD, &itself, Some(owner), Some(group), AtFlags::empty())
            .with_context(|| format!("give it to {uid}:{gid}"))?;
    }
    if found.st_mode & 0o7777 != mode {
        let mode = Mode::from_raw_mode(mode);
        chmodat(CWD, &itself, mode, AtFlags::empty()).context("change its mode")?;
    }
    Ok(())
}

impl Access {
    /// That of a file.
    pub fn of(found: &Stat) -> Self {
        Self {
            mode: found.st_mode & 0o7777,
            uid: found.st_uid,
            gid: found.st_gid,
        }
    }
}
