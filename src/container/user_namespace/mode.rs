//! `--userns` as a value, with the text that it is written as on the command line, in records and in `inspect`
//! (podman-run(1), docker run). What it means here and now is decided by [`super::choose`].

use crate::error::{Error, bad_input};
use crate::id_mapping::Range;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// How ids inside relate to ids outside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum UserNamespace {
    /// Root: none, unless `--uidmap` and the like ask for one. Ordinary user: root inside is the user outside.
    #[default]
    Default,
    /// `host`: as the default, of which an ordinary user has no other.
    Host,
    /// `keep-id`: the caller has the same id inside as outside, or the one that is named.
    KeepId {
        /// The user id inside.
        uid: Option<u32>,
        /// The group id inside.
        gid: Option<u32>,
        /// So many ids; else all.
        size: Option<u32>,
    },
    /// `nomap`: the caller is nobody inside.
    NoMap,
    /// `auto`: ids that no other container has.
    Auto {
        /// So many.
        size: Option<u32>,
        /// User ids that have a fixed place.
        uids: Vec<Range>,
        /// Group ids that have a fixed place.
        gids: Vec<Range>,
    },
    /// `container:ID`: that of another container.
    Container(String),
    /// `ns:PATH`: that of a file of nsfs.
    Path(PathBuf),
}

impl FromStr for UserNamespace {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (mode, rest) = match text.split_once(':') {
            Some((mode, rest)) => (mode, Some(rest)),
            None => (text, None),
        };
        match (mode, rest) {
            ("" | "default", None) => Ok(Self::Default),
            ("host", None) => Ok(Self::Host),
            ("keep-id", rest) => keep_id(rest.unwrap_or_default()),
            ("nomap", None) => Ok(Self::NoMap),
            ("auto", rest) => auto(rest.unwrap_or_default()),
            ("container", Some(id)) if !id.is_empty() => Ok(Self::Container(id.to_owned())),
            ("ns", Some(path)) if !path.is_empty() => Ok(Self::Path(path.into())),
            _ => Err(bad_input("--userns: invalid USER mode")
                .hint("host, auto, keep-id, nomap, container:NAME or ns:PATH")),
        }
    }
}

/// `key=value` pairs between commas.
fn pairs(text: &str) -> impl Iterator<Item = Result<(&str, &str), Error>> {
    let words = text.split(',').filter(|word| !word.is_empty());
    words.map(|word| {
        word.split_once('=')
            .ok_or_else(|| bad_input(format!("--userns: invalid option specified: \"{word}\"")))
    })
}

fn unknown(key: &str) -> Error {
    bad_input(format!("--userns: unknown option specified: \"{key}\""))
}

fn number(key: &str, value: &str) -> Result<u32, Error> {
    let wrong = || {
        bad_input(format!(
            "--userns: {key}={value} is not an id or a number of ids"
        ))
    };
    let number = value.parse().map_err(|_| wrong())?;
    match (key, number) {
        ("size", 0) | (_, u32::MAX) => Err(wrong()),
        _ => Ok(number),
    }
}

fn keep_id(text: &str) -> Result<UserNamespace, Error> {
    let (mut uid, mut gid, mut size) = (None, None, None);
    for pair in pairs(text) {
        let (key, value) = pair?;
        let place = match key {
            "uid" => &mut uid,
            "gid" => &mut gid,
            "size" => &mut size,
            _ => return Err(unknown(key)),
        };
        *place = Some(number(key, value)?);
    }
    Ok(UserNamespace::KeepId { uid, gid, size })
}

fn auto(text: &str) -> Result<UserNamespace, Error> {
    let (mut size, mut uids, mut gids) = (None, Vec::new(), Vec::new());
    for pair in pairs(text) {
        let (key, value) = pair?;
        match key {
            "size" => size = Some(number(key, value)?),
            "uidmapping" => uids.push(range(value)?),
            "gidmapping" => gids.push(range(value)?),
            _ => return Err(unknown(key)),
        }
    }
    Ok(UserNamespace::Auto { size, uids, gids })
}

