//! The stages of a file for one platform: what each begins with, and which one a name means.

use super::scope::{Lexis, Scope, Unset, located};
use crate::build::dockerfile::instruction::{Dockerfile, Stage};
use crate::build::dockerfile::nearest::nearest;
use crate::build::order::Order;
use crate::build::source::{Diagnostic, Span};
use crate::error::{Error, Kind};
use crate::image::platform::Platform;
use crate::image::reference::Reference;
use anyhow::Result;
use std::collections::BTreeSet;

/// What a stage begins with, or files are copied from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nothing.
    Scratch,
    /// An earlier stage by its number.
    Stage(usize),
    /// An image.
    Image(String),
    /// A context that was given a name.
    Context(String),
}

/// A stage with the words of its `FROM` expanded.
#[derive(Clone, Debug)]
pub struct Planned {
    /// What it begins with.
    pub origin: Origin,
    /// What it is made for.
    pub platform: Platform,
}

/// All stages for one platform.
#[derive(Debug)]
pub struct Stages<'a> {
    /// What was read.
    pub file: &'a Dockerfile,
    /// By number.
    pub planned: Vec<Planned>,
    /// The names of contexts.
    contexts: Vec<String>,
    /// What the checks have found.
    pub warnings: Vec<Diagnostic>,
}

impl<'a> Stages<'a> {
    /// Expands what stands behind each `FROM`.
    pub fn plan(
        file: &'a Dockerfile,
        order: &Order,
        target: &Platform,
        globals: &Scope<'_>,
    ) -> Result<Self> {
        let contexts = order.contexts.keys().map(|name| context_name(name));
        let mut stages = Self {
            file,
            planned: Vec::new(),
            contexts: contexts.collect(),
            warnings: Vec::new(),
        };
        for (number, stage) in file.stages.iter().enumerate() {
            let unset = Unset::default();
            let lexis = Lexis {
                unset: &unset,
                ..globals.lexis
            };
            let globals = lexis.scope(globals.variables);
            let planned = stages.one(number, stage, target, &globals)?;
            stages.planned.push(planned);
            let mut declared: BTreeSet<String> = file.declared();
            declared.extend(
                globals
                    .variables
                    .pairs()
                    .iter()
                    .map(|(name, _)| name.clone()),
            );
            let found = file.undefined_arguments(stage.span, &unset.take(), &declared);
            stages.warnings.extend(found);
        }
        Ok(stages)
    }

    fn one(
        &self,
        number: usize,
        stage: &Stage,
        target: &Platform,
        globals: &Scope<'_>,
    ) -> Result<Planned> {
        let wrong = |message: String, hint: &str| wrong(self.file, stage.span, message, hint);
        let expand = |word: &str| {
            let expanded = globals.expand(word);
            expanded.map_err(|error| located(self.file, stage.span, error))
        };
        let base = expand(&stage.base)?;
        if base.trim().is_empty() {
            let message = format!("the base name `{}` is empty", stage.base);
            return Err(wrong(
                message,
                "give the `ARG` a default, or pass it with --build-arg",
            )
            .into());
        }
        let origin = match self.earlier(&base, number) {
            Some(stage) => self.stage(stage),
            None => self.elsewhere(&base),
        };
        let platform = match stage.platform.as_deref().map(expand).transpose()? {
            Some(text) if !text.is_empty() => text.parse().map_err(|error: Error| {
                wrong(error.message, "as in linux/amd64, or $BUILDPLATFORM")
            })?,
            _ => match &origin {
                Origin::Stage(base) => self.planned[*base].platform.clone(),
                _ => target.clone(),
            },
        };
        Ok(Planned { origin, platform })
    }

    fn earlier(&self, name: &str, before: usize) -> Option<usize> {
        self.named(name).find(|&stage| stage < before)
    }

    /// The stages of a name, the last first.
    fn named(&self, name: &str) -> impl Iterator<Item = usize> {
        let stages = self.file.stages.iter().enumerate().rev();
        let named = stages.filter(move |(_, stage)| {
            let known = stage.name.as_deref();
            known.is_some_and(|known| known.eq_ignore_ascii_case(name))
        });
        named.map(|(number, _)| number)
    }

