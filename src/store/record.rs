//! Objects that are directories with a record in each, which is JSON and tells the version of its format.

use super::damage::damaged;
use crate::error::{Error, Kind};
use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::io::ErrorKind;
use std::path::Path;

#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// The record of the object in a directory; `None` when that is removed meanwhile.
///
/// Fails for one that is damaged (see [`super::damage`]), and for one of another version than `known`.
pub fn read<T: DeserializeOwned>(directory: &Path, record: &Path, known: u32) -> Result<Option<T>> {
    let text = match std::fs::read(record) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return match directory.exists() {
                true => Err(damaged(record, "it is missing").into()),
                false => Ok(None),
            };
        }
        text => text.with_context(|| format!("read `{}`", record.display()))?,
    };
    let damaged = |error| damaged(record, error);
    // Of another version nothing else can be relied on.
    let Version { version } = serde_json::from_slice(&text).map_err(damaged)?;
    if version != known {
        let message = format!(
            "the format of `{}` is version {version}, this program knows {known}",
            record.display()
        );
        return Err(Error::new(Kind::Unsupported, message)
            .hint("a newer onggi knows it")
            .into());
    }
    Ok(Some(serde_json::from_slice(&text).map_err(damaged)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::kind;

    #[test]
    fn each_way_in_which_there_is_no_record_is_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let record = directory.path().join("record.json");
        let read = |directory: &Path| read::<serde_json::Value>(directory, &record, 1);
        let refused = || kind(&read(directory.path()).unwrap_err());
        assert!(read(&directory.path().join("gone")).unwrap().is_none());
        assert_eq!(refused(), Some(Kind::BadInput));
        for (text, why) in [
            ("{\"version\":", Kind::BadInput),
            ("{}", Kind::BadInput),
            ("{\"version\":2,\"more\":", Kind::BadInput),
            ("{\"version\":2}", Kind::Unsupported),
        ] {
            std::fs::write(&record, text).unwrap();
            assert_eq!(refused(), Some(why), "{text}");
        }
        std::fs::write(&record, "{\"version\":1}").unwrap();
        assert!(read(directory.path()).unwrap().is_some());
    }
}
