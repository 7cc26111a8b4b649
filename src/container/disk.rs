//! What lies on the disk below the data directory, in blocks as du(1) counts them, by what it belongs to: each inode
//! counts once, and everything counts somewhere, so that the parts add up to the whole.
//!
//! An ordinary user must be in the user namespace of the store: files belong to ids that only it has.

use super::engine::Engine;
use super::list::{self, Container};
use crate::image::store::{self, Image};
use crate::paths::{Paths, VOLUME_DATA, VOLUME_FILLED, VOLUME_FILLING, cached_in};
use crate::store::directory::names_if_directory;
use crate::store::lock::Lock;
use crate::store::tree;
use anyhow::{Context, Result};
use rustix::fs::Stat;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes by what they belong to.
#[derive(Debug)]
pub struct Disk {
    /// Every image, with what its layers take.
    pub images: Vec<ImageSpace>,
    /// All layers and images, those that no image uses too, but for what the build cache keeps.
    pub layers: u64,
    /// What only the build cache keeps: layers by their names, and cache mounts by theirs.
    pub cache: BTreeMap<String, u64>,
    /// Every container, with what it has written.
    pub containers: Vec<ContainerSpace>,
    /// Every volume, with what is in it.
    pub volumes: Vec<VolumeSpace>,
    /// Half-made things, and those among them whose makers were killed.
    pub staging: Staged,
    /// Everything else: records, names, events, directories.
    pub records: u64,
}

/// Half-made things on disk.
#[derive(Debug, Default)]
pub struct Staged {
    /// How many.
    pub count: usize,
    /// How many of them somebody is at work on.
    pub active: usize,
    /// Bytes of all.
    pub bytes: u64,
    /// Bytes of those that nobody is at work on.
    pub dead: u64,
}

/// An image on disk.
#[derive(Debug)]
pub struct ImageSpace {
    /// The image.
    pub image: Image,
    /// Bytes of its layers, and of its own files.
    pub size: u64,
    /// Bytes of those layers that other images have too.
    pub shared: u64,
    /// How many containers were made from it.
    pub containers: usize,
}

/// A container on disk.
#[derive(Debug)]
pub struct ContainerSpace {
    /// The container.
    pub container: Container,
    /// Bytes of the files it has made or changed.
    pub written: u64,
    /// Bytes of its log.
    pub log: u64,
}

/// A volume on disk.
#[derive(Debug)]
pub struct VolumeSpace {
    /// Its name.
    pub name: String,
    /// Bytes of its files, without what its device has.
    pub size: u64,
    /// How many containers use it.
    pub links: usize,
}

/// Bytes of a tree by itself, in blocks too; 0 of one that is not there.
pub fn taken(path: &Path) -> Result<u64> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        _ => Seen::new(path)?.tree(path),
    }
}

/// Counts all of it.
pub fn usage(engine: &Engine) -> Result<Disk> {
    let paths = &engine.paths;
    let mut seen = Seen::new(paths.data())?;
    let mut layers = seen.children(&paths.layers())?;
    let mut cache = seen.children(&paths.build_mounts())?;
    let in_images = seen.children(&paths.images())?.into_iter();
    let is_image = |(name, _): &(String, u64)| paths.image_record(name).exists();
    let (of_images, beside): (BTreeMap<_, _>, BTreeMap<_, _>) = in_images.partition(is_image);
    let mut staging = Staged::default();
    for directory in [paths.staging(), paths.downloads()] {
        for (name, bytes) in seen.children(&directory)? {
            let is_active = Lock::is_held(&directory.join(name));
            staging.count += 1;
            staging.active += usize::from(is_active);
            staging.bytes += bytes;
            staging.dead += if is_active { 0 } else { bytes };
        }
    }
    let (mut written, mut logs, mut records) =
        (BTreeMap::new(), BTreeMap::new(), beside.values().sum());
    for id in names_if_directory(&paths.containers())? {
        for (name, bytes) in seen.children(&paths.container(&id))? {
            match name.as_str() {
                "upper" | "work" => *written.entry(id.clone()).or_default() += bytes,
                name if is_log(name) => *logs.entry(id.clone()).or_default() += bytes,
                _ => records += bytes,
            }
        }
    }
    let mut of_volumes = BTreeMap::new();
    for name in names_if_directory(&paths.volumes())? {
        let mut bytes = 0;
        for (part, taken) in seen.children(&paths.volume(&name))? {
            match part.as_str() {
                VOLUME_DATA | VOLUME_FILLING | VOLUME_FILLED => bytes += taken,
                _ => records += taken,
            }
        }
        of_volumes.insert(name, bytes);
    }
    // What is left: everything that was not counted yet.
    records += seen.tree(paths.data())?;
    let containers = list::list(engine)?;
    let links = |name: &str| {
        let records = containers.iter().map(|container| &container.record);
        records
            .filter(|record| record.volumes().any(|used| used == name))
            .count()
    };
    let volumes = of_volumes.into_iter().map(|(name, size)| VolumeSpace {
        size,
        links: links(&name),
        name,
    });
    let volumes = volumes.collect();
    let mut here = store::list(paths)?;
    here.retain(|image| image.store.is_none());
    let needed = here.iter().flat_map(|image| &image.layers);
    let needed: BTreeSet<&str> = needed.map(|name| Paths::layer_key(name)).collect();
    let only_cached =
        |name: &String| !needed.contains(name.as_str()) && cached_in(&paths.layer(name)).exists();
    cache.extend(layers.extract_if(.., |name, _| only_cached(name)));
    let images = images(here, &layers, &of_images, &containers);
    let of = |counts: &mut BTreeMap<String, u64>, id: &str| counts.remove(id).unwrap_or_default();
    let containers = containers.into_iter().map(|container| ContainerSpace {
        written: of(&mut written, &container.record.id),
        log: of(&mut logs, &container.record.id),
        container,
    });
    let containers = containers.collect();
    // Of containers that are just being made or removed, or whose records are damaged.
    records += written.values().chain(logs.values()).sum::<u64>();
    Ok(Disk {
        images,
        layers: layers.values().chain(of_images.values()).sum(),
        cache,
        containers,
        volumes,
        staging,
        records,
    })
}

