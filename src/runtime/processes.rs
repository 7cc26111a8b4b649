//! The processes of a container as the host sees them (proc(5)): for `top`, and for `stats` where no cgroup counts.
//!
//! A process belongs to a container when it is in its own mount or PID namespace, or when its parent
//! belongs to it: what has made further namespaces inside is found by its parent, what was put in from outside
//! (`exec`) by its namespaces.

use crate::sys::process::Identity;
use anyhow::{Context, Result};
use procfs::process::{Stat, Status, all_processes};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::PathBuf;

/// One process at one moment.
#[derive(Debug)]
pub struct Process {
    /// proc_pid_stat(5); numbers are those of the host.
    pub stat: Stat,
    /// proc_pid_status(5).
    pub status: Status,
    /// Its first arguments; none where it has thrown them away.
    pub words: Vec<String>,
}

/// The processes of the container whose first one this is, by number; none when it has ended.
pub fn of(program: &Identity) -> Result<Vec<Process>> {
    let found = namespaces(program.pid);
    if !program.is_alive() {
        return Ok(Vec::new());
    }
    let Some(own) = found else {
        // One that waits to be started has privileges yet, and is alone.
        return Ok(read(program.pid).into_iter().collect());
    };
    let here = namespaces(std::process::id().cast_signed());
    let [shares_pids, shares_mounts] =
        [0, 1].map(|kind| here.as_ref().is_some_and(|here| here[kind] == own[kind]));
    let mut inside = BTreeSet::from([program.pid]);
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for process in all_processes().context("read `/proc`")? {
        // It may end at any time.
        let Ok(process) = process else { continue };
        let Some(namespaces) = namespaces(process.pid) else {
            continue;
        };
        if (!shares_mounts && namespaces[1] == own[1]) || (!shares_pids && namespaces[0] == own[0])
        {
            inside.insert(process.pid);
        } else if let Ok(stat) = process.stat() {
            children.entry(stat.ppid).or_default().push(process.pid);
        }
    }
    let mut reached: Vec<i32> = inside.iter().copied().collect();
    while let Some(pid) = reached.pop() {
        let found = children.remove(&pid).unwrap_or_default();
        inside.extend(&found);
        reached.extend(found);
    }
    Ok(inside.into_iter().filter_map(read).collect())
}

/// The PID and the mount namespace; `None` for a process that has ended or may not be looked at.
fn namespaces(pid: i32) -> Option<[PathBuf; 2]> {
    let link = |kind: &str| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok();
    Some([link("pid")?, link("mnt")?])
}

fn read(pid: i32) -> Option<Process> {
    let process = procfs::process::Process::new(pid).ok()?;
    Some(Process {
        stat: process.stat().ok()?,
        status: process.status().ok()?,
        words: words(pid).unwrap_or_default(),
    })
}

/// The beginning of proc_pid_cmdline(5): thousands of processes may have megabytes of arguments each.
fn words(pid: i32) -> std::io::Result<Vec<String>> {
    const LIMIT: u64 = 32 << 10;
    let mut text = Vec::new();
    let file = std::fs::File::open(format!("/proc/{pid}/cmdline"))?;
    file.take(LIMIT).read_to_end(&mut text)?;
    let words = text.strip_suffix(b"\0").unwrap_or(&text);
    Ok(match words {
        [] => Vec::new(),
        words => words
            .split(|byte| *byte == 0)
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect(),
    })
}

/// The names of users and groups of the host (passwd(5), group(5)), by number.
pub fn host_names(file: &str) -> BTreeMap<u32, String> {
    let text = std::fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let entry = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        Some((fields.nth(1)?.parse().ok()?, name))
    };
    // The first line of a number counts.
    text.lines().rev().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_processes_are_found_with_their_children() {
        let mut child = std::process::Command::new("sleep")
            .args(["1000", &"0".repeat(60_000)])
            .spawn()
            .unwrap();
        let own = Identity::of(std::process::id().cast_signed()).unwrap();
        let found = of(&own).unwrap();
        let pid = child.id().cast_signed();
        let sleep = found
            .iter()
            .find(|process| process.stat.pid == pid)
            .unwrap();
        assert_eq!(sleep.words[..2], ["sleep", "1000"]);
        assert!((1..40_000).contains(&sleep.words[2].len()));
        assert_eq!(sleep.stat.ppid, own.pid);
        child.kill().unwrap();
        child.wait().unwrap();
        let gone = Identity {
            start_time: own.start_time + 1,
            ..own
        };
        assert!(of(&gone).unwrap().is_empty());
    }
}
