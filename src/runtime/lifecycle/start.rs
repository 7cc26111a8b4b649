//! `start`: the first process of a container that was created becomes its program (runtime.md, "Start").

use super::create::Created;
use super::notify::Readiness;
use super::record::{Container, Status};
use crate::error::{Error, Kind};
use crate::paths::bundle::GATE;
use crate::runtime::hooks::Hooks;
use crate::runtime::process::gate;
use crate::store::lock::Lock;
use crate::sys::process::Child;
use crate::sys::socket::Channel;
use anyhow::{Context, Result};
use std::fs::File;
use std::os::fd::AsFd;

/// Starts it. Returns once its program has been executed, or the reason why not is known: then it has stopped. Where somebody
/// is to be told when it is ready, what comes out has to be waited for.
pub fn start(container: &Container) -> Result<Option<Readiness>> {
    let id = &container.record.id;
    let path = container.directory();
    let _lock = Lock::directory(&path)?;
    let refused = |why: &str| Error::new(Kind::Conflict, format!("cannot start {why}: `{id}`"));
    match container.status()? {
        Status::Created => {}
        Status::Stopped => return Err(refused("a container that has stopped").into()),
        Status::Paused => {
            return Err(refused("a paused container")
                .hint("`resume` it first")
                .into());
        }
        _ => return Err(refused("an already running container").into()),
    }
    let readiness = Readiness::of(container)?;
    let directory = File::open(&path).with_context(|| format!("open `{}`", path.display()))?;
    let gone = || refused("a container whose first process has ended");
    let init = container.init().ok_or_else(gone)?;
    let channel = Channel::connect(directory.as_fd(), GATE)?.ok_or_else(gone)?;
    let socket = container.paths.gate(id);
    std::fs::remove_file(&socket).with_context(|| format!("remove `{}`", socket.display()))?;
    pass(container, &channel, &init)?;
    Ok(readiness)
}

/// The same for one that waits for its maker, the calling process.
pub fn start_own(created: &Created) -> Result<Option<Readiness>> {
    let container = &created.container;
    let Some(channel) = &created.starter else {
        return start(container);
    };
    let _lock = Lock::directory(&container.directory())?;
    let readiness = Readiness::of(container)?;
    gate::let_begin(channel)?;
    pass(container, channel, &created.child)?;
    Ok(readiness)
}

fn pass(container: &Container, channel: &Channel, init: &Child) -> Result<()> {
    gate::open(channel, init)?;
    let hooks = Hooks::new(container.later()?.hooks.as_ref(), &container.state())?;
    hooks.poststart(init.pid).inspect_err(|_| {
        // The container is stopped then (runtime.md, "Lifecycle").
        let _ = init.kill(libc::SIGKILL);
    })
}
