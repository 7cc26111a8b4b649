//! Where a new control group comes to lie, chosen by trying (cgroups(7), "Delegation"; systemd's "Control Group APIs
//! and Delegation").
//!
//! | tried in this order | who has it | the group |
//! |---|---|---|
//! | our own group, if it was delegated (`user.delegate`) | a unit with `Delegate=yes` starts us | `…/onggi-ID` in it |
//! | systemd, over D-Bus | root; a user with a manager of the own | `onggi-ID.scope/container` |
//! | a group that we may write to | root without systemd; a user to whom one was given | `/onggi/ID`, `…/onggi-ID` |
//!
//! Whoever names a parent has it there: the first row is passed over then, and with one that is a path the second, since
//! systemd knows slices only.
//!
//! Where a group has processes it cannot give controllers to the groups in it (cgroups(7), "no internal processes"
//! rule). In one that was given to us they are moved to the group `supervisor` in it, ourselves among them.

use super::parents;
use super::remedy::Absence;
use super::systemd::{self, Property, Scope};
use super::{Cgroup, directory_of, errno, of_process};
use crate::error::{Error, Kind, bad_input, kind};
use anyhow::{Context, Result};
use rustix::fs::{Access, AtFlags, CWD, accessat, getxattr};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// Where those go who are in the way.
const SUPERVISOR: &str = "supervisor";
/// Where the monitor of a container is, in the scope of both.
const MONITOR: &str = "monitor";
/// Where the container is in it.
const CONTAINER: &str = "container";
/// What is enabled even if nothing is limited, because it counts.
const COUNTING: [&str; 4] = ["cpu", "memory", "pids", "io"];

/// What to try where we may not make groups.
const OTHERWISE: &str = "leave out --cgroup-manager cgroupfs, so that systemd is asked where there is one, or go without a \
     group: --cgroups=disabled";

/// Who makes control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Manager {
    /// systemd(1), asked over D-Bus.
    Systemd,
    /// We, by mkdir(2).
    Cgroupfs,
}

impl Manager {
    /// The one with that word.
    pub fn from_word(word: &str) -> Option<Self> {
        let mut all = [Self::Systemd, Self::Cgroupfs].into_iter();
        all.find(|manager| manager.word() == word)
    }

    /// Docker's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Systemd => "systemd",
            Self::Cgroupfs => "cgroupfs",
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// `None`: whichever is there.
    pub manager: Option<Manager>,
    /// A slice for systemd, a path for cgroupfs.
    pub parent: Option<&'a str>,
    /// Of whom it will be.
    pub id: &'a str,
    /// For people who look at systemd's units.
    pub description: &'a str,
    /// The caller's uid outside of any user namespace; `None` for root.
    pub user: Option<u32>,
    /// How long its processes have when systemd is to stop it; `None`: for ever.
    pub patience: Option<Duration>,
    /// Of a scope of its own.
    pub properties: &'a [Property],
}

/// What was found.
#[derive(Debug)]
pub enum Placement {
    /// Groups can be made here.
    Here(Place),
    /// Nowhere, and why.
    Nowhere(String),
    /// None is wanted.
    Disabled,
}

/// A group in which another one can be made.
#[derive(Debug)]
pub struct Place {
    /// Who has made it.
    pub manager: Manager,
    parent: Cgroup,
    name: String,
    /// Whether it is ours, so that processes in it may be moved out of the way.
    is_ours: bool,
}

impl Placement {
    /// Whether it is a scope of systemd's, with nobody in it but the calling process and whom it puts there.
    pub fn is_scope(&self) -> bool {
        matches!(self, Self::Here(place) if place.manager == Manager::Systemd)
    }
}

impl Placement {
    /// Where the group will be, below the mount of the hierarchy.
    pub fn path(&self) -> Option<PathBuf> {
        match self {
            Self::Here(place) => Some(place.path()),
            Self::Nowhere(_) | Self::Disabled => None,
        }
    }
}

impl Place {
    /// In a new scope, which the calling process is in from then on; `name` is that of the group, if that matters.
    pub fn in_scope(
        manager: &mut systemd::Manager,
        scope: &Scope<'_>,
        name: Option<&str>,
    ) -> Result<Self> {
        let path = manager.start_scope(scope, &[std::process::id()])?;
        let parent = Cgroup::open(&path)?.with_context(|| format!("`{}` is gone", scope.name))?;
        parent.child(MONITOR)?.enter(0)?;
        Ok(Self {
            manager: Manager::Systemd,
            parent,
            name: name.unwrap_or(CONTAINER).to_owned(),
            is_ours: true,
        })
    }

