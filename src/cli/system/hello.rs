//! `hello-page`: what the image `hello` runs. It tells what a container looks like from inside.
//!
//! The program runs as `/onggi`, the only file of its root; everything it tells is read from `/proc`, which
//! need not be there, and nothing is changed.

use crate::cli::Context;
use crate::cli::command::Verb;
use anyhow::Result;
use rustix::time::{ClockId, clock_gettime};
use std::fmt::Write;

/// Variable in which `run` passes the instant it was started, in nanoseconds of CLOCK_MONOTONIC.
pub const STARTED: &str = "ONGGI_STARTED";

/// Nanoseconds of CLOCK_MONOTONIC (clock_gettime(2)); processes of one boot agree on it.
pub fn monotonic_now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or_default() * 1_000_000_000
        + u64::try_from(now.tv_nsec).unwrap_or_default()
}

/// `hello-page` has no options.
#[derive(clap::Args)]
pub struct HelloPage {}

impl Verb for HelloPage {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let now = monotonic_now();
        let started = std::env::var(STARTED)
            .ok()
            .and_then(|text| text.parse::<u64>().ok());
        let read = |path: &str| std::fs::read_to_string(path).ok();
        let page = page(
            std::process::id(),
            started.and_then(|started| now.checked_sub(started)),
            read,
        );
        context.output.write(page.as_bytes())?;
        Ok(0)
    }
}

/// The page, from the files that `read` finds.
fn page(pid: u32, nanoseconds: Option<u64>, read: impl Fn(&str) -> Option<String>) -> String {
    let status = read("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"))
    };
    let first = |name| {
        field(name)
            .and_then(|ids| ids.split('\t').next())
            .unwrap_or("?")
    };
    let hidden = || "not visible from here".to_owned();
    let trimmed = |path: &str| read(path).map_or_else(hidden, |text| text.trim().to_owned());
    let rows = [
        (
            "process",
            format!("pid {pid}, uid {}, gid {}", first("Uid"), first("Gid")),
        ),
        (
            "user ids",
            read("/proc/self/uid_map").map_or_else(hidden, |map| ids(&map)),
        ),
        ("host name", trimmed("/proc/sys/kernel/hostname")),
        (
            "root",
            read("/proc/self/mountinfo")
                .and_then(|mounts| root(&mounts))
                .unwrap_or_else(hidden),
        ),
        (
            "cgroup",
            read("/proc/self/cgroup").map_or_else(hidden, |groups| cgroup(&groups)),
        ),
        (
            "capabilities",
            field("CapEff").map_or_else(hidden, capabilities),
        ),
        (
            "seccomp",
            seccomp(field("Seccomp"), field("NoNewPrivs")).unwrap_or_else(hidden),
        ),
        ("kernel", trimmed("/proc/sys/kernel/osrelease")),
    ];
    let mut text = "Hello from inside a container.\n\n".to_owned();
    for (name, value) in rows {
        let _ = writeln!(text, "  {name:<14}{value}");
    }
    if let Some(nanoseconds) = nanoseconds {
        let hundredths = nanoseconds / 10_000;
        let _ = writeln!(
            text,
            "  {:<14}{}.{:02} ms from the command to here",
            "time",
            hundredths / 100,
            hundredths % 100
        );
    }
    text + "\nThis was `onggi run hello`: an image whose only file is onggi itself.\n"
}

/// Which ids inside are which ids outside (user_namespaces(7)).
fn ids(map: &str) -> String {
    let run = |line: &str| {
        let numbers: Vec<u64> = line
            .split_whitespace()
            .map_while(|word| word.parse().ok())
            .collect();
        match numbers[..] {
            [0, 0, 4_294_967_295] => Some("the same inside and outside".to_owned()),
            [inside, outside, 1] => Some(format!("{inside} is {outside} outside")),
            [inside, outside, size] => Some(format!(
                "{inside}-{} are {outside}-{} outside",
                inside + size - 1,
                outside + size - 1
            )),
            _ => None,
        }
    };
    map.lines().filter_map(run).collect::<Vec<_>>().join(", ")
}

/// Kind of the root file system and how many layers it is made of (proc_pid_mountinfo(5)).
fn root(mounts: &str) -> Option<String> {
    let line = mounts
        .lines()
        .rfind(|line| line.split(' ').nth(4) == Some("/"))?;
    let (mount, file_system) = line.split_once(" - ")?;
    let words: Vec<&str> = file_system.split(' ').collect();
    let kind = words.first()?;
    let options: Vec<&str> = words.get(2)?.split(',').collect();
    let mode = if mount
        .split(' ')
        .nth(5)?
        .split(',')
        .any(|option| option == "ro")
    {
        "read-only"
    } else {
        "writable"
    };
    if *kind != "overlay" {
        return Some(format!("{kind}, {mode}"));
    }
    let lower = options.iter().filter_map(|option| {
        option
            .strip_prefix("lowerdir+=")
            .map(|_| 1)
            .or_else(|| Some(option.strip_prefix("lowerdir=")?.split(':').count()))
    });
    let lower: usize = lower.sum();
    let layers = if lower == 1 {
        "1 layer".to_owned()
    } else {
        format!("{lower} layers")
    };
    let upper = if options.iter().any(|option| option.starts_with("upperdir=")) {
        " and one to write to"
    } else {
        ""
    };
    Some(format!("overlay of {layers}{upper}, {mode}"))
}

