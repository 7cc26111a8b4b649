//! A container's share of caches and memory bandwidth: runtime-spec config-linux.md, "IntelRdt". It is put into a directory
//! of the file system `resctrl` (kernel documentation, filesystems/resctrl), which the administrator has mounted.
//!
//! Invariant: only a directory that is called by the container's id is removed again.

use crate::error::{Error, Kind, bad_input};
use anyhow::{Context, Result};
use oci_spec::runtime::LinuxIntelRdt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What a container is to have.
#[derive(Debug, PartialEq, Eq)]
pub struct Group {
    /// The name of the directory that says what it has; empty: that of whoever has none.
    class: String,
    /// Whether that is the container's own.
    is_own: bool,
    /// What an existing directory must have.
    expected: Vec<String>,
    /// What is written, line by line.
    lines: Vec<String>,
    /// Where it is counted what the container uses, if it is.
    counter: Option<String>,
}

/// As `config.json` has it.
///
/// Errors: names that lead elsewhere, lines that are several.
#[allow(deprecated)]
pub fn of(wanted: Option<&LinuxIntelRdt>, id: &str) -> Result<Option<Group>, Error> {
    let Some(wanted) = wanted else {
        return Ok(None);
    };
    let given = wanted.clos_id().clone().filter(|name| !name.is_empty());
    let is_own = given.is_none();
    let class = match given.as_deref() {
        None => id,
        Some("/") => "",
        Some(name) => name,
    };
    if class.contains('/') || class == "." || class == ".." {
        let message = format!("`linux.intelRdt.closID` is no name of a directory: `{class}`");
        return Err(bad_input(message));
    }
    let expected = schemas(wanted)?;
    let more = wanted.schemata().iter().flatten().cloned();
    let lines: Vec<_> = expected.iter().cloned().chain(more).collect();
    if let Some(line) = lines.iter().find(|line| line.contains('\n')) {
        let message = format!("`linux.intelRdt` has several lines in one: {line:?}");
        return Err(bad_input(message));
    }
    let counts = [
        wanted.enable_monitoring(),
        // What it was called before version 1.3.
        wanted.enable_cmt(),
        wanted.enable_mbm(),
    ];
    let counts = counts.contains(&&Some(true));
    Ok(Some(Group {
        class: class.to_owned(),
        is_own,
        expected,
        lines,
        counter: counts.then(|| id.to_owned()),
    }))
}

/// The two lines that have fields of their own. What the first one says of bandwidth does not count beside the second.
fn schemas(wanted: &LinuxIntelRdt) -> Result<Vec<String>, Error> {
    let text = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
    let (cache, bandwidth) = (text(wanted.l3_cache_schema()), text(wanted.mem_bw_schema()));
    if bandwidth
        .as_ref()
        .is_some_and(|line| !line.starts_with("MB:"))
    {
        return Err(bad_input(
            "`linux.intelRdt.memBwSchema` does not begin with `MB:`",
        ));
    }
    let counts = |line: &&str| !(line.is_empty() || bandwidth.is_some() && line.starts_with("MB:"));
    let cache = cache.unwrap_or_default();
    let cache = cache.lines().filter(counts).map(str::to_owned);
    Ok(cache.chain(bandwidth.clone()).collect())
}

/// Directories that were made for a container.
#[derive(Debug, Default)]
pub struct Made(Vec<PathBuf>);

impl Made {
    /// The container does not start.
    pub fn undo(self) {
        for directory in self.0.into_iter().rev() {
            // It is empty to the kernel; what is not removed now, removing the container will.
            let _ = std::fs::remove_dir(directory);
        }
    }
}

impl Group {
    /// Puts a process in, which all of the container's come from.
    pub fn enter(&self, pid: i32) -> Result<Made> {
        self.enter_below(&mounted()?, pid)
    }

    fn enter_below(&self, root: &Path, pid: i32) -> Result<Made> {
        let mut made = Made::default();
        match self.fill(root, pid, &mut made) {
            Ok(()) => Ok(made),
            Err(error) => {
                made.undo();
                Err(error)
            }
        }
    }

    fn fill(&self, root: &Path, pid: i32, made: &mut Made) -> Result<()> {
        let class = root.join(&self.class);
        if !class.is_dir() {
            self.require_permission(&class)?;
            make(&class)?;
            made.0.extend(self.is_own.then(|| class.clone()));
        } else if !self.expected.is_empty() {
            self.compare(&class)?;
        }
        if !self.lines.is_empty() {
            let mut text = self.lines.join("\n");
            text.push('\n');
            write(&class.join("schemata"), &text)?;
        }
        write(&class.join("tasks"), &pid.to_string())?;
        if let Some(counter) = self.counter(root) {
            make(&counter)?;
            made.0.push(counter.clone());
            write(&counter.join("tasks"), &pid.to_string())?;
        }
        Ok(())
    }

    /// Removes what was made for the container alone, once it has ended.
    pub fn remove(&self) -> Result<()> {
        // Without the file system there are no groups, whatever was made.
        place()?.map_or(Ok(()), |root| self.remove_below(&root))
    }

