//! What every operation needs: where the store lies and which ids it is made with.

use super::file_system::{self, FileSystem, Roots};
use super::image_store;
use crate::error::{Error, Kind, bad_input};
use crate::id_mapping::{Mapping, Tier};
use crate::image::layer::XattrPrefix;
use crate::paths::Paths;
use crate::settings::Settings;
use crate::store::atomic::{self, Durability};
use crate::store::damage::damaged;
use crate::store::lock::Lock;
use crate::store::staging::Staging;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs::Permissions;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

pub(super) const STORE_VERSION: u32 = 1;

/// What holds for every command.
#[derive(Clone, Debug, Default)]
pub struct GlobalOptions {
    /// `--root`.
    pub root: Option<PathBuf>,
    /// `--runroot`.
    pub runroot: Option<PathBuf>,
    /// `--imagestore`, in the order in which they are looked into.
    pub image_stores: Vec<PathBuf>,
}

/// An open store.
#[derive(Clone, Debug)]
pub struct Engine {
    /// Where things lie.
    pub paths: Paths,
    /// The ids it is made with.
    pub mapping: Mapping,
    /// What it lies on; `None`: that could not be found out, and is taken for one that can do everything.
    pub file_system: Option<FileSystem>,
    /// What its user has to be told of it, once.
    pub news: Vec<String>,
}

/// `store.json`.
#[derive(Serialize, Deserialize)]
pub(super) struct StoreRecord {
    pub version: u32,
    pub mapping: Mapping,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_system: Option<FileSystem>,
    /// Of a store that root shows to a user ([`super::share`]): the kind of the one that it is a view of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view_of: Option<Tier>,
}

impl Engine {
    /// Opens the caller's store, making it when it is not there.
    ///
    /// A store keeps the id mapping that it was first used with: files of containers and layers belong to those
    /// ids. A caller whose mapping has changed since is told so.
    pub fn open(options: &GlobalOptions) -> Result<Self> {
        let mut engine = Self::open_alone(options)?;
        image_store::add(&mut engine, &options.image_stores)?;
        Ok(engine)
    }

