//! The files that a container gets from outside: `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`.

use crate::container::create::hostname;
use crate::container::engine::Engine;
use crate::container::network::{Attachment, hosts as connected_hosts};
use crate::container::options::NetworkMode;
use crate::container::record::{Directory, Record};
use crate::container::root::Owners;
use crate::error::bad_input;
use crate::network::hosts::{self, Block};
use crate::network::resolv_conf::{self, Asked};
use anyhow::{Context, Result};
use std::os::unix::fs::chown;

/// Writes them anew, as the container is about to start.
pub fn write(
    engine: &Engine,
    record: &Record,
    directory: &Directory,
    network: Option<&Attachment>,
) -> Result<()> {
    if let NetworkMode::Container(_) = record.options.network {
        return Ok(());
    }
    let (uid, gid) = Owners::of(engine, record).stored((0, 0))?;
    let host = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let asked = Asked {
        servers: &record.options.dns,
        search: &record.options.dns_search,
        options: &record.options.dns_options,
    };
    let resolv_conf = match network {
        Some(Attachment::Networks(_)) => resolv_conf::render_for_resolver(&host, asked),
        Some(Attachment::Program(program)) => {
            resolv_conf::render_with(&program.resolver(), &host, asked)
        }
        None => resolv_conf::render(&host, asked),
    };
    for (name, content) in [
        ("hosts", hosts_file(engine, record, network)?),
        ("hostname", hostname(record) + "\n"),
        ("resolv.conf", resolv_conf),
    ] {
        let path = directory.file(name);
        std::fs::write(&path, content).with_context(|| format!("write `{}`", path.display()))?;
        if (uid, gid) != (0, 0) {
            // Root of the container may change them.
            chown(&path, Some(uid), Some(gid))
                .with_context(|| format!("change the owner of `{}`", path.display()))?;
        }
    }
    Ok(())
}

fn hosts_file(engine: &Engine, record: &Record, network: Option<&Attachment>) -> Result<String> {
    let options = &record.options;
    let gateway = network
        .and_then(Attachment::host)
        .map(|address| address.to_string());
    let mut extra = Vec::new();
    for host in &options.extra_hosts {
        let address = match host.address.as_str() {
            "host-gateway" if options.network == NetworkMode::Host => "127.0.0.1",
            "host-gateway" => gateway.as_deref().ok_or_else(|| {
                bad_input("host-gateway needs a network that leads to the host")
                    .hint("use --network bridge or --network host")
            })?,
            address => address,
        };
        extra.push((host.name.as_str(), address));
    }
    match network {
        Some(Attachment::Networks(network)) => {
            return connected_hosts(engine, record, network, extra);
        }
        Some(Attachment::Program(program)) => {
            let address = program.address();
            let block = Block {
                addresses: address.as_slice(),
                host: &hostname(record),
                domain: options.domainname.as_deref().unwrap_or_default(),
                links: &[],
            };
            return Ok(hosts::render(extra, &block));
        }
        None => {}
    }
    let mut text = match options.network {
        NetworkMode::Host => {
            std::fs::read_to_string("/etc/hosts").unwrap_or_else(|_| hosts::LOOPBACK.to_owned())
        }
        _ => hosts::LOOPBACK.to_owned(),
    };
    hosts::append(&mut text, extra);
    Ok(text)
}
