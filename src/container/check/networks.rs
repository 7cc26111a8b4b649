//! Networks whose records cannot be read.

use crate::container::engine::Engine;
use crate::image::check::{Finding, Repair};
use crate::network::store;
use crate::paths::network::network_record_in;
use anyhow::Result;

/// What this file finds and mends.
pub const KINDS: &[&str] = &["damaged-network"];

/// Everything, without a lock.
pub fn look(engine: &Engine) -> Result<Vec<Finding>> {
    let paths = &engine.paths;
    let finding = |(id, error): (String, anyhow::Error)| {
        let repair = match store::is_damage(&error) {
            true => Repair::Does(
                "removes it; a container that belongs to it has to be connected to another",
            ),
            false => Repair::User(
                "leave it as it is: it may be read later, or by a newer onggi".to_owned(),
            ),
        };
        let record = network_record_in(&paths.network(&id));
        Finding::new("damaged-network", &id, record, format!("{error:#}"), repair)
    };
    Ok(store::unreadable(paths)?.into_iter().map(finding).collect())
}

/// Mends one finding, if it still holds.
pub fn mend(engine: &Engine, finding: &Finding) -> Result<()> {
    store::discard_damaged(&engine.paths, &finding.object)
}
