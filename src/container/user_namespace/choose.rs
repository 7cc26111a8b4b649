//! Which ids a container gets, decided once, when it is made: afterwards its files belong to them.
//!
//! Ids that no other container may have (`auto`) are counted from the records of those that exist, under a lock that is
//! held until the new record is written. A container that is removed gives them back by that.

use super::mode::UserNamespace;
use super::ranges::{self, Entry};
use super::{Nested, foreign};
use crate::container::engine::Engine;
use crate::container::list;
use crate::container::options::Options;
use crate::error::{Error, Kind, bad_input};
use crate::id_mapping::{self, IdMaps, Range, Ranges, Tier, ranges_of};
use crate::image::layer::XattrPrefix;
use crate::image::layer::lower::{Found, Lower};
use crate::image::store::Image;
use crate::store::lock::Lock;
use anyhow::{Context, Result};
use rustix::fs::{FileType, Mode, OFlags};
use std::fs::File;
use std::io::Read;

/// Ids of a container of root's that says nothing else, as many as there are in an image of any distribution.
const SIZE: u32 = 65536;
/// The least that a container of a user's gets, who has few; podman's.
const LEAST: u32 = 1024;
/// Ids from here on are nobody's in all distributions (Debian policy, 9.2.2), and do not count among an image's users.
const RESERVED: u32 = 65000;
/// Whose lines in `/etc/subuid` are for containers of root's; the first is podman's convention.
const POOLS: [&str; 2] = ["containers", "root"];

/// Decides it, and writes it into the options. The lock, where there is one, is held until the record is written.
pub fn choose(engine: &Engine, options: &mut Options, image: &Image) -> Result<Option<Lock>> {
    let asked = Asked::of(options)?;
    let mut lock = None;
    let mode = options.userns.clone();
    let maps = match &mode {
        UserNamespace::Default if !asked.is_empty() => Some(asked.maps(engine)?),
        UserNamespace::Default | UserNamespace::Host => None,
        UserNamespace::KeepId { uid, gid, size } => Some(keep_id(engine, *uid, *gid, *size)?),
        UserNamespace::NoMap => Some(no_map(engine)?),
        UserNamespace::Auto { size, uids, gids } => {
            lock = Some(Lock::exclusive(&engine.paths.id_ranges())?);
            let size = match (size, engine.mapping.tier) {
                (Some(size), _) => *size,
                (None, Tier::Root) => SIZE,
                (None, _) => needed(engine, image),
            };
            Some(auto(engine, size, uids, gids)?)
        }
        UserNamespace::Container(name) => {
            let other = list::find(engine, name)?.record;
            options.nested =
                super::nested(&other.options, engine).map(|nested| nested.into_owned());
            options.userns = UserNamespace::Container(other.id);
            return Ok(None);
        }
        UserNamespace::Path(path) => {
            options.nested = foreign::look(engine, path)?;
            return Ok(None);
        }
    };
    if let Some(maps) = &maps {
        check(engine, &maps.uids, &engine.mapping.uids, "uid")?;
        check(engine, &maps.gids, &engine.mapping.gids, "gid")?;
    }
    options.nested = maps.map(|maps| Nested { maps, depth: 1 });
    Ok(lock)
}

/// `--uidmap`, `--gidmap`, `--subuidname` and `--subgidname`.
struct Asked<'a> {
    uids: Vec<Entry>,
    gids: Vec<Entry>,
    names: [Option<&'a str>; 2],
}

impl<'a> Asked<'a> {
    fn of(options: &'a Options) -> Result<Self> {
        let entries = |texts: &[String]| texts.iter().map(|text| text.parse()).collect();
        let (uidmap, gidmap): (Result<Vec<Entry>, Error>, Result<Vec<Entry>, Error>) =
            (entries(&options.uidmap), entries(&options.gidmap));
        let (uids, gids) = ranges::sort(&uidmap?, &gidmap?);
        let names = [&options.subuid_name, &options.subgid_name].map(Option::as_deref);
        let asked = Self { uids, gids, names };
        if !asked.is_empty() && options.userns != UserNamespace::Default {
            let message =
                "--userns and --uidmap/--gidmap/--subuidname/--subgidname are mutually exclusive";
            return Err(bad_input(message).into());
        }
        if !asked.uids.is_empty() && names != [None, None] {
            let message = "--uidmap/--gidmap and --subuidname/--subgidname are mutually exclusive";
            return Err(bad_input(message).into());
        }
        Ok(asked)
    }

    fn is_empty(&self) -> bool {
        self.uids.is_empty() && self.gids.is_empty() && self.names == [None, None]
    }

    fn maps(&self, engine: &Engine) -> Result<IdMaps> {
        let mapping = &engine.mapping;
        let [user, group] = self.names;
        // One name stands for both, as in podman.
        if let (Some(user), Some(group)) = (user.or(group), group.or(user)) {
            let (users, groups) = (ranges_of(user)?.0, ranges_of(group)?.1);
            return Ok(IdMaps {
                uids: named(engine, users, &mapping.uids, user, "subuid")?,
                gids: named(engine, groups, &mapping.gids, group, "subgid")?,
            });
        }
        Ok(IdMaps {
            uids: given(engine, &self.uids, &mapping.uids)?,
            gids: given(engine, &self.gids, &mapping.gids)?,
        })
    }
}

