//! Arithmetic of id maps: which ids are left, how they are dealt out, and what `--uidmap` says. Pure.

use super::mode::range;
use crate::error::{Error, bad_input};
use crate::id_mapping::{Range, Ranges};

/// The kernel takes so many lines in one map (user_namespaces(7)).
const MOST_LINES: usize = 340;

/// The first `count` ids of `available` that none of `used` has; `None` where there are fewer.
pub(super) fn allocate(available: &[(u32, u32)], used: &[Range], count: u64) -> Option<Ranges> {
    let mut found = Vec::new();
    let mut missing = count;
    let mut taken: Vec<(u64, u64)> = used
        .iter()
        .map(|range| (u64::from(range.outside), range.outside_end()))
        .collect();
    let mut sorted = available.to_vec();
    sorted.sort_unstable();
    for (first, size) in sorted {
        let (mut at, end) = (u64::from(first), u64::from(first) + u64::from(size));
        taken.sort_unstable();
        for (from, to) in taken.clone().into_iter().chain([(end, end)]) {
            if from.min(end) > at && missing > 0 {
                let take = (from.min(end) - at).min(missing);
                found.push((u32::try_from(at).ok()?, u32::try_from(take).ok()?));
                // Lines of the file may overlap.
                taken.push((at, at + take));
                missing -= take;
            }
            at = at.max(to);
        }
    }
    (missing == 0).then_some(found)
}

/// Deals ids outside out to those inside that no `fixed` range has, below `size`.
pub(super) fn deal(size: u32, fixed: &[Range], ids: &[(u32, u32)]) -> Vec<Range> {
    let mut all = fixed.to_vec();
    let mut ids = ids.iter().copied();
    let mut rest = ids.next();
    for (mut at, end) in holes(size, fixed) {
        while let Some((first, left)) = rest.filter(|_| at < end) {
            let take = left.min(end - at);
            all.push(Range {
                inside: at,
                outside: first,
                size: take,
            });
            at += take;
            rest = match left - take {
                0 => ids.next(),
                left => Some((first + take, left)),
            };
        }
    }
    all.sort_unstable_by_key(|range| range.inside);
    all
}

/// The runs of ids below `size` that no `fixed` range has, each up to its end.
pub(super) fn holes(size: u32, fixed: &[Range]) -> Vec<(u32, u32)> {
    let mut sorted: Vec<&Range> = fixed.iter().collect();
    sorted.sort_unstable_by_key(|range| range.inside);
    let (mut holes, mut at) = (Vec::new(), 0);
    for range in sorted {
        let next = range.inside.min(size);
        if next > at {
            holes.push((at, next));
        }
        at = at.max(u32::try_from(range.inside_end()).unwrap_or(u32::MAX));
    }
    if at < size {
        holes.push((at, size));
    }
    holes
}

/// `count` ids of the store, of which 0 becomes `own` and the others fill up the rest in order.
pub(super) fn keep(own: u32, count: u32) -> Vec<Range> {
    let own_range = Range {
        inside: own,
        outside: 0,
        size: 1,
    };
    match count {
        0 | 1 => vec![own_range],
        // Others than the own one come before it as far as they go.
        _ => {
            let below = own.min(count - 1);
            let parts = [
                (0, 1, below),
                (own, 0, 1),
                (own.saturating_add(1), below + 1, count - 1 - below),
            ];
            let range = |(inside, outside, size)| Range {
                inside,
                outside,
                size,
            };
            let parts = parts.into_iter().filter(|(_, _, size)| *size > 0);
            parts.map(range).collect()
        }
    }
}

/// One `--uidmap` or `--gidmap`, as in podman: `[+ug]inside:[@]outside[:size]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// The ids outside are those of the host, not those of the store.
    pub of_host: bool,
    /// It changes the map that there is by default.
    pub extends: bool,
    /// It is for users, or not.
    pub users: bool,
    /// It is for groups, or not.
    pub groups: bool,
    /// Which ids.
    pub range: Range,
}

