//! A source file as tokens: enough of Rust (comments, strings, characters against lifetimes, brackets) for the
//! rules of `architecture.rs`, and nothing of its grammar.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Word,
    Text,
    Mark,
}

#[derive(Clone, Debug)]
pub struct Token {
    pub kind: Kind,
    pub text: String,
    pub line: usize,
}

/// A source file with its tokens, its path relative to the crate.
pub struct Source {
    pub path: String,
    pub text: String,
    pub tokens: Vec<Token>,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            tokens: tokens(text),
        }
    }

    /// The folder or file right below `src/`, which is the room; none for `main.rs` and `lib.rs`.
    pub fn room(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        let room = inside.split('/').next()?.trim_end_matches(".rs");
        (room != "main" && room != "lib").then_some(room)
    }

    /// The module path below the crate's root.
    pub fn module(&self) -> Vec<&str> {
        let inside = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let mut names: Vec<&str> = inside.trim_end_matches(".rs").split('/').collect();
        if matches!(names.last(), Some(&"mod" | &"lib" | &"main")) {
            names.pop();
        }
        names
    }

    pub fn finding(&self, line: usize, what: impl std::fmt::Display) -> String {
        format!("{}:{line}: {what}", self.path)
    }

    pub fn word(&self, at: usize) -> &str {
        self.tokens
            .get(at)
            .filter(|token| token.kind == Kind::Word)
            .map_or("", |token| &token.text)
    }

    pub fn mark(&self, at: usize) -> &str {
        self.tokens
            .get(at)
            .filter(|token| token.kind == Kind::Mark)
            .map_or("", |token| &token.text)
    }

    pub fn marks(&self, at: usize, marks: &[&str]) -> bool {
        marks
            .iter()
            .enumerate()
            .all(|(step, mark)| self.mark(at + step) == *mark)
    }

    /// How many `mod name { … }` of this file surround a token.
    pub fn inline_modules(&self, inner: usize) -> usize {
        let opens = |&at: &usize| self.word(at) == "mod" && self.mark(at + 2) == "{";
        (0..inner)
            .filter(opens)
            .filter(|at| self.after_bracket(at + 2) > inner)
            .count()
    }

    /// Index after the bracket that closes the one at `open`.
    pub fn after_bracket(&self, open: usize) -> usize {
        let mut depth = 0usize;
        for at in open..self.tokens.len() {
            match self.mark(at) {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return at + 1;
            }
        }
        self.tokens.len()
    }

    /// Whether the token lies in a `#[cfg(test)]` item.
    pub fn test_lines(&self) -> Vec<std::ops::Range<usize>> {
        let mut ranges = Vec::new();
        for at in 0..self.tokens.len() {
            let cfg_test = self.marks(at, &["#", "["])
                && self.word(at + 2) == "cfg"
                && self.word(at + 4) == "test"
                && self.marks(at + 5, &[")", "]"]);
            if !cfg_test {
                continue;
            }
            let end = (at + 7..self.tokens.len()).find(|&at| matches!(self.mark(at), "{" | ";"));
            let Some(end) = end else { continue };
            let after = if self.mark(end) == "{" {
                self.after_bracket(end)
            } else {
                end + 1
            };
            let last = self
                .tokens
                .get(after - 1)
                .map_or(usize::MAX, |token| token.line);
            ranges.push(self.tokens[at].line..last + 1);
        }
        ranges
    }

    /// The room names that follow `crate::` or a chain of `super::` that ends at the crate's root.
    pub fn rooms_named(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            let start = at;
            if self.word(at) == "crate" && self.marks(at + 1, &[":", ":"]) {
                at += 3;
            } else if self.word(at) == "super" && self.mark(at.wrapping_sub(1)) != ":" {
                let mut steps = 0;
                while self.word(at) == "super" && self.marks(at + 1, &[":", ":"]) {
                    steps += 1;
                    at += 3;
                }
                if steps < self.module().len() + self.inline_modules(start) {
                    at = at.max(start + 1);
                    continue;
                }
            } else {
                at += 1;
                continue;
            }
            let line = self.tokens[start].line;
            found.extend(self.first_names(at).into_iter().map(|name| (line, name)));
        }
        found
    }

    /// The first names of the import tree at `at`: one, or one for each branch of `{…}`.
    pub fn first_names(&self, at: usize) -> Vec<String> {
        if self.mark(at) != "{" {
            return self
                .tokens
                .get(at)
                .map(|token| token.text.clone())
                .into_iter()
                .collect();
        }
        let end = self.after_bracket(at) - 1;
        let (mut names, mut next, mut at) = (Vec::new(), true, at + 1);
        while at < end {
            match self.mark(at) {
                "," => next = true,
                "{" => at = self.after_bracket(at) - 1,
                _ if next => {
                    names.push(self.tokens[at].text.clone());
                    next = false;
                }
                _ => {}
            }
            at += 1;
        }
        names
    }
}

pub fn tokens(text: &str) -> Vec<Token> {
    let bytes = text.as_bytes();
    let (mut found, mut at, mut line) = (Vec::new(), 0, 1);
    while at < bytes.len() {
        let rest = &text[at..];
        let (kind, length) = if rest.starts_with("//") {
            (None, rest.find('\n').unwrap_or(rest.len()))
        } else if rest.starts_with("/*") {
            (None, block_comment(rest))
        } else if let Some(length) = string(rest) {
            (Some(Kind::Text), length)
        } else if bytes[at].is_ascii_alphabetic() || bytes[at] == b'_' {
            let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
            (Some(Kind::Word), end.unwrap_or(rest.len()))
        } else if bytes[at] == b'\'' {
            // A character has its closing quote near; what has none is a lifetime.
            let close = rest[1..]
                .char_indices()
                .skip(1)
                .take(11)
                .find(|&(at, letter)| letter == '\'' && (rest.as_bytes()[1] != b'\\' || at > 1));
            let short = rest[1..].starts_with('\\') || rest.chars().nth(2) == Some('\'');
            (None, close.filter(|_| short).map_or(1, |(at, _)| at + 2))
        } else {
            let letter = rest.chars().next().map_or(1, char::len_utf8);
            let kind = (!rest.starts_with(char::is_whitespace)).then_some(Kind::Mark);
            (kind, letter)
        };
        let piece = &rest[..length];
        if let Some(kind) = kind {
            found.push(Token {
                kind,
                text: piece.to_owned(),
                line,
            });
        }
        line += piece.matches('\n').count();
        at += length;
    }
    found
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if text[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of the string literal (`"`, `b"`, `c"`, `r#"`) that `text` starts with.
fn string(text: &str) -> Option<usize> {
    let prefix = text.trim_start_matches(['b', 'c']);
    let prefix = if text.len() - prefix.len() > 1 {
        text
    } else {
        prefix
    };
    let start = text.len() - prefix.len();
    if let Some(raw) = prefix.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let body = raw[hashes..].strip_prefix('"')?;
        let close = format!("\"{}", "#".repeat(hashes));
        return Some(start + 2 + hashes + body.find(&close)? + close.len());
    }
    let body = prefix.strip_prefix('"')?;
    let mut escaped = false;
    for (at, letter) in body.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(start + 1 + at + 1),
            _ => {}
        }
    }
    None
}
