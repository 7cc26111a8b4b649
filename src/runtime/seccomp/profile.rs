//! Policies as files: Docker's form (moby/profiles, with `archMap`, `includes` and `excludes`), and
//! runtime-spec's, of which it is a superset.
//!
//! Unknown fields are passed over; unknown actions, operators and flags are errors.

use super::KernelVersion;
use super::docker_default::Circumstances;
use super::syscall_table::Family;
use crate::error::{Error, bad_input};
use crate::runtime::capabilities::CapabilitySet;
use anyhow::Result;
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSyscall,
};
use serde::Deserialize;
use std::path::PathBuf;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: Option<LinuxSeccompAction>,
    default_errno_ret: Option<u32>,
    architectures: Option<Vec<String>>,
    arch_map: Option<Vec<ArchitectureMap>>,
    flags: Option<Vec<LinuxSeccompFilterFlag>>,
    listener_path: Option<PathBuf>,
    listener_metadata: Option<String>,
    syscalls: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchitectureMap {
    architecture: String,
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    name: Option<String>,
    names: Option<Vec<String>>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    args: Option<Vec<LinuxSeccompArg>>,
    includes: Option<Filter>,
    excludes: Option<Filter>,
}

/// What an entry depends on.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// Reads a policy and keeps of it what holds under `circumstances` on this architecture.
///
/// Errors: no JSON, no `defaultAction`, unknown words, `names` beside `name`, `archMap` beside `architectures`.
pub fn parse_policy(text: &str, circumstances: Circumstances) -> Result<LinuxSeccomp> {
    parse_for(text, circumstances, Family::HOST)
}

pub(super) fn parse_for(
    text: &str,
    circumstances: Circumstances,
    family: Family,
) -> Result<LinuxSeccomp> {
    let profile: Profile =
        serde_json::from_str(text).map_err(|error| invalid(&error.to_string()))?;
    let Some(default) = profile.default_action else {
        return Err(invalid("`defaultAction` is missing")
            .hint("`--security-opt seccomp=unconfined` runs without a policy")
            .into());
    };
    let architectures = match (profile.architectures, profile.arch_map) {
        (Some(list), Some(map)) if !list.is_empty() && !map.is_empty() => {
            return Err(invalid("`architectures` and `archMap` exclude each other").into());
        }
        (list, Some(map)) if list.as_ref().is_none_or(Vec::is_empty) => mapped(map, family),
        (list, _) => list.unwrap_or_default(),
    };
    let mut syscalls = Vec::new();
    for entry in profile.syscalls.into_iter().flatten() {
        if entry.applies(circumstances, family)? {
            syscalls.push(entry.into_oci()?);
        }
    }
    let mut seccomp = LinuxSeccomp::default();
    seccomp
        .set_default_action(default)
        .set_default_errno_ret(profile.default_errno_ret)
        .set_architectures(Some(known(&architectures)?))
        .set_flags(profile.flags)
        .set_listener_path(profile.listener_path)
        .set_listener_metadata(profile.listener_metadata)
        .set_syscalls(Some(syscalls));
    Ok(seccomp)
}

fn invalid(reason: &str) -> Error {
    bad_input(format!("seccomp policy: {reason}"))
}

/// The entry of this machine's own architecture, with those it brings along.
fn mapped(map: Vec<ArchitectureMap>, family: Family) -> Vec<String> {
    let own = family.architectures()[0].to_string();
    let found = map.into_iter().find(|entry| entry.architecture == own);
    found.map_or_else(Vec::new, |entry| {
        std::iter::once(entry.architecture)
            .chain(entry.sub_architectures.into_iter().flatten())
            .collect()
    })
}

fn known(names: &[String]) -> Result<Vec<Arch>> {
    let parse = |name: &String| {
        let value = serde_json::Value::String(name.clone());
        serde_json::from_value(value)
            .map_err(|_| invalid(&format!("unknown architecture `{name}`")).into())
    };
    names.iter().map(parse).collect()
}

impl Entry {
    /// Docker's rule: none of `excludes` may hold, all of `includes` must.
    fn applies(&self, circumstances: Circumstances, family: Family) -> Result<bool> {
        if let Some(excludes) = &self.excludes {
            let names = excludes.caps.iter().flatten();
            let capability = names
                .map(String::as_str)
                .any(|name| has(circumstances.capabilities, name));
            if excludes.lists(family) == Some(true)
                || capability
                || excludes.kernel(circumstances)? == Some(true)
            {
                return Ok(false);
            }
        }
        if let Some(includes) = &self.includes {
            let mut names = includes.caps.iter().flatten();
            let capabilities = names.all(|name| has(circumstances.capabilities, name));
            if includes.lists(family) == Some(false)
                || !capabilities
                || includes.kernel(circumstances)? == Some(false)
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn into_oci(self) -> Result<LinuxSyscall> {
        let names = match (self.name.filter(|name| !name.is_empty()), self.names) {
            (Some(_), Some(names)) if !names.is_empty() => {
                return Err(invalid("`name` and `names` exclude each other").into());
            }
            (Some(name), _) => vec![name],
            (None, names) => names.unwrap_or_default(),
        };
        let mut call = LinuxSyscall::default();
        call.set_names(names)
            .set_action(self.action)
            .set_errno_ret(self.errno_ret)
            .set_args(self.args.filter(|args| !args.is_empty()));
        Ok(call)
    }
}

impl Filter {
    /// Whether this machine is listed; none if there is no list.
    fn lists(&self, family: Family) -> Option<bool> {
        let own = match family {
            Family::X86 => "amd64",
            Family::Arm => "arm64",
        };
        let list = self.arches.as_ref().filter(|list| !list.is_empty())?;
        Some(list.iter().any(|name| name == own))
    }

    /// Whether the kernel is new enough; none if nothing is asked.
    fn kernel(&self, circumstances: Circumstances) -> Result<Option<bool>> {
        let Some(text) = self.min_kernel.as_ref().filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let Some(least) = KernelVersion::parse(text) else {
            return Err(invalid(&format!(
                "`minKernel` is not a version such as 4.8: {text:?}"
            ))
            .into());
        };
        Ok(Some(circumstances.kernel >= least))
    }
}

/// Whether the capability of this name is in the set; no kernel has what has no name here.
fn has(capabilities: CapabilitySet, name: &str) -> bool {
    CapabilitySet::parse(name).is_some_and(|capability| capabilities.contains(capability))
}
