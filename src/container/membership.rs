//! Which containers belong to which network, as their records say, whether they run or not; and what follows from that
//! for making, changing and removing networks.
//!
//! Who is in a network at this moment is told by its endpoints ([`crate::network::endpoint`]).

use super::engine::Engine;
use super::list::{self, Container};
use super::naming::current;
use super::options::{NetworkMode, NetworkRequest, Options};
use super::record::Directory;
use super::{control, event, network};
use crate::error::{Error, Kind, bad_input, kind};
use crate::network::attach;
use crate::network::endpoint::{self, Wanted};
use crate::network::home::Home;
use crate::network::record::{DEFAULT, Network};
use crate::network::request::Request;
use crate::network::store;
use crate::store::atomic::Durability;
use anyhow::Result;
use std::collections::BTreeSet;

/// Makes a network.
pub fn create(engine: &Engine, request: &Request) -> Result<Network> {
    let request = Request {
        of_a_user: engine.mapping.needs_user_namespace(),
        ..request.clone()
    };
    let made = store::create(&engine.paths, &request)?;
    event::network(engine, &made, "create", None);
    Ok(made)
}

/// Removes a network that no container is in now; with `force` it is no mistake that there is none.
pub fn remove(engine: &Engine, name: &str, force: bool) -> Result<()> {
    let found = match store::find(&engine.paths, name) {
        Err(error) if force && kind(&error) == Some(Kind::NotFound) => return Ok(()),
        found => found?,
    };
    store::remove(&engine.paths, &found)?;
    network::remove(engine, &found)?;
    event::network(engine, &found, "destroy", None);
    Ok(())
}

/// Makes the rules of all networks anew, after another program has flushed them. Those of an ordinary user are in a
/// namespace of his own, where no other program does.
pub fn reload(engine: &Engine) -> Result<()> {
    if engine.mapping.needs_user_namespace() {
        return Ok(());
    }
    let networks = store::all(&engine.paths)?.into_iter();
    let with_endpoints = networks.map(|network| {
        let endpoints = endpoint::live(&engine.paths, &network.id)?;
        Ok((network, endpoints))
    });
    attach::reload(&Home::here(), &with_endpoints.collect::<Result<Vec<_>>>()?)
}

/// What a removal of unused networks has done.
#[derive(Debug, Default)]
pub struct Pruned {
    /// Names of the networks that went.
    pub names: Vec<String>,
    /// Why others stayed.
    pub failures: Vec<anyhow::Error>,
}

/// Removes the networks that fit and that no container belongs to.
pub fn prune(engine: &Engine, fits: impl Fn(&Network) -> bool) -> Result<Pruned> {
    let mut pruned = Pruned::default();
    if !engine.paths.networks().exists() {
        return Ok(pruned);
    }
    let networks = store::all(&engine.paths)?;
    // A record that cannot be read may name any of them.
    let used = Used::of(list::records(engine)?.iter().map(|record| &record.options));
    for unused in networks {
        if unused.is_built_in() || used.has(&unused) || !fits(&unused) {
            continue;
        }
        let removed =
            store::remove(&engine.paths, &unused).and_then(|()| network::remove(engine, &unused));
        match removed {
            Ok(()) => {
                event::network(engine, &unused, "destroy", None);
                pruned.names.push(unused.name);
            }
            // Whoever has just removed it, or come into it, was quicker.
            Err(error) if kind(&error) == Some(Kind::NotFound) => {}
            Err(error) => pruned.failures.push(error),
        }
    }
    event::prune(engine, "network", 0);
    Ok(pruned)
}

/// The networks that containers belong to.
#[derive(Debug, Default)]
pub struct Used {
    ids: BTreeSet<String>,
    names: BTreeSet<String>,
}

impl Used {
    /// Those of all containers that can be read.
    pub fn by_all(engine: &Engine) -> Result<Self> {
        let containers = list::list(engine)?;
        Ok(Self::of(
            containers.iter().map(|container| &container.record.options),
        ))
    }

    fn of<'a>(options: impl Iterator<Item = &'a Options>) -> Self {
        let mut used = Self::default();
        for options in options {
            match options.network {
                NetworkMode::Host => drop(used.names.insert("host".to_owned())),
                NetworkMode::None => drop(used.names.insert("none".to_owned())),
                _ => {}
            }
            for request in &options.networks {
                match request.id.is_empty() {
                    true => used.names.insert(request.network.clone()),
                    false => used.ids.insert(request.id.clone()),
                };
            }
        }
        used
    }

    /// Whether a network is among them.
    pub fn has(&self, network: &Network) -> bool {
        self.ids.contains(&network.id) || self.names.contains(&network.name)
    }
}

