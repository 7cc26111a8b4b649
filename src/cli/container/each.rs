//! What commands that take several containers have in common: each is done by itself, and one that fails does not
//! keep the others from their turn.

use crate::cli::Context;
use crate::cli::output::Output;
use crate::container::engine::Engine;
use crate::container::list::{self, Container};
use anyhow::Result;

/// Does it to each, and prints what the user called it; the exit code.
pub fn each(
    context: &mut Context,
    names: &[String],
    mut act: impl FnMut(&Engine, &Container) -> Result<()>,
) -> Result<u8> {
    each_silently(context, names, |engine, container, name, output| {
        act(engine, container)?;
        output.line(name)
    })
}

/// Does it to each, which prints what it has to say; the exit code.
pub fn each_silently(
    context: &mut Context,
    names: &[String],
    mut act: impl FnMut(&Engine, &Container, &str, &mut Output) -> Result<()>,
) -> Result<u8> {
    let engine = context.engine()?;
    let mut failed = false;
    for name in names {
        let done = list::find(&engine, name)
            .and_then(|found| act(&engine, &found, name, &mut context.output));
        if let Err(error) = done {
            context.output.error(&error);
            failed = true;
        }
    }
    Ok(u8::from(failed))
}
