//! Tables of others that drop what goes through this machine: a packet must be accepted by all tables, so theirs decides,
//! whatever ours says. They are not changed; whoever runs the machine is told.

use super::layout::TABLE;
use super::transaction::{At, GET_CHAIN, GET_RULE, Table, message, socket};
use crate::sys::netlink::{Batch, Socket, attribute, attributes, flags};
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
            "the chain `{name}` of the table `{table}`, which is not onggi's, drops what it does not know, so containers \
             reach nothing outside, until you run, as root: {remedy}"
        )
    }
}

/// The chains of others that let nothing through this network namespace but what they know, which a bridge is not.
///
/// They know it when one of the rules of their table names it: then whoever runs the machine has seen to it.
pub fn in_the_way(bridge: &str) -> Result<Vec<Chain>> {
    let socket = socket().context("list the packet rules of others")?;
    let ours = format!("inet {}", TABLE.name);
    let chains: Vec<Found> = list(&socket, GET_CHAIN)?
        .iter()
        .filter_map(|answer| chain(answer))
        .filter(|chain| chain.table != ours)
        .collect();
    if chains.iter().all(|chain| chain.drops.is_none()) {
        return Ok(Vec::new());
    }
    let answers = list(&socket, GET_RULE)?;
    let rules: Vec<Rule<'_>> = answers.iter().filter_map(|answer| rule(answer)).collect();
    let is_in_the_way = |found: &&Found| {
        let mut own = rules.iter().filter(|rule| rule.table == found.table);
        let last = rules
            .iter()
            .rfind(|rule| rule.table == found.table && rule.chain == found.name);
        found
            .drops
            .is_some_and(|drops| drops || last.is_some_and(Rule::refuses_everything))
            && !own.any(|rule| rule.names(bridge))
    };
    let in_the_way = chains.iter().filter(is_in_the_way).map(|found| Chain {
        table: found.table.clone(),
        name: found.name.clone(),
        has_docker_user: chains
            .iter()
            .any(|other| other.table == found.table && other.name == "DOCKER-USER"),
    });
    Ok(in_the_way.collect())
}

/// Everything of one kind, in all tables.
fn list(socket: &Socket, kind: u16) -> Result<Vec<Vec<u8>>> {
    let mut question = Batch::default();
    let all = Table {
        family: 0,
        name: "",
    };
    message(&mut question, all, kind, flags::DUMP, |_| {});
    let answers = socket
        .ask(&question)
        .context("list the packet rules of others")?;
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
}

struct Found {
    table: String,
    name: String,
    /// Of a chain that is called for what goes through: whether it drops what its rules do not accept.
    drops: Option<bool>,
}

/// A rule of a chain, which are told in their order.
struct Rule<'a> {
    table: String,
    chain: String,
    expressions: &'a [u8],
}

impl Rule<'_> {
    /// Whether it does nothing but to drop or to reject, whatever comes.
    fn refuses_everything(&self) -> bool {
        let mut refuses = false;
        for (_, expression) in attributes(self.expressions) {
            let data = || attribute(expression, 2);
            let name = attribute(expression, 1).unwrap_or_default();
            match name.strip_suffix(&[0]).unwrap_or(name) {
                b"counter" | b"log" => {}
                b"reject" => refuses = true,
                // What iptables has no word of nf_tables for.
                b"target" => {
                    let target = data().and_then(|data| attribute(data, 1));
                    refuses |= target.is_some_and(|name| name.starts_with(b"REJECT\0"));
                }
                b"immediate" => {
                    let verdict = data()
                        .and_then(|data| attribute(data, 2))
                        .and_then(|value| attribute(value, 2))
                        .and_then(|verdict| attribute(verdict, 1));
                    refuses |= verdict == Some(&[0; 4]);
                }
                _ => return false,
            }
        }
        refuses
    }

    /// Whether it is about an interface of that name.
    fn names(&self, interface: &str) -> bool {
        let name = [interface.as_bytes(), &[0]].concat();
        let mut parts = self.expressions.windows(name.len());
        parts.any(|part| part == name)
    }
}

/// Family and name of a table, whose name is attribute 1 in all answers.
fn table(answer: &[u8]) -> Option<String> {
    let family = match answer.first()? {
        1 => "inet",
        2 => "ip",
        10 => "ip6",
        _ => return None,
    };
    Some(format!("{family} {}", text(answer, 1)?))
}

fn text(answer: &[u8], kind: u16) -> Option<String> {
    let value = attribute(answer.get(4..)?, kind)?;
    let value = value.strip_suffix(&[0]).unwrap_or(value);
    Some(String::from_utf8_lossy(value).into_owned())
}

fn chain(answer: &[u8]) -> Option<Found> {
    let attributes = answer.get(4..)?;
    let number = |bytes: &[u8]| Some(u32::from_be_bytes(bytes.try_into().ok()?));
    let hook = attribute(attributes, 4).and_then(|hook| number(attribute(hook, 1)?));
    let policy = attribute(attributes, 5).and_then(number);
    Some(Found {
        table: table(answer)?,
        name: text(answer, 3)?,
        drops: (hook == Some(At::Forward as u32)).then_some(policy == Some(0)),
    })
}

fn rule(answer: &[u8]) -> Option<Rule<'_>> {
    Some(Rule {
        table: table(answer)?,
        chain: text(answer, 2)?,
        expressions: attribute(answer.get(4..)?, 4)?,
    })
}
