//! Commands on networks: options become calls of [`crate::container::membership`], what comes back becomes lines.

pub mod connect;
pub mod create;
pub mod exists;
pub mod inspect;
pub mod ls;
pub mod prune;
pub mod reload;
pub mod rm;
mod subnet;

use crate::cli::filter::{Filters, expression_fits};
use crate::error::{Error, bad_input};
use crate::network::record::Network;
use jiff::Timestamp;

/// The scope of every network: there is one host.
const SCOPE: &str = "local";

/// Whether a network fits the filters `driver`, `id`, `label`, `label!`, `name`, `scope` and `type`, and is older than
/// `until`.
pub fn fits(network: &Network, filters: &Filters, until: Option<Timestamp>) -> Result<bool, Error> {
    let kind = match network.is_built_in() {
        true => "builtin",
        false => "custom",
    };
    if let Some(other) = filters
        .of("type")
        .find(|wanted| !["builtin", "custom"].contains(wanted))
    {
        return Err(bad_input(format!("invalid filter: 'type'='{other}'")));
    }
    let created = network.created.parse().unwrap_or(Timestamp::UNIX_EPOCH);
    Ok(
        filters.any("driver", |wanted| wanted == network.driver.word())
            && filters.any("id", |wanted| expression_fits(wanted, &network.id))
            && filters.any("name", |wanted| expression_fits(wanted, &network.name))
            && filters.any("scope", |wanted| wanted == SCOPE)
            && filters.any("type", |wanted| wanted == kind)
            && filters.labels(&network.labels)
            && until.is_none_or(|until| created < until),
    )
}
