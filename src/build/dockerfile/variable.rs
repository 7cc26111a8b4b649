//! Expansion of variables in words, as BuildKit's shell lexer does it.
//! <https://docs.docker.com/reference/dockerfile/#environment-replacement>
//!
//! ```text
//! $x ${x} ${x:-word} ${x-word} ${x:+word} ${x+word} ${x:?word} ${x?word}
//! ${x#glob} ${x##glob} ${x%glob} ${x%%glob} ${x/glob/word} ${x//glob/word}
//! ```
//!
//! It is no shell: there is no command substitution, and `RUN` is not expanded at all. Where values come from is the
//! caller's affair. Invariant: time and memory are bounded whatever text and values are.

mod glob;

use super::instruction::Dockerfile;
use super::part::Fault;
use crate::build::source::{Diagnostic, Span};
use glob::Glob;
use std::collections::BTreeSet;

/// A `${…}` in a `${…}`, and so on: as deep as this.
const DEEPEST: usize = 64;
/// A word grows to this many bytes at most: values that hold one another would double each time. The kernel takes no
/// longer argument or variable (`MAX_ARG_STRLEN` of execve(2)).
const LONGEST: usize = 128 << 10;
/// The content of a heredoc likewise: it is a file.
const LONGEST_HEREDOC: usize = 16 << 20;

/// Expands words, and remembers which variables they asked for.
pub struct Expander<'a> {
    escape: char,
    /// Bytes that a text may grow to.
    longest: usize,
    values: &'a dyn Fn(&str) -> Option<String>,
    /// Names that were asked for and are set.
    pub used: BTreeSet<String>,
    /// Names that were asked for and are not.
    pub unset: BTreeSet<String>,
}

impl std::fmt::Debug for Expander<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Expander")
            .field("escape", &self.escape)
            .field("used", &self.used)
            .field("unset", &self.unset)
            .finish_non_exhaustive()
    }
}

impl<'a> Expander<'a> {
    /// With the file's escape character (`Directives::escape`) and what is known of each variable.
    pub fn new(escape: char, values: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            escape,
            longest: LONGEST,
            values,
            used: BTreeSet::new(),
            unset: BTreeSet::new(),
        }
    }

    /// One word, without its quotes and escapes: the value of an `ENV`, a path of a `COPY`, the image of a `FROM`.
    pub fn word(&mut self, text: &str) -> Result<String, Fault> {
        Ok(self.expand(text, true)?.whole)
    }

    /// Words: what is not quoted, values among it, is split at its spaces, as in `EXPOSE`.
    pub fn words(&mut self, text: &str) -> Result<Vec<String>, Fault> {
        let mut out = self.expand(text, true)?;
        out.end_word();
        Ok(out.words)
    }

    /// The content of a heredoc: quotes stay, and the escape character is `\` whatever the file's is.
    pub fn heredoc(&mut self, text: &str) -> Result<String, Fault> {
        let escape = std::mem::replace(&mut self.escape, '\\');
        self.longest = LONGEST_HEREDOC;
        let result = self.expand(text, false);
        (self.escape, self.longest) = (escape, LONGEST);
        Ok(result?.whole)
    }

    fn expand(&mut self, text: &str, quotes: bool) -> Result<Output, Fault> {
        let mut reader = Reader {
            text,
            at: 0,
            quotes,
            depth: 0,
            expander: self,
        };
        let mut out = Output::default();
        reader.until(None, false, &mut out)?;
        Ok(out)
    }

    fn value(&mut self, name: &str) -> Option<String> {
        let value = (self.values)(name);
        let names = if value.is_some() {
            &mut self.used
        } else {
            &mut self.unset
        };
        if !names.contains(name) {
            names.insert(name.to_owned());
        }
        value
    }
}

impl Dockerfile {
    /// What is wrong with a word of an instruction, at its place: `span` is the instruction's.
    pub fn expansion_error(&self, span: Span, word: &str, fault: &Fault) -> Diagnostic {
        let found = self.source.find(span, word);
        let place = if found == span {
            found
        } else {
            let line = found.start.line as usize - 1;
            let text = self.source.line(line);
            let column = found.start.column as usize - 1;
            let start: usize = text.chars().take(column).map(char::len_utf8).sum();
            self.source
                .span(line, start + fault.range.start..start + fault.range.end)
        };
        self.source.error(place, &fault.message, &fault.hint)
    }
}

/// What a text has become, as a whole and in words.
#[derive(Debug, Default)]
struct Output {
    whole: String,
    words: Vec<String>,
    /// The word that has begun; quotes begin one even if nothing stands between them.
    word: Option<String>,
}

