//! A container as Docker's API describes it (`GET /containers/{id}/json`), as far as there is something to say.
//! Field names and types are Docker's, since programs read them.

use super::create::hostname;
use super::engine::Engine;
use super::list::Container;
use super::options::{Log, Namespace, Options, Seccomp, UserNamespace};
use super::record::{Directory, Status};
use crate::image::store::overlay_order;
use crate::paths::Paths;
use anyhow::Result;
use serde_json::{Value, json};

/// Docker's way to say "never".
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The description of one container; `size` adds what its files take, which has to be counted.
pub fn inspect(engine: &Engine, container: &Container, size: bool) -> Result<Value> {
    let record = &container.record;
    let (options, program) = (&record.options, &record.program);
    let directory = Directory::of(engine, &record.id);
    let words = program.words();
    let path = |name| directory.file(name).display().to_string();
    let mut description = json!({
        "Id": record.id,
        "Created": record.created,
        "Path": words.first(),
        "Args": words.get(1..).unwrap_or_default(),
        "State": state(container),
        "Image": record.image,
        "ResolvConfPath": path("resolv.conf"),
        "HostnamePath": path("hostname"),
        "HostsPath": path("hosts"),
        "LogPath": super::log::path(record, &directory).map_or(String::new(), |path| path.display().to_string()),
        "Name": format!("/{}", record.name),
        "RestartCount": container.state.as_ref().map_or(0, |state| state.restart_count),
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": options.security.apparmor.clone().unwrap_or_default(),
        "ExecIDs": Some(super::exec::running(&directory)).filter(|ids| !ids.is_empty()),
        "HostConfig": with_limits(host_config(options)),
        "GraphDriver": { "Data": overlay(&engine.paths, container, &directory), "Name": "overlay2" },
        "Mounts": [],
        "Config": config(container),
        "NetworkSettings": {
            "SandboxID": "",
            "SandboxKey": "",
            "Ports": {},
            "Gateway": "",
            "IPAddress": "",
            "IPPrefixLen": 0,
            "MacAddress": "",
            "Networks": { network(options): {} },
        },
    });
    if size {
        let own = super::size::written(engine, &record.id)?;
        let image = crate::image::store::find(&engine.paths, &record.image.to_string());
        description["SizeRw"] = own.into();
        description["SizeRootFs"] = (own + image.map_or(0, |image| image.size)).into();
    }
    Ok(description)
}

fn state(container: &Container) -> Value {
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
    json!({
        "Status": status.word(),
        "Running": running,
        "Paused": status == Status::Paused,
        "Restarting": status == Status::Restarting,
        "OOMKilled": false,
        "Dead": false,
        "Pid": pid,
        "ExitCode": if running { 0 } else { state.map_or(0, |state| state.code()) },
        "Error": state.map_or("", |state| &state.error),
        "StartedAt": time(state.map(|state| &state.started)),
        "FinishedAt": time(state.map(|state| &state.finished)),
    })
}

fn config(container: &Container) -> Value {
    let record = &container.record;
    let (options, program) = (&record.options, &record.program);
    let some = |words: &[String]| (!words.is_empty()).then(|| words.to_vec());
    json!({
        "Hostname": hostname(record),
        "Domainname": options.domainname.clone().unwrap_or_default(),
        "User": program.user,
        "AttachStdin": options.interactive,
        "AttachStdout": true,
        "AttachStderr": true,
        "Tty": options.tty,
        "OpenStdin": options.interactive,
        "StdinOnce": options.stdin_once,
        "Env": program.environment,
        "Cmd": some(&program.command),
        "Image": record.image_name,
        "Volumes": null,
        "WorkingDir": program.working_directory,
        "Entrypoint": some(&program.entrypoint),
        "OnBuild": null,
        "Labels": record.labels,
        "StopSignal": program.stop_signal,
        "StopTimeout": options.stop_timeout,
    })
}

