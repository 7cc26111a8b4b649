//! Network devices of the host that a container gets for its own: runtime-spec config-linux.md, "Network Devices". They
//! are moved over rtnetlink(7); what the kernel takes from a device that moves, its lasting addresses and that it is up, it
//! gets back. When the container's network namespace ends, the kernel returns what is hardware and removes the rest.

use super::namespaces::Joined;
use super::plan::Plan;
use crate::error::{Error, Kind, bad_input, not_found};
use crate::sys::namespace;
use crate::sys::netlink::{Batch, Family, Refusal, Socket, attribute, flags};
use crate::sys::process::Child;
use crate::sys::process::flags::NEW_NET;
use anyhow::{Context, Result};
use oci_spec::runtime::Linux;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// One device: its name on the host and, where a `%d` stands for a free number, inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetDevice {
    outside: String,
    inside: String,
}

/// Those of a configuration, by name; `namespaces` are the container's own as flags of [`crate::sys::process::flags`].
///
/// Errors: names that no device has, two devices with one name, devices without a network namespace.
pub fn of(linux: &Linux, namespaces: u64) -> Result<Vec<NetDevice>, Error> {
    let mut devices = Vec::new();
    for (outside, wanted) in linux.net_devices().iter().flatten() {
        let inside = wanted.name().clone().filter(|name| !name.is_empty());
        let inside = inside.unwrap_or_else(|| outside.clone());
        let plain = match inside.matches('%').count() {
            1 => inside.replacen("%d", "0", 1),
            _ => inside.clone(),
        };
        for name in [outside, &plain] {
            if !is_name(name) {
                let message = format!("`linux.netDevices`: `{name}` is no name of a device");
                return Err(bad_input(message));
            }
        }
        let outside = outside.clone();
        devices.push(NetDevice { outside, inside });
    }
    devices.sort_by(|one, other| one.outside.cmp(&other.outside));
    for (at, device) in devices.iter().enumerate() {
        let is_same = |other: &NetDevice| other.inside == device.inside && !other.has_pattern();
        if devices[..at].iter().any(is_same) {
            let message = format!("`linux.netDevices` has two devices for `{}`", device.inside);
            return Err(bad_input(message));
        }
    }
    if !devices.is_empty() && namespaces & NEW_NET == 0 {
        return Err(bad_input(
            "`linux.netDevices` needs a network namespace of the container's own",
        ));
    }
    Ok(devices)
}

/// As in the kernel's `dev_valid_name`.
fn is_name(name: &str) -> bool {
    let is_bad =
        |byte: u8| byte == b'/' || byte == b':' || byte == b'%' || byte.is_ascii_whitespace();
    (1..libc::IFNAMSIZ).contains(&name.len())
        && ![".", ".."].contains(&name)
        && !name.bytes().any(is_bad)
}

impl NetDevice {
    fn has_pattern(&self) -> bool {
        self.inside.contains('%')
    }
}

/// Moves those of a plan from the network namespace of this process into that of the container.
pub fn hand_over(plan: &Plan, child: &Child) -> Result<()> {
    if plan.net_devices.is_empty() {
        return Ok(());
    }
    match plan.held.iter().find_map(Joined::network) {
        Some(namespace) => move_all(&plan.net_devices, namespace),
        None => {
            let path = format!("/proc/{}/ns/net", child.pid);
            let namespace = File::open(&path).with_context(|| format!("open `{path}`"))?;
            move_all(&plan.net_devices, namespace.as_fd())
        }
    }
}

/// What is wrong with any of them is found before the first one moves.
fn move_all(devices: &[NetDevice], namespace: BorrowedFd<'_>) -> Result<()> {
    let open = || Socket::open(Family::Route).context("open a netlink socket");
    let (here, there) = (open()?, namespace::inside_network(namespace, open)??);
    let (ours, theirs) = (links(&here)?, links(&there)?);
    let mut found = Vec::new();
    for device in devices {
        let link = ours.iter().find(|link| link.name == device.outside);
        let link = link.ok_or_else(|| {
            not_found(format!("there is no network device `{}`", device.outside)).hint(
                "`linux.netDevices` names devices of the network namespace that the runtime is in",
            )
        })?;
        if theirs.iter().any(|link| link.name == device.inside) {
            let message = format!(
                "the container has a network device `{}` already",
                device.inside
            );
            return Err(Error::new(Kind::Conflict, message).into());
        }
        found.push((device, link.index));
    }
    for (device, index) in found {
        let say = || {
            format!(
                "move the network device `{}` into the container",
                device.outside
            )
        };
        move_one(device, index, [&here, &there], namespace).with_context(say)?;
    }
    Ok(())
}

