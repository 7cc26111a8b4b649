//! Device nodes of a container without a filter for devices: where the kernel keeps to no rules (config-linux.md, "Allowed
//! Device list"), the mounts that nodes lie in decide which can be opened.

use oci_spec::runtime::{LinuxDeviceType, Spec};
use std::path::Path;

/// Closes the nodes in what is bound, for real root without a filter: a container may make nodes there, and a hostile
/// image may have some that were copied into a volume.
///
/// What the user names stays open: with Docker a bind gives the node and its filter, which is missing here, says whether
/// it opens, so whoever binds `/dev` or something in it means devices, and so does the option `dev`. A path is enough
/// for that, a look at the file is not: what lies elsewhere another container may have put there.
pub fn close_bound(spec: &mut Spec) {
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    for mount in &mut mounts {
        if mount.typ().as_deref() != Some("bind")
            || mount.source().as_deref().is_some_and(has_devices)
        {
            continue;
        }
        let mut options = mount.options().clone().unwrap_or_default();
        let has = |word: &str| options.iter().any(|option| option == word);
        if !has("dev") {
            let word = if has("rbind") { "rnodev" } else { "nodev" };
            options.push(word.to_owned());
            mount.set_options(Some(options));
        }
    }
    spec.set_mounts(Some(mounts));
}

/// Whether a directory or a file is one for devices, by its path; to `/dev/shm` everybody may write.
fn has_devices(source: &Path) -> bool {
    source.starts_with("/dev") && !source.starts_with("/dev/shm")
}

/// Closes the nodes in new file systems, where a container could make some; those in `/dev` that it is to have are mounted
/// each on its own.
pub fn close_new(spec: &mut Spec) {
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    for mount in &mut mounts {
        if !matches!(mount.typ().as_deref(), Some("tmpfs" | "ramfs")) {
            continue;
        }
        let mut options = mount.options().clone().unwrap_or_default();
        options.retain(|option| option != "dev");
        options.push("nodev".to_owned());
        mount.set_options(Some(options));
    }
    spec.set_mounts(Some(mounts));
}

/// Whether the rules of a configuration forbid nothing; without a rule everything is forbidden.
pub fn all_are_allowed(spec: &Spec) -> bool {
    let linux = spec.linux().as_ref();
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    let rules = resources.and_then(|resources| resources.devices().as_deref());
    // The last one that speaks of all decides what those before it have said.
    let mut of_all = rules.unwrap_or_default().iter().rev().filter(|rule| {
        let is_any = rule.typ().is_none_or(|kind| kind == LinuxDeviceType::A);
        is_any && rule.major().is_none() && rule.minor().is_none()
    });
    of_all.next().is_some_and(|rule| rule.allow())
}
