//! What every operation needs: where the store lies and which ids it is made with.

use crate::error::{Error, Kind, bad_input};
use crate::id_mapping::{Mapping, Tier};
use crate::paths::Paths;
use crate::settings::Settings;
use crate::store::atomic::{self, Durability};
use crate::store::damage::damaged;
use crate::store::lock::Lock;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs::Permissions;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::PathBuf;

const STORE_VERSION: u32 = 1;

/// What holds for every command.
#[derive(Clone, Debug, Default)]
pub struct GlobalOptions {
    /// `--root`.
    pub root: Option<PathBuf>,
    /// `--runroot`.
    pub runroot: Option<PathBuf>,
}

/// An open store.
#[derive(Clone, Debug)]
pub struct Engine {
    /// Where things lie.
    pub paths: Paths,
    /// The ids it is made with.
    pub mapping: Mapping,
}

#[derive(Serialize, Deserialize)]
struct StoreRecord {
    version: u32,
    mapping: Mapping,
}

impl Engine {
    /// Opens the caller's store, making it when it is not there.
    ///
    /// A store keeps the id mapping that it was first used with: files of containers and layers belong to those
    /// ids. A caller whose mapping has changed since is told so.
    pub fn open(options: &GlobalOptions) -> Result<Self> {
        let mapping = Mapping::detect()?;
        let user = mapping.needs_user_namespace().then_some(mapping.uid);
        let paths = Paths::find(options.root.clone(), options.runroot.clone(), user)?;
        let record = paths.store_record();
        match std::fs::read(&record) {
            Ok(text) => {
                let found: StoreRecord =
                    serde_json::from_slice(&text).map_err(|error| damaged(&record, error))?;
                let mapping = adopt(found, mapping)
                    .with_context(|| format!("open the store `{}`", paths.data().display()))?;
                Ok(Self { paths, mapping })
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                make(&paths, &mapping)?;
                Ok(Self { paths, mapping })
            }
            Err(error) => Err(error).with_context(|| format!("read `{}`", record.display())),
        }
    }

    /// Opens a store to check it, even if its record is damaged: what is wrong with that comes along, and the ids are
    /// those that the caller has now.
    pub fn open_to_check(options: &GlobalOptions) -> Result<(Self, Option<String>)> {
        let mapping = Mapping::detect()?;
        let user = mapping.needs_user_namespace().then_some(mapping.uid);
        let paths = Paths::find(options.root.clone(), options.runroot.clone(), user)?;
        let text = std::fs::read(paths.store_record()).unwrap_or_default();
        match serde_json::from_slice::<StoreRecord>(&text) {
            Err(error) if paths.store_record().exists() => {
                let problem = format!("it is damaged: {error}");
                Ok((Self { paths, mapping }, Some(problem)))
            }
            _ => Ok((Self::open(options)?, None)),
        }
    }

    /// Writes the store's own record.
    pub fn write_record(&self) -> Result<()> {
        let _lock = Lock::exclusive(&self.paths.lock())?;
        write_record(&self.paths, &self.mapping)
    }

    /// Opens a store that is known to be there, as whoever it is made with: in its user namespace, the caller's own
    /// ids tell nothing.
    pub fn reopen(paths: Paths) -> Result<Self> {
        let record = paths.store_record();
        let text =
            std::fs::read(&record).with_context(|| format!("read `{}`", record.display()))?;
        let found: StoreRecord =
            serde_json::from_slice(&text).map_err(|error| damaged(&record, error))?;
        Ok(Self {
            paths,
            mapping: found.mapping,
        })
    }

    /// For an ordinary user: makes this process, which must have one thread, root of a user namespace with the
    /// store's ids, so that it may give files to any of them. Does nothing for root.
    pub fn enter_user_namespace(&self) -> Result<()> {
        if self.mapping.needs_user_namespace() {
            self.mapping.enter()?;
        }
        Ok(())
    }

    /// How layers are unpacked here.
    pub fn layer_rules(&self) -> Result<crate::image::layer::Rules> {
        use crate::image::layer::{Devices, Owners, Rules, XattrPrefix};
        let settings = Settings::load()?;
        let root = self.mapping.tier == Tier::Root;
        Ok(Rules {
            owners: if self.mapping.tier == Tier::Single {
                Owners::SingleId
            } else {
                Owners::Real
            },
            xattrs: if root {
                XattrPrefix::Trusted
            } else {
                XattrPrefix::User
            },
            devices: match (root, settings.layer_skip_devices) {
                (true, _) => Devices::Make,
                (false, true) => Devices::Skip,
                (false, false) => Devices::Refuse,
            },
            absolute_names: settings.layer_absolute_names,
            max_bytes: settings.layer_max_bytes,
        })
    }
}

/// The store's own mapping wins; a mapping that this caller cannot have is refused.
fn adopt(found: StoreRecord, now: Mapping) -> Result<Mapping> {
    if found.version != STORE_VERSION {
        return Err(bad_input(format!(
            "its format is version {}, this program knows {STORE_VERSION}",
            found.version
        ))
        .hint("use the program that made it, or another --root")
        .into());
    }
    let mut then = found.mapping;
    if then.is_here()? {
        then.entered = true;
        return Ok(then);
    }
    let same_user = (then.uid, then.gid) == (now.uid, now.gid);
    // One id is always to be had, so a store made with one goes on when subordinate ids come later.
    if then == now || (same_user && then.tier == Tier::Single && now.tier == Tier::Subordinate) {
        return Ok(then);
    }
    let words = |mapping: &Mapping| match mapping.tier {
        Tier::Root => "root".to_owned(),
        Tier::Single => format!("the single id {}", mapping.uid),
        Tier::Subordinate => {
            let ranges: Vec<String> = mapping.uids[1..]
                .iter()
                .map(|r| format!("{}+{}", r.outside, r.size))
                .collect();
            format!(
                "uid {} with the subordinate ids {}",
                mapping.uid,
                ranges.join(", ")
            )
        }
    };
    Err(Error::new(
        Kind::Conflict,
        format!("it was made by {}, this is {}", words(&then), words(&now)),
    )
    .hint("restore those ids in /etc/subuid and /etc/subgid, or use another --root")
    .into())
}

fn make(paths: &Paths, mapping: &Mapping) -> Result<()> {
    // From its first moment on: layers hold setuid programs that no other user may reach.
    let mut private = std::fs::DirBuilder::new();
    let made = private.recursive(true).mode(0o700).create(paths.data());
    made.with_context(|| format!("create `{}`", paths.data().display()))?;
    for directory in paths.directories() {
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("create `{}`", directory.display()))?;
    }
    // It may have been there.
    std::fs::set_permissions(paths.data(), Permissions::from_mode(0o700))
        .with_context(|| format!("change the mode of `{}`", paths.data().display()))?;
    // Several first commands at once, of which one sweeps already.
    let _lock = Lock::exclusive(&paths.lock())?;
    write_record(paths, mapping)
}

fn write_record(paths: &Paths, mapping: &Mapping) -> Result<()> {
    let record = StoreRecord {
        version: STORE_VERSION,
        mapping: mapping.clone(),
    };
    atomic::write(
        &paths.store_record(),
        &serde_json::to_vec_pretty(&record)?,
        Durability::Durable,
    )
}
