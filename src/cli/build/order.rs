//! From flags and the environment to what is to be built, as plain values.

use super::cache_flag::CacheTo;
use super::flags::Build;
use super::{proxy, secret};
use crate::build::context::address::Address;
use crate::build::order::{EPOCH, Entitlements, Order, epoch};
use crate::build::worker::order::Network;
use crate::cli::Context;
use crate::cli::value::environment::key_value_file;
use crate::container::resources::Resources;
use crate::error::{Error, bad_input};
use crate::image::platform::Platform;
use crate::image::registry::Options;
use crate::image::registry::credentials::Files;
use crate::settings::Settings;
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::path::PathBuf;

impl Build {
    /// What was given although it changes nothing, and why.
    pub(super) fn without_effect(&self, caches: &CacheTo) -> Vec<(&'static str, &'static str)> {
        let mut found = Vec::new();
        if caches.inline_all {
            let why = "an image has no layers but its own; type=registry takes all";
            found.push(("cache-to type=inline,mode=max", why));
        }
        if !self.security_opt.is_empty() {
            found.push(("security-opt", "`RUN --security` says what a step may do"));
        }
        found
    }

    /// How registries are spoken to.
    pub(super) fn registries(&self, context: &Context) -> Result<Options> {
        Ok(Options {
            files: Files {
                directory: context.globals.config.clone(),
                file: self.authfile.clone(),
            },
            tls_verify: self.tls_verify,
            certificates: None,
            silence: Settings::load()?.registry_timeout,
        })
    }

    /// What was asked for.
    pub(super) fn order(self, context: &Context, inline_cache: bool) -> Result<Order> {
        if let Some(builder) = self.builder.as_deref().filter(|name| !name.is_empty()) {
            super::buildx::only(builder)?;
        }
        if self.file.as_deref() == Some("-") && self.context == "-" {
            let message = "invalid argument: can't use stdin for both build context and dockerfile";
            return Err(bad_input(message).into());
        }
        let mut pull_options = Vec::new();
        if let Some(file) = &self.authfile {
            pull_options.push(format!("--authfile={}", file.display()));
        }
        if let Some(verify) = self.tls_verify {
            pull_options.push(format!("--tls-verify={verify}"));
        }
        let epoch = match self.source_date_epoch {
            Some(epoch) => Some(epoch),
            None => epoch(&std::env::var(EPOCH).unwrap_or_default())?,
        };
        Ok(Order {
            arguments: self.arguments(context)?,
            contexts: self.contexts()?,
            platforms: self.platforms()?,
            resources: self.resources(),
            cache_from: self.cache_from(&self.registries(context)?)?,
            inline_cache,
            context: self.context,
            dockerfile: self.file,
            target: self.target,
            labels: self.label.into_iter().collect(),
            pull: self.pull.unwrap_or(false),
            no_cache: self.no_cache,
            no_cache_filter: self.no_cache_filter,
            epoch,
            jobs: self.jobs.filter(|&jobs| jobs > 0),
            network: match self.network.as_deref() {
                None | Some("" | "default") => Network::Default,
                Some("none") => Network::None,
                Some("host") => Network::Host,
                Some(name) => Network::Named(name.to_owned()),
            },
            hosts: self.add_host,
            device_directories: absolute(&context.globals.cdi_spec_dir)?,
            shm_size: self.shm_size.filter(|bytes| *bytes > 0),
            ulimits: self.ulimit,
            cgroup_parent: self.cgroup_parent.filter(|parent| !parent.is_empty()),
            secrets: secret::secrets(self.secret)?,
            agents: secret::agents(self.ssh)?,
            allowed: entitlements(&self.allow, self.network.as_deref())?,
            configuration: context.globals.config.clone(),
            pull_options,
            check: self.check,
            verify: self.verify,
        })
    }

