//! `delete`: what `create` has made is undone (runtime.md, "Delete").

use super::inherited;
use super::record::{self, Container, Containers, Status};
use crate::cgroup::parents;
use crate::error::{self, Error, Kind};
use crate::runtime::hooks::Hooks;
use crate::runtime::resctrl;
use crate::store::lock::Lock;
use crate::store::tree;
use anyhow::{Context, Result, bail};
use rustix::io::Errno;
use std::time::{Duration, Instant};

/// How long its processes may take to be gone once they are killed, and who makes it to be ready.
const PATIENCE: Duration = Duration::from_secs(10);

/// Removes a container that has stopped, or was never started; with `force` also one that runs, or whose record is damaged,
/// and one that is not there is no error. What hooks have failed with comes out.
pub fn delete(containers: &Containers, id: &str, force: bool) -> Result<Vec<anyhow::Error>> {
    record::check_id(id)?;
    let Some(_lock) = hold(containers, id, force)? else {
        return match force {
            true => Ok(Vec::new()),
            false => Err(record::missing(id).into()),
        };
    };
    let container = match containers.find(id) {
        Err(found) => match error::kind(&found) {
            // Its maker was killed.
            Some(Kind::NotFound) => containers.remains(id)?,
            kind if force && kind != Some(Kind::Unsupported) => containers.remains(id)?,
            _ => return Err(found),
        },
        Ok(found) => found,
    };
    match container.status()? {
        Status::Stopped | Status::Created => {}
        _ if force => {}
        status => {
            let message = format!(
                "cannot delete container `{id}` that is not stopped: {}",
                status.word()
            );
            return Err(Error::new(Kind::Conflict, message)
                .hint("`kill` it first, or `delete --force`")
                .into());
        }
    }
    undo(&container)
}

/// The lock of its directory; `None` where there is none, or somebody else has just removed it. Who is patient waits also
/// for one that is being made.
fn hold(containers: &Containers, id: &str, is_patient: bool) -> Result<Option<Lock>> {
    let directory = containers.paths.container(id);
    let start = Instant::now();
    loop {
        let lock = match containers.paths.record(id).exists() {
            true => Lock::directory(&directory).map(Some),
            false => Lock::try_directory(&directory),
        };
        match lock {
            Ok(Some(lock)) => return Ok(Some(lock).filter(|lock| lock.is_of(&directory))),
            Ok(None) if !is_patient => return Ok(None),
            Ok(None) if start.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(None) => {
                let message = format!("container `{id}` is still being created");
                return Err(Error::new(Kind::Conflict, message).into());
            }
            Err(error) => {
                return match error.root_cause().downcast_ref() {
                    Some(&(Errno::NOENT | Errno::NOTDIR)) => Ok(None),
                    _ => Err(error),
                };
            }
        }
    }
}

/// Removes all of a container, whose lock the caller holds. What hooks have failed with comes out.
pub(super) fn undo(container: &Container) -> Result<Vec<anyhow::Error>> {
    end(container)?;
    if let Some(group) = container.cgroup()? {
        parents::end(group)?;
    }
    let directory = container.directory();
    inherited::take_off(&directory)?;
    // A damaged configuration keeps nobody from removing it.
    let later = container.later().unwrap_or_default();
    // What cannot be there was not made.
    if let Ok(Some(group)) = resctrl::of(later.linux.intel_rdt.as_ref(), &container.record.id) {
        group.remove()?;
    }
    let hooks = Hooks::new(later.hooks.as_ref(), &container.state());
    tree::remove(&directory).with_context(|| format!("remove `{}`", directory.display()))?;
    Ok(hooks.map_or_else(|error| vec![error], |hooks| hooks.poststop()))
}

/// Kills its first process, and with it all others in its pid namespace; those outside of one are its group's.
fn end(container: &Container) -> Result<()> {
    let Some(init) = container.init() else {
        return Ok(());
    };
    // It may have ended by itself.
    let _ = init.kill(libc::SIGKILL);
    if let Some(group) = container.cgroup()? {
        // Frozen ones are killed too.
        group.kill()?;
    }
    if !init.has_ended_within(PATIENCE) {
        bail!(
            "the first process of container `{}` was killed and does not end",
            container.record.id
        );
    }
    Ok(())
}
