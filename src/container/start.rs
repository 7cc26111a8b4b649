//! Starting a container: its monitor is started, and the caller stays attached or leaves.

use super::engine::Engine;
use super::monitor::channel::{MONITOR_CHANNEL, MONITOR_LOCK, MONITOR_MORE, MONITOR_NAME, Request};
use super::monitor::client::{self, Attach, Outcome};
use super::record::{Directory, Record, Status};
use super::spawn::{self, Home, Neighbour};
use super::{control, event, mount_point, network, user_namespace};
use crate::error::{self, Error, Kind, not_found};
use crate::image::limit::note_use;
use crate::store::lock::Lock;
use crate::sys::socket::Channel;
use crate::sys::terminal;
use crate::systemd;
use anyhow::{Context, Result};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long whoever changes the container may take to be done.
const PATIENCE: Duration = Duration::from_secs(5);

/// Starts a container that is here, or attaches to it when it runs; `warn` gets what is otherwise than was asked for.
pub fn start(
    engine: &Engine,
    id: &str,
    attach: Option<&Attach>,
    warn: &mut dyn FnMut(&str),
) -> Result<Outcome> {
    engine.mapping.require_containers()?;
    super::remove::sweep(engine)?;
    let directory = Directory::of(engine, id);
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(lock) = Lock::try_directory(directory.path())? {
            let Some(record) = directory.record()? else {
                return Err(not_found(format!("No such container: {id}")).into());
            };
            return start_locked(engine, &record, lock, attach, warn);
        }
        let status = directory.state()?.map(|state| state.status());
        match (status, attach) {
            (Some(Status::Paused), _) => {
                let message = "cannot start a paused container, try unpause instead";
                return Err(Error::new(Kind::Conflict, message).into());
            }
            // As in Docker, starting what runs is no error.
            (Some(Status::Running | Status::Restarting), None) => return Ok(Outcome::Started),
            (Some(Status::Running), Some(attach)) => {
                if let Some(channel) = control::connect(engine, id)?
                    && let Some(record) = directory.record()?
                {
                    return attach_to(engine, &record, channel, attach);
                }
            }
            _ => {}
        }
        // Another command is changing it, or its monitor is just about to go.
        if Instant::now() > until {
            let message = format!("container {id} is being changed by another command");
            return Err(Error::new(Kind::Conflict, message).hint("try again").into());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Attaches to a container that runs.
pub fn attach_to(
    engine: &Engine,
    record: &Record,
    channel: Channel,
    attach: &Attach,
) -> Result<Outcome> {
    event::container(engine, record, "attach", &[]);
    let outcome = client::attach(channel, &record.id, attach)?;
    if outcome == Outcome::Detached {
        event::container(engine, record, "detach", &[]);
    }
    Ok(outcome)
}

/// The user namespace that an ordinary user's monitor has to live in, if not in one of its own.
fn home(engine: &Engine, record: &Record) -> Result<Option<OwnedFd>> {
    if let Some(found) = user_namespace::home(engine, &record.options)? {
        return Ok(Some(found));
    }
    match network::home(engine, &record.options)? {
        None => mount_point::home(engine, record),
        found => Ok(found),
    }
}

/// What is held from the choice of [`home`] until the container runs: of two who start at once, the second has to live
/// where the first does and would not see it yet.
fn turn(engine: &Engine, record: &Record) -> Result<Option<Lock>> {
    mount_point::takes_turns(engine, record)?
        .then(|| Lock::exclusive(&engine.paths.turns()))
        .transpose()
}

/// Starts a container whose lock is held; `warn` as in [`start`].
pub fn start_locked(
    engine: &Engine,
    record: &Record,
    lock: Lock,
    attach: Option<&Attach>,
    warn: &mut dyn FnMut(&str),
) -> Result<Outcome> {
    note_use(&engine.paths, &record.image);
    let (ours, theirs) = Channel::pair()?;
    if let Some(attach) = attach {
        // It lies in the channel before there is a monitor, so that nothing the program prints can come first.
        Request::Attach(attach.wants)
            .send(&ours)
            .context("attach")?;
        // Likewise the size of the terminal: later it would be a change, which the program is told of by SIGWINCH.
        if attach.terminal
            && let Some((rows, columns)) = terminal::size(rustix::stdio::stdin())
        {
            let size = Request::Resize(rows, columns);
            size.send(&ours).context("tell the terminal's size")?;
        }
    }
    const { assert!(MONITOR_CHANNEL == spawn::HANDED && MONITOR_LOCK == spawn::HANDED + 1) };
    const { assert!(MONITOR_MORE == MONITOR_LOCK + 1) };
    // Until the container has started.
    let mut _network = None;
    let spawned = turn(engine, record).and_then(|turn| {
        let handed = [theirs.as_fd(), lock.as_fd()].into_iter();
        let handed = handed.chain(turn.as_ref().map(AsFd::as_fd));
        let sockets = systemd::sockets()?;
        let handed: Vec<_> = handed.chain(sockets.iter().map(AsFd::as_fd)).collect();
        let (home, network) = network::beside(engine, &record.options, home(engine, record)?)?;
        _network = network;
        let neighbour = home.map(|user_namespace| Neighbour {
            user_namespace: Some(user_namespace),
            program: None,
        });
        let home = neighbour.as_ref().map_or(Home::New, Home::Beside);
        spawn::spawn(engine, home, MONITOR_NAME, &record.id, &handed)
    });
    drop((theirs, lock));
    let complaint = match spawned {
        // There is no monitor that would do it.
        Err(error) if record.options.auto_remove => {
            let directory = Directory::of(engine, &record.id);
            if let Some(lock) = Lock::try_directory(directory.path())? {
                super::remove::remove_locked(engine, &record.id, &lock, false)?;
            }
            return Err(error);
        }
        result => result?,
    };
    let outcome = match attach {
        Some(attach) => client::follow(ours, attach, warn),
        None => client::await_start(&ours, warn),
    };
    if outcome.is_err() {
        // A monitor that could write nothing on a full disk leaves its mark. What cannot be put in order now is by the
        // next command.
        let _ = super::remove::sweep(engine);
    }
    match outcome {
        // A monitor that never came to be has said why; only then is it worth the wait.
        Err(error) if error::kind(&error) == Some(Kind::Conflict) => {
            Err(complaint.heard()?.unwrap_or(error))
        }
        result => result,
    }
}
