//! Checks that need only the file's text.
//!
//! They look at what the parser has read, and at [`Facts`] that it has noted since they are in no instruction: casings,
//! comments, the form that something was written in.

use super::super::instruction::{Command, Dockerfile, Instruction, Stage};
use super::super::lexer::Joined;
use super::super::read::{Line, Note};
use super::rule::{self, Rule};
use crate::build::source::{Diagnostic, Source, Span};
use std::collections::{BTreeMap, BTreeSet};

/// What the parser has seen and no instruction tells.
#[derive(Debug, Default)]
pub struct Facts {
    /// Names of instructions as they were written.
    keywords: Vec<(String, Span)>,
    /// What is doubtful for the reason given; no rule: it is always told.
    notes: Vec<(Option<&'static Rule>, Span, String)>,
}

impl Facts {
    /// Notes what a line shows.
    pub fn note(&mut self, source: &Source, joined: &Joined, line: &Line<'_>, notes: Vec<Note>) {
        let start = joined.text.len() - joined.text.trim_start().len();
        let keyword = joined.text[start..]
            .split_whitespace()
            .next()
            .unwrap_or_default();
        let place = joined.span(source, start..start + keyword.len());
        self.keywords.push((keyword.to_owned(), place));
        if let Some(empty) = joined.empty_line {
            let message = "Empty continuation line".to_owned();
            self.add(
                &rule::NO_EMPTY_CONTINUATION,
                source.span(empty, 0..0),
                message,
            );
        }
        for note in notes {
            let span = joined.span(source, note.range);
            self.notes.push((note.rule, span, note.message));
        }
        let names: Vec<&str> = match line {
            Line::From(from) => from.name.iter().map(|(_, name)| name.text).collect(),
            Line::Instruction(Instruction::Arg(arguments)) => arguments
                .iter()
                .map(|argument| argument.name.as_str())
                .collect(),
            Line::Instruction(_) => Vec::new(),
        };
        self.definition(source, joined, keyword, &names);
        if let Line::From(from) = line
            && let Some((word, _)) = from.name
            && !same_casing(keyword, word.text)
        {
            let message = format!(
                "'{}' and '{keyword}' keywords' casing do not match",
                word.text
            );
            self.add(
                &rule::FROM_AS_CASING,
                joined.span(source, word.range()),
                message,
            );
        }
    }

    fn add(&mut self, rule: &'static Rule, span: Span, message: String) {
        self.notes.push((Some(rule), span, message));
    }

    /// A comment right above a stage or an argument describes it, and then begins with its name.
    fn definition(&mut self, source: &Source, joined: &Joined, keyword: &str, names: &[&str]) {
        let Some(last) = joined.comments.clone().next_back() else {
            return;
        };
        let comment = source
            .line(last)
            .trim_start()
            .trim_start_matches('#')
            .trim_start();
        let first = comment.split(' ').next().unwrap_or_default();
        if names.is_empty() || names.contains(&first) {
            return;
        }
        let example = if names.len() > 1 {
            "<arg_key>"
        } else {
            names[0]
        };
        let message = format!(
            "Comment for {} should follow the format: `# {example} <description>`",
            keyword.to_ascii_uppercase()
        );
        let span = source.span(last, 0..source.line(last).len());
        self.add(&rule::INVALID_DEFINITION_DESCRIPTION, span, message);
    }
}

/// All checks that need only the text, in the order of the file.
pub fn text(dockerfile: &Dockerfile, facts: Facts) -> Vec<Diagnostic> {
    let mut checks = Checks {
        dockerfile,
        found: Vec::new(),
    };
    checks.casing(&facts.keywords);
    for (rule, span, message) in facts.notes {
        match rule {
            Some(rule) => checks.add(rule, span, message),
            None if checks.is_full() => {}
            None => checks
                .found
                .push(dockerfile.source.diagnostic(span, message)),
        }
    }
    for argument in &dockerfile.arguments {
        checks.secret("ARG", &argument.value.name, argument.span);
    }
    checks.names();
    // Stages whose shell was chosen: whoever does that means the shell form.
    let mut shells: BTreeSet<String> = BTreeSet::new();
    for stage in &dockerfile.stages {
        let mut shell = shells.contains(&stage.base.to_lowercase());
        checks.platform(stage);
        checks.stage(stage, &mut shell);
        if shell && let Some(name) = &stage.name {
            shells.insert(name.to_lowercase());
        }
    }
    checks.found.sort_by_key(|warning| warning.span);
    checks.found
}

/// More warnings than this tell nothing new, and each holds its line.
pub const MOST_WARNINGS: usize = 100;

struct Checks<'a> {
    dockerfile: &'a Dockerfile,
    found: Vec<Diagnostic>,
}

