//! Which ids this process may use inside a user namespace, and entering one (user_namespaces(7), subuid(5)).
//!
//! Three tiers, chosen by what the host allows:
//!
//! | tier | who | ids inside |
//! |---|---|---|
//! | root | has CAP_SYS_ADMIN | all, no user namespace |
//! | subordinate | an ordinary user with ranges in `/etc/subuid` and `/etc/subgid`, and `newuidmap` | 0 is the user, 1… are the ranges |
//! | single | an ordinary user without | 0 is the user, no other |
//!
//! Root without CAP_SYS_ADMIN, as in a container of Docker's, is an ordinary user in this. Where no user namespace can be had
//! either ([`Refusal`]), root that may give files away stays root, and everybody else has one id without a namespace around it:
//! that is enough for images and builds, and not for containers.
//!
//! An ordinary user's process becomes root of a new user namespace *first*; from there on it does the same as
//! real root does. Policy (what a missing id means for a file) is for the rooms above.

mod maps;
mod refusal;
pub mod sandbox;
mod subordinate;

pub use maps::{IdMaps, NOBODY, inside, outside, outside_or_nobody};
pub use refusal::{APPARMOR_SETUP, Refusal, refused};
pub use subordinate::{Ranges, find_program, first_free, name_of, ranges_of};

use crate::error::{Error, Kind};
use crate::sys::namespace::{unshare, write_map};
use crate::sys::process::{self, flags};
use anyhow::{Context, Result, anyhow, bail};
use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};
use std::io::{PipeWriter, Read, Write};
use std::process::{Command, Stdio};

/// How many ids there are to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// All of them: real root.
    Root,
    /// Those of the user's subordinate ranges.
    Subordinate,
    /// One.
    Single,
}

/// A run of ids that are mapped one to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// First id inside.
    pub inside: u32,
    /// First id outside.
    pub outside: u32,
    /// How many.
    pub size: u32,
}

/// The mapping that everything in a store is made with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    /// How it came about.
    pub tier: Tier,
    /// The caller's own uid outside.
    pub uid: u32,
    /// The caller's own gid outside.
    pub gid: u32,
    /// User ids; empty for root.
    pub uids: Vec<Range>,
    /// Group ids; empty for root.
    pub gids: Vec<Range>,
    /// This process is in such a user namespace already, as its root (`unshare`).
    #[serde(skip)]
    pub entered: bool,
    /// Why no user namespace can be had here, if so.
    #[serde(skip)]
    pub refused: Option<Refusal>,
}

impl Mapping {
    /// One that nobody has entered, for the user and group `own` outside.
    pub fn new(tier: Tier, own: (u32, u32), uids: Vec<Range>, gids: Vec<Range>) -> Self {
        Self {
            tier,
            uid: own.0,
            gid: own.1,
            uids,
            gids,
            entered: false,
            refused: None,
        }
    }

    /// The mapping for the calling process.
    pub fn detect() -> Result<Self> {
        let (uid, gid) = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        let refused = Self::refusal(uid)?;
        let is_root = has_capabilities(CapabilitySet::SYS_ADMIN)?;
        if is_root || (refused.is_some() && has_capabilities(OVER_FILES)?) {
            let root = Self::new(Tier::Root, (uid, gid), Vec::new(), Vec::new());
            return Ok(Self { refused, ..root });
        }
        let own = |outside| Range {
            inside: 0,
            outside,
            size: 1,
        };
        let (mut uids, mut gids) = (vec![own(uid)], vec![own(gid)]);
        let tier = match subordinate::ranges(uid)? {
            // In a sandbox that is a user namespace of its own they may be nobody's.
            Some((user_ranges, group_ranges))
                if are_here("uid_map", &user_ranges)? && are_here("gid_map", &group_ranges)? =>
            {
                append(&mut uids, &user_ranges);
                append(&mut gids, &group_ranges);
                Tier::Subordinate
            }
            _ => Tier::Single,
        };
        let mapping = Self::new(tier, (uid, gid), uids, gids);
        Ok(Self { refused, ..mapping })
    }

    /// Why this process, which is not root of one, can make no user namespace.
    pub fn refusal(uid: u32) -> Result<Option<Refusal>> {
        match has_capabilities(CapabilitySet::SYS_ADMIN)? {
            true => Ok(None),
            false => Refusal::find(uid),
        }
    }