fn move_one(
    device: &NetDevice,
    index: u32,
    [here, there]: [&Socket; 2],
    namespace: BorrowedFd<'_>,
) -> Result<()> {
    let addresses = addresses(here, index)?;
    let before = links(there)?;
    let mut batch = Batch::default();
    batch.message(libc::RTM_NEWLINK, flags::ACK, &header(index, 0), |link| {
        link.u32(libc::IFLA_NET_NS_FD, namespace.as_raw_fd() as u32)
            .text(libc::IFLA_IFNAME, &device.inside);
    });
    here.apply(&batch).map_err(explain)?;
    // Its number may be another one there, and so may be its name.
    let is_new = |link: &Link| !before.iter().any(|known| known.index == link.index);
    let moved = links(there)?.into_iter().find(is_new);
    let index = moved.context("it is not there")?.index;
    let mut batch = Batch::default();
    batch.message(
        libc::RTM_NEWLINK,
        flags::ACK,
        &header(index, libc::IFF_UP as u32),
        |_| {},
    );
    for address in addresses {
        let flags = flags::ACK | flags::CREATE | flags::EXCL;
        batch.message(
            libc::RTM_NEWADDR,
            flags,
            &address.header(index),
            |message| {
                for (kind, value) in &address.values {
                    message.bytes(*kind, value);
                }
            },
        );
    }
    there
        .apply(&batch)
        .context("bring it up with its addresses")
}

fn explain(refusal: Refusal) -> anyhow::Error {
    match refusal.errno {
        rustix::io::Errno::INVAL => Error::new(
            Kind::Unsupported,
            format!("{refusal}: the kernel does not move devices of its kind"),
        )
        .into(),
        _ => refusal.into(),
    }
}

/// `struct ifinfomsg` (rtnetlink(7)): the flags are set, others stay.
fn header(index: u32, flags: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..].copy_from_slice(&flags.to_ne_bytes());
    header
}

struct Link {
    index: u32,
    name: String,
}

fn links(socket: &Socket) -> Result<Vec<Link>> {
    let mut question = Batch::default();
    question.message(libc::RTM_GETLINK, flags::DUMP, &header(0, 0), |_| {});
    let answers = socket.ask(&question).context("list network devices")?;
    let link = |(_, payload): (u16, Vec<u8>)| {
        let index = u32::from_ne_bytes(payload.get(4..8)?.try_into().ok()?);
        let name = attribute(payload.get(16..)?, libc::IFLA_IFNAME)?;
        let name = String::from_utf8_lossy(name.strip_suffix(&[0]).unwrap_or(name)).into_owned();
        Some(Link { index, name })
    };
    Ok(answers.into_iter().filter_map(link).collect())
}

/// An address that is to stay: family, length of the prefix, flags, and what else there is to say of it.
struct Address {
    family: u8,
    prefix: u8,
    flags: u8,
    values: Vec<(u16, Vec<u8>)>,
}

impl Address {
    /// `struct ifaddrmsg` (rtnetlink(7)).
    fn header(&self, index: u32) -> [u8; 8] {
        let mut header = [
            self.family,
            self.prefix,
            self.flags,
            libc::RT_SCOPE_UNIVERSE,
            0,
            0,
            0,
            0,
        ];
        header[4..].copy_from_slice(&index.to_ne_bytes());
        header
    }
}

