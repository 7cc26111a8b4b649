//! Where the containers lie that are made of bundles (`runtime create`), which know nothing of images or stores.
//!
//! | path below the state root | content | guarded by |
//! |---|---|---|
//! | `ID/` | one container | flock of the directory: who creates, starts or deletes it |
//! | `ID/state.json` | the record; a directory without it is half made | flock of `ID/` |
//! | `ID/making.json` | the record as it was before there was a process, for whoever has to do without the whole one | written once |
//! | `ID/init` | a link that leads nowhere: its target is the first process, for the same | made once |
//! | `ID/config.json` | the bundle's, as it was when the container was created | written once |
//! | `ID/notify/` | what it sees of who is told that it is ready; there only where somebody is | made once |
//! | `ID/rootfs/` | where the root is mounted of one without a mount namespace; there only with such a one | made once |
//! | `ID/gate` | where the first process waits to be started; not there once it was | flock of `ID/` |

use super::{BUNDLE_CONFIGURATION, ROOTS_RUN, variable};
use std::path::{Path, PathBuf};

/// In a container's directory: where its first process waits.
pub const GATE: &str = "gate";
/// In a container's directory: where its root is mounted, if it has no mount namespace.
pub const ROOTFS: &str = "rootfs";
/// In a container's directory: where whoever starts it listens for its readiness.
pub const NOTIFY: &str = "notify";

/// The state root of bundles' containers.
#[derive(Clone, Debug)]
pub struct BundlePaths(PathBuf);

impl BundlePaths {
    /// The caller's if nothing else is asked for; `user` is the uid of an ordinary user, `None` for root.
    pub fn find(asked: Option<PathBuf>, user: Option<u32>) -> Self {
        Self(asked.unwrap_or_else(|| match user {
            None => PathBuf::from(ROOTS_RUN).join("runtime"),
            Some(uid) => match variable("XDG_RUNTIME_DIR") {
                Some(directory) if directory.is_dir() => directory.join("onggi/runtime"),
                _ => std::env::temp_dir().join(format!("onggi-{uid}/runtime")),
            },
        }))
    }

    /// The state root itself.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// One container.
    pub fn container(&self, id: &str) -> PathBuf {
        self.0.join(id)
    }

    /// Its record.
    pub fn record(&self, id: &str) -> PathBuf {
        self.container(id).join("state.json")
    }

    /// What is known of it before there is a process.
    pub fn making(&self, id: &str) -> PathBuf {
        self.container(id).join("making.json")
    }

    /// Its first process.
    pub fn init(&self, id: &str) -> PathBuf {
        self.container(id).join("init")
    }

    /// Its configuration.
    pub fn configuration(&self, id: &str) -> PathBuf {
        self.container(id).join(BUNDLE_CONFIGURATION)
    }

    /// Where its first process waits.
    pub fn gate(&self, id: &str) -> PathBuf {
        self.container(id).join(GATE)
    }
}
