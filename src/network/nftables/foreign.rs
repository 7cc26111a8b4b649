//! Tables of others that drop what goes through this machine: a packet must be accepted by all tables, so theirs decides,
//! whatever ours says. They are not changed; whoever runs the machine is told.

use super::layout::TABLE;
use super::transaction::{At, GET_CHAIN, Table, message, socket};
use crate::sys::netlink::{Batch, attribute, flags};
use anyhow::{Context, Result};

/// A chain that is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Family and name of its table, as `ip filter`.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Whether Docker made a chain in the same table that is for rules of others.
    pub has_docker_user: bool,
}

impl Chain {
    /// What is wrong, and what lets the packets of a bridge pass.
    pub fn warning(&self, bridge: &str) -> String {
        let Self { table, name, .. } = self;
        let remedy = match table.as_str() {
            "inet firewalld" => format!(
                "firewall-cmd --permanent --zone=trusted --add-interface={bridge} && firewall-cmd --reload"
            ),
            "ip filter" | "ip6 filter" => {
                let program = if table.starts_with("ip6") {
                    "ip6tables"
                } else {
                    "iptables"
                };
                let chain = if self.has_docker_user {
                    "DOCKER-USER"
                } else {
                    "FORWARD"
                };
                format!(
                    "{program} -I {chain} -i {bridge} -j ACCEPT && {program} -I {chain} -o {bridge} -j ACCEPT"
                )
            }
            _ => format!(
                "nft insert rule {table} {name} iifname {bridge} accept && nft insert rule {table} {name} oifname {bridge} accept"
            ),
        };
        format!(
            "the chain `{name}` of the table `{table}`, which is not onggi's, drops what it does not know, so containers may \
             reach nothing outside: {remedy}"
        )
    }
}

/// The chains of others that drop by default what goes through this network namespace.
pub fn dropping() -> Result<Vec<Chain>> {
    let mut question = Batch::default();
    message(
        &mut question,
        Table {
            family: 0,
            name: "",
        },
        GET_CHAIN,
        flags::DUMP,
        |_| {},
    );
    let answers = socket()
        .and_then(|socket| socket.ask(&question))
        .context("list the chains of packet rules")?;
    let chains: Vec<Found> = answers
        .iter()
        .filter_map(|(_, answer)| parse(answer))
        .collect();
    let in_the_way = chains
        .iter()
        .filter(|chain| chain.drops && chain.table != format!("inet {}", TABLE.name));
    let in_the_way = in_the_way.map(|chain| Chain {
        table: chain.table.clone(),
        name: chain.name.clone(),
        has_docker_user: chains
            .iter()
            .any(|other| other.table == chain.table && other.name == "DOCKER-USER"),
    });
    Ok(in_the_way.collect())
}

struct Found {
    table: String,
    name: String,
    /// Whether it is called for what goes through, and drops what its rules do not accept.
    drops: bool,
}

fn parse(answer: &[u8]) -> Option<Found> {
    let family = match answer.first()? {
        1 => "inet",
        2 => "ip",
        10 => "ip6",
        _ => return None,
    };
    let attributes = answer.get(4..)?;
    let text = |kind| {
        let value = attribute(attributes, kind)?;
        Some(String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned())
    };
    let number = |bytes: &[u8]| Some(u32::from_be_bytes(bytes.try_into().ok()?));
    let hook = attribute(attributes, 4).and_then(|hook| number(attribute(hook, 1)?));
    let policy = attribute(attributes, 5).and_then(number);
    Some(Found {
        table: format!("{family} {}", text(1)?),
        name: text(3)?,
        drops: hook == Some(At::Forward as u32) && policy == Some(0),
    })
}
