//! `--check` and `--call`: what a Dockerfile says, without building it.
//! <https://docs.docker.com/reference/cli/docker/buildx/build/#call>

use super::flags::Build;
use crate::build::dockerfile::instruction::{Dockerfile, Instruction, MountKind, Stage};
use crate::build::order::Order;
use crate::build::source::Diagnostic;
use crate::build::{Read, read};
use crate::cli::Context;
use crate::cli::output::build::{Mode, Progress};
use crate::cli::output::table::aligned_wide;
use crate::cli::output::visible;
use crate::error::bad_input;
use anyhow::Result;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// What is asked.
pub struct Call {
    question: Question,
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Check,
    Outline,
    Targets,
}

impl Build {
    /// What is asked instead of a build.
    pub(super) fn call(&self) -> Result<Option<Call>> {
        let text = match (&self.call, self.check) {
            (Some(text), _) if !text.is_empty() => text.as_str(),
            (_, true) => "check",
            _ => return Ok(None),
        };
        let mut words = text.split(',');
        let question = match words.next().unwrap_or_default() {
            "build" => return Ok(None),
            "check" | "lint" => Question::Check,
            "outline" | "subrequests.outline" => Question::Outline,
            "targets" | "subrequests.targets" => Question::Targets,
            other => {
                return Err(bad_input(format!("unknown method \"{other}\""))
                    .hint("--call build, check, outline or targets")
                    .into());
            }
        };
        let mut json = false;
        for word in words {
            match word {
                "format=json" => json = true,
                "format=text" => json = false,
                _ if word.starts_with("ignorestatus") => {}
                other => return Err(bad_input(format!("invalid call option {other}")).into()),
            }
        }
        Ok(Some(Call { question, json }))
    }
}

/// Answers it.
pub fn call(context: &mut Context, order: &Order, call: &Call) -> Result<u8> {
    let engine = context.engine()?;
    let mut progress = Progress::new(&mut context.output, Mode::Quiet)?;
    let order = &Order {
        check: call.question == Question::Check,
        ..order.clone()
    };
    let read = read(&engine, order, &mut progress);
    let Read { file, target } = read.inspect_err(|error| progress.failed(error))?;
    let found = progress.found().to_vec();
    drop(progress);
    match call.question {
        Question::Check => {
            match call.json {
                true => context.output.line(check_json(&file, &found))?,
                false => context.output.write(check_text(&found).as_bytes())?,
            }
            Ok(u8::from(!found.is_empty()))
        }
        Question::Targets => {
            match call.json {
                true => context.output.line(targets_json(&file))?,
                false => context.output.write(targets_text(&file).as_bytes())?,
            }
            Ok(0)
        }
        Question::Outline => {
            let outline = Outline::of(&file, target, order);
            match call.json {
                true => context.output.line(outline.json())?,
                false => context.output.write(outline.text().as_bytes())?,
            }
            Ok(0)
        }
    }
}

fn check_text(found: &[Diagnostic]) -> String {
    let mut text = match found.len() {
        0 => return "Check complete, no warnings found.\n".to_owned(),
        1 => "Check complete, 1 warning has been found!\n".to_owned(),
        several => format!("Check complete, {several} warnings have been found!\n"),
    };
    for found in found {
        let rule = found.rule.unwrap_or_default();
        let url = url(rule).map_or(String::new(), |url| format!(" - {url}"));
        let _ = writeln!(text, "\nWARNING: {rule}{url}");
        if let Some(hint) = &found.hint {
            let _ = writeln!(text, "{}", visible(hint));
        }
        let _ = writeln!(text, "{}", visible(&found.to_string()));
        let _ = writeln!(text, "{}", found.snippet());
    }
    text
}

fn url(rule: &str) -> Option<String> {
    let all = crate::build::dockerfile::check::rule::ALL;
    let mut rules = all.iter().filter(|known| known.name == rule);
    rules.next().map(|known| known.url())
}

fn check_json(file: &Dockerfile, found: &[Diagnostic]) -> Value {
    let place = |at: crate::build::source::Position| json!({"line": at.line, "character": at.column.saturating_sub(1)});
    let warning = |found: &Diagnostic| {
        let rule = found.rule.unwrap_or_default();
        json!({
            "ruleName": rule,
            "description": found.hint,
            "url": url(rule),
            "detail": found.message,
            "location": {"ranges": [{"start": place(found.span.start), "end": place(found.span.end)}]},
        })
    };
    json!({
        "warnings": found.iter().map(warning).collect::<Vec<_>>(),
        "sources": [{"filename": file.source.name, "language": "Dockerfile"}],
    })
}

/// Name, what it begins with, what is said of it.
fn described(file: &Dockerfile) -> Vec<(&Stage, bool)> {
    let last = file.stages.len().saturating_sub(1);
    let stages = file.stages.iter().enumerate();
    stages
        .map(|(index, stage)| (stage, index == last))
        .collect()
}

fn targets_text(file: &Dockerfile) -> String {
    let mut lines = vec![vec!["TARGET".to_owned(), "DESCRIPTION".to_owned()]];
    for (stage, is_last) in described(file) {
        let Some(name) = stage.name.clone().or(is_last.then(String::new)) else {
            continue;
        };
        let mark = match (is_last, name.is_empty()) {
            (true, true) => "(default)".to_owned(),
            (true, false) => format!("{name} (default)"),
            _ => name,
        };
        lines.push(vec![mark, stage.comment.clone().unwrap_or_default()]);
    }
    table(lines)
}