    /// The mapping that an ordinary user would find, as [`Self::detect`] does for the caller; `None` where there is no
    /// such user.
    pub fn of_user(user: &str) -> Result<Option<Self>> {
        let Some((uid, gid)) = subordinate::account(user)? else {
            return Ok(None);
        };
        let own = |outside| Range {
            inside: 0,
            outside,
            size: 1,
        };
        let (mut uids, mut gids) = (vec![own(uid)], vec![own(gid)]);
        let tier = match subordinate::ranges(uid)? {
            Some((user_ranges, group_ranges)) => {
                append(&mut uids, &user_ranges);
                append(&mut gids, &group_ranges);
                Tier::Subordinate
            }
            None => Tier::Single,
        };
        Ok(Some(Self::new(tier, (uid, gid), uids, gids)))
    }

    /// Whether a user namespace is needed. Who has a single id can do without where there is none.
    pub fn needs_user_namespace(&self) -> bool {
        let can_do_without = self.tier == Tier::Single && self.refused.is_some();
        self.tier != Tier::Root && !self.entered && !can_do_without
    }

    /// Gives up all ids but the caller's own.
    pub fn reduce(&mut self) {
        self.tier = Tier::Single;
        self.uids.truncate(1);
        self.gids.truncate(1);
    }

    /// Whose places everything lies in; `None`: root's.
    pub fn user(&self) -> Option<u32> {
        (self.tier != Tier::Root && !self.entered).then_some(self.uid)
    }

    /// Fails where no container can be made for want of a user namespace.
    pub fn require_containers(&self) -> Result<()> {
        match &self.refused {
            Some(refusal) => Err(refusal.error()),
            None => Ok(()),
        }
    }

    /// Whether the calling process is root of a user namespace with these ids.
    pub fn is_here(&self) -> Result<bool> {
        if self.tier == Tier::Root || !has_capabilities(CapabilitySet::SYS_ADMIN)? {
            return Ok(false);
        }
        let here = IdMaps::of_process(std::process::id() as i32)?;
        Ok(here.uids == self.uids && here.gids == self.gids)
    }

    /// Whether an id inside stands for an id outside.
    pub fn contains_uid(&self, inside: u32) -> bool {
        self.tier == Tier::Root || outside(&self.uids, inside).is_some()
    }

    /// Whether a group id inside stands for one outside.
    pub fn contains_gid(&self, inside: u32) -> bool {
        self.tier == Tier::Root || outside(&self.gids, inside).is_some()
    }

    /// Moves the calling process, which must have one thread, into a new user namespace as its root.
    pub fn enter(&self) -> Result<()> {
        let own = std::process::id() as i32;
        if self.tier == Tier::Single {
            // It may write this map itself.
            unshare(flags::NEW_USER).map_err(refused)?;
            self.write_maps(own)?;
            return become_root();
        }
        let (mut ready, tell) = std::io::pipe().context("pipe")?;
        let (mut complaint, mut complain) = std::io::pipe().context("pipe")?;
        // Only a process outside may run the setuid helpers, so it is forked before we leave.
        let mut tell = Some(tell);
        let writer = process::clone3(0, || {
            // The child's copy of the other end would keep it waiting for a parent that is gone.
            drop(tell.take());
            if ready.read_exact(&mut [0]).is_err() {
                return 1;
            }
            let Err(error) = self.write_maps(own) else {
                return 0;
            };
            let hint = crate::error::hint(&error).unwrap_or_default();
            // Without a reader there is nobody to tell.
            let _ = write!(complain, "{error:#}\n{hint}");
            1
        })
        .context("fork")?;
        drop(complain);
        unshare(flags::NEW_USER).map_err(refused)?;
        tell.map_or(Ok(()), release)?;
        let mut said = String::new();
        complaint
            .read_to_string(&mut said)
            .context("read from a pipe")?;
        if writer.wait().context("wait for the id maps")?.code() != 0 {
            let (message, hint) = said.split_once('\n').unwrap_or((&said, ""));
            let error = Error::new(Kind::Denied, message);
            return Err(match hint {
                "" => error.into(),
                hint => error.hint(hint).into(),
            });
        }
        become_root()
    }