    /// The group with that path below the mount of the hierarchy; those above it are made as far as they are not there.
    pub fn at(path: &Path) -> Result<Self> {
        let name = path.file_name().and_then(|name| name.to_str());
        let name =
            name.ok_or_else(|| bad_input(format!("`{}` is no control group", path.display())))?;
        Ok(Self {
            manager: Manager::Cgroupfs,
            parent: parents::persist(|| parents::make(parent_path(path)))?,
            name: name.to_owned(),
            is_ours: false,
        })
    }

    /// Makes the group, empty and new, with all that counts what is used.
    pub fn make(&self) -> Result<Cgroup> {
        if let Some(left) = Cgroup::open(&self.parent.path().join(&self.name))? {
            left.kill()?;
            left.remove()?;
        }
        if self.manager == Manager::Systemd {
            self.enable(&COUNTING)?;
            return self.parent.child(&self.name);
        }
        parents::persist(|| {
            let parent = parents::make(self.parent.path())?;
            self.enable(&COUNTING)?;
            parent.child(&self.name)
        })
    }

    /// Where the group is or will be, below the mount of the hierarchy.
    pub fn path(&self) -> PathBuf {
        self.parent.path().join(&self.name)
    }

    /// Where it is made.
    pub fn parent(&self) -> &Cgroup {
        &self.parent
    }

    /// Enables controllers for the groups made here, as far as that is allowed: `cgroup.controllers` of such a group
    /// tells.
    pub fn enable(&self, controllers: &[&str]) -> Result<()> {
        let path = self.parent.path();
        for group in ours(path) {
            // In a cgroup namespace the first group is one with processes, and ours.
            let may_be_emptied = self.is_ours && (group == path || group == Path::new("/"));
            let Some(group) = Cgroup::open(group)? else {
                continue;
            };
            if has_processes(&group)? {
                // Some controllers would be enabled all the same, and the groups in it be good for threads only.
                if may_be_emptied {
                    evacuate(&group)?;
                }
                if has_processes(&group)? {
                    continue;
                }
            }
            enable_in(&group, controllers)?;
        }
        Ok(())
    }
}

/// Whether it has processes of its own where that matters: the root of the hierarchy may have both.
fn has_processes(group: &Cgroup) -> Result<bool> {
    Ok(group.read("cgroup.type")?.is_some() && !group.words("cgroup.procs")?.is_empty())
}

/// From the root, or from what systemd has given away, down to this group: above, it is systemd who decides.
fn ours(path: &Path) -> Vec<&Path> {
    let mut groups = Vec::new();
    for group in path.ancestors() {
        groups.push(group);
        if is_delegated(group) {
            break;
        }
    }
    groups.reverse();
    groups
}

/// The same for a group that has been made, of the groups above it.
pub fn enable_above(group: &Cgroup, controllers: &[&str]) -> Result<()> {
    enable_in_each(ours(parent_path(group.path())), controllers)
}

/// Likewise from the root, for controllers that systemd knows nothing of, and neither enables nor disables.
pub fn enable_from_root(group: &Cgroup, controllers: &[&str]) -> Result<()> {
    let mut above: Vec<&Path> = parent_path(group.path()).ancestors().collect();
    above.reverse();
    enable_in_each(above, controllers)
}

