//! Which networks a container is in: decided when it is made, by name and id.

use crate::container::create::hostname;
use crate::container::engine::Engine;
use crate::container::list;
use crate::container::options::{NetworkMode, NetworkRequest, Options};
use crate::container::user_namespace::nested;
use crate::error::{Error, Kind, bad_input, kind, not_found};
use crate::network::egress::needs_bridge;
use crate::network::record::{DEFAULT, Driver};
use crate::network::store;
use crate::runtime::capabilities::CapabilitySet;
use crate::settings::Settings;
use anyhow::Result;

/// Puts the default where nothing is named, and what is found in the place of what was named.
pub(in crate::container) fn choose(
    engine: &Engine,
    options: &mut Options,
    settings: &Settings,
) -> Result<()> {
    match &mut options.network {
        NetworkMode::Private => {}
        NetworkMode::Container(name) => {
            let target = list::find(engine, name)?.record;
            *name = target.id.clone();
            // Both have one `/etc/hosts` and one `/etc/hostname`.
            options.hostname = Some(hostname(&target));
            return Ok(());
        }
        _ => return Ok(()),
    }
    if options.networks.is_empty() {
        match settings.network.as_str() {
            "none" => {
                options.network = NetworkMode::None;
                return Ok(());
            }
            "host" => {
                options.network = NetworkMode::Host;
                return Ok(());
            }
            name => options.networks.push(NetworkRequest {
                network: name.to_owned(),
                ..NetworkRequest::default()
            }),
        }
    }
    for link in &options.links {
        check_link(engine, link.split(':').next().unwrap_or_default())?;
    }
    let mut requests = std::mem::take(&mut options.networks);
    for request in &mut requests {
        let network = store::find(&engine.paths, &request.network)?;
        if let Driver::Host | Driver::None = network.driver {
            let message = format!(
                "conflicting options: cannot attach both user-defined and non-user-defined network-modes ({})",
                network.name
            );
            return Err(bad_input(message).into());
        }
        if network.driver != Driver::Bridge && options.egress.is_some() {
            return Err(needs_bridge(&network).into());
        }
        let has_addresses = request.ipv4.is_some() || request.ipv6.is_some();
        if network.name == DEFAULT && (has_addresses || !request.aliases.is_empty()) {
            let what = match has_addresses {
                true => "user specified IP address is supported on user defined networks only",
                false => {
                    "network-scoped alias is supported only for containers in user defined networks"
                }
            };
            return Err(bad_input(what).into());
        }
        (request.network, request.id) = (network.name, network.id);
    }
    let mut seen: Vec<&str> = requests.iter().map(|request| request.id.as_str()).collect();
    seen.sort_unstable();
    if let Some(twice) = seen.windows(2).find(|pair| pair[0] == pair[1]) {
        let request = requests.iter().find(|request| request.id == twice[0]);
        let name = request.map_or("", |request| request.network.as_str());
        return Err(bad_input(format!("network {name:?} is specified multiple times")).into());
    }
    options.networks = requests;
    Ok(())
}

/// Refuses a link to a container that there is not, in Docker's words.
pub(super) fn check_link(engine: &Engine, target: &str) -> Result<()> {
    match list::find(engine, target) {
        Err(error) if kind(&error) == Some(Kind::NotFound) => {
            let message =
                format!("could not get container for {target}: No such container: {target}");
            let hint = "`onggi ps --all` lists those that are there";
            Err(not_found(message).hint(hint).into())
        }
        found => found.map(drop),
    }
}

/// Whether what a program with these capabilities reaches can be limited, if it is to be.
///
/// What limits a container is at the other end of its interface. Whoever may change interfaces in the user namespace of the
/// networks reaches them through his own end (rtnetlink(7), IFLA_TARGET_NETNSID), and so could make another one.
pub(in crate::container) fn check_egress(
    engine: &Engine,
    options: &Options,
    powers: CapabilitySet,
) -> Result<(), Error> {
    if options.egress.is_none() {
        return Ok(());
    }
    // The settings may have named it.
    if !matches!(options.network, NetworkMode::Private | NetworkMode::None) {
        let message = "conflicting options: --egress and the network mode";
        return Err(bad_input(message).hint("name a bridge network with --network"));
    }
    let is_beside = nested(options, engine).is_none();
    if !is_beside || !powers.contains(CapabilitySet::NET_ADMIN) {
        return Ok(());
    }
    let message = "what it may reach cannot be limited for a program that has CAP_NET_ADMIN";
    let hint = "leave out --privileged and --cap-add NET_ADMIN, or give the container a user namespace of its own \
                (--userns auto)";
    Err(bad_input(message).hint(hint))
}

/// Refuses a container whose networks have been removed since they were chosen.
pub(in crate::container) fn look_again(engine: &Engine, options: &Options) -> Result<()> {
    for request in &options.networks {
        if !store::is_there(&engine.paths, &request.id) {
            return Err(store::missing(&request.network).into());
        }
    }
    Ok(())
}
