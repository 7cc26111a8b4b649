//! `commit`: a container's changes become a layer, and with the layers of its image a new image.
//!
//! ```text
//! upper directory ─▶ changes ─▶ tar ══ pipe ══▶ intake ─▶ layer, config ─▶ visible at once, or not at all
//! ```
//!
//! What is in volumes, and whatever else is mounted in the container, is no part of it.

use super::engine::Engine;
use super::list::Container;
use super::mount_point::describe;
use super::network_settings;
use super::record::{Record, Status};
use super::{control, event, root};
use crate::error::{Error, Kind};
use crate::id_mapping::Tier;
use crate::image::change;
use crate::image::config::{Config, Execution, History};
use crate::image::digest::Digest;
use crate::image::intake::{Chain, Displaced, Expected, Intake};
use crate::image::layer::changes::{Change, changes};
use crate::image::layer::pack::{Owner, Packer};
use crate::image::layer::recorded::Notes;
use crate::image::reference::Reference;
use crate::image::store;
use anyhow::{Context, Result};
use jiff::{Timestamp, Unit};
use std::io::BufWriter;
use std::path::Path;

/// What to make of the container.
#[derive(Debug, Default)]
pub struct Commit {
    /// Who makes it.
    pub author: String,
    /// What they have to say.
    pub message: String,
    /// Instructions ([`change`]).
    pub changes: Vec<String>,
    /// What the image is to be called.
    pub name: Option<Reference>,
    /// Whether the processes of a running container are stopped while its files are read.
    pub pause: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct Committed {
    /// The new image.
    pub id: Digest,
    /// Names that other images had before.
    pub displaced: Vec<Displaced>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Makes an image of a container. Needs [`root::enter`].
pub fn commit(engine: &Engine, container: &Container, order: &Commit) -> Result<Committed> {
    let record = &container.record;
    let committed = make(engine, container, order);
    let committed = committed.with_context(|| format!("commit container {}", record.name))?;
    let id = committed.id.to_string();
    event::container(engine, record, "commit", &[("imageID", &id)]);
    Ok(committed)
}

fn make(engine: &Engine, container: &Container, order: &Commit) -> Result<Committed> {
    let record = &container.record;
    let base = store::find(&engine.paths, &record.image.to_string()).map_err(|_| {
        let message = format!("the image {} that it was made from is gone", record.image);
        let mut layers = record.layers.iter();
        let hint = match layers.any(|name| engine.paths.is_elsewhere(name)) {
            true => "it was in another store: name that with --imagestore",
            false => "onggi export makes an archive without it, onggi import an image of that",
        };
        Error::new(Kind::NotFound, message).hint(hint)
    })?;
    // Whatever is wrong with the instructions is said before anything is made.
    let execution = execution(&base.config.config, record, &order.changes)?;
    let rules = engine.layer_rules()?;
    let mut intake = Intake::new(&engine.paths, &rules)?;
    let mut chain = Chain::default();
    for diff_id in &base.config.rootfs.diff_ids {
        intake.present(&mut chain, diff_id, None)?;
    }
    let wanted = order.pause && container.status() == Status::Running;
    let paused = wanted
        .then(|| control::hold(engine, &record.id).context("pause it"))
        .transpose()?;
    let (changed, warnings) = root::with_changes(engine, record, |overlay, upper| {
        let changed = changes(overlay)?;
        let warnings = match changed.is_empty() {
            true => Vec::new(),
            false => add_layer(
                engine,
                upper,
                &changed,
                None,
                (root::archive_owners(engine, record)?, &Notes::default()),
                &mut intake,
                &mut chain,
            )?,
        };
        Ok((!changed.is_empty(), warnings))
    })?;
    if let Some(held) = paused {
        control::release(held);
    }
    let config = config(base.config, record, order, execution, &chain, changed)?;
    let names = order.name.iter().cloned().collect();
    let id = intake.image(&serde_json::to_vec(&config)?, &chain, names)?;
    Ok(Committed {
        id,
        displaced: intake.commit()?,
        warnings,
    })
}

/// Puts the changes of a container on top of the chain, with no time that is later than `latest`, in seconds since 1970, and with
/// these owners and what is recorded of them. Gives what is to be told to the user.
///
/// Packs in one thread and unpacks in another; what is packed is never whole anywhere but as a layer.
pub fn add_layer(
    engine: &Engine,
    upper: &Path,
    changed: &[Change],
    latest: Option<i64>,
    (owners, notes): (Owner<'_>, &Notes),
    intake: &mut Intake<'_>,
    chain: &mut Chain,
) -> Result<Vec<String>> {
    let upper = root::open_upper(upper)?;
    let is_single = engine.mapping.tier == Tier::Single;
    let (reader, writer) = std::io::pipe().context("pipe")?;
    std::thread::scope(|scope| {
        let packing = std::thread::Builder::new()
            .name("pack".to_owned())
            .spawn_scoped(scope, move || {
                let mut packer = Packer::new(BufWriter::with_capacity(1 << 20, writer), owners);
                packer.set_latest(latest);
                if is_single {
                    packer.heed_recorded_owners(notes);
                }
                packer.changes(&upper, changed)?;
                Ok::<_, anyhow::Error>(packer.finish()?.1)
            })
            .context("start a thread")?;
        let taken = intake.layer(chain, &Expected::default(), || Ok(reader));
        let packed = packing
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // When one side fails the other's complaint is a consequence: a pipe that breaks, a stream that is cut off.
        match (packed, taken) {
            (Ok(warnings), taken) => taken.map(|()| warnings),
            (Err(error), Err(taken)) if super::copy::is_broken_pipe(&error) => Err(taken),
            (Err(error), _) => Err(error),
        }
    })
}

/// How the new image's program is started: as the container's, then as the instructions say.
fn execution(base: &Execution, record: &Record, changes: &[String]) -> Result<Execution> {
    let program = &record.program;
    let words = |words: &[String]| (!words.is_empty()).then(|| words.to_vec());
    let mut execution = Execution {
        user: program.user.clone(),
        env: program.environment.clone(),
        entrypoint: words(&program.entrypoint),
        cmd: words(&program.command),
        working_dir: program.working_directory.clone(),
        labels: record.labels.clone(),
        stop_signal: program.stop_signal.clone(),
        ..base.clone()
    };
    let ports = network_settings::exposed(&record.options, &base.exposed_ports);
    execution
        .exposed_ports
        .extend(network_settings::words(&ports));
    let requests = describe::requests(record);
    let volumes = describe::anonymous_targets(&requests).map(str::to_owned);
    execution.volumes.extend(volumes);
    change::apply(&mut execution, changes)?;
    Ok(execution)
}

fn config(
    base: Config,
    record: &Record,
    order: &Commit,
    config: Execution,
    chain: &Chain,
    changed: bool,
) -> Result<Config> {
    let created = Some(Timestamp::now().round(Unit::Microsecond)?.to_string());
    let mut made = Config {
        created: created.clone(),
        author: order.author.clone(),
        comment: order.message.clone(),
        config,
        ..base
    };
    made.rootfs.diff_ids = chain.diff_ids().to_vec();
    made.history.push(History {
        created,
        created_by: record.program.words().join(" "),
        author: order.author.clone(),
        comment: order.message.clone(),
        empty_layer: !changed,
    });
    Ok(made)
}