    /// Does something as root of a user namespace with these ids: in a child, whose error comes back as text. Where none
    /// is needed, here.
    pub fn within(&self, act: impl FnOnce() -> Result<()>) -> Result<()> {
        if !self.needs_user_namespace() || self.is_here()? {
            return act();
        }
        match process::attempt(|| self.enter().and_then(|()| act()))? {
            None => Ok(()),
            Some(said) if said.is_empty() => bail!("a child has ended before its time"),
            Some(said) => Err(anyhow!(said)),
        }
    }

    /// Writes the id maps of a process that has just been put into a new user namespace.
    pub fn write_maps(&self, pid: i32) -> Result<()> {
        if self.tier == Tier::Single {
            // Without this the kernel lets nobody but root write a gid map.
            write_map(pid, "setgroups", "deny")
                .and_then(|()| write_map(pid, "uid_map", &format!("0 {} 1", self.uid)))
                .map_err(|error| refusal::of_map(self.uid, error))?;
            return write_map(pid, "gid_map", &format!("0 {} 1", self.gid));
        }
        // Both at once: starting these two is the slowest part of a rootless start.
        let users = helper("newuidmap", pid, &self.uids)?;
        let groups = helper("newgidmap", pid, &self.gids)?;
        finish("newuidmap", users)?;
        finish("newgidmap", groups)
    }
}

/// Takes the identity of root after the maps are there.
pub fn become_root() -> Result<()> {
    process::set_ids(0, 0).context("become root of the user namespace")
}

/// Whether the ids are mapped in the user namespace of this process, by `file` of its `/proc/self`.
fn are_here(file: &str, ranges: &[(u32, u32)]) -> Result<bool> {
    let path = format!("/proc/self/{file}");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read `{path}`"))?;
    Ok(ranges.iter().all(|range| is_mapped(&text, *range)))
}

/// Whether one line of a map has all of `(first, count)` on its inner side.
fn is_mapped(map: &str, (first, count): (u32, u32)) -> bool {
    let (first, end) = (u64::from(first), u64::from(first) + u64::from(count));
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().flat_map(str::parse::<u64>);
        match (numbers.next(), numbers.next(), numbers.next()) {
            (Some(inside), Some(_), Some(size)) => inside <= first && end <= inside + size,
            _ => false,
        }
    })
}

/// What it takes to keep the files of images with their owners.
const OVER_FILES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID);

fn has_capabilities(wanted: CapabilitySet) -> Result<bool> {
    let sets = rustix::thread::capabilities(None).context("capget")?;
    Ok(sets.effective.contains(wanted))
}

/// Lets the process that waits at the other end of a pipe go on.
fn release(mut pipe: PipeWriter) -> Result<()> {
    pipe.write_all(b"1").context("write to a pipe")
}

fn append(ranges: &mut Vec<Range>, subordinate: &[(u32, u32)]) {
    let mut inside = 1;
    for (outside, size) in subordinate {
        ranges.push(Range {
            inside,
            outside: *outside,
            size: *size,
        });
        inside += size;
    }
}

fn helper(program: &str, pid: i32, ranges: &[Range]) -> Result<std::process::Child> {
    let numbers = ranges
        .iter()
        .flat_map(|range| [range.inside, range.outside, range.size]);
    let found = subordinate::find_program(program);
    Command::new(found.with_context(|| format!("find `{program}`"))?)
        .arg(pid.to_string())
        .args(numbers.map(|number| number.to_string()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start `{program}`"))
}

fn finish(program: &str, child: std::process::Child) -> Result<()> {
    let output = child
        .wait_with_output()
        .with_context(|| format!("wait for `{program}`"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr)
        .trim()
        .replace('\n', "; ");
    Err(Error::new(Kind::Denied, format!("`{program}` refused the id mapping: {said}"))
        .hint(format!("check that `{program}` is setuid root (or has file capabilities) and that /etc/subuid and /etc/subgid name you"))
        .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_a_sandbox_has_not_mapped() {
        let host = "         0          0 4294967295\n";
        assert!(is_mapped(host, (100_000, 65_536)));
        for map in ["1000 1000 1\n", "0 1000 1\n1 100000 65536\n", ""] {
            assert!(!is_mapped(map, (100_000, 65_536)), "{map}");
        }
        assert!(is_mapped("0 1000 1\n1 100000 65536\n", (1, 65_536)));
    }
}
