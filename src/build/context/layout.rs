//! A context that is an image in an OCI layout: its layers come into the store as what the build cache keeps, and nothing
//! of it becomes an image there.
//!
//! A layout is as hostile as an archive: all of it is checked against the digest that led to it, and nothing is looked for
//! outside of its directory ([`crate::image::archive`]).

use super::address::Address;
use crate::build::cache::{Cache, Record};
use crate::build::worker::order::{Layer, Layers};
use crate::error::{Error, Kind, bad_input, kind};
use crate::image::archive::Archive;
use crate::image::config::{Config, chain_id};
use crate::image::copy::layout::Layout;
use crate::image::copy::stored::Chosen;
use crate::image::copy::{Order, Source};
use crate::image::digest::Digest;
use crate::image::hold::Hold;
use crate::image::intake::Intake;
use crate::image::layer::Rules;
use crate::image::platform::Platform;
use crate::image::store;
use crate::paths::Paths;
use crate::progress::Silent;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// An image whose layers are in the store.
#[derive(Debug, Serialize, Deserialize)]
pub struct Brought {
    /// The digest of its manifest.
    pub manifest: Digest,
    /// As it is written.
    pub config: String,
    /// Its layers.
    pub layers: Layers,
}

/// Opens what `oci-layout://DIRECTORY[:TAG][@DIGEST]` leads to. Without both it is what is called `latest`, or the only one.
pub fn open(text: &str) -> Result<Layout> {
    let Address::Layout { path, tag, digest } = Address::parse_named(text)? else {
        return Err(bad_input(format!("`{text}` is no OCI layout")).into());
    };
    if !path.is_dir() {
        let message = format!("`{}` is no directory", path.display());
        let hint = "`onggi image copy NAME oci:DIRECTORY` makes a layout of an image";
        return Err(Error::new(Kind::NotFound, message).hint(hint).into());
    }
    let archive = || Archive::directory(&path);
    match (digest, tag) {
        (Some(digest), _) => Layout::by_digest(archive()?, &digest),
        (None, Some(tag)) => Layout::open(archive()?, Some(&tag)),
        (None, None) => match Layout::open(archive()?, Some("latest")) {
            Err(error) if kind(&error) == Some(Kind::NotFound) => Layout::open(archive()?, None),
            opened => opened,
        },
    }
}

/// Takes its layers in, for one platform. An ordinary user must be in the user namespace of the store.
pub fn bring(
    layout: &Layout,
    platform: &Platform,
    paths: &Paths,
    rules: &Rules,
) -> Result<Brought> {
    let order = Order {
        platform: Some(platform.clone()),
        ..Order::default()
    };
    let chosen = Chosen::of(layout, &order)?;
    let hold = Hold::new(paths)?;
    let cache = Cache::open(paths, &hold)?;
    let mut intake = Intake::new(paths, rules)?;
    intake.cache_layers();
    let chain = chosen.layers(layout, &mut intake, &Silent)?;
    intake.commit_for_now()?;
    let layers = Layers {
        diff_ids: chain.diff_ids().to_vec(),
        names: chain.names().to_vec(),
    };
    let text = String::from_utf8(chosen.config).context("read the config of the image")?;
    let config = Config::parse(text.as_bytes())?;
    let epoch = config.created().map_or(0, |time| time.as_second());
    let place = layout.place().unwrap_or(paths.data()).display().to_string();
    remember(&cache, paths, &layers, epoch, &place)?;
    Ok(Brought {
        manifest: chosen.fetched.descriptor.digest,
        config: text,
        layers,
    })
}

/// A record for each layer, which keeps it.
fn remember(
    cache: &Cache<'_>,
    paths: &Paths,
    layers: &Layers,
    epoch: i64,
    place: &str,
) -> Result<()> {
    let mut chain = None;
    for (name, diff_id) in layers.names.iter().zip(&layers.diff_ids) {
        let next = chain_id(chain.as_ref(), diff_id);
        let key = Digest::of(format!("layer {next}").as_bytes());
        chain = Some(next);
        if cache.find(&key)?.is_some() {
            continue;
        }
        let layer = Layer {
            diff_id: diff_id.clone(),
            name: name.clone(),
            size: store::layer_size(&paths.layer(name))?,
        };
        let description = format!("read from oci-layout://{place}");
        let record = Record::new(Some(layer), epoch, &description, None);
        if !cache.add(&key, &record)? {
            let message = format!("the layer {} was removed meanwhile", diff_id.short());
            return Err(Error::new(Kind::Conflict, message)
                .hint("build again")
                .into());
        }
    }
    Ok(())
}
