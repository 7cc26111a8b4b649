//! The names that are ours to answer: containers that are now in a network that this one is in too, by name, alias and
//! short id, each also with `.NETWORK` behind it, and what this container alone calls them (links).

use super::message::{Data, Question, kind, reverse};
use super::{Config, Names};
use crate::network::endpoint::Endpoint;
use std::net::IpAddr;

/// Digits of an id that are a name too.
const SHORT_ID: usize = 12;

/// What is known about a name: `None` if nothing is, so that others are to be asked; no records if it has none of that
/// type.
pub fn look_up(config: &Config, names: &dyn Names, question: &Question) -> Option<Vec<Data>> {
    if !question.is_internet() || config.networks.is_empty() {
        return None;
    }
    if let Some(address) = reverse(&question.name) {
        return pointer(config, names, question, address);
    }
    let mut known = false;
    for network in &config.networks {
        let suffix = format!(".{}", network.name.to_ascii_lowercase());
        let stem = question.name.strip_suffix(&suffix);
        let mut addresses = Vec::new();
        names.visit(&network.id, &mut |endpoint| {
            let is_called = |name: &str| is_called(config, endpoint, name);
            let has_name = is_called(&question.name) || stem.is_some_and(is_called);
            if !has_name || !names.is_live(endpoint) {
                return;
            }
            known = true;
            let ipv4 = endpoint.ipv4.map(IpAddr::from);
            let ipv6 = endpoint.ipv6.map(IpAddr::from);
            match question.kind {
                kind::A => addresses.extend(ipv4),
                kind::AAAA => addresses.extend(ipv6),
                // One of them is enough (RFC 8482 section 4.1).
                kind::ANY => addresses.extend(ipv4.or(ipv6)),
                _ => {}
            }
        });
        // As with Docker the first network that has an answer gives all of it.
        if !addresses.is_empty() {
            addresses.sort_unstable();
            return Some(addresses.into_iter().map(Data::Address).collect());
        }
    }
    known.then(Vec::new)
}

fn is_called(config: &Config, endpoint: &Endpoint, name: &str) -> bool {
    let short = endpoint.container.get(..SHORT_ID);
    let is = |other: &str| other.eq_ignore_ascii_case(name);
    is(&endpoint.name)
        || short.is_some_and(is)
        || endpoint.aliases.iter().any(|alias| is(alias))
        || config.links.iter().any(|link| {
            is(&link.name) && (link.target == endpoint.container || link.target == endpoint.name)
        })
}

fn pointer(
    config: &Config,
    names: &dyn Names,
    question: &Question,
    address: IpAddr,
) -> Option<Vec<Data>> {
    for network in &config.networks {
        let mut found = None;
        names.visit(&network.id, &mut |endpoint| {
            if found.is_none() && endpoint.has(address) && names.is_live(endpoint) {
                found = Some(format!("{}.{}", endpoint.name, network.name));
            }
        });
        if let Some(name) = found {
            let is_asked = matches!(question.kind, kind::PTR | kind::ANY);
            let records = is_asked.then_some(Data::Name(name));
            return Some(records.into_iter().collect());
        }
    }
    None
}
