//! The control group of a container: where it lies, what is limited there, and who ends it.
//!
//! The monitor makes it before each run and removes it after; `State::cgroup` says where, for those who come later.
//! A container whose group could not be made runs where its monitor is, without limits.

use super::control;
use super::engine::Engine;
use super::record::{Directory, Record, State};
use super::resources::Enforcement;
use crate::cgroup::devices::{self, Enforcement as Filtering};
use crate::cgroup::outlook::{self, Outlook};
pub use crate::cgroup::parents::end;
use crate::cgroup::placement::{self, Manager, Place, Placement, Wish};
use crate::cgroup::resources::{self, Controller, Setting};
use crate::cgroup::systemd::session;
use crate::cgroup::{self, Cgroup, ROOT};
use crate::error::{self, Error, Kind};
use crate::id_mapping::{self, Tier};
use crate::runtime::annotations::Annotations;
use crate::settings::Settings;
use anyhow::Result;
use oci_spec::runtime::{LinuxDeviceCgroup, Spec};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

/// What systemd knows nothing of, and neither enables nor disables.
const UNKNOWN_TO_SYSTEMD: [Controller; 3] =
    [Controller::Hugetlb, Controller::Rdma, Controller::Misc];
/// What a monitor may need beyond the time of its program.
const GRACE: Duration = Duration::from_secs(5);
/// Why the devices of an ordinary user's container are not filtered.
const ONLY_ROOT: &str = "only root may load filters for devices";

/// What a container that does not say otherwise would get.
pub fn outlook(engine: &Engine, manager: Option<Manager>) -> Result<Outlook> {
    outlook::look(manager_of(manager)?, user(engine))
}

/// Who was named, in the settings at least.
fn manager_of(wanted: Option<Manager>) -> Result<Option<Manager>> {
    match wanted {
        None => Ok(Manager::from_word(&Settings::load()?.cgroup_manager)),
        wanted => Ok(wanted),
    }
}

/// The caller's uid outside of any user namespace; `None` for root.
pub(super) fn user(engine: &Engine) -> Option<u32> {
    (engine.mapping.tier != Tier::Root).then_some(engine.mapping.uid)
}

/// Looks for the place of a container's group; with systemd the calling process is in a scope from then on. `warnings`
/// gets what is to be said of a parent that is nowhere, and with best effort of a manager that cannot make groups.
pub fn place(engine: &Engine, record: &Record, warnings: &mut Vec<String>) -> Result<Placement> {
    let wish = &record.options.cgroups;
    if wish.disabled {
        return Ok(Placement::Disabled);
    }
    let manager = manager_of(wish.manager)?;
    let annotations = record.options.annotations.clone();
    let annotations = Annotations::of(&Some(annotations.into_iter().collect()))?;
    let found = placement::find(&Wish {
        manager,
        parent: wish.parent.as_deref(),
        id: &record.id,
        description: &format!("onggi container {} ({})", record.name, record.image_name),
        user: user(engine),
        // The monitor ends it in time; systemd would do it without a trace of how.
        patience: control::patience(record.options.stop_timeout).map(|patience| patience + GRACE),
        properties: &annotations.properties,
    });
    let best_effort = record.options.limits == Enforcement::BestEffort;
    let placement = match found {
        Err(error)
            if best_effort
                && (manager.is_some() || wish.parent.is_some())
                && error::kind(&error) != Some(Kind::BadInput) =>
        {
            let reason = format!("{error:#}");
            warnings.push(format!("the container has no control group: {reason}"));
            return Ok(Placement::Nowhere(reason));
        }
        found => found?,
    };
    if !placement.is_scope() {
        warnings.extend(annotations.of_properties("a scope of systemd's"));
    }
    // Scripts that are made for other hosts name one, and lose nothing that a limit would not tell of.
    if let (Placement::Nowhere(reason), Some(parent)) = (&placement, &wish.parent) {
        warnings.push(format!("--cgroup-parent {parent} has no effect: {reason}"));
    }
    Ok(placement)
}

/// What there is for one run.
#[derive(Debug)]
pub struct Made {
    /// The group, if there is a place for it.
    pub cgroup: Option<Cgroup>,
    /// Why the kernel does not keep its processes from devices that the rules do not allow; `None`: it does.
    pub unfiltered: Option<String>,
}

/// Makes the group for one run, with the limits of the configuration and its rules for devices; `warnings` gets what is
/// to be said about limits that the kernel does not have, or with best effort cannot be applied.
pub fn make(
    placement: &Placement,
    spec: &Spec,
    engine: &Engine,
    limits: Enforcement,
    warnings: &mut Vec<String>,
) -> Result<Made> {
    let resources = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.resources().as_ref());
    let settings = match resources {
        Some(resources) => resources::settings(resources)?,
        None => Vec::new(),
    };
    let (place, reason, hint) = match placement {
        Placement::Here(place) => (Some(place), "", None),
        Placement::Nowhere(reason) => (None, reason.as_str(), None),
        Placement::Disabled => (
            None,
            "--cgroups=disabled contradicts them",
            Some("leave out one of the two, the limit or --cgroups=disabled"),
        ),
    };
    let Some(place) = place else {
        let missing =
            |controller| resources::missing(controller, Path::new(ROOT), reason, user(engine));
        no_limits(&settings, missing, hint, limits, warnings)?;
        let why = match engine.mapping.tier {
            Tier::Root => format!("it has no control group: {reason}"),
            _ => ONLY_ROOT.to_owned(),
        };
        return Ok(Made {
            cgroup: None,
            unfiltered: Some(why),
        });
    };
    let cgroup = place.make()?;
    let rules = resources.and_then(|resources| resources.devices().as_deref());
    let limited = limit(place, &cgroup, &settings, limits, user(engine)).and_then(|said| {
        warnings.extend(said);
        filter_devices(&cgroup, rules.unwrap_or_default(), engine.mapping.tier)
    });
    match limited {
        Ok(unfiltered) => Ok(Made {
            cgroup: Some(cgroup),
            unfiltered,
        }),
        Err(error) => {
            // Why it was not is what counts.
            let _ = end(cgroup);
            Err(error)
        }
    }
}

