//! What a configuration must not say (runtime-spec, config.md and config-linux.md), and what is said of fields that mean
//! nothing here. Pure.

use super::foreign;
use crate::cgroup::resources;
use crate::error::{Error, Kind, bad_input};
use crate::paths;
use crate::runtime::mount_options::MountOptions;
use crate::runtime::namespaces::inherits_mounts;
use oci_spec::runtime::{Hook, Hooks, Linux, LinuxNamespaceType, Mount, Process, Spec};
use std::path::{Path, PathBuf};

/// Takes out what is to be passed over, with a warning each, refuses what cannot be meant, and makes sources of bind mounts
/// absolute, which are relative to the bundle (config.md, "Mounts").
pub fn check(spec: &mut Spec, bundle: &Path) -> Result<Vec<String>, Error> {
    version(spec.version())?;
    sections(spec)?;
    let mut warnings = Vec::new();
    if let Some(process) = spec.process_mut() {
        warnings.extend(self::process(process)?);
    }
    for mount in spec.mounts_mut().iter_mut().flatten() {
        warnings.extend(destination(mount)?);
        let data = MountOptions::settle_bind(mount, bundle);
        let place = mount.destination().display();
        warnings.extend(data.iter().map(|option| {
            format!("the option `{option}` of the bind mount at `{place}` has no effect: it is for a file system")
        }));
    }
    if let Some(hooks) = spec.hooks() {
        self::hooks(hooks)?;
    }
    let mut keys = spec.annotations().iter().flatten().map(|(key, _)| key);
    if keys.any(String::is_empty) {
        return Err(bad_input("`annotations` has an empty key"));
    }
    if let Some(linux) = spec.linux_mut() {
        warnings.extend(self::linux(linux)?);
    }
    Ok(warnings)
}

/// MAJOR.MINOR.PATCH with what may follow (semver.org 2.0.0); only the major one is of interest.
fn version(version: &str) -> Result<(), Error> {
    if version.is_empty() {
        return Err(bad_input("the configuration has no `ociVersion`"));
    }
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let is_number = |part: &str| {
        part.bytes().all(|byte| byte.is_ascii_digit())
            && !part.is_empty()
            && (part == "0" || !part.starts_with('0'))
    };
    let numbers: Vec<&str> = core.split('.').collect();
    let rest = &version[core.len()..];
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b".-+".contains(&byte);
    if numbers.len() != 3
        || !numbers.iter().all(|part| is_number(part))
        || rest.len() == 1
        || !rest.bytes().all(is_word)
    {
        let message = format!("`ociVersion` is no version of three numbers: `{version}`");
        return Err(bad_input(message));
    }
    match numbers[0] {
        "1" => Ok(()),
        _ => Err(Error::new(
            Kind::Unsupported,
            format!("`ociVersion` is {version}, and this runtime knows version 1"),
        )),
    }
}

fn sections(spec: &Spec) -> Result<(), Error> {
    let is_there = [
        ("solaris", spec.solaris().is_some()),
        ("windows", spec.windows().is_some()),
        ("vm", spec.vm().is_some()),
        ("zos", spec.zos().is_some()),
    ];
    match is_there.iter().find(|(_, is_there)| *is_there) {
        Some((section, _)) => Err(foreign(section)),
        None => Ok(()),
    }
}

/// The same of a process.
pub fn process(process: &mut Process) -> Result<Vec<String>, Error> {
    let mut warnings = Vec::new();
    must_be_absolute("process.cwd", process.cwd())?;
    if process.args().as_ref().is_none_or(Vec::is_empty) {
        return Err(bad_input("`process.args` is empty"));
    }
    /// `NGROUPS_MAX` (setgroups(2)).
    const GROUPS: usize = 65536;
    let groups = process.user().additional_gids().as_ref();
    if groups.is_some_and(|groups| groups.len() > GROUPS) {
        let message = format!("`process.user.additionalGids` has more than {GROUPS} groups");
        return Err(bad_input(message));
    }
    if process.command_line().is_some() {
        return Err(bad_input("`process.commandLine` is for Windows"));
    }
    // Here it would be a name in the files of the image.
    if let Some(name) = process.user().username().clone() {
        warnings.push(format!(
            "`process.user.username` is for Windows: `{name}` is ignored"
        ));
        let mut user = process.user().clone();
        user.set_username(None);
        process.set_user(user);
    }
    let limits: Vec<_> = process
        .rlimits()
        .iter()
        .flatten()
        .map(|limit| limit.typ())
        .collect();
    for (at, kind) in limits.iter().enumerate() {
        if limits[..at].contains(kind) {
            return Err(bad_input(format!("`process.rlimits` has {kind} twice")));
        }
    }
    Ok(warnings)
}