impl Checks<'_> {
    fn add(&mut self, rule: &'static Rule, span: Span, message: String) {
        if !self.is_full() {
            self.found
                .extend(self.dockerfile.warning(rule, span, message));
        }
    }

    fn is_full(&self) -> bool {
        self.found.len() >= MOST_WARNINGS
    }

    /// All names of instructions are written as most are.
    fn casing(&mut self, keywords: &[(String, Span)]) {
        let lower = keywords.iter().filter(|(word, _)| is_lower(word)).count();
        let upper = keywords.iter().filter(|(word, _)| is_upper(word)).count();
        let (is_right, right): (fn(&str) -> bool, _) = match lower > upper {
            true => (is_lower, "lowercase"),
            false => (is_upper, "uppercase"),
        };
        for (word, span) in keywords.iter().filter(|(word, _)| !is_right(word)) {
            let message =
                format!("Command '{word}' should match the case of the command majority ({right})");
            self.add(&rule::CONSISTENT_INSTRUCTION_CASING, *span, message);
        }
    }

    /// Names of stages are lower case, none is used twice, none is reserved.
    fn names(&mut self) {
        let mut seen = BTreeSet::new();
        for stage in &self.dockerfile.stages {
            let Some(name) = &stage.name else {
                continue;
            };
            let span = self.name_place(stage, name);
            let lower = name.to_lowercase();
            if lower != *name {
                let message = format!("Stage name '{name}' should be lowercase");
                self.add(&rule::STAGE_NAME_CASING, span, message);
            }
            if ["context", "scratch"].contains(&lower.as_str()) {
                let message = format!(
                    "Stage name should not use the same name as reserved stage \"{lower}\""
                );
                self.add(&rule::RESERVED_STAGE_NAME, span, message);
            }
            if !seen.insert(lower) {
                let message =
                    format!("Duplicate stage name '{name}', stage names should be unique");
                self.add(&rule::DUPLICATE_STAGE_NAME, span, message);
            }
        }
    }

    /// The last word of a `FROM`.
    fn name_place(&self, stage: &Stage, name: &str) -> Span {
        let end = stage.span.end;
        let line = self.dockerfile.source.line(end.line as usize - 1);
        match line.rfind(name) {
            Some(at) => self
                .dockerfile
                .source
                .span(end.line as usize - 1, at..at + name.len()),
            None => stage.span,
        }
    }

    fn platform(&mut self, stage: &Stage) {
        let Some(platform) = &stage.platform else {
            return;
        };
        let span = self.dockerfile.source.find(stage.span, platform);
        if ["$TARGETPLATFORM", "${TARGETPLATFORM}"].contains(&platform.as_str()) {
            let message = format!(
                "Setting platform to predefined {platform} in FROM is redundant as this is the default behavior"
            );
            self.add(&rule::REDUNDANT_TARGET_PLATFORM, span, message);
            return;
        }
        let name = stage.name.as_deref().unwrap_or_default().to_lowercase();
        // A stage that is called after its platform is one of several.
        let named = platform
            .to_lowercase()
            .split('/')
            .any(|part| !part.is_empty() && name.contains(part));
        if !platform.contains('$') && !named {
            let message =
                format!("FROM --platform flag should not use constant value \"{platform}\"");
            self.add(&rule::FROM_PLATFORM_FLAG_CONST_DISALLOWED, span, message);
        }
    }

    fn stage(&mut self, stage: &Stage, shell: &mut bool) {
        let mut last: BTreeMap<&str, Span> = BTreeMap::new();
        for step in &stage.instructions {
            let single = match &step.instruction {
                Instruction::Cmd(_) => Some("CMD"),
                Instruction::Entrypoint(_) => Some("ENTRYPOINT"),
                Instruction::Healthcheck(_) => Some("HEALTHCHECK"),
                _ => None,
            };
            if let Some(name) = single
                && let Some(before) = last.insert(name, step.span)
            {
                let message = format!(
                    "Multiple {name} instructions should not be used in the same stage because only the last one will be used"
                );
                self.add(&rule::MULTIPLE_INSTRUCTIONS_DISALLOWED, before, message);
            }
            match &step.instruction {
                Instruction::Cmd(Command::Shell(_)) if !*shell => self.json("CMD", step.span),
                Instruction::Entrypoint(Command::Shell(_)) if !*shell => {
                    self.json("ENTRYPOINT", step.span)
                }
                Instruction::Shell(_) => *shell = true,
                Instruction::Maintainer(_) => {
                    let message =
                        "Maintainer instruction is deprecated in favor of using label".to_owned();
                    self.add(&rule::MAINTAINER_DEPRECATED, step.span, message);
                }
                Instruction::Arg(arguments) => {
                    for argument in arguments {
                        self.secret("ARG", &argument.name, step.span);
                    }
                }
                Instruction::Env(pairs) => {
                    for (name, _) in pairs {
                        self.secret("ENV", name, step.span);
                    }
                }
                _ => {}
            }
        }
    }

    fn json(&mut self, name: &str, span: Span) {
        let message = format!(
            "JSON arguments recommended for {name} to prevent unintended behavior related to OS signals"
        );
        self.add(&rule::JSON_ARGS_RECOMMENDED, span, message);
    }

    /// A name one of whose words, between underscores, is one for what must be kept secret.
    fn secret(&mut self, instruction: &str, name: &str, span: Span) {
        const WORDS: [&str; 11] = [
            "apikey",
            "auth",
            "credential",
            "credentials",
            "key",
            "password",
            "pword",
            "passwd",
            "secret",
            "token",
            "tokens",
        ];
        let lower = name.to_lowercase();
        if self.is_full()
            || lower.contains("public")
            || !lower.split('_').any(|part| WORDS.contains(&part))
        {
            return;
        }
        let message = format!(
            "Do not use ARG or ENV instructions for sensitive data ({instruction} \"{name}\")"
        );
        let place = self.dockerfile.source.find(span, name);
        self.add(&rule::SECRETS_USED_IN_ARG_OR_ENV, place, message);
    }
}

fn is_lower(word: &str) -> bool {
    !word.contains(|letter: char| letter.is_ascii_uppercase())
}

fn is_upper(word: &str) -> bool {
    !word.contains(|letter: char| letter.is_ascii_lowercase())
}

/// Both are lower, or both are upper.
fn same_casing(from: &str, keyword: &str) -> bool {
    if is_lower(from) {
        is_lower(keyword)
    } else {
        is_upper(keyword)
    }
}
