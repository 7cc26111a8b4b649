//! An ordinary user's network process: started by the first container that needs it, beside nobody, so that the
//! monitors of all his containers on networks can live in its user namespace. There they may put interfaces into the
//! network namespace that it holds.

use crate::container::engine::Engine;
use crate::container::monitor::leave_the_caller;
use crate::container::spawn::{self, HANDED, Home, Neighbour};
use crate::error::{Error, Kind};
use crate::network::user::{self, Client};
use crate::sys::descriptor;
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;

/// `argv[0]` of a network process.
pub const NETWORK_NAME: &str = "onggi-network";

/// How often one may have ended between being found and being asked.
const ATTEMPTS: usize = 5;

/// Runs one; `arguments` are those of [`spawn::spawn`]. It says `\n` once it can be asked, else why not.
pub fn main(arguments: impl Iterator<Item = OsString>) -> u8 {
    let Ok(said) = descriptor::inherited(HANDED) else {
        return 125;
    };
    let mut said = Some(File::from(said));
    leave_the_caller();
    let mut say = |text: &str| {
        if let Some(mut said) = said.take() {
            let _ = said.write_all(text.as_bytes());
        }
    };
    let served = spawn::wanted(arguments).and_then(|(engine, _)| {
        descriptor::raise_limit().context("raise the limit of open files")?;
        user::serve(&engine.paths, || say("\n"))
    });
    match served {
        Ok(()) => 0,
        Err(error) => {
            say(&format!("{error:#}"));
            125
        }
    }
}

/// The one that runs, or a new one that lives where `neighbour` does.
pub fn reach(engine: &Engine, neighbour: Option<&Neighbour>) -> Result<Client> {
    for _ in 0..ATTEMPTS {
        if let Some(client) = Client::connect(&engine.paths)? {
            return Ok(client);
        }
        start(engine, neighbour).context("start the network process")?;
    }
    let message = "the network process ends as soon as it is started";
    Err(Error::new(Kind::Conflict, message).hint("try again").into())
}

/// Returns when there is one, whoever has started it.
fn start(engine: &Engine, neighbour: Option<&Neighbour>) -> Result<()> {
    let (mut heard, say) = std::io::pipe().context("pipe")?;
    let home = neighbour.map_or(Home::New, Home::Beside);
    let complaint = spawn::spawn(engine, home, NETWORK_NAME, "-", &[say.as_fd()])?;
    drop(say);
    let mut said = String::new();
    // It goes on with its end closed, so that this ends with the line.
    heard.read_to_string(&mut said).context("listen to it")?;
    match said.as_str() {
        "\n" => Ok(()),
        "" => complaint.heard()?.map_or(Ok(()), Err),
        why => Err(Error::new(Kind::Conflict, why).into()),
    }
}
