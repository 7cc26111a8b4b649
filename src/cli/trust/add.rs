//! `trust add`: says what must be true of images before they are taken in.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::error::bad_input;
use crate::image::trust::edit::{self, Change, Scope};
use crate::image::trust::requirement::read_key;
use anyhow::{Context as _, Result};
use std::path::PathBuf;

/// Options of `trust add`.
#[derive(clap::Args)]
pub struct Add {
    /// Take images in without a signature
    #[arg(long)]
    accept: bool,
    /// Take images in that the owner of this key has signed (PEM); of several keys one is enough
    #[arg(long, value_name = "file")]
    key: Vec<PathBuf>,
    /// Refuse images
    #[arg(long)]
    reject: bool,
    #[arg(required = true)]
    scope: String,
}

impl Verb for Add {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let scope: Scope = self.scope.parse()?;
        let change = match (self.accept, self.reject, self.key.as_slice()) {
            (true, false, []) => Change::Accept,
            (false, true, []) => Change::Reject,
            (false, false, [_, ..]) => Change::Keys(read(&self.key)?),
            _ => {
                return Err(bad_input(
                    "one of --key, --accept and --reject is needed, and not more",
                )
                .into());
            }
        };
        if matches!((&scope, &change), (Scope::Of(transport, _), Change::Keys(_)) if edit::FILES.contains(transport))
        {
            return Err(
                bad_input("images of files and directories have no signatures")
                    .hint("`--accept` or `--reject` them")
                    .into(),
            );
        }
        let changed = edit::add(&scope, &change)?;
        super::tell(context, &scope, changed)?;
        Ok(0)
    }
}

/// The keys as they are, once it is known that they are some.
fn read(files: &[PathBuf]) -> Result<Vec<Vec<u8>>> {
    let read = |file: &PathBuf| {
        read_key(file)?;
        std::fs::read(file).with_context(|| format!("read the key `{}`", file.display()))
    };
    files.iter().map(read).collect()
}
