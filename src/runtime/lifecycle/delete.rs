//! `delete`: what `create` has made is undone (runtime.md, "Delete").

use super::inherited;
use super::record::{Container, Containers, Status};
use crate::cgroup::parents;
use crate::error::{self, Error, Kind};
use crate::runtime::hooks::Hooks;
use crate::runtime::resctrl;
use crate::store::lock::Lock;
use crate::store::tree;
use anyhow::{Context, Result, bail};
use std::time::Duration;

/// How long its processes may take to be gone once they are killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Removes a container that has stopped, or was never started; with `force` also one that runs, and one that is not
/// there is no error. What hooks have failed with comes out.
pub fn delete(containers: &Containers, id: &str, force: bool) -> Result<Vec<anyhow::Error>> {
    let container = match containers.find(id) {
        Err(found) if error::kind(&found) == Some(Kind::NotFound) => {
            let is_left = sweep(containers, id)?;
            return match force || is_left {
                true => Ok(Vec::new()),
                false => Err(found),
            };
        }
        found => found?,
    };
    let directory = container.directory();
    let lock = Lock::directory(&directory)?;
    if !lock.is_of(&directory) {
        bail!("container `{id}` is being deleted by somebody else");
    }
    match container.status()? {
        Status::Stopped => {}
        Status::Created => end(&container)?,
        _ if force => end(&container)?,
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
    if let Some(group) = container.cgroup()? {
        parents::end(group)?;
    }
    if let Some(mount) = container
        .record
        .mount
        .filter(|_| container.record.init.is_of_this_boot())
    {
        inherited::take_off(&container.record.rootfs, mount)?;
    }
    // A damaged configuration keeps nobody from removing it.
    let spec = container.spec().unwrap_or_default();
    if let Some(linux) = spec.linux()
        && let Some(group) = resctrl::of(linux, id)?
    {
        group.remove()?;
    }
    let hooks = Hooks::new(spec.hooks().as_ref(), &container.state())?;
    tree::remove(&directory).with_context(|| format!("remove `{}`", directory.display()))?;
    Ok(hooks.poststop())
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

/// Removes what a killed `create` has left; whether there was something.
fn sweep(containers: &Containers, id: &str) -> Result<bool> {
    let directory = containers.paths.container(id);
    if !directory.is_dir() {
        return Ok(false);
    }
    let Some(_lock) = Lock::try_directory(&directory)? else {
        return Ok(false);
    };
    if containers.paths.record(id).exists() {
        return Ok(false);
    }
    tree::remove(&directory).with_context(|| format!("remove `{}`", directory.display()))?;
    Ok(true)
}
