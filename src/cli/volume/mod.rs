//! Commands on volumes: options become calls of [`crate::container::volume`], what comes back becomes lines.

pub mod archive;
pub mod create;
pub mod exists;
pub mod inspect;
pub mod ls;
pub mod prune;
pub mod rm;

use crate::cli::filter::{Filters, expression_fits};
use crate::volume::Volume;
use jiff::Timestamp;

/// Whether a volume fits the filters `driver`, `name`, `label` and `label!`, and is older than `until`.
pub fn fits(volume: &Volume, filters: &Filters, until: Option<Timestamp>) -> bool {
    let created = volume.created.parse().unwrap_or(Timestamp::UNIX_EPOCH);
    filters.any("driver", |wanted| wanted == volume.driver)
        && filters.any("name", |wanted| expression_fits(wanted, &volume.name))
        && filters.labels(&volume.labels)
        && until.is_none_or(|until| created < until)
}