/// `inside:outside:size`; the size is 1 where it is left out.
pub(super) fn range(text: &str) -> Result<Range, Error> {
    let malformed = || {
        bad_input(format!(
            "ID setting is malformed expected [\"uint32:uint32:uint32\"]: [\"{text}\"]"
        ))
    };
    let numbers: Result<Vec<u32>, _> = text.split(':').map(str::parse).collect();
    let range = match numbers.map_err(|_| malformed())?[..] {
        [inside, outside] => Range {
            inside,
            outside,
            size: 1,
        },
        [inside, outside, size] => Range {
            inside,
            outside,
            size,
        },
        _ => return Err(malformed()),
    };
    // The last number stands for no id (credentials(7)).
    let fits = |end: u64| end <= u64::from(u32::MAX);
    match range.size > 0 && fits(range.inside_end()) && fits(range.outside_end()) {
        true => Ok(range),
        false => Err(malformed()),
    }
}

impl fmt::Display for UserNamespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let option = |key: &str, value: &Option<u32>| value.map(|value| format!("{key}={value}"));
        let ranges = |key: &str, ranges: &[Range]| {
            let text = |range: &Range| {
                let Range {
                    inside,
                    outside,
                    size,
                } = range;
                format!("{key}={inside}:{outside}:{size}")
            };
            ranges.iter().map(text).collect::<Vec<_>>()
        };
        let with = |f: &mut fmt::Formatter<'_>, mode: &str, options: Vec<String>| {
            f.write_str(mode)?;
            match options.is_empty() {
                true => Ok(()),
                false => write!(f, ":{}", options.join(",")),
            }
        };
        match self {
            Self::Default => Ok(()),
            Self::Host => f.write_str("host"),
            Self::KeepId { uid, gid, size } => {
                let options = [option("uid", uid), option("gid", gid), option("size", size)];
                with(f, "keep-id", options.into_iter().flatten().collect())
            }
            Self::NoMap => f.write_str("nomap"),
            Self::Auto { size, uids, gids } => {
                let mut options = Vec::from_iter(option("size", size));
                options.extend(ranges("uidmapping", uids));
                options.extend(ranges("gidmapping", gids));
                with(f, "auto", options)
            }
            Self::Container(id) => write!(f, "container:{id}"),
            Self::Path(path) => write!(f, "ns:{}", path.display()),
        }
    }
}

impl TryFrom<String> for UserNamespace {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<UserNamespace> for String {
    fn from(mode: UserNamespace) -> Self {
        mode.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_written_as_they_are_read() {
        for text in [
            "",
            "host",
            "keep-id",
            "keep-id:uid=5,gid=6",
            "keep-id:gid=6,size=100",
            "nomap",
            "auto",
            "auto:size=8192",
            "auto:size=9,uidmapping=0:5:1,uidmapping=2:7:1,gidmapping=1:2:3",
            "container:web",
            "ns:/proc/1/ns/user",
        ] {
            assert_eq!(text.parse::<UserNamespace>().unwrap().to_string(), text);
        }
        // As records of earlier versions have it.
        let old = serde_json::from_str::<UserNamespace>("\"default\"").unwrap();
        assert_eq!(old, UserNamespace::Default);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (text, message) in [
            ("none", "--userns: invalid USER mode"),
            ("host:x", "--userns: invalid USER mode"),
            ("container:", "--userns: invalid USER mode"),
            ("ns", "--userns: invalid USER mode"),
            ("keep-id:uid", "--userns: invalid option specified: \"uid\""),
            ("keep-id:x=1", "--userns: unknown option specified: \"x\""),
            (
                "auto:size=0",
                "--userns: size=0 is not an id or a number of ids",
            ),
            (
                "keep-id:uid=-1",
                "--userns: uid=-1 is not an id or a number of ids",
            ),
            (
                "auto:uidmapping=1",
                "ID setting is malformed expected [\"uint32:uint32:uint32\"]: [\"1\"]",
            ),
            (
                "auto:gidmapping=0:1:4294967295",
                "ID setting is malformed expected [\"uint32:uint32:uint32\"]: [\"0:1:4294967295\"]",
            ),
        ] {
            let error = text.parse::<UserNamespace>().unwrap_err();
            assert_eq!(error.to_string(), message, "{text}");
        }
    }
}
