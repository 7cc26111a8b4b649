//! What a container that was started now would get: for people who want to know before. Nothing is made.

use super::placement::{Manager, delegated_path, given_path, refused};
use super::remedy::Absence;
use super::{Cgroup, of_process, systemd};
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long systemd may take for an answer, while somebody only wants to know.
const PATIENCE: Duration = Duration::from_secs(1);

/// What would be found.
#[derive(Debug)]
pub struct Outlook {
    /// Who would make its group; `None`: it would have none.
    pub manager: Option<Manager>,
    /// Why it would have none, or not by another one.
    pub reason: String,
    /// The controllers that could limit it.
    pub controllers: Vec<String>,
}

/// Looks, for `wanted` or whoever is there, as [`super::placement::find`] would; `user` is the caller's uid outside of
/// any user namespace, or `None` for root.
pub fn look(wanted: Option<Manager>, user: Option<u32>) -> Result<Outlook> {
    let nothing = |reason: String| Outlook {
        manager: None,
        reason,
        controllers: Vec::new(),
    };
    if let Some(absence) = Absence::look() {
        return Ok(nothing(absence.reason()));
    }
    let own = of_process(None)?;
    let own = own.as_deref();
    let systemds = || match systemd::Manager::connect_within(user, PATIENCE) {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(systemd::Manager::absent(user).message),
        Err(error) => Err(format!("{error:#}")),
    };
    let given = || delegated_path(own).or_else(|| given_path(user, own));
    let (manager, path, reason) = match wanted {
        Some(Manager::Systemd) => match systemds() {
            Ok(()) => (Manager::Systemd, delegated_to(user), String::new()),
            Err(reason) => return Ok(nothing(reason)),
        },
        Some(Manager::Cgroupfs) => match given() {
            Some(path) => (Manager::Cgroupfs, path, String::new()),
            None => return Ok(nothing(refused(own).message)),
        },
        None => match delegated_path(own) {
            Some(path) => (Manager::Cgroupfs, path, String::new()),
            None => match systemds() {
                Ok(()) => (Manager::Systemd, delegated_to(user), String::new()),
                Err(reason) => match given_path(user, own) {
                    Some(path) => (Manager::Cgroupfs, path, reason),
                    None => return Ok(nothing(format!("{}, and {reason}", refused(own).message))),
                },
            },
        },
    };
    // One that is still to be made has what the nearest that is there can give.
    let nearest = path.ancestors().find_map(|path| Cgroup::open(path).ok()?);
    Ok(Outlook {
        manager: Some(manager),
        reason,
        controllers: match nearest {
            Some(group) => group.words("cgroup.controllers")?,
            None => Vec::new(),
        },
    })
}

/// The group whose controllers a service manager can give away.
fn delegated_to(user: Option<u32>) -> PathBuf {
    match user {
        None => Path::new("/").to_owned(),
        Some(uid) => format!("/user.slice/user-{uid}.slice/user@{uid}.service").into(),
    }
}