fn parent_path(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

fn enable_in_each(groups: Vec<&Path>, controllers: &[&str]) -> Result<()> {
    for path in groups {
        if let Some(group) = Cgroup::open(path)?
            && !has_processes(&group)?
        {
            enable_in(&group, controllers)?;
        }
    }
    Ok(())
}

/// All at once, or one by one where that fails, as it does with the first that cannot be.
fn enable_in(group: &Cgroup, controllers: &[&str]) -> Result<()> {
    let there = group.words("cgroup.controllers")?;
    let enabled = group.words("cgroup.subtree_control")?;
    let is = |words: &[String], name: &str| words.iter().any(|word| word == name);
    let missing = controllers
        .iter()
        .filter(|name| is(&there, name) && !is(&enabled, name));
    let missing: Vec<String> = missing.map(|name| format!("+{name}")).collect();
    let enable = |words: &str| group.write("cgroup.subtree_control", words);
    if !missing.is_empty() && enable(&missing.join(" ")).is_err() {
        // What is not ours to change stays as it is.
        missing.iter().for_each(|name| _ = enable(name));
    }
    Ok(())
}

/// Moves all processes of a group to one in it. Those that are made meanwhile are found by the next look.
fn evacuate(group: &Cgroup) -> Result<()> {
    const LOOKS: usize = 100;
    let supervisor = group.child(SUPERVISOR)?;
    for _ in 0..LOOKS {
        let pids = group.words("cgroup.procs")?;
        // One of a pid namespace that we do not see has the number 0, and stays.
        let pids: Vec<u32> = pids.iter().filter_map(|pid| pid.parse().ok()).collect();
        if pids.iter().all(|pid| *pid == 0) {
            break;
        }
        for pid in pids.into_iter().filter(|pid| *pid != 0) {
            match supervisor.enter(pid) {
                Err(error) if errno(&error) != Some(Errno::SRCH) => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Looks for the place, and makes it as far as it is ours.
pub fn find(wish: &Wish<'_>) -> Result<Placement> {
    if let Some(absence) = Absence::look() {
        return match wish.manager {
            None => Ok(Placement::Nowhere(absence.reason())),
            Some(manager) => Err(no_group_by(manager, absence).into()),
        };
    }
    let own = of_process(None)?;
    match wish.manager {
        Some(Manager::Systemd) => in_scope(wish).map(Placement::Here),
        Some(Manager::Cgroupfs) => match own_or_given(wish, own.as_deref())? {
            Some(place) => Ok(Placement::Here(place)),
            None => Err(refused(own.as_deref())
                .hint(OTHERWISE)
                .bundle_hint("name a group that may be written to in `linux.cgroupsPath`, or let systemd make one: --systemd-cgroup")
                .into()),
        },
        None => {
            if wish.parent.is_none()
                && let Some(path) = delegated_path(own.as_deref())
            {
                return in_group(wish, &path, true).map(Placement::Here);
            }
            let mut reason = refused(own.as_deref()).message;
            // A parent that is a path is for cgroupfs.
            if wish.parent.is_none_or(|parent| parent.ends_with(".slice")) {
                match in_scope(wish) {
                    Ok(place) => return Ok(Placement::Here(place)),
                    Err(error) if kind(&error) == Some(Kind::BadInput) => return Err(error),
                    Err(error) => reason = format!("{reason}, and {error:#}"),
                }
            }
            if let Some(place) = own_or_given(wish, own.as_deref())? {
                return Ok(Placement::Here(place));
            }
            Ok(Placement::Nowhere(reason))
        }
    }
}

fn no_group_by(manager: Manager, absence: Absence) -> Error {
    let message = format!(
        "{} cannot make a control group: {}",
        manager.word(),
        absence.reason()
    );
    Error::new(Kind::Denied, message).hint(
        "leave out --cgroup-manager (or the setting `cgroup-manager`), or go without a group: --limits=best-effort",
    )
}

pub(super) fn refused(own: Option<&Path>) -> Error {
    let message = match own {
        Some(own) => format!(
            "nothing may be made in the control group `{}`",
            directory_of(own).display()
        ),
        None => "the own control group is outside of what is visible here".to_owned(),
    };
    Error::new(Kind::Denied, message)
}

/// Lets the calling process, which is in `own`, make others in `group`: for that it has to be able to write to the group
/// that both have in common. systemd can move it to where the container's monitor is.
pub fn come_near(group: &Cgroup, own: Option<&Path>, user: Option<u32>) -> Result<()> {
    let own = own.unwrap_or(Path::new("/"));
    let shared = own
        .ancestors()
        .find(|above| group.path().starts_with(above));
    if is_writable(shared.unwrap_or(Path::new("/"))) {
        return Ok(());
    }
    let Some((unit, subgroup)) = entrance(group.path()) else {
        let message = format!(
            "the way to the control group `{}` is closed",
            group.directory().display()
        );
        return Err(Error::new(Kind::Denied, message).into());
    };
    let manager = systemd::Manager::connect(user)?;
    let mut manager = manager.ok_or_else(|| systemd::Manager::absent(user))?;
    manager.attach(unit, subgroup, &[std::process::id()])
}

/// The unit of systemd's that a container's group is in, and the group of that unit where its monitor is.
fn entrance(group: &Path) -> Option<(&str, &'static str)> {
    let unit = group.parent()?.file_name()?.to_str()?;
    match unit.rsplit_once('.')?.1 {
        "scope" if group.ends_with(CONTAINER) => Some((unit, MONITOR)),
        "scope" | "service" => Some((unit, SUPERVISOR)),
        _ => None,
    }
}

/// Our own group, or the one that it was split off from, if systemd has delegated that.
pub(super) fn delegated_path(own: Option<&Path>) -> Option<PathBuf> {
    let mut near = near(own?);
    let found = near.find(|path| is_delegated(path) && is_writable(path));
    found.map(Path::to_owned)
}

/// A group, and the one above it unless that is none of the same unit: a user's manager has one that is delegated too,
/// and the groups in it are not for the units there to make.
fn near(own: &Path) -> impl Iterator<Item = &Path> {
    let is_unit = own.extension().is_some_and(|kind| {
        ["service", "scope", "slice", "socket", "mount", "swap"].contains(&&*kind.to_string_lossy())
    });
    own.ancestors().take(if is_unit { 1 } else { 2 })
}

/// A group that may be written to.
pub(super) fn given_path(user: Option<u32>, own: Option<&Path>) -> Option<PathBuf> {
    if user.is_none() && is_writable(Path::new("/")) {
        return Some(parents::ROOTS.into());
    }
    let own = match own?.parent() {
        // We were moved there ourselves.
        Some(parent) if own?.ends_with(SUPERVISOR) => parent,
        _ => own?,
    };
    is_writable(own).then(|| own.to_owned())
}

/// systemd marks what it will not touch any more.
fn is_delegated(path: &Path) -> bool {
    let mut value = [0; 8];
    let found = getxattr(directory_of(path), "user.delegate", &mut value);
    found.is_ok_and(|length| &value[..length] == b"1")
}

/// Whether groups may be made in it and processes be moved there.
fn is_writable(path: &Path) -> bool {
    let directory = directory_of(path);
    let may = |path: &Path| accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok();
    may(&directory) && may(&directory.join("cgroup.procs"))
}

/// In the named group, or one that is ours.
fn own_or_given(wish: &Wish<'_>, own: Option<&Path>) -> Result<Option<Place>> {
    if let Some(parent) = wish.parent {
        let base = match (wish.user, own) {
            (Some(_), Some(own)) if !parent.starts_with('/') => own,
            _ => Path::new("/"),
        };
        return in_group(wish, &below(base, parent)?, false).map(Some);
    }
    match delegated_path(own).or_else(|| given_path(wish.user, own)) {
        Some(path) => in_group(wish, &path, true).map(Some),
        None => Ok(None),
    }
}

/// `parent` below `base`, without a way up.
fn below(base: &Path, parent: &str) -> Result<PathBuf> {
    let mut path = base.to_owned();
    for part in Path::new(parent).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::RootDir | Component::CurDir => {}
            _ => {
                let message = format!("invalid cgroup parent `{parent}`: it leads upwards");
                return Err(bad_input(message).into());
            }
        }
    }
    Ok(path)
}

fn in_group(wish: &Wish<'_>, path: &Path, is_ours: bool) -> Result<Place> {
    let parent = parents::persist(|| parents::make(path))?;
    let name = match path == Path::new(parents::ROOTS) {
        true => wish.id.to_owned(),
        false => format!("onggi-{}", wish.id),
    };
    Ok(Place {
        manager: Manager::Cgroupfs,
        parent,
        name,
        is_ours,
    })
}

/// In a scope of its own, in which we are from now on: beside the group that is to be made, because one with processes
/// has no controllers to give.
fn in_scope(wish: &Wish<'_>) -> Result<Place> {
    let manager = systemd::Manager::connect(wish.user)?;
    let mut manager = manager.ok_or_else(|| systemd::Manager::absent(wish.user))?;
    let scope = Scope {
        name: &format!("onggi-{}.scope", wish.id),
        description: wish.description,
        slice: wish.parent,
        patience: wish.patience,
        properties: wish.properties,
    };
    Place::in_scope(&mut manager, &scope, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_lead_down_only() {
        for (parent, path) in [
            ("/a/b", Some("/base/a/b")),
            ("a//./b/", Some("/base/a/b")),
            ("a/../b", None),
            ("/..", None),
        ] {
            let found = below(Path::new("/base"), parent).ok();
            assert_eq!(found.as_deref(), path.map(Path::new), "{parent}");
        }
    }

    #[test]
    fn a_unit_is_not_taken_for_a_part_of_the_one_above() {
        for (own, count) in [
            ("/user.slice/user@1000.service/run-x.service", 1),
            ("/user.slice/user@1000.service/init.scope", 1),
            ("/user.slice/user@1000.service/app.slice", 1),
            ("/system.slice/web.service/supervisor", 2),
            ("/system.slice/web.service/main", 2),
            ("/", 1),
        ] {
            assert_eq!(near(Path::new(own)).count(), count, "{own}");
        }
    }

    #[test]
    fn the_monitors_place_is_known_by_the_unit() {
        for (group, found) in [
            (
                "/a.slice/onggi-1.scope/container",
                Some(("onggi-1.scope", MONITOR)),
            ),
            (
                "/a.slice/run-1.scope/onggi-1",
                Some(("run-1.scope", SUPERVISOR)),
            ),
            (
                "/a.slice/web.service/onggi-1",
                Some(("web.service", SUPERVISOR)),
            ),
            ("/a.slice/onggi-1", None),
            ("/onggi/1", None),
            ("/", None),
        ] {
            assert_eq!(entrance(Path::new(group)), found, "{group}");
        }
    }
}
