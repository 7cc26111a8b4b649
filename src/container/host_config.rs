//! What a container was asked to have of the host, as Docker's API shows it (`HostConfig`): all of its fields, those
//! too that cannot be asked for, since programs read them.

use super::confinement;
use super::inspect::without_null;
use super::mount_point::describe;
use super::options::{
    DeviceMapping, DeviceRequest, Log, Namespace, Nested, NetworkMode, Options, PortRequest,
    Seccomp, UserNamespace,
};
use super::record::Record;
use super::resources::DeviceRate;
use super::spec;
use crate::id_mapping::Range;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// All of it.
pub(super) fn host_config(record: &Record) -> Value {
    let (options, requests) = (&record.options, describe::requests(record));
    let parts = [
        json!({ "Binds": describe::binds(&requests) }),
        general(options, &record.name),
        limits(options),
        json!({ "Mounts": describe::asked(&requests) }),
        guarded(options),
        json!({ "Egress": options.egress }),
    ];
    let fields = parts.into_iter().filter_map(|part| match part {
        Value::Object(fields) => Some(fields),
        _ => None,
    });
    let fields: Map<String, Value> = fields.flatten().collect();
    without_null(
        fields.into(),
        &[
            "Annotations",
            "StorageOpt",
            "Tmpfs",
            "Sysctls",
            "Mounts",
            "Init",
            "IDMappings",
            "Egress",
        ],
    )
}

/// The ids of a user namespace as podman shows them.
fn id_mappings(nested: &Nested) -> Value {
    let lines = |ranges: &[Range]| -> Vec<String> {
        let line = |range: &Range| format!("{}:{}:{}", range.inside, range.outside, range.size);
        ranges.iter().map(line).collect()
    };
    json!({ "UidMap": lines(&nested.maps.uids), "GidMap": lines(&nested.maps.gids) })
}

fn general(options: &Options, name: &str) -> Value {
    let hosts = options.extra_hosts.iter();
    let hosts: Vec<String> = hosts
        .map(|host| format!("{}:{}", host.name, host.address))
        .collect();
    let cidfile = options
        .cidfile
        .as_ref()
        .map(|path| path.display().to_string());
    json!({
        "ContainerIDFile": cidfile.unwrap_or_default(),
        "LogConfig": { "Type": log_driver(&options.log), "Config": options.log.options },
        "NetworkMode": network(options),
        "PortBindings": port_bindings(&options.ports),
        "RestartPolicy": {
            "Name": options.restart.word(),
            "MaximumRetryCount": options.restart.maximum(),
        },
        "AutoRemove": options.auto_remove,
        "VolumeDriver": options.volume_driver,
        "VolumesFrom": some(&options.volumes_from, options.volumes_from.is_empty()),
        "ConsoleSize": options.console_size.unwrap_or_default(),
        "Annotations": some(&options.annotations, options.annotations.is_empty()),
        "CapAdd": some(&options.cap_add, options.cap_add.is_empty()),
        "CapDrop": some(&options.cap_drop, options.cap_drop.is_empty()),
        "CgroupnsMode": mode(options.cgroupns),
        "Dns": options.dns,
        "DnsOptions": options.dns_options,
        "DnsSearch": options.dns_search,
        "ExtraHosts": some(&hosts, hosts.is_empty()),
        "GroupAdd": some(&options.group_add, options.group_add.is_empty()),
        "IpcMode": mode(options.ipc),
        "Cgroup": "",
        "Links": links(options, name),
        "OomScoreAdj": options.oom_score_adj,
        "PidMode": host_only(options.pid),
        "Privileged": options.privileged,
        "PublishAllPorts": options.publish_all,
        "ReadonlyRootfs": options.read_only,
        "SecurityOpt": security(options),
        "StorageOpt": some(&options.storage_options, options.storage_options.is_empty()),
        "Tmpfs": some(&options.tmpfs, options.tmpfs.is_empty()),
        "UTSMode": host_only(options.uts),
        "IDMappings": options.nested.as_ref().map(id_mappings),
        "UsernsMode": match (&options.userns, &options.nested) {
            (UserNamespace::Default, Some(_)) => "private".to_owned(),
            (mode, _) => mode.to_string(),
        },
        "ShmSize": options.shm_size.unwrap_or(spec::DEFAULT_SHM_SIZE),
        "Sysctls": some(&options.sysctls, options.sysctls.is_empty()),
        "Runtime": "onggi",
        "Isolation": "",
    })
}

