//! Starting a container: its monitor is started, and the caller stays attached or leaves.

use super::engine::Engine;
use super::monitor::channel::{MONITOR_CHANNEL, MONITOR_LOCK, MONITOR_NAME};
use super::monitor::client::{self, Attach};
use super::record::{Directory, Record};
use super::spawn;
use crate::error::{self, Error, Kind};
use crate::store::lock::Lock;
use crate::sys::socket::Channel;
use anyhow::{Context, Result, bail};
use std::io::Read;
use std::os::fd::AsFd;

/// Starts a container that is here and not running. Returns the program's exit code if it was waited for.
pub fn start(engine: &Engine, id: &str, attach: Option<&Attach>) -> Result<Option<u8>> {
    let directory = Directory::of(engine, id);
    let lock = Lock::try_directory(directory.path())?;
    let (Some(lock), Some(record)) = (lock, directory.record()?) else {
        if directory
            .state()?
            .is_some_and(|state| state.status().is_up())
        {
            return match attach {
                // As in Docker, starting what runs is no error.
                None => Ok(None),
                Some(_) => Err(Error::new(Kind::Conflict, format!("container {id} is already running, and attaching to a running container is not supported yet")).into()),
            };
        }
        return Err(Error::new(
            Kind::Conflict,
            format!("container {id} is being changed by another command"),
        )
        .hint("try again")
        .into());
    };
    start_locked(engine, &record, lock, attach)
}

/// Starts a container whose lock is held.
pub fn start_locked(
    engine: &Engine,
    record: &Record,
    lock: Lock,
    attach: Option<&Attach>,
) -> Result<Option<u8>> {
    let (ours, theirs) = Channel::pair()?;
    const { assert!(MONITOR_CHANNEL == spawn::HANDED && MONITOR_LOCK == spawn::HANDED + 1) };
    let handed = [theirs.as_fd(), lock.as_fd()];
    let spawned = spawn::spawn(engine, MONITOR_NAME, &[record.id.as_bytes()], &handed);
    drop((theirs, lock));
    let mut complaint = match spawned {
        // There is no monitor that would do it.
        Err(error) if record.options.auto_remove => {
            let directory = Directory::of(engine, &record.id);
            if let Some(lock) = Lock::try_directory(directory.path())? {
                super::remove::remove_locked(engine, &record.id, lock)?;
            }
            return Err(error);
        }
        result => result?,
    };
    match client::follow(ours, attach) {
        // A monitor that never came to be has said why; only then is it worth the wait.
        Err(error) if error::kind(&error) == Some(Kind::Conflict) => {
            let mut said = String::new();
            complaint
                .read_to_string(&mut said)
                .context("listen to the monitor")?;
            if said.is_empty() {
                Err(error)
            } else {
                bail!("start the monitor: {said}")
            }
        }
        result => result,
    }
}
