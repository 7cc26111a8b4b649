//! The control group of a container: `linux.cgroupsPath` and `linux.resources` of the configuration (config-linux.md).
//!
//! Where there is none to be had the container goes without, as long as nothing is limited.

use super::record::Container;
use crate::cgroup::devices::{self, Enforcement};
use crate::cgroup::placement::{self, Manager, Place, Placement, Wish};
use crate::cgroup::resources::{self, Before, Controller, Setting};
use crate::cgroup::systemd::{self, Property, Scope};
use crate::cgroup::{self, Cgroup, parents};
use crate::error::{Error, Kind, bad_input, kind};
use crate::id_mapping::{self, IdMaps};
use crate::runtime::annotations::Annotations;
use crate::runtime::plan::{self, UserNamespace};
use crate::sys::namespace;
use anyhow::Result;
use oci_spec::runtime::{LinuxNamespaceType, LinuxResources, Spec};
use std::os::fd::AsFd;
use std::path::Path;

/// In the words of runc, which callers may look for.
const NOT_EMPTY: &str = "container's cgroup is not empty";

/// What came of it.
pub(super) struct Made {
    /// `None`: the container stays where the calling process is.
    pub cgroup: Option<Cgroup>,
    /// Whether the kernel keeps to the rules for devices.
    pub filters_devices: bool,
}

/// Makes it, with all limits, unless nobody is to. systemd reads `cgroupsPath` as `slice:prefix:name`, and the calling
/// process is in the scope from then on.
pub(super) fn make(
    spec: &Spec,
    id: &str,
    manager: Option<Manager>,
    annotations: &Annotations,
) -> Result<Made> {
    let linux = spec.linux().as_ref();
    let path = linux.and_then(|linux| linux.cgroups_path().as_deref());
    let none = LinuxResources::default();
    let resources = linux
        .and_then(|linux| linux.resources().as_ref())
        .unwrap_or(&none);
    let settings = resources::settings(resources)?;
    let is_limited = settings.iter().any(limits);
    let found = match manager {
        Some(Manager::Systemd) if cgroup::is_version_2() => {
            let subgroup = annotations.subgroup.as_deref();
            in_scope(path, id, &annotations.properties, subgroup).map(Some)
        }
        Some(_) => find(path, id),
        None => Ok(None),
    };
    let place = match found {
        Ok(place) => place,
        // Who may make no group needs none for what is not limited.
        Err(_) if !is_limited && manager != Some(Manager::Systemd) => None,
        Err(error) => return Err(error),
    };
    let Some(place) = place else {
        if let Some(setting) = settings.iter().find(|setting| limits(setting)) {
            let (why, hint) = match manager {
                Some(_) => (
                    "there are no control groups of version 2 here",
                    "boot with systemd.unified_cgroup_hierarchy=1, or leave the limits out",
                ),
                None => (
                    "the container is to have no control group",
                    "leave --cgroup-manager=disabled out, or the limits",
                ),
            };
            let message = format!(
                "the limits of the `{}` controller cannot be applied: {why}",
                setting.controller.name()
            );
            return Err(Error::new(Kind::Denied, message).hint(hint).into());
        }
        return Ok(Made {
            cgroup: None,
            filters_devices: false,
        });
    };
    let group = fill(&place)?;
    match limit(&place, &group, &settings, resources) {
        Ok(filters_devices) => Ok(Made {
            cgroup: Some(group),
            filters_devices,
        }),
        Err(error) => {
            // Why it was not is what counts.
            let _ = parents::end(group);
            Err(error)
        }
    }
}

/// Whether it is another value than a new group has: containerd writes the weight that all have.
fn limits(setting: &Setting) -> bool {
    setting.value != "max"
        && (setting.file.as_str(), setting.value.as_str()) != ("cpu.weight", "100")
}

/// Who may make groups in it once its first process is there, as with runc: the user of the program, in a user namespace
/// of its own, where that sees its group as the root of a hierarchy that is mounted to be written to.
pub(super) fn manager_inside(spec: &Spec) -> Option<u32> {
    let linux = spec.linux().as_ref()?;
    let UserNamespace::New(maps) = plan::user(linux)? else {
        return None;
    };
    let mut namespaces = linux.namespaces().iter().flatten();
    namespaces.find(|one| one.typ() == LinuxNamespaceType::Cgroup && one.path().is_none())?;
    let mounts = spec.mounts().iter().flatten();
    let mut hierarchies = mounts.filter(|mount| {
        mount.destination() == Path::new(cgroup::ROOT)
            && mount
                .typ()
                .as_deref()
                .is_some_and(|kind| kind.starts_with("cgroup"))
    });
    hierarchies.find(|mount| !mount.options().iter().flatten().any(|word| word == "ro"))?;
    let user = spec.process().as_ref()?.user().uid();
    id_mapping::outside(&maps.uids, user)
}