/// Null for what is empty.
fn some(value: &impl serde::Serialize, empty: bool) -> Value {
    match empty {
        true => Value::Null,
        false => json!(value),
    }
}

fn mode(namespace: Namespace) -> &'static str {
    match namespace {
        Namespace::Private => "private",
        Namespace::Host => "host",
        Namespace::None => "none",
    }
}

fn host_only(namespace: Namespace) -> &'static str {
    match namespace {
        Namespace::Host => "host",
        Namespace::Private | Namespace::None => "",
    }
}

/// The limits of the program, and those of its cgroup.
fn limits(options: &Options) -> Value {
    let ulimits = options.ulimits.iter();
    let ulimits: Vec<Value> = ulimits
        .map(|ulimit| json!({ "Name": ulimit.name, "Hard": ulimit.hard, "Soft": ulimit.soft }))
        .collect();
    let asked = &options.resources;
    let weights = asked.blkio_weight_device.iter();
    let weights = weights.map(|device| json!({ "Path": device.path, "Weight": device.weight }));
    json!({
        "CpuShares": asked.cpu_shares,
        "Memory": asked.memory,
        "NanoCpus": asked.nano_cpus,
        "CgroupParent": options.cgroups.parent.as_deref().unwrap_or_default(),
        "BlkioWeight": asked.blkio_weight,
        "BlkioWeightDevice": weights.collect::<Vec<_>>(),
        "BlkioDeviceReadBps": rates(&asked.device_read_bps),
        "BlkioDeviceWriteBps": rates(&asked.device_write_bps),
        "BlkioDeviceReadIOps": rates(&asked.device_read_iops),
        "BlkioDeviceWriteIOps": rates(&asked.device_write_iops),
        "CpuPeriod": asked.cpu_period,
        "CpuQuota": asked.cpu_quota,
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
        "CpusetCpus": asked.cpuset_cpus,
        "CpusetMems": asked.cpuset_mems,
        "Devices": options.devices.iter().map(device).collect::<Vec<_>>(),
        "DeviceCgroupRules": some(
            &options.device_cgroup_rules,
            options.device_cgroup_rules.is_empty(),
        ),
        "DeviceRequests": some(
            &options.device_requests.iter().map(device_request).collect::<Vec<_>>(),
            options.device_requests.is_empty(),
        ),
        "MemoryReservation": asked.memory_reservation,
        "MemorySwap": asked.memory_swap,
        "MemorySwappiness": null,
        "OomKillDisable": null,
        "PidsLimit": asked.pids_limit,
        "Ulimits": ulimits,
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
    })
}

fn rates(devices: &[DeviceRate]) -> Vec<Value> {
    let devices = devices.iter();
    devices
        .map(|device| json!({ "Path": device.path, "Rate": device.rate }))
        .collect()
}

fn device(device: &DeviceMapping) -> Value {
    json!({
        "PathOnHost": device.host,
        "PathInContainer": device.container,
        "CgroupPermissions": device.access,
    })
}

fn device_request(request: &DeviceRequest) -> Value {
    let described = request.driver == "cdi";
    json!({
        "Driver": request.driver,
        "Count": request.count,
        "DeviceIDs": some(&request.device_ids, request.device_ids.is_empty()),
        "Capabilities": some(&request.capabilities, request.capabilities.is_empty()),
        "Options": some(&request.options, described),
    })
}

fn guarded(options: &Options) -> Value {
    let (masked, read_only) = confinement::guarded_paths(options).unzip();
    json!({
        "MaskedPaths": masked,
        "ReadonlyPaths": read_only,
        "Init": options.init.then_some(true),
    })
}

/// Containers of versions that kept no log name no driver.
fn log_driver(log: &Log) -> &str {
    match log.driver.as_str() {
        "" => "none",
        driver => driver,
    }
}

