//! The contexts of a build while it goes: each opened when somebody needs it, its files looked for as steps take them.

use super::{Part, stage};
use crate::build::context::address::{self, Address};
use crate::build::context::download::Download;
use crate::build::context::{Context as BuildContext, Host, definition};
use crate::build::copy::plan::{self, Selector};
use crate::build::copy::selection::Selection;
use crate::build::diagnostics::Diagnostics;
use crate::build::dockerfile::instruction::Dockerfile;
use crate::build::dockerfile::parse;
use crate::build::ignore::Ignore;
use crate::build::order::Order;
use crate::build::output::material::Material;
use crate::build::report::Event;
use crate::build::vertex::Vertices;
use crate::error::bad_input;
use crate::image::digest::Digest;
use crate::paths::Paths;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long a server may say nothing.
const SILENCE: Duration = Duration::from_secs(60);

/// All contexts of a build.
pub struct Contexts<'a> {
    host: Host<'a>,
    order: &'a Order,
    /// By name; the main one is the empty string.
    open: BTreeMap<String, BuildContext>,
    /// When the Dockerfile was changed, seconds since 1970.
    time: i64,
    /// What stands in it.
    digest: Digest,
    /// The number of what loads it.
    definition: usize,
}

/// Files that a step takes.
pub struct Selected {
    /// What tells them from others.
    pub digest: Value,
    /// When the newest was changed, seconds since 1970.
    pub newest: i64,
    /// What they are in the net, if they are from there.
    pub material: Option<Material>,
    files: Files,
}

enum Files {
    /// Of a context.
    Context(Selection),
    /// Of a repository, which is open as long as this lives.
    Repository(Box<BuildContext>, Selection),
    /// From the net; whether it is unpacked.
    Download(Download, bool),
}

impl<'a> Contexts<'a> {
    /// Opens the main one.
    pub fn open(order: &'a Order, paths: &'a Paths) -> Result<Self> {
        let input = rustix::stdio::stdin().try_clone_to_owned();
        let input = input.ok().map(|input| Box::new(File::from(input)) as _);
        let host = Host {
            paths,
            silence: SILENCE,
            secrets: &order.secrets,
            input: Mutex::new(input),
        };
        let main = BuildContext::open(&Address::parse(&order.context)?, &host)?;
        Ok(Self {
            host,
            order,
            open: BTreeMap::from([(String::new(), main)]),
            time: 0,
            digest: Digest::of(b""),
            definition: 0,
        })
    }

    /// Reads the Dockerfile.
    pub fn dockerfile(&mut self, vertices: &mut Vertices<'_>) -> Result<Dockerfile> {
        let started = Instant::now();
        let asked = self.order.dockerfile.as_deref();
        let main = self.open.get_mut("").context("find the main context")?;
        let found = definition::read(main, asked, &self.host)?;
        self.time = found.modified;
        self.digest = Digest::of(&found.bytes);
        let name = format!("[internal] load build definition from {}", found.name);
        let number = vertices.start(&name);
        self.definition = number;
        let parsed = parse(&found.name, &found.bytes).map_err(|wrong| {
            let error = Diagnostics::error(wrong);
            vertices.tell_own(number, Event::Failed(&error.to_string()));
            error
        })?;
        for warning in &parsed.warnings {
            vertices.tell_own(number, Event::Check(warning));
        }
        vertices.tell_own(number, Event::Done(started.elapsed()));
        Ok(parsed)
    }

    /// When the Dockerfile was changed, seconds since 1970.
    pub fn dockerfile_time(&self) -> i64 {
        self.time
    }

    /// What stands in the Dockerfile.
    pub fn dockerfile_digest(&self) -> &Digest {
        &self.digest
    }

    /// The number of what loads the Dockerfile.
    pub fn definition(&self) -> usize {
        self.definition
    }

    /// What is left out of the main context.
    pub fn ignored(&self) -> Result<&Ignore> {
        let main = self.open.get("").context("find the main context")?;
        Ok(main.ignored())
    }

    /// When the main context was committed, seconds since 1970.
    pub fn epoch(&self) -> Option<i64> {
        self.open.get("").and_then(BuildContext::epoch)
    }

    /// What the main context is in the net, if it is from there.
    pub fn material(&self) -> Option<Material> {
        self.open.get("").and_then(BuildContext::material).cloned()
    }

