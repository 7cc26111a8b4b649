//! The monitors that live, found by what they were started as (proc_pid_cmdline(5)): for a container whose own
//! record cannot tell, and to find those whose container is gone.

use super::engine::Engine;
use super::monitor::channel::MONITOR_NAME;
use crate::sys::process::Identity;
use anyhow::{Context, Result};
use std::os::unix::ffi::OsStrExt;

/// The monitor of one container.
pub fn of_container(engine: &Engine, id: &str) -> Result<Option<Identity>> {
    let mut all = of_store(engine)?.into_iter();
    Ok(all.find(|(of, _)| of == id).map(|(_, monitor)| monitor))
}

/// All monitors of this store with the ids of their containers.
pub fn of_store(engine: &Engine) -> Result<Vec<(String, Identity)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").context("read `/proc`")? {
        let name = entry.context("read `/proc`")?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // One that has ended meanwhile has nothing to tell.
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if let Some(id) = container_of(&words, engine.paths.data().as_os_str().as_bytes())
            && let Ok(identity) = Identity::of(pid)
        {
            found.push((id, identity));
        }
    }
    Ok(found)
}

/// The words of a monitor are its name, the two roots and the container's id (`super::spawn`).
fn container_of(words: &[u8], data: &[u8]) -> Option<String> {
    let mut words = words.split(|&byte| byte == 0);
    if words.next() != Some(MONITOR_NAME.as_bytes()) || words.next() != Some(data) {
        return None;
    }
    let id = words.nth(1)?;
    (id.len() == 64).then(|| String::from_utf8_lossy(id).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_monitors_of_this_store_count() {
        let id = "a".repeat(64);
        let words = |name: &str, data: &str, id: &str| format!("{name}\0{data}\0/run\0{id}\0");
        for (words, expected) in [
            (words(MONITOR_NAME, "/data", &id), Some(id.clone())),
            (words(MONITOR_NAME, "/other", &id), None),
            (words("sleep", "/data", &id), None),
            (words(MONITOR_NAME, "/data", "short"), None),
            (String::new(), None),
        ] {
            assert_eq!(container_of(words.as_bytes(), b"/data"), expected);
        }
    }
}
