//! A step as the order for a worker: contexts, caches and secrets are opened and handed over.

use super::super::key::Keys;
use super::super::schedule::Progress;
use super::super::{CacheSource, Copy, Graph, MountSource, NodeId, Part, Place, Run, Shown};
use super::Orders;
use crate::build::copy::plan::{self, Plan};
use crate::build::order::Secret;
use crate::build::worker::order::{self as worker, Access, NewCache, Source};
use crate::error::{bad_input, not_found};
use anyhow::{Context, Result};
use rustix::fs::MemfdFlags;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// An order on its way.
pub(super) struct Preparing<'a, 'b> {
    pub(super) orders: &'a mut Orders<'b>,
    pub(super) id: NodeId,
    pub(super) graph: &'a Graph,
    pub(super) progress: &'a Progress,
    /// What is handed over, by its numbers.
    pub(super) files: Vec<OwnedFd>,
}

impl Preparing<'_, '_> {
    fn hand(&mut self, file: OwnedFd) -> usize {
        self.files.push(file);
        self.files.len() - 1
    }

    /// A part whose files were selected.
    fn taken(&mut self, part: &Part, root: Option<OwnedFd>, unpack: bool) -> Result<plan::Part> {
        let found = self.orders.contexts.selected(part)?;
        found.part(root, unpack, &mut |file| {
            self.files.push(file);
            self.files.len() - 1
        })
    }

    /// What a `COPY` or an `ADD` puts where.
    pub(super) fn plan(&mut self, copy: &Copy) -> Result<Plan> {
        let mut parts = Vec::new();
        for part in &copy.parts {
            parts.push(self.part(part)?);
        }
        Ok(Plan {
            parts,
            destination: copy.destination.clone(),
            owner: copy.owner.clone(),
            mode: copy.mode.clone(),
        })
    }

    fn part(&mut self, part: &Part) -> Result<plan::Part> {
        Ok(match part {
            Part::Files {
                place: Place::Context(name),
                unpack,
                ..
            } => {
                let root = self.orders.contexts.root(name)?;
                self.taken(part, Some(root), *unpack)?
            }
            Part::Files {
                place: Place::Node(top),
                selector,
                ..
            } => plan::Part::Layers {
                layers: self.progress.layers(self.graph, *top),
                selector: selector.clone(),
            },
            Part::Text { name, content } => plan::Part::Text {
                name: name.clone(),
                content: content.clone(),
            },
            Part::Remote(_) => self.taken(part, None, false)?,
        })
    }

    /// A program with all that it sees.
    pub(super) fn run(
        &mut self,
        run: &Run,
        base: worker::Layers,
        epoch: i64,
    ) -> Result<worker::Run> {
        let order = self.orders.order;
        let mut environment = [run.environment.clone(), run.proxies.clone()].concat();
        let mut mounts = Vec::new();
        for mount in &run.mounts {
            let source = self.source(&mount.source, &mut environment)?;
            mounts.extend(source.map(|source| worker::Mount {
                target: mount.target.clone(),
                source,
                read_only: mount.read_only,
            }));
        }
        if let Some((path, content)) = &run.script {
            let descriptor = self.hand(in_memory(content.as_bytes())?);
            mounts.push(worker::Mount {
                target: path.clone(),
                source: Source::File {
                    descriptor,
                    access: Access {
                        mode: 0o755,
                        uid: 0,
                        gid: 0,
                    },
                    is_program: true,
                },
                read_only: true,
            });
        }
        Ok(worker::Run {
            base,
            words: run.words.clone(),
            environment,
            working_directory: run.working_directory.clone(),
            user: run.user.clone(),
            mounts,
            network: run.network.clone().unwrap_or_else(|| order.network.clone()),
            insecure: run.insecure,
            devices: run.devices.clone(),
            device_directories: order.device_directories.clone(),
            hosts: order.hosts.clone(),
            shm_size: order.shm_size,
            ulimits: order.ulimits.clone(),
            resources: order.resources.clone(),
            cgroup_parent: order.cgroup_parent.clone(),
            epoch,
        })
    }

    fn shown(&self, shown: &Shown) -> worker::Shown {
        worker::Shown {
            layers: self.progress.layers(self.graph, shown.top),
            path: shown.path.clone(),
        }
    }

    /// `None` for what nobody has and nobody must have.
    fn source(
        &mut self,
        source: &MountSource,
        environment: &mut Vec<String>,
    ) -> Result<Option<Source>> {
        Ok(match source {
            MountSource::Bind(shown) => Some(Source::Layers(self.shown(shown))),
            MountSource::Cache(cache) => Some(self.cache(cache)?),
            MountSource::Tmpfs { size } => Some(Source::Tmpfs { size: *size }),
            MountSource::Secret {
                id,
                variable,
                file,
                required,
                access,
            } => {
                let Some(secret) = self.secret(id, *required)? else {
                    return Ok(None);
                };
                if let Some(variable) = variable {
                    let text = String::from_utf8(secret.clone());
                    let text =
                        text.map_err(|_| bad_input(format!("the secret {id} is no text")))?;
                    environment.push(format!("{variable}={text}"));
                }
                if !file {
                    return Ok(None);
                }
                Some(Source::File {
                    descriptor: self.hand(in_memory(&secret)?),
                    access: *access,
                    is_program: false,
                })
            }
            MountSource::Agent {
                id,
                required,
                access,
            } => {
                let socket = self.agent(id, *required)?;
                socket.map(|socket| Source::Agent {
                    socket: socket.display().to_string(),
                    access: *access,
                })
            }
        })
    }

    fn cache(&mut self, source: &CacheSource) -> Result<Source> {
        let (order, asked) = (self.orders.order, self.orders.times.asked);
        let keys = Keys::of(order, asked, self.graph, self.progress);
        let key = keys.of_cache(source);
        let taken = self.orders.mounts.get(&self.id);
        let cache = taken.and_then(|taken| taken.get(&key));
        let cache = cache.context("find the cache mount that was taken")?;
        let directory = cache.directory.try_clone().context("dup")?;
        let seed = source.seed.as_ref().map(|seed| self.shown(seed));
        Ok(Source::Cache {
            descriptor: self.hand(directory),
            new: NewCache {
                seed,
                mode: source.mode,
                uid: source.uid,
                gid: source.gid,
            },
        })
    }

    fn agent(&self, id: &str, required: bool) -> Result<Option<&PathBuf>> {
        match self.orders.order.agents.get(id) {
            None if required => {
                let message = format!("there is no SSH agent {id}, and the step requires one");
                Err(not_found(message).hint(format!("--ssh {id}")).into())
            }
            found => Ok(found),
        }
    }

    fn secret(&self, id: &str, required: bool) -> Result<Option<Vec<u8>>> {
        let found = self.orders.order.secrets.get(id).map(Secret::read);
        match found.transpose()? {
            None if required => {
                let message = format!("secret {id}: not found, and the step requires it");
                Err(not_found(message)
                    .hint(format!("--secret id={id},src=FILE"))
                    .into())
            }
            found => Ok(found),
        }
    }
}

/// A file that is on no disk.
fn in_memory(bytes: &[u8]) -> Result<OwnedFd> {
    let file = rustix::fs::memfd_create("build", MemfdFlags::CLOEXEC).context("memfd_create")?;
    let mut file = File::from(file);
    file.write_all(bytes).context("write into memory")?;
    // Whoever gets it shares its position, and reads from the begin.
    file.rewind().context("write into memory")?;
    Ok(file.into())
}
