//! Where the networks of a store are: root's in the host's namespace, an ordinary user's in one that his network
//! process holds.

use super::process;
use crate::container::engine::Engine;
use crate::container::options::{NetworkMode, Options};
use crate::container::spawn::Neighbour;
use crate::error::{Error, Kind};
use crate::network::endpoint::Endpoint;
use crate::network::home::Home;
use crate::network::record::Network;
use crate::network::surroundings::has_interface;
use crate::network::user::Client;
use crate::network::{attach, endpoint};
use anyhow::{Context, Result};
use rustix::fs::fstat;
use std::os::fd::{AsFd, OwnedFd};

/// Beside the caller.
const HERE: Neighbour = Neighbour {
    user_namespace: None,
    program: None,
};

/// The place, and for an ordinary user who holds it.
pub(super) fn find(engine: &Engine) -> Result<(Home, Option<Client>)> {
    if !is_held(engine) {
        return Ok((Home::here_with(engine.paths.forwarding()), None));
    }
    // A monitor lives where the one process lived, and so does the next.
    let client = process::reach(engine, Some(&HERE), None)?;
    let network = client.namespaces().network.try_clone();
    let home = Home {
        namespace: Some(network.context("duplicate a descriptor")?),
        routes: false,
        memory: None,
    };
    Ok((home, Some(client)))
}

/// Another process in the place of one that was killed, for the same namespace.
pub(super) fn recover(engine: &Engine, home: &Home) -> Result<Client> {
    let namespace = home.namespace.as_ref().map(AsFd::as_fd);
    process::reach(engine, Some(&HERE), namespace)
}

/// Where an ordinary user's monitor has to live: `wanted`, unless the networks are elsewhere. The network process stays
/// as long as somebody is connected to it.
pub(in crate::container) fn beside(
    engine: &Engine,
    options: &Options,
    wanted: Option<OwnedFd>,
) -> Result<(Option<OwnedFd>, Option<Client>)> {
    if options.network != NetworkMode::Private || !is_held(engine) {
        return Ok((wanted, None));
    }
    let neighbour = Neighbour {
        user_namespace: wanted,
        program: None,
    };
    let is_wanted = neighbour.user_namespace.is_some();
    let client = process::reach(engine, is_wanted.then_some(&neighbour), None)?;
    let held = client.namespaces().user.try_clone();
    let held = held.context("duplicate a descriptor")?;
    if let Some(wanted) = &neighbour.user_namespace {
        let [one, other] = [wanted, &held].map(fstat);
        let (one, other) = (one.context("fstat")?, other.context("fstat")?);
        if (one.st_dev, one.st_ino) != (other.st_dev, other.st_ino) {
            let message = "what it shares with a container that is in no network keeps it from being in one: both \
                           have to live in the same user namespace";
            return Err(Error::new(Kind::Conflict, message)
                .hint("stop that container, and start it after this one")
                .into());
        }
    }
    Ok((Some(held), Some(client)))
}

/// Whether it is another namespace than the host's.
fn is_held(engine: &Engine) -> bool {
    engine.mapping.needs_user_namespace()
}

/// Removes what the containers of a network shared.
pub(in crate::container) fn remove(engine: &Engine, network: &Network) -> Result<()> {
    match is_held(engine) {
        // Without that process there is no namespace.
        true => match Client::connect(&engine.paths)? {
            Some(client) => client.remove(network),
            None => Ok(()),
        },
        false if has_interface(&network.interface) => attach::remove(&Home::here(), network),
        // No container was ever connected.
        false => Ok(()),
    }
}

/// Puts back what is missing of networks with containers that run.
pub(in crate::container) fn reload(
    engine: &Engine,
    networks: &[(Network, Vec<Endpoint>)],
) -> Result<()> {
    if !is_held(engine) {
        let home = Home::here_with(engine.paths.forwarding());
        return attach::reload(&home, networks);
    }
    let Some(client) = Client::connect(&engine.paths)? else {
        return Ok(());
    };
    let mut bridges = networks.iter();
    bridges.try_for_each(|(network, endpoints)| client.restore(network, &attach::ends(endpoints)))
}

/// Removes what killed monitors have left of their containers' networks.
pub(in crate::container) fn sweep(engine: &Engine) -> Result<()> {
    endpoint::sweep(&engine.paths, |dead| match is_held(engine) {
        true => Ok(()),
        false => attach::sweep(&Home::here(), std::slice::from_ref(dead)),
    })
}