fn table(lines: Vec<Vec<String>>) -> String {
    let lines: Vec<Vec<String>> = lines
        .into_iter()
        .map(|line| line.iter().map(|field| visible(field)).collect())
        .collect();
    let text = aligned_wide(&lines);
    let mut text: String = text
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect();
    if text.is_empty() {
        text.push('\n');
    }
    text
}

fn targets_json(file: &Dockerfile) -> Value {
    let target = |(stage, is_last): &(&Stage, bool)| {
        let mut target = json!({"base": stage.base});
        if let Some(name) = &stage.name {
            target["name"] = json!(name);
        }
        if let Some(comment) = &stage.comment {
            target["description"] = json!(comment);
        }
        if let Some(platform) = &stage.platform {
            target["platform"] = json!(platform);
        }
        if *is_last {
            target["default"] = json!(true);
        }
        target
    };
    let targets: Vec<Value> = described(file).iter().map(target).collect();
    json!({"targets": targets, "sources": [file.source.name]})
}

/// What a target takes.
struct Outline {
    name: String,
    description: String,
    /// Name, value, what is said of it.
    arguments: Vec<(String, String, String)>,
    /// Name, and whether it must be there.
    secrets: Vec<(String, bool)>,
    agents: Vec<(String, bool)>,
}

impl Outline {
    fn of(file: &Dockerfile, target: usize, order: &Order) -> Self {
        let stage = &file.stages[target];
        let mut outline = Self {
            name: stage.name.clone().unwrap_or_else(|| "default".to_owned()),
            description: stage.comment.clone().unwrap_or_default(),
            arguments: Vec::new(),
            secrets: Vec::new(),
            agents: Vec::new(),
        };
        let stages = outline_stages(file, target);
        let of_stages = stages.iter().flat_map(|stage| &stage.instructions);
        let of_stages = of_stages.filter_map(|step| match &step.instruction {
            Instruction::Arg(arguments) => Some(arguments.iter()),
            _ => None,
        });
        let global = file.arguments.iter().map(|argument| &argument.value);
        for argument in global.chain(of_stages.flatten()) {
            let given = order.arguments.get(&argument.name).cloned();
            let value = given.or(argument.default.clone()).unwrap_or_default();
            let comment = argument.comment.clone().unwrap_or_default();
            let known = outline
                .arguments
                .iter()
                .any(|(name, ..)| *name == argument.name);
            if !known {
                outline
                    .arguments
                    .push((argument.name.clone(), value, comment));
            }
        }
        let runs = stages.iter().flat_map(|stage| &stage.instructions);
        for run in runs.filter_map(|step| match &step.instruction {
            Instruction::Run(run) => Some(run),
            _ => None,
        }) {
            for mount in &run.mounts {
                let list = match mount.kind {
                    MountKind::Secret => &mut outline.secrets,
                    MountKind::Ssh => &mut outline.agents,
                    _ => continue,
                };
                let name = mount.identifier().to_owned();
                if !list.iter().any(|(known, _)| *known == name) {
                    list.push((name, mount.required));
                }
            }
        }
        outline
    }

    fn text(&self) -> String {
        let mut text = format!("TARGET:      {}\n", visible(&self.name));
        if !self.description.is_empty() {
            let _ = writeln!(text, "DESCRIPTION: {}", visible(&self.description));
        }
        let head = |words: &[&str]| vec![words.iter().map(|word| (*word).to_owned()).collect()];
        if !self.arguments.is_empty() {
            let mut lines = head(&["BUILD ARG", "VALUE", "DESCRIPTION"]);
            for (name, value, comment) in &self.arguments {
                lines.push(vec![name.clone(), value.clone(), comment.clone()]);
            }
            let _ = write!(text, "\n{}", table(lines));
        }
        for (title, list) in [("SECRET", &self.secrets), ("SSH", &self.agents)] {
            if list.is_empty() {
                continue;
            }
            let mut lines = head(&[title, "REQUIRED"]);
            for (name, required) in list {
                let mark = if *required { "true" } else { "" };
                lines.push(vec![name.clone(), mark.to_owned()]);
            }
            let _ = write!(text, "\n{}", table(lines));
        }
        text
    }

    fn json(&self) -> Value {
        let argument = |(name, value, comment): &(String, String, String)| {
            let mut argument = json!({"name": name, "value": value});
            if !comment.is_empty() {
                argument["description"] = json!(comment);
            }
            argument
        };
        let named = |(name, required): &(String, bool)| json!({"name": name, "required": required});
        json!({
            "name": self.name,
            "description": self.description,
            "args": self.arguments.iter().map(argument).collect::<Vec<_>>(),
            "secrets": self.secrets.iter().map(named).collect::<Vec<_>>(),
            "ssh": self.agents.iter().map(named).collect::<Vec<_>>(),
        })
    }
}

/// A stage and all that it begins with.
fn outline_stages(file: &Dockerfile, target: usize) -> Vec<&Stage> {
    let mut stages = vec![&file.stages[target]];
    let mut at = target;
    while let Some(base) = file.stages[..at].iter().rposition(|stage| {
        let name = stage.name.as_deref();
        name.is_some_and(|name| name.eq_ignore_ascii_case(&file.stages[at].base))
    }) {
        stages.push(&file.stages[base]);
        at = base;
    }
    stages.reverse();
    stages
}
