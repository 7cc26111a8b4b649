//! Names of units, and where the control group of a slice lies (systemd.unit(5), systemd.slice(5)).

use crate::error::bad_input;
use anyhow::{Result, ensure};
use std::path::PathBuf;

/// systemd's limit for the name of a unit, in bytes.
const LONGEST: usize = 255;

/// Where a slice lies below the control group of its manager: `a-b.slice` is `/a.slice/a-b.slice`, and `-.slice` is
/// `/`. What is no slice is refused in Docker's words.
pub fn slice_path(name: &str) -> Result<PathBuf> {
    let refused = || {
        bad_input("cgroup-parent for systemd cgroup should be a valid slice named as \"xxx.slice\"")
    };
    let stem = name.strip_suffix(".slice").filter(|_| is_unit_name(name));
    let stem = stem.ok_or_else(refused)?;
    let mut path = PathBuf::from("/");
    if stem == "-" {
        return Ok(path);
    }
    ensure!(
        !stem.contains('@') && stem.split('-').all(|part| !part.is_empty()),
        refused()
    );
    let ends = stem
        .match_indices('-')
        .map(|(at, _)| at)
        .chain([stem.len()]);
    path.extend(ends.map(|end| format!("{}.slice", &stem[..end])));
    Ok(path)
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
    fn slices_lie_in_each_other() {
        for (name, path) in [
            ("-.slice", "/"),
            ("a.slice", "/a.slice"),
            ("a-b.slice", "/a.slice/a-b.slice"),
            (
                "user-1000-x_y.slice",
                "/user.slice/user-1000.slice/user-1000-x_y.slice",
            ),
            ("system-a\\x2db.slice", "/system.slice/system-a\\x2db.slice"),
        ] {
            assert_eq!(slice_path(name).unwrap().to_str(), Some(path), "{name}");
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
            let error = slice_path(name).unwrap_err();
            assert!(
                error
                    .to_string()
                    .ends_with("a valid slice named as \"xxx.slice\""),
                "{name}: {error}"
            );
        }
    }
}