/// Whether a request is for that network.
fn is_for(request: &NetworkRequest, network: &Network) -> bool {
    match request.id.is_empty() {
        true => request.network == network.name,
        false => request.id == network.id,
    }
}

/// Makes a container belong to one more network, also while it runs.
pub fn connect(
    engine: &Engine,
    container: &Container,
    network: &Network,
    request: NetworkRequest,
) -> Result<()> {
    join(engine, container, network, request)?;
    if !container.status().is_active() {
        return Ok(());
    }
    let followed = control::follow_networks(engine, &container.record.id);
    if followed.is_err() {
        leave(engine, container, network)?;
    }
    followed
}

/// Makes a container belong to one network less, also while it runs.
pub fn disconnect(engine: &Engine, container: &Container, network: &Network) -> Result<()> {
    leave(engine, container, network)?;
    match container.status().is_active() {
        true => control::follow_networks(engine, &container.record.id),
        false => Ok(()),
    }
}

/// In its record.
fn join(
    engine: &Engine,
    container: &Container,
    network: &Network,
    request: NetworkRequest,
) -> Result<()> {
    let wanted = Wanted {
        ipv4: request.ipv4,
        ipv6: request.ipv6,
        ..Wanted::default()
    };
    endpoint::check(network, &wanted)?;
    if network.name == DEFAULT && !request.aliases.is_empty() {
        let message =
            "network-scoped alias is supported only for containers in user defined networks";
        return Err(bad_input(message).into());
    }
    change(engine, container, |options| {
        refuse_other_modes(options, network)?;
        if options.networks.iter().any(|own| is_for(own, network)) {
            let message = format!(
                "endpoint with name {} already exists in network {}",
                container.record.name, network.name
            );
            return Err(Error::new(Kind::Conflict, message));
        }
        options.networks.push(NetworkRequest {
            network: network.name.clone(),
            id: network.id.clone(),
            ..request
        });
        Ok(())
    })
}

/// In its record.
fn leave(engine: &Engine, container: &Container, network: &Network) -> Result<()> {
    change(engine, container, |options| {
        refuse_host(options, network)?;
        let before = options.networks.len();
        options.networks.retain(|own| !is_for(own, network));
        match options.networks.len() == before {
            true => {
                let message = format!(
                    "container {} is not connected to network {}",
                    container.record.name, network.name
                );
                Err(Error::new(Kind::NotFound, message))
            }
            false => Ok(()),
        }
    })
}

fn change(
    engine: &Engine,
    container: &Container,
    change: impl FnOnce(&mut Options) -> Result<(), Error>,
) -> Result<()> {
    let id = &container.record.id;
    let directory = Directory::of(engine, id);
    let _lock = directory.lock_record()?;
    let mut record = current(&directory, id)?;
    change(&mut record.options)?;
    directory.write_record(&record, Durability::Durable)?;
    Ok(())
}

/// Docker's words for containers whose network is not one of these.
fn refuse_other_modes(options: &Options, network: &Network) -> Result<(), Error> {
    refuse_host(options, network)?;
    let message = match options.network {
        NetworkMode::None => {
            "container cannot be connected to multiple networks with one of the networks in private (none) mode"
        }
        NetworkMode::Container(_) | NetworkMode::Path(_) => {
            "container sharing network namespace with another container or host cannot be connected to any other network"
        }
        NetworkMode::Slirp4netns(_) | NetworkMode::Pasta(_) => {
            "a container that slirp4netns or pasta connects cannot be connected to any other network"
        }
        NetworkMode::Private | NetworkMode::Host => return Ok(()),
    };
    Err(Error::new(Kind::Conflict, message))
}

fn refuse_host(options: &Options, network: &Network) -> Result<(), Error> {
    let message = match (&options.network, &*network.name) {
        (NetworkMode::Host, _) | (_, "host") => {
            "container cannot be disconnected from host network or connected to host network"
        }
        (NetworkMode::Private, "none") => {
            "container cannot be connected to multiple networks with one of the networks in private (none) mode"
        }
        _ => return Ok(()),
    };
    Err(Error::new(Kind::Conflict, message))
}