    /// Likewise without other stores.
    fn open_alone(options: &GlobalOptions) -> Result<Self> {
        let mapping = Mapping::detect()?;
        let paths = Paths::find(
            options.root.clone(),
            options.runroot.clone(),
            mapping.user(),
        )?;
        let record = paths.store_record();
        match std::fs::read(&record) {
            Ok(text) => {
                let found: StoreRecord =
                    serde_json::from_slice(&text).map_err(|error| damaged(&record, error))?;
                let context = || format!("open the store `{}`", paths.data().display());
                let known = found.file_system.clone();
                let mapping = adopt(found, mapping).with_context(context)?;
                let mut engine = Self {
                    paths: paths.clone(),
                    mapping,
                    file_system: known,
                    news: Vec::new(),
                };
                engine.look_at_file_system().with_context(context)?;
                Ok(engine)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => make(paths, mapping),
            Err(error) => Err(error).with_context(|| format!("read `{}`", record.display())),
        }
    }

    /// Opens a store to check it, even if its record is damaged: what is wrong with that comes along, and the ids are
    /// those that the caller has now.
    pub fn open_to_check(options: &GlobalOptions) -> Result<(Self, Option<String>)> {
        let mapping = Mapping::detect()?;
        let paths = Paths::find(
            options.root.clone(),
            options.runroot.clone(),
            mapping.user(),
        )?;
        let text = std::fs::read(paths.store_record()).unwrap_or_default();
        match serde_json::from_slice::<StoreRecord>(&text) {
            Err(error) if paths.store_record().exists() => {
                let problem = format!("it is damaged: {error}");
                let engine = Self {
                    paths,
                    mapping,
                    file_system: None,
                    news: Vec::new(),
                };
                Ok((engine, Some(problem)))
            }
            _ => Ok((Self::open(options)?, None)),
        }
    }

    /// Writes the store's own record.
    pub fn write_record(&self) -> Result<()> {
        let _lock = Lock::exclusive(&self.paths.lock())?;
        let record = StoreRecord {
            version: STORE_VERSION,
            mapping: self.mapping.clone(),
            file_system: self.file_system.clone(),
            view_of: None,
        };
        atomic::write(
            &self.paths.store_record(),
            &serde_json::to_vec_pretty(&record)?,
            Durability::Durable,
        )
    }

    /// Whether containers are made of copies, and why.
    pub fn copies(&self) -> Option<&str> {
        match &self.file_system.as_ref()?.roots {
            Roots::Copies { why } => Some(why),
            Roots::Overlays => None,
        }
    }

    /// Whether the files of layers are put together by copying them: no overlay of them can be had.
    pub fn merges_by_copies(&self) -> bool {
        self.copies().is_some() || self.mapping.refused.is_some()
    }

    /// How layers mark what they hide.
    pub fn marks(&self) -> XattrPrefix {
        marks(self.file_system.as_ref(), self.mapping.tier)
    }

    /// Tries what the file system can do, if the store was not on this one before. One with copies goes on as it is.
    fn look_at_file_system(&mut self) -> Result<()> {
        let data = self.paths.data();
        match &self.file_system {
            Some(_) if self.copies().is_some() => return Ok(()),
            // Marks that only the root of the machine can read.
            Some(_) if self.mapping.refused.is_some() && self.mapping.tier == Tier::Root => {
                let message =
                    "its layers are made for overlays, which root without CAP_SYS_ADMIN cannot use";
                return Err(Error::new(Kind::Conflict, message)
                    .hint("use another --root in here")
                    .into());
            }
            Some(known) if known.is_of(data)? => return Ok(()),
            _ => {}
        }
        // Who may not make a user namespace, or an overlay, is told so by what needs one; on a full disk the next
        // command tries again.
        let probed = Staging::new(&self.paths.staging())
            .and_then(|staging| FileSystem::probe(staging.path(), &self.mapping));
        let Ok(found) = probed else {
            return Ok(());
        };
        if let Roots::Copies { why } = &found.roots
            && has_entries(&self.paths.layers())
        {
            let message = format!(
                "its layers are made for overlays, and it lies where there are none: {why}"
            );
            return Err(Error::new(Kind::Conflict, message)
                .hint("move it back, or use another --root")
                .into());
        }
        if self.mapping.refused.is_none() {
            self.news.extend(found.announcement(data));
        }
        self.file_system = Some(found);
        self.write_record()
    }

    /// Opens a store that is known to be there, as whoever it is made with: in its user namespace, the caller's own
    /// ids tell nothing.
    pub fn reopen(paths: Paths) -> Result<Self> {
        let record = paths.store_record();
        let text =
            std::fs::read(&record).with_context(|| format!("read `{}`", record.display()))?;
        let found: StoreRecord =
            serde_json::from_slice(&text).map_err(|error| damaged(&record, error))?;
        let mut mapping = found.mapping;
        mapping.refused = Mapping::refusal(mapping.uid)?;
        Ok(Self {
            paths,
            mapping,
            file_system: found.file_system,
            news: Vec::new(),
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
        use crate::image::layer::{Devices, Owners, Rules};
        let settings = Settings::load()?;
        let root = self.mapping.tier == Tier::Root;
        Ok(Rules {
            owners: if self.mapping.tier == Tier::Single {
                Owners::SingleId
            } else {
                Owners::Real
            },
            xattrs: self.marks(),
            devices: match (root, settings.layer_skip_devices) {
                (true, _) => Devices::Make,
                (false, true) => Devices::Skip,
                (false, false) => Devices::Refuse,
            },
            absolute_names: settings.layer_absolute_names,
            max_bytes: settings.layer_max_bytes,
            keep_blobs: settings.keep_blobs,
        })
    }
}

/// How the layers of a store mark what they hide.
pub(super) fn marks(file_system: Option<&FileSystem>, tier: Tier) -> XattrPrefix {
    match (file_system.map(|found| &found.roots), tier) {
        (Some(Roots::Copies { .. }), _) => XattrPrefix::Names,
        (_, Tier::Root) => XattrPrefix::Trusted,
        _ => XattrPrefix::User,
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
    then.refused = now.refused;
    if then.is_here()? {
        then.entered = true;
        return Ok(then);
    }
    let same_user = (then.uid, then.gid) == (now.uid, now.gid);
    // One id is always to be had, so a store made with one goes on when subordinate ids come later.
    let has_more =
        now.tier == Tier::Subordinate || (now.tier == Tier::Root && now.refused.is_some());
    if then == now || (same_user && then.tier == Tier::Single && has_more) {
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

fn make(paths: Paths, mut mapping: Mapping) -> Result<Engine> {
    // From its first moment on: layers hold setuid programs that no other user may reach.
    let mut private = std::fs::DirBuilder::new();
    let made = private.recursive(true).mode(0o700).create(paths.data());
    made.with_context(|| format!("create `{}`", paths.data().display()))?;
    for directory in paths.directories() {
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("create `{}`", directory.display()))?;
    }
    for directory in [paths.staging(), paths.containers()] {
        scatter(&directory)?;
    }
    // It may have been there.
    std::fs::set_permissions(paths.data(), Permissions::from_mode(0o700))
        .with_context(|| format!("change the mode of `{}`", paths.data().display()))?;
    let mut news = Vec::new();
    if let Some(refusal) = &mapping.refused
        && mapping.tier == Tier::Subordinate
    {
        news.push(format!(
            "no user namespace can be had here ({refusal}): the store `{}` is for the single id {}, also where there is one later",
            paths.data().display(),
            mapping.uid
        ));
        mapping.reduce();
    }
    check(&paths, &mut mapping, &mut news)
        .with_context(|| format!("make a store in `{}`", paths.data().display()))?;
    let mut engine = Engine {
        paths,
        mapping,
        file_system: None,
        news,
    };
    engine.look_at_file_system()?;
    if engine.file_system.is_none() {
        engine.write_record()?;
    }
    Ok(engine)
}

/// Asks ext4 to put each directory that is made there into a group of its own (chattr(1), "T"). It looks at all inodes
/// of a group that were removed within the last minutes before it gives out one, so that in one group each start would be
/// slower for the containers that ended before. A file system that has no groups does not take it.
fn scatter(directory: &Path) -> Result<()> {
    let opened = std::fs::File::open(directory)
        .with_context(|| format!("open `{}`", directory.display()))?;
    if let Ok(flags) = rustix::fs::ioctl_getflags(&opened) {
        let _ = rustix::fs::ioctl_setflags(&opened, flags | rustix::fs::IFlags::TOPDIR);
    }
    Ok(())
}

/// Whether a store can lie there, and with which ids.
fn check(paths: &Paths, mapping: &mut Mapping, news: &mut Vec<String>) -> Result<()> {
    let staging = Staging::new(&paths.staging())?;
    file_system::check(staging.path())?;
    // Who has one id gives nothing away; who cannot enter his namespace is told so by what needs it.
    if mapping.tier == Tier::Single
        || file_system::keeps_owners(staging.path(), mapping).unwrap_or(true)
    {
        return Ok(());
    }
    if mapping.tier == Tier::Root {
        let message = "the file system does not let root give files to others";
        return Err(Error::new(Kind::Unsupported, message)
            .hint("put the store on another one: --root DIRECTORY or ONGGI_ROOT=DIRECTORY")
            .into());
    }
    mapping.reduce();
    news.push(format!(
        "the file system of `{}` does not let you give files to your subordinate ids: its containers have the single \
         id {}, and changes of owner are no-ops",
        paths.data().display(),
        mapping.uid
    ));
    Ok(())
}

fn has_entries(directory: &Path) -> bool {
    std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some())
}