    fn elsewhere(&self, name: &str) -> Origin {
        match self.context(name) {
            Some(context) => context,
            None if name == "scratch" => Origin::Scratch,
            None => Origin::Image(name.to_owned()),
        }
    }

    /// A context takes the place of a stage, or of an image, of its name.
    fn context(&self, name: &str) -> Option<Origin> {
        let name = context_name(name);
        let is_known = self.contexts.contains(&name);
        is_known.then_some(Origin::Context(name))
    }

    /// A stage, unless a context has its name.
    fn stage(&self, number: usize) -> Origin {
        let name = self.file.stages[number].name.as_deref();
        let context = name.and_then(|name| self.context(name));
        context.unwrap_or(Origin::Stage(number))
    }

    /// What `--from` or `from=` means in a stage; the place is for messages.
    pub fn from(&self, name: &str, within: usize, span: Span) -> Result<Origin> {
        let stages = self.file.stages.len();
        if let Ok(number) = name.parse::<usize>() {
            return match number < stages && number != within {
                true => Ok(self.stage(number)),
                false => {
                    let message = format!("invalid stage index {number}");
                    let hint = format!(
                        "the stages before this one are 0 to {}",
                        within.saturating_sub(1)
                    );
                    Err(wrong(self.file, span, message, &hint).into())
                }
            };
        }
        Ok(match self.named(name).next() {
            Some(stage) => self.stage(stage),
            None => self.elsewhere(name),
        })
    }

    /// The stage that is to be built.
    pub fn target(&self, wanted: Option<&str>) -> Result<usize> {
        let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) else {
            return Ok(self.file.stages.len() - 1);
        };
        let names = || {
            self.file
                .stages
                .iter()
                .filter_map(|stage| stage.name.as_deref())
        };
        let found = self.named(wanted).next();
        let number = || {
            wanted
                .parse()
                .ok()
                .filter(|&number| number < self.file.stages.len())
        };
        if let Some(found) = found.or_else(number) {
            return Ok(found);
        }
        let message = format!("target stage \"{wanted}\" could not be found");
        let error = Error::new(Kind::NotFound, message);
        let known: Vec<&str> = names().collect();
        Err(match nearest(wanted, names()) {
            Some(near) => error.hint(format!("--target {near}")),
            None if known.is_empty() => error.hint(format!(
                "the stages have no names: --target 0 to {}",
                self.file.stages.len() - 1
            )),
            None => error.hint(format!("the stages are {}", known.join(", "))),
        }
        .into())
    }

    /// What a stage is called in progress; one alone and without a name is not.
    pub fn shown(&self, number: usize) -> String {
        match &self.file.stages[number].name {
            Some(name) => name.clone(),
            None if self.file.stages.len() == 1 => String::new(),
            None => format!("stage-{number}"),
        }
    }

    /// The stage that a name, which turned out to be no image, was probably meant to be.
    pub fn near(&self, name: &str) -> Option<&str> {
        nearest(
            name,
            self.file
                .stages
                .iter()
                .filter_map(|stage| stage.name.as_deref()),
        )
    }
}

/// What a context is known by: names of images in their short form, so that `alpine`, `alpine:latest` and the same with
/// its registry are one.
pub fn context_name(name: &str) -> String {
    match name.parse::<Reference>() {
        Ok(reference) => {
            let short = reference.to_string();
            short.strip_suffix(":latest").unwrap_or(&short).to_owned()
        }
        // As names of stages may be.
        Err(_) => name.to_lowercase(),
    }
}

/// What `--build-context` says of a name.
pub fn context<'a>(order: &'a Order, name: &str) -> Option<&'a str> {
    let wanted = context_name(name);
    let mut known = order.contexts.iter();
    let (_, place) = known.find(|(known, _)| context_name(known) == wanted)?;
    Some(place)
}

impl Dockerfile {
    /// The names of the arguments before the first `FROM`.
    fn declared(&self) -> BTreeSet<String> {
        let names = self.arguments.iter();
        names.map(|argument| argument.value.name.clone()).collect()
    }
}

/// What is wrong at a place of the file.
pub fn wrong(file: &Dockerfile, span: Span, message: String, hint: &str) -> Diagnostic {
    let mut diagnostic = file.source.error(span, message, hint);
    diagnostic.hint = diagnostic.hint.filter(|hint| !hint.is_empty());
    diagnostic
}
