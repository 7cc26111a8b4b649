//! What is to be said where a program's user or one of its groups has no place in the container's user namespace
//! (user_namespaces(7)): which id, what there is instead, and how more is had. It decides nothing: the kernel has refused.

use crate::error::{Error, Kind};
use crate::id_mapping::Tier;
use crate::runtime::user::Identity;
use crate::sys::procfs::Processes;
use anyhow::Result;
use rustix::fs::OFlags;
use std::fs::File;
use std::io::Read;

/// First ids inside and how many, of one map.
type Ranges = Vec<(u64, u64)>;

/// The error for a user that the calling process, which is in that namespace, cannot become.
pub fn error(user: &Identity, tier: Tier) -> Error {
    // Without them the message names less.
    let uids = ranges("self/uid_map").unwrap_or_default();
    let gids = ranges("self/gid_map").unwrap_or_default();
    describe(user, tier, &uids, &gids)
}

fn describe(user: &Identity, tier: Tier, uids: &Ranges, gids: &Ranges) -> Error {
    let lacks = |ranges: &Ranges, id: u32| {
        let id = u64::from(id);
        let has = |(first, count): &(u64, u64)| (*first..first + count).contains(&id);
        !ranges.is_empty() && !ranges.iter().any(has)
    };
    let group = user.groups.iter().find(|gid| lacks(gids, **gid));
    let who = format!("user {}:{}", user.uid, user.gid);
    let (kind, what) = if lacks(uids, user.uid) {
        ("uid", format!("{who} has the uid {}", user.uid))
    } else if lacks(gids, user.gid) {
        ("gid", format!("{who} has the gid {}", user.gid))
    } else if let Some(group) = group {
        ("gid", format!("{who} is in the group {group}"))
    } else {
        ("uid", format!("{who} has an id or is in a group"))
    };
    let there = match if kind == "uid" { uids } else { gids } {
        ranges if ranges.is_empty() => String::new(),
        ranges => format!(": it has the {kind}s {}", words(ranges)),
    };
    let message = format!("{what} that the container's user namespace does not have{there}");
    let hint = match tier {
        Tier::Root => format!(
            "map more of them: --{kind}map 0:100000:65536 for example, or --userns auto:size=65536"
        ),
        _ => format!(
            "map more of them, by --{kind}map or without any map; more ids are had by a line `USER:100000:65536` in \
             /etc/subuid and in /etc/subgid"
        ),
    };
    let bundle_hint = match tier {
        Tier::Root => format!("map more of them in `linux.{kind}Mappings`"),
        _ => format!(
            "map more of them in `linux.{kind}Mappings`; more ids are had by a line `USER:100000:65536` in /etc/subuid and in \
             /etc/subgid"
        ),
    };
    Error::new(Kind::Denied, message)
        .hint(hint)
        .bundle_hint(bundle_hint)
}

/// `0 to 9, 20`.
fn words(ranges: &Ranges) -> String {
    let word = |(first, count): &(u64, u64)| match count {
        1 => first.to_string(),
        _ => format!("{first} to {}", first + count - 1),
    };
    ranges.iter().map(word).collect::<Vec<_>>().join(", ")
}

fn ranges(file: &str) -> Result<Ranges> {
    let mut text = String::new();
    let file = Processes::open()?.open_file(file, OFlags::RDONLY)?;
    File::from(file).read_to_string(&mut text)?;
    Ok(text.lines().filter_map(range).collect())
}

fn range(line: &str) -> Option<(u64, u64)> {
    let mut numbers = line.split_whitespace().flat_map(str::parse);
    let (first, _, count) = (numbers.next()?, numbers.next()?, numbers.next()?);
    Some((first, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_and_the_ranges_are_named() {
        let user = |uid, gid, groups: &[u32]| Identity {
            uid,
            gid,
            groups: groups.to_vec(),
            home: String::new(),
        };
        let few = vec![(0, 9)];
        let two = vec![(0, 10), (100, 1)];
        let none = Vec::new();
        for (user, uids, gids, expected) in [
            (
                user(0, 0, &[0, 1, 10]),
                &few,
                &few,
                "user 0:0 is in the group 10 that the container's user namespace does not have: it has the gids 0 to 8",
            ),
            (
                user(405, 100, &[]),
                &few,
                &two,
                "user 405:100 has the uid 405 that the container's user namespace does not have: it has the uids 0 to 8",
            ),
            (
                user(5, 99, &[]),
                &few,
                &two,
                "user 5:99 has the gid 99 that the container's user namespace does not have: it has the gids 0 to 9, 100",
            ),
            (
                user(5, 99, &[]),
                &none,
                &none,
                "user 5:99 has an id or is in a group that the container's user namespace does not have",
            ),
        ] {
            let error = describe(&user, Tier::Root, uids, gids);
            assert_eq!(error.message, expected);
        }
        let root = user(0, 0, &[10]);
        let hint = |tier| describe(&root, tier, &few, &few).hint.unwrap();
        assert!(hint(Tier::Root).contains("--gidmap 0:100000:65536"));
        assert!(hint(Tier::Subordinate).contains("/etc/subgid"));
    }

    #[test]
    fn the_own_map_is_read() {
        assert!(!ranges("self/uid_map").unwrap().is_empty());
    }
}
