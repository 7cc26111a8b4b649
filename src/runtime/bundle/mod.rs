//! A bundle as another program has written it (runtime-spec, bundle.md and config.md): a directory with `config.json`, and
//! the root file system that this names.
//!
//! Everything that can be said of a configuration without touching the host beyond the bundle is said here ([`check`]);
//! what becomes of each of its fields is listed in [`fields`]. A property that the specification does not know is ignored,
//! as it demands ("Extensibility"); a value that it does not know is an error ("Valid values").

mod check;
#[cfg(test)]
mod fields;
#[cfg(test)]
mod tests;

pub use check::kinds_of_hooks;

use crate::error::{Error, Kind, bad_input, not_found};
use crate::paths::BUNDLE_CONFIGURATION;
use anyhow::{Context, Result};
use oci_spec::runtime::{Capability, Process, Spec};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The first and the last version of the specification that this knows: every one of the first major version is read, and
/// what came later is ignored.
pub const VERSIONS: [&str; 2] = ["1.0.0", "1.3.0"];

/// No sane configuration is larger, and a hostile one must not fill the memory.
const LIMIT: u64 = 16 << 20;

/// Sections of other platforms.
const FOREIGN: [&str; 4] = ["solaris", "windows", "vm", "zos"];

/// A bundle whose configuration is sound.
#[derive(Debug)]
pub struct Opened {
    /// Its directory, absolute and without links.
    pub directory: PathBuf,
    /// Its root file system, likewise; a directory.
    pub root: PathBuf,
    /// Its configuration. Paths that are relative to the bundle are absolute by now.
    pub spec: Spec,
    /// What is otherwise than the configuration says, and harmless.
    pub warnings: Vec<String>,
}

/// Reads and checks the bundle in a directory; `named` is a configuration in place of its own.
///
/// Errors: `NotFound` where the bundle, its configuration or its root is not there; `BadInput` for a configuration that is
/// not of the specification; `Unsupported` for what is of it and cannot be done.
pub fn read(directory: &Path, named: Option<&Path>) -> Result<Opened> {
    let opened = open_directory(directory)?;
    let directory = std::fs::canonicalize(directory)
        .with_context(|| format!("resolve `{}`", directory.display()))?;
    let own = directory.join(BUNDLE_CONFIGURATION);
    let text = match named {
        Some(path) => configuration(CWD, path, path)?,
        None => configuration(opened.as_fd(), Path::new(BUNDLE_CONFIGURATION), &own)?,
    };
    let name = named.unwrap_or(Path::new(BUNDLE_CONFIGURATION));
    let (mut spec, mut warnings): (Spec, _) = parse(&text, &name.to_string_lossy())?;
    warnings.extend(check::check(&mut spec, &directory)?);
    let root = root(&opened, &directory, &spec)?;
    Ok(Opened {
        directory,
        root,
        spec,
        warnings,
    })
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let name = path.display();
    openat(CWD, path, flags, Mode::empty()).map_err(|error| match error {
        Errno::NOENT => not_found(format!("there is no bundle `{name}`"))
            .hint("--bundle names a directory with `config.json`; `onggi runtime spec` writes one")
            .into(),
        Errno::NOTDIR => bad_input(format!("the bundle `{name}` is not a directory")).into(),
        error => anyhow::Error::from(error).context(format!("open the bundle `{name}`")),
    })
}

/// What is in the file; `shown` is where it lies.
fn configuration(directory: BorrowedFd<'_>, path: &Path, shown: &Path) -> Result<Vec<u8>> {
    let place = || format!("`{}`", shown.display());
    // A named pipe would keep open(2) waiting.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match openat(directory, path, flags, Mode::empty()) {
        Err(Errno::NOENT) => {
            return Err(not_found(format!("there is no configuration {}", place()))
                .hint("`onggi runtime spec` writes one")
                .into());
        }
        opened => opened.with_context(|| format!("open {}", place()))?,
    };
    let found = fstat(&file).with_context(|| format!("stat {}", place()))?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err(bad_input(format!("{} is not a regular file", place())).into());
    }
    let mut text = Vec::new();
    let read = File::from(file).take(LIMIT + 1).read_to_end(&mut text);
    read.with_context(|| format!("read {}", place()))?;
    if text.len() as u64 > LIMIT {
        let message = format!("{} is larger than {} MiB", place(), LIMIT >> 20);
        return Err(bad_input(message).into());
    }
    Ok(text)
}

/// The `process` of a configuration, alone, as `exec --process` takes it from a file of this name; and what is otherwise
/// than it says, and harmless.
pub fn parse_process(text: &[u8], name: &str) -> Result<(Process, Vec<String>), Error> {
    let (mut process, mut warnings) = parse(text, name)?;
    warnings.extend(check::process(&mut process)?);
    Ok((process, warnings))
}