fn destination(mount: &mut Mount) -> Result<Option<String>, Error> {
    let destination = mount.destination().clone();
    if destination.as_os_str().is_empty() {
        return Err(bad_input("a mount has an empty `destination`"));
    }
    let options = mount.options().iter().flatten();
    let is_remount = options.into_iter().any(|option| option == "remount");
    if paths::cleaned(&destination) == Path::new("/") && !is_remount {
        return Err(bad_input("a mount covers `/`, where `root.path` lies"));
    }
    if destination.is_absolute() {
        return Ok(None);
    }
    let absolute = Path::new("/").join(&destination);
    let warning = format!(
        "the destination `{}` of a mount is not absolute: it is taken for `{}`",
        destination.display(),
        absolute.display()
    );
    mount.set_destination(absolute);
    Ok(Some(warning))
}

/// Each kind of hooks by its name, in the order in which they are run.
#[allow(deprecated)]
pub fn kinds_of_hooks(hooks: &Hooks) -> [(&'static str, &Option<Vec<Hook>>); 6] {
    [
        ("prestart", hooks.prestart()),
        ("createRuntime", hooks.create_runtime()),
        ("createContainer", hooks.create_container()),
        ("startContainer", hooks.start_container()),
        ("poststart", hooks.poststart()),
        ("poststop", hooks.poststop()),
    ]
}

fn hooks(hooks: &Hooks) -> Result<(), Error> {
    for (kind, hooks) in kinds_of_hooks(hooks) {
        for (at, hook) in hooks.iter().flatten().enumerate() {
            self::hook(&format!("hooks.{kind}[{at}]"), hook)?;
        }
    }
    Ok(())
}

fn hook(name: &str, hook: &Hook) -> Result<(), Error> {
    must_be_absolute(&format!("{name}.path"), hook.path())?;
    match hook.timeout() {
        Some(..=0) => Err(bad_input(format!("`{name}.timeout` is not greater than 0"))),
        _ => Ok(()),
    }
}

fn linux(linux: &mut Linux) -> Result<Vec<String>, Error> {
    namespaces(linux)?;
    let lists = [
        ("linux.maskedPaths", linux.masked_paths()),
        ("linux.readonlyPaths", linux.readonly_paths()),
    ];
    for (name, paths) in lists {
        for path in paths.iter().flatten() {
            must_be_absolute(name, Path::new(path))?;
        }
    }
    for device in linux.devices().iter().flatten() {
        must_be_absolute("linux.devices[].path", device.path())?;
    }
    if let Some(seccomp) = linux.seccomp()
        && seccomp
            .listener_metadata()
            .as_ref()
            .is_some_and(|text| !text.is_empty())
        && seccomp.listener_path().is_none()
    {
        return Err(bad_input(
            "`linux.seccomp.listenerMetadata` needs a `listenerPath`",
        ));
    }
    match linux.resources() {
        Some(limits) => resources::of_version_1(limits),
        None => Ok(Vec::new()),
    }
}

fn namespaces(linux: &mut Linux) -> Result<(), Error> {
    for namespace in linux.namespaces_mut().iter_mut().flatten() {
        let is_empty = |path: &PathBuf| path.as_os_str().is_empty();
        if namespace.path().as_ref().is_some_and(is_empty) {
            namespace.set_path(None);
        }
    }
    let all = linux.namespaces().as_deref().unwrap_or_default();
    for (at, namespace) in all.iter().enumerate() {
        let kind = namespace.typ();
        if all[..at].iter().any(|other| other.typ() == kind) {
            return Err(bad_input(format!(
                "`linux.namespaces` has the type `{kind}` twice"
            )));
        }
        if let Some(path) = namespace.path() {
            must_be_absolute("linux.namespaces[].path", path)?;
        }
    }
    let user = all
        .iter()
        .find(|namespace| namespace.typ() == LinuxNamespaceType::User);
    if inherits_mounts(linux) {
        let of_root = linux.rootfs_propagation().as_deref().unwrap_or_default();
        let lacking = match user {
            Some(_) => Some("a namespace of type `user`"),
            None if ["", "private", "rprivate"].contains(&of_root) => None,
            None => Some("`linux.rootfsPropagation`"),
        };
        if let Some(what) = lacking {
            return Err(bad_input(format!(
                "{what} needs a namespace of type `mount`"
            )));
        }
    }
    let has = |mappings: &Option<Vec<_>>| mappings.as_ref().is_some_and(|list| !list.is_empty());
    let (uids, gids) = (has(linux.uid_mappings()), has(linux.gid_mappings()));
    match user.map(|namespace| namespace.path().is_some()) {
        None if uids || gids => Err(bad_input(
            "`linux.uidMappings` and `linux.gidMappings` need a namespace of type `user`",
        )),
        Some(false) if !uids || !gids => Err(bad_input(
            "a new namespace of type `user` needs `linux.uidMappings` and `linux.gidMappings`",
        )),
        _ => Ok(()),
    }
}

fn must_be_absolute(name: &str, path: &Path) -> Result<(), Error> {
    match path.is_absolute() {
        true => Ok(()),
        false => Err(bad_input(format!(
            "`{name}` is not an absolute path: `{}`",
            path.display()
        ))),
    }
}
