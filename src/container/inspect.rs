//! A container as Docker's API describes it (`GET /containers/{id}/json`), as far as there is something to say.
//! Field names and types are Docker's, since programs read them.

use super::confinement;
use super::create::hostname;
use super::engine::Engine;
use super::health;
use super::host_config::host_config;
use super::list::Container;
use super::mount_point::describe;
use super::network_settings::{self, Port};
use super::record::{Directory, Status};
use crate::image::config::Execution;
use crate::image::store::{self, overlay_order};
use crate::paths::Paths;
use anyhow::Result;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Docker's way to say "never".
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The description of one container; `size` adds what its files take, which has to be counted.
pub fn inspect(engine: &Engine, container: &Container, size: bool) -> Result<Value> {
    let record = &container.record;
    let (options, program) = (&record.options, &record.program);
    let directory = Directory::of(engine, &record.id);
    let words = program.words();
    let contexts = confinement::contexts(record)?;
    let path = |name| directory.file(name).display().to_string();
    let image = store::find(&engine.paths, &record.image.to_string());
    let image = image.map(|image| image.config.config).unwrap_or_default();
    let exposed = network_settings::exposed(options, &image.exposed_ports);
    let mut description = json!({
        "Id": record.id,
        "Created": record.created,
        "Path": words.first(),
        "Args": words.get(1..).unwrap_or_default(),
        "State": state(engine, container),
        "Image": record.image,
        "ResolvConfPath": path("resolv.conf"),
        "HostnamePath": path("hostname"),
        "HostsPath": path("hosts"),
        "LogPath": super::log::path(record, &directory).map_or(String::new(), |path| path.display().to_string()),
        "Name": format!("/{}", record.name),
        "RestartCount": container.state.as_ref().map_or(0, |state| state.restart_count),
        "Driver": driver(&directory),
        "Platform": "linux",
        "MountLabel": contexts.as_ref().map_or("", |contexts| &contexts.mount),
        "ProcessLabel": contexts.as_ref().map_or("", |contexts| &contexts.process),
        "AppArmorProfile": match &options.security.apparmor {
            Some(profile) => profile.clone(),
            None => confinement::apparmor_profile(options).unwrap_or_default(),
        },
        "ExecIDs": Some(super::exec::running(&directory)).filter(|ids| !ids.is_empty()),
        "HostConfig": host_config(record),
        "GraphDriver": { "Data": overlay(&engine.paths, container, &directory), "Name": driver(&directory) },
        "Mounts": describe::mounts(&record.mounts, &engine.paths),
        "Config": config(container, &image, &exposed),
        "NetworkSettings": network_settings::network_settings(engine, container, exposed),
    });
    if size {
        let own = super::size::written(engine, &record.id)?;
        let image = store::find(&engine.paths, &record.image.to_string());
        description["SizeRw"] = own.into();
        description["SizeRootFs"] = (own + image.map_or(0, |image| image.size)).into();
    }
    Ok(description)
}

fn state(engine: &Engine, container: &Container) -> Value {
    let status = container.status();
    let state = container.state.as_ref();
    let time = |text: Option<&String>| {
        text.filter(|text| !text.is_empty())
            .cloned()
            .unwrap_or_else(|| NEVER.to_owned())
    };
    let running = status.is_active();
    let pid = state
        .filter(|_| status.is_up())
        .and_then(|state| state.program.as_ref())
        .map_or(0, |program| program.pid);
    let health = health::shown(engine, &container.record, status);
    // Of one that runs, it is the end before.
    let ended = state.and_then(|state| match status.is_active() {
        true => Some(state.finished.clone()),
        false => state.ended(),
    });
    let fields = json!({
        "Status": status.word(),
        "Running": running,
        "Paused": status == Status::Paused,
        "Restarting": status == Status::Restarting,
        "OOMKilled": state.is_some_and(|state| state.oom_killed),
        "Dead": false,
        "Pid": pid,
        "ExitCode": if status.is_up() { 0 } else { state.map_or(0, |state| state.code()) },
        "Error": state.map_or("", |state| &state.error),
        "StartedAt": time(state.map(|state| &state.started)),
        "FinishedAt": time(ended.as_ref()),
        "Health": health,
    });
    without_null(fields, &["Health"])
}

/// What the program is.
fn config(container: &Container, image: &Execution, exposed: &BTreeSet<Port>) -> Value {
    let record = &container.record;
    let (options, program) = (&record.options, &record.program);
    let some = |words: &[String]| (!words.is_empty()).then(|| words.to_vec());
    let set = |names: &BTreeSet<String>| -> Value {
        match names.is_empty() {
            true => Value::Null,
            false => names
                .iter()
                .map(|name| (name.clone(), json!({})))
                .collect::<Map<_, _>>()
                .into(),
        }
    };
    let mut volumes = image.volumes.clone();
    volumes.extend(describe::anonymous_targets(&describe::requests(record)).map(str::to_owned));
    let fields = json!({
        "Hostname": hostname(record),
        "Domainname": options.domainname.clone().unwrap_or_default(),
        "User": program.user,
        "AttachStdin": options.interactive,
        "AttachStdout": true,
        "AttachStderr": true,
        "ExposedPorts": set(&network_settings::words(exposed)),
        "Tty": options.tty,
        "OpenStdin": options.interactive,
        "StdinOnce": options.stdin_once,
        "Env": program.environment,
        "Cmd": some(&program.command),
        "Healthcheck": record.healthcheck,
        "Image": record.image_name,
        "Volumes": set(&volumes),
        "WorkingDir": program.working_directory,
        "Entrypoint": some(&program.entrypoint),
        "OnBuild": null,
        "Labels": record.labels,
        "StopSignal": Some(&program.stop_signal).filter(|signal| !signal.is_empty()),
        "StopTimeout": options.stop_timeout,
        "Shell": Some(&record.shell).filter(|shell| !shell.is_empty()),
    });
    without_null(
        fields,
        &[
            "ExposedPorts",
            "Healthcheck",
            "StopSignal",
            "StopTimeout",
            "Shell",
        ],
    )
}

/// Leaves out what Docker leaves out when there is nothing to say.
pub(super) fn without_null(mut fields: Value, names: &[&str]) -> Value {
    if let Some(fields) = fields.as_object_mut() {
        fields.retain(|name, value| !value.is_null() || !names.contains(&name.as_str()));
    }
    fields
}

/// Docker's word for what its root is made of.
fn driver(directory: &Directory) -> &'static str {
    match super::root::is_copy(directory) {
        true => "vfs",
        false => "overlay2",
    }
}

fn overlay(paths: &Paths, container: &Container, directory: &Directory) -> Value {
    if super::root::is_copy(directory) {
        return json!({ "Dir": directory.file("upper").display().to_string() });
    }
    let lower: Vec<String> = overlay_order(&container.record.layers)
        .into_iter()
        .map(|layer| paths.layer_tree(layer).display().to_string())
        .collect();
    json!({
        "ID": container.record.id,
        "LowerDir": lower.join(":"),
        "UpperDir": directory.file("upper").display().to_string(),
        "WorkDir": directory.file("work").display().to_string(),
    })
}
