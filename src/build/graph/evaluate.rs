//! Stages become nodes and configs: each instruction of each stage that the target needs, in its order. What a `FROM`, a
//! `--from` and a mount's `from=` mean is for `from`.

mod from;

use super::base::Bases;
use super::draft::Draft;
use super::scope::{Globals, Lexis, Unset};
use super::stage::{Origin, Stages, wrong};
use super::{Copy, Graph, Node, NodeId, Operation, Part, Place, Run, command, files, instruct};
use crate::build::diagnostics::Diagnostics;
use crate::build::dockerfile::instruction::{Instruction, Stage, Step};
use crate::build::dockerfile::parse_instruction;
use crate::build::ignore::Ignore;
use crate::build::order::Order;
use crate::build::source::{Diagnostic, Span};
use crate::build::worker::order::Network;
use crate::error::bad_input;
use crate::image::change::absolute;
use crate::image::platform::Platform;
use anyhow::Result;
use std::collections::BTreeMap;

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

/// A stage on its way.
struct Course {
    stage: usize,
    platform: Platform,
    /// So many of its steps have a number.
    done: usize,
    /// So many will have one.
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

    /// The config of a stage, and the node that it ends with.
    pub fn stage(&mut self, number: usize) -> Result<Draft> {
        if let Some(draft) = self.drafts.get(&number) {
            return Ok(draft.clone());
        }
        let stage = &self.stages.file.stages[number];
        self.require_end(number, stage.span)?;
        self.path.push(number);
        let draft = self.evaluate(number, stage)?;
        self.path.pop();
        self.drafts.insert(number, draft.clone());
        Ok(draft)
    }

    /// Refuses stages that need each other, or too many one another.
    fn require_end(&self, number: usize, span: Span) -> Result<()> {
        let (message, hint) = if self.path.contains(&number) {
            let around = self.path.iter().chain([&number]);
            let names: Vec<String> = around.map(|&stage| self.stages.shown(stage)).collect();
            let name = self.stages.shown(number);
            let hint = format!(
                "{}: one of them must not copy from the next",
                names.join(" needs ")
            );
            let message = format!("circular dependency detected on stage: {name}");
            (message, hint)
        } else if self.path.len() >= DEEPEST {
            let message = format!("more than {DEEPEST} stages need one another");
            (message, "let stages that do little be one".to_owned())
        } else {
            return Ok(());
        };
        Err(wrong(self.stages.file, span, message, &hint).into())
    }

    fn evaluate(&mut self, number: usize, stage: &Stage) -> Result<Draft> {
        let mut course = Course {
            stage: number,
            platform: self.stages.planned[number].platform.clone(),
            done: 0,
            of: 0,
        };
        let (mut draft, base) = self.base(stage, &course)?;
        let steps = steps(stage, &mut draft)?;
        let numbered = steps.iter().filter(|step| makes_files(&step.instruction));
        course.of = numbered.count() + usize::from(base.is_some());
        if let Some(node) = base {
            let label = self.label(&mut course);
            let name = &mut self.graph.nodes[node].name;
            if name.is_empty() {
                *name = format!("{label}{}", stage.text);
            }
        }
        for step in &steps {
            self.step(step, &mut draft, &mut course)
                .map_err(|error| self.wrong(step.span, error))?;
        }
        Ok(draft)
    }

    /// What a stage begins as, and the node of that, if that is none of another stage.
    fn base(&mut self, stage: &Stage, course: &Course) -> Result<(Draft, Option<NodeId>)> {
        let platform = &course.platform;
        let origin = &self.stages.planned[course.stage].origin;
        let context = match origin {
            Origin::Context(name) => Some(name),
            _ => None,
        };
        let image = match origin {
            Origin::Image(name) => Some(name.as_str()),
            _ => context.and_then(|name| self.image_context(name)),
        };
        if let Some(name) = image.map(str::to_owned) {
            let found = self.bases.get(&name, platform);
            let found = found.map_err(|error| self.no_image(stage.span, &name, error))?;
            self.check_platform(stage.span, &name, &found.config.platform(), platform);
            let (node, config) = self.image(name, found, platform);
            return Ok((Draft::image(config, platform, node), Some(node)));
        }
        Ok(match origin {
            Origin::Stage(base) => (self.stage(*base)?.child(), None),
            Origin::Context(name) => {
                let node = self.root(name, None, stage.span, course);
                let mut draft = Draft::scratch(platform);
                draft.made(format!("FROM {name} # buildkit"), node);
                (draft, Some(node))
            }
            _ => (Draft::scratch(platform), None),
        })
    }

