//! Joined lines: an instruction with its continuation lines, without the comments between them, and with its heredocs.
//! <https://docs.docker.com/reference/dockerfile/#format>
//!
//! It knows which instructions may have heredocs, and nothing else of them. Invariant: each byte of a joined line's text
//! stands somewhere in the file, and [`Joined::span`] tells where. One pass: a line is looked at once.

use super::heredoc;
use super::instruction::Heredoc;
use super::part::{Fault, Part};
use crate::build::source::{Diagnostic, Position, Source, Span};
use std::collections::HashMap;
use std::ops::Range;

/// An instruction's line.
#[derive(Debug)]
pub struct Joined {
    /// Without line ends, continuation characters and comments.
    pub text: String,
    /// Which parts of the text come from which lines.
    pieces: Vec<Piece>,
    /// The comments right above it, as lines counted from 0.
    pub comments: Range<usize>,
    /// In their order.
    pub heredocs: Vec<Heredoc>,
    /// The first empty line within it, counted from 0.
    pub empty_line: Option<usize>,
    /// Its lines with those of the heredocs, counted from 0.
    pub lines: Range<usize>,
}

#[derive(Debug)]
struct Piece {
    /// Where it begins in the joined text.
    offset: usize,
    line: usize,
    /// Where it begins in the line, in bytes.
    column: usize,
}

impl Joined {
    /// Where bytes of its text stand in the file.
    pub fn span(&self, source: &Source, range: Range<usize>) -> Span {
        let start = self.position(source, range.start);
        // The end belongs to the piece of the last byte, not to the one that begins there.
        let end = match range.end.checked_sub(1) {
            Some(last) if last >= range.start => {
                let last = (range.start..=last)
                    .rev()
                    .find(|&at| self.text.is_char_boundary(at));
                let mut end = self.position(source, last.unwrap_or(range.start));
                end.column = end.column.saturating_add(1);
                end
            }
            _ => start,
        };
        Span { start, end }
    }

    fn position(&self, source: &Source, offset: usize) -> Position {
        let behind = self.pieces.partition_point(|piece| piece.offset <= offset);
        match self.pieces.get(behind.saturating_sub(1)) {
            Some(piece) => source.position(
                piece.line,
                piece.column + (offset - piece.offset.min(offset)),
            ),
            None => source.position(self.lines.start, 0),
        }
    }

    /// All of it, with its heredocs.
    pub fn whole(&self, source: &Source) -> Span {
        let first = source.line(self.lines.start);
        let last = self.lines.end.saturating_sub(1);
        Span {
            start: source.position(self.lines.start, first.len() - first.trim_start().len()),
            end: source.position(last, source.line(last).len()),
        }
    }

    /// What is wrong with a part of it.
    pub fn error(&self, source: &Source, fault: Fault) -> Diagnostic {
        source.error(self.span(source, fault.range), fault.message, fault.hint)
    }
}

/// Goes through a file.
#[derive(Debug)]
pub struct Lexer<'a> {
    source: &'a Source,
    escape: char,
    next: usize,
    /// Where a line's text stands last, counted from 0; made when it is first asked for.
    last: Option<HashMap<&'a str, usize>>,
}

impl<'a> Lexer<'a> {
    /// From the first line on.
    pub fn new(source: &'a Source, escape: char) -> Self {
        Self {
            source,
            escape,
            next: 0,
            last: None,
        }
    }

