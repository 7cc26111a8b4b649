//! The text of a Dockerfile, places in it, and what is wrong or doubtful at one.
//!
//! It knows lines and columns, no instruction. Invariant: every [`Span`] that the room makes lies within the file.

use std::collections::BTreeSet;
use std::fmt;
use std::fmt::Write as _;
use std::ops::Range;

/// A part of a file. Lines and columns are counted from 1, columns in characters; `end` is behind the last one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// Where it begins.
    pub start: Position,
    /// Where it has ended.
    pub end: Position,
}

/// A place in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Nothing can be built.
    Error,
    /// One of the build checks.
    Warning,
}

/// Something that is wrong or doubtful at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad.
    pub severity: Severity,
    /// The file's name as it was given.
    pub file: Box<str>,
    /// Where.
    pub span: Span,
    /// The line there, without its end.
    pub line: Box<str>,
    /// What, on one line.
    pub message: String,
    /// What was expected, or what to try.
    pub hint: Option<String>,
    /// The name of the check, as in `StageNameCasing`; none for errors.
    pub rule: Option<&'static str>,
}

impl std::error::Error for Diagnostic {}

impl fmt::Display for Diagnostic {
    /// `Dockerfile:3:5: message`, on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { line, column } = self.span.start;
        write!(f, "{}:{line}:{column}: {}", self.file, self.message)
    }
}

/// As many characters of a line are shown at most.
const SHOWN: usize = 120;

impl Diagnostic {
    /// The line with its number, and below it a mark under what is meant; a long line is cut around that.
    ///
    /// ```text
    ///    3 | COPPY a b
    ///      | ^^^^^
    /// ```
    pub fn snippet(&self) -> String {
        let Position { line, column } = self.span.start;
        let at = column.saturating_sub(1) as usize;
        let first = at.saturating_sub(SHOWN / 2);
        let mut shown = String::new();
        let mut mark = String::new();
        if first > 0 {
            shown.push('…');
            mark.push(' ');
        }
        let mut rest = self.line.chars().skip(first);
        for (index, character) in rest.by_ref().take(SHOWN).enumerate() {
            shown.push(if character.is_control() && character != '\t' {
                '\u{fffd}'
            } else {
                character
            });
            if first + index < at {
                // A tab is as wide as the one above it.
                mark.push(if character == '\t' { '\t' } else { ' ' });
            }
        }
        if rest.next().is_some() {
            shown.push('…');
        }
        let visible = shown.chars().count().saturating_sub(mark.chars().count());
        let wide = if self.span.end.line == line {
            self.span.end.column.saturating_sub(column) as usize
        } else {
            visible
        };
        let mut text = format!("{line:>4} | {shown}\n     | {mark}");
        let _ = write!(text, "{}", "^".repeat(wide.min(visible).max(1)));
        text
    }
}

/// Something with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located<T> {
    /// What stands there.
    pub value: T,
    /// Where.
    pub span: Span,
}

/// A file's text, cut into lines.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The name as it was given, for messages.
    pub name: String,
    text: String,
    lines: Vec<Line>,
    /// Lines, counted from 0, of which not every byte was UTF-8. Harmless as long as they are comments.
    damaged: BTreeSet<usize>,
}

/// Offsets into the text.
#[derive(Clone, Copy, Debug)]
struct Line {
    start: usize,
    /// Without `\r` and `\n`.
    end: usize,
    /// With them.
    next: usize,
}

