//! How steps are carried out, found by trying what the kernel and the sandbox around let a worker do.
//!
//! | mode | needs | a step's program has |
//! |---|---|---|
//! | containers | namespaces, mounts, pivot_root(2) | walls of its own |
//! | chroot | chroot(2), and files of any owner | a root directory of its own, and else what is around it |
//! | files | nothing | none is run: `COPY`, `ADD` and `WORKDIR` only |

use crate::container::engine::Engine;
use crate::error::{Error, Kind};
use crate::id_mapping::Tier;
use crate::sys::mount::{self, Attributes};
use crate::sys::namespace::unshare;
use crate::sys::process::{attempt, flags};
use crate::sys::root;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::os::fd::AsFd;
use std::path::Path;

/// One of them, for a whole build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Each program runs in a container.
    Containers,
    /// Each program has another root directory only.
    Chroot {
        /// Why it has no container.
        why: String,
        /// Whether what is around can be mounted into that root: `/proc`, `/sys`.
        mounts: bool,
    },
    /// No program can be run.
    Files {
        /// Why.
        why: String,
    },
}

impl Mode {
    /// Tries them. The process must have one thread and be where steps are carried out.
    pub fn find(engine: &Engine) -> Result<Self> {
        let refused = match &engine.mapping.refused {
            Some(refusal) => Some(refusal.to_string()),
            None => attempt(in_namespaces)?,
        };
        let Some(why) = refused else {
            return Ok(Self::Containers);
        };
        if engine.mapping.tier == Tier::Single {
            let why = format!("no namespaces ({why}), no chroot without root");
            return Ok(Self::Files { why });
        }
        let chroot = || rustix::process::chroot("/").context("chroot");
        Ok(match attempt(chroot)? {
            Some(refused) => Self::Files {
                why: format!("no namespaces ({why}), {refused}"),
            },
            None => Self::Chroot {
                why,
                mounts: attempt(with_mounts)?.is_none(),
            },
        })
    }

    /// On one line, for people.
    pub fn describe(&self, engine: &Engine) -> String {
        match self {
            Self::Containers => {
                let ids = match engine.mapping.tier {
                    Tier::Root => "root",
                    Tier::Subordinate => "user namespace",
                    Tier::Single => "user namespace with a single id",
                };
                let files = match engine.copies() {
                    None => "overlay",
                    Some(_) => "copies",
                };
                format!("{ids}, {files}")
            }
            Self::Chroot { why, mounts } => {
                let without = match mounts {
                    true => "",
                    false => "; programs have no /proc and /sys",
                };
                format!("chroot only: no namespaces ({why}){without}")
            }
            Self::Files { why } => {
                format!("files only, no RUN: {why}")
            }
        }
    }
}

/// What a `RUN` comes to where no program can be run.
pub fn no_programs(why: &str) -> anyhow::Error {
    let message = format!("RUN is not possible here: {why}");
    Error::new(Kind::Unsupported, message)
        .hint(
            "allow user namespaces (`onggi run` names what forbids them), or build as root of a container with Docker's default \
             capabilities; COPY, ADD and WORKDIR work as it is",
        )
        .into()
}

/// Makes the walls of a container, as far as they cost little.
fn in_namespaces() -> Result<()> {
    let wanted = flags::NEW_MOUNT | flags::NEW_PID | flags::NEW_IPC | flags::NEW_UTS;
    unshare(wanted).context("unshare")?;
    mount::set_propagation_of_all(false).context("make mounts private")?;
    let memory = mount::new_filesystem("tmpfs", "tmpfs", &[], Attributes::empty())?;
    let place = mount::open_source(Path::new("/"))?;
    mount::attach(memory.as_fd(), place.as_fd()).context("attach a mount")?;
    rustix::process::fchdir(&memory).context("fchdir")?;
    root::pivot_to_current_directory()
}

/// Mounts what is around somewhere else.
fn with_mounts() -> Result<()> {
    unshare(flags::NEW_MOUNT).context("unshare the mount namespace")?;
    mount::set_propagation_of_all(false).context("make mounts private")?;
    let processes = mount::open_source(Path::new("/proc"))?;
    let tree = mount::clone_tree(processes.as_fd(), true).context("bind `/proc`")?;
    mount::attach(tree.as_fd(), processes.as_fd()).context("attach a mount")
}