impl Output {
    fn quoted(&mut self, text: &str) {
        self.whole.push_str(text);
        self.word.get_or_insert_default().push_str(text);
    }

    fn plain(&mut self, text: &str) {
        self.whole.push_str(text);
        for character in text.chars() {
            if character.is_whitespace() {
                self.end_word();
            } else {
                self.word.get_or_insert_default().push(character);
            }
        }
    }

    fn end_word(&mut self) {
        self.words.extend(self.word.take());
    }
}

struct Reader<'t, 'e, 'v> {
    text: &'t str,
    at: usize,
    /// Quotes are quotes.
    quotes: bool,
    depth: usize,
    expander: &'e mut Expander<'v>,
}

impl Reader<'_, '_, '_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at += character.len_utf8();
        Some(character)
    }

    /// A fault from `start` up to here.
    fn fault(&self, start: usize, message: impl Into<String>, hint: impl Into<String>) -> Fault {
        Fault {
            range: start..self.at,
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// Up to the end, or to a character that ends it, which is left out. With `keep_escapes` what was escaped stays so,
    /// behind a backslash, since a pattern is to be made of it.
    fn until(
        &mut self,
        stop: Option<char>,
        keep_escapes: bool,
        out: &mut Output,
    ) -> Result<(), Fault> {
        let start = self.at;
        while let Some(character) = self.next() {
            if Some(character) == stop {
                return Ok(());
            }
            match character {
                '\'' if self.quotes => self.single(out)?,
                '"' if self.quotes => self.double(out)?,
                '$' => {
                    let value = self.dollar()?;
                    out.plain(&value);
                }
                _ if character == self.expander.escape => {
                    // At the very end there is nothing to escape.
                    if let Some(next) = self.next() {
                        if keep_escapes {
                            out.quoted("\\");
                        }
                        out.quoted(next.encode_utf8(&mut [0; 4]));
                    }
                }
                _ => out.plain(character.encode_utf8(&mut [0; 4])),
            }
            if out.whole.len() > self.expander.longest {
                return Err(self.fault(
                    start,
                    "the expanded text is too long",
                    "variables that hold each other grow fast",
                ));
            }
        }
        match stop {
            None => Ok(()),
            Some(stop) => Err(self.fault(
                start,
                format!("unexpected end of statement while looking for matching {stop}"),
                format!("expected {stop}"),
            )),
        }
    }

    fn single(&mut self, out: &mut Output) -> Result<(), Fault> {
        let start = self.at;
        match self.text[start..].find('\'') {
            Some(length) => {
                self.at = start + length + 1;
                out.quoted(&self.text[start..start + length]);
                Ok(())
            }
            None => Err(self.open_quote(start, "single")),
        }
    }

    /// Variables are expanded; the escape character is one only before `"`, `$` and itself.
    fn double(&mut self, out: &mut Output) -> Result<(), Fault> {
        let start = self.at;
        out.quoted("");
        while let Some(character) = self.next() {
            match character {
                '"' => return Ok(()),
                '$' => {
                    let value = self.dollar()?;
                    out.quoted(&value);
                }
                _ if character == self.expander.escape => match self.peek() {
                    Some(next) if next == '"' || next == '$' || next == character => {
                        self.next();
                        out.quoted(next.encode_utf8(&mut [0; 4]));
                    }
                    _ => out.quoted(character.encode_utf8(&mut [0; 4])),
                },
                _ => out.quoted(character.encode_utf8(&mut [0; 4])),
            }
            if out.whole.len() > self.expander.longest {
                return Err(self.fault(
                    start,
                    "the expanded text is too long",
                    "variables that hold each other grow fast",
                ));
            }
        }
        Err(self.open_quote(start, "double"))
    }

    fn open_quote(&mut self, start: usize, kind: &str) -> Fault {
        self.at = self.text.len();
        self.fault(
            start - 1,
            format!("unexpected end of statement while looking for matching {kind}-quote"),
            "a quote that is meant needs the escape character before it",
        )
    }

    /// What stands behind a `$`.
    fn dollar(&mut self) -> Result<String, Fault> {
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(self.expander.value(name.as_str()).unwrap_or_default());
        }
        let start = self.at - 1;
        self.next();
        if self.depth >= DEEPEST {
            return Err(self.fault(
                start,
                "variables are nested too deep",
                format!("at most {DEEPEST} levels are read"),
            ));
        }
        self.depth += 1;
        let value = self.braces(start);
        self.depth -= 1;
        value
    }

    /// Letters, digits and underscores; digits alone, and single characters as `@` have no value here, yet are names.
    fn name(&mut self) -> String {
        let rest = &self.text[self.at..];
        let mut characters = rest.chars();
        let end = match characters.next() {
            Some(first) if first.is_ascii_digit() => rest
                .find(|letter: char| !letter.is_ascii_digit())
                .unwrap_or(rest.len()),
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => 1,
            Some(_) => rest
                .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
                .unwrap_or(rest.len()),
            None => 0,
        };
        self.at += end;
        rest[..end].to_owned()
    }

    /// What stands behind `${`.
    fn braces(&mut self, start: usize) -> Result<String, Fault> {
        let name = self.name();
        if name.is_empty() {
            self.next();
            return Err(self.fault(
                start,
                "syntax error: bad substitution",
                "expected the name of a variable",
            ));
        }
        let value = self.expander.value(&name);
        match self.next() {
            Some('}') => Ok(value.unwrap_or_default()),
            Some(':') => {
                let modifier = self.next();
                self.choice(start, &name, value, modifier, true)
            }
            Some('/') => self.replace(start, value),
            modifier => self.choice(start, &name, value, modifier, false),
        }
    }

    /// `-`, `+`, `?` with their word, `#` and `%` with their pattern. With a colon an empty value is none.
    fn choice(
        &mut self,
        start: usize,
        name: &str,
        value: Option<String>,
        modifier: Option<char>,
        colon: bool,
    ) -> Result<String, Fault> {
        let is_pattern = matches!(modifier, Some('#' | '%')) && !colon;
        match modifier {
            None => return Err(self.fault(start, "syntax error: missing '}'", "expected }")),
            Some('-' | '+' | '?') => {}
            Some(_) if is_pattern => {}
            Some(other) => {
                let colon = if colon { ":" } else { "" };
                return Err(self.fault(
                    start,
                    format!("unsupported modifier ({colon}{other}) in substitution"),
                    "expected :-, :+, :?, -, +, ?, #, ##, %, %% or /",
                ));
            }
        }
        let mut word = Output::default();
        self.until(Some('}'), is_pattern, &mut word)?;
        let word = word.whole;
        let set = value
            .as_ref()
            .is_some_and(|value| !colon || !value.is_empty());
        let value = value.unwrap_or_default();
        match modifier {
            Some('-') => Ok(if set { value } else { word }),
            Some('+') => Ok(if set { word } else { String::new() }),
            Some('?') if set => Ok(value),
            Some('?') => {
                let word = match (word.is_empty(), colon) {
                    (false, _) => word,
                    (true, true) => "not allowed to be empty".to_owned(),
                    (true, false) => "not allowed to be unset".to_owned(),
                };
                Err(self.fault(
                    start,
                    format!("{name}: {word}"),
                    format!("set {name} by ARG, ENV or --build-arg"),
                ))
            }
            _ => self.trim(start, &value, &word, modifier == Some('#')),
        }
    }

    /// Cuts off what the pattern matches at one end: the shortest, or the longest if the sign stands twice.
    fn trim(
        &mut self,
        start: usize,
        value: &str,
        pattern: &str,
        front: bool,
    ) -> Result<String, Fault> {
        let sign = if front { '#' } else { '%' };
        let (pattern, longest) = match pattern.strip_prefix(sign) {
            Some(pattern) => (pattern, true),
            None => (pattern, false),
        };
        let glob = self.glob(start, pattern, value)?;
        Ok(if front {
            let end = glob.prefix(value, longest).unwrap_or(0);
            value[end..].to_owned()
        } else {
            let begin = glob.suffix(value, longest).unwrap_or(value.len());
            value[..begin].to_owned()
        })
    }

    /// `${x/glob/word}`, and `${x//glob/word}` for all places.
    fn replace(&mut self, start: usize, value: Option<String>) -> Result<String, Fault> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let mut pattern = Output::default();
        self.until(Some('/'), true, &mut pattern)?;
        let mut word = Output::default();
        self.until(Some('}'), false, &mut word)?;
        let value = value.unwrap_or_default();
        let glob = self.glob(start, &pattern.whole, &value)?;
        glob.replace(&value, &word.whole, all, self.expander.longest)
            .ok_or_else(|| {
                self.fault(
                    start,
                    "the expanded text is too long",
                    "replace by something shorter",
                )
            })
    }

    fn glob(&self, start: usize, pattern: &str, value: &str) -> Result<Glob, Fault> {
        Glob::new(pattern, value.len()).ok_or_else(|| {
            self.fault(
                start,
                "the pattern is too long for this value",
                "use a shorter pattern",
            )
        })
    }
}

#[cfg(test)]
mod tests;
