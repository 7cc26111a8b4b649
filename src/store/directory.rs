//! What is in a directory of ours. Other names than ours, of which none is anything but text, are not seen.

use anyhow::{Context, Result};
use std::io::ErrorKind;
use std::path::Path;

/// The names in a directory, in no order; none where there is no directory.
pub fn names(directory: &Path) -> Result<Vec<String>> {
    let context = || format!("read `{}`", directory.display());
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(context)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.with_context(context)?.file_name();
        names.extend(name.into_string().ok());
    }
    Ok(names)
}

/// Likewise; none also where a file has its place.
pub fn names_if_directory(directory: &Path) -> Result<Vec<String>> {
    match names(directory) {
        Err(_) if directory.is_file() => Ok(Vec::new()),
        names => names,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn names_are_text_and_where_nothing_is_there_are_none() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        for name in [OsStr::new("file"), OsStr::from_bytes(b"\xff")] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        assert_eq!(names(directory.path()).unwrap(), ["file"]);
        assert!(names(&directory.path().join("none")).unwrap().is_empty());
        assert!(names(&file).is_err());
        assert!(names_if_directory(&file).unwrap().is_empty());
    }
}