/// The lasting addresses of global scope.
fn addresses(socket: &Socket, index: u32) -> Result<Vec<Address>> {
    const KEPT: [u16; 4] = [
        libc::IFA_ADDRESS,
        libc::IFA_LOCAL,
        libc::IFA_BROADCAST,
        libc::IFA_FLAGS,
    ];
    let mut question = Batch::default();
    question.message(libc::RTM_GETADDR, flags::DUMP, &[0; 8], |_| {});
    let answers = socket.ask(&question).context("list addresses")?;
    let address = |(_, payload): (u16, Vec<u8>)| {
        let (header, rest) = payload.split_at_checked(8)?;
        let lasts = u32::from(header[2]) & libc::IFA_F_PERMANENT != 0;
        let is_its = u32::from_ne_bytes(header[4..].try_into().ok()?) == index;
        if !lasts || !is_its || header[3] != libc::RT_SCOPE_UNIVERSE {
            return None;
        }
        let value = |kind: u16| Some((kind, attribute(rest, kind)?.to_vec()));
        Some(Address {
            family: header[0],
            prefix: header[1],
            flags: header[2],
            values: KEPT.into_iter().filter_map(value).collect(),
        })
    };
    Ok(answers.into_iter().filter_map(address).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process;
    use serde_json::{Value, json};
    use std::process::Command;

    fn parsed(devices: Value) -> Result<Vec<NetDevice>, Error> {
        of(
            &serde_json::from_value(json!({ "netDevices": devices })).unwrap(),
            NEW_NET,
        )
    }

    #[test]
    fn names_are_checked() {
        let devices =
            parsed(json!({ "eth1": {}, "eth0": { "name": "lan%d" }, "eth2": { "name": "" } }));
        let names = devices.unwrap();
        let names: Vec<_> = names
            .iter()
            .map(|device| (&*device.outside, &*device.inside))
            .collect();
        assert_eq!(
            names,
            [("eth0", "lan%d"), ("eth1", "eth1"), ("eth2", "eth2")]
        );
        for refused in [
            json!({ "": {} }),
            json!({ "a/b": {} }),
            json!({ "eth%d": {} }),
            json!({ "x": { "name": "y z" } }),
            json!({ "x": { "name": "y%s" } }),
            json!({ "x": { "name": "y%d%d" } }),
            json!({ "x": { "name": "sixteen-letters-" } }),
            json!({ "x": { "name": "z" }, "y": { "name": "z" } }),
        ] {
            assert!(parsed(refused.clone()).is_err(), "{refused}");
        }
        let linux = serde_json::from_value(json!({ "netDevices": { "x": {} } })).unwrap();
        assert!(
            of(&linux, 0)
                .unwrap_err()
                .message
                .contains("needs a network namespace")
        );
    }

    /// In namespaces that are gone afterwards.
    #[test]
    fn a_device_moves_with_its_lasting_addresses() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        // What panics in a process without its other threads ends well otherwise.
        let outer = process::clone3(NEW_NET, || {
            u8::from(std::panic::catch_unwind(move_some).is_err())
        });
        assert_eq!(outer.unwrap().wait().unwrap().code(), 0);
    }

    fn move_some() {
        let ip = |line: &str| {
            Command::new("ip")
                .args(line.split(' '))
                .status()
                .unwrap()
                .success()
        };
        {
            let idle = process::clone3(NEW_NET, || {
                loop {
                    std::thread::park();
                }
            });
            let idle = idle.unwrap();
            let namespace = File::open(format!("/proc/{}/ns/net", idle.pid)).unwrap();
            for line in [
                "link add one type veth peer name one-peer",
                "addr add 192.0.2.1/24 dev one",
                "addr add 2001:db8::1/64 dev one",
                "addr add 192.0.2.2/24 valid_lft 500 preferred_lft 500 dev one",
                "link add two type veth peer name two-peer",
                "link add three type veth peer name three-peer",
            ] {
                assert!(ip(line), "{line}");
            }
            let moved = |devices: Value| move_all(&parsed(devices).unwrap(), namespace.as_fd());
            moved(json!({ "one": { "name": "lan%d" }, "two": {} })).unwrap();
            let taken = moved(json!({ "three": { "name": "two" } }))
                .unwrap_err()
                .to_string();
            assert_eq!(taken, "the container has a network device `two` already");
            let missing = moved(json!({ "one": {} })).unwrap_err().to_string();
            assert_eq!(missing, "there is no network device `one`");
            let loopback = moved(json!({ "lo": { "name": "back" } })).unwrap_err();
            assert!(
                format!("{loopback:#}").contains("does not move devices of its kind"),
                "{loopback:#}"
            );
            let here = Socket::open(Family::Route).unwrap();
            let names = |socket: &Socket| -> Vec<String> {
                links(socket)
                    .unwrap()
                    .into_iter()
                    .map(|link| link.name)
                    .collect()
            };
            let mut left = names(&here);
            left.retain(|name| ["one", "two", "three"].contains(&name.as_str()));
            assert_eq!(left, ["three"]);
            namespace::join(namespace.as_fd(), NEW_NET).unwrap();
            let shown = Command::new("ip")
                .args(["-o", "addr", "show", "dev", "lan0"])
                .output()
                .unwrap();
            let shown = String::from_utf8(shown.stdout).unwrap();
            assert!(
                shown.contains("192.0.2.1/24") && shown.contains("2001:db8::1/64"),
                "{shown}"
            );
            assert!(!shown.contains("192.0.2.2"), "{shown}");
            let link = Command::new("ip")
                .args(["-o", "link", "show", "up", "dev", "two"])
                .output()
                .unwrap();
            assert!(!link.stdout.is_empty());
            idle.end();
        }
    }
}
