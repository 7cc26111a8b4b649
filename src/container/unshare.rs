//! `unshare`: a program as root of the user namespace that an ordinary user's containers are made in, and in a mount
//! namespace of its own. Their files belong to ids that only exist there.

use super::engine::Engine;
use super::root;
use crate::error::{Error, Kind};
use crate::sys::mount;
use anyhow::{Context, Result};
use std::convert::Infallible;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// What the caller's shell is, where that is not said.
const SHELL: &str = "/bin/sh";

/// Executes the program, by default a shell, in place of this one.
pub fn execute(engine: &Engine, words: &[String]) -> Result<Infallible> {
    if !engine.mapping.needs_user_namespace() && !engine.mapping.entered {
        let message =
            "unshare is for ordinary users: root reaches the files of its containers as it is";
        return Err(Error::new(Kind::BadInput, message)
            .hint("run the program by itself; `onggi mount` shows a container's files")
            .into());
    }
    if !engine.mapping.entered {
        root::enter(engine)?;
        mount::set_propagation_of_all(true).context("make all mounts slaves")?;
    }
    let shell = std::env::var("SHELL").unwrap_or_default();
    let (program, arguments) = match words {
        [program, arguments @ ..] => (program.as_str(), arguments),
        [] if shell.is_empty() => (SHELL, words),
        [] => (shell.as_str(), words),
    };
    // The caller is root now, whose store would lie elsewhere.
    let failed = Command::new(program)
        .args(arguments)
        .env("ONGGI_ROOT", engine.paths.data())
        .env("ONGGI_RUNROOT", engine.paths.run())
        .exec();
    let kind = match failed.kind() {
        ErrorKind::NotFound => Kind::CommandNotFound,
        _ => Kind::CannotExecute,
    };
    Err(Error::new(kind, format!("execute `{program}`: {failed}")).into())
}
