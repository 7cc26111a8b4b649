//! The options of one mount (runtime-spec, config.md "Linux mount options"), as data: what is said of the mount itself
//! is kept apart from what is left for its file system.
//!
//! Nothing here touches a mount; [`super::rootfs`] does.

use crate::error::{Error, bad_input};
use crate::id_mapping::{IdMaps, Range};
use crate::sys::mount::{Attributes, Change, Propagation, attribute, attribute_words};
use anyhow::Result;
use oci_spec::runtime::{LinuxIdMapping, Mount};
use std::path::Path;

/// What is asked for with a mount.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// It is bound, and whether with the mounts below it.
    pub bind: Option<bool>,
    /// Of the mount alone.
    pub own: Change,
    /// Of the mount and of those below it.
    pub all: Change,
    /// `None`: private, with those below it.
    pub propagation: Option<Spread>,
    /// Owners are mapped.
    pub ids: Option<Ids>,
    /// Nothing is mounted: what is there already is changed.
    pub remount: bool,
    /// A new file system in memory gets what lies at its target (runc's `tmpcopyup`).
    pub copies_up: bool,
    /// What is left: the options of the file system.
    pub filesystem: Vec<(String, Option<String>)>,
}

/// What becomes of later mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// How.
    pub propagation: Propagation,
    /// Also below the mounts below it.
    pub recursive: bool,
}

/// Which owners a mount shows.
#[derive(Debug, PartialEq, Eq)]
pub struct Ids {
    /// Also those of the mounts below it.
    pub recursive: bool,
    /// Inside: ids of the disk; outside: what they are for the runtime. `None`: as the user namespace of the container
    /// has them.
    pub maps: Option<IdMaps>,
}

const PROPAGATIONS: [(&str, Propagation); 4] = [
    ("private", Propagation::Private),
    ("shared", Propagation::Shared),
    ("slave", Propagation::Slave),
    ("unbindable", Propagation::Unbindable),
];

fn spread(option: &str) -> Option<Spread> {
    let of = |option| {
        let found = PROPAGATIONS.iter().find(|(word, _)| *word == option);
        found.map(|(_, propagation)| *propagation)
    };
    let recursive = option.strip_prefix('r').and_then(of);
    Some(Spread {
        propagation: recursive.or_else(|| of(option))?,
        recursive: recursive.is_some(),
    })
}

/// The words that mean the same with every file system, in alphabetical order.
pub fn words() -> Vec<String> {
    const OTHERS: [&str; 6] = ["bind", "rbind", "defaults", "idmap", "remount", "ridmap"];
    let twofold = attribute_words().chain(PROPAGATIONS.map(|(word, _)| word));
    let twofold = twofold.flat_map(|word| [word.to_owned(), format!("r{word}")]);
    let single = OTHERS.iter().chain(&WITHOUT_EFFECT_ON_BINDS);
    let mut all: Vec<_> = twofold
        .chain(single.map(|word| (*word).to_owned()))
        .collect();
    all.sort();
    all
}

/// The propagation of a root file system (config-linux.md, "Rootfs Mount Propagation").
pub fn root_propagation(word: &str) -> Result<Spread> {
    let unknown = || bad_input(format!("the propagation `{word}` of the root is unknown"));
    Ok(spread(word).ok_or_else(unknown)?)
}

/// Options of file systems that mount(2) takes for a bind mount too, where they change nothing.
const WITHOUT_EFFECT_ON_BINDS: [&str; 15] = [
    "async",
    "sync",
    "dirsync",
    "lazytime",
    "nolazytime",
    "mand",
    "nomand",
    "iversion",
    "noiversion",
    "silent",
    "loud",
    "acl",
    "noacl",
    "tmpcopyup",
    "notmpcopyup",
];

impl MountOptions {
    fn words_of(mount: &Mount) -> Result<Self> {
        let mut all = Self::default();
        for option in mount.options().iter().flatten() {
            all.add(mount, option)?;
        }
        if mount.typ().as_deref() == Some("bind") {
            all.bind.get_or_insert(false);
        }
        if all.bind.is_some() {
            let counts = |(key, _): &(String, _)| !WITHOUT_EFFECT_ON_BINDS.contains(&key.as_str());
            all.filesystem.retain(counts);
        }
        Ok(all)
    }

