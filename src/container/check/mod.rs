//! Everything inconsistent in a store, and mending it (`system check`): containers, networks and volumes here, images and layers
//! in [`crate::image::check`].
//!
//! Looking takes no lock that would be in anybody's way. What is found is looked for again a moment later, since it
//! may have been a change under way; mending takes the lock of what it mends and looks once more.

mod host;
mod networks;
mod records;
mod volumes;

use super::engine::Engine;
use super::list;
use crate::image::check::{self as images, Finding, Repair};
use anyhow::{Result, bail};
pub use host::Host;
use std::time::Duration;

/// After that a change that was under way is done, or its maker holds a lock.
const PAUSE: Duration = Duration::from_millis(50);
/// How often to look until two looks agree.
const LOOKS: usize = 20;

/// What was found, and what became of it.
#[derive(Debug, Default)]
pub struct Report {
    /// What is wrong.
    pub found: Vec<Finding>,
    /// What was mended, or could not be.
    pub mended: Vec<(Finding, Result<()>)>,
    /// What could not be looked at, a sentence each.
    pub skipped: Vec<String>,
}

/// Looks at everything; `deep` also at every byte of the layers. `damage` is what is wrong with the store's own
/// record. An ordinary user is root of the store's user namespace by now, see [`Host`].
pub fn check(engine: &Engine, host: &Host, damage: Option<String>, deep: bool) -> Result<Report> {
    let users = |image: &_| list::users(engine, image);
    let findings = images::check(&engine.paths, deep, &users)?;
    let mut found: Vec<Finding> = damage
        .map(|problem| store_record(engine, problem))
        .into_iter()
        .collect();
    found.extend(findings.found);
    let look = || -> Result<Vec<Finding>> {
        let mut found = records::look(engine)?;
        found.extend(volumes::look(engine)?);
        found.extend(networks::look(engine)?);
        found.extend(host.look_at(engine)?);
        Ok(found)
    };
    let mut last = look()?;
    for _ in 0..LOOKS {
        if last.is_empty() {
            break;
        }
        std::thread::sleep(PAUSE);
        let now = look()?;
        let is_steady = now == last;
        // What has just changed may end as another finding.
        last = now;
        if is_steady {
            break;
        }
    }
    found.extend(last);
    Ok(Report {
        found,
        skipped: findings.skipped,
        ..Report::default()
    })
}

/// Mends what can be mended, and looks again for what is left.
pub fn repair(engine: &Engine, host: &Host, damage: Option<String>, deep: bool) -> Result<Report> {
    let before = check(engine, host, damage, deep)?;
    let mut mended = Vec::new();
    for finding in before.found {
        // Those of images are found anew under their lock.
        let is_of_images = images::KINDS.contains(&finding.kind);
        if matches!(finding.repair, Repair::Does(_)) && !is_of_images {
            let result = mend(engine, host, &finding);
            mended.push((finding, result));
        }
    }
    let users = |image: &_| list::users(engine, image);
    mended.extend(images::repair(&engine.paths, deep, &users)?);
    let after = check(engine, host, None, deep)?;
    Ok(Report { mended, ..after })
}

fn mend(engine: &Engine, host: &Host, finding: &Finding) -> Result<()> {
    match finding.kind {
        STORE_RECORD => engine.write_record(),
        kind if host::KINDS.contains(&kind) => host.mend(engine, finding),
        kind if records::KINDS.contains(&kind) => records::mend(engine, finding),
        kind if volumes::KINDS.contains(&kind) => volumes::mend(engine, finding),
        kind if networks::KINDS.contains(&kind) => networks::mend(engine, finding),
        kind => bail!("nobody knows how to mend `{kind}`"),
    }
}

const STORE_RECORD: &str = "damaged-store";

fn store_record(engine: &Engine, problem: String) -> Finding {
    Finding {
        kind: STORE_RECORD,
        object: "store".to_owned(),
        path: engine.paths.store_record(),
        problem,
        repair: Repair::Does("writes it again for the ids that the caller has now"),
    }
}
