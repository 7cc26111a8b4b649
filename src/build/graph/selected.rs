//! Files that a step takes of a context or of the net: looked for by a thread, handed to a worker.

use super::FromNet;
use crate::build::context::address::Remote;
use crate::build::context::download::Download;
use crate::build::context::{Context as BuildContext, Host, Watch};
use crate::build::copy::plan::{self, Selector};
use crate::build::copy::selection::Selection;
use crate::build::output::material::Material;
use crate::image::digest::Digest;
use anyhow::{Context, Result};
use rustix::fs::fstat;
use serde_json::{Value, json};
use std::os::fd::{AsFd, OwnedFd};

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

impl Selected {
    /// Those of a context.
    pub fn of(context: &BuildContext, selector: &Selector) -> Result<Self> {
        let selection = context.select(selector)?;
        Ok(Self {
            digest: json!(selection.digest()),
            newest: selection.newest(),
            material: context.material().cloned(),
            files: Files::Context(selection),
        })
    }

    /// What an `ADD` names by an address.
    pub fn remote(wanted: &FromNet, host: &Host, watch: Watch<'_>) -> Result<Self> {
        let checksum = wanted.checksum.as_deref();
        match &wanted.address {
            Remote::Git(repository) => {
                let keep = wanted.keep_git_directory;
                let context = BuildContext::repository(repository, keep, checksum, host)?;
                let selection = context.select(&Selector {
                    sources: vec!["/".to_owned()],
                    ..Selector::default()
                })?;
                Ok(Self {
                    digest: json!({"repository": selection.digest()}),
                    newest: context.epoch().unwrap_or_else(|| selection.newest()),
                    material: context.material().cloned(),
                    files: Files::Repository(Box::new(context), selection),
                })
            }
            Remote::Url(url) => {
                let checksum = checksum.map(str::parse::<Digest>).transpose()?;
                let found = host.downloader().get(url, checksum.as_ref(), watch)?;
                let unpack = wanted.unpack.unwrap_or(false);
                Ok(Self {
                    digest: json!({"file": found.digest, "name": found.name, "unpack": unpack}),
                    newest: found.modified,
                    material: Some(Material::file(url, &found.digest)),
                    files: Files::Download(found, unpack),
                })
            }
        }
    }

    /// How many bytes they are.
    pub fn size(&self) -> u64 {
        match &self.files {
            Files::Context(selection) | Files::Repository(_, selection) => selection.size(),
            Files::Download(found, _) => fstat(&found.file).map_or(0, |found| found.st_size as u64),
        }
    }

    /// What the user should know of them.
    pub fn warnings(&self) -> &[String] {
        match &self.files {
            Files::Context(selection) | Files::Repository(_, selection) => &selection.warnings,
            Files::Download(..) => &[],
        }
    }

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
