//! `build`: a Dockerfile and the files that it names become an image.
//!
//! ```text
//! order ─▶ context, Dockerfile ─▶ graph of steps ─▶ cache, or a worker ─▶ layers, config ─▶ image
//! ```
//!
//! It knows the Dockerfile's language and how BuildKit reads it; not flags, not how anything is shown.
//! <https://docs.docker.com/reference/dockerfile/>

pub mod cache;
pub mod context;
pub mod copy;
pub mod diagnostics;
pub mod dockerfile;
pub mod failure;
pub mod graph;
pub mod ignore;
pub mod image;
pub mod keep;
pub mod order;
pub mod output;
pub mod pattern;
pub mod report;
pub mod source;
pub mod verify;
pub mod vertex;
pub mod worker;

use crate::container::engine::Engine;
use crate::container::remove::sweep_staging_briefly;
use crate::error::bad_input;
use crate::image::hold::Hold;
use crate::image::platform::Platform;
use anyhow::Result;
use cache::Cache;
use cache::import::Imports;
use cache::lock::StepLock;
use cache::portable::{self, Steps};
use dockerfile::instruction::Dockerfile;
use graph::base::Bases;
use graph::contexts::Contexts;
use graph::draft::Draft;
use graph::emulator;
use graph::evaluate::Evaluation;
use graph::orders::{Orders, Times};
use graph::schedule::Schedule;
use graph::scope::{Globals, Lexis, Unset};
use graph::stage::Stages;
use graph::{Graph, NodeId};
use order::{EPOCH, Order, Outcome};
use report::{Event, Reporter};
use source::Diagnostic;
use std::collections::BTreeSet;
use vertex::Vertices;

/// A Dockerfile that was read and not built.
#[derive(Debug)]
pub struct Read {
    /// The file.
    pub file: Dockerfile,
    /// The stage that would be built.
    pub target: usize,
}

/// Reads the Dockerfile of a build; what the checks find is told. Those that need images are made where the order asks
/// for checks.
pub fn read(engine: &Engine, order: &Order, reporter: &mut dyn Reporter) -> Result<Read> {
    let mut vertices = Vertices::new(reporter);
    let mut contexts = Contexts::open(order, &engine.paths, &mut vertices)?;
    let file = contexts.dockerfile(&mut vertices)?;
    if order.check {
        let hold = Hold::new(&engine.paths)?;
        let mut bases = Bases::new(engine, order, &hold);
        Plan::new(order, &file, &contexts, &mut bases, &mut vertices)?;
    }
    let host = Platform::host();
    let platform = order.platforms.first().unwrap_or(&host);
    let globals = Globals::new(&file, order, platform)?;
    let lexis = Lexis {
        escape: file.directives.escape,
        unset: &Unset::default(),
    };
    let scope = lexis.scope(&globals.variables);
    let target = Stages::plan(&file, order, platform, &scope)?.target(order.target.as_deref())?;
    Ok(Read { file, target })
}

/// Builds what was asked for; nothing of it has a name yet ([`keep`]). For an ordinary user, to verify may make this
/// process root of the store's user namespace ([`Outcome::entered`]).
pub fn build(engine: &Engine, order: &Order, reporter: &mut dyn Reporter) -> Result<Outcome> {
    let mut vertices = Vertices::new(reporter);
    let hold = Hold::new(&engine.paths)?;
    let cache = Cache::open(&engine.paths, &hold)?;
    StepLock::sweep(&engine.paths)?;
    // A build that finds everything in its cache takes nothing in, and so would leave what a killed one has left.
    sweep_staging_briefly(engine);
    let mut contexts = Contexts::open(order, &engine.paths, &mut vertices)?;
    let file = contexts.dockerfile(&mut vertices)?;
    let mut bases = Bases::new(engine, order, &hold);
    let plan = Plan::new(order, &file, &contexts, &mut bases, &mut vertices)?;
    plan.refuse_warnings(&file)?;
    emulator::require(&plan.graph, &file)?;
    let asked = epoch(order)?;
    let given = asked.or(contexts.epoch());
    let mut imports = match order.no_cache || order.verify {
        true => Imports::default(),
        false => Imports::open(&order.cache_from, &mut vertices),
    };
    let key = cache::definition_key(contexts.dockerfile_digest());
    let start = match (given, contexts.dockerfile_time()) {
        (Some(given), _) => given,
        (None, time) if order.no_cache => time,
        (None, time) => {
            let elsewhere = imports.find(&key).map(|found| found.epoch);
            cache.first_seen(&key, elsewhere, time)?
        }
    };
    let tops = plan.drafts.iter().filter_map(|(_, draft)| draft.top);
    let tops: Vec<NodeId> = tops.collect();
    let mut orders = Orders::new(engine, order, Times { asked, given }, contexts);
    let mut run = |cache: &Cache<'_>, vertices: &mut Vertices<'_>| {
        let schedule = Schedule {
            engine,
            graph: &plan.graph,
            cache,
            imports: &mut imports,
            tops: &tops,
            orders: &mut orders,
            file: &file.source,
            vertices,
            jobs: order.jobs.unwrap_or_else(processors).max(1),
        };
        schedule.run(start)
    };
    let progress = run(&cache, &mut vertices)?;
    let (differences, entered) = match order.verify {
        true => {
            let run = |cache: &Cache<'_>| {
                vertices.again();
                run(cache, &mut vertices)
            };
            verify::again(engine, &plan.graph, &progress, run)?
        }
        false => (Vec::new(), false),
    };
    let start = given.is_none().then_some((key, start));
    let graph = &plan.graph;
    let mut images = Vec::new();
    for (platform, draft) in plan.drafts {
        let top: Vec<NodeId> = draft.top.into_iter().collect();
        let mut built = image::finish(draft, graph, &progress, &order.labels, given, &platform)?;
        built.materials = orders.materials(graph, &graph.needed(&top));
        if order.inline_cache {
            let records = portable::records(graph, &progress, &top, start.as_ref());
            built = image::with_records(built, &records)?;
        }
        images.push(built);
    }
    Ok(Outcome {
        images,
        steps: Steps::new(graph, &progress, &tops, start.as_ref(), imports),
        warnings: plan.warnings,
        differences,
        entered,
        hold,
    })
}

