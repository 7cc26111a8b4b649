//! Which other stores are used for images (`--imagestore`, the setting `image-stores`), and how: their layers as they
//! lie there, or as copies.
//!
//! | files there belong to | and hide others by | their layers are |
//! |---|---|---|
//! | the ids that this store has: the same user's, root's for root, what root shows to this user ([`super::share`]) | the marks that this store's overlays look for | used in place |
//! | likewise | other marks | used in place where they have none, else copied |
//! | anybody else | | copied: the kernel shows such files as nobody's and refuses to change them (`EOVERFLOW`) |
//!
//! Invariant: nothing that the other store says of itself is believed unless root or this user has made it.

use super::engine::{Engine, STORE_VERSION, StoreRecord, marks};
use crate::error::{Error, bad_input, not_found};
use crate::id_mapping::{Mapping, Tier, name_of};
use crate::image::layer::XattrPrefix;
use crate::paths::{ImageStore, Paths, Usable};
use crate::settings::Settings;
use crate::store::damage::{self, damaged};
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Adds the stores that were asked for, or else those that the settings name. One that was asked for and cannot be used
/// is an error; one of the settings, which may be meant for all users of the machine, is noted.
pub(super) fn add(engine: &mut Engine, asked: &[PathBuf]) -> Result<()> {
    let settings = match asked {
        [] => Settings::load().map(|settings| settings.image_stores),
        _ => Ok(Vec::new()),
    };
    // Who needs a setting is told by that one what is wrong; nobody else is kept from anything.
    let settings = settings.unwrap_or_else(|error| {
        damage::remark(format_args!(
            "{error:#}; until that is mended the setting `image-stores` does not count"
        ));
        Vec::new()
    });
    let mut stores: Vec<ImageStore> = Vec::new();
    for path in asked.iter().chain(&settings) {
        match open(engine, path) {
            Ok(Some(store)) if !stores.contains(&store) => stores.push(store),
            Ok(_) => {}
            Err(error) if asked.is_empty() => {
                let what = format_args!("the image store `{}` is left out", path.display());
                damage::note(what, &error);
            }
            Err(error) => {
                return Err(error.context(format!("open the image store `{}`", path.display())));
            }
        }
    }
    if !stores.is_empty() {
        engine.paths = engine.paths.clone().with_image_stores(stores);
    }
    Ok(())
}

/// One store; `None` for this one itself.
fn open(engine: &Engine, path: &Path) -> Result<Option<ImageStore>> {
    let path = std::path::absolute(path)?;
    let (data, text) = match read(&path) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let shown = Paths::shared_by_root(engine.mapping.uid, &path);
            match read(&shown) {
                Ok(found) => found,
                Err(_) => return Err(unreadable(engine, &error)),
            }
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            let message = "there is no store of images";
            return Err(not_found(message)
                .hint("name the data directory of another onggi, as `onggi info` tells it")
                .into());
        }
        found => found.context("read its record")?,
    };
    let own = std::fs::canonicalize(engine.paths.data());
    if own.is_ok_and(|own| own == data) {
        return Ok(None);
    }
    if data.to_str().is_none() {
        return Err(bad_input("its path is not valid UTF-8").into());
    }
    let record = Paths::new(&data, "").store_record();
    let found: StoreRecord =
        serde_json::from_slice(&text).map_err(|error| damaged(&record, error))?;
    if found.version != STORE_VERSION {
        let version = found.version;
        return Err(bad_input(format!(
            "its format is version {version}, this program knows {STORE_VERSION}"
        ))
        .into());
    }
    let owner = std::fs::metadata(&data).context("stat it")?.uid();
    let is_trusted = [0, engine.mapping.uid].contains(&owner);
    let layers = match is_trusted {
        true => usable(engine, &found),
        false => Usable::ByCopy,
    };
    Ok(Some(ImageStore { data, layers }))
}

/// More than any record has, in bytes.
const RECORD_LIMIT: u64 = 1 << 20;

/// Where it really lies, and its record.
fn read(path: &Path) -> std::io::Result<(PathBuf, Vec<u8>)> {
    let data = std::fs::canonicalize(path)?;
    // A pipe, which nobody may write to, has no end, and neither has a device.
    let mut options = File::options();
    options.read(true).custom_flags(libc::O_NONBLOCK);
    let record = options.open(Paths::new(&data, "").store_record())?;
    let mut text = Vec::new();
    record.take(RECORD_LIMIT).read_to_end(&mut text)?;
    Ok((data, text))
}

fn usable(engine: &Engine, found: &StoreRecord) -> Usable {
    // Of many ids one could be shown as the only one that this user has; the others would be nobody's.
    let has_more = found.view_of.is_some_and(|tier| tier != Tier::Single);
    if engine.mapping.tier == Tier::Single && has_more {
        return Usable::ByCopy;
    }
    let theirs = marks(
        found.file_system.as_ref(),
        found.view_of.unwrap_or(found.mapping.tier),
    );
    match (
        have_same_ids(&engine.mapping, &found.mapping),
        theirs == engine.marks(),
    ) {
        (false, _) => Usable::ByCopy,
        (true, true) => Usable::InPlace,
        (true, false) if [theirs, engine.marks()].contains(&XattrPrefix::Names) => Usable::ByCopy,
        (true, false) => Usable::InPlaceUnmarked,
    }
}

fn have_same_ids(ours: &Mapping, theirs: &Mapping) -> bool {
    match (ours.tier, theirs.tier) {
        (Tier::Root, Tier::Root) => true,
        (ours, theirs) if ours != theirs => false,
        _ => ours.uids == theirs.uids && ours.gids == theirs.gids,
    }
}

fn unreadable(engine: &Engine, error: &std::io::Error) -> anyhow::Error {
    let user = name_of(engine.mapping.uid).unwrap_or_else(|| engine.mapping.uid.to_string());
    Error::new(
        crate::error::Kind::Denied,
        format!("read its record: {error}"),
    )
    .hint(format!("sudo onggi system share-images {user}"))
    .into()
}
