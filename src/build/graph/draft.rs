//! The config of an image while its stage is evaluated. History entries that made files name their node: which layer comes
//! of that, and when, is not known yet.

use super::NodeId;
use super::scope::Variables;
use crate::error::bad_input;
use crate::image::config::{Config, Execution, History};
use crate::image::platform::Platform;
use crate::image::store::DOCUMENT_LIMIT;
use anyhow::Result;
use std::collections::{BTreeSet, HashMap};

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
    /// What `RUN` sees: variables of the config and arguments.
    pub variables: Variables,
    /// The place of each name in the config's environment.
    environment: HashMap<String, usize>,
    /// Bytes of the history's new entries.
    written: u64,
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
        let pairs = || config.config.env.iter().map(pair);
        // Of a name that stands there twice the first place counts.
        let places = pairs().enumerate().rev();
        let environment = places.map(|(place, (name, _))| (name, place)).collect();
        let variables = pairs().collect();
        Self {
            config,
            history: history.into_iter().map(Entry::Old).collect(),
            top,
            arguments: Vec::new(),
            variables,
            environment,
            written: 0,
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
        self.written += (created_by.len() + author.len()) as u64;
        self.history.push(Entry::New {
            created_by,
            author,
            node,
        });
    }

    /// Fails if no store would read the config: all that an instruction says stands in the history too.
    pub fn check_size(&self) -> Result<()> {
        if self.written <= DOCUMENT_LIMIT {
            return Ok(());
        }
        let message = format!("the image's config would be larger than {DOCUMENT_LIMIT} bytes");
        let hint = "large values belong into files";
        Err(bad_input(message).hint(hint).into())
    }

    /// Sets a variable for what follows, and in the image.
    pub fn set_environment(&mut self, name: &str, value: &str) {
        let entry = format!("{name}={value}");
        let env = &mut self.config.config.env;
        match self.environment.get(name) {
            Some(&place) => env[place] = entry,
            None => {
                self.environment.insert(name.to_owned(), env.len());
                env.push(entry);
            }
        }
        self.variables.set(name, value);
    }

    /// The names of the first `count` variables, and of the arguments without a value.
    pub fn declared(&self, count: usize) -> BTreeSet<String> {
        let variables = self.variables.pairs()[..count].iter();
        let arguments = self.arguments.iter().filter(|(_, value)| value.is_none());
        let names = variables.map(|(name, _)| name);
        let names = names.chain(arguments.map(|(name, _)| name));
        names.cloned().collect()
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
