//! The id maps of a user namespace nested in that of the store (user_namespaces(7)), and making such a namespace.
//!
//! Which ids are given to whom is for the rooms above; here a map is only followed, in both directions.

use super::Range;
use crate::error::{Error, bad_input};
use crate::sys::namespace::write_map;
use crate::sys::process::{self, flags};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

/// Users and groups of a namespace; what is outside is the user namespace of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMaps {
    /// User ids.
    pub uids: Vec<Range>,
    /// Group ids.
    pub gids: Vec<Range>,
}

impl Range {
    /// One past the last id outside.
    pub fn outside_end(&self) -> u64 {
        u64::from(self.outside) + u64::from(self.size)
    }

    /// One past the last id inside.
    pub fn inside_end(&self) -> u64 {
        u64::from(self.inside) + u64::from(self.size)
    }
}

/// What an id outside is called inside; `None` for one that has no name there.
pub fn inside(map: &[Range], outside: u32) -> Option<u32> {
    let holds =
        |range: &&Range| range.outside <= outside && u64::from(outside) < range.outside_end();
    let range = map.iter().find(holds)?;
    Some(range.inside + (outside - range.outside))
}

/// The reverse of [`inside`].
pub fn outside(map: &[Range], inside: u32) -> Option<u32> {
    let holds = |range: &&Range| range.inside <= inside && u64::from(inside) < range.inside_end();
    let range = map.iter().find(holds)?;
    Some(range.outside + (inside - range.inside))
}

/// What the kernel shows where an id has no name (`/proc/sys/kernel/overflowuid`, by default).
pub const NOBODY: u32 = 65534;

/// What an id inside is called outside; one that the map has no place for becomes an id that is nobody's inside, since
/// its own number may be that of somebody else there, such as root. `exists` tells the ids that there are outside; where
/// all of them are somebody's, it becomes the one that is called nobody inside, and without that it is an error.
pub fn outside_or_nobody(
    map: &[Range],
    id: u32,
    exists: impl Fn(u32) -> bool,
) -> Result<u32, Error> {
    let ends = map
        .iter()
        .filter_map(|range| u32::try_from(range.outside_end()).ok());
    let is_free = |id: &u32| *id != u32::MAX && exists(*id) && inside(map, *id).is_none();
    outside(map, id)
        .or_else(|| [NOBODY].into_iter().chain(ends).chain([0]).find(is_free))
        .or_else(|| outside(map, NOBODY))
        .ok_or_else(|| {
            let message = format!(
                "files of id {id} have no owner in the container's user namespace, where neither that nor {NOBODY} has a place"
            );
            bad_input(message)
                .hint("give one of both a place with --uidmap and --gidmap")
                .bundle_hint("give one of both a place in `linux.uidMappings` and `linux.gidMappings`")
        })
}

impl IdMaps {
    /// Who does things in the namespace before there is somebody else: root, or whoever the maps name first where root
    /// is not among them. Ids inside.
    pub fn owner(&self) -> (u32, u32) {
        let first = |map: &[Range]| match outside(map, 0) {
            Some(_) => 0,
            None => map.first().map_or(0, |range| range.inside),
        };
        (first(&self.uids), first(&self.gids))
    }

    /// Likewise, as the store calls them.
    pub fn owner_outside(&self) -> (u32, u32) {
        let (uid, gid) = self.owner();
        (
            outside(&self.uids, uid).unwrap_or(uid),
            outside(&self.gids, gid).unwrap_or(gid),
        )
    }

    /// A new user namespace with these ids, which nobody is in. The process must be root of the store's, and have one
    /// thread.
    pub fn namespace(&self) -> Result<OwnedFd> {
        let (mut wait, end) = std::io::pipe().context("pipe")?;
        let mut end = Some(end);
        // A namespace is made together with its first process, and stays as long as somebody holds it.
        let first = process::clone3(flags::NEW_USER, || {
            // The child's copy of the other end would keep it waiting for itself.
            drop(end.take());
            u8::from(wait.read(&mut [0]).is_err())
        })
        .map_err(super::refused)?;
        let namespace = self.write(first.pid);
        drop(end.take());
        let _ = first.wait();
        namespace
    }

    /// Writes the maps of the first process of a namespace, and gives that.
    fn write(&self, pid: i32) -> Result<OwnedFd> {
        let ours = Self::of_process(std::process::id() as i32)?;
        write_map(pid, "uid_map", &lines(&split(&self.uids, &ours.uids)))?;
        write_map(pid, "gid_map", &lines(&split(&self.gids, &ours.gids)))?;
        let path = format!("/proc/{pid}/ns/user");
        let namespace = File::open(&path).with_context(|| format!("open `{path}`"))?;
        Ok(namespace.into())
    }

    /// Those of a process, as the calling process sees them.
    pub fn of_process(pid: i32) -> Result<Self> {
        let read = |file: &str| -> Result<Vec<Range>> {
            let path = format!("/proc/{pid}/{file}");
            let text = std::fs::read_to_string(&path).with_context(|| format!("read `{path}`"))?;
            text.lines().map(parse_line).collect()
        };
        Ok(Self {
            uids: read("uid_map")?,
            gids: read("gid_map")?,
        })
    }
}

