//! From a file's bytes to its stages: what stands before, in and between them.
//!
//! It knows the order of instructions; each by itself is read by [`super::read`]. Errors are gathered, so that one look
//! shows as many as can be told.

use super::check;
use super::directive;
use super::instruction::{Argument, Dockerfile, Instruction, Stage, Step};
use super::lexer::{Joined, Lexer};
use super::read::{self, Line};
use crate::build::source::{Diagnostic, Located, Source};

/// More errors than this tell nothing new.
const MOST_ERRORS: usize = 20;

/// Reads a file; `name` is what messages call it. An error has at least one diagnostic.
pub fn parse(name: &str, bytes: &[u8]) -> Result<Dockerfile, Vec<Diagnostic>> {
    let source = Source::decode(name, bytes).map_err(|error| vec![error])?;
    let lines = (0..source.line_count()).map(|index| source.line(index));
    let directives = directive::read(lines).map_err(|(line, fault)| {
        vec![source.error(source.span(line, fault.range), fault.message, fault.hint)]
    })?;
    let mut parser = Parser {
        source: &source,
        arguments: Vec::new(),
        stages: Vec::new(),
        facts: check::Facts::default(),
        errors: Vec::new(),
        lost: false,
    };
    for joined in Lexer::new(&source, directives.escape) {
        match joined {
            Ok(joined) => parser.line(&joined, directives.escape),
            Err(error) => parser.errors.push(error),
        }
        if parser.errors.len() >= MOST_ERRORS {
            break;
        }
    }
    parser.end();
    let Parser {
        arguments,
        stages,
        facts,
        errors,
        ..
    } = parser;
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut dockerfile = Dockerfile {
        source,
        directives,
        arguments,
        stages,
        warnings: Vec::new(),
    };
    dockerfile.warnings = check::text(&dockerfile, facts);
    Ok(dockerfile)
}

/// Reads the `ONBUILD` trigger of a base image: one instruction, with its heredocs if it has some. `name` is what
/// messages call it.
pub fn parse_instruction(name: &str, text: &str) -> Result<Step, Vec<Diagnostic>> {
    let source = Source::decode(name, text.as_bytes()).map_err(|error| vec![error])?;
    let mut lexer = Lexer::new(&source, '\\');
    let one = |message: &str| {
        let span = source.span(0, 0..source.line(0).len());
        vec![source.error(span, message, "expected one instruction")]
    };
    let joined = match lexer.next() {
        Some(joined) => joined.map_err(|error| vec![error])?,
        None => return Err(one("the onbuild trigger is empty")),
    };
    if lexer.next().is_some() {
        return Err(one("onbuild trigger should be a single expression"));
    }
    let line = read::line(&joined.text, &joined.heredocs, &[], '\\')
        .map_err(|fault| vec![joined.error(&source, fault)])?;
    match line.0 {
        Line::Instruction(Instruction::OnBuild(_) | Instruction::Maintainer(_)) | Line::From(_) => {
            Err(one("this instruction isn't allowed as an ONBUILD trigger"))
        }
        Line::Instruction(instruction) => Ok(Step {
            instruction,
            span: joined.whole(&source),
            text: joined.text.trim_end().to_owned(),
            on_build: true,
        }),
    }
}

struct Parser<'a> {
    source: &'a Source,
    arguments: Vec<Located<Argument>>,
    stages: Vec<Stage>,
    facts: check::Facts,
    errors: Vec<Diagnostic>,
    /// It has been said that there is no stage, or that its `FROM` is wrong.
    lost: bool,
}

impl Parser<'_> {
    fn line(&mut self, joined: &Joined, escape: char) {
        let comments: Vec<&str> = joined
            .comments
            .clone()
            .map(|line| self.source.line(line))
            .collect();
        match read::line(&joined.text, &joined.heredocs, &comments, escape) {
            Ok((line, notes)) => {
                self.facts.note(self.source, joined, &line, notes);
                match line {
                    Line::From(from) => self.stage(joined, &from, &comments),
                    Line::Instruction(instruction) => self.instruction(joined, instruction),
                }
            }
            Err(fault) => {
                self.lost |= self.stages.is_empty();
                self.errors.push(joined.error(self.source, fault));
            }
        }
    }

    fn stage(&mut self, joined: &Joined, from: &read::From<'_>, comments: &[&str]) {
        let name = from.name.map(|(_, name)| name.text.to_owned());
        self.stages.push(Stage {
            comment: name
                .as_ref()
                .and_then(|name| read::description(comments, name)),
            name,
            base: from.base.to_owned(),
            platform: from.platform.clone(),
            span: joined.whole(self.source),
            text: joined.text.trim_end().to_owned(),
            instructions: Vec::new(),
        });
    }

    fn instruction(&mut self, joined: &Joined, instruction: Instruction) {
        let span = joined.whole(self.source);
        if let Some(stage) = self.stages.last_mut() {
            stage.instructions.push(Step {
                instruction,
                span,
                text: joined.text.trim_end().to_owned(),
                on_build: false,
            });
            return;
        }
        match instruction {
            Instruction::Arg(arguments) => {
                let located = arguments.into_iter().map(|value| Located { value, span });
                self.arguments.extend(located);
            }
            _ if self.lost => {}
            _ => {
                self.lost = true;
                self.errors.push(self.source.error(
                    span,
                    "no build stage in current context",
                    "a Dockerfile begins with FROM; only ARG may stand before it",
                ));
            }
        }
    }

    /// A file must have a stage.
    fn end(&mut self) {
        if !self.stages.is_empty() || !self.errors.is_empty() {
            return;
        }
        let message = if self.arguments.is_empty() {
            "file with no instructions"
        } else {
            "dockerfile contains no stages to build"
        };
        let last = self.source.line_count().saturating_sub(1);
        let span = self.source.span(last, 0..self.source.line(last).len());
        self.errors
            .push(self.source.error(span, message, "expected FROM IMAGE"));
    }
}