/// The map that a list of entries comes to; `store` is that of the store, empty for root.
fn given(engine: &Engine, entries: &[Entry], store: &[Range]) -> Result<Vec<Range>> {
    let all = Range {
        inside: 0,
        outside: 0,
        size: count(engine, store),
    };
    // Where all entries are for the other kind, this one stays as it is.
    let mut map = match entries.is_empty() || entries.iter().any(|entry| entry.extends) {
        true => vec![all],
        false => Vec::new(),
    };
    for entry in entries {
        let mut range = entry.range;
        if entry.of_host && engine.mapping.tier != Tier::Root {
            range.outside = of_store(store, range.outside, range.size)
                .ok_or_else(|| not_yours(engine, range.outside, range.size))?;
        }
        match entry.extends {
            true => map = ranges::extend(&map, range),
            false => map.push(range),
        }
    }
    Ok(map)
}

/// The map onto the ranges of a name.
fn named(
    engine: &Engine,
    ranges: Ranges,
    store: &[Range],
    name: &str,
    file: &str,
) -> Result<Vec<Range>> {
    if ranges.is_empty() {
        let message = format!("no {file} ranges found for user \"{name}\" in /etc/{file}");
        return Err(bad_input(message)
            .hint(format!(
                "add a line: echo {name}:100000:65536 | sudo tee -a /etc/{file}"
            ))
            .into());
    }
    let mut outside = Vec::new();
    for (first, size) in ranges {
        let first = match engine.mapping.tier {
            Tier::Root => first,
            _ => of_store(store, first, size).ok_or_else(|| not_yours(engine, first, size))?,
        };
        outside.push((first, size));
    }
    let size = outside.iter().map(|(_, size)| size).sum();
    Ok(ranges::deal(size, &[], &outside))
}

/// What the store calls a run of ids of the host, if all of them follow one another there too.
fn of_store(store: &[Range], first: u32, size: u32) -> Option<u32> {
    let start = id_mapping::inside(store, first)?;
    let end = id_mapping::inside(store, first.checked_add(size - 1)?)?;
    (end.checked_sub(start)? == size - 1).then_some(start)
}

fn not_yours(engine: &Engine, first: u32, size: u32) -> Error {
    let last = u64::from(first) + u64::from(size) - 1;
    let message = match size {
        1 => format!("the id {first} of the host is not yours to map"),
        _ => format!("the ids {first} to {last} of the host are not all yours to map"),
    };
    bad_input(message).hint(subordinate_lines(engine))
}

/// How many ids the store has.
fn count(engine: &Engine, store: &[Range]) -> u32 {
    match engine.mapping.tier {
        // The last number stands for no id (credentials(7)).
        Tier::Root => u32::MAX,
        _ => store.iter().map(|range| range.size).sum(),
    }
}

/// Ids outside that the store does not have are nobody's to give.
fn check(engine: &Engine, map: &[Range], store: &[Range], kind: &str) -> Result<()> {
    ranges::check(map)?;
    if map.is_empty() {
        return Err(bad_input(format!("the user namespace would have no {kind}")).into());
    }
    let count = u64::from(count(engine, store));
    match map.iter().find(|range| range.outside_end() > count) {
        None => Ok(()),
        Some(range) => {
            let message = format!(
                "the {kind} map asks for the id {}, and there are {count} of them (0 to {})",
                range.outside_end() - 1,
                count - 1
            );
            Err(bad_input(message).hint(subordinate_lines(engine)).into())
        }
    }
}

/// The lines that give the caller more ids.
fn subordinate_lines(engine: &Engine) -> String {
    let (user, free) = (engine.mapping.uid, id_mapping::first_free());
    format!(
        "more are to be had by a line in /etc/subuid and one in /etc/subgid: \
         echo {user}:{free}:65536 | sudo tee -a /etc/subuid /etc/subgid"
    )
}

fn not_for_root(mode: &str) -> Error {
    bad_input(format!("{mode} is only supported in rootless mode"))
        .hint("--userns auto gives a container of root's ids of its own")
}

fn keep_id(
    engine: &Engine,
    uid: Option<u32>,
    gid: Option<u32>,
    size: Option<u32>,
) -> Result<IdMaps> {
    let mapping = &engine.mapping;
    if mapping.tier == Tier::Root {
        return Err(not_for_root("keep-id").into());
    }
    let size = |store: &[Range]| size.unwrap_or(u32::MAX).min(count(engine, store));
    Ok(IdMaps {
        uids: ranges::keep(uid.unwrap_or(mapping.uid), size(&mapping.uids)),
        gids: ranges::keep(gid.unwrap_or(mapping.gid), size(&mapping.gids)),
    })
}

