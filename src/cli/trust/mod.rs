//! Commands on the policy: whose images are taken in.

pub mod add;
pub mod ls;
pub mod rm;
pub mod show;

use crate::cli::Context;
use crate::image::trust::edit::{Changed, Scope};
use crate::image::trust::words;
use crate::image::trust::{Asked, policy};
use anyhow::Result;
use std::path::Path;

/// What `--verify` asks for; without a file the policy has the key.
pub fn asked(verify: Option<&str>) -> Result<Asked> {
    match verify {
        None => Ok(Asked::Nothing),
        Some("") => Ok(Asked::Signature),
        Some(file) => Ok(Asked::Key(policy::read_key(Path::new(file))?)),
    }
}

/// Tells what is in the file now, and what is still open.
fn tell(context: &mut Context, scope: &Scope, changed: Changed) -> Result<()> {
    let (file, shown) = (changed.file.display(), scope.to_string());
    if let Some(copied) = changed.copied {
        let copied = copied.display();
        context.output.warn(format_args!(
            "`{file}` now counts instead of `{copied}`, and begins with all that is in that"
        ));
    }
    let policy = match changed.policy {
        Ok(policy) => policy,
        Err(error) => {
            context
                .output
                .warn(format_args!("no image will be taken in: {error}"));
            return Ok(());
        }
    };
    match words::rows(&policy)
        .into_iter()
        .find(|row| row.scope == shown)
    {
        Some(row) => context
            .output
            .line(format_args!("Images of {shown} are {}", row.meaning))?,
        None => context
            .output
            .line(format_args!("Nothing is said of {shown} any more"))?,
    }
    if policy.is_open() && *scope != Scope::Default {
        context.output.warn(
            "images of all other names are taken in without a signature: `onggi trust add default --reject` refuses them",
        );
    }
    Ok(())
}
