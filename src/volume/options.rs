//! The options of the driver `local` (docker volume create, "Driver-specific options"): `type`, `device` and `o`, in the
//! words of mount(8). Nothing is looked up or mounted here.

use crate::error::{Error, Kind, bad_input};
use crate::sys::mount::{Attributes, attribute};
use anyhow::Result;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What is mounted for a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A directory of the host.
    Bind {
        /// Absolute.
        path: PathBuf,
        /// With what is mounted below it.
        recursive: bool,
        /// Of the mount.
        attributes: Attributes,
    },
    /// A file system.
    FileSystem(FileSystem),
}

impl Source {
    /// Whether all that is in it is gone when nobody has it mounted.
    pub fn is_memory(&self) -> bool {
        matches!(self, Self::FileSystem(found) if matches!(&*found.kind, "tmpfs" | "ramfs"))
    }
}

/// A file system to be mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// As the kernel calls it.
    pub kind: String,
    /// What it is on, as the file system wants it.
    pub device: String,
    /// Of the mount.
    pub attributes: Attributes,
    /// Its own, in their order.
    pub options: Vec<(String, Option<String>)>,
}

/// The driver's options.
const KNOWN: [&str; 4] = ["type", "device", "o", "size"];

/// What the options describe; `None`: a plain directory.
pub fn parse(options: &BTreeMap<String, String>) -> Result<Option<Source>> {
    if let Some(unknown) = options.keys().find(|key| !KNOWN.contains(&key.as_str())) {
        let hint = "the driver `local` knows type, device and o";
        return Err(bad_input(format!("invalid option: {unknown:?}"))
            .hint(hint)
            .into());
    }
    if options.contains_key("size") {
        let error = Error::new(
            Kind::Unsupported,
            "quota size requested but no quota support",
        );
        let hint = "memory has a size: -o type=tmpfs -o device=tmpfs -o o=size=100m";
        return Err(error.hint(hint).into());
    }
    let value = |key: &str| options.get(key).map_or("", String::as_str);
    let (kind, device, words) = (value("type"), value("device"), value("o"));
    if options.values().all(String::is_empty) {
        return Ok(None);
    }
    let words = Words::parse(words);
    let is_bind = words.bind || matches!(kind, "bind" | "rbind");
    for (key, value) in [("device", device), ("type", kind)] {
        if value.is_empty() && !(key == "type" && is_bind) {
            let hint = "for example -o type=tmpfs -o device=tmpfs, or -o type=none -o o=bind -o device=/a/directory";
            return Err(bad_input(format!("missing required option: {key:?}"))
                .hint(hint)
                .into());
        }
    }
    if is_bind {
        return bind(device, words, kind == "rbind").map(Some);
    }
    if kind == "none" {
        let hint = "-o o=bind mounts the directory that device names";
        return Err(bad_input("type `none` needs `bind` among the words of `o`")
            .hint(hint)
            .into());
    }
    let mut file_system = FileSystem {
        kind: kind.to_owned(),
        device: device.to_owned(),
        attributes: words.attributes,
        options: words.others,
    };
    if is_nfs(kind) {
        network_file_system(&mut file_system)?;
    }
    Ok(Some(Source::FileSystem(file_system)))
}

fn bind(device: &str, words: Words, recursive: bool) -> Result<Source> {
    if !device.starts_with('/') {
        return Err(bad_input(format!("device {device:?} of a bind is no absolute path")).into());
    }
    if let Some((word, _)) = words.others.first() {
        return Err(bad_input(format!("a bind knows no option {word:?}")).into());
    }
    Ok(Source::Bind {
        path: device.into(),
        recursive: recursive || words.recursive,
        attributes: words.attributes,
    })
}

fn is_nfs(kind: &str) -> bool {
    matches!(kind, "nfs" | "nfs4")
}

/// What mount.nfs(8) does to its options before the kernel sees them, but for the name of the server.
fn network_file_system(nfs: &mut FileSystem) -> Result<()> {
    // An address of IPv6 has colons of its own.
    let named = match nfs.device.strip_prefix('[') {
        Some(device) => device.split_once("]:"),
        None => nfs.device.split_once(':'),
    };
    let Some((host, _)) = named else {
        let message = format!(
            "device {:?} of a network file system is not HOST:/PATH",
            nfs.device
        );
        return Err(bad_input(message).into());
    };
    for (key, _) in &mut nfs.options {
        if key == "nfsvers" {
            "vers".clone_into(key);
        }
    }
    if nfs.kind == "nfs4" && !nfs.options.iter().any(|(key, _)| key == "vers") {
        nfs.options.push(("vers".to_owned(), Some("4".to_owned())));
    }
    nfs.kind = "nfs".to_owned();
    if nfs.options.iter().any(|(key, _)| key == "addr") {
        return Ok(());
    }
    if host.is_empty() {
        let hint = "say where it is: -o o=addr=192.0.2.1";
        return Err(bad_input("missing `addr` of the server").hint(hint).into());
    }
    let host = host.to_owned();
    nfs.options.push(("addr".to_owned(), Some(host)));
    Ok(())
}