/// The path in the unified hierarchy, else how many old hierarchies there are (cgroups(7)).
fn cgroup(groups: &str) -> String {
    match groups.lines().find_map(|line| line.strip_prefix("0::")) {
        Some(path) => path.to_owned(),
        None => format!("none of version 2, {} of version 1", groups.lines().count()),
    }
}

/// Names of the bits, without `CAP_`.
fn capabilities(mask: &str) -> String {
    let bits = u64::from_str_radix(mask, 16).unwrap_or_default();
    let all = caps::all();
    let held = all
        .iter()
        .filter(|capability| bits & capability.bitmask() != 0);
    let mut names: Vec<String> = held
        .map(|held| held.to_string().trim_start_matches("CAP_").to_lowercase())
        .collect();
    names.sort();
    match names.len() {
        0 => "none".to_owned(),
        count if count == all.len() => "all".to_owned(),
        count => format!("{count}: {}", names.join(" ")),
    }
}

/// Fields `Seccomp` and `NoNewPrivs` of proc_pid_status(5).
fn seccomp(mode: Option<&str>, no_new_privileges: Option<&str>) -> Option<String> {
    let mode = match mode? {
        "0" => "none",
        "1" => "strict",
        _ => "filter",
    };
    let locked = if no_new_privileges == Some("1") {
        ", no new privileges"
    } else {
        ""
    };
    Some(format!("{mode}{locked}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_tells_what_is_read() {
        let files = |path: &str| {
            let text = match path {
                "/proc/self/status" => {
                    "Name:\tonggi\nUid:\t0\t0\t0\t0\nGid:\t5\t5\t5\t5\nCapEff:\t0000000000000401\nNoNewPrivs:\t1\nSeccomp:\t2\n"
                }
                "/proc/self/uid_map" => {
                    "         0       1000          1\n         1     100000      65536\n"
                }
                "/proc/sys/kernel/hostname" => "3f2a9c1b7d5e\n",
                "/proc/self/mountinfo" => {
                    "20 1 0:5 / / ro,relatime - tmpfs tmpfs rw\n\
                     21 20 0:48 / / rw,relatime - overlay overlay rw,lowerdir+=/l/a,lowerdir+=/l/b,upperdir=/u,workdir=/w,userxattr\n\
                     22 21 0:6 / /proc rw - proc proc rw\n"
                }
                "/proc/self/cgroup" => "0::/\n",
                _ => return None,
            };
            Some(text.to_owned())
        };
        insta::assert_snapshot!(page(1, Some(4_812_345), files), @r"
        Hello from inside a container.

          process       pid 1, uid 0, gid 5
          user ids      0 is 1000 outside, 1-65536 are 100000-165535 outside
          host name     3f2a9c1b7d5e
          root          overlay of 2 layers and one to write to, writable
          cgroup        /
          capabilities  2: chown net_bind_service
          seccomp       filter, no new privileges
          kernel        not visible from here
          time          4.81 ms from the command to here

        This was `onggi run hello`: an image whose only file is onggi itself.
        ");
    }

    #[test]
    fn without_proc_there_is_still_a_page() {
        insta::assert_snapshot!(page(1, None, |_| None), @r"
        Hello from inside a container.

          process       pid 1, uid ?, gid ?
          user ids      not visible from here
          host name     not visible from here
          root          not visible from here
          cgroup        not visible from here
          capabilities  not visible from here
          seccomp       not visible from here
          kernel        not visible from here

        This was `onggi run hello`: an image whose only file is onggi itself.
        ");
    }

    #[test]
    fn roots_and_maps() {
        for (line, words) in [
            (
                "1 1 0:1 / / ro - overlay o rw,lowerdir=/a:/b:/c",
                "overlay of 3 layers, read-only",
            ),
            ("1 1 0:1 / / rw - ext4 /dev/sda rw", "ext4, writable"),
            (
                "1 1 0:1 / / rw - overlay o rw,lowerdir=/a,upperdir=/b",
                "overlay of 1 layer and one to write to, writable",
            ),
        ] {
            assert_eq!(root(line).unwrap(), words);
        }
        assert_eq!(root("garbage"), None);
        assert_eq!(ids("0 0 4294967295\n"), "the same inside and outside");
        assert_eq!(
            cgroup("3:cpu:/\n2:memory:/\n"),
            "none of version 2, 2 of version 1"
        );
        assert_eq!(capabilities("ffffffffffffffff"), "all");
    }
}