fn host_config(options: &Options) -> Value {
    let mode = |namespace| match namespace {
        Namespace::Private => "private",
        Namespace::Host => "host",
        Namespace::None => "none",
    };
    let host_only = |namespace| {
        if namespace == Namespace::Host {
            "host"
        } else {
            ""
        }
    };
    let hosts: Vec<String> = options
        .extra_hosts
        .iter()
        .map(|host| format!("{}:{}", host.name, host.address))
        .collect();
    let ulimits: Vec<Value> = options
        .ulimits
        .iter()
        .map(|ulimit| json!({ "Name": ulimit.name, "Hard": ulimit.hard, "Soft": ulimit.soft }))
        .collect();
    json!({
        "Binds": null,
        "ContainerIDFile": options.cidfile.as_ref().map_or(String::new(), |path| path.display().to_string()),
        "LogConfig": { "Type": log_driver(&options.log), "Config": options.log.options },
        "NetworkMode": network(options),
        "PortBindings": {},
        "RestartPolicy": {
            "Name": options.restart.word(),
            "MaximumRetryCount": options.restart.maximum(),
        },
        "AutoRemove": options.auto_remove,
        "VolumeDriver": "",
        "VolumesFrom": null,
        "CapAdd": options.cap_add,
        "CapDrop": options.cap_drop,
        "CgroupnsMode": mode(options.cgroupns),
        "Dns": options.dns,
        "DnsOptions": options.dns_options,
        "DnsSearch": options.dns_search,
        "ExtraHosts": hosts,
        "GroupAdd": options.group_add,
        "IpcMode": mode(options.ipc),
        "Cgroup": "",
        "Links": null,
        "OomScoreAdj": 0,
        "PidMode": host_only(options.pid),
        "Privileged": options.privileged,
        "PublishAllPorts": false,
        "ReadonlyRootfs": options.read_only,
        "SecurityOpt": security(options),
        "Tmpfs": options.tmpfs,
        "UTSMode": host_only(options.uts),
        "UsernsMode": match options.userns {
            UserNamespace::Default => "",
            UserNamespace::Host => "host",
            UserNamespace::KeepId => "keep-id",
        },
        "ShmSize": options.shm_size.unwrap_or(64 << 20),
        "Sysctls": options.sysctls,
        "Runtime": "onggi",
        "Init": options.init,
        "Annotations": options.annotations,
        "Ulimits": ulimits,
    })
}

/// Adds the resource limits, of which there are none: programs read these fields.
fn with_limits(mut host_config: Value) -> Value {
    let limits = json!({
        "Memory": 0,
        "MemoryReservation": 0,
        "MemorySwap": 0,
        "MemorySwappiness": null,
        "NanoCpus": 0,
        "CpuShares": 0,
        "CpuPeriod": 0,
        "CpuQuota": 0,
        "CpusetCpus": "",
        "CpusetMems": "",
        "PidsLimit": null,
        "BlkioWeight": 0,
        "CgroupParent": "",
        "Devices": [],
        "DeviceRequests": null,
        "OomKillDisable": null,
    });
    if let (Some(all), Value::Object(limits)) = (host_config.as_object_mut(), limits) {
        all.extend(limits);
    }
    host_config
}

/// Containers of versions that kept no log name no driver.
fn log_driver(log: &Log) -> &str {
    match log.driver.as_str() {
        "" => "none",
        driver => driver,
    }
}

fn network(options: &Options) -> &'static str {
    match options.network {
        Namespace::Host => "host",
        _ => "none",
    }
}

fn security(options: &Options) -> Value {
    let security = &options.security;
    let mut all = Vec::new();
    if security.no_new_privileges {
        all.push("no-new-privileges".to_owned());
    }
    match &security.seccomp {
        Seccomp::Default => {}
        Seccomp::Unconfined => all.push("seccomp=unconfined".to_owned()),
        Seccomp::Policy(text) => all.push(format!("seccomp={text}")),
    }
    if security.system_paths_unconfined {
        all.push("systempaths=unconfined".to_owned());
    }
    all.extend(
        security
            .apparmor
            .iter()
            .map(|profile| format!("apparmor={profile}")),
    );
    all.extend(security.label.iter().map(|label| format!("label={label}")));
    if all.is_empty() {
        Value::Null
    } else {
        all.into()
    }
}

fn overlay(paths: &Paths, container: &Container, directory: &Directory) -> Value {
    let lower: Vec<String> = overlay_order(&container.record.layers)
        .into_iter()
        .map(|layer| paths.layer_tree(layer).display().to_string())
        .collect();
    json!({
        "LowerDir": lower.join(":"),
        "UpperDir": directory.file("upper").display().to_string(),
        "WorkDir": directory.file("work").display().to_string(),
    })
}
