//! `commit`: what a container has changed becomes an image.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::image::{limit, tell_displaced};
use crate::container::{commit, list, root};
use crate::error::bad_input;
use crate::image::reference::Reference;
use anyhow::Result;

/// Options of `commit`.
#[derive(clap::Args)]
pub struct Commit {
    /// Who makes the image ("Jane Doe <jane@example.org>")
    #[arg(short, long, default_value = "", hide_default_value = true)]
    author: String,
    /// Apply an instruction of a Dockerfile to the image
    #[arg(short, long)]
    change: Vec<String>,
    /// Say in the history what was done
    #[arg(short, long, default_value = "", hide_default_value = true)]
    message: String,
    /// Stop the container's processes meanwhile
    #[arg(short, long, default_value = "true")]
    pause: bool,
    /// Let the container's processes go on meanwhile
    #[arg(long)]
    no_pause: bool,
    container: String,
    name: Option<Reference>,
}

impl Verb for Commit {
    fn execute(self, context: &mut Context) -> Result<u8> {
        if self
            .name
            .as_ref()
            .is_some_and(|name| name.digest().is_some())
        {
            return Err(bad_input("refusing to create a tag with a digest reference").into());
        }
        let engine = context.engine()?;
        let found = list::find(&engine, &self.container)?;
        let order = commit::Commit {
            author: self.author,
            message: self.message,
            changes: self.change,
            name: self.name.map(Reference::or_latest),
            pause: self.pause && !self.no_pause,
        };
        root::enter(&engine)?;
        let committed = commit::commit(&engine, &found, &order)?;
        committed
            .warnings
            .iter()
            .for_each(|warning| context.output.warn(warning));
        tell_displaced(context, &committed.displaced)?;
        context.output.line(&committed.id)?;
        limit::enforce(context, &engine, &[committed.id])?;
        Ok(0)
    }
}