    fn remove_below(&self, root: &Path) -> Result<()> {
        let own = self.is_own.then(|| root.join(&self.class));
        for directory in self.counter(root).into_iter().chain(own) {
            match std::fs::remove_dir(&directory) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                removed => removed.with_context(|| format!("remove `{}`", directory.display()))?,
            }
        }
        Ok(())
    }

    fn counter(&self, root: &Path) -> Option<PathBuf> {
        let name = self.counter.as_ref()?;
        Some(root.join(&self.class).join("mon_groups").join(name))
    }

    fn require_permission(&self, class: &Path) -> Result<(), Error> {
        if self.is_own || !self.lines.is_empty() {
            return Ok(());
        }
        let message = format!("`linux.intelRdt.closID`: there is no `{}`", class.display());
        Err(Error::new(Kind::NotFound, message)
            .hint("make it first, or say in `schemata` what it is to have"))
    }

    fn compare(&self, class: &Path) -> Result<()> {
        let path = class.join("schemata");
        let found =
            std::fs::read_to_string(&path).with_context(|| format!("read `{}`", path.display()))?;
        let has = |line: &&String| !found.lines().any(|other| other.trim() == line.trim());
        match self.expected.iter().find(has) {
            None => Ok(()),
            Some(line) => {
                let message = format!("`{}` is there, and has not `{line}`", class.display());
                Err(Error::new(Kind::Conflict, message).into())
            }
        }
    }
}

/// Where the file system is.
fn mounted() -> Result<PathBuf> {
    let missing = || {
        let message = "`linux.intelRdt` needs the file system resctrl, and none is mounted";
        Error::new(Kind::Unsupported, message).hint("mount -t resctrl resctrl /sys/fs/resctrl")
    };
    Ok(place()?.ok_or_else(missing)?)
}

fn place() -> Result<Option<PathBuf>> {
    let mounts = procfs::process::Process::myself()
        .and_then(|process| process.mountinfo())
        .context("read `/proc/self/mountinfo`")?;
    let found = mounts.into_iter().find(|mount| mount.fs_type == "resctrl");
    Ok(found.map(|mount| mount.mount_point))
}

fn make(directory: &Path) -> Result<()> {
    std::fs::create_dir(directory).with_context(|| format!("make `{}`", directory.display()))
}

fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).with_context(|| format!("write {text:?} to `{}`", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn group(wanted: Value) -> Result<Group, Error> {
        let wanted = serde_json::from_value(wanted).unwrap();
        of(Some(&wanted), "box").map(Option::unwrap)
    }

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn lines_are_in_order_and_names_lead_nowhere_else() {
        let both = json!({
            "l3CacheSchema": "L3:0=f\nMB:0=5", "memBwSchema": "MB:0=20", "schemata": ["L2:0=1"],
        });
        let both = group(both).unwrap();
        assert_eq!(both.lines, ["L3:0=f", "MB:0=20", "L2:0=1"]);
        assert!(both.is_own && both.class == "box" && both.counter.is_none());
        assert_eq!(group(json!({ "closID": "/" })).unwrap().class, "");
        assert_eq!(
            group(json!({ "enableMonitoring": true }))
                .unwrap()
                .counter
                .as_deref(),
            Some("box")
        );
        assert!(of(None, "box").unwrap().is_none());
        for refused in [
            json!({ "closID": "../x" }),
            json!({ "closID": ".." }),
            json!({ "schemata": ["L3:0=f\nMB:0=5"] }),
            json!({ "memBwSchema": "L3:0=f" }),
        ] {
            assert!(group(refused.clone()).is_err(), "{refused}");
        }
    }

    /// In a directory that stands for the file system, which takes hardware.
    #[test]
    fn a_directory_is_made_compared_and_removed() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let files = |directory: &str| {
            for file in ["tasks", "schemata"] {
                let _ = std::fs::remove_file(root.join(directory).join(file));
            }
        };
        let own = group(json!({ "schemata": ["L3:0=f"] })).unwrap();
        own.enter_below(root, 7).unwrap();
        assert_eq!(read(&root.join("box/schemata")), "L3:0=f\n");
        assert_eq!(read(&root.join("box/tasks")), "7");
        files("box");
        own.remove_below(root).unwrap();
        own.remove_below(root).unwrap();
        assert!(!root.join("box").exists());

        let named = group(json!({ "closID": "gold" })).unwrap();
        let missing = named.enter_below(root, 7).unwrap_err().to_string();
        assert!(
            missing.starts_with("`linux.intelRdt.closID`: there is no"),
            "{missing}"
        );
        std::fs::create_dir(root.join("gold")).unwrap();
        std::fs::create_dir(root.join("gold/mon_groups")).unwrap();
        std::fs::write(root.join("gold/schemata"), "    L3:0=f;1=f\n    MB:0=20\n").unwrap();
        let counted = group(
            json!({ "closID": "gold", "l3CacheSchema": "L3:0=f;1=f", "enableMonitoring": true }),
        );
        let counted = counted.unwrap();
        counted.enter_below(root, 8).unwrap();
        assert_eq!(read(&root.join("gold/mon_groups/box/tasks")), "8");
        files("gold/mon_groups/box");
        counted.remove_below(root).unwrap();
        assert!(root.join("gold").exists() && !root.join("gold/mon_groups/box").exists());
        let other = group(json!({ "closID": "gold", "memBwSchema": "MB:0=90" })).unwrap();
        let differs = other.enter_below(root, 8).unwrap_err().to_string();
        assert!(
            differs.ends_with("is there, and has not `MB:0=90`"),
            "{differs}"
        );

        // Of one that could not be put in nothing is left.
        let half = group(json!({ "enableMonitoring": true })).unwrap();
        half.enter_below(root, 9).unwrap_err();
        files("box");
        assert!(root.join("box").exists());
        half.remove_below(root).unwrap();
        assert!(!root.join("box").exists());
    }

    #[test]
    fn where_there_is_none_that_is_said() {
        if let Err(error) = mounted() {
            let error = error.to_string();
            assert!(
                error.starts_with("`linux.intelRdt` needs the file system resctrl"),
                "{error}"
            );
        }
    }
}
