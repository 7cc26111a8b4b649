//! Names of units (systemd.unit(5), systemd.slice(5)).

use crate::error::bad_input;
use anyhow::{Result, ensure};
use std::path::PathBuf;

/// systemd's limit for the name of a unit, in bytes.
const LONGEST: usize = 255;

/// Whether it is the name of a slice: `a-b.slice` lies in `a.slice`, and `-.slice` in none. What is no slice is refused
/// in Docker's words.
pub fn check_slice(name: &str) -> Result<()> {
    let stem = name.strip_suffix(".slice").filter(|_| is_unit_name(name));
    let is_slice = |stem: &str| {
        stem == "-" || !stem.contains('@') && stem.split('-').all(|part| !part.is_empty())
    };
    ensure!(
        stem.is_some_and(is_slice),
        bad_input(
            "cgroup-parent for systemd cgroup should be a valid slice named as \"xxx.slice\""
        )
    );
    Ok(())
}

/// Where the group of a slice is, below that of the manager: `a-b.slice` is `a.slice/a-b.slice`.
pub fn path(slice: &str) -> PathBuf {
    let stem = slice.strip_suffix(".slice").unwrap_or(slice);
    let ends = stem.match_indices('-').map(|(at, _)| at);
    ends.chain([stem.len()])
        .map(|end| &stem[..end])
        .filter(|stem| !stem.is_empty() && *stem != "-")
        .map(|stem| format!("{stem}.slice"))
        .collect()
}

/// Whether systemd takes this for the name of a unit.
pub fn is_unit_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    let stem = name.rsplit_once('.').map_or("", |(stem, _)| stem);
    !stem.is_empty() && name.len() <= LONGEST && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_lie_in_those_that_they_are_named_by() {
        for (slice, place) in [
            ("a.slice", "a.slice"),
            ("a-b-c.slice", "a.slice/a-b.slice/a-b-c.slice"),
            ("-.slice", ""),
        ] {
            assert_eq!(path(slice), PathBuf::from(place), "{slice}");
        }
    }

    #[test]
    fn slices_are_taken() {
        for name in [
            "-.slice",
            "a.slice",
            "a-b.slice",
            "user-1000-x_y.slice",
            "system-a\\x2db.slice",
        ] {
            assert!(check_slice(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn what_is_no_slice_is_refused_in_dockers_words() {
        let long = format!("{}.slice", "a".repeat(250));
        for name in [
            "",
            "a",
            ".slice",
            "/a.slice",
            "a/b.slice",
            "a.service",
            "-a.slice",
            "a-.slice",
            "a--b.slice",
            "--.slice",
            "a@b.slice",
            "a b.slice",
            "a\0.slice",
            "ä.slice",
            "../a.slice",
            &long,
        ] {
            let error = check_slice(name).unwrap_err();
            assert!(
                error
                    .to_string()
                    .ends_with("a valid slice named as \"xxx.slice\""),
                "{name}: {error}"
            );
        }
    }
}