/// What a file of that name says, and what of it no kernel knows and is to be passed over.
fn parse<T: DeserializeOwned>(text: &[u8], name: &str) -> Result<(T, Vec<String>), Error> {
    if let Some(line) = line_of_null(text) {
        let message = format!("`{name}`, line {line}: a text has the character NUL in it");
        return Err(bad_input(message).hint("no path, argument or option of Linux has one"));
    }
    let error = match serde_json::from_slice(text) {
        Ok(parsed) => return Ok((parsed, Vec::new())),
        Err(error) => error,
    };
    let no_json = |error| bad_input(format!("`{name}` is no JSON: {error}"));
    if error.classify() != Category::Data {
        return Err(no_json(error));
    }
    let mut value: Value = serde_json::from_slice(text).map_err(no_json)?;
    if let Some(section) = FOREIGN.iter().find(|name| value.get(name).is_some()) {
        return Err(foreign(section));
    }
    let warnings = pass_over(&mut value);
    let is_changed = supply_user(&mut value) | rename_flags(&mut value) | !warnings.is_empty();
    // Again from the text where nothing was changed: only there are places in it.
    let parsed = match is_changed {
        true => serde_path_to_error::deserialize(value),
        false => serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(text)),
    };
    let refused =
        |error: serde_path_to_error::Error<serde_json::Error>| match error.path().to_string() {
            whole if whole == "." => bad_input(format!("`{name}`: {}", error.inner())),
            path => bad_input(format!("`{path}` of `{name}`: {}", error.inner())),
        };
    parsed.map(|parsed| (parsed, warnings)).map_err(refused)
}

/// Where a text with that character is: in JSON it can only be escaped (RFC 8259, section 7).
fn line_of_null(text: &[u8]) -> Option<usize> {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        if rest[at + 1..].starts_with(b"u0000") {
            let before = &text[..text.len() - rest.len() + at];
            return Some(before.iter().filter(|byte| **byte == b'\n').count() + 1);
        }
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    None
}

fn foreign(section: &str) -> Error {
    let message =
        format!("the configuration has a section `{section}`, and this is a Linux runtime");
    Error::new(Kind::Unsupported, message)
}

/// The process of a configuration, or one that is alone.
fn process_of(value: &mut Value) -> &mut Value {
    match value.get("process").is_some() {
        true => &mut value["process"],
        false => value,
    }
}

/// Whether it has put root where no user is named, as runc does.
fn supply_user(value: &mut Value) -> bool {
    let process = process_of(value);
    let is_missing = process.get("args").is_some() && process.get("user").is_none();
    if is_missing {
        process["user"] = json!({ "uid": 0, "gid": 0 });
    }
    is_missing
}

/// Flags of a scheduler that are read under other names than the specification has; whether there are any.
fn rename_flags(value: &mut Value) -> bool {
    let flags = process_of(value).pointer_mut("/scheduler/flags");
    let mut is_any = false;
    for flag in flags.and_then(Value::as_array_mut).into_iter().flatten() {
        let name = match flag.as_str() {
            Some("SCHED_FLAG_RESET_ON_FORK") => "SCHED_RESET_ON_FORK",
            Some("SCHED_FLAG_DL_OVERRUN") => "SCHED_FLAG_D_L_OVERRUN",
            _ => continue,
        };
        *flag = json!(name);
        is_any = true;
    }
    is_any
}

/// Capabilities of another kernel are to be warned of (config.md, "capabilities").
fn pass_over(value: &mut Value) -> Vec<String> {
    let mut warnings = Vec::new();
    let sets = process_of(value).get_mut("capabilities");
    for (_, set) in sets.and_then(Value::as_object_mut).into_iter().flatten() {
        let known = |name: &Value| {
            let is_known =
                !name.is_string() || serde_json::from_value::<Capability>(name.clone()).is_ok();
            let warning =
                format!("there is no capability {name}, which `process.capabilities` has");
            if !is_known && !warnings.contains(&warning) {
                warnings.push(warning);
            }
            is_known
        };
        if let Some(names) = set.as_array_mut() {
            names.retain(known);
        }
    }
    warnings
}

fn root(bundle: &OwnedFd, directory: &Path, spec: &Spec) -> Result<PathBuf> {
    let path = match spec.root() {
        Some(root) if !root.path().as_os_str().is_empty() => root.path(),
        Some(_) => return Err(bad_input("`root.path` is empty").into()),
        None => return Err(bad_input("the configuration has no `root`").into()),
    };
    let whole = directory.join(path);
    let name = whole.display();
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(bundle, path, flags, Mode::empty()).map_err(|error| -> anyhow::Error {
        match error {
            Errno::NOENT => not_found(format!("the root file system `{name}` is not there")).into(),
            Errno::NOTDIR => {
                bad_input(format!("the root file system `{name}` is not a directory")).into()
            }
            error => anyhow::Error::from(error).context(format!("open `{name}`")),
        }
    })?;
    std::fs::canonicalize(&whole).with_context(|| format!("resolve `{name}`"))
}