impl Source {
    /// Reads a file as text: UTF-8, with or without a byte order mark. Bytes that are none are told later, by
    /// [`Source::damage`], and only of lines that matter: comments in other encodings are common and harmless.
    pub fn decode(name: &str, bytes: &[u8]) -> Result<Self, Diagnostic> {
        let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut damaged = BTreeSet::new();
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => {
                for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
                    if std::str::from_utf8(line).is_err() {
                        damaged.insert(index);
                    }
                }
                String::from_utf8_lossy(bytes).into_owned()
            }
        };
        let source = Self {
            name: name.to_owned(),
            lines: lines(&text),
            text,
            damaged,
        };
        if utf16 {
            return Err(source.error(
                source.span(0, 0..0),
                "the file is UTF-16 text",
                "save it as UTF-8",
            ));
        }
        if let Some(at) = source.text.find('\0') {
            let line = source.lines.partition_point(|line| line.next <= at);
            let column = at - source.lines[line].start;
            return Err(source.error(
                source.span(line, column..column + 1),
                "there is a NUL byte: this is no text",
                "a Dockerfile is UTF-8 text",
            ));
        }
        Ok(source)
    }

    /// How many lines there are.
    pub fn line_count(&self) -> usize {
        self.lines.len()
    }

    /// A line by its number from 0, without its end; empty behind the last.
    pub fn line(&self, index: usize) -> &str {
        match self.lines.get(index) {
            Some(line) => &self.text[line.start..line.end],
            None => "",
        }
    }

    /// The same with its end, as it was written.
    pub fn whole_line(&self, index: usize) -> &str {
        match self.lines.get(index) {
            Some(line) => &self.text[line.start..line.next],
            None => "",
        }
    }

    /// Bytes of one line as a span; the line is counted from 0.
    pub fn span(&self, line: usize, bytes: Range<usize>) -> Span {
        Span {
            start: self.position(line, bytes.start),
            end: self.position(line, bytes.end),
        }
    }

    /// A byte of a line as a position; what lies behind the line's end is its end.
    pub fn position(&self, line: usize, byte: usize) -> Position {
        let text = self.line(line);
        let before = text.get(..byte).unwrap_or(text);
        Position {
            line: number(line + 1),
            column: number(before.chars().count() + 1),
        }
    }

    /// What is wrong with a line, counted from 0, whose bytes are not all UTF-8.
    pub fn damage(&self, line: usize) -> Option<Diagnostic> {
        if !self.damaged.contains(&line) {
            return None;
        }
        let at = self.line(line).find('\u{fffd}').unwrap_or(0);
        Some(self.error(
            self.span(line, at..at + '\u{fffd}'.len_utf8()),
            "the text is not UTF-8 here",
            "save the file as UTF-8; only comments may hold other bytes",
        ))
    }

    /// An error at a place, with what was expected there.
    pub fn error(
        &self,
        span: Span,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            hint: Some(hint.into()),
            ..self.diagnostic(span, message.into())
        }
    }

    /// A warning at a place that belongs to no check.
    pub fn diagnostic(&self, span: Span, message: String) -> Diagnostic {
        Diagnostic {
            severity: Severity::Warning,
            file: self.name.as_str().into(),
            span,
            line: self
                .line((span.start.line as usize).saturating_sub(1))
                .into(),
            message,
            hint: None,
            rule: None,
        }
    }

    /// The first place of a text within the lines of a span, or the span: words keep no place of their own, and what is
    /// wrong with one is often found only when it is used.
    pub fn find(&self, within: Span, text: &str) -> Span {
        if text.is_empty() || text.contains('\n') {
            return within;
        }
        let first = (within.start.line as usize).saturating_sub(1);
        let last = (within.end.line as usize).min(self.lines.len());
        // Behind the name of the instruction, which may be the word as well, as in `RUN RUN`.
        let mut from = self.line(first).len() - self.line(first).trim_start().len();
        from += self.line(first)[from..]
            .find(char::is_whitespace)
            .unwrap_or(0);
        for line in first..last {
            if let Some(at) = self.line(line)[from..].find(text) {
                return self.span(line, from + at..from + at + text.len());
            }
            from = 0;
        }
        within
    }
}

/// More lines or columns than fit are the last that fits.
fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn lines(text: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let next = start + line.len();
        let end = start + line.trim_end_matches(['\r', '\n']).len();
        lines.push(Line { start, end, next });
        start = next;
    }
    lines
}
