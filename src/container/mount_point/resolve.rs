//! From what was asked for to the mounts of a container. Only volumes are made here, each held until the record names
//! it; everything else of the host may come and go before the container starts.

use super::MountPoint;
use super::request::{Kind, Request};
use crate::container::engine::Engine;
use crate::container::list;
use crate::container::options::Options;
use crate::error::{self, Error, bad_input};
use crate::image::shared::has_to_be_copied;
use crate::image::store::{self, Image};
use crate::paths;
use anyhow::Result;
use std::collections::BTreeMap;
use std::path::Path;

/// The mounts that a container is to have, in the order of their depth. Nothing is made: volumes without a name still
/// have none.
pub fn resolve(engine: &Engine, options: &Options, image: &Image) -> Result<Vec<MountPoint>> {
    let mut points = BTreeMap::new();
    for given in &options.volumes_from {
        for point in of_container(engine, given)? {
            points.insert(point.request.target.clone(), point);
        }
    }
    let mut asked = BTreeMap::new();
    for (number, request) in options.mounts.iter().enumerate() {
        let mut point = resolved(engine, options, request)?;
        point.asked = Some(number);
        let duplicate = asked.insert(request.target.clone(), point);
        if duplicate.is_some() || options.tmpfs.contains_key(&request.target) {
            return Err(bad_input(format!("Duplicate mount point: {}", request.target)).into());
        }
    }
    points.extend(asked);
    points.retain(|target, _| !options.tmpfs.contains_key(target));
    for target in &image.config.config.volumes {
        let target = cleaned(target)?;
        if !points.contains_key(&target) && !options.tmpfs.contains_key(&target) {
            let request = Request {
                target: target.clone(),
                driver: options.volume_driver.clone(),
                ..Request::default()
            };
            points.insert(target, MountPoint::of(request));
        }
    }
    Ok(points.into_values().collect())
}

/// One that was asked for, with what has to be there.
fn resolved(engine: &Engine, options: &Options, request: &Request) -> Result<MountPoint> {
    let mut point = MountPoint::of(request.clone());
    match request.kind {
        Kind::Bind if !request.create_source => {
            if let Err(error) = std::fs::symlink_metadata(&request.source) {
                let (why, hint) = match error.kind() {
                    std::io::ErrorKind::NotFound => (
                        format!("bind source path does not exist: {}", request.source),
                        "make it, or use -v, which makes a missing directory",
                    ),
                    _ => (
                        format!("stat `{}`: {error}", request.source),
                        "you have to be able to enter every directory on its way",
                    ),
                };
                let message = format!("invalid mount config for type \"bind\": {why}");
                return Err(bad_input(message).hint(hint).into());
            }
        }
        Kind::Volume if request.driver.is_empty() => {
            point.request.driver.clone_from(&options.volume_driver);
        }
        Kind::Image => {
            let found = store::find(&engine.paths, &request.source)?;
            if has_to_be_copied(&engine.paths, &found) {
                let message = format!(
                    "image {} is in another store, and the kernel does not let you use its files there",
                    request.source
                );
                return Err(Error::new(error::Kind::Unsupported, message)
                    .hint(format!(
                        "onggi tag {0} {0} copies it into the own store",
                        request.source
                    ))
                    .into());
            }
            point.image = Some(found.id);
            point.layers = found.layers;
        }
        _ => {}
    }
    Ok(point)
}

/// `--volumes-from`: what another container has of its own and of others.
fn of_container(engine: &Engine, given: &str) -> Result<Vec<MountPoint>> {
    let (name, mode) = given.split_once(':').unwrap_or((given, "rw"));
    let mut read_only = false;
    for word in mode.split(',') {
        match word {
            "ro" => read_only = true,
            "rw" | "z" | "Z" | "nocopy" | "consistent" | "cached" | "delegated" => {}
            _ => {
                return Err(bad_input(format!("invalid mode: {word}"))
                    .hint("CONTAINER, CONTAINER:ro or CONTAINER:rw")
                    .into());
            }
        }
    }
    if name.is_empty() {
        return Err(bad_input(format!("malformed volumes-from specification: '{given}'")).into());
    }
    let container = list::find(engine, name)?;
    let mut points = container.record.mounts;
    points.retain(|point| matches!(point.request.kind, Kind::Bind | Kind::Volume));
    for point in &mut points {
        point.request.read_only |= read_only;
        point.asked = None;
        // What it has by now is what is wanted.
        point.request.no_copy = true;
    }
    Ok(points)
}

/// A path of an image's `VOLUME`, as a target.
fn cleaned(written: &str) -> Result<String> {
    let clean = paths::cleaned(Path::new(written));
    match clean.to_str() {
        Some("/") | None => Err(bad_input(format!(
            "invalid volume `{written}` of the image: destination can't be '/'"
        ))
        .into()),
        Some(path) => Ok(path.to_owned()),
    }
}