fn images(
    images: Vec<Image>,
    layers: &BTreeMap<String, u64>,
    own: &BTreeMap<String, u64>,
    containers: &[Container],
) -> Vec<ImageSpace> {
    let sets: Vec<BTreeSet<String>> = images
        .iter()
        .map(|image| {
            let keys = image.layers.iter().map(|name| Paths::layer_key(name));
            keys.map(str::to_owned).collect()
        })
        .collect();
    let size = |layer: &String| layers.get(layer).copied().unwrap_or_default();
    let space = |(image, set): (Image, &BTreeSet<String>)| {
        let others = |layer: &&String| sets.iter().filter(|set| set.contains(*layer)).count() > 1;
        let of_image = own.get(image.id.hex()).copied().unwrap_or_default();
        let used = containers
            .iter()
            .filter(|container| container.record.image == image.id);
        ImageSpace {
            size: set.iter().map(size).sum::<u64>() + of_image,
            shared: set.iter().filter(others).map(size).sum(),
            containers: used.count(),
            image,
        }
    };
    images.into_iter().zip(&sets).map(space).collect()
}

fn is_log(name: &str) -> bool {
    name.contains("-json.log") || name == "local-logs"
}

/// What was counted, so that nothing counts twice.
struct Seen {
    device: u64,
    inodes: BTreeSet<u64>,
}

impl Seen {
    fn new(root: &Path) -> Result<Self> {
        let metadata = std::fs::metadata(root);
        let metadata = metadata.with_context(|| format!("stat `{}`", root.display()))?;
        Ok(Self {
            device: metadata.dev(),
            inodes: BTreeSet::new(),
        })
    }

    /// The bytes of each entry of a directory.
    fn children(&mut self, directory: &Path) -> Result<BTreeMap<String, u64>> {
        let names = names_if_directory(directory)?.into_iter();
        names
            .map(|name| {
                let bytes = self.tree(&directory.join(&name))?;
                Ok((name, bytes))
            })
            .collect()
    }

    /// The bytes of what lies here and below and was not counted yet. What vanishes meanwhile counts nothing; what is
    /// mounted lies elsewhere.
    fn tree(&mut self, path: &Path) -> Result<u64> {
        let mut blocks = 0;
        let mut look = |found: &Stat| {
            let is_here = found.st_dev == self.device;
            if is_here && self.inodes.insert(found.st_ino) {
                blocks += found.st_blocks.cast_unsigned();
            }
            is_here
        };
        tree::walk(path, &mut look).with_context(|| format!("read `{}`", path.display()))?;
        Ok(blocks * 512)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_tree_is_as_large_as_du_says() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::create_dir_all(path("a/b")).unwrap();
        std::fs::write(path("a/b/file"), vec![1; 100_000]).unwrap();
        std::fs::hard_link(path("a/b/file"), path("a/again")).unwrap();
        std::os::unix::fs::symlink("/", path("link")).unwrap();
        let mut seen = Seen::new(directory.path()).unwrap();
        let part = seen.tree(&path("a/b")).unwrap();
        let rest = seen.tree(directory.path()).unwrap();
        let du = Command::new("du")
            .args(["-s", "-B1"])
            .arg(directory.path())
            .output()
            .unwrap();
        let du = String::from_utf8(du.stdout).unwrap();
        let du: u64 = du.split_whitespace().next().unwrap().parse().unwrap();
        assert_eq!(part + rest, du);
        assert!(part >= 100_000 && rest < part);
        assert_eq!(taken(directory.path()).unwrap(), du);
        assert_eq!(taken(&path("missing")).unwrap(), 0);
    }
}
