//! Variables, labels and annotations: on the command line and in files of them.

use crate::error::bad_input;
use anyhow::Result;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// `KEY=VALUE` or `KEY`.
pub fn variable(text: &str) -> Result<String, String> {
    match text.split('=').next() {
        None | Some("") => Err(format!("invalid environment variable: {text}")),
        Some(_) => Ok(text.to_owned()),
    }
}

/// `KEY=VALUE` or `KEY`, which has the empty value.
pub fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.trim().is_empty() {
        return Err(format!("invalid label '{text}': empty name"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// `KEY=VALUE`; the key may not be empty.
pub fn annotation(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() {
        return Err("the empty string is not permitted as an annotation key".to_owned());
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// The lines of an environment or label file: `KEY=VALUE` as it stands, or `KEY` alone. Blank lines and lines
/// that start with `#` are skipped, space before a key is dropped, quotes have no meaning.
pub fn key_value_file(path: &Path) -> Result<Vec<String>> {
    let content = super::read_file(path)?;
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&content);
    let invalid = |why: String| bad_input(format!("invalid env file ({}): {why}", path.display()));
    let mut entries = Vec::new();
    for (number, line) in content.split(|byte| *byte == b'\n').enumerate() {
        let line = std::str::from_utf8(line).map_err(|_| {
            invalid(format!(
                "invalid utf8 bytes at line {}: {line:?}",
                number + 1
            ))
        })?;
        let line = line.strip_suffix('\r').unwrap_or(line).trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let key = line.split('=').next().unwrap_or_default();
        if key.is_empty() {
            return Err(invalid(format!("no variable name on line '{line}'")).into());
        }
        if key.contains(char::is_whitespace) {
            return Err(invalid(format!("variable '{key}' contains whitespaces")).into());
        }
        entries.push(line.to_owned());
    }
    Ok(entries)
}

/// `KEY=VALUE` as it is; a `KEY` alone with the value it has here, `None` when it has none here.
pub fn resolve_variable(entry: &str, lookup: impl Fn(&str) -> Option<String>) -> Option<String> {
    if entry.contains('=') {
        Some(entry.to_owned())
    } else {
        lookup(entry).map(|value| format!("{entry}={value}"))
    }
}

/// `--env-file` and then `--env`, which wins. A name that has no value here is left out of a file; on the
/// command line it stays alone, which takes it out of the image's environment.
pub fn variables(files: &[PathBuf], flags: Vec<String>) -> Result<Vec<String>> {
    let here = |name: &str| std::env::var(name).ok();
    let mut variables = Vec::new();
    for file in files {
        variables.extend(
            key_value_file(file)?
                .iter()
                .filter_map(|entry| resolve_variable(entry, here)),
        );
    }
    variables.extend(
        flags
            .into_iter()
            .map(|entry| resolve_variable(&entry, here).unwrap_or(entry)),
    );
    Ok(variables)
}

/// The labels of `--label-file`.
pub fn labels_of_files(files: &[PathBuf]) -> Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    for file in files {
        for line in key_value_file(file)? {
            let (key, value) = line.split_once('=').unwrap_or((&line, ""));
            labels.insert(key.to_owned(), value.to_owned());
        }
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::super::{check, detach_keys};
    use super::*;

    #[test]
    fn variables_labels_and_keys() {
        check(
            variable,
            &[
                ("K", r#""K""#),
                ("K==", r#""K==""#),
                ("=x", "! invalid environment variable: =x"),
            ],
        );
        check(
            label,
            &[
                ("a", r#"("a", "")"#),
                ("a=b=c", r#"("a", "b=c")"#),
                ("=x", "! invalid label '=x': empty name"),
            ],
        );
        check(
            |text| detach_keys(text).map(|keys| keys.0),
            &[
                ("ctrl-p,ctrl-q", "[16, 17]"),
                ("ctrl-@,a,[,ctrl-_", "[0, 97, 91, 31]"),
                ("", "[]"),
                (
                    "ctrl-p,foo",
                    "! invalid detach keys (ctrl-p,foo): unknown character: 'foo'",
                ),
                (
                    "ctrl-A",
                    "! invalid detach keys (ctrl-A): unknown character: 'ctrl-A'",
                ),
            ],
        );
        let lookup = |name: &str| (name == "HOME").then(|| "/root".to_owned());
        assert_eq!(resolve_variable("HOME", lookup).unwrap(), "HOME=/root");
        assert_eq!(resolve_variable("HOME=", lookup).unwrap(), "HOME=");
        assert_eq!(resolve_variable("NONE", lookup), None);
    }

    #[test]
    fn files_of_variables() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("e");
        let read = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            key_value_file(&path)
                .map_err(|error| error.to_string().replace(path.to_str().unwrap(), "e"))
        };
        let good = read(b"\xef\xbb\xbfA=1\r\n# no\n\n  B= x \"y\" \nHOME\nC==\n").unwrap();
        assert_eq!(good, ["A=1", "B= x \"y\" ", "HOME", "C=="]);
        for (content, message) in [
            (
                &b"a b=c\n"[..],
                "invalid env file (e): variable 'a b' contains whitespaces",
            ),
            (
                b"=x\n",
                "invalid env file (e): no variable name on line '=x'",
            ),
            (
                b"A=1\n\xff=x\n",
                "invalid env file (e): invalid utf8 bytes at line 2: [255, 61, 120]",
            ),
        ] {
            assert_eq!(read(content).unwrap_err(), message);
        }
        assert!(
            key_value_file(Path::new("/nonexistent"))
                .unwrap_err()
                .to_string()
                .contains("`/nonexistent`")
        );
    }
}
