//! Which walls stand around a container that is started without further options, as words for people: `info`.

use super::confinement;
use super::engine::Engine;
use super::options::Options;
use super::spec;
use crate::cgroup::outlook::Outlook;
use crate::id_mapping::Tier;
use crate::runtime::lsm;
use anyhow::Result;

/// Name and state of each.
pub fn in_force(engine: &Engine, outlook: &Outlook) -> Result<Vec<(&'static str, String)>> {
    let options = Options::default();
    let is_root = engine.mapping.tier == Tier::Root;
    let capabilities = spec::capabilities(&options, engine)?;
    let (masked, read_only) = confinement::guarded_paths(&options).unwrap_or_default();
    let user_namespace = match is_root {
        true => "none by default: root inside is root outside",
        false => "root inside is the user outside",
    };
    let devices = match (is_root, outlook.manager) {
        (true, Some(_)) => "a filter at the cgroup",
        _ => "no other node can be opened",
    };
    let limits = match outlook.manager {
        Some(_) if outlook.controllers.is_empty() => "none: no controller is delegated".to_owned(),
        Some(_) => outlook.controllers.join(" "),
        None => format!("none: {}", outlook.reason),
    };
    let apparmor = match (lsm::has_apparmor(), confinement::apparmor_profile(&options)) {
        (true, Some(profile)) => format!("the profile {profile}"),
        (true, None) => format!("no profile: none is called {}", lsm::DEFAULT_PROFILE),
        (false, _) => "no AppArmor on this host".to_owned(),
    };
    let selinux = match lsm::has_selinux() {
        true => "labels for those who ask: --security-opt label=…",
        false => "no SELinux on this host",
    };
    Ok(vec![
        ("user namespace", user_namespace.to_owned()),
        (
            "capabilities",
            capabilities.names().collect::<Vec<_>>().join(" "),
        ),
        ("seccomp", "built-in profile".to_owned()),
        (
            "paths",
            format!("{} masked, {} read-only", masked.len(), read_only.len()),
        ),
        ("devices", devices.to_owned()),
        ("limits", limits),
        ("apparmor", apparmor),
        ("selinux", selinux.to_owned()),
    ])
}
