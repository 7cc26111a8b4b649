//! The control group of a container: `linux.cgroupsPath` and `linux.resources` of the configuration (config-linux.md).
//!
//! Where there is none to be had the container goes without, as long as nothing is limited.

use super::record::Container;
use crate::cgroup::devices::{self, Enforcement};
use crate::cgroup::placement::{self, Manager, Place, Placement, Wish};
use crate::cgroup::resources::{self, Before, Setting};
use crate::cgroup::systemd::{self, Scope};
use crate::cgroup::{self, Cgroup, parents};
use crate::error::{Error, Kind, bad_input};
use crate::id_mapping::{self, IdMaps};
use crate::runtime::annotations::Annotations;
use crate::sys::namespace;
use anyhow::Result;
use oci_spec::runtime::{LinuxResources, Spec};
use std::os::fd::AsFd;
use std::path::Path;

/// What came of it.
pub(super) struct Made {
    /// `None`: the container stays where the calling process is.
    pub cgroup: Option<Cgroup>,
    /// Whether the kernel keeps to the rules for devices.
    pub filters_devices: bool,
}

/// Makes it, with all limits; `systemd`: `cgroupsPath` is `slice:prefix:name`. With systemd the calling process is in
/// the scope from then on.
pub(super) fn make(
    spec: &Spec,
    id: &str,
    systemd: bool,
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
    let found = match systemd {
        true if cgroup::is_version_2() => in_scope(path, id, annotations).map(Some),
        _ => find(path, id),
    };
    let place = match found {
        Ok(place) => place,
        // Who may make no group needs none for what is not limited.
        Err(_) if !is_limited && !systemd => None,
        Err(error) => return Err(error),
    };
    let Some(place) = place else {
        if let Some(setting) = settings.iter().find(|setting| limits(setting)) {
            let message = format!(
                "the limits of the `{}` controller cannot be applied: there are no control groups of version 2 here",
                setting.controller.name()
            );
            return Err(Error::new(Kind::Denied, message)
                .hint("boot with systemd.unified_cgroup_hierarchy=1, or leave the limits out")
                .into());
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

fn in_scope(path: Option<&Path>, id: &str, annotations: &Annotations) -> Result<Place> {
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
    Place::in_scope(
        &mut manager,
        &Scope {
            name: &scope,
            description: &format!("container {id}"),
            slice: (!slice.is_empty()).then_some(slice),
            patience: None,
            properties: &annotations.properties,
        },
        annotations.subgroup.as_deref(),
    )
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

/// Makes it unless it is there; one with processes is somebody else's.
fn fill(place: &Place) -> Result<Cgroup> {
    if place.manager == Manager::Cgroupfs
        && let Some(group) = Cgroup::open(&place.path())?
    {
        if group.is_populated()? {
            let message = format!(
                "the control group `{}` has processes already",
                group.directory().display()
            );
            return Err(Error::new(Kind::Conflict, message).into());
        }
        return Ok(group);
    }
    place.make()
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

/// Changes the limits of a container; after an error they are as they were.
pub fn update(container: &Container, resources: &LinuxResources) -> Result<()> {
    let settings = resources::settings(resources)?;
    let before = Before::of(container.needed_cgroup("limit")?, &settings)?;
    apply(None, &before.group, &settings).inspect_err(|_| before.restore())
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
    let enabled = group.words("cgroup.controllers")?;
    let counts = |setting: &&Setting| {
        limits(setting) || enabled.iter().any(|word| word == setting.controller.name())
    };
    let settings: Vec<Setting> = settings.iter().filter(counts).cloned().collect();
    resources::apply(group, &settings, false, None)?;
    Ok(())
}
