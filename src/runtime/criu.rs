//! The `criu` program, which writes the processes of a container down and makes them again (criu(8)): which one there is,
//! and what it is told of a container alike at both times.

use crate::error::{Error, Kind};
use crate::id_mapping;
use anyhow::{Context, Result};
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The oldest version whose images are read here.
const OLDEST: u32 = 4;

/// Options that `checkpoint` and `restore` pass on as they are.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Where the images lie.
    pub images: PathBuf,
    /// Where it logs; `None`: beside the images.
    pub work: Option<PathBuf>,
    /// `--tcp-established`, `--file-locks` and the like.
    pub flags: Vec<&'static str>,
    /// `--manage-cgroups`; `None`: control groups are ours to make.
    pub control_groups: Option<String>,
    /// Options with values.
    pub options: Vec<(&'static str, String)>,
}

/// Finds the program with that name or path.
///
/// Errors: there is none, or it is too old.
pub fn find(name: &str) -> Result<PathBuf> {
    let missing = |message: String| {
        Error::new(Kind::Unsupported, message).hint(format!(
            "install criu {OLDEST} or newer (Debian 13: `apt-get install criu`), or name it with --criu"
        ))
    };
    let path = match name.contains('/') {
        true => Some(PathBuf::from(name)).filter(|path| path.is_file()),
        false => id_mapping::find_program(name),
    };
    let path = path.ok_or_else(|| {
        missing(format!(
            "checkpoints are made by the program criu, and there is no `{name}`"
        ))
    })?;
    let shown = path.display();
    let told = Command::new(&path).arg("--version").output();
    let told = told.with_context(|| format!("execute `{shown}`"))?;
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    let version = text.lines().find_map(|line| line.strip_prefix("Version: "));
    let major = version.and_then(|version| version.split('.').next()?.parse::<u32>().ok());
    match (major, version) {
        (Some(OLDEST..), _) => Ok(path),
        (_, Some(version)) => {
            let message = format!(
                "`{shown}` is of version {version}, and {OLDEST} is the oldest that will do"
            );
            Err(missing(message).into())
        }
        (_, None) => Err(missing(format!("`{shown} --version` names no version")).into()),
    }
}

/// It with what both times have in common; `verb` is what it is to do.
pub fn command(program: &Path, verb: &str, wishes: &Wishes) -> Command {
    let mut command = Command::new(program);
    command
        .arg(verb)
        .arg("-v4")
        .arg("--images-dir")
        .arg(&wishes.images);
    command.args(["--log-file", &log(verb)]);
    if let Some(work) = &wishes.work {
        command.arg("--work-dir").arg(work);
    }
    command.args(&wishes.flags);
    let control_groups = wishes.control_groups.as_deref().unwrap_or("ignore");
    command.arg(format!("--manage-cgroups={control_groups}"));
    for (option, value) in &wishes.options {
        command.args([option, value.as_str()]);
    }
    command
}

/// The name of its log.
fn log(verb: &str) -> String {
    format!("{verb}.log")
}

/// What it has failed with: the last error of its log.
pub fn failure(verb: &str, wishes: &Wishes) -> anyhow::Error {
    let directory = wishes.work.as_ref().unwrap_or(&wishes.images);
    let path = directory.join(log(verb));
    let text = std::fs::read(&path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut errors = text.lines().filter(|line| line.contains("Error ("));
    let last = errors.rfind(|line| !line.contains("FAILED"));
    let why = last.map_or(String::new(), |line| format!(": {}", line.trim()));
    let message = format!("criu {verb} has failed{why}");
    let hint = format!("its log is `{}`", path.display());
    Error::new(Kind::Denied, message).hint(hint).into()
}

/// Files of the kernel that are hidden by the host's null device.
pub fn masked_files(spec: &Spec) -> Vec<String> {
    let linux = spec.linux().as_ref();
    let masked = linux.and_then(|linux| linux.masked_paths().clone());
    masked.unwrap_or_default()
}

/// Destinations and sources of what is bound into the container.
pub fn bound(spec: &Spec) -> Vec<(String, PathBuf)> {
    let mounts = spec.mounts().iter().flatten();
    let bound = mounts.filter_map(|mount| {
        let mut words = mount.options().iter().flatten();
        let is_bound = mount.typ().as_deref() == Some("bind")
            || words.any(|word| word == "bind" || word == "rbind");
        let source = mount.source().clone().filter(|_| is_bound)?;
        Some((mount.destination().to_string_lossy().into_owned(), source))
    });
    bound.collect()
}

/// The network namespace that the container was given, and what it is called among images.
pub fn network(spec: &Spec) -> Option<PathBuf> {
    let linux = spec.linux().as_ref()?;
    let mut all = linux.namespaces().iter().flatten();
    let network = all.find(|one| one.typ() == LinuxNamespaceType::Network)?;
    network.path().clone()
}

/// Fails for what no checkpoint is made of.
pub fn require_fit(spec: &Spec) -> Result<(), Error> {
    let refused = |what: &str| {
        let message = format!("there are no checkpoints of a container {what}");
        Err(Error::new(Kind::Unsupported, message))
    };
    let process = spec.process().as_ref();
    if process
        .and_then(|process| process.terminal())
        .unwrap_or(false)
    {
        return refused("with a terminal");
    }
    let linux = spec.linux().as_ref();
    for namespace in linux
        .iter()
        .flat_map(|linux| linux.namespaces().iter().flatten())
    {
        match (namespace.typ(), namespace.path()) {
            (LinuxNamespaceType::User, _) => return refused("with a user namespace of its own"),
            (LinuxNamespaceType::Network, _) | (_, None) => {}
            (kind, Some(_)) => return refused(&format!("that was put into a {kind} namespace")),
        }
    }
    Ok(())
}

/// Hooks that would have to be run while processes come to be.
pub fn has_early_hooks(spec: &Spec) -> bool {
    let hooks = spec.hooks().as_ref();
    let named = hooks.map(super::bundle::kinds_of_hooks);
    named
        .iter()
        .flatten()
        .take(4)
        .any(|(_, hooks)| hooks.as_ref().is_some_and(|all| !all.is_empty()))
}

/// `OPTION=VALUE` words for a descriptor that criu gets.
pub fn inherited(number: i32, key: &str) -> [OsString; 2] {
    ["--inherit-fd".into(), format!("fd[{number}]:{key}").into()]
}
