//! A step that has failed: which, why, what it wrote last, and where it stands in the Dockerfile.

use super::source::{Source, Span};
use std::fmt;

/// How many of the last lines of a step's output are kept.
pub const KEPT_LINES: usize = 20;

/// Lines shown before and after what is marked.
const AROUND: u32 = 2;

/// Why a build has failed, if it is a step of the Dockerfile that did. On one line it says what went wrong; the rest is for
/// whoever shows it.
#[derive(Debug)]
pub struct Failure {
    /// The step as progress calls it.
    pub step: String,
    /// The last lines that it has written.
    pub last_lines: Vec<String>,
    /// Where it stands.
    pub excerpt: Excerpt,
    /// What went wrong, on one line.
    pub message: String,
    /// What to try.
    pub hint: Option<String>,
}

/// The last lines of what a program writes.
#[derive(Debug, Default)]
pub struct LastLines {
    lines: std::collections::VecDeque<String>,
    rest: Vec<u8>,
}

/// A longer line is cut.
const LONGEST_LINE: usize = 4096;

impl LastLines {
    /// Adds what it has written.
    pub fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                b'\n' => self.end(),
                _ if self.rest.len() < LONGEST_LINE => self.rest.push(byte),
                _ => {}
            }
        }
    }

    fn end(&mut self) {
        if self.lines.len() == KEPT_LINES {
            self.lines.pop_front();
        }
        let line = std::mem::take(&mut self.rest);
        self.lines
            .push_back(String::from_utf8_lossy(&line).into_owned());
    }

    /// It writes no more.
    pub fn finish(mut self) -> Vec<String> {
        if !self.rest.is_empty() {
            self.end();
        }
        self.lines.into()
    }
}

/// Lines of a file, some of them marked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Excerpt {
    /// The file's name.
    pub file: String,
    /// The number of each line, whether it is meant, and what stands there.
    pub lines: Vec<(u32, bool, String)>,
}

impl Excerpt {
    /// The lines of `span` with some around them.
    pub fn new(file: &Source, span: Span) -> Self {
        let (first, last) = (span.start.line, span.end.line.max(span.start.line));
        let count = u32::try_from(file.line_count()).unwrap_or(u32::MAX);
        let shown = first.saturating_sub(AROUND).max(1)..=last.saturating_add(AROUND).min(count);
        let line = |number: u32| {
            let text = file.line(number as usize - 1).to_owned();
            (number, (first..=last).contains(&number), text)
        };
        Self {
            file: file.name.clone(),
            lines: shown.map(line).collect(),
        }
    }

    /// The number of the first line that is meant.
    pub fn line(&self) -> u32 {
        let mut marked = self.lines.iter().filter(|(_, marked, _)| *marked);
        marked.next().map_or(0, |(number, ..)| *number)
    }
}

impl fmt::Display for Excerpt {
    /// As BuildKit shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}:{}", self.file, self.line())?;
        writeln!(f, "--------------------")?;
        for (number, marked, text) in &self.lines {
            let mark = if *marked { ">>>" } else { "   " };
            writeln!(f, "{number:4} | {mark} {text}")?;
        }
        writeln!(f, "--------------------")
    }
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::source::Position;

    #[test]
    fn the_lines_that_are_meant_are_marked() {
        let text = b"FROM a\nRUN b \\\n  c\nCMD d\nCMD e\nCMD f";
        let source = Source::decode("Dockerfile", text).unwrap();
        let place = |line| Position { line, column: 1 };
        let span = Span {
            start: place(2),
            end: place(3),
        };
        let excerpt = Excerpt::new(&source, span);
        assert_eq!(
            excerpt.to_string(),
            "Dockerfile:2\n--------------------\n   1 |     FROM a\n   2 | >>> RUN b \\\n   3 | >>>   c\n   4 |     \
             CMD d\n   5 |     CMD e\n--------------------\n"
        );
    }
}
