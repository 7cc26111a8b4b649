//! Settings of the kernel that networks need (ip-sysctl.rst of the kernel). Those of the network namespace that the
//! calling thread is in; what is as it should be is not written.

use crate::error::{Error, Kind, bad_input};
use crate::network::nftables::layout::Version;
use anyhow::{Context, Result};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

const ROOT: &str = "/proc/sys/net";

/// Whether the kernel has IPv6 at all.
pub fn has_ipv6() -> bool {
    Path::new(ROOT).join("ipv6").exists()
}

/// Whether packets go through this namespace, or there are none of that family.
pub fn forwards(version: Version) -> Result<bool> {
    match version {
        Version::V6 if !has_ipv6() => Ok(true),
        version => Ok(get(forwarding(version))? == "1"),
    }
}

fn forwarding(version: Version) -> &'static str {
    ["ipv4/ip_forward", "ipv6/conf/all/forwarding"][version as usize]
}

/// Lets packets go through this namespace. Where an interface of the host gets its IPv6 addresses from a router's
/// advertisements, it goes on to: that would end with forwarding unless it is asked for (`accept_ra` 2).
pub fn forward(version: Version) -> Result<()> {
    if version == Version::V6 {
        let interfaces = Path::new(ROOT).join("ipv6/conf");
        for interface in
            fs::read_dir(&interfaces).with_context(|| format!("read `{}`", interfaces.display()))?
        {
            let name = interface?.file_name();
            let name = name.to_string_lossy();
            let file = format!("ipv6/conf/{name}/accept_ra");
            if name != "all" && name != "lo" && get(&file).is_ok_and(|value| value == "1") {
                set(&file, "2")?;
            }
        }
    }
    set(forwarding(version), "1")
}

/// Lets no packets go through this namespace: a new one may have inherited the host's settings.
pub fn do_not_forward() -> Result<()> {
    set("ipv4/ip_forward", "0")?;
    set_if_known("ipv6/conf/all/forwarding", "0")
}

/// An interface of ours takes no router's advertisements: any container could send them.
pub fn ignore_routers(interface: &str) -> Result<()> {
    set_if_known(&format!("ipv6/conf/{interface}/accept_ra"), "0")
}

/// An interface that was given no IPv6 address gets none.
pub fn disable_ipv6(interface: &str) -> Result<()> {
    set_if_known(&format!("ipv6/conf/{interface}/disable_ipv6"), "1")
}

/// Whether the packet rules see frames between two ports of a bridge too (br_netfilter).
pub fn has_bridged_frames() -> bool {
    get("bridge/bridge-nf-call-iptables").is_ok_and(|value| value == "1")
}

/// Frames between two ports of a bridge are none of the packet rules' business.
pub fn leave_bridged_frames_alone() -> Result<()> {
    for file in [
        "bridge/bridge-nf-call-iptables",
        "bridge/bridge-nf-call-ip6tables",
    ] {
        set_if_known(file, "0")?;
    }
    Ok(())
}

/// An interface that is given IPv6 addresses can have them, whatever the host's default.
pub fn enable_ipv6(interface: &str) -> Result<()> {
    set_if_known(&format!("ipv6/conf/{interface}/disable_ipv6"), "0")
}

/// Sets what `--driver-opt com.docker.network.endpoint.sysctls` lists: `net.ipv4.conf.IFNAME.log_martians=1,…`, where
/// `IFNAME` stands for the interface.
pub fn set_listed(list: &str, interface: &str) -> Result<()> {
    for setting in list
        .split(',')
        .map(str::trim)
        .filter(|setting| !setting.is_empty())
    {
        let wrong = || {
            let message = format!("invalid endpoint sysctl setting `{setting}`");
            bad_input(message).hint("as in `net.ipv4.conf.IFNAME.log_martians=1`")
        };
        let (key, value) = setting.split_once('=').ok_or_else(wrong)?;
        let parts: Vec<&str> = key.split('.').collect();
        let [
            "net",
            family @ ("ipv4" | "ipv6" | "mpls"),
            group @ ("conf" | "neigh"),
            "IFNAME",
            name,
        ] = parts[..]
        else {
            return Err(wrong().into());
        };
        if name.is_empty() || name.contains('/') {
            return Err(wrong().into());
        }
        set(&format!("{family}/{group}/{interface}/{name}"), value)?;
    }
    Ok(())
}

fn set_if_known(file: &str, value: &str) -> Result<()> {
    match Path::new(ROOT).join(file).exists() {
        true => set(file, value),
        false => Ok(()),
    }
}

fn get(file: &str) -> Result<String> {
    let path = Path::new(ROOT).join(file);
    let content =
        fs::read_to_string(&path).with_context(|| format!("read `{}`", path.display()))?;
    Ok(content.trim_end().to_owned())
}

fn set(file: &str, value: &str) -> Result<()> {
    let path: PathBuf = Path::new(ROOT).join(file);
    if get(file)? == value {
        return Ok(());
    }
    match fs::write(&path, value) {
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
            ) =>
        {
            let message = format!("write `{value}` to `{}`: {error}", path.display());
            let key = format!("net.{}", file.replace('/', "."));
            let hint = format!("let the administrator do it: sysctl -w {key}={value}");
            Err(Error::new(Kind::Denied, message).hint(hint).into())
        }
        result => result.with_context(|| format!("write `{value}` to `{}`", path.display())),
    }
}
