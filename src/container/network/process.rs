//! An ordinary user's network process: started by the first container that needs it, so that the monitors of all his
//! containers on networks can live in its user namespace. There they may put interfaces into the network namespace that
//! it holds.

use crate::container::engine::Engine;
use crate::container::monitor::leave_the_caller;
use crate::container::spawn::{self, HANDED, Home, Neighbour};
use crate::error::{Error, Kind};
use crate::network::user::{self, Client};
use crate::sys::descriptor;
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

/// `argv[0]` of a network process.
pub const NETWORK_NAME: &str = "onggi-network";

/// How often one may end between being started and being asked.
const ATTEMPTS: usize = 5;

/// Runs one; `arguments` are those of [`spawn::spawn`]. It is handed where to say that it can be asked, by an empty line, or
/// why it cannot; and the network namespace of one that was killed.
pub fn main(arguments: impl Iterator<Item = OsString>) -> u8 {
    let [said, namespace] = [HANDED, HANDED + 1].map(descriptor::inherited);
    let Ok(said) = said else {
        return 125;
    };
    let mut said = File::from(said);
    leave_the_caller();
    let served = spawn::wanted(arguments).and_then(|(engine, _)| {
        user::serve(&engine.paths, namespace.ok(), || {
            // Whoever has started it may have gone.
            let _ = said.write_all(b"\n");
        })
    });
    match served {
        Ok(()) => 0,
        Err(error) => {
            let _ = write!(said, "{error:#}");
            125
        }
    }
}

/// The one that runs, or a new one, which lives where `neighbour` does and takes that network namespace for its own.
pub fn reach(
    engine: &Engine,
    neighbour: Option<&Neighbour>,
    namespace: Option<BorrowedFd<'_>>,
) -> Result<Client> {
    refuse_foreign(engine.paths.run())?;
    for _ in 0..ATTEMPTS {
        if let Some(client) = Client::connect(&engine.paths)? {
            return Ok(client);
        }
        start(engine, neighbour, namespace).context("start the network process")?;
    }
    let message = "the network process ends as soon as it is started";
    Err(Error::new(Kind::Conflict, message).hint("try again").into())
}

/// Whoever could write to the run root, which may lie in `/tmp`, could be the network process.
fn refuse_foreign(run: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(run);
    made.with_context(|| format!("create `{}`", run.display()))?;
    let found = run.symlink_metadata();
    let found = found.with_context(|| format!("stat `{}`", run.display()))?;
    let own = rustix::process::geteuid().as_raw();
    if found.is_dir() && found.uid() == own && found.mode() & 0o022 == 0 {
        return Ok(());
    }
    let message = format!("`{}` is not a directory of yours alone", run.display());
    Err(Error::new(Kind::Denied, message)
        .hint("set XDG_RUNTIME_DIR to one, or name one with --runroot")
        .into())
}

/// Returns when there is one, whoever has started it.
fn start(
    engine: &Engine,
    neighbour: Option<&Neighbour>,
    namespace: Option<BorrowedFd<'_>>,
) -> Result<()> {
    let (mut heard, say) = std::io::pipe().context("pipe")?;
    let home = neighbour.map_or(Home::New, Home::Beside);
    let handed: Vec<_> = [say.as_fd()].into_iter().chain(namespace).collect();
    let complaint = spawn::spawn(engine, home, NETWORK_NAME, "-", &handed)?;
    drop(say);
    let mut said = [0; 4096];
    let length = heard.read(&mut said).context("listen to it")?;
    match &said[..length] {
        b"\n" => Ok(()),
        b"" => complaint.heard()?.map_or(Ok(()), Err),
        why => {
            let why = String::from_utf8_lossy(why).into_owned();
            Err(Error::new(Kind::Unsupported, why).into())
        }
    }
}