/// All ids of the store but that of the user.
fn no_map(engine: &Engine) -> Result<IdMaps> {
    let mapping = &engine.mapping;
    match mapping.tier {
        Tier::Root => return Err(not_for_root("nomap").into()),
        Tier::Single => return Err(needs_subordinate_ids(engine, "nomap")),
        Tier::Subordinate => {}
    }
    let map = |store: &[Range]| {
        vec![Range {
            inside: 0,
            outside: 1,
            size: count(engine, store) - 1,
        }]
    };
    Ok(IdMaps {
        uids: map(&mapping.uids),
        gids: map(&mapping.gids),
    })
}

fn needs_subordinate_ids(engine: &Engine, mode: &str) -> anyhow::Error {
    let message = format!(
        "--userns {mode} needs subordinate ids: /etc/subuid and /etc/subgid give none to uid {}",
        engine.mapping.uid
    );
    Error::new(Kind::Denied, message)
        .hint(subordinate_lines(engine))
        .into()
}

fn auto(engine: &Engine, size: u32, uids: &[Range], gids: &[Range]) -> Result<IdMaps> {
    let (users, groups) = pool(engine)?;
    let (mut used_uids, mut used_gids) = (uids.to_vec(), gids.to_vec());
    // One that is damaged may still run, with ids that nobody knows.
    let records = list::records(engine).context("find ids that no container has")?;
    for record in records {
        if let Some(nested) = super::nested(&record.options, engine) {
            used_uids.extend(&nested.maps.uids);
            used_gids.extend(&nested.maps.gids);
        }
    }
    let map = |fixed: &[Range], pool: &[(u32, u32)], used: &[Range], file: &str| {
        let holes = ranges::holes(size, fixed);
        let count = holes.iter().map(|(from, to)| u64::from(to - from)).sum();
        let ids = ranges::allocate(pool, used, count);
        let ids = ids.ok_or_else(|| exhausted(engine, size, file))?;
        Ok::<_, Error>(ranges::deal(size, fixed, &ids))
    };
    Ok(IdMaps {
        uids: map(uids, &users, &used_uids, "subuid")?,
        gids: map(gids, &groups, &used_gids, "subgid")?,
    })
}

/// What there is to deal out, as the store calls it.
fn pool(engine: &Engine) -> Result<(Ranges, Ranges)> {
    let mapping = &engine.mapping;
    match mapping.tier {
        Tier::Single => return Err(needs_subordinate_ids(engine, "auto")),
        // Not the user's own one.
        Tier::Subordinate => {
            let all = |store: &[Range]| vec![(1, count(engine, store) - 1)];
            return Ok((all(&mapping.uids), all(&mapping.gids)));
        }
        Tier::Root => {}
    }
    for name in POOLS {
        let (users, groups) = ranges_of(name)?;
        if !users.is_empty() && !groups.is_empty() {
            return Ok((users, groups));
        }
    }
    let message = "--userns auto needs subordinate ids for containers: \
                   /etc/subuid and /etc/subgid have no line for `containers`";
    Err(Error::new(Kind::Denied, message)
        .hint("echo containers:2147483647:2147483648 | sudo tee -a /etc/subuid /etc/subgid")
        .into())
}

fn exhausted(engine: &Engine, size: u32, file: &str) -> Error {
    let message = format!(
        "not enough unused IDs in user namespace: {size} are wanted of those in /etc/{file} that no container has"
    );
    let hint = match engine.mapping.tier {
        Tier::Root => {
            "remove a container, ask for fewer with --userns auto:size=N, or lengthen the range"
        }
        _ => {
            "remove a container (one with keep-id or nomap has all), ask for fewer with --userns auto:size=N, or lengthen the range"
        }
    };
    Error::new(Kind::Conflict, message).hint(hint)
}

/// As many ids as the image's users and groups need. Files that we may not read ask for none.
fn needed(engine: &Engine, image: &Image) -> u32 {
    let trees: Vec<_> = image
        .layers
        .iter()
        .map(|key| engine.paths.layer_tree(key))
        .collect();
    let prefix = match engine.copies() {
        Some(_) => XattrPrefix::Names,
        None => XattrPrefix::User,
    };
    let highest = |path: &str| {
        let lower = Lower::new(&trees, prefix);
        let text = read_of_image(&lower, path).unwrap_or_default();
        let ids = text.lines().filter_map(|line| {
            let id: u32 = line.split(':').nth(2)?.parse().ok()?;
            (id < RESERVED).then_some(id + 1)
        });
        ids.max().unwrap_or(0)
    };
    highest("etc/passwd").max(highest("etc/group")).max(LEAST)
}

/// A regular file of an image, without following anything; a hostile one is cut off.
fn read_of_image(lower: &Lower<'_>, path: &str) -> Option<String> {
    let Found::Other(layer, stat) = lower.find(path.as_bytes()).ok()? else {
        return None;
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return None;
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(lower.full(layer, path.as_bytes()), flags, Mode::empty()).ok()?;
    let mut text = Vec::new();
    File::from(file).take(1 << 20).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}