    /// Looks for the files of a part.
    pub fn select(
        &mut self,
        name: &str,
        part: &Part,
        vertices: &mut Vertices<'_>,
    ) -> Result<Selected> {
        match part {
            Part::Files { selector, .. } => self.files(name, selector, vertices),
            Part::Remote {
                address,
                checksum,
                keep_git_directory,
                unpack,
            } => self.remote(address, checksum.as_deref(), *keep_git_directory, *unpack),
            Part::Text { .. } => Err(bad_input("a text is in no context").into()),
        }
    }

    fn files(
        &mut self,
        name: &str,
        selector: &Selector,
        vertices: &mut Vertices<'_>,
    ) -> Result<Selected> {
        let shown = match name {
            "" => "[internal] load build context".to_owned(),
            name => format!("[context {name}] load from client"),
        };
        let started = Instant::now();
        let context = self.context(name)?;
        let material = context.material().cloned();
        let selection = context.select(selector)?;
        let (number, is_first) = vertices.same(&shown);
        // What an archive has that no context can have, told once.
        let left_out = if is_first { context.warnings() } else { &[] };
        for warning in left_out.iter().chain(&selection.warnings) {
            vertices.tell_own(number, Event::Warning(warning));
        }
        if is_first {
            let (item, current) = ("transferring context", selection.size());
            let total = Some(current);
            vertices.tell_own(
                number,
                Event::Progress {
                    item,
                    current,
                    total,
                },
            );
            vertices.tell_own(number, Event::Done(started.elapsed()));
        }
        Ok(Selected {
            digest: json!(selection.digest()),
            newest: selection.newest(),
            material,
            files: Files::Context(selection),
        })
    }

    fn context(&mut self, name: &str) -> Result<&BuildContext> {
        if !self.open.contains_key(name) {
            let text = stage::context(self.order, name).context("find the context")?;
            let mut opened = BuildContext::open(&Address::parse_named(text)?, &self.host)
                .with_context(|| format!("open the context {name}"))?;
            if opened.is_definition() {
                let message = format!("the context {name} is no archive: {}", address::shown(text));
                return Err(bad_input(message).into());
            }
            opened.read_ignored()?;
            self.open.insert(name.to_owned(), opened);
        }
        self.open.get(name).context("find the context")
    }

    fn remote(
        &self,
        address: &str,
        checksum: Option<&str>,
        keep_git_directory: bool,
        unpack: Option<bool>,
    ) -> Result<Selected> {
        match Address::remote(address)? {
            Some(Address::Git(repository)) => {
                let keep = keep_git_directory;
                let context = BuildContext::repository(&repository, keep, checksum, &self.host)?;
                let selection = context.select(&Selector {
                    sources: vec!["/".to_owned()],
                    ..Selector::default()
                })?;
                Ok(Selected {
                    digest: json!({"repository": selection.digest()}),
                    newest: context.epoch().unwrap_or_else(|| selection.newest()),
                    material: context.material().cloned(),
                    files: Files::Repository(Box::new(context), selection),
                })
            }
            _ => {
                let checksum = checksum.map(str::parse::<Digest>).transpose()?;
                let found = self.host.downloader().get(address, checksum.as_ref())?;
                let unpack = unpack.unwrap_or(false);
                Ok(Selected {
                    digest: json!({"file": found.digest, "name": found.name, "unpack": unpack}),
                    newest: found.modified,
                    material: Some(Material::file(address, &found.digest)),
                    files: Files::Download(found, unpack),
                })
            }
        }
    }

    /// The root of one that is open.
    pub fn root(&mut self, name: &str) -> Result<OwnedFd> {
        let root = self.context(name)?.root().try_clone_to_owned();
        root.context("duplicate a descriptor")
    }
}

impl Selected {
    /// As a worker gets it; `hand` takes a descriptor and answers with its number. `root` is that of the context.
    pub fn part(
        &self,
        root: Option<OwnedFd>,
        unpack: bool,
        hand: &mut dyn FnMut(OwnedFd) -> usize,
    ) -> Result<plan::Part> {
        let duplicate = |file: &dyn AsFd| {
            let file = file.as_fd().try_clone_to_owned();
            file.context("duplicate a descriptor")
        };
        let (root, selection) = match &self.files {
            Files::Download(found, unpack) => {
                return Ok(plan::Part::Download {
                    descriptor: hand(duplicate(&found.file)?),
                    name: found.name.clone(),
                    modified: found.modified,
                    unpack: *unpack,
                });
            }
            Files::Repository(context, selection) => (duplicate(&context.root())?, selection),
            Files::Context(selection) => (root.context("find the root of the context")?, selection),
        };
        Ok(plan::Part::Directory {
            descriptor: hand(root),
            selection: hand(selection.to_file()?),
            unpack,
        })
    }
}
