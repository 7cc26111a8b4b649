//! The Container Device Interface (CDI specification 0.3 to 1.1): files in which makers of devices describe what a
//! container needs to use them.
//!
//! Here names are resolved: which file describes a device ([`format`] reads them), and which device a request for GPUs
//! means ([`gpu`]). What a description changes is in [`edits`]; whoever makes the configuration applies it.
//!
//! Invariant: a device that is described twice with the same right, or in a file that is wrong, does not exist.

mod edits;
mod format;
mod gpu;
mod hook;

pub use edits::Edits;

use super::options::DeviceRequest;
use crate::error::{Error, Kind};
use anyhow::Result;
use format::Specification;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Where descriptions lie; later directories win.
pub const DIRECTORIES: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// Whether `text` is `vendor.com/class=name`.
pub fn is_qualified(text: &str) -> bool {
    let Some((kind, name)) = text.split_once('=') else {
        return false;
    };
    !text.starts_with('/') && format::is_kind(kind) && format::is_name(name)
}

/// The edits of all devices that are asked for, in order; those of a file itself come before those of its first device.
pub fn resolve(requests: &[DeviceRequest], directories: &[PathBuf]) -> Result<Vec<Edits>> {
    if requests.is_empty() {
        return Ok(Vec::new());
    }
    let mut registry = Registry::load(directories);
    let mut names: Vec<String> = Vec::new();
    for request in requests {
        for name in registry.names(request)? {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    registry.take(&names)
}

/// All that is described on this host.
#[derive(Debug, Default)]
struct Registry {
    files: Vec<File>,
    /// Where was looked.
    directories: Vec<PathBuf>,
    /// Files that cannot be read, and why.
    problems: Vec<String>,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    /// Files of the same directory have the same; the highest wins.
    priority: usize,
    specification: Specification,
}

impl Registry {
    fn load(directories: &[PathBuf]) -> Self {
        let directories = match directories {
            [] => DIRECTORIES.map(PathBuf::from).to_vec(),
            given => given.to_vec(),
        };
        let mut registry = Self {
            directories,
            ..Self::default()
        };
        for (priority, directory) in registry.directories.clone().iter().enumerate() {
            registry.load_directory(directory, priority);
        }
        registry
    }

    fn load_directory(&mut self, directory: &Path, priority: usize) {
        let entries = match std::fs::read_dir(directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return,
            Err(error) => {
                self.problems
                    .push(format!("read `{}`: {error}", directory.display()));
                return;
            }
            Ok(entries) => entries,
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            match format::read(&path) {
                None => {}
                Some(Ok(specification)) => self.files.push(File {
                    path,
                    priority,
                    specification,
                }),
                Some(Err(error)) => self
                    .problems
                    .push(format!("`{}`: {error:#}", path.display())),
            }
        }
    }

    /// Whether there is a device of this kind at all.
    fn has_kind(&self, kind: &str) -> bool {
        self.files
            .iter()
            .any(|file| file.specification.kind == kind)
    }

    /// The names of all devices of a kind, each once.
    fn names_of(&self, kind: &str) -> Vec<String> {
        let files = self
            .files
            .iter()
            .filter(|file| file.specification.kind == kind);
        let devices = files.flat_map(|file| &file.specification.devices);
        let mut names: Vec<String> = devices.map(|device| device.name.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// What a request stands for, as qualified names. Where no device is called `all`, it means each one.
    fn names(&self, request: &DeviceRequest) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for name in gpu::names(self, request)? {
            match name.strip_suffix("=all") {
                Some(kind) if self.find(&name).is_empty() => {
                    let all = self.names_of(kind);
                    names.extend(all.iter().map(|one| format!("{kind}={one}")));
                    if all.is_empty() {
                        names.push(name);
                    }
                }
                _ => names.push(name),
            }
        }
        Ok(names)
    }

    /// The files that describe a device with the most right, by number, and which of their devices it is.
    fn find(&self, name: &str) -> Vec<(usize, usize)> {
        let Some((kind, name)) = name.split_once('=') else {
            return Vec::new();
        };
        let mut found: Vec<(usize, usize)> = Vec::new();
        for (number, file) in self.files.iter().enumerate() {
            if file.specification.kind != kind {
                continue;
            }
            let devices = file.specification.devices.iter().enumerate();
            for (device, _) in devices.filter(|(_, device)| device.name == name) {
                // Files come in the order of their right.
                found.retain(|(known, _)| self.files[*known].priority == file.priority);
                found.push((number, device));
            }
        }
        found
    }

    /// Takes the edits out.
    fn take(&mut self, names: &[String]) -> Result<Vec<Edits>> {
        let mut places = BTreeMap::new();
        let mut missing = Vec::new();
        let mut reasons = Vec::new();
        for name in names {
            match self.find(name)[..] {
                [place] => drop(places.insert(name, place)),
                [] => missing.push(name.as_str()),
                [first, second, ..] => {
                    missing.push(name);
                    let path = |place: (usize, usize)| self.files[place.0].path.display();
                    reasons.push(format!(
                        "`{name}` is described in both `{}` and `{}`",
                        path(first),
                        path(second)
                    ));
                }
            }
        }
        if !missing.is_empty() {
            return Err(self.unresolvable(&missing, reasons).into());
        }
        let mut edits = Vec::new();
        let mut opened = Vec::new();
        for name in names {
            let (file, device) = places[name];
            let File {
                path,
                specification,
                ..
            } = &mut self.files[file];
            let mut add = |found: &mut format::Edits| {
                edits.push(Edits::new(name, path, std::mem::take(found)));
            };
            if !opened.contains(&file) {
                opened.push(file);
                add(&mut specification.container_edits);
            }
            add(&mut specification.devices[device].container_edits);
        }
        Ok(edits)
    }

    fn unresolvable(&self, missing: &[&str], mut reasons: Vec<String>) -> Error {
        reasons.extend(self.problems.iter().cloned());
        let mut message = format!(
            "CDI device injection failed: unresolvable CDI devices {}",
            missing.join(", ")
        );
        if !reasons.is_empty() {
            message += &format!(": {}", reasons.join("; "));
            return Error::new(Kind::NotFound, message);
        }
        let directories = self
            .directories
            .iter()
            .map(|one| format!("`{}`", one.display()));
        let directories: Vec<String> = directories.collect();
        Error::new(Kind::NotFound, message).hint(format!(
            "no file in {} describes it; other directories are named with --cdi-spec-dir",
            directories.join(" or ")
        ))
    }
}

#[cfg(test)]
mod tests;
