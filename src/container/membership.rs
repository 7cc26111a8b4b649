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
use crate::network::endpoint::{self, Endpoint, Wanted};
use crate::network::record::{DEFAULT, Network};
use crate::network::request::Request;
use crate::network::store;
use crate::store::atomic::Durability;
use crate::store::damage;
use crate::store::lock::Lock;
use anyhow::Result;
use std::collections::BTreeSet;

/// The network that leads nowhere.
const NONE: &str = "none";

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

/// Removes a network that no container is in now; whether there was one: with `force` it is no mistake that there is none.
pub fn remove(engine: &Engine, name: &str, force: bool) -> Result<bool> {
    let found = match store::find(&engine.paths, name) {
        Err(error) if force && kind(&error) == Some(Kind::NotFound) => return Ok(false),
        found => found?,
    };
    store::remove(&engine.paths, &found)?;
    network::remove(engine, &found)?;
    event::network(engine, &found, "destroy", None);
    Ok(true)
}

/// Makes the rules of all networks anew, after another program has flushed them, and bridges that are gone.
pub fn reload(engine: &Engine) -> Result<()> {
    let networks = store::all(&engine.paths)?.into_iter();
    let with_endpoints = networks.map(|network| {
        let endpoints = endpoint::live(&engine.paths, &network.id)?;
        Ok((network, endpoints))
    });
    network::reload(engine, &with_endpoints.collect::<Result<Vec<_>>>()?)
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
    // Those who make a container hold it shared until there is a record, and look then whether its networks are there.
    let _no_creations = Lock::exclusive(&engine.paths.lock())?;
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

/// What containers may reach that may not reach everything (`--egress`), in words.
pub fn egress(engine: &Engine, endpoints: &[Endpoint]) -> Vec<String> {
    let words = |endpoint: &Endpoint| {
        let record = Directory::of(engine, &endpoint.container).record();
        let allowed = record.ok().flatten()?.options.egress?;
        Some(match allowed.is_empty() {
            true => format!("{}: reaches nobody", endpoint.name),
            false => format!(
                "{}: reaches {} and nobody else",
                endpoint.name,
                allowed.join(", ")
            ),
        })
    };
    endpoints.iter().filter_map(words).collect()
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

/// Makes a container belong to one network less, also while it runs. The network may be gone: then it is the one that
/// the container's record calls so, or whose id begins so.
/// With `force`, its record counts: what it has while it runs may stay until it ends.
pub fn disconnect(engine: &Engine, container: &Container, name: &str, force: bool) -> Result<()> {
    match store::find(&engine.paths, name) {
        Ok(network) => leave(engine, container, &network)?,
        Err(error) if kind(&error) == Some(Kind::NotFound) => {
            let is_meant = |own: &NetworkRequest| own.network == name || own.id.starts_with(name);
            let has_left = leave_gone(engine, container, is_meant)?;
            if !has_left {
                return Err(error);
            }
        }
        Err(error) => return Err(error),
    }
    // Who has come up without networks has nothing of one.
    let had_none = container.record.options.network == NetworkMode::None;
    if had_none || !container.status().is_active() {
        return Ok(());
    }
    let followed = control::follow_networks(engine, &container.record.id);
    if force { Ok(()) } else { followed }
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
    for (target, name) in request.links.iter().filter_map(|link| link.split_once(':')) {
        // As in Docker it may come later.
        if let Some(Kind::NotFound) = list::find(engine, target)
            .err()
            .and_then(|error| kind(&error))
        {
            damage::remark(format_args!(
                "there is no container {target} yet: {name} is found once there is one in network {}",
                network.name
            ));
        }
    }
    if network.name == DEFAULT && !request.aliases.is_empty() {
        let message =
            "network-scoped alias is supported only for containers in user defined networks";
        return Err(bad_input(message).into());
    }
    change(engine, container, |options| {
        refuse_other_modes(options, network)?;
        // One of the same name that was removed can be meant no more.
        options
            .networks
            .retain(|own| own.network != network.name || !is_gone(engine, own));
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
        if options.network == NetworkMode::None && network.name == NONE {
            options.network = NetworkMode::Private;
            options.last_network = Some(NONE.to_owned());
            return Ok(());
        }
        let is_same = |own: &NetworkRequest| {
            is_for(own, network) || own.network == network.name && is_gone(engine, own)
        };
        match take_out(options, is_same) {
            false => {
                let message = format!(
                    "container {} is not connected to network {}",
                    container.record.name, network.name
                );
                Err(Error::new(Kind::NotFound, message))
            }
            true => Ok(()),
        }
    })
}

/// Takes a network that is there no more out of its record; whether there was one that is meant.
fn leave_gone(
    engine: &Engine,
    container: &Container,
    is_meant: impl Fn(&NetworkRequest) -> bool,
) -> Result<bool> {
    let mut has_left = false;
    change(engine, container, |options| {
        has_left = take_out(options, |own| is_meant(own) && is_gone(engine, own));
        Ok(())
    })?;
    Ok(has_left)
}

/// Whether the network of a request has been removed.
fn is_gone(engine: &Engine, request: &NetworkRequest) -> bool {
    !request.id.is_empty() && !store::is_there(&engine.paths, &request.id)
}

/// Whether any was among them. Who has left all stays one who can come into others.
fn take_out(options: &mut Options, is_meant: impl Fn(&NetworkRequest) -> bool) -> bool {
    let (gone, stay) = std::mem::take(&mut options.networks)
        .into_iter()
        .partition::<Vec<_>, _>(|own| is_meant(own));
    options.networks = stay;
    let Some(last) = gone.last() else {
        return false;
    };
    options.last_network = Some(last.network.clone());
    true
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
            let message = "container cannot be connected to multiple networks with one of the networks in private (none) mode";
            let hint =
                format!("`onggi network disconnect {NONE} CONTAINER` takes it out of that first");
            return Err(Error::new(Kind::Conflict, message).hint(hint));
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
        (NetworkMode::Private, NONE) => {
            "container cannot be connected to multiple networks with one of the networks in private (none) mode"
        }
        _ => return Ok(()),
    };
    Err(Error::new(Kind::Conflict, message))
}
