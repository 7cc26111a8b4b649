//! Images that a build begins with or copies from: found in the store, or pulled by another process.
//!
//! Invariant: the layers of an image that was given out stay until the build ends.

use super::ImageBase;
use crate::build::context::address::{Address, LAYOUT};
use crate::build::context::layout::Brought;
use crate::build::order::Order;
use crate::build::output::material::Material;
use crate::build::report::Event;
use crate::build::vertex::Vertices;
use crate::build::worker::order::Layers;
use crate::container::engine::Engine;
use crate::error::{self, Error, Kind, bad_input};
use crate::image::config::Config;
use crate::image::digest::Digest;
use crate::image::hello;
use crate::image::hold::Hold;
use crate::image::origin;
use crate::image::platform::Platform;
use crate::image::reference::Reference;
use crate::image::shared::has_to_be_copied;
use crate::image::store::{self, Image};
use anyhow::{Context, Result, anyhow};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

const PROGRAM: &str = "/proc/self/exe";
/// As much of an id as lists show. With less a word like `cafe` would be an image that nobody meant, in place of the one of
/// that name in a registry.
const SHORTEST_ID: usize = 12;

/// An image that is here, with its layers held.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its id.
    pub id: Digest,
    /// Its config.
    pub config: Config,
    /// Its layers and its time.
    pub base: ImageBase,
}

/// Another process of ours, which ends when nobody waits for it any more.
struct Brings(Option<Child>);

impl Brings {
    fn wait(mut self) -> Result<Output> {
        let child = self.0.take().context("wait for it once")?;
        let output = child.wait_with_output();
        output.with_context(|| format!("execute `{PROGRAM}`"))
    }
}

impl Drop for Brings {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The images of one build.
pub struct Bases<'a> {
    engine: &'a Engine,
    order: &'a Order,
    hold: &'a Hold,
    found: BTreeMap<(String, String), Found>,
}

impl<'a> Bases<'a> {
    /// None yet.
    pub fn new(engine: &'a Engine, order: &'a Order, hold: &'a Hold) -> Self {
        Self {
            engine,
            order,
            hold,
            found: BTreeMap::new(),
        }
    }

