//! Hooks of descriptions. No program of the host is run for a container: what the known ones do to files is done by the
//! runtime, and the others are refused by name.
//!
//! Known are those of NVIDIA's container toolkit, `nvidia-cdi-hook NAME …` or `nvidia-ctk hook NAME …`.

use super::format::Hook;
use crate::container::device::Rest;
use crate::error::{Error, Kind, bad_input};
use crate::runtime::plan::FileEdit;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Adds what the hook does; `origin` says whose it is.
pub(super) fn apply(hook: &Hook, origin: &str, rest: &mut Rest) -> Result<()> {
    let program = Path::new(&hook.path).file_name().unwrap_or_default();
    let mut words = hook.args.iter().skip(1).map(String::as_str).peekable();
    let known = match program.to_str() {
        Some("nvidia-cdi-hook") => true,
        Some("nvidia-ctk") => words.next_if_eq(&"hook").is_some(),
        _ => false,
    };
    let name = if known { words.next() } else { None };
    let options = options(words);
    let values = |name: &'static str| {
        let named = options.iter().filter(move |(key, _)| *key == name);
        named.map(|(_, value)| *value)
    };
    let say = || format!("carry out the hook `{}` of {origin}", hook.args.join(" "));
    match name {
        Some("create-symlinks") => {
            for link in values("link") {
                rest.edits.push(symbolic_link(link).with_context(say)?);
            }
        }
        Some("chmod") => {
            let mode = values("mode").next().unwrap_or("755");
            let mode = u32::from_str_radix(mode, 8)
                .map_err(|_| bad_input(format!("`{mode}` is no mode")))
                .with_context(say)?;
            let paths = values("path").map(|path| FileEdit::Mode {
                path: PathBuf::from(path),
                mode: mode & 0o7777,
            });
            rest.edits.extend(paths);
        }
        Some("update-ldcache") => {
            let directories = values("folder").map(PathBuf::from).collect();
            rest.edits.push(FileEdit::Libraries { directories });
        }
        // Without them a device works: the first prefers the image's newer libraries, the second keeps programs from
        // changing nodes, which no container can do to those of the host.
        Some(name @ ("enable-cuda-compat" | "disable-device-node-modification")) => {
            rest.warnings
                .push(format!("the hook `{name}` of {origin} is left out"));
        }
        _ => {
            let message = format!(
                "{origin} needs the hook `{}` ({}), and hooks are not run",
                hook.path, hook.hook_name
            );
            return Err(Error::new(Kind::Unsupported, message)
                .hint("of hooks only what NVIDIA's do to files is done")
                .into());
        }
    }
    Ok(())
}

/// `--name value` and `--name=value`.
fn options<'a>(mut words: impl Iterator<Item = &'a str>) -> Vec<(&'a str, &'a str)> {
    let mut options = Vec::new();
    while let Some(word) = words.next() {
        let Some(word) = word.strip_prefix("--") else {
            continue;
        };
        match word.split_once('=') {
            Some(option) => options.push(option),
            None => options.push((word, words.next().unwrap_or_default())),
        }
    }
    options
}

/// `target::path`.
fn symbolic_link(text: &str) -> Result<FileEdit, Error> {
    let (target, path) = text
        .split_once("::")
        .ok_or_else(|| bad_input(format!("`{text}` is not `target::link`")))?;
    Ok(FileEdit::SymbolicLink {
        target: PathBuf::from(target),
        path: PathBuf::from(path),
    })
}
