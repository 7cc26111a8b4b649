//! Whether this machine carries packets between its interfaces (ip-sysctl.rst: `ip_forward`, `forwarding`), and who wanted
//! that. A network of root's needs it, and it makes a router of a host that was none: so where we are who switched it on,
//! what is no business of a bridge is dropped ([`super::nftables`]).
//!
//! It is remembered below the run root, as the setting itself ends with the boot.
//!
//! Invariant: a family that is switched on by us is remembered before it is.

use super::home::Home;
use super::nftables::layout::Version;
use super::record::Network;
use super::sysctl;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// Families that are dropped but for bridges: IPv4, IPv6.
pub type Closed = [bool; 2];

/// Switches on what a network needs, in the network namespace of the caller; what we have ever switched on.
pub fn switch_on(home: &Home, network: &Network) -> Result<Closed> {
    for (version, wanted) in [
        (Version::V4, network.has_ipv4()),
        (Version::V6, network.has_ipv6()),
    ] {
        if !wanted || sysctl::forwards(version)? {
            continue;
        }
        if let Some(memory) = &home.memory {
            remember(memory, version)?;
        }
        sysctl::forward(version)?;
    }
    Ok(switched_on(home))
}

/// What we have ever switched on.
pub fn switched_on(home: &Home) -> Closed {
    let is_known = |version| {
        let memory = home.memory.as_deref();
        memory.is_some_and(|memory| memory.join(name(version)).exists())
    };
    Version::BOTH.map(is_known)
}

fn remember(memory: &Path, version: Version) -> Result<()> {
    fs::create_dir_all(memory).with_context(|| format!("create `{}`", memory.display()))?;
    let path = memory.join(name(version));
    fs::write(&path, "").with_context(|| format!("write `{}`", path.display()))
}

fn name(version: Version) -> &'static str {
    ["ipv4", "ipv6"][version as usize]
}