    /// Makes the source of a bind mount absolute, and takes out of it what is for a file system, which mount(2) does not look
    /// at there either (MS_BIND): what it was. A word that nothing is called is left for [`Self::of`] to refuse.
    pub fn settle_bind(mount: &mut Mount, bundle: &Path) -> Vec<String> {
        let Ok(Self {
            bind: Some(_),
            filesystem,
            ..
        }) = Self::words_of(mount)
        else {
            return Vec::new();
        };
        mount.set_source(mount.source().as_ref().map(|source| bundle.join(source)));
        if filesystem.is_empty() {
            return Vec::new();
        }
        let is_data = |option: &mut String| {
            let key = option.split_once('=').map(|(key, _)| key);
            key.is_some_and(|key| filesystem.iter().any(|(data, _)| data == key))
        };
        let mut options = mount.options().clone().unwrap_or_default();
        let data = options.extract_if(.., is_data).collect();
        mount.set_options(Some(options));
        data
    }

    /// Those of one mount of config.json.
    pub fn of(mount: &Mount) -> Result<Self> {
        let mut all = Self::words_of(mount)?;
        if all.bind.is_some()
            && let Some((option, _)) = all.filesystem.first()
        {
            return Err(refuse(
                mount,
                "bind mount",
                &format!("has an unknown option `{option}`"),
            ));
        }
        if mount.typ().as_deref() == Some("tmpfs") {
            // mount(2) takes them as flags of any file system, and they change nothing in memory.
            const FLAGS: [&str; 4] = ["acl", "noacl", "iversion", "noiversion"];
            all.filesystem
                .retain(|(key, _)| !FLAGS.contains(&key.as_str()));
        }
        let maps = maps_of(mount)?;
        if maps.is_some() {
            // They alone ask for it too.
            let ids = all.ids.get_or_insert(Ids {
                recursive: false,
                maps: None,
            });
            ids.maps = maps;
        }
        if all.ids.is_some() && (all.bind.is_none() || all.remount) {
            return Err(refuse(
                mount,
                "mount",
                "binds nothing, and owners are mapped of what is bound",
            ));
        }
        Ok(all)
    }

    /// What a new file system is mounted with, which has nothing below it.
    pub fn attributes(&self) -> Attributes {
        self.own.set | self.all.set
    }

    fn add(&mut self, mount: &Mount, option: &str) -> Result<()> {
        let (key, value) = match option.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (option, None),
        };
        // Each has a recursive form.
        let recursive = option.strip_prefix('r').and_then(attribute);
        match (key, value) {
            ("bind", None) => self.bind = Some(false),
            ("rbind", None) => self.bind = Some(true),
            ("remount", None) => self.remount = true,
            ("defaults" | "silent" | "loud", None) => {}
            ("tmpcopyup", None) => self.copies_up = true,
            ("notmpcopyup", None) => self.copies_up = false,
            ("idmap" | "ridmap", value) => {
                self.ids = Some(Ids {
                    recursive: key == "ridmap",
                    maps: value.map(|words| own_maps(mount, words)).transpose()?,
                });
            }
            _ => match (recursive, attribute(option), spread(option)) {
                (Some(word), _, _) => change(&mut self.all, word),
                (None, Some(word), _) => change(&mut self.own, word),
                (None, None, Some(spread)) => self.propagation = Some(spread),
                (None, None, None) => {
                    let value = value.map(str::to_owned);
                    self.filesystem.push((key.to_owned(), value));
                }
            },
        }
        Ok(())
    }
}

/// The last word counts.
fn change(change: &mut Change, word: Change) {
    change.set = (change.set - word.clear) | word.set;
    change.clear = (change.clear - word.set) | word.clear;
}

fn refuse(mount: &Mount, what: &str, why: &str) -> anyhow::Error {
    let target = mount.destination().display();
    bad_input(format!("the {what} at `{target}` {why}")).into()
}

/// Whether a mount of config.json asks for its ids to be mapped.
pub fn maps_ids(mount: &Mount) -> bool {
    let mut options = mount.options().iter().flatten();
    let is_asked = |option: &String| {
        let key = option
            .split_once('=')
            .map_or(option.as_str(), |(key, _)| key);
        ["idmap", "ridmap"].contains(&key)
    };
    mount.uid_mappings().is_some() || mount.gid_mappings().is_some() || options.any(is_asked)
}

