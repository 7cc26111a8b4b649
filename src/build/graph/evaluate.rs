//! Stages become nodes and configs: each instruction of each stage that the target needs, in its order.

use super::base::{Bases, Found};
use super::draft::Draft;
use super::scope::{Globals, Lexis, Unset, located};
use super::stage::{Origin, Stages, context, wrong};
use super::{Copy, Graph, Node, NodeId, Operation, Part, Place, Shown, command, files, instruct};
use crate::build::context::address::{IMAGE, LAYOUT};
use crate::build::copy::glob::literal;
use crate::build::copy::plan::Selector;
use crate::build::diagnostics::Diagnostics;
use crate::build::dockerfile::instruction::{Instruction, Stage, Step};
use crate::build::dockerfile::parse_instruction;
use crate::build::ignore::Ignore;
use crate::build::order::Order;
use crate::build::source::{Diagnostic, Span};
use crate::build::vertex::Vertices;
use crate::build::worker::order::Network;
use crate::error::bad_input;
use crate::image::change::absolute;
use crate::image::config::Config;
use crate::image::platform::Platform;
use anyhow::Result;
use std::collections::BTreeMap;

/// Where the files of a context lie that are to be mounted.
const MOUNTED: &str = "/files";
/// As many stages need one another: each is evaluated within the one that needs it.
const DEEPEST: usize = 128;

/// Evaluates for one platform.
pub struct Evaluation<'a, 'b> {
    stages: &'a Stages<'a>,
    order: &'a Order,
    globals: &'a Globals,
    bases: &'a mut Bases<'b>,
    graph: &'a mut Graph,
    /// What is left out of the main context.
    ignored: &'a Ignore,
    /// Several platforms are built: progress tells them apart.
    shows_platform: bool,
    drafts: BTreeMap<usize, Draft>,
    images: BTreeMap<(String, String), NodeId>,
    /// By the name of the context, what is mounted of it, and the platform.
    roots: BTreeMap<(String, Option<String>, String), NodeId>,
    /// Stages that are being evaluated, for cycles.
    path: Vec<usize>,
    /// What the checks have found.
    pub warnings: Vec<Diagnostic>,
}

/// How far the numbering of a stage's steps is.
struct Count {
    done: usize,
    of: usize,
}

