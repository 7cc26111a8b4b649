//! What a container is confined by beside capabilities and the filter of its system calls: paths that it does not see
//! or may not change, and the labels of security modules. From options to the words of an OCI configuration.

use super::options::Options;
use super::record::Record;
use crate::runtime::lsm::{self, Contexts};
use anyhow::Result;
use std::path::Path;

const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// What a container sees nothing of, and what it may not write to; `None` where everything is open.
pub fn guarded_paths(options: &Options) -> Option<(Vec<String>, Vec<String>)> {
    let security = &options.security;
    let open = options.privileged || security.system_paths_unconfined;
    if open && security.mask.is_empty() {
        return None;
    }
    let is_guarded = |path: &String| {
        let opened = || security.unmask.iter().any(|pattern| matches(pattern, path));
        !open && !opened()
    };
    let masked = MASKED.map(str::to_owned).into_iter().chain(throttling());
    let masked = masked.filter(is_guarded).chain(security.mask.clone());
    let read_only = READ_ONLY.map(str::to_owned).into_iter();
    Some((masked.collect(), read_only.filter(is_guarded).collect()))
}

/// How often each processor was too hot, which tells what others compute; Docker masks it, too.
fn throttling() -> impl Iterator<Item = String> {
    let processors = (0..).map(|number| format!("/sys/devices/system/cpu/cpu{number}"));
    let there = processors.take_while(|path| Path::new(path).exists());
    let counters = there.map(|path| format!("{path}/thermal_throttle"));
    counters.filter(|path| Path::new(path).exists())
}

/// `ALL`, or a pattern in which `*` stands for anything but a slash (podman run, "--security-opt").
fn matches(pattern: &str, path: &str) -> bool {
    fn parts(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) if parts(rest, text) => true,
            (Some((b'*', _)), Some((letter, more))) => *letter != b'/' && parts(pattern, more),
            (Some((b'?', rest)), Some((letter, more))) => *letter != b'/' && parts(rest, more),
            (Some((wanted, rest)), Some((letter, more))) => wanted == letter && parts(rest, more),
            _ => false,
        }
    }
    pattern.eq_ignore_ascii_case("ALL")
        || parts(pattern.trim_end_matches('/').as_bytes(), path.as_bytes())
}

/// The AppArmor profile that a container gets on this host. As in Docker none is applied, and nothing is said, where
/// the kernel has no AppArmor.
pub fn apparmor_profile(options: &Options) -> Option<String> {
    if !lsm::has_apparmor() {
        return None;
    }
    match &options.security.apparmor {
        Some(profile) => Some(profile.clone()).filter(|profile| profile != "unconfined"),
        None if options.privileged => None,
        None => lsm::is_loaded(lsm::DEFAULT_PROFILE).then(|| lsm::DEFAULT_PROFILE.to_owned()),
    }
}

/// The SELinux contexts that a container gets on this host: none where the kernel has no SELinux, where nothing was
/// asked for, or where the container is privileged.
pub fn contexts(record: &Record) -> Result<Option<Contexts>> {
    if record.options.privileged || !lsm::has_selinux() {
        return Ok(None);
    }
    let asked = record.options.security.label.iter();
    // It changes what is seen, not what the container is labelled with.
    let asked: Vec<String> = asked.filter(|label| *label != NESTED).cloned().collect();
    Contexts::of_container(&asked, &record.id)
}

/// `label=nested`: the container sees the kernel's SELinux.
pub const NESTED: &str = "nested";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unmasked_is_neither_hidden_nor_read_only() {
        let mut options = Options::default();
        let count = |options: &Options| {
            guarded_paths(options).map(|(masked, read_only)| (masked.len(), read_only.len()))
        };
        // Processors that tell how hot they were are the host's.
        let more = throttling().count();
        assert_eq!(count(&options), Some((12 + more, 5)));
        options.security.unmask = vec!["/proc/a*".into(), "/proc/sys".into(), "/sys".into()];
        assert_eq!(count(&options), Some((10 + more, 4)));
        options.security.mask = vec!["/etc/secret".into()];
        assert_eq!(count(&options), Some((11 + more, 4)));
        options.security.unmask = vec!["all".into()];
        assert_eq!(count(&options), Some((1, 0)));
        options.security.mask.clear();
        options.security.system_paths_unconfined = true;
        assert_eq!(count(&options), None);
    }

    #[test]
    fn patterns_do_not_cross_slashes() {
        for (pattern, path, is_match) in [
            ("/proc/*", "/proc/acpi", true),
            ("/proc/*", "/proc/a/b", false),
            ("/*/a?pi", "/proc/acpi", true),
            ("/proc/acpi/", "/proc/acpi", true),
            ("/proc", "/proc/acpi", false),
            ("ALL", "/x", true),
        ] {
            assert_eq!(matches(pattern, path), is_match, "{pattern} {path}");
        }
    }
}
