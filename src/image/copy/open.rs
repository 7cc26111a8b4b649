//! From how a place is spelled to an image that can be read from it.

use super::Source;
use super::docker_archive::DockerArchive;
use super::layout::Layout;
use super::location::{Form, Location};
use super::registry::Registry;
use super::stored::Stored;
use crate::error::bad_input;
use crate::image::archive::Archive;
use crate::image::registry::Options;
use crate::paths::Paths;
use crate::store::staging::Staging;
use anyhow::{Context, Result};
use std::fs::File;
use std::path::Path;

/// What reading from a place takes.
pub struct Opening<'a> {
    /// The store.
    pub paths: &'a Paths,
    /// The most bytes that an archive may inflate to.
    pub max_bytes: u64,
    /// How to speak to registries.
    pub registries: &'a Options,
}

impl Opening<'_> {
    /// The image at a place that is not bare any more.
    pub fn source(&self, location: &Location) -> Result<Box<dyn Source>> {
        match location {
            Location::Registry(name, typed) => {
                Ok(Box::new(Registry::open(name, typed, self.registries)?))
            }
            Location::Files { path, form, name } => self
                .files(path, *form, name.as_deref())
                .with_context(|| format!("read `{}`", path.display())),
            Location::Store(name) | Location::Bare(name) => {
                Ok(Box::new(Stored::open(self.paths, name)?))
            }
        }
    }

    fn files(
        &self,
        path: &Path,
        form: Option<Form>,
        name: Option<&str>,
    ) -> Result<Box<dyn Source>> {
        if form == Some(Form::Layout) && !path.is_dir() && path.exists() {
            let hint = "`oci-archive:FILE` and `docker-archive:FILE` are files";
            return Err(bad_input("it is no directory").hint(hint).into());
        }
        if matches!(form, Some(Form::OciArchive | Form::DockerArchive)) && path.is_dir() {
            let hint = "`oci:DIRECTORY` is an OCI layout";
            return Err(bad_input("it is a directory").hint(hint).into());
        }
        let archive = match path.is_dir() {
            true => Archive::directory(path)?,
            false => {
                let file = File::open(path).context("open it")?;
                // Only for what is compressed or comes from a pipe, and that has no name any more once it is open.
                let scratch = Staging::new(&self.paths.staging())?;
                Archive::read(file, scratch.path(), self.max_bytes)?
            }
        };
        let has = |name: &str| Ok::<_, anyhow::Error>(archive.file(name)?.is_some());
        match (form, has("index.json")?, has("manifest.json")?) {
            (_, true, _) => Ok(Box::new(Layout::open(archive, name)?)),
            (None | Some(Form::DockerArchive), false, true) => {
                Ok(Box::new(DockerArchive::open(archive, name)?))
            }
            (Some(Form::Layout | Form::OciArchive), false, true) => {
                let hint = "`docker-archive:FILE` reads what `docker save` writes";
                Err(bad_input("it is no OCI layout").hint(hint).into())
            }
            (_, false, false) => {
                let message =
                    "it holds no images: neither `index.json` nor `manifest.json` is in it";
                Err(bad_input(message).into())
            }
        }
    }
}
