//! Network namespaces that are there already: that of another container, or one behind a path.

use crate::container::engine::Engine;
use crate::container::list;
use crate::container::options::{NetworkMode, Options};
use crate::container::record::Directory;
use crate::error::{Error, Kind, bad_input, kind, not_found};
use crate::runtime::process::exec::Target;
use crate::sys::namespace;
use crate::sys::process::Identity;
use crate::sys::process::flags::NEW_NET;
use anyhow::{Context, Result};
use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType, Spec};
use rustix::fs::{Mode, OFlags};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The container whose network and files (`/etc/hosts` and its like) that one has: itself, or, where it shares those of
/// another, whoever that has them of.
pub(in crate::container) fn owner(engine: &Engine, id: &str) -> Result<String> {
    let mut seen = vec![id.to_owned()];
    loop {
        let last = &seen[seen.len() - 1];
        let record = Directory::of(engine, last).record()?;
        let next = match record.map(|record| record.options.network) {
            Some(NetworkMode::Container(next)) => next,
            _ => return Ok(last.clone()),
        };
        if seen.contains(&next) {
            let message =
                format!("the network of container {id} leads in a circle through other containers");
            return Err(Error::new(Kind::Conflict, message)
                .hint("make one of them again, with a network of its own")
                .into());
        }
        seen.push(next);
    }
}

/// Says in the bundle where it is, if there is one.
pub(in crate::container) fn join(
    engine: &Engine,
    options: &Options,
    spec: &mut Spec,
) -> Result<()> {
    let path = match &options.network {
        NetworkMode::Container(id) => {
            PathBuf::from(format!("/proc/{}/ns/net", target(engine, id)?.0.pid))
        }
        NetworkMode::Path(path) => {
            check(path)?;
            path.clone()
        }
        _ => return Ok(()),
    };
    let mut namespace = LinuxNamespace::default();
    namespace
        .set_typ(LinuxNamespaceType::Network)
        .set_path(Some(path));
    if let Some(namespaces) = spec
        .linux_mut()
        .as_mut()
        .and_then(|linux| linux.namespaces_mut().as_mut())
    {
        namespaces.push(namespace);
    }
    Ok(())
}

/// Refuses what is no network namespace.
fn check(path: &Path) -> Result<()> {
    // Not waiting for somebody at the other end of what is no namespace at all.
    let how = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, how, Mode::empty())
        .with_context(|| format!("open `{}`", path.display()))?;
    if namespace::is_of_kind(file.as_fd(), NEW_NET) {
        return Ok(());
    }
    let message = format!("`{}` is no network namespace", path.display());
    Err(bad_input(message)
        .hint("`ip netns add NAME` makes one at `/run/netns/NAME`; that of a process is at `/proc/PID/ns/net`")
        .into())
}

/// Where the monitor of an ordinary user's container has to live to be allowed to join it.
pub(in crate::container) fn home(engine: &Engine, options: &Options) -> Result<Option<OwnedFd>> {
    match &options.network {
        NetworkMode::Container(id) if engine.mapping.needs_user_namespace() => {
            target(engine, id)?.1.user_namespace(1).map(Some)
        }
        _ => Ok(None),
    }
}

fn removed(id: &str) -> Error {
    let id = id.get(..12).unwrap_or(id);
    let message = format!("cannot join network of container {id}, which has been removed");
    not_found(message).hint("remove this container too, and make it again with another --network")
}

/// The first process of that container, which has to run.
fn target(engine: &Engine, id: &str) -> Result<(Identity, Target)> {
    let container = list::find(engine, id).map_err(|error| match kind(&error) {
        Some(Kind::NotFound) => removed(id).into(),
        _ => error,
    })?;
    let state = container.state.filter(|state| state.status().is_up());
    if let Some(program) = state.and_then(|state| state.program)
        && let Some(target) = Target::open(&program).context("find the container to join")?
    {
        return Ok((program, target));
    }
    let message = format!(
        "cannot join network of a non running container: {}",
        container.record.id
    );
    Err(Error::new(Kind::Conflict, message)
        .hint(format!("onggi start {}", container.record.name))
        .into())
}
