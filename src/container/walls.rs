//! Which walls stand around a container that is started without further options, as words for people: `info`.

use super::engine::Engine;
use super::options::Options;
use super::spec;
use crate::cgroup::outlook::Outlook;
use crate::id_mapping::Tier;
use anyhow::Result;
use std::path::Path;

/// Name and state of each.
pub fn in_force(engine: &Engine, outlook: &Outlook) -> Result<Vec<(&'static str, String)>> {
    let options = Options::default();
    let is_root = engine.mapping.tier == Tier::Root;
    let capabilities = spec::capabilities(&options, engine)?;
    let (masked, read_only) = spec::guarded_paths(&options).unwrap_or_default();
    let user_namespace = match is_root {
        true => "none by default: root inside is root outside",
        false => "root inside is the user outside",
    };
    let devices = match (is_root, outlook.manager) {
        (true, Some(_)) => "a filter in the cgroup, and no other node can be opened",
        _ => "no other node can be opened",
    };
    let limits = match outlook.manager {
        Some(_) if outlook.controllers.is_empty() => "none: no controller is delegated".to_owned(),
        Some(_) => outlook.controllers.join(" "),
        None => format!("none: {}", outlook.reason),
    };
    let module = |path: &str, name: &str| match Path::new(path).exists() {
        true => format!("{name} is on"),
        false => format!("no {name} on this host"),
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
        (
            "apparmor",
            module("/sys/kernel/security/apparmor", "AppArmor"),
        ),
        ("selinux", module("/sys/fs/selinux/enforce", "SELinux")),
    ])
}