    /// Pulls, all at the same time, what is wanted and not here; an error stands beside the name that it is about.
    pub fn prepare<'w>(
        &mut self,
        wanted: impl Iterator<Item = (&'w str, &'w Platform)>,
        vertices: &mut Vertices<'_>,
    ) -> Result<(), (&'w str, anyhow::Error)> {
        let mut wanted: Vec<_> = wanted.collect();
        // A name means one image: that of one platform is taken before that of the next is pulled.
        while !wanted.is_empty() {
            let mut names = BTreeSet::new();
            let (now, later) = wanted
                .into_iter()
                .partition(|(name, _)| names.insert(*name));
            self.pull(now, vertices)?;
            wanted = later;
        }
        Ok(())
    }

    fn pull<'w>(
        &mut self,
        wanted: Vec<(&'w str, &'w Platform)>,
        vertices: &mut Vertices<'_>,
    ) -> Result<(), (&'w str, anyhow::Error)> {
        let mut pulls = Vec::new();
        for (name, platform) in wanted {
            if self.is_known(name, platform) || hello::is_meant(name) {
                continue;
            }
            match self.order.pull || self.here(name, platform).is_err() {
                true => {
                    let verb = if is_layout(name) { "read" } else { "pull" };
                    let step = format!("[internal] {verb} {name} for {platform}");
                    let child = self.start(name, platform).map_err(|error| (name, error))?;
                    let number = vertices.start(&step);
                    pulls.push((name, platform, child, number));
                }
                false => drop(self.take(name, platform).map_err(|error| (name, error))?),
            }
        }
        let started = Instant::now();
        for (name, platform, child, number) in pulls {
            let output = ended(child, vertices);
            let arrived = output.and_then(|output| self.arrived(name, platform, output));
            arrived.map_err(|error| {
                vertices.tell_own(number, Event::Failed(&format!("{error:#}")));
                (name, error)
            })?;
            vertices.tell_own(number, Event::Done(started.elapsed()));
        }
        Ok(())
    }

    /// An image for a platform; pulled, if it has to be.
    pub fn get(&mut self, name: &str, platform: &Platform) -> Result<Found> {
        if !self.is_known(name, platform) {
            let missing = self.here(name, platform).is_err();
            if hello::is_meant(name) && missing {
                self.run("hello-image", &[])?;
            } else if missing || self.order.pull {
                let output = self.start(name, platform)?.wait()?;
                return self.arrived(name, platform, output);
            }
        }
        self.take(name, platform)
    }

    /// What an image of the store is elsewhere: by the digest that its name led to when it was pulled.
    fn material(&self, name: &str, platform: &Platform, image: &Image) -> Option<Material> {
        let name = name.parse::<Reference>().ok()?.or_latest();
        let pulled = image.digests().find(|known| known.same_repository(&name));
        let pulled = name
            .digest()
            .or(pulled.and_then(Reference::digest))
            .cloned();
        let brought = || {
            let origins = origin::origins(&self.engine.paths.image(image.id.hex()));
            let first = origins.into_iter().next();
            first.map(|origin| origin.manifest.digest)
        };
        let digest = pulled.or_else(brought).unwrap_or(image.id.clone());
        Some(Material::image(&name, platform, &digest))
    }

    /// What another process has brought.
    fn arrived(&mut self, name: &str, platform: &Platform, output: Output) -> Result<Found> {
        let told = heard(name, output)?;
        if !is_layout(name) {
            return self.take(name, platform);
        }
        let brought: Brought = serde_json::from_slice(&told).context("read what was brought")?;
        let config = Config::parse(brought.config.as_bytes())?;
        let material = match Address::parse_named(name)? {
            Address::Layout { path, tag, .. } => {
                let path = path.canonicalize().unwrap_or(path);
                let digest = &brought.manifest;
                Some(Material::layout(&path, tag.as_deref(), platform, digest))
            }
            _ => None,
        };
        self.keep(
            (name.to_owned(), platform.to_string()),
            Found {
                id: Digest::of(brought.config.as_bytes()),
                base: ImageBase {
                    layers: brought.layers,
                    epoch: config.created().map_or(0, |time| time.as_second()),
                    material,
                },
                config,
            },
        )
    }

    /// Holds its layers from now on.
    fn keep(&mut self, key: (String, String), found: Found) -> Result<Found> {
        let layers = &found.base.layers.names;
        if !self.hold.layers(&self.engine.paths, layers)? {
            let message = format!("a layer of image {} is missing", key.0);
            let hint = match is_layout(&key.0) {
                true => "build again".to_owned(),
                false => format!("`onggi pull {}`", key.0),
            };
            return Err(error::not_found(message).hint(hint).into());
        }
        self.found.insert(key, found.clone());
        Ok(found)
    }

    fn is_known(&self, name: &str, platform: &Platform) -> bool {
        let key = (name.to_owned(), platform.to_string());
        self.found.contains_key(&key)
    }

    fn here(&self, name: &str, platform: &Platform) -> Result<Image> {
        let image = store::find(&self.engine.paths, name)?;
        if name.len() < SHORTEST_ID && !is_name_of(name, &image) {
            return Err(error::not_found(format!("No such image: {name}")).into());
        }
        let is = image.config.platform();
        match platform.matches(&is) {
            true => Ok(image),
            false => {
                let message = format!("image {name} is for {is}, not for {platform}");
                Err(Error::new(Kind::Conflict, message).into())
            }
        }
    }

    fn take(&mut self, name: &str, platform: &Platform) -> Result<Found> {
        let key = (name.to_owned(), platform.to_string());
        if let Some(found) = self.found.get(&key) {
            return Ok(found.clone());
        }
        // A registry that was asked for the platform may still have answered with the only one that it has.
        let mut image = store::find(&self.engine.paths, name)?;
        if has_to_be_copied(&self.engine.paths, &image) {
            self.run("adopt-image", &[image.id.to_string()])?;
            image = store::find(&self.engine.paths, &image.id.to_string())?;
        }
        let material = self.material(name, platform, &image);
        let found = Found {
            id: image.id,
            base: ImageBase {
                layers: Layers {
                    diff_ids: image.config.rootfs.diff_ids.clone(),
                    names: image.layers,
                },
                epoch: image.created.map_or(0, |time| time.as_second()),
                material,
            },
            config: image.config,
        };
        self.keep(key, found)
    }

    /// This program with the same stores.
    fn command(&self) -> Command {
        let paths = &self.engine.paths;
        let mut command = Command::new(PROGRAM);
        command
            .args([OsStr::new("--root"), paths.data().as_os_str()])
            .args([OsStr::new("--runroot"), paths.run().as_os_str()]);
        for store in paths.image_stores() {
            command.args([OsStr::new("--imagestore"), store.data.as_os_str()]);
        }
        if let Some(directory) = &self.order.configuration {
            command.arg("--config").arg(directory);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    fn start(&self, name: &str, platform: &Platform) -> Result<Brings> {
        if is_layout(name) {
            let mut command = self.command();
            command.args(["layout-image", name, &platform.to_string()]);
            return spawn(command.stdout(Stdio::piped()));
        }
        // An id is nothing that a registry knows.
        name.parse::<Reference>()?;
        let mut command = self.command();
        command.args(["pull", "--quiet", "--platform", &platform.to_string()]);
        command.args(&self.order.pull_options).arg(name);
        spawn(&mut command)
    }

    fn run(&self, verb: &str, arguments: &[String]) -> Result<()> {
        let mut command = self.command();
        let output = command.arg(verb).args(arguments).output();
        let output = output.with_context(|| format!("execute `{PROGRAM}`"))?;
        heard(verb, output).map(drop)
    }
}

fn is_name_of(name: &str, image: &Image) -> bool {
    let parsed = name.parse::<Reference>().map(Reference::or_latest);
    let names = || image.names.iter().chain(&image.names_elsewhere);
    parsed.is_ok_and(|parsed| names().any(|name| *name == parsed))
}

/// Whether a base image is not in the store, but in a directory that a context names.
fn is_layout(name: &str) -> bool {
    name.starts_with(LAYOUT)
}

fn spawn(command: &mut Command) -> Result<Brings> {
    let child = command.spawn();
    let child = child.with_context(|| format!("execute `{PROGRAM}`"))?;
    Ok(Brings(Some(child)))
}

/// Waits for another process of ours. Meanwhile whoever draws what happens is told that time passes, if he wants to know.
fn ended(child: Brings, vertices: &mut Vertices<'_>) -> Result<Output> {
    let (sender, receiver) = channel();
    let waiting = std::thread::Builder::new().name("wait".to_owned());
    let waiting = waiting.spawn(move || sender.send(child.wait()));
    let waiting = waiting.context("start a thread")?;
    let period = vertices.period().unwrap_or(Duration::MAX);
    let output = loop {
        match receiver.recv_timeout(period) {
            Err(RecvTimeoutError::Timeout) => vertices.tick(),
            received => break received,
        }
    };
    let _ = waiting.join();
    output.context("wait for a process")?
}

/// What another process of ours has written; how it failed is the error here.
fn heard(what: &str, output: Output) -> Result<Vec<u8>> {
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines = || said.lines().filter_map(|line| line.strip_prefix("onggi: "));
    let message = lines().find(|line| !line.starts_with("warning: "));
    let Some(message) = message else {
        return Err(anyhow!("{what}: {}", output.status));
    };
    let error = bad_input(message);
    let hint = said.lines().find_map(|line| line.strip_prefix("try: "));
    Err(match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
    .into())
}
