//! What a `FROM`, a `--from` and a mount's `from=` mean: nodes of images, of contexts and of stages.

use super::super::base::Found;
use super::super::scope::located;
use super::super::stage::{Origin, context, wrong};
use super::super::{Copy, Node, NodeId, Operation, Part, Place, Shown};
use super::{Course, Evaluation};
use crate::build::context::address::{IMAGE, LAYOUT};
use crate::build::copy::glob::literal;
use crate::build::copy::plan::Selector;
use crate::build::dockerfile::instruction::{Instruction, Step};
use crate::build::source::Span;
use crate::build::vertex::Vertices;
use crate::image::config::Config;
use crate::image::platform::Platform;
use anyhow::Result;

/// Where the files of a context lie that are to be mounted.
const MOUNTED: &str = "/files";

impl Evaluation<'_, '_> {
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

    /// The node of an image; one for all stages that begin with it.
    pub(super) fn image(
        &mut self,
        name: String,
        found: Found,
        platform: &Platform,
    ) -> (NodeId, Config) {
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
    pub(super) fn root(
        &mut self,
        name: &str,
        mounted: Option<&str>,
        span: Span,
        course: &Course,
    ) -> NodeId {
        let key = (
            name.to_owned(),
            mounted.map(str::to_owned),
            course.platform.to_string(),
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
            platform: course.platform.clone(),
            operation: Operation::Copy(Box::new(Copy {
                link: true,
                parts: vec![files],
                destination: mounted.map_or("/", |_| MOUNTED).to_owned(),
                owner: None,
                mode: None,
            })),
            span: Some(span),
            cached: self.is_cached(course.stage),
        });
        self.roots.insert(key, node);
        node
    }

    /// What a `--from` or `from=` means.
    pub(super) fn place(
        &mut self,
        name: Option<&str>,
        span: Span,
        course: &Course,
    ) -> Result<Place> {
        let Some(name) = name else {
            return Ok(Place::Context(String::new()));
        };
        let image = match self.stages.from(name, course.stage, span)? {
            Origin::Scratch => return Ok(Place::Node(None)),
            Origin::Stage(stage) => return Ok(Place::Node(self.stage(stage)?.top)),
            Origin::Context(name) => match self.image_context(&name) {
                Some(image) => image.to_owned(),
                None => return Ok(Place::Context(name)),
            },
            Origin::Image(name) => name,
        };
        let found = self.bases.get(&image, &course.platform);
        let found = found.map_err(|error| self.no_image(span, name, error))?;
        let (node, _) = self.image(image, found, &course.platform);
        if self.graph.nodes[node].name.is_empty() {
            self.graph.nodes[node].name = format!("FROM {name}");
        }
        Ok(Place::Node(Some(node)))
    }

    /// What a mount with that `from` shows. Files of a context are copied first: so the step sees what a `COPY` would take
    /// and no more, cannot change them, and has their contents in its key.
    pub(super) fn shown(
        &mut self,
        name: Option<&str>,
        path: String,
        span: Span,
        course: &Course,
    ) -> Result<Shown> {
        Ok(match self.place(name, span, course)? {
            Place::Node(top) => Shown { top, path },
            Place::Context(name) => Shown {
                top: Some(self.root(&name, Some(&path), span, course)),
                path: MOUNTED.to_owned(),
            },
        })
    }

    /// As [`Bases`] know it.
    pub(super) fn image_context(&self, name: &str) -> Option<&str> {
        let place = context(self.order, name)?;
        let layout = place.starts_with(LAYOUT).then_some(place);
        layout.or_else(|| place.strip_prefix(IMAGE))
    }

    pub(super) fn no_image(&self, span: Span, name: &str, error: anyhow::Error) -> anyhow::Error {
        match self.stages.near(name) {
            Some(near) => {
                let hint = format!("did you mean the stage `{near}`?");
                wrong(self.stages.file, span, format!("{name}: {error:#}"), &hint).into()
            }
            None => self.wrong(span, error.context(name.to_owned())),
        }
    }

    /// An error with its place, unless it has one.
    pub(super) fn wrong(&self, span: Span, error: anyhow::Error) -> anyhow::Error {
        located(self.stages.file, span, error)
    }
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