/// What is known before anything runs.
struct Plan {
    graph: Graph,
    /// One for each platform.
    drafts: Vec<(Platform, Draft)>,
    /// What the checks have found, in the order of the file.
    warnings: Vec<Diagnostic>,
}

impl Plan {
    fn new(
        order: &Order,
        file: &Dockerfile,
        contexts: &Contexts<'_>,
        bases: &mut Bases<'_>,
        vertices: &mut Vertices<'_>,
    ) -> Result<Self> {
        let platforms = match order.platforms.is_empty() {
            true => vec![Platform::host()],
            false => order.platforms.clone(),
        };
        let mut plan = Self {
            graph: Graph::default(),
            drafts: Vec::new(),
            warnings: Vec::new(),
        };
        let mut found = Vec::new();
        for platform in &platforms {
            let globals = Globals::new(file, order, platform)?;
            let unset = Unset::default();
            let lexis = Lexis {
                escape: file.directives.escape,
                unset: &unset,
            };
            let scope = lexis.scope(&globals.variables);
            let predefined = graph::platform::arguments(platform, order.target.as_deref());
            found.extend(file.invalid_defaults(&predefined.into_iter().collect()));
            let stages = Stages::plan(file, order, platform, &scope)?;
            found.extend(stages.warnings.iter().cloned());
            let target = stages.target(order.target.as_deref())?;
            let several = platforms.len() > 1;
            let (graph, ignored) = (&mut plan.graph, contexts.ignored()?);
            let mut evaluation =
                Evaluation::new(&stages, order, &globals, bases, graph, ignored, several);
            evaluation.prepare(target, vertices)?;
            let draft = evaluation.stage(target)?;
            found.append(&mut evaluation.warnings);
            plan.drafts.push((platform.clone(), draft));
            unconsumed(&globals, vertices);
        }
        // What is found for one platform is found for the next.
        let mut told: Vec<Diagnostic> = Vec::new();
        for warning in found {
            if !told.contains(&warning) {
                vertices.tell_own(contexts.definition(), Event::Check(&warning));
                told.push(warning);
            }
        }
        plan.warnings.clone_from(&file.warnings);
        plan.warnings.append(&mut told);
        let place = |warning: &Diagnostic| (warning.span.start.line, warning.span.start.column);
        plan.warnings.sort_by_key(place);
        Ok(plan)
    }

    /// `# check=error=true`.
    fn refuse_warnings(&self, file: &Dockerfile) -> Result<()> {
        let rules: BTreeSet<&str> = self
            .warnings
            .iter()
            .filter_map(|found| found.rule)
            .collect();
        if !file.directives.warnings_are_errors || rules.is_empty() {
            return Ok(());
        }
        let rules = rules.into_iter().collect::<Vec<_>>().join(", ");
        let message = format!("lint violation found for rules: {rules}");
        let hint = "correct them, or name them in `# check=skip=…`";
        Err(bad_input(message).hint(hint).into())
    }
}

fn unconsumed(globals: &Globals, vertices: &mut Vertices<'_>) {
    let unused = globals.unused();
    if !unused.is_empty() {
        let names = unused.join(" ");
        let text = format!("one or more build-args [{names}] were not consumed");
        let number = vertices.start("[internal] build arguments");
        vertices.tell_own(number, Event::Warning(&text));
        vertices.tell_own(number, Event::Done(std::time::Duration::ZERO));
    }
}

/// The time that was given, seconds since 1970.
fn epoch(order: &Order) -> Result<Option<i64>> {
    match order.arguments.get(EPOCH) {
        None => Ok(order.epoch),
        Some(text) => Ok(order::epoch(text)?),
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, |count| count.get())
}