impl std::str::FromStr for Entry {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let start = text.find(|c: char| c.is_ascii_digit()).unwrap_or(0);
        let (flags, numbers) = text.split_at(start);
        if flags.contains(|flag| !"+ug".contains(flag)) {
            return Err(bad_input(format!(
                "ID setting is malformed expected [\"uint32:uint32:uint32\"]: [\"{text}\"]"
            )));
        }
        let outside = numbers.split(':').nth(1).unwrap_or_default();
        let of_host = outside.starts_with('@');
        Ok(Self {
            of_host,
            extends: flags.contains('+'),
            users: flags.contains('u'),
            groups: flags.contains('g'),
            range: range(&numbers.replacen(":@", ":", usize::from(of_host)))?,
        })
    }
}

/// What is for users and what for groups. Without a letter an entry is for the kind whose flag it was given with; where
/// the other kind has none at all, it is for both.
pub(super) fn sort(uidmap: &[Entry], gidmap: &[Entry]) -> (Vec<Entry>, Vec<Entry>) {
    let plain = |entry: &&Entry| !entry.users && !entry.groups;
    let pick = |own: &[Entry], other: &[Entry], is_named: fn(&Entry) -> bool| -> Vec<Entry> {
        let mut found: Vec<Entry> = Vec::new();
        let source = if own.is_empty() { other } else { own };
        found.extend(source.iter().filter(plain));
        let both = own.iter().chain(other);
        found.extend(both.filter(|entry| is_named(entry)));
        found
    };
    (
        pick(uidmap, gidmap, |entry| entry.users),
        pick(gidmap, uidmap, |entry| entry.groups),
    )
}

/// The ranges of `base` without the ids that `entry` gives another meaning, inside or outside, and with it.
pub(super) fn extend(base: &[Range], entry: Range) -> Vec<Range> {
    let mut left: Vec<Range> = base
        .iter()
        .flat_map(|range| {
            without(range, u64::from(entry.inside), entry.inside_end(), |r| {
                r.inside
            })
        })
        .collect();
    left = left
        .iter()
        .flat_map(|range| {
            without(range, u64::from(entry.outside), entry.outside_end(), |r| {
                r.outside
            })
        })
        .collect();
    left.push(entry);
    left.sort_unstable_by_key(|range| range.inside);
    left
}

/// What of a range lies before and after the ids from `from` up to `to`, counted on one side.
fn without(range: &Range, from: u64, to: u64, side: fn(&Range) -> u32) -> Vec<Range> {
    let start = u64::from(side(range));
    let end = start + u64::from(range.size);
    let part = |first: u64, last: u64| {
        let (skip, size) = (first.saturating_sub(start), last.saturating_sub(first));
        (size > 0).then(|| Range {
            inside: range.inside + skip as u32,
            outside: range.outside + skip as u32,
            size: size as u32,
        })
    };
    let parts = [part(start, from.min(end)), part(to.max(start), end)];
    parts.into_iter().flatten().collect()
}

