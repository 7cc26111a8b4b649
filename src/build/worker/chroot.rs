//! `RUN` where there are no namespaces: the files of the layers are copied, the program runs with that copy as its root
//! directory (chroot(2)), and what is otherwise afterwards is its layer.
//!
//! It has no walls but that: it sees the network and the processes around, with the capabilities that Docker gives a container as
//! far as this process has them, without the one to change its root directory again. Whoever it has left is killed.

use super::guest::Guests;
use super::layer;
use super::layers;
use super::order::{Answer, Layer, Network, Run};
use super::replica::{self, Opened};
use super::run::{Followed, follow, streams};
use super::serve::Hands;
use crate::container::commit::add_layer;
use crate::container::resources::Resources;
use crate::container::spec::rlimit;
use crate::container::step::HOSTNAME;
use crate::error::{Error, Kind};
use crate::id_mapping::Tier;
use crate::image::intake::{Chain, Intake};
use crate::image::layer::changes::{Overlay, changes};
use crate::image::layer::pack::Owner;
use crate::image::layer::recorded::Notes;
use crate::runtime::capabilities::{CapabilitySet, ProcessCapabilities, named};
use crate::runtime::lsm::Labels;
use crate::runtime::plan::{ProcessPlan, Sockets, limit};
use crate::runtime::process::chroot;
use crate::runtime::scheduling::Scheduling;
use crate::store::staging::Staging;
use crate::sys::openat2::open_root;
use crate::sys::process::{self, Ended};
use anyhow::{Context, Result};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Executes one; `mounts`: what is around can be mounted there.
pub fn run(hands: &mut Hands, mounts: bool, run: &Run, descriptors: &[OwnedFd]) -> Result<Answer> {
    refuse(run)?;
    if run.shm_size.is_some() {
        let text = "--shm-size has no effect: /dev/shm is a directory where nothing can be mounted";
        hands.tell(Answer::Warning(text.to_owned()))?;
    }
    let engine = hands.engine.clone();
    let rules = engine.layer_rules()?;
    let mut intake = Intake::next(&engine.paths, &rules)?;
    intake.cache_layers();
    let chain = layer::hold(&mut intake, &run.base)?;
    let staging = Staging::new(&engine.paths.staging())?;
    let tree = staging.path().join("root");
    layers::copy(&engine, &run.base.names, &tree)?;
    let root = open_root(&tree).context("open a step's files")?;
    let aside = staging.path().join("aside");
    std::fs::create_dir(&aside).with_context(|| format!("create `{}`", aside.display()))?;
    let mut guests = Guests::new(&root, aside)?;
    let opened = replica::place(&engine, &mut guests, &mut intake, run, descriptors)?;
    for warning in &opened.warnings {
        hands.tell(Answer::Warning(warning.clone()))?;
    }
    let ended = execute(hands, mounts, run, &tree);
    // Whoever would still change something there: with the program or its failure all who descend from it end.
    process::kill_children()?;
    guests.leave()?;
    finish(&guests, opened)?;
    let code = ended?.code();
    if code != 0 {
        return Ok(Answer::Exited { code });
    }
    let (layer, warnings) = changed(hands, run, &tree, &mut intake, chain)?;
    for warning in warnings {
        hands.tell(Answer::Warning(warning))?;
    }
    if layer.is_some() {
        intake.commit_for_now()?;
    }
    Ok(Answer::Done(layer))
}

/// What takes namespaces or control groups of one's own.
fn refuse(run: &Run) -> Result<()> {
    let what = match &run.network {
        Network::None => "--network=none",
        Network::Named(_) => "a network of its own",
        _ if !run.devices.is_empty() => "--device",
        _ if run.resources != Resources::default() => "a limit for memory or processors",
        _ if run.cgroup_parent.is_some() => "--cgroup-parent",
        _ => return Ok(()),
    };
    let message =
        format!("RUN: {what} is not possible by chroot alone: programs run among those around");
    Err(Error::new(Kind::Unsupported, message)
        .hint("leave it out, or build where containers can be made")
        .into())
}

fn execute(hands: &Hands, mounts: bool, run: &Run, tree: &Path) -> Result<Ended> {
    process::adopt_orphans()?;
    let plan = plan(run)?;
    let (streams, outputs) = streams()?;
    let around: &[&str] = match mounts {
        true => &["/proc", "/sys"],
        false => &[],
    };
    let child = chroot::start(&plan, tree, around, &streams)?;
    drop(streams);
    let program = Followed {
        child: &child,
        listener: None,
        step: None,
    };
    follow(&hands.channel, program, outputs, &mut Notes::default())
}

fn plan(run: &Run) -> Result<ProcessPlan> {
    let mut environment = run.environment.clone();
    if !environment
        .iter()
        .any(|entry| entry.starts_with("HOSTNAME="))
    {
        // As in a container.
        environment.insert(environment.len().min(1), format!("HOSTNAME={HOSTNAME}"));
    }
    let limits = run.ulimits.iter().map(|ulimit| Ok(limit(&rlimit(ulimit)?)));
    let available = CapabilitySet::bounding();
    let capabilities = match run.insecure {
        true => available,
        false => available
            .intersection(CapabilitySet::DOCKER_DEFAULT)
            .difference(named("SYS_CHROOT")),
    };
    Ok(ProcessPlan {
        arguments: run.words.clone(),
        environment,
        working_directory: PathBuf::from(&run.working_directory),
        user: Ok(run.user.clone()),
        additional_groups: Vec::new(),
        capabilities: ProcessCapabilities::docker(capabilities, 0),
        no_new_privileges: false,
        seccomp: None,
        tier: Tier::Root,
        terminal: None,
        limits: limits.collect::<Result<_>>()?,
        oom_score_adjustment: None,
        umask: 0o022,
        scheduling: Scheduling::default(),
        labels: Labels::default(),
        sockets: Sockets::default(),
        outlives_maker: false,
        keeps_groups: false,
        keeps_keyring: false,
    })
}

/// Gives mounts back what was written to them.
fn finish(guests: &Guests<'_>, opened: Opened) -> Result<()> {
    drop(opened.agents);
    opened
        .caches
        .iter()
        .try_for_each(|cache| cache.keep(&guests.aside(cache.number)))
}

/// What the program has changed, as a layer, and what is to be told to the user.
fn changed(
    hands: &Hands,
    run: &Run,
    tree: &Path,
    intake: &mut Intake<'_>,
    mut chain: Chain,
) -> Result<(Option<Layer>, Vec<String>)> {
    let engine = &hands.engine;
    let before = chain.size();
    let mut parents = layers::trees(engine, chain.names())?;
    parents.reverse();
    let changed = changes(&Overlay {
        upper: tree,
        parents: &parents,
        xattrs: engine.marks(),
        whole: true,
        ignored: &[],
    })?;
    if changed.is_empty() {
        return Ok((None, Vec::new()));
    }
    let owners: Owner<'_> = Box::new(|_, found| found);
    let notes = Notes::default();
    let epoch = Some(run.epoch);
    let of_files = (owners, &notes);
    let warnings = add_layer(engine, tree, &changed, epoch, of_files, intake, &mut chain)?;
    Ok((layer::uppermost(&chain, before), warnings))
}
