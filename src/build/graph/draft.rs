//! The config of an image while its stage is evaluated. History entries that made files name their node: which layer comes
//! of that, and when, is not known yet.

use super::NodeId;
use crate::image::config::{Config, Execution, History};
use crate::image::platform::Platform;
use std::collections::BTreeSet;

/// How BuildKit marks the form of its history entries, which tools that show histories look for.
const FORM: &str = "buildkit.dockerfile.v0";

/// Where programs are looked for unless an image says otherwise.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A config on its way.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Without history and layers.
    pub config: Config,
    /// In their order: those of the base as they were, then ours with the node that made files.
    pub history: Vec<Entry>,
    /// The node that made the uppermost layer.
    pub top: Option<NodeId>,
    /// Arguments that are in scope, with their values as far as they have any, in the order of their `ARG`s.
    pub arguments: Vec<(String, Option<String>)>,
    /// What `RUN` sees: variables of the config and arguments, the last that was said of each.
    pub variables: Vec<(String, String)>,
    /// This stage has a `CMD` of its own.
    pub has_cmd: bool,
    /// This stage, or one that it begins with, has had a `WORKDIR`.
    pub has_workdir: bool,
}

/// One entry of the history.
#[derive(Clone, Debug)]
pub enum Entry {
    /// Of the base image.
    Old(History),
    /// Of an instruction.
    New {
        /// What it was.
        created_by: String,
        /// Who made it.
        author: String,
        /// The node that has made its files.
        node: Option<NodeId>,
    },
}

impl Draft {
    /// Begins with nothing.
    pub fn scratch(platform: &Platform) -> Self {
        let execution = Execution {
            env: vec![format!("PATH={DEFAULT_PATH}")],
            working_dir: "/".to_owned(),
            ..Execution::default()
        };
        Self::new(
            Config {
                config: execution,
                ..Config::default()
            },
            platform,
            None,
        )
    }

    /// Begins with an image, whose layers are those of the node.
    pub fn image(config: Config, platform: &Platform, node: NodeId) -> Self {
        Self::new(config, platform, Some(node))
    }

    fn new(mut config: Config, platform: &Platform, top: Option<NodeId>) -> Self {
        let history = std::mem::take(&mut config.history);
        platform.os.clone_into(&mut config.os);
        platform.architecture.clone_into(&mut config.architecture);
        platform.variant.clone_into(&mut config.variant);
        // What the base's maker had to say of it.
        config.comment.clear();
        config.docker_version.clear();
        let has_path = |entry: &String| entry.starts_with("PATH=");
        if !config.config.env.iter().any(has_path) {
            config.config.env.push(format!("PATH={DEFAULT_PATH}"));
        }
        let pair = |entry: &String| {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            (name.to_owned(), value.to_owned())
        };
        let variables = config.config.env.iter().map(pair).collect();
        Self {
            config,
            history: history.into_iter().map(Entry::Old).collect(),
            top,
            arguments: Vec::new(),
            variables,
            has_cmd: false,
            has_workdir: false,
        }
    }

    /// What another stage begins with that builds on this one.
    pub fn child(&self) -> Self {
        Self {
            has_cmd: false,
            ..self.clone()
        }
    }

    /// Notes an instruction that made no files.
    pub fn note(&mut self, created_by: String) {
        self.push(created_by, None);
    }

    /// Notes one that did.
    pub fn made(&mut self, created_by: String, node: NodeId) {
        self.top = Some(node);
        self.push(created_by, Some(node));
    }

    fn push(&mut self, created_by: String, node: Option<NodeId>) {
        let author = self.config.author.clone();
        self.history.push(Entry::New {
            created_by,
            author,
            node,
        });
    }

    /// Sets a variable for what follows; where there is one of that name it keeps its place.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        match self.variables.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.variables.push((name.to_owned(), value.to_owned())),
        }
    }

    /// Likewise in the image.
    pub fn set_environment(&mut self, name: &str, value: &str) {
        let entry = format!("{name}={value}");
        let env = &mut self.config.config.env;
        let mut known = env
            .iter_mut()
            .filter(|entry| entry.split('=').next() == Some(name));
        match known.next() {
            Some(old) => *old = entry,
            None => env.push(entry),
        }
        self.set_variable(name, value);
    }

    /// The names of all variables and arguments that are in scope, those without a value too.
    pub fn declared(&self) -> BTreeSet<String> {
        let variables = self.variables.iter().map(|(name, _)| name);
        let arguments = self.arguments.iter().map(|(name, _)| name);
        variables.chain(arguments).cloned().collect()
    }

    /// The value of a variable that is in scope.
    pub fn variable(&self, name: &str) -> Option<&str> {
        let mut found = self.variables.iter().filter(|(known, _)| known == name);
        found.next().map(|(_, value)| value.as_str())
    }
}

impl Entry {
    /// As it stands in the config; `made` tells of a node whether it has made a layer, `time` is when.
    pub fn written(&self, made: impl Fn(NodeId) -> bool, time: &str) -> History {
        match self {
            Self::Old(history) => history.clone(),
            Self::New {
                created_by,
                author,
                node,
            } => History {
                created: Some(time.to_owned()),
                created_by: created_by.clone(),
                author: author.clone(),
                comment: FORM.to_owned(),
                empty_layer: !node.is_some_and(made),
            },
        }
    }
}
