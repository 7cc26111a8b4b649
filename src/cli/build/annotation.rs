//! `--annotation [type[,type][[platform]]:]key=value`.
//! <https://docs.docker.com/build/metadata/annotations/>

use crate::build::output::{Annotation, Place};
use crate::error::{Error, bad_input};
use crate::image::platform::Platform;

/// One for each type.
pub fn parse(text: &str) -> Result<Vec<Annotation>, Error> {
    let invalid = || {
        bad_input(format!("invalid annotation \"{text}\", expected key=value"))
            .hint("--annotation index:key=value")
    };
    let (before, value) = text.split_once('=').ok_or_else(invalid)?;
    let (types, key) = match before.rsplit_once(':') {
        Some((types, key)) if is_types(types) => (types, key),
        _ => ("manifest", before),
    };
    if key.is_empty() {
        return Err(invalid());
    }
    let annotation = |word: &str| {
        let (place, platform) = place(word)?.ok_or_else(invalid)?;
        Ok(Annotation {
            place,
            platform,
            key: key.to_owned(),
            value: value.to_owned(),
        })
    };
    types.split(',').map(annotation).collect()
}

/// `type[platform]`; `None` where it is none.
pub fn place(word: &str) -> Result<Option<(Place, Option<Platform>)>, Error> {
    let (kind, platform) = match word.split_once('[') {
        Some((kind, rest)) => match rest.strip_suffix(']') {
            Some(platform) => (kind, Some(platform.parse()?)),
            None => return Ok(None),
        },
        None => (word, None),
    };
    let place = match kind {
        "manifest" => Place::Manifest,
        "index" => Place::Index,
        "manifest-descriptor" => Place::ManifestDescriptor,
        "index-descriptor" => Place::IndexDescriptor,
        _ => return Ok(None),
    };
    Ok(Some((place, platform)))
}

fn is_types(text: &str) -> bool {
    let kinds = [
        "manifest",
        "index",
        "manifest-descriptor",
        "index-descriptor",
    ];
    text.split(',').all(|word| {
        let kind = word.split('[').next().unwrap_or_default();
        kinds.contains(&kind)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_and_for_what_stands_before_the_key() {
        for (text, places, platform, key) in [
            ("a=b", &[Place::Manifest][..], None, "a"),
            ("a:b=b", &[Place::Manifest], None, "a:b"),
            ("index:a=b", &[Place::Index], None, "a"),
            (
                "index,manifest:a=b",
                &[Place::Index, Place::Manifest],
                None,
                "a",
            ),
            (
                "manifest[linux/arm64]:a=b",
                &[Place::Manifest],
                Some("linux/arm64"),
                "a",
            ),
            ("index-descriptor:a=b", &[Place::IndexDescriptor], None, "a"),
        ] {
            let found = parse(text).unwrap();
            let found_places: Vec<Place> = found.iter().map(|found| found.place).collect();
            assert_eq!(found_places, places, "{text}");
            assert_eq!(
                (found[0].key.as_str(), found[0].value.as_str()),
                (key, "b"),
                "{text}"
            );
            let wanted = platform.map(|platform| platform.parse::<Platform>().unwrap());
            assert_eq!(found[0].platform, wanted, "{text}");
        }
        for bad in ["a", "=b", "index:=b", "manifest[linux/arm64:a=b"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