/// Where it is to be; `None` where there are no groups of version 2.
fn find(path: Option<&Path>, id: &str) -> Result<Option<Place>> {
    if !cgroup::is_version_2() {
        return Ok(None);
    }
    if let Some(path) = path.filter(|path| !path.as_os_str().is_empty()) {
        return Place::at(&Path::new("/").join(path)).map(Some);
    }
    let found = placement::find(&Wish {
        manager: Some(Manager::Cgroupfs),
        parent: None,
        id,
        description: "",
        user: None,
        patience: None,
        properties: &[],
    })?;
    Ok(match found {
        Placement::Here(place) => Some(place),
        Placement::Nowhere(_) | Placement::Disabled => None,
    })
}

fn in_scope(
    path: Option<&Path>,
    id: &str,
    properties: &[Property],
    subgroup: Option<&str>,
) -> Result<Place> {
    let path = path.unwrap_or(Path::new("")).to_string_lossy();
    let parts: Vec<&str> = path.split(':').collect();
    let (slice, prefix, name) = match parts[..] {
        [""] => ("", "onggi", id),
        [slice, prefix, name] => (slice, prefix, name),
        _ => {
            let message =
                format!("`{path}` is not `slice:prefix:name`, which systemd's groups are named by");
            return Err(bad_input(message).into());
        }
    };
    let scope = match prefix {
        "" => format!("{name}.scope"),
        prefix => format!("{prefix}-{name}.scope"),
    };
    let user = user()?;
    let mut manager =
        systemd::Manager::connect(user)?.ok_or_else(|| systemd::Manager::absent(user))?;
    let slice = (!slice.is_empty()).then_some(slice);
    // We are to be in it ourselves, and would be frozen.
    if let Some(left) = Cgroup::open(&manager.directory_of(slice).join(&scope))? {
        refuse_frozen(&left)?;
    }
    let place = Place::in_scope(
        &mut manager,
        &Scope {
            name: &scope,
            description: &format!("container {id}"),
            slice,
            patience: None,
            properties,
        },
        subgroup,
    );
    place.map_err(|error| match kind(&error) {
        Some(Kind::Conflict) => error.context(NOT_EMPTY),
        _ => error,
    })
}

/// Whose manager is asked: the caller's, whoever that is in the user namespace which was entered; `None`: the system's.
fn user() -> Result<Option<u32>> {
    let own = rustix::process::geteuid().as_raw();
    if namespace::is_initial_user() {
        return Ok((own != 0).then_some(own));
    }
    let maps = IdMaps::of_process(std::process::id() as i32)?;
    Ok(id_mapping::outside(&maps.uids, own))
}

/// Makes it unless it is there, with all controllers; one with processes is somebody else's.
fn fill(place: &Place) -> Result<Cgroup> {
    place.enable(&Controller::ALL.map(Controller::name))?;
    if place.manager == Manager::Cgroupfs
        && let Some(group) = Cgroup::open(&place.path())?
    {
        if group.is_populated()? {
            let message = format!("{NOT_EMPTY}: `{}`", group.directory().display());
            return Err(Error::new(Kind::Conflict, message).into());
        }
        refuse_frozen(&group)?;
        return Ok(group);
    }
    let group = place.make()?;
    refuse_frozen(&group)?;
    Ok(group)
}

/// Whoever is put into a frozen group, or one in it, waits there for ever.
fn refuse_frozen(group: &Cgroup) -> Result<()> {
    if !group.is_frozen()? {
        return Ok(());
    }
    let directory = group.directory();
    let message = format!(
        "container's cgroup unexpectedly frozen: `{}`",
        directory.display()
    );
    Err(Error::new(Kind::Conflict, message)
        .hint("write 0 to its `cgroup.freeze`, or to that of the group above it which is frozen")
        .into())
}

/// Limits the unit of systemd's that its group is in likewise, once the calling process is about to leave: until then that
/// one is there too, and hooks that it runs, which may need more than the container.
pub fn limit_unit(container: &Container) -> Result<()> {
    let (Some(group), Some(_)) = (container.cgroup()?, scope_of(container)) else {
        return Ok(());
    };
    let spec = container.spec()?;
    let linux = spec.linux().as_ref();
    let Some(resources) = linux.and_then(|linux| linux.resources().as_ref()) else {
        return Ok(());
    };
    match resources::settings(resources)? {
        settings if settings.is_empty() => Ok(()),
        settings => limit_scope(&group, &settings),
    }
}