/// Nobody but root of the first user namespace may load filters. Where even that one may not, in a sandbox, the
/// container is as one of an ordinary user: nodes can be opened only where the configuration says so.
fn filter_devices(
    cgroup: &Cgroup,
    rules: &[LinuxDeviceCgroup],
    tier: Tier,
) -> Result<Option<String>> {
    if tier != Tier::Root {
        return Ok(Some(ONLY_ROOT.to_owned()));
    }
    Ok(match devices::attach(cgroup.as_fd(), rules)? {
        Filtering::InForce => None,
        Filtering::Impossible(error) => Some(format!("{error:#}")),
    })
}

/// Without a group there is no limit: that is said once of each controller.
fn no_limits(
    settings: &[Setting],
    missing: impl Fn(Controller) -> Error,
    hint: Option<&'static str>,
    limits: Enforcement,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let mut told = Vec::new();
    for controller in settings.iter().map(|setting| setting.controller) {
        if told.contains(&controller) {
            continue;
        }
        told.push(controller);
        let error = missing(controller);
        match (limits, hint) {
            (Enforcement::BestEffort, _) => warnings.push(error.message),
            (Enforcement::Strict, Some(hint)) => return Err(error.hint(hint).into()),
            (Enforcement::Strict, None) => return Err(error.into()),
        }
    }
    Ok(())
}

fn limit(
    place: &Place,
    cgroup: &Cgroup,
    settings: &[Setting],
    limits: Enforcement,
    user: Option<u32>,
) -> Result<Vec<String>> {
    let (by_hand, names) = controllers(settings);
    place.enable(&names)?;
    placement::enable_from_root(cgroup, &by_hand)?;
    let said = resources::apply(cgroup, settings, limits == Enforcement::BestEffort, user)?;
    Ok(said.into_iter().map(|error| error.message).collect())
}

/// What is to be said to who leaves a container running that will not stay.
pub fn logout_warning(engine: &Engine, id: &str) -> Option<String> {
    let uid = user(engine)?;
    let state = Directory::of(engine, id).state().ok().flatten()?;
    let group = state.cgroup.as_ref().filter(|_| state.status().is_up())?;
    let name = id_mapping::name_of(uid)?;
    session::ends_group(group, uid, &name).then(|| {
        format!(
            "the container ends with the last session of {name}: `sudo loginctl enable-linger {name}` lets it stay"
        )
    })
}

/// Enables what these settings need in the groups above one that is there.
pub fn enable_above(cgroup: &Cgroup, settings: &[Setting]) -> Result<()> {
    let (by_hand, names) = controllers(settings);
    placement::enable_above(cgroup, &names)?;
    placement::enable_from_root(cgroup, &by_hand)
}

/// Those that systemd knows nothing of, and the others.
fn controllers(settings: &[Setting]) -> (Vec<&'static str>, Vec<&'static str>) {
    let all = settings.iter().map(|setting| setting.controller);
    let (by_hand, others): (Vec<_>, Vec<_>) =
        all.partition(|controller| UNKNOWN_TO_SYSTEMD.contains(controller));
    let names = |controllers: Vec<Controller>| controllers.into_iter().map(Controller::name);
    (names(by_hand).collect(), names(others).collect())
}

/// That of a container that runs, or is left of one that ran; `None` when it has none.
pub fn of(state: &State) -> Result<Option<Cgroup>> {
    match &state.cgroup {
        Some(path) if state.monitor.is_of_this_boot() => Cgroup::open(path),
        _ => Ok(None),
    }
}

/// The same of a container that runs; one that cannot be found from here is an error.
pub fn of_running(state: &State) -> Result<Option<Cgroup>> {
    match (of(state)?, &state.cgroup) {
        (None, Some(path)) => {
            let message = format!(
                "the container's control group `{}` cannot be found here",
                cgroup::directory_of(path).display()
            );
            Err(Error::new(Kind::Denied, message)
                .hint("it is that of the cgroup namespace in which the container was started")
                .into())
        }
        (group, _) => Ok(group),
    }
}

/// The same for a program that is to run beside the container's own: outside of it neither limits nor the filter for
/// devices would hold.
pub fn to_join(engine: &Engine, state: &State) -> Result<Option<Cgroup>> {
    let (Some(group), Some(path)) = (of_running(state)?, &state.cgroup) else {
        return Ok(None);
    };
    let own = cgroup::of_process(None)?;
    placement::come_near(&group, own.as_deref(), user(engine))?;
    // A privileged container may have made groups of its own and be in one of them: then the whole one takes nobody.
    let program = state
        .program
        .as_ref()
        .map(|program| program.pid.cast_unsigned());
    let inside = program.map(|program| cgroup::of_process(Some(program)));
    match inside.transpose()?.flatten() {
        Some(inside) if inside.starts_with(path) && inside != *path => Cgroup::open(&inside),
        _ => Ok(Some(group)),
    }
}

/// Whether the processes of a group are frozen, of which only the path is known.
pub fn is_frozen(path: &Path) -> bool {
    Cgroup::open(path)
        .is_ok_and(|group| group.is_some_and(|group| group.is_frozen().is_ok_and(|frozen| frozen)))
}