impl<'a, 'b> Evaluation<'a, 'b> {
    /// Nothing is evaluated yet.
    pub fn new(
        stages: &'a Stages<'a>,
        order: &'a Order,
        globals: &'a Globals,
        bases: &'a mut Bases<'b>,
        graph: &'a mut Graph,
        ignored: &'a Ignore,
        shows_platform: bool,
    ) -> Self {
        Self {
            ignored,
            stages,
            order,
            globals,
            bases,
            graph,
            shows_platform,
            drafts: BTreeMap::new(),
            images: BTreeMap::new(),
            roots: BTreeMap::new(),
            path: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// The images that are known to be needed for a stage before anything is evaluated.
    fn images_of(&self, target: usize) -> Vec<(String, Platform, Span)> {
        let mut wanted = Vec::new();
        let mut open = vec![target];
        let mut seen = Vec::new();
        while let Some(number) = open.pop() {
            if seen.contains(&number) {
                continue;
            }
            seen.push(number);
            let planned = &self.stages.planned[number];
            let stage = &self.stages.file.stages[number];
            let mut origins = vec![(planned.origin.clone(), stage.span)];
            for (name, span) in stage.instructions.iter().flat_map(names) {
                // What is wrong with one is told when its turn comes.
                let origin = self.stages.from(&name, number, span).ok();
                origins.extend(origin.map(|origin| (origin, span)));
            }
            for (origin, span) in origins {
                let mut want = |name| wanted.push((name, planned.platform.clone(), span));
                match origin {
                    Origin::Stage(stage) => open.push(stage),
                    Origin::Image(name) => want(name),
                    Origin::Context(name) => {
                        if let Some(image) = self.image_context(&name) {
                            want(image.to_owned());
                        }
                    }
                    Origin::Scratch => {}
                }
            }
        }
        wanted
    }

    /// Gets them.
    pub fn prepare(&mut self, target: usize, vertices: &mut Vertices<'_>) -> Result<()> {
        let wanted = self.images_of(target);
        let images = wanted
            .iter()
            .map(|(name, platform, _)| (name.as_str(), platform));
        self.bases
            .prepare(images, vertices)
            .map_err(|(name, error)| {
                let first = wanted.iter().find(|(wanted, ..)| wanted == name);
                match first {
                    Some((.., span)) => self.no_image(*span, name, error),
                    None => error,
                }
            })
    }

    /// The config of a stage, and the node that it ends with.
    pub fn stage(&mut self, number: usize) -> Result<Draft> {
        if let Some(draft) = self.drafts.get(&number) {
            return Ok(draft.clone());
        }
        let stage = &self.stages.file.stages[number];
        if self.path.contains(&number) {
            let name = self.stages.shown(number);
            let message = format!("circular dependency detected on stage: {name}");
            let mut path: Vec<String> = self
                .path
                .iter()
                .map(|&stage| self.stages.shown(stage))
                .collect();
            path.push(name);
            let hint = format!(
                "{}: one of them must not copy from the next",
                path.join(" needs ")
            );
            return Err(wrong(self.stages.file, stage.span, message, &hint).into());
        }
        if self.path.len() >= DEEPEST {
            let message = format!("more than {DEEPEST} stages need one another");
            let hint = "let stages that do little be one";
            return Err(wrong(self.stages.file, stage.span, message, hint).into());
        }
        self.path.push(number);
        let draft = self.evaluate(number, stage)?;
        self.path.pop();
        self.drafts.insert(number, draft.clone());
        Ok(draft)
    }

    fn evaluate(&mut self, number: usize, stage: &Stage) -> Result<Draft> {
        let planned = &self.stages.planned[number];
        let platform = planned.platform.clone();
        let mut count = Count { done: 0, of: 0 };
        let origin = match &planned.origin {
            Origin::Context(name) => match self.image_context(name) {
                Some(image) => Origin::Image(image.to_owned()),
                None => Origin::Context(name.clone()),
            },
            origin => origin.clone(),
        };
        let mut base = None;
        let mut draft = match origin {
            Origin::Stage(base) => self.stage(base)?.child(),
            Origin::Image(name) => {
                let found = self.bases.get(&name, &platform);
                let found = found.map_err(|error| self.no_image(stage.span, &name, error))?;
                let is = found.config.platform();
                if !platform.matches(&is) {
                    let (is, wanted) = (is.to_string(), platform.to_string());
                    let file = self.stages.file;
                    let warning = file.base_platform(stage.span, &name, &is, &wanted);
                    self.warnings.extend(warning);
                }
                let (node, config) = self.image(name, found, &platform);
                base = Some(node);
                count.of += 1;
                Draft::image(config, &platform, node)
            }
            Origin::Context(name) => {
                let node = self.root(&name, None, (number, stage.span), &platform);
                base = Some(node);
                count.of += 1;
                let mut draft = Draft::scratch(&platform);
                draft.made(format!("FROM {name} # buildkit"), node);
                draft
            }
            Origin::Scratch => Draft::scratch(&platform),
        };
        let mut steps = Vec::new();
        for text in std::mem::take(&mut draft.config.config.on_build) {
            let step = parse_instruction(&format!("ONBUILD of {}", stage.base), &text);
            steps.push(step.map_err(Diagnostics::error)?);
        }
        for step in &mut steps {
            step.on_build = true;
            step.span = stage.span;
        }
        steps.extend(stage.instructions.iter().cloned());
        count.of += steps
            .iter()
            .filter(|step| makes_files(&step.instruction))
            .count();
        if let Some(node) = base
            && self.graph.nodes[node].name.is_empty()
        {
            let label = self.label(number, &platform, &mut count);
            self.graph.nodes[node].name = format!("{label}{}", stage.text);
        } else if base.is_some() {
            count.done += 1;
        }
        for step in &steps {
            self.step(number, step, &platform, &mut draft, &mut count)
                .map_err(|error| self.wrong(step.span, error))?;
        }
        Ok(draft)
    }

    /// The node of an image; one for all stages that begin with it.
    fn image(&mut self, name: String, found: Found, platform: &Platform) -> (NodeId, Config) {
        let key = (name, platform.to_string());
        let node = self.images.get(&key).copied().unwrap_or_else(|| {
            let node = self.graph.add(Node {
                name: String::new(),
                below: None,
                platform: platform.clone(),
                operation: Operation::Image(found.base),
                span: None,
                cached: true,
            });
            self.images.insert(key, node);
            node
        });
        (node, found.config)
    }

    /// The node of all files of a context, or of those that are `mounted`; one for all that want the same.
    fn root(
        &mut self,
        name: &str,
        mounted: Option<&str>,
        (stage, span): (usize, Span),
        platform: &Platform,
    ) -> NodeId {
        let key = (
            name.to_owned(),
            mounted.map(str::to_owned),
            platform.to_string(),
        );
        if let Some(&node) = self.roots.get(&key) {
            return node;
        }
        let files = Part::Files {
            place: Place::Context(name.to_owned()),
            selector: Selector {
                sources: vec![literal(mounted.unwrap_or("/"))],
                ..Selector::default()
            },
            unpack: false,
        };
        let shown_name = mounted.map(|path| match name {
            "" => format!("[internal] mount {path} of the build context"),
            name => format!("[context {name}] mount {path}"),
        });
        let node = self.graph.add(Node {
            name: shown_name.unwrap_or_default(),
            below: None,
            platform: platform.clone(),
            operation: Operation::Copy(Box::new(Copy {
                link: true,
                parts: vec![files],
                destination: mounted.map_or("/", |_| MOUNTED).to_owned(),
                owner: None,
                mode: None,
            })),
            span: Some(span),
            cached: self.is_cached(stage),
        });
        self.roots.insert(key, node);
        node
    }

    fn step(
        &mut self,
        number: usize,
        step: &Step,
        platform: &Platform,
        draft: &mut Draft,
        count: &mut Count,
    ) -> Result<()> {
        let (file, unset) = (self.stages.file, Unset::default());
        let lexis = Lexis {
            escape: file.directives.escape,
            unset: &unset,
        };
        let known = draft.variables.pairs().len();
        if let Instruction::Expose(words) = &step.instruction {
            self.exposed(words, step.span, draft, lexis)?;
        }
        let applied = instruct::apply(draft, self.globals, lexis, &step.instruction);
        let applied = applied.and_then(|applied| match applied {
            true => Ok(()),
            false => self.make_files(number, step, platform, draft, count, lexis),
        });
        // What is in a base image is not this file's affair.
        let unset = unset.take();
        if !step.on_build && !unset.is_empty() {
            let found = file.undefined_variables(step.span, &unset, &draft.declared(known));
            self.warnings.extend(found);
        }
        applied?;
        draft.check_size()
    }

    fn make_files(
        &mut self,
        number: usize,
        step: &Step,
        platform: &Platform,
        draft: &mut Draft,
        count: &mut Count,
        lexis: Lexis<'_>,
    ) -> Result<()> {
        let scope = lexis.scope(&draft.variables);
        let globals = self.globals;
        let (operation, history) = match &step.instruction {
            Instruction::Run(run) => {
                let mut show = |name: Option<&str>, path: String| {
                    self.shown(name, path, (number, step.span), platform)
                };
                let run = command::run(draft, &scope, &globals.proxies(), run, &mut show)?;
                let allowed = &self.order.allowed;
                let host_network = run.network == Some(Network::Host);
                for (entitlement, is_missing) in [
                    ("security.insecure", run.insecure && !allowed.insecure),
                    ("network.host", host_network && !allowed.host_network),
                ] {
                    if is_missing {
                        let message = format!("entitlement {entitlement} is not allowed");
                        let hint = format!("--allow {entitlement}");
                        return Err(bad_input(message).hint(hint).into());
                    }
                }
                let history = command::history(draft, &run.words);
                (Operation::Run(Box::new(run)), history)
            }
            Instruction::Copy(copy) | Instruction::Add(copy) => {
                let is_add = matches!(step.instruction, Instruction::Add(_));
                let mut find = |name: Option<&str>| self.place(name, number, step.span, platform);
                let (copy, history) = files::copy(draft, &scope, copy, is_add, &mut find)?;
                self.left_out(&copy, is_add, step);
                (Operation::Copy(Box::new(copy)), history)
            }
            Instruction::Workdir(word) => {
                let word = scope.expand(word)?;
                let file = self.stages.file;
                let found = file.relative_workdir(step.span, &word, draft.has_workdir);
                self.warnings.extend(found.filter(|_| !step.on_build));
                draft.has_workdir = true;
                let path = absolute(&draft.config.config.working_dir, &word);
                draft.config.config.working_dir.clone_from(&path);
                let history = format!("WORKDIR {path}");
                if path == "/" {
                    count.done += 1;
                    draft.note(history);
                    return Ok(());
                }
                let owner = draft.config.config.user.clone();
                (Operation::Directory { path, owner }, history)
            }
            // The others were applied.
            _ => return Ok(()),
        };
        let label = self.label(number, platform, count);
        let node = self.graph.add(Node {
            name: format!("{label}{}", step.text),
            below: draft.top,
            platform: platform.clone(),
            operation,
            span: Some(step.span),
            cached: self.is_cached(number),
        });
        draft.made(history, node);
        Ok(())
    }

    fn exposed(
        &mut self,
        words: &[String],
        span: Span,
        draft: &Draft,
        lexis: Lexis<'_>,
    ) -> Result<()> {
        let scope = lexis.scope(&draft.variables);
        for word in words {
            for port in scope.words(word)? {
                self.warnings.extend(self.stages.file.exposed(span, &port));
            }
        }
        Ok(())
    }

    /// Warns of sources that the context's ignore file leaves out.
    fn left_out(&mut self, copy: &Copy, is_add: bool, step: &Step) {
        let main = Place::Context(String::new());
        let sources = copy.parts.iter().filter_map(|part| match part {
            Part::Files {
                place, selector, ..
            } if *place == main => Some(&selector.sources),
            _ => None,
        });
        let (file, ignored) = (self.stages.file, self.ignored);
        for source in sources.flatten().filter(|_| !step.on_build) {
            let found = file.ignored_source(step.span, is_add, source, ignored);
            self.warnings.extend(found);
        }
    }

    fn is_cached(&self, stage: usize) -> bool {
        let name = self.stages.file.stages[stage].name.as_deref();
        let is_named = |filter: &String| name.is_some_and(|name| name.eq_ignore_ascii_case(filter));
        let fresh = self.order.no_cache || self.order.verify;
        !fresh && !self.order.no_cache_filter.iter().any(is_named)
    }

    /// What a `--from` or `from=` means.
    fn place(
        &mut self,
        name: Option<&str>,
        within: usize,
        span: Span,
        platform: &Platform,
    ) -> Result<Place> {
        let Some(name) = name else {
            return Ok(Place::Context(String::new()));
        };
        let image = match self.stages.from(name, within, span)? {
            Origin::Scratch => return Ok(Place::Node(None)),
            Origin::Stage(stage) => return Ok(Place::Node(self.stage(stage)?.top)),
            Origin::Context(name) => match self.image_context(&name) {
                Some(image) => image.to_owned(),
                None => return Ok(Place::Context(name)),
            },
            Origin::Image(name) => name,
        };
        let found = self.bases.get(&image, platform);
        let found = found.map_err(|error| self.no_image(span, name, error))?;
        let (node, _) = self.image(image, found, platform);
        if self.graph.nodes[node].name.is_empty() {
            self.graph.nodes[node].name = format!("FROM {name}");
        }
        Ok(Place::Node(Some(node)))
    }

    /// What a mount with that `from` shows. Files of a context are copied first: so the step sees what a `COPY` would take
    /// and no more, cannot change them, and has their contents in its key.
    fn shown(
        &mut self,
        name: Option<&str>,
        path: String,
        step: (usize, Span),
        platform: &Platform,
    ) -> Result<Shown> {
        Ok(match self.place(name, step.0, step.1, platform)? {
            Place::Node(top) => Shown { top, path },
            Place::Context(name) => Shown {
                top: Some(self.root(&name, Some(&path), step, platform)),
                path: MOUNTED.to_owned(),
            },
        })
    }

    /// As [`Bases`] know it.
    fn image_context(&self, name: &str) -> Option<&str> {
        let place = context(self.order, name)?;
        let layout = place.starts_with(LAYOUT).then_some(place);
        layout.or_else(|| place.strip_prefix(IMAGE))
    }

    fn no_image(&self, span: Span, name: &str, error: anyhow::Error) -> anyhow::Error {
        match self.stages.near(name) {
            Some(near) => {
                let hint = format!("did you mean the stage `{near}`?");
                wrong(self.stages.file, span, format!("{name}: {error:#}"), &hint).into()
            }
            None => self.wrong(span, error.context(name.to_owned())),
        }
    }

    /// An error with its place, unless it has one.
    fn wrong(&self, span: Span, error: anyhow::Error) -> anyhow::Error {
        located(self.stages.file, span, error)
    }

    /// What stands before a step in progress: `[linux/arm64 builder 2/5] `.
    fn label(&self, stage: usize, platform: &Platform, count: &mut Count) -> String {
        count.done += 1;
        let mut words = Vec::new();
        if self.shows_platform {
            words.push(platform.to_string());
        }
        words.push(self.stages.shown(stage));
        let width = count.of.to_string().len();
        words.push(format!("{:>width$}/{}", count.done, count.of));
        words.retain(|word| !word.is_empty());
        format!("[{}] ", words.join(" "))
    }
}

fn makes_files(instruction: &Instruction) -> bool {
    matches!(
        instruction,
        Instruction::Add(_) | Instruction::Copy(_) | Instruction::Run(_) | Instruction::Workdir(_)
    )
}

/// The names behind `--from` and `from=`.
fn names(step: &Step) -> Vec<(String, Span)> {
    let names: Vec<&String> = match &step.instruction {
        Instruction::Add(copy) | Instruction::Copy(copy) => copy.from.iter().collect(),
        Instruction::Run(run) => run
            .mounts
            .iter()
            .filter_map(|mount| mount.from.as_ref())
            .collect(),
        _ => Vec::new(),
    };
    names
        .into_iter()
        .map(|name| (name.clone(), step.span))
        .collect()
}