/// The words of `o`.
struct Words {
    bind: bool,
    recursive: bool,
    attributes: Attributes,
    others: Vec<(String, Option<String>)>,
}

impl Words {
    fn parse(text: &str) -> Self {
        let mut words = Self {
            bind: false,
            recursive: false,
            attributes: Attributes::empty(),
            others: Vec::new(),
        };
        for word in text.split(',').filter(|word| !word.is_empty()) {
            words.add(word);
        }
        words
    }

    fn add(&mut self, word: &str) {
        match word {
            "bind" => self.bind = true,
            "rbind" => (self.bind, self.recursive) = (true, true),
            // What mount(8) itself knows and the kernel does not.
            "defaults" | "auto" | "noauto" | "user" | "nouser" | "_netdev" | "nofail" => {}
            word => match (attribute(word), word.split_once('=')) {
                (Some(change), _) => {
                    self.attributes = (self.attributes - change.clear) | change.set;
                }
                (None, Some((key, value))) => {
                    self.others.push((key.to_owned(), Some(value.to_owned())));
                }
                (None, None) => self.others.push((word.to_owned(), None)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[(&str, &str)]) -> Result<Option<Source>> {
        parse(
            &words
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }

    fn file_system(words: &[(&str, &str)]) -> FileSystem {
        match parsed(words).unwrap() {
            Some(Source::FileSystem(found)) => found,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn binds() {
        for (words, recursive, attributes) in [
            (
                &[("type", "none"), ("o", "bind"), ("device", "/a")][..],
                false,
                Attributes::empty(),
            ),
            (
                &[("o", "rbind,ro"), ("device", "/a")],
                true,
                Attributes::MOUNT_ATTR_RDONLY,
            ),
            (
                &[("type", "bind"), ("o", "ro,noexec,rw"), ("device", "/a")],
                false,
                Attributes::MOUNT_ATTR_NOEXEC,
            ),
            (
                &[("o", "bind,nodev,nosymfollow,dev"), ("device", "/a")],
                false,
                Attributes::MOUNT_ATTR_NOSYMFOLLOW,
            ),
        ] {
            let path = "/a".into();
            let expected = Source::Bind {
                path,
                recursive,
                attributes,
            };
            assert_eq!(parsed(words).unwrap(), Some(expected), "{words:?}");
        }
        assert_eq!(parsed(&[]).unwrap(), None);
    }

    #[test]
    fn file_systems_with_their_own_options() {
        let found = file_system(&[
            ("type", "tmpfs"),
            ("device", "tmpfs"),
            ("o", "size=10m,uid=1000,noswap,nodev"),
        ]);
        assert_eq!((&*found.kind, &*found.device), ("tmpfs", "tmpfs"));
        assert_eq!(found.attributes, Attributes::MOUNT_ATTR_NODEV);
        let own = [
            ("size", Some("10m")),
            ("uid", Some("1000")),
            ("noswap", None),
        ];
        let own = own.map(|(key, value)| (key.to_owned(), value.map(str::to_owned)));
        assert_eq!(found.options, own);
    }

    #[test]
    fn a_network_file_system_gets_what_its_helper_would_add() {
        let options = |words: &[(&str, &str)]| {
            let shown = |(key, value): (String, Option<String>)| {
                format!("{key}={}", value.unwrap_or_default())
            };
            file_system(words)
                .options
                .into_iter()
                .map(shown)
                .collect::<Vec<_>>()
                .join(",")
        };
        for (kind, device, words, expected) in [
            (
                "nfs",
                ":/a",
                "addr=192.0.2.1,nfsvers=4.2",
                "addr=192.0.2.1,vers=4.2",
            ),
            ("nfs4", "192.0.2.1:/a", "", "vers=4,addr=192.0.2.1"),
            ("nfs", "[2001:db8::1]:/a", "soft", "soft=,addr=2001:db8::1"),
        ] {
            let found = options(&[("type", kind), ("device", device), ("o", words)]);
            assert_eq!(found, expected, "{device}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_dockers_words() {
        for (words, said) in [
            (&[("foo", "x")][..], "invalid option: \"foo\""),
            (&[("type", "tmpfs")], "missing required option: \"device\""),
            (&[("device", "tmpfs")], "missing required option: \"type\""),
            (&[("o", "bind")], "missing required option: \"device\""),
            (
                &[("type", "none"), ("device", "/a")],
                "type `none` needs `bind`",
            ),
            (&[("o", "bind"), ("device", "a")], "no absolute path"),
            (
                &[("o", "bind,foo=1"), ("device", "/a")],
                "a bind knows no option \"foo\"",
            ),
            (
                &[("size", "10g")],
                "quota size requested but no quota support",
            ),
            (&[("type", "nfs"), ("device", "/a")], "is not HOST:/PATH"),
            (&[("type", "nfs"), ("device", ":/a")], "missing `addr`"),
        ] {
            let error = parsed(words).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
