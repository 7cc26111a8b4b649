//! Where the networks of a store are: root's in the host's namespace, an ordinary user's in one that his network
//! process holds.

use crate::container::engine::Engine;

use crate::network::home::Home;
use crate::network::record::Network;
use crate::network::surroundings::has_interface;
use crate::network::{attach, endpoint};
use anyhow::Result;

/// The place, and for an ordinary user who holds it.
pub(super) fn find(engine: &Engine) -> Result<Home> {
    if !is_held(engine) {
        return Ok(Home::here());
    }
    anyhow::bail!("no networks for users yet")
}

fn is_held(engine: &Engine) -> bool {
    engine.mapping.tier != crate::id_mapping::Tier::Root
}

/// Removes what the containers of a network shared.
pub(in crate::container) fn remove(engine: &Engine, network: &Network) -> Result<()> {
    match is_held(engine) {
        // It goes with its namespace at the latest.
        true => Ok(()),
        false if has_interface(&network.interface) => attach::remove(&Home::here(), network),
        // No container was ever connected.
        false => Ok(()),
    }
}

/// Removes what killed monitors have left of their containers' networks.
pub(in crate::container) fn sweep(engine: &Engine) -> Result<()> {
    endpoint::sweep(&engine.paths, |dead| match is_held(engine) {
        true => Ok(()),
        false => attach::sweep(&Home::here(), std::slice::from_ref(dead)),
    })
}
