//! What a build does, shown as BuildKit shows it: on a terminal, as lines, as JSON, or not at all.
//!
//! - `terminal`: drawn again and again · `plain`: a line for each thing · `raw`: BuildKit's JSON lines
//! - `clean`: what programs write, without what a terminal would act on
//!
//! All of it goes to standard error; standard output has the data. What the checks have found is kept for the end, where
//! it is read.

mod clean;
mod plain;
mod raw;
mod terminal;

use super::{Output, visible};
use crate::build::diagnostics::Diagnostics;
use crate::build::failure::Failure;
use crate::build::report::{Event, Reporter};
use crate::build::source::Diagnostic;
use crate::error::{Error, bad_input};
use anyhow::Result;
use plain::Plain;
use raw::Raw;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::time::{Duration, Instant};
use terminal::Terminal;

/// How it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Drawn on a terminal, else lines.
    Auto,
    /// Lines.
    Plain,
    /// Drawn, which needs a terminal.
    Terminal,
    /// JSON.
    Raw,
    /// Only what went wrong.
    Quiet,
}

impl std::str::FromStr for Mode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "" | "auto" => Ok(Self::Auto),
            "plain" => Ok(Self::Plain),
            "tty" => Ok(Self::Terminal),
            "rawjson" => Ok(Self::Raw),
            "quiet" | "none" => Ok(Self::Quiet),
            other => Err(bad_input(format!("invalid progress mode {other}"))
                .hint("--progress auto, plain, tty, rawjson, quiet or none")),
        }
    }
}

enum View {
    Plain(Plain),
    Terminal(Terminal),
    Raw(Raw),
    Nothing,
}

/// Shows one build.
pub struct Progress<'a> {
    output: &'a mut Output,
    view: View,
    /// What the checks have found, each once.
    found: Vec<Diagnostic>,
    /// Steps that are not the builder's.
    own: usize,
}

/// Numbers that the builder never comes to.
const OWN: usize = usize::MAX / 2;

impl<'a> Progress<'a> {
    /// Nothing has happened yet.
    pub fn new(output: &'a mut Output, mode: Mode) -> Result<Self> {
        let is_terminal = std::io::stderr().is_terminal();
        let view = match mode {
            Mode::Auto if is_terminal => View::Terminal(Terminal::new()),
            Mode::Auto | Mode::Plain => View::Plain(Plain::default()),
            Mode::Terminal if is_terminal => View::Terminal(Terminal::new()),
            Mode::Terminal => {
                return Err(
                    bad_input("failed to get console: standard error is no terminal")
                        .hint("--progress plain")
                        .into(),
                );
            }
            Mode::Raw => View::Raw(Raw::default()),
            Mode::Quiet => View::Nothing,
        };
        Ok(Self {
            output,
            view,
            found: Vec::new(),
            own: OWN,
        })
    }

    /// Carries out a step that comes after those of the builder; its lines are told through what it is given.
    pub fn step<T>(
        &mut self,
        name: &str,
        act: impl FnOnce(&mut dyn FnMut(&str)) -> Result<T>,
    ) -> Result<T> {
        self.own += 1;
        let (vertex, started) = (self.own, Instant::now());
        self.tell(vertex, Event::Planned { name, inputs: &[] });
        self.tell(vertex, Event::Started);
        let done = act(&mut |item| {
            let (current, total) = (0, None);
            self.tell(
                vertex,
                Event::Progress {
                    item,
                    current,
                    total,
                    done: true,
                },
            );
        });
        match &done {
            Ok(_) => self.tell(vertex, Event::Done(started.elapsed())),
            Err(error) => self.tell(vertex, Event::Failed(&format!("{error:#}"))),
        }
        done
    }

    /// All is built, or nothing will be: draws the last state.
    pub fn finish(&mut self, built: bool) {
        if let View::Terminal(terminal) = &mut self.view {
            terminal.finish(self.output, built);
        }
    }

    /// What the checks have found, each once, in the order of the file.
    pub fn found(&mut self) -> &[Diagnostic] {
        self.found
            .sort_by_key(|found| (found.file.clone(), found.span.start));
        &self.found
    }

    /// Shows what the checks have found.
    pub fn warn(&mut self) {
        if self.found().is_empty() || matches!(self.view, View::Nothing | View::Raw(_)) {
            return;
        }
        let plural = if self.found.len() == 1 { "" } else { "s" };
        let mut text = format!("\n {} warning{plural} found:\n", self.found.len());
        for found in &self.found {
            let rule = found.rule.map_or(String::new(), |rule| format!("{rule}: "));
            let place = format!("{}:{}", visible(&found.file), found.span.start.line);
            let message = visible(&found.message);
            let _ = writeln!(text, " - {rule}{message} ({place})");
            let _ = writeln!(text, "{}", found.snippet());
        }
        self.output.usage(&text);
    }

    /// Why it has failed, beside the one line that says so.
    pub fn failed(&mut self, error: &anyhow::Error) {
        self.finish(false);
        self.warn();
        if let View::Raw(_) = self.view {
            return;
        }
        let mut causes = error.chain();
        if let Some(failure) = causes.find_map(|cause| cause.downcast_ref::<Failure>()) {
            let mut text = format!("------\n > {}:\n", visible(&failure.step));
            for line in &failure.last_lines {
                text.push_str(&clean::line(line.as_bytes()));
                text.push('\n');
            }
            text.push_str("------\n");
            if !failure.excerpt.lines.is_empty() {
                let excerpt = failure.excerpt.to_string();
                for line in excerpt.lines() {
                    text.push_str(&clean::line(line.as_bytes()));
                    text.push('\n');
                }
            }
            if let Some(hint) = &failure.hint {
                let _ = writeln!(text, "try: {}", visible(hint));
            }
            self.output.usage(&text);
        }
        for cause in error.chain() {
            let several = cause.downcast_ref::<Diagnostics>();
            let found = several.map_or(&[][..], |several| &several.0);
            for diagnostic in found.iter().chain(cause.downcast_ref::<Diagnostic>()) {
                let text = format!(
                    "{}\n{}\n",
                    visible(&diagnostic.to_string()),
                    diagnostic.snippet()
                );
                self.output.usage(&text);
                if let Some(hint) = &diagnostic.hint {
                    self.output.usage(&format!("try: {}\n", visible(hint)));
                }
            }
        }
    }

    /// What else is written while it goes on.
    pub fn output(&mut self) -> &mut Output {
        self.output
    }
}

impl Reporter for Progress<'_> {
    fn tell(&mut self, vertex: usize, event: Event<'_>) {
        if let Event::Check(found) = &event
            && !self.found.contains(found)
        {
            self.found.push((*found).clone());
        }
        match &mut self.view {
            View::Plain(plain) => plain.tell(self.output, vertex, event),
            View::Terminal(terminal) => terminal.tell(self.output, vertex, event),
            View::Raw(raw) => raw.tell(self.output, vertex, event),
            View::Nothing => {}
        }
    }

    fn period(&self) -> Option<Duration> {
        matches!(self.view, View::Terminal(_)).then_some(terminal::PERIOD)
    }

    fn tick(&mut self) {
        if let View::Terminal(terminal) = &mut self.view {
            terminal.draw(self.output, false);
        }
    }
}
