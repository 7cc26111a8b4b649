//! Which networks a container is in: decided when it is made, by name and id.

use crate::container::create::hostname;
use crate::container::engine::Engine;
use crate::container::list;
use crate::container::options::{NetworkMode, NetworkRequest, Options};
use crate::error::{Error, Kind, bad_input};
use crate::network::egress::needs_bridge;
use crate::network::record::{DEFAULT, Driver};
use crate::network::store;
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
        if network.driver != Driver::Bridge && engine.mapping.needs_user_namespace() {
            return Err(refuse_unprivileged(&network.name, network.driver).into());
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

/// An interface of the host can be given away only by who may change the host's network.
pub(in crate::container) fn refuse_unprivileged(name: &str, driver: Driver) -> Error {
    let message = format!(
        "network {name}: {} needs root: it puts interfaces on those of the host, which an ordinary user may not change",
        driver.word()
    );
    Error::new(Kind::Denied, message).hint("use a bridge network, or run it as root")
}
