//! The files that a container gets from outside: `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`.

use crate::container::create::hostname;
use crate::container::engine::Engine;
use crate::container::options::NetworkMode;
use crate::container::record::{Directory, Record};
use crate::container::root::Owners;
use crate::error::bad_input;
use anyhow::{Context, Result};
use std::fmt::Write;
use std::os::unix::fs::chown;

const LOCALHOST: &str = "127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::\tip6-localnet\n\
    ff00::\tip6-mcastprefix\n\
    ff02::1\tip6-allnodes\n\
    ff02::2\tip6-allrouters\n";

/// Writes them anew, as the container is about to start.
pub fn write(engine: &Engine, record: &Record, directory: &Directory) -> Result<()> {
    let (uid, gid) = Owners::of(engine, record).stored((0, 0))?;
    let host = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    for (name, content) in [
        ("hosts", hosts(record)?),
        ("hostname", hostname(record) + "\n"),
        ("resolv.conf", resolv_conf(record, &host)),
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

fn hosts(record: &Record) -> Result<String> {
    let options = &record.options;
    let mut text = match options.network {
        NetworkMode::Host => {
            std::fs::read_to_string("/etc/hosts").unwrap_or_else(|_| LOCALHOST.to_owned())
        }
        _ => LOCALHOST.to_owned(),
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    for host in &options.extra_hosts {
        let address = match host.address.as_str() {
            "host-gateway" if options.network == NetworkMode::Host => "127.0.0.1",
            "host-gateway" => {
                return Err(
                    bad_input("host-gateway needs a network, and there is loopback only")
                        .hint("use --network host")
                        .into(),
                );
            }
            address => address,
        };
        let _ = writeln!(text, "{address}\t{}", host.name);
    }
    Ok(text)
}

/// The host's resolvers, search domains and options, each replaced by what was asked for.
fn resolv_conf(record: &Record, host: &str) -> String {
    let options = &record.options;
    if options.dns.is_empty() && options.dns_search.is_empty() && options.dns_options.is_empty() {
        return host.to_owned();
    }
    let from_host = |keyword: &str| -> Vec<String> {
        let lines = host
            .lines()
            .filter_map(|line| line.trim().strip_prefix(keyword));
        lines
            .flat_map(|rest| rest.split_whitespace().map(str::to_owned))
            .collect()
    };
    let choose = |asked: &[String], keyword| {
        if asked.is_empty() {
            from_host(keyword)
        } else {
            asked.to_vec()
        }
    };
    let mut text = String::new();
    for server in choose(&options.dns, "nameserver ") {
        let _ = writeln!(text, "nameserver {server}");
    }
    // A single dot asks for no search domain at all.
    let search: Vec<String> = choose(&options.dns_search, "search ")
        .into_iter()
        .filter(|domain| domain != ".")
        .collect();
    for (keyword, words) in [
        ("search", search),
        ("options", choose(&options.dns_options, "options ")),
    ] {
        if !words.is_empty() {
            let _ = writeln!(text, "{keyword} {}", words.join(" "));
        }
    }
    text
}
