//! What the kernel has counted of a cgroup (cgroups(7), the kernel's Documentation/admin-guide/cgroup-v2.rst). Any
//! controller may be missing, and with it its files: then what it would have counted is `None`, never zero.

use anyhow::{Context, Result};
use std::time::Duration;

/// What was counted since the cgroup was made, or is used now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Processor time of all processes, those that have ended as well; counted without a controller too.
    pub processor: Option<Duration>,
    /// Bytes of memory.
    pub memory: Option<Memory>,
    /// Bytes read from and written to block devices.
    pub block: Option<(u64, u64)>,
    /// Threads.
    pub tasks: Option<u64>,
}

/// Memory of a cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Bytes that are charged to it, without those of files that nobody has asked for lately: the kernel takes them
    /// back whenever somebody needs room. As Docker's client counts.
    pub used: u64,
    /// Bytes it may have; [`u64::MAX`]: as many as there are.
    pub limit: u64,
}

impl Statistics {
    /// Reads the files of a cgroup by `read`, which gives `None` for a file that is not there.
    pub fn read(mut read: impl FnMut(&str) -> Result<Option<String>>) -> Result<Self> {
        let mut parsed = |name: &str, parse: fn(&str) -> Option<u64>| {
            let text = read(name)?;
            text.map(|text| parse(&text).with_context(|| format!("`{name}` has an unknown format")))
                .transpose()
        };
        let processor = parsed("cpu.stat", |text| keyed(text, "usage_usec"))?;
        let current = parsed("memory.current", number)?;
        // An old kernel may not count that one.
        let inactive = parsed("memory.stat", |text| {
            Some(keyed(text, "inactive_file").unwrap_or(0))
        })?;
        let limit = parsed("memory.max", limit)?;
        let tasks = parsed("pids.current", number)?;
        let memory = current.map(|current| Memory {
            used: match inactive {
                Some(inactive) if inactive < current => current - inactive,
                _ => current,
            },
            limit: limit.unwrap_or(u64::MAX),
        });
        Ok(Self {
            processor: processor.map(Duration::from_micros),
            memory,
            block: read("io.stat")?.map(|text| transferred(&text)),
            tasks,
        })
    }

    /// Whether nothing is missing.
    pub fn is_complete(&self) -> bool {
        let Self {
            processor,
            memory,
            block,
            tasks,
        } = self;
        processor.is_some() && memory.is_some() && block.is_some() && tasks.is_some()
    }
}

/// A file with a single value.
fn number(text: &str) -> Option<u64> {
    text.trim_end().parse().ok()
}

/// A number or `max`.
fn limit(text: &str) -> Option<u64> {
    match text.trim_end() {
        "max" => Some(u64::MAX),
        text => text.parse().ok(),
    }
}

/// The value of a key in a file of lines `KEY VALUE`.
pub(super) fn keyed(text: &str, key: &str) -> Option<u64> {
    let value = |line: &str| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok();
    text.lines().find_map(value)
}

/// Sums over all devices; a line is `MAJOR:MINOR rbytes=N wbytes=N …`, or without values where nothing was done yet.
fn transferred(text: &str) -> (u64, u64) {
    let sum = |key: &str| {
        let values = text.split_ascii_whitespace();
        let values = values.filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok());
        values.fold(0, u64::saturating_add)
    };
    (sum("rbytes="), sum("wbytes="))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: &[(&str, &str)] = &[
        (
            "cpu.stat",
            "usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\nnr_throttled 3\n",
        ),
        ("memory.current", "10485760\n"),
        (
            "memory.stat",
            "anon 4096\nfile 8192\nworkingset_refault_inactive_file 1\ninactive_file 4194304\n",
        ),
        ("memory.max", "52428800\n"),
        (
            "io.stat",
            "8:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n7:1 \n253:0 rbytes=1 wbytes=2\n",
        ),
        ("pids.current", "7\n"),
    ];

    fn read(files: &[(&str, &str)]) -> Result<Statistics> {
        Statistics::read(|name| {
            let file = files.iter().rev().find(|file| file.0 == name);
            Ok(file.map(|file| file.1.to_owned()))
        })
    }

    #[test]
    fn all_files_are_counted() {
        let all = read(FILES).unwrap();
        let expected = Statistics {
            processor: Some(Duration::from_millis(1500)),
            memory: Some(Memory {
                used: 10_485_760 - 4_194_304,
                limit: 52_428_800,
            }),
            block: Some((4097, 8194)),
            tasks: Some(7),
        };
        assert_eq!(all, expected);
        assert!(all.is_complete());
    }

    #[test]
    fn memory_without_a_limit_and_with_little_of_it_used() {
        let memory = |more: &[(&'static str, &'static str)]| {
            let files: Vec<_> = FILES.iter().chain(more).copied().collect();
            read(&files).unwrap().memory.unwrap()
        };
        assert_eq!(memory(&[("memory.max", "max\n")]).limit, u64::MAX);
        // The two are not read at the same moment.
        assert_eq!(memory(&[("memory.current", "4096\n")]).used, 4096);
        assert_eq!(memory(&[("memory.stat", "anon 0\n")]).used, 10_485_760);
    }

    #[test]
    fn what_no_controller_counts_is_unknown() {
        assert_eq!(read(&[]).unwrap(), Statistics::default());
        let bare = read(&FILES[..1]).unwrap();
        assert_eq!(bare.processor, Some(Duration::from_millis(1500)));
        assert_eq!((bare.memory, bare.block, bare.tasks), (None, None, None));
        for missing in 0..FILES.len() {
            let mut files = FILES.to_vec();
            let (name, _) = files.remove(missing);
            let matters = !matches!(name, "memory.stat" | "memory.max");
            assert_eq!(read(&files).unwrap().is_complete(), !matters, "{name}");
        }
    }

    #[test]
    fn a_file_that_means_nothing_is_an_error_and_not_zero() {
        for file in [("memory.current", "much\n"), ("cpu.stat", "user_usec 1\n")] {
            let error = read(&[file]).unwrap_err().to_string();
            assert_eq!(error, format!("`{}` has an unknown format", file.0));
        }
    }
}
