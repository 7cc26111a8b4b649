//! Which variables are in scope where, and what words come to with them.
//! <https://docs.docker.com/reference/dockerfile/#environment-replacement>

use super::platform;
use crate::build::dockerfile::instruction::Dockerfile;
use crate::build::dockerfile::part::Fault;
use crate::build::dockerfile::variable::Expander;
use crate::build::graph::stage::wrong;
use crate::build::order::Order;
use crate::build::source::{Diagnostic, Span};
use crate::image::platform::Platform;
use anyhow::Result;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::fmt;

/// Names that were asked for and are not set, for the checks.
pub type Unset = RefCell<BTreeSet<String>>;

/// Names and values in the order in which the names came, each with what was said of it last.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    pairs: Vec<(String, String)>,
    places: HashMap<String, usize>,
}

impl Variables {
    /// The value of one.
    pub fn get(&self, name: &str) -> Option<&str> {
        let place = self.places.get(name)?;
        Some(&self.pairs[*place].1)
    }

    /// Sets one; where there is one of that name it keeps its place.
    pub fn set(&mut self, name: &str, value: &str) {
        match self.places.get(name) {
            Some(&place) => value.clone_into(&mut self.pairs[place].1),
            None => {
                self.places.insert(name.to_owned(), self.pairs.len());
                self.pairs.push((name.to_owned(), value.to_owned()));
            }
        }
    }

    /// Names and values.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.pairs
    }
}

impl FromIterator<(String, String)> for Variables {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(pairs: T) -> Self {
        let mut variables = Self::default();
        for (name, value) in pairs {
            variables.set(&name, &value);
        }
        variables
    }
}

/// How a character is kept from meaning something, and who is told what is not set.
#[derive(Clone, Copy, Debug)]
pub struct Lexis<'a> {
    /// `\` or a backquote.
    pub escape: char,
    /// Who is told.
    pub unset: &'a Unset,
}

impl<'a> Lexis<'a> {
    /// With variables.
    pub fn scope(self, variables: &'a Variables) -> Scope<'a> {
        Scope {
            variables,
            lexis: self,
        }
    }
}

/// Variables, and how words with them are read.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// What is set.
    pub variables: &'a Variables,
    /// How words are read.
    pub lexis: Lexis<'a>,
}

impl Scope<'_> {
    fn value(&self, name: &str) -> Option<String> {
        self.variables.get(name).map(str::to_owned)
    }

    /// What a word comes to.
    pub fn expand(&self, word: &str) -> Result<String> {
        let value = |name: &str| self.value(name);
        let mut expander = Expander::new(self.lexis.escape, &value);
        let expanded = expander.word(word);
        self.lexis.unset.borrow_mut().append(&mut expander.unset);
        expanded.map_err(|fault| Unexpanded::error(word, fault))
    }

    /// Likewise where several may come of it.
    pub fn words(&self, word: &str) -> Result<Vec<String>> {
        let value = |name: &str| self.value(name);
        let mut expander = Expander::new(self.lexis.escape, &value);
        let expanded = expander.words(word);
        self.lexis.unset.borrow_mut().append(&mut expander.unset);
        expanded.map_err(|fault| Unexpanded::error(word, fault))
    }

    /// What a text comes to, whose quotes mean nothing.
    pub fn expand_text(&self, text: &str) -> Result<String> {
        let value = |name: &str| self.value(name);
        let mut expander = Expander::new(self.lexis.escape, &value);
        let expanded = expander.heredoc(text);
        self.lexis.unset.borrow_mut().append(&mut expander.unset);
        expanded.map_err(|fault| Unexpanded::error(text, fault))
    }
}

/// A word that cannot be expanded; where it stands is known by whoever knows the instruction.
#[derive(Debug)]
pub struct Unexpanded {
    word: String,
    fault: Fault,
}

impl Unexpanded {
    fn error(word: &str, fault: Fault) -> anyhow::Error {
        let word = word.to_owned();
        Self { word, fault }.into()
    }

    /// At its place in an instruction.
    pub fn at(&self, file: &Dockerfile, span: Span) -> Diagnostic {
        file.expansion_error(span, &self.word, &self.fault)
    }
}

impl std::error::Error for Unexpanded {}

impl fmt::Display for Unexpanded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fault.message)
    }
}

/// An error with its place, unless it has one.
pub fn located(file: &Dockerfile, span: Span, error: anyhow::Error) -> anyhow::Error {
    if let Some(unexpanded) = error.downcast_ref::<Unexpanded>() {
        return unexpanded.at(file, span).into();
    }
    if error.chain().any(|cause| cause.is::<Diagnostic>()) {
        return error;
    }
    let hint = crate::error::hint(&error).unwrap_or_default().to_owned();
    wrong(file, span, format!("{error:#}"), &hint).into()
}

/// Arguments outside stages: those before the first `FROM`, and those that are there by themselves.
#[derive(Debug)]
pub struct Globals {
    /// What `FROM` sees.
    pub variables: Variables,
    /// What the caller has passed.
    passed: Vec<(String, String)>,
    /// Those of them that somebody has asked for.
    asked: RefCell<BTreeSet<String>>,
}

impl Globals {
    /// Expands the defaults in their order.
    pub fn new(file: &Dockerfile, order: &Order, target: &Platform) -> Result<Self> {
        let passed = order.arguments.iter();
        let mut globals = Self {
            variables: Variables::default(),
            passed: passed
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            asked: RefCell::default(),
        };
        for (name, value) in platform::arguments(target, order.target.as_deref()) {
            let value = globals.passed(&name).unwrap_or(value);
            globals.variables.set(&name, &value);
        }
        for argument in &file.arguments {
            let default = argument.value.default.as_deref();
            let default = default.map(|default| {
                let lexis = Lexis {
                    escape: file.directives.escape,
                    unset: &Unset::default(),
                };
                lexis
                    .scope(&globals.variables)
                    .expand(default)
                    .map_err(|error| located(file, argument.span, error))
            });
            let default = default.transpose()?;
            let name = &argument.value.name;
            if let Some(value) = globals.passed(name).or(default) {
                globals.variables.set(name, &value);
            }
        }
        Ok(globals)
    }

    /// What was passed for an argument that the file asks for.
    pub fn passed(&self, name: &str) -> Option<String> {
        self.asked.borrow_mut().insert(name.to_owned());
        let mut found = self.passed.iter().filter(|(known, _)| known == name);
        found.next().map(|(_, value)| value.clone())
    }

    /// The value of an `ARG` in a stage, whose default was expanded.
    pub fn argument(&self, name: &str, default: Option<String>) -> Option<String> {
        let global = || self.variables.get(name).map(str::to_owned);
        self.passed(name).or(default).or_else(global)
    }

    /// How to get out into the net, as far as the caller has said.
    pub fn proxies(&self) -> Vec<(String, String)> {
        let is_proxy = |(name, _): &&(String, String)| platform::is_proxy(name);
        self.passed.iter().filter(is_proxy).cloned().collect()
    }

    /// What was passed that nobody has asked for.
    pub fn unused(&self) -> Vec<String> {
        let asked = self.asked.borrow();
        let is_unused = |name: &&String| !asked.contains(*name) && !platform::is_known(name);
        let names = self.passed.iter().map(|(name, _)| name);
        names.filter(is_unused).cloned().collect()
    }
}
