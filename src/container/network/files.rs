//! What the networks put into a container's `/etc/hosts` and `/etc/resolv.conf`.

use super::choose::check_link;
use super::connection::Connection;
use crate::container::create::hostname;
use crate::container::engine::Engine;
use crate::container::record::{Directory, Record};
use crate::error::{Error, Kind};
use crate::network::endpoint::{self, Endpoint};
use crate::network::hosts::{self, Block};
use anyhow::Result;
use std::net::IpAddr;

/// Address and names of each container that is linked.
type Links = Vec<(IpAddr, Vec<String>)>;

/// The text of `/etc/hosts` at the start of a container.
pub(in crate::container) fn hosts<'a>(
    engine: &Engine,
    record: &Record,
    connection: &Connection,
    extra: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<String> {
    with_block(engine, record, connection, |block| {
        hosts::render(extra, block)
    })
}

/// Rewrites what follows from the networks, in the file of a container that runs.
pub(super) fn update(engine: &Engine, record: &Record, connection: &Connection) -> Result<()> {
    let path = Directory::of(engine, &record.id).file("hosts");
    with_block(engine, record, connection, |block| {
        hosts::update(&path, block)
    })?
}

fn with_block<T>(
    engine: &Engine,
    record: &Record,
    connection: &Connection,
    work: impl FnOnce(&Block<'_>) -> T,
) -> Result<T> {
    let block = Block {
        addresses: &connection.addresses(),
        host: &hostname(record),
        domain: record.options.domainname.as_deref().unwrap_or_default(),
        links: &links(engine, record)?,
    };
    Ok(work(&block))
}

/// Those of `--link` on the default network, where nobody is found by his name.
fn links(engine: &Engine, record: &Record) -> Result<Links> {
    if record.options.links.is_empty() {
        return Ok(Links::new());
    }
    let mut living = Vec::new();
    for request in &record.options.networks {
        living.extend(endpoint::live(&engine.paths, &request.id)?);
    }
    let mut found = Vec::new();
    for link in &record.options.links {
        let (target, alias) = link.split_once(':').unwrap_or((link, link));
        let is_target =
            |endpoint: &&Endpoint| endpoint.name == target || endpoint.container == target;
        let Some(endpoint) = living.iter().find(is_target) else {
            check_link(engine, target)?;
            let message = format!("Cannot link to a non running container: {target} AS {alias}");
            return Err(Error::new(Kind::Conflict, message)
                .hint(format!("onggi start {target}"))
                .into());
        };
        let names = [
            alias.to_owned(),
            endpoint.container[..12].to_owned(),
            endpoint.name.clone(),
        ];
        found.extend(
            endpoint
                .addresses()
                .map(|address| (address, names.to_vec())),
        );
    }
    Ok(found)
}
