//! What a step has changed becomes a layer of the store.

use super::layers::Files;
use super::order::{Layer, Layers};
use super::serve::Hands;
use crate::build::copy::MAX_LINKS;
use crate::container::commit::add_layer;
use crate::container::engine::Engine;
use crate::container::record::Record;
use crate::container::root::archive_owners;
use crate::container::step::Step;
use crate::container::user_namespace::nested;
use crate::id_mapping::Tier;
use crate::image::intake::{Chain, Intake};
use crate::image::layer::Adopted;
use crate::image::layer::changes::{Overlay, changes_and_rest};
use crate::image::layer::lower::{Found, Lower};
use crate::image::layer::pack::Owner;
use crate::image::layer::recorded::Notes;
use crate::runtime::user::Database;
use anyhow::{Context, Result};
use std::collections::VecDeque;
use std::os::unix::ffi::OsStrExt;

/// Holds layers of the store, so that nobody removes them.
pub fn hold(intake: &mut Intake<'_>, layers: &Layers) -> Result<Chain> {
    let mut chain = Chain::default();
    for diff_id in &layers.diff_ids {
        intake.present(&mut chain, diff_id, None)?;
    }
    Ok(chain)
}

/// The layer of a step that has ended, if it has changed anything, and what is to be told to the user. Places that were
/// made only to mount on these targets are no change. No file is later than `epoch`.
pub fn of_step(
    hands: &Hands,
    step: &Step<'_>,
    targets: &[&str],
    epoch: i64,
    notes: &Notes,
    intake: &mut Intake<'_>,
    mut chain: Chain,
) -> Result<(Option<Layer>, Vec<String>)> {
    let before = chain.size();
    let warnings = step.changes(|record, overlay, upper| {
        let places = places(overlay, targets)?;
        let mut ignored = overlay.ignored.to_vec();
        ignored.extend(places.iter().map(String::as_str));
        let overlay = Overlay {
            ignored: &ignored,
            ..*overlay
        };
        let (changed, rest) = changes_and_rest(&overlay, notes)?;
        if changed.is_empty() {
            return Ok(None);
        }
        let engine = &hands.engine;
        if !overlay.whole && nested(&record.options, engine).is_none() {
            let adopted = Adopted {
                upper,
                changes: &changed,
                rest: &rest,
                latest: Some(epoch),
                owner: owners(engine, record)?,
                notes,
            };
            if let Some(warnings) = intake.adopted(&mut chain, adopted)? {
                return Ok(Some(warnings));
            }
        }
        add_layer(
            engine,
            upper,
            &changed,
            Some(epoch),
            (owners(engine, record)?, notes),
            intake,
            &mut chain,
        )
        .map(Some)
    })?;
    let Some(warnings) = warnings else {
        return Ok((None, Vec::new()));
    };
    Ok((uppermost(&chain, before), warnings))
}

/// Whom the files belong to, if nothing is recorded of them. With a single id the disk does not know it: what is below belongs to
/// whom the layers there say, and what is new to the user of the step.
fn owners(engine: &Engine, record: &Record) -> Result<Owner<'static>> {
    let user = &record.program.user;
    if engine.mapping.tier != Tier::Single || user.is_empty() {
        return archive_owners(engine, record);
    }
    let files = Files::open(engine, &record.layers)?;
    let root = files
        .root()
        .try_clone_to_owned()
        .context("duplicate a descriptor")?;
    let identity = Database::below(&root).resolve(user, &[])?;
    Ok(Box::new(move |path, _| {
        files.owner(path, (identity.uid, identity.gid))
    }))
}

/// The layer on top of a chain, whose files had `before` bytes without it.
pub fn uppermost(chain: &Chain, before: u64) -> Option<Layer> {
    Some(Layer {
        diff_id: chain.diff_ids().last()?.clone(),
        name: chain.names().last()?.clone(),
        size: chain.size() - before,
    })
}

/// Whether nobody has read what was written.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref());
    causes.any(|cause: &std::io::Error| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Where the targets lie as links of the layers below lead there, with all directories on the way.
fn places(overlay: &Overlay<'_>, targets: &[&str]) -> Result<Vec<String>> {
    let lower = Lower::new(overlay.parents, overlay.xattrs);
    let mut places = Vec::new();
    for target in targets {
        let mut links = 0;
        let mut names: VecDeque<String> = names(target);
        let mut at: Vec<String> = Vec::new();
        while let Some(name) = names.pop_front() {
            if name == ".." {
                at.pop();
                continue;
            }
            at.push(name);
            let path = at.join("/");
            let found = lower.find(path.as_bytes());
            let Found::Other(layer, _) = found.with_context(|| format!("look for `/{path}`"))?
            else {
                places.push(path);
                continue;
            };
            // Whatever is no link is no place to mount on the way.
            let Ok(link) = std::fs::read_link(lower.full(layer, path.as_bytes())) else {
                continue;
            };
            links += 1;
            if links > MAX_LINKS {
                break;
            }
            let link = String::from_utf8_lossy(link.as_os_str().as_bytes()).into_owned();
            match link.starts_with('/') {
                true => at.clear(),
                false => drop(at.pop()),
            }
            for name in self::names(&link).into_iter().rev() {
                names.push_front(name);
            }
        }
    }
    Ok(places)
}

fn names(path: &str) -> VecDeque<String> {
    let names = path.split('/').filter(|name| !matches!(*name, "" | "."));
    names.map(str::to_owned).collect()
}