/// The same map in pieces of which each lies in one line of ours, as the kernel wants it (user_namespaces(7)).
fn split(map: &[Range], ours: &[Range]) -> Vec<Range> {
    let mut pieces = Vec::new();
    for range in map {
        let mut rest = *range;
        while let Some(line) = ours
            .iter()
            .find(|line| line.inside <= rest.outside && u64::from(rest.outside) < line.inside_end())
        {
            let size =
                (line.inside_end() - u64::from(rest.outside)).min(u64::from(rest.size)) as u32;
            pieces.push(Range { size, ..rest });
            if size == rest.size {
                rest.size = 0;
                break;
            }
            rest = Range {
                inside: rest.inside + size,
                outside: rest.outside + size,
                size: rest.size - size,
            };
        }
        // What we do not have is for the kernel to refuse.
        pieces.extend(Some(rest).filter(|rest| rest.size > 0));
    }
    pieces
}

fn lines(ranges: &[Range]) -> String {
    let line = |range: &Range| format!("{} {} {}\n", range.inside, range.outside, range.size);
    ranges.iter().map(line).collect()
}

fn parse_line(line: &str) -> Result<Range> {
    let numbers: Vec<u32> = line.split_whitespace().flat_map(str::parse).collect();
    match numbers[..] {
        [inside, outside, size] => Ok(Range {
            inside,
            outside,
            size,
        }),
        _ => anyhow::bail!("`{line}` is no line of an id map"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maps(ranges: &[(u32, u32, u32)]) -> IdMaps {
        let range = |&(inside, outside, size): &(u32, u32, u32)| Range {
            inside,
            outside,
            size,
        };
        let ranges: Vec<Range> = ranges.iter().map(range).collect();
        IdMaps {
            uids: ranges.clone(),
            gids: ranges,
        }
    }

    #[test]
    fn ids_are_found_in_both_directions() {
        let maps = maps(&[(0, 100, 10), (20, 4_294_967_290, 5), (4_294_967_290, 7, 5)]);
        for (within, without) in [
            (Some(0), Some(100)),
            (Some(9), Some(109)),
            (Some(24), Some(4_294_967_294)),
            (Some(4_294_967_294), Some(11)),
            (None, Some(110)),
            (Some(10), None),
        ] {
            if let Some(id) = without {
                assert_eq!(inside(&maps.uids, id), within);
            }
            if let Some(id) = within {
                assert_eq!(outside(&maps.uids, id), without);
            }
        }
        assert_eq!((maps.owner(), maps.owner_outside()), ((0, 0), (100, 100)));
    }

    #[test]
    fn who_has_no_place_is_nobody_inside() {
        let auto = maps(&[(0, 1025, 1024)]).uids;
        let wide = maps(&[(0, 60_000, 6000)]).uids;
        let rest = maps(&[(0, 1, 1024)]).uids;
        let all = maps(&[(5, 0, 10)]).uids;
        let full = maps(&[(1, 0, 65_536)]).uids;
        for (map, count, id, expected) in [
            (&auto, u32::MAX, 3, 1028),
            (&auto, u32::MAX, 1025, NOBODY),
            (&auto, 10_000, 1025, 2049),
            (&wide, u32::MAX, 60_000, 66_000),
            (&rest, 1025, 1024, 0),
            (&full, 65_536, 0, 65_533),
        ] {
            let found = outside_or_nobody(map, id, |id| id < count);
            assert_eq!(found.unwrap(), expected);
        }
        assert!(outside_or_nobody(&all, 3, |id| id < 10).is_err());
    }

    #[test]
    fn without_root_the_first_one_acts() {
        let maps = maps(&[(5, 100, 10)]);
        assert_eq!((maps.owner(), maps.owner_outside()), ((5, 5), (100, 100)));
    }

    #[test]
    fn a_range_lies_in_one_line_of_the_outer_map() {
        let ours = maps(&[(0, 1000, 1), (1, 100_000, 10), (11, 500_000, 10)]).uids;
        for (map, expected) in [
            (&[(0, 0, 5)][..], &[(0, 0, 1), (1, 1, 4)][..]),
            (
                &[(0, 5, 10), (10, 0, 1)],
                &[(0, 5, 6), (6, 11, 4), (10, 0, 1)],
            ),
            (&[(7, 20, 3)], &[(7, 20, 1), (8, 21, 2)]),
            (&[(7, 30, 3)], &[(7, 30, 3)]),
        ] {
            assert_eq!(split(&maps(map).uids, &ours), maps(expected).uids);
        }
    }

    #[test]
    fn a_namespace_has_the_ids_it_is_made_with() {
        // Ids of others are root's to give.
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let wanted = maps(&[(0, 100, 10), (50, 7, 1)]);
        let namespace = wanted.namespace().unwrap();
        let (mut go, end) = std::io::pipe().unwrap();
        let (mut ready, tell) = std::io::pipe().unwrap();
        let (mut end, mut tell) = (Some(end), Some(tell));
        let inside = process::clone3(0, || {
            use std::os::fd::AsFd;
            drop(end.take());
            let joined = crate::sys::namespace::join(namespace.as_fd(), flags::NEW_USER);
            drop(tell.take());
            let _ = go.read(&mut [0]);
            u8::from(joined.is_err())
        })
        .unwrap();
        drop(tell.take());
        ready.read_to_end(&mut Vec::new()).unwrap();
        let found = IdMaps::of_process(inside.pid).unwrap();
        drop(end.take());
        assert_eq!(inside.wait().unwrap().code(), 0);
        assert_eq!(found, wanted);
    }
}