    /// Whether the instruction goes on in the next line: what stands before the character that says so. Two of them are
    /// one that is escaped.
    fn continued<'b>(&self, line: &'b str) -> Option<&'b str> {
        let before = line
            .trim_end_matches([' ', '\t'])
            .strip_suffix(self.escape)?;
        (!before.ends_with(self.escape)).then_some(before)
    }

    /// Skips comments and empty lines; the comments that stand right above what is next.
    fn skip(&mut self) -> Range<usize> {
        let mut comments = self.next..self.next;
        while self.next < self.source.line_count() {
            let line = self.source.line(self.next).trim_start();
            if !line.is_empty() && !line.starts_with('#') {
                break;
            }
            self.next += 1;
            if line.is_empty() {
                comments.start = self.next;
            }
            comments.end = self.next;
        }
        comments
    }

    /// The first line and those that continue it.
    fn join(&mut self, joined: &mut Joined) -> Result<(), Diagnostic> {
        let mut first = true;
        while self.next < self.source.line_count() {
            let index = self.next;
            let line = self.source.line(index);
            let trimmed = line.trim_start();
            self.next += 1;
            if !first && trimmed.starts_with('#') {
                continue;
            }
            if !first && trimmed.is_empty() {
                joined.empty_line.get_or_insert(index);
                continue;
            }
            if let Some(damage) = self.source.damage(index) {
                return Err(damage);
            }
            let text = if first { trimmed } else { line };
            first = false;
            let continued = self.continued(text);
            joined.pieces.push(Piece {
                offset: joined.text.len(),
                line: index,
                column: line.len() - text.len(),
            });
            joined.text.push_str(continued.unwrap_or(text));
            if continued.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Whether a line below is just this name.
    fn is_ended(&mut self, opening: &heredoc::Opening) -> bool {
        let source = self.source;
        let last = self.last.get_or_insert_with(|| {
            let mut last = HashMap::new();
            for index in 0..source.line_count() {
                let line = source.line(index);
                last.insert(line, index);
                last.insert(line.trim_start_matches('\t'), index);
            }
            last
        });
        last.get(opening.name.as_str())
            .is_some_and(|&index| index >= self.next)
    }

    /// The lines up to the one that ends the heredoc.
    fn heredoc(
        &mut self,
        joined: &Joined,
        opening: heredoc::Opening,
    ) -> Result<Heredoc, Diagnostic> {
        let mut content = String::new();
        let begin = self.next;
        while self.next < self.source.line_count() {
            let index = self.next;
            self.next += 1;
            let cut = |line: &'a str| match opening.tabs {
                true => line.trim_start_matches('\t'),
                false => line,
            };
            if cut(self.source.line(index)) == opening.name {
                return Ok(Heredoc {
                    name: opening.name,
                    content,
                    expand: opening.expand,
                });
            }
            if let Some(damage) = self.source.damage(index) {
                return Err(damage);
            }
            content.push_str(cut(self.source.whole_line(index)));
        }
        let near = (begin..self.next).find(|&index| self.source.line(index).trim() == opening.name);
        let hint = match near {
            Some(index) => format!("line {} has spaces around `{}`", index + 1, opening.name),
            None => format!("a line that is just `{}` ends it", opening.name),
        };
        let fault = Fault {
            range: opening.range,
            message: format!("unterminated heredoc '{}'", opening.name),
            hint,
        };
        Err(joined.error(self.source, fault))
    }
}

impl Iterator for Lexer<'_> {
    type Item = Result<Joined, Diagnostic>;

    fn next(&mut self) -> Option<Self::Item> {
        let comments = self.skip();
        if self.next >= self.source.line_count() {
            return None;
        }
        let first = self.next;
        let mut joined = Joined {
            text: String::new(),
            pieces: Vec::new(),
            comments,
            heredocs: Vec::new(),
            empty_line: None,
            lines: first..first,
        };
        let result = self.join(&mut joined);
        joined.lines.end = self.next;
        if let Err(error) = result {
            return Some(Err(error));
        }
        // A continuation character and nothing else says nothing.
        if joined.text.trim().is_empty() {
            return self.next();
        }
        for opening in heredoc::openings(Part::new(&joined.text), self.escape) {
            if opening.spaced && !self.is_ended(&opening) {
                continue;
            }
            match self.heredoc(&joined, opening) {
                Ok(heredoc) => joined.heredocs.push(heredoc),
                Err(error) => return Some(Err(error)),
            }
        }
        joined.lines.end = self.next;
        Some(Ok(joined))
    }
}
