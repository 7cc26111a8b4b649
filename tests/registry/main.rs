//! Images come in from registries: Debian's docker-registry on this machine, with and without TLS and passwords, and
//! before it a server of a few lines that misbehaves in all the ways that networks and registries do.
// Every address here is a number.
#![allow(clippy::disallowed_methods)]

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod breaks;
mod certificates;
mod copy;
mod credentials;
mod cuts;
mod imagestore;
mod layers;
mod made;
mod manifest;
mod memory;
mod peers;
mod proxies;
mod pull;
mod push;
mod push_breaks;
mod real;
mod referrers;
mod remote_inspect;
mod round_trip;
mod search;
mod server;
mod signer;
mod trust;
mod trust_commands;
mod trust_hostile;
mod uploads;

use real::Registry;
use server::{Reply, Request, Server};
use support::{Store, User, store};

/// A store of whoever this host can play, root first.
fn somebody() -> Option<Store> {
    store(User::Root).or_else(|| support::everyone().next())
}

/// A registry with a server before it that does what `handler` says, and a store.
fn behind(
    handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
) -> Option<(Registry, Server, Store)> {
    let registry = Registry::start(&real::Options::default())?;
    let server = Server::start(Some(registry.port), handler);
    Some((registry, server, somebody()?))
}