/// What the kernel would refuse with EINVAL only.
pub(super) fn check(map: &[Range]) -> Result<(), Error> {
    if map.len() > MOST_LINES {
        return Err(bad_input(format!(
            "the id map has {} lines, and the kernel takes {MOST_LINES}",
            map.len()
        )));
    }
    for (side, start) in [
        ("inside", (|r| r.inside) as fn(&Range) -> u32),
        ("outside", |r| r.outside),
    ] {
        let mut sorted: Vec<&Range> = map.iter().collect();
        sorted.sort_unstable_by_key(|range| start(range));
        for pair in sorted.windows(2) {
            let next = start(pair[1]);
            if u64::from(next) < u64::from(start(pair[0])) + u64::from(pair[0].size) {
                return Err(bad_input(format!(
                    "the id {next} {side} is in two ranges of the id map"
                )));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id_mapping::{inside, outside};

    fn r(inside: u32, outside: u32, size: u32) -> Range {
        Range {
            inside,
            outside,
            size,
        }
    }

    #[test]
    fn what_nobody_has_is_dealt_out_from_the_lowest() {
        let used = [r(0, 100, 10), r(7, 130, 5)];
        for (available, count, expected) in [
            (&[(100, 50)][..], 10, Some(vec![(110, 10)])),
            (&[(100, 50)], 25, Some(vec![(110, 20), (135, 5)])),
            (&[(100, 50)], 36, None),
            (&[(200, 5), (90, 12)], 12, Some(vec![(90, 10), (200, 2)])),
            (&[(200, 5), (200, 5)], 6, None),
            (&[(u32::MAX - 5, 5)], 5, Some(vec![(u32::MAX - 5, 5)])),
            (&[], 1, None),
        ] {
            assert_eq!(
                allocate(available, &used, count),
                expected,
                "{available:?} {count}"
            );
        }
    }

    #[test]
    fn fixed_places_stay_and_the_rest_is_filled() {
        assert_eq!(deal(10, &[], &[(100, 10)]), [r(0, 100, 10)]);
        assert_eq!(
            deal(10, &[r(2, 7, 3)], &[(100, 4), (200, 3)]),
            [r(0, 100, 2), r(2, 7, 3), r(5, 102, 2), r(7, 200, 3)]
        );
        assert_eq!(
            holes(10, &[r(20, 0, 1), r(0, 3, 2)]),
            [(2, 10)],
            "outside of the size"
        );
    }

    #[test]
    fn every_id_of_the_store_has_one_place() {
        for (own, count) in [
            (1000, 65537),
            (0, 10),
            (5100, 65537),
            (200_000, 65537),
            (9, 10),
            (1000, 1),
        ] {
            let map = keep(own, count);
            check(&map).unwrap();
            let all: u64 = map.iter().map(|range| u64::from(range.size)).sum();
            assert_eq!(all, u64::from(count), "{own} {count}");
            assert_eq!((outside(&map, own), inside(&map, 0)), (Some(0), Some(own)));
            if own > 0 && count > 1 {
                assert_eq!(outside(&map, 0), Some(1));
            }
        }
    }

    #[test]
    fn entries_are_for_whom_they_say() {
        let entries = |texts: &[&str]| -> Vec<Entry> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let ranges =
            |entries: Vec<Entry>| -> Vec<Range> { entries.iter().map(|e| e.range).collect() };
        for (uids, gids, users, groups) in [
            (
                &["0:1:5"][..],
                &[][..],
                &[r(0, 1, 5)][..],
                &[r(0, 1, 5)][..],
            ),
            (&["0:1:5"], &["0:7:5"], &[r(0, 1, 5)], &[r(0, 7, 5)]),
            (&["u0:1"], &["g3:4"], &[r(0, 1, 1)], &[r(3, 4, 1)]),
            (
                &["0:1:5", "g9:9"],
                &["0:7:5"],
                &[r(0, 1, 5)],
                &[r(0, 7, 5), r(9, 9, 1)],
            ),
        ] {
            let (found, found_groups) = sort(&entries(uids), &entries(gids));
            assert_eq!(ranges(found), users);
            assert_eq!(ranges(found_groups), groups);
        }
        for wrong in [
            "0", "x0:1:1", "a:1:1", "0:1:0", "+:1", "0:1:2:3", "@0:1", "0:1:@2", "0:@@1", "",
        ] {
            assert!(wrong.parse::<Entry>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_entry_may_name_ids_of_the_host() {
        let entry: Entry = "+u5:@100010:2".parse().unwrap();
        assert_eq!(entry.range, r(5, 100_010, 2));
        assert!(entry.of_host && entry.extends && entry.users && !entry.groups);
    }

    #[test]
    fn an_extension_takes_the_place_of_what_was_there() {
        assert_eq!(
            extend(&[r(0, 0, 100)], r(50, 3, 1)),
            [r(0, 0, 3), r(4, 4, 46), r(50, 3, 1), r(51, 51, 49)]
        );
        assert_eq!(
            extend(&[r(0, 0, 10)], r(1000, 5, 2)),
            [r(0, 0, 5), r(7, 7, 3), r(1000, 5, 2)]
        );
    }

    #[test]
    fn overlaps_are_told() {
        for (map, message) in [
            (
                [r(0, 10, 5), r(4, 20, 1)],
                "the id 4 inside is in two ranges of the id map",
            ),
            (
                [r(0, 10, 5), r(5, 14, 1)],
                "the id 14 outside is in two ranges of the id map",
            ),
        ] {
            assert_eq!(check(&map).unwrap_err().to_string(), message);
        }
        check(&[r(0, 10, 5), r(5, 15, 1)]).unwrap();
    }
}