/// The unit of systemd's that its group is in, if that looks like one.
fn scope_of(container: &Container) -> Option<&str> {
    let unit = container.record.cgroup.as_ref()?.parent()?.file_name()?;
    unit.to_str().filter(|unit| unit.ends_with(".scope"))
}

/// Applies everything; whether devices are filtered comes out.
fn limit(
    place: &Place,
    group: &Cgroup,
    settings: &[Setting],
    resources: &LinuxResources,
) -> Result<bool> {
    apply(Some(place), group, settings)?;
    let mut rules = resources.devices().clone().unwrap_or_default();
    // As with runc, whatever the configuration says; without any rule nothing else may be used.
    rules.extend(devices::everybodys());
    Ok(match devices::attach(group.as_fd(), &rules)? {
        Enforcement::InForce => true,
        Enforcement::Impossible(_) => false,
    })
}

/// The group, once the calling process is where it can put others into it: an ordinary user's session is not.
pub(super) fn come_near(group: Cgroup) -> Result<Cgroup> {
    let own = cgroup::of_process(None)?;
    placement::come_near(&group, own.as_deref(), user()?)?;
    Ok(group)
}

/// Where a further process of a container can be: in its group, or where its first process is if controllers were given
/// away in there (cgroups(7), "no internal processes").
pub(super) fn with_processes(group: Cgroup, container: &Container) -> Result<Cgroup> {
    if group.words("cgroup.subtree_control")?.is_empty() {
        return Ok(group);
    }
    let pid = u32::try_from(container.record.init.pid)?;
    let of_init = cgroup::of_process(Some(pid))?;
    let below = of_init.filter(|path| path.starts_with(group.path()));
    let found = below.map(|path| Cgroup::open(&path)).transpose()?;
    Ok(found.flatten().unwrap_or(group))
}

/// Changes the limits of a container; after an error they are as they were.
pub fn update(container: &Container, resources: &LinuxResources) -> Result<()> {
    let group = container.needed_cgroup("limit")?;
    let settings = resources::settings_of_running(&group, resources)?;
    let before = Before::of(group, &settings)?;
    apply(None, &before.group, &settings)
        .and_then(|()| match scope_of(container) {
            Some(_) => limit_scope(&before.group, &settings),
            None => Ok(()),
        })
        .inspect_err(|_| before.restore())
}

/// Limits the scope that a group is in likewise: through systemd what it knows of, since it would write over that.
fn limit_scope(group: &Cgroup, settings: &[Setting]) -> Result<()> {
    let path = group.path().parent().unwrap_or(Path::new("/"));
    let (Some(unit), Some(scope)) = (path.file_name(), Cgroup::open(path)?) else {
        return Ok(());
    };
    let properties = systemd::properties(settings);
    if !properties.is_empty() {
        let user = user()?;
        let manager = systemd::Manager::connect(user)?;
        let mut manager = manager.ok_or_else(|| systemd::Manager::absent(user))?;
        if !manager.set_properties(&unit.to_string_lossy(), &properties)? {
            // It has the name of a scope and is none.
            return Ok(());
        }
    }
    let others = in_force(&scope, &systemd::others(settings))?;
    resources::apply(&scope, &others, false, None)?;
    Ok(())
}

/// Writes limits, of a new group at a place or of one that is there.
fn apply(place: Option<&Place>, group: &Cgroup, settings: &[Setting]) -> Result<()> {
    if settings.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = settings
        .iter()
        .map(|setting| setting.controller.name())
        .collect();
    match place {
        Some(place) => place.enable(&names)?,
        None => placement::enable_above(group, &names)?,
    }
    placement::enable_from_root(group, &names)?;
    resources::apply(group, &in_force(group, settings)?, false, None)?;
    Ok(())
}

/// Without those that limit nothing, of controllers that a group does not have.
fn in_force(group: &Cgroup, settings: &[Setting]) -> Result<Vec<Setting>> {
    let enabled = group.words("cgroup.controllers")?;
    let counts = |setting: &&Setting| {
        limits(setting) || enabled.iter().any(|word| word == setting.controller.name())
    };
    Ok(settings.iter().filter(counts).cloned().collect())
}
