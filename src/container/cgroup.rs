//! The control group of a container: where it lies, what is limited there, and who ends it.
//!
//! The monitor makes it before each run and removes it after; `State::cgroup` says where, for those who come later.
//! A container whose group could not be made runs where its monitor is, without limits.

use super::engine::Engine;
use super::record::{Record, State};
use crate::cgroup::placement::{self, Manager, Place, Placement, Wish};
use crate::cgroup::{self, Cgroup};
use crate::id_mapping::Tier;
use crate::settings::Settings;
use anyhow::Result;
use oci_spec::runtime::Spec;
use std::path::Path;

/// Looks for the place of a container's group; with systemd the calling process is in a scope from then on.
pub fn place(engine: &Engine, record: &Record) -> Result<Placement> {
    let wish = &record.options.cgroups;
    if wish.disabled {
        return Ok(Placement::Nowhere("it was disabled".to_owned()));
    }
    let manager = match wish.manager {
        None => Manager::from_word(&Settings::load()?.cgroup_manager),
        manager => manager,
    };
    placement::find(&Wish {
        manager,
        parent: wish.parent.as_deref(),
        id: &record.id,
        description: &format!("onggi container {} ({})", record.name, record.image_name),
        user: (engine.mapping.tier != Tier::Root).then_some(engine.mapping.uid),
    })
}

/// Makes the group for one run, with the limits of the configuration.
pub fn make(placement: &Placement, spec: &Spec) -> Result<Option<Cgroup>> {
    let Placement::Here(place) = placement else {
        return Ok(None);
    };
    let cgroup = place.make()?;
    if let Err(error) = limit(place, &cgroup, spec) {
        // Why it was not is what counts.
        let _ = end(cgroup);
        return Err(error);
    }
    Ok(Some(cgroup))
}

fn limit(_place: &Place, _cgroup: &Cgroup, _spec: &Spec) -> Result<()> {
    Ok(())
}

/// That of a container that runs, or is left of one that ran; `None` when it has none.
pub fn of(state: &State) -> Result<Option<Cgroup>> {
    match &state.cgroup {
        Some(path) if state.monitor.is_of_this_boot() => Cgroup::open(path),
        _ => Ok(None),
    }
}

/// Ends everybody in it and removes it.
pub fn end(cgroup: Cgroup) -> Result<()> {
    if cgroup.is_populated()? {
        cgroup.kill()?;
    }
    cgroup.remove()
}

/// Whether the processes of a group are frozen, of which only the path is known.
pub fn is_frozen(path: &Path) -> bool {
    Cgroup::open(path)
        .is_ok_and(|group| group.is_some_and(|group| group.is_frozen().is_ok_and(|frozen| frozen)))
}

/// Lets the calling process make others in that group: the way from where it is now may be closed to an ordinary
/// user (cgroups(7), "Delegation Containment").
pub fn come_near(engine: &Engine, group: &Cgroup) -> Result<()> {
    let user = (engine.mapping.tier != Tier::Root).then_some(engine.mapping.uid);
    let own = cgroup::of_process(None)?;
    placement::come_near(group, own.as_deref(), user)
}