    /// The configuration's proxies, files, and flags, of which the later win.
    fn arguments(&self, context: &Context) -> Result<BTreeMap<String, String>> {
        let mut arguments = proxy::arguments(context.globals.config.as_deref())?;
        let mut given = Vec::new();
        for path in &self.build_arg_file {
            given.extend(key_value_file(path)?);
        }
        given.extend(self.build_arg.iter().cloned());
        for text in given {
            match text.split_once('=') {
                Some((name, value)) => drop(arguments.insert(name.to_owned(), value.to_owned())),
                None => match std::env::var(&text) {
                    Ok(value) => drop(arguments.insert(text, value)),
                    // As if it had not been said.
                    Err(_) => drop(arguments.remove(&text)),
                },
            }
        }
        Ok(arguments)
    }

    fn contexts(&self) -> Result<BTreeMap<String, String>> {
        let named = |text: &String| match text.split_once('=') {
            Some((name, place)) if !name.is_empty() => {
                let context = || format!("failed to get build context {name}");
                // Whether a step wants it or not.
                if let Address::Directory(path) = Address::parse_named(place)? {
                    let found = std::fs::metadata(&path);
                    let found = found.with_context(|| format!("stat `{}`", path.display()));
                    if !found.with_context(context)?.is_dir() {
                        let message = format!("`{}` is no directory", path.display());
                        return Err(bad_input(message)).with_context(context);
                    }
                }
                Ok((name.to_owned(), place.to_owned()))
            }
            _ => {
                Err(bad_input(format!("invalid context value: {text}, expected key=value")).into())
            }
        };
        self.build_context.iter().map(named).collect()
    }

    fn platforms(&self) -> Result<Vec<Platform>> {
        if !self.platform.is_empty() {
            let mut platforms: Vec<Platform> = Vec::new();
            for platform in &self.platform {
                if !platforms.contains(platform) {
                    platforms.push(platform.clone());
                }
            }
            return Ok(platforms);
        }
        match std::env::var("DOCKER_DEFAULT_PLATFORM") {
            Ok(text) if !text.is_empty() => {
                let parsed: Result<Platform, Error> = text.parse();
                Ok(vec![parsed.context("read DOCKER_DEFAULT_PLATFORM")?])
            }
            _ => Ok(Vec::new()),
        }
    }

    fn resources(&self) -> Resources {
        Resources {
            memory: self.memory.unwrap_or_default(),
            memory_swap: self.memory_swap.unwrap_or_default(),
            cpu_period: self.cpu_period.unwrap_or_default(),
            cpu_quota: self.cpu_quota.unwrap_or_default(),
            cpu_shares: self.cpu_shares.unwrap_or_default(),
            cpuset_cpus: self.cpuset_cpus.clone().unwrap_or_default(),
            cpuset_mems: self.cpuset_mems.clone().unwrap_or_default(),
            ..Resources::default()
        }
    }
}

/// Whoever gives all steps the host's network lets each ask for it.
fn entitlements(allow: &[String], network: Option<&str>) -> Result<Entitlements, Error> {
    let mut allowed = Entitlements {
        host_network: network == Some("host"),
        ..Entitlements::default()
    };
    for word in allow {
        match word.as_str() {
            "security.insecure" => allowed.insecure = true,
            "network.host" => allowed.host_network = true,
            // A device is handed out by its description, which says who may have it.
            word if word == "device" || word.starts_with("device=") => {}
            other => {
                let message = format!("unknown entitlement key \"{other}\"");
                return Err(bad_input(message).hint("--allow security.insecure or network.host"));
            }
        }
    }
    Ok(allowed)
}

/// As seen from the current directory, which workers do not have.
fn absolute(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let absolute = paths.iter().map(std::path::absolute);
    let absolute: std::io::Result<_> = absolute.collect();
    absolute.context("find the current directory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entitlements_are_known_by_name() {
        let words = |words: &[&str]| -> Vec<String> { words.iter().map(|w| (*w).into()).collect() };
        let allowed = |names: &[&str], network| {
            let allowed = entitlements(&words(names), network).unwrap();
            (allowed.host_network, allowed.insecure)
        };
        assert_eq!(allowed(&[], None), (false, false));
        assert_eq!(allowed(&["network.host"], None), (true, false));
        assert_eq!(allowed(&["security.insecure"], None), (false, true));
        assert_eq!(allowed(&[], Some("host")), (true, false));
        assert!(entitlements(&words(&["everything"]), None).is_err());
    }
}