    /// Warns of a base that is of another platform.
    fn check_platform(&mut self, span: Span, name: &str, is: &Platform, wanted: &Platform) {
        if !wanted.matches(is) {
            let (is, wanted) = (is.to_string(), wanted.to_string());
            let warning = self.stages.file.base_platform(span, name, &is, &wanted);
            self.warnings.extend(warning);
        }
    }

    fn step(&mut self, step: &Step, draft: &mut Draft, course: &mut Course) -> Result<()> {
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
            false => self.make_files(step, draft, course, lexis),
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
        step: &Step,
        draft: &mut Draft,
        course: &mut Course,
        lexis: Lexis<'_>,
    ) -> Result<()> {
        let scope = lexis.scope(&draft.variables);
        let (operation, history) = match &step.instruction {
            Instruction::Run(run) => {
                let proxies = self.globals.proxies();
                let mut show =
                    |name: Option<&str>, path: String| self.shown(name, path, step.span, course);
                let run = command::run(draft, &scope, &proxies, run, &mut show)?;
                self.require_allowed(&run)?;
                let history = command::history(draft, &run.words);
                (Operation::Run(Box::new(run)), history)
            }
            Instruction::Copy(copy) | Instruction::Add(copy) => {
                let is_add = matches!(step.instruction, Instruction::Add(_));
                let mut find = |name: Option<&str>| self.place(name, step.span, course);
                let (copy, history) = files::copy(draft, &scope, copy, is_add, &mut find)?;
                self.left_out(&copy, is_add, step);
                (Operation::Copy(Box::new(copy)), history)
            }
            Instruction::Workdir(word) => {
                let path = self.working_directory(&scope.expand(word)?, step, draft);
                let history = format!("WORKDIR {path}");
                if path == "/" {
                    course.done += 1;
                    draft.note(history);
                    return Ok(());
                }
                let owner = draft.config.config.user.clone();
                (Operation::Directory { path, owner }, history)
            }
            // The others were applied.
            _ => return Ok(()),
        };
        let label = self.label(course);
        let node = self.graph.add(Node {
            name: format!("{label}{}", step.text),
            below: draft.top,
            platform: course.platform.clone(),
            operation,
            span: Some(step.span),
            cached: self.is_cached(course.stage),
        });
        draft.made(history, node);
        Ok(())
    }

    /// Refuses what the caller has to allow and has not.
    fn require_allowed(&self, run: &Run) -> Result<()> {
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
        Ok(())
    }

    /// That of a draft after `WORKDIR`.
    fn working_directory(&mut self, word: &str, step: &Step, draft: &mut Draft) -> String {
        let file = self.stages.file;
        let found = file.relative_workdir(step.span, word, draft.has_workdir);
        self.warnings.extend(found.filter(|_| !step.on_build));
        draft.has_workdir = true;
        let path = absolute(&draft.config.config.working_dir, word);
        draft.config.config.working_dir.clone_from(&path);
        path
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

    /// What stands before the next step in progress: `[linux/arm64 builder 2/5] `.
    fn label(&self, course: &mut Course) -> String {
        course.done += 1;
        let mut words = Vec::new();
        if self.shows_platform {
            words.push(course.platform.to_string());
        }
        words.push(self.stages.shown(course.stage));
        let width = course.of.to_string().len();
        words.push(format!("{:>width$}/{}", course.done, course.of));
        words.retain(|word| !word.is_empty());
        format!("[{}] ", words.join(" "))
    }
}

/// The instructions of a stage, behind those that its base image has for whoever builds on it.
fn steps(stage: &Stage, draft: &mut Draft) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    for text in std::mem::take(&mut draft.config.config.on_build) {
        let step = parse_instruction(&format!("ONBUILD of {}", stage.base), &text);
        steps.push(Step {
            on_build: true,
            span: stage.span,
            ..step.map_err(Diagnostics::error)?
        });
    }
    steps.extend(stage.instructions.iter().cloned());
    Ok(steps)
}

fn makes_files(instruction: &Instruction) -> bool {
    matches!(
        instruction,
        Instruction::Add(_) | Instruction::Copy(_) | Instruction::Run(_) | Instruction::Workdir(_)
    )
}
