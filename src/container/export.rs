//! `export`: the root file system of a container as one flat tar archive. What is mounted in the container is not
//! in it, nor is anything of the image's layers but the files that they come to.

use super::engine::Engine;
use super::record::Record;
use super::{event, root};
use crate::image::layer::pack::Packer;
use anyhow::{Context, Result};
use std::io::Write;

/// Writes the archive; gives what the user should know. Needs [`root::enter`].
pub fn export(engine: &Engine, record: &Record, out: &mut dyn Write) -> Result<Vec<String>> {
    let attempt = || {
        let top = root::merged(engine, record)?;
        let mut packer = Packer::new(out, root::archive_owners(engine, record)?);
        packer.content(&top, b"")?;
        Ok::<_, anyhow::Error>(packer.finish()?.1)
    };
    let warnings = attempt().with_context(|| format!("export container {}", record.name))?;
    event::container(engine, record, "export", &[]);
    Ok(warnings)
}