fn maps_of(mount: &Mount) -> Result<Option<IdMaps>> {
    let ranges = |mappings: &Option<Vec<LinuxIdMapping>>| -> Vec<Range> {
        let range = |mapping: &LinuxIdMapping| Range {
            inside: mapping.container_id(),
            outside: mapping.host_id(),
            size: mapping.size(),
        };
        mappings.iter().flatten().map(range).collect()
    };
    let maps = IdMaps {
        uids: ranges(mount.uid_mappings()),
        gids: ranges(mount.gid_mappings()),
    };
    complete(mount, maps)
}

/// The kernel wants both.
fn complete(mount: &Mount, maps: IdMaps) -> Result<Option<IdMaps>> {
    match (maps.uids.is_empty(), maps.gids.is_empty()) {
        (true, true) => Ok(None),
        (false, false) => Ok(Some(maps)),
        _ => Err(refuse(
            mount,
            "id-mapped mount",
            "needs mappings of user and of group ids",
        )),
    }
}

/// `uids=DISK-HOST-COUNT#…;gids=…`, as crun has it after `idmap=`.
fn own_maps(mount: &Mount, words: &str) -> Result<IdMaps> {
    let malformed = |part: &str| -> anyhow::Error {
        let message = format!(
            "the mount at `{}` has a malformed id mapping `{part}`",
            mount.destination().display()
        );
        let error: Error = bad_input(message);
        error
            .hint("it is written idmap=uids=ON-DISK-HOST-COUNT#…;gids=ON-DISK-HOST-COUNT#…")
            .into()
    };
    let mut maps = IdMaps {
        uids: Vec::new(),
        gids: Vec::new(),
    };
    for part in words.split(';').filter(|part| !part.is_empty()) {
        let (kind, ranges) = part.split_once('=').ok_or_else(|| malformed(part))?;
        let into = match kind {
            "uids" => &mut maps.uids,
            "gids" => &mut maps.gids,
            _ => return Err(malformed(part)),
        };
        for range in ranges.split('#') {
            let numbers: Result<Vec<u32>, _> = range.split('-').map(str::parse).collect();
            match numbers.as_deref() {
                Ok([inside, outside, size]) if *size > 0 => into.push(Range {
                    inside: *inside,
                    outside: *outside,
                    size: *size,
                }),
                _ => return Err(malformed(range)),
            }
        }
    }
    complete(mount, maps)?.ok_or_else(|| malformed(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[&str]) -> Result<MountOptions> {
        let mut mount = Mount::default();
        mount.set_destination("/x".into());
        mount.set_options(Some(words.iter().map(|word| (*word).to_owned()).collect()));
        MountOptions::of(&mount)
    }

    #[test]
    fn the_last_of_two_that_contradict_each_other_counts() {
        use Attributes as A;
        let empty = A::empty();
        let times = A::MOUNT_ATTR__ATIME;
        #[rustfmt::skip]
        let cases: &[(&[&str], [Attributes; 4])] = &[
            (&["ro"], [A::MOUNT_ATTR_RDONLY, empty, empty, empty]),
            (&["rro"], [empty, empty, A::MOUNT_ATTR_RDONLY, empty]),
            (&["ro", "rw"], [empty, A::MOUNT_ATTR_RDONLY, empty, empty]),
            (&["rrw", "rro"], [empty, empty, A::MOUNT_ATTR_RDONLY, empty]),
            (&["ro", "rrw"], [A::MOUNT_ATTR_RDONLY, empty, empty, A::MOUNT_ATTR_RDONLY]),
            (&["nosuid", "nodev", "dev"], [A::MOUNT_ATTR_NOSUID, A::MOUNT_ATTR_NODEV, empty, empty]),
            (&["noatime", "strictatime"], [A::MOUNT_ATTR_STRICTATIME, times, empty, empty]),
            (&["noatime", "relatime"], [empty, times, empty, empty]),
            (&["rnoatime"], [empty, empty, A::MOUNT_ATTR_NOATIME, times]),
            (&["rnodiratime", "nosymfollow"], [A::MOUNT_ATTR_NOSYMFOLLOW, empty, A::MOUNT_ATTR_NODIRATIME, empty]),
        ];
        for (words, [set, clear, all_set, all_clear]) in cases {
            let all = options(words).unwrap();
            let change = |set: &Attributes, clear: &Attributes| Change {
                set: *set,
                clear: *clear,
            };
            assert_eq!(all.own, change(set, clear), "{words:?}");
            assert_eq!(all.all, change(all_set, all_clear), "{words:?}");
            assert_eq!(all.filesystem, [], "{words:?}");
        }
    }

    #[test]
    fn flags_without_effect_in_memory_are_left_out() {
        let mut mount = Mount::default();
        mount.set_destination("/x".into());
        let words = ["noiversion", "acl", "noacl", "iversion", "size=5", "sync"];
        mount.set_options(Some(words.map(str::to_owned).to_vec()));
        for (kind, left) in [("tmpfs", 2), ("ext4", 6)] {
            mount.set_typ(Some(kind.to_owned()));
            assert_eq!(
                MountOptions::of(&mount).unwrap().filesystem.len(),
                left,
                "{kind}"
            );
        }
    }

    #[test]
    fn all_words_are_taken() {
        let all = words();
        let twofold = 2 * (18 + 4);
        assert_eq!(all.len(), twofold + 6 + WITHOUT_EFFECT_ON_BINDS.len());
        for word in &all {
            let taken = options(&["bind", word]).unwrap_or_else(|error| panic!("{word}: {error}"));
            assert_eq!(taken.filesystem, [], "{word}");
        }
        for word in [
            "rro",
            "rnostrictatime",
            "rslave",
            "nosymfollow",
            "tmpcopyup",
            "ridmap",
            "loud",
            "remount",
        ] {
            assert!(all.iter().any(|known| known == word), "{word}");
        }
    }

    #[test]
    fn words_are_told_apart() {
        let spread = |propagation, recursive| {
            Some(Spread {
                propagation,
                recursive,
            })
        };
        for (word, expected) in [
            ("rslave", spread(Propagation::Slave, true)),
            ("shared", spread(Propagation::Shared, false)),
            ("runbindable", spread(Propagation::Unbindable, true)),
            ("private", spread(Propagation::Private, false)),
        ] {
            assert_eq!(options(&[word]).unwrap().propagation, expected, "{word}");
        }
        let tmpfs = options(&["size=5", "mode=700", "tmpcopyup", "ro", "sync"]).unwrap();
        let size = |key: &str, value: Option<&str>| (key.to_owned(), value.map(str::to_owned));
        assert_eq!(
            tmpfs.filesystem,
            [
                size("size", Some("5")),
                size("mode", Some("700")),
                size("sync", None)
            ]
        );
        assert!(tmpfs.copies_up && tmpfs.attributes() == Attributes::MOUNT_ATTR_RDONLY);
        assert_eq!(options(&["rbind", "sync"]).unwrap().bind, Some(true));
        let unknown = options(&["bind", "size=5"]).unwrap_err().to_string();
        assert_eq!(
            unknown,
            "the bind mount at `/x` has an unknown option `size`"
        );
    }

    #[test]
    fn id_mappings_of_their_own() {
        let range = |inside, outside, size| Range {
            inside,
            outside,
            size,
        };
        let ids = options(&["bind", "ridmap=uids=0-5-1#1-100-10;gids=0-7-3"])
            .unwrap()
            .ids
            .unwrap();
        let maps = IdMaps {
            uids: vec![range(0, 5, 1), range(1, 100, 10)],
            gids: vec![range(0, 7, 3)],
        };
        assert_eq!((ids.recursive, ids.maps), (true, Some(maps)));
        for words in [&["idmap"][..], &["remount", "bind", "ridmap"]] {
            let error = options(words).unwrap_err().to_string();
            assert!(error.contains("binds nothing"), "{words:?}: {error}");
        }
        assert_eq!(options(&["bind", "idmap"]).unwrap().ids.unwrap().maps, None);
        for words in [
            "idmap=",
            "idmap=uids=0-1-1",
            "idmap=uids=0-1;gids=0-1-1",
            "idmap=uids=0-1-0;gids=0-1-1",
            "idmap=uids=a-1-1;gids=0-1-1",
            "idmap=0-1-1",
            "idmap=pids=0-1-1",
        ] {
            assert!(options(&["bind", words]).is_err(), "{words}");
        }
    }
}