/// Which network: the name of the first one, or how else it has one.
fn network(options: &Options) -> String {
    let with_options = |kind: &str, words: &[String]| match words.is_empty() {
        true => kind.to_owned(),
        false => format!("{kind}:{}", words.join(",")),
    };
    match &options.network {
        NetworkMode::Private => match options.networks.first() {
            Some(first) => first.network.clone(),
            None => options.last_network.clone().unwrap_or_default(),
        },
        NetworkMode::Host => "host".to_owned(),
        NetworkMode::None => "none".to_owned(),
        NetworkMode::Container(id) => format!("container:{id}"),
        NetworkMode::Path(path) => format!("ns:{}", path.display()),
        NetworkMode::Slirp4netns(words) => with_options("slirp4netns", words),
        NetworkMode::Pasta(words) => with_options("pasta", words),
    }
}

/// By port of the container, as it was asked for: a host port that is not chosen yet is empty.
fn port_bindings(requests: &[PortRequest]) -> Value {
    let mut all: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for request in requests {
        let (first, last) = request.container;
        for port in first..=last {
            let host = match request.host {
                None => String::new(),
                Some((first, last))
                    if request.container.0 == request.container.1 && first != last =>
                {
                    format!("{first}-{last}")
                }
                Some((host, _)) => host.saturating_add(port - first).to_string(),
            };
            let address = request.address.map_or(String::new(), |it| it.to_string());
            let bindings = all.entry(format!("{port}/{}", request.protocol.word()));
            let binding = json!({ "HostIp": address, "HostPort": host });
            bindings.or_default().push(binding);
        }
    }
    json!(all)
}

/// As Docker's API has them, `/NAME:/CONTAINER/ALIAS`.
fn links(options: &Options, name: &str) -> Value {
    let links = options.links.iter().map(|link| {
        let (other, alias) = link.split_once(':').unwrap_or((link, link));
        format!("/{other}:/{name}/{alias}")
    });
    let links: Vec<String> = links.collect();
    some(&links, links.is_empty())
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
    let paths = [("mask", &security.mask), ("unmask", &security.unmask)];
    for (key, paths) in paths.iter().filter(|(_, paths)| !paths.is_empty()) {
        all.push(format!("{key}={}", paths.join(":")));
    }
    let apparmor = security.apparmor.iter();
    all.extend(apparmor.map(|profile| format!("apparmor={profile}")));
    all.extend(security.label.iter().map(|label| format!("label={label}")));
    some(&all, all.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::endpoint::Protocol;

    #[test]
    fn ports_as_they_were_asked_for() {
        let request = |address: Option<&str>, host, container| PortRequest {
            address: address.map(|text| text.parse().unwrap()),
            host,
            container,
            protocol: Protocol::Udp,
        };
        let requests = [
            request(Some("::1"), Some((8000, 8001)), (80, 81)),
            request(None, Some((9000, 9010)), (80, 80)),
            request(None, None, (65_535, 65_535)),
        ];
        let expected = json!({
            "65535/udp": [{"HostIp": "", "HostPort": ""}],
            "80/udp": [{"HostIp": "::1", "HostPort": "8000"}, {"HostIp": "", "HostPort": "9000-9010"}],
            "81/udp": [{"HostIp": "::1", "HostPort": "8001"}],
        });
        assert_eq!(port_bindings(&requests), expected);
    }

    #[test]
    fn networks_links_and_what_is_none() {
        let mut options = Options {
            links: vec!["db:data".to_owned()],
            ..Options::default()
        };
        assert_eq!(links(&options, "web"), json!(["/db:/web/data"]));
        assert_eq!(links(&Options::default(), "web"), Value::Null);
        for (mode, expected) in [
            (NetworkMode::Host, "host"),
            (NetworkMode::None, "none"),
            (NetworkMode::Container("0123".to_owned()), "container:0123"),
            (NetworkMode::Path("/run/netns/a".into()), "ns:/run/netns/a"),
            (NetworkMode::Slirp4netns(Vec::new()), "slirp4netns"),
            (
                NetworkMode::Pasta(vec!["--mtu".to_owned(), "1500".to_owned()]),
                "pasta:--mtu,1500",
            ),
        ] {
            options.network = mode;
            assert_eq!(network(&options), expected);
        }
    }
}
