//! Patterns of paths: Go's `filepath.Match`, and with `**` for any number of directories, as `.dockerignore` has them.
//! <https://pkg.go.dev/path/filepath#Match> <https://docs.docker.com/build/concepts/context/#syntax>
//!
//! ```text
//! *  characters but /     ?  a character but /     [a-z] [^a]  one of these, none of these     \x  x itself
//! **/  directories, or none     ** at the end  all below
//! ```
//!
//! It opens no file. A pattern is an automaton whose states go through a path together, so that no pattern is slow.

/// A compiled pattern. Paths are relative, with `/` between their names, none at either end.
#[derive(Clone, Debug)]
pub struct Pattern {
    tokens: Vec<Token>,
    /// What every path that matches begins with.
    prefix: String,
    /// As many tokens as make up the prefix.
    skipped: usize,
    /// `**/NAME`, the commonest kind, is searched for as text.
    name: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// This character.
    This(char),
    /// Any character but `/`.
    One,
    /// One of these ranges, or none of them.
    Class(bool, Vec<(char, char)>),
    /// Any number of characters but `/`.
    Many,
    /// Before a [`Token::Loop`], which may be left out.
    Enter,
    /// Anything that ends in `/`.
    Loop,
    /// Anything.
    Rest,
}

impl Token {
    fn takes(&self, character: char) -> bool {
        match self {
            Self::This(own) => *own == character,
            Self::One | Self::Many => character != '/',
            Self::Class(negated, ranges) => {
                ranges
                    .iter()
                    .any(|(low, high)| (*low..=*high).contains(&character))
                    != *negated
            }
            Self::Enter => false,
            Self::Loop | Self::Rest => true,
        }
    }
}

impl Pattern {
    /// With `**`. The error says what is wrong with the text, on one line.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        Ok(Self::compile(tokens(text, true)?))
    }

    /// As Go's `filepath.Match`: two asterisks are no more than one.
    pub fn plain(text: &str) -> Result<Self, &'static str> {
        Ok(Self::compile(tokens(text, false)?))
    }

    fn compile(tokens: Vec<Token>) -> Self {
        let literal = |tokens: &[Token]| -> String {
            let characters = tokens.iter().map_while(|token| match token {
                Token::This(character) => Some(*character),
                _ => None,
            });
            characters.collect()
        };
        let prefix = literal(&tokens);
        let name = match tokens.as_slice() {
            [Token::Enter, Token::Loop, rest @ ..] if !rest.is_empty() => {
                Some(literal(rest)).filter(|name| name.chars().count() == rest.len())
            }
            _ => None,
        };
        Self {
            skipped: prefix.chars().count(),
            prefix,
            name,
            tokens,
        }
    }

    /// Whether nothing in it stands for something else, so that it names one path.
    pub fn is_literal(&self) -> bool {
        self.skipped == self.tokens.len()
    }

    /// Whether it matches this path.
    pub fn matches(&self, path: &str) -> bool {
        self.run(path, false) == Some(End::Matched)
    }

    /// Whether it matches this path, or a directory that the path is in.
    pub fn covers(&self, path: &str) -> bool {
        if let Some(name) = &self.name {
            return has_names(path, name);
        }
        self.run(path, true) == Some(End::Matched)
    }

    /// Whether it may match something in this directory, at any depth; a directory that it matches itself does not count.
    pub fn reaches(&self, directory: &str) -> bool {
        if directory.len() < self.prefix.len() {
            let rest = self.prefix.strip_prefix(directory);
            return rest.is_some_and(|rest| directory.is_empty() || rest.starts_with('/'));
        }
        if directory.is_empty() {
            return true;
        }
        self.run(&format!("{directory}/"), false).is_some()
    }

    fn run(&self, path: &str, parents: bool) -> Option<End> {
        let rest = path.strip_prefix(self.prefix.as_str())?;
        if self.is_literal() {
            let matched = rest.is_empty() || (parents && rest.starts_with('/'));
            return matched.then_some(End::Matched);
        }
        // Most patterns fit into one word.
        if self.tokens.len() < 64 {
            self.walk(rest, parents, 0u64)
        } else {
            self.walk(rest, parents, vec![0u64; self.tokens.len() / 64 + 1])
        }
    }

    /// Goes through what is behind the prefix. None: nothing that begins so can match.
    fn walk<S: States>(&self, path: &str, parents: bool, empty: S) -> Option<End> {
        let last = self.tokens.len();
        let mut states = empty.clone();
        self.enter(self.skipped, &mut states);
        for character in path.chars() {
            if parents && character == '/' && states.has(last) {
                return Some(End::Matched);
            }
            let mut next = empty.clone();
            states.each(|state| {
                let Some(token) = self.tokens.get(state) else {
                    return;
                };
                if !token.takes(character) {
                    return;
                }
                match token {
                    Token::Many | Token::Rest => self.enter(state, &mut next),
                    Token::Loop => {
                        next.add(state);
                        if character == '/' {
                            self.enter(state + 1, &mut next);
                        }
                    }
                    _ => self.enter(state + 1, &mut next),
                }
            });
            if next.is_empty() {
                return None;
            }
            states = next;
        }
        Some(if states.has(last) {
            End::Matched
        } else {
            End::Open
        })
    }

    /// Adds a state, and those that need no character from there.
    fn enter<S: States>(&self, mut state: usize, states: &mut S) {
        loop {
            states.add(state);
            match self.tokens.get(state) {
                Some(Token::Many | Token::Rest) => state += 1,
                Some(Token::Enter) => {
                    states.add(state + 1);
                    state += 2;
                }
                _ => return,
            }
        }
    }
}

/// How a path has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It matches.
    Matched,
    /// More characters might match.
    Open,
}

/// Whether a path has these names one behind the other.
fn has_names(path: &str, names: &str) -> bool {
    let mut from = 0;
    while let Some(found) = path[from..].find(names) {
        let start = from + found;
        let end = start + names.len();
        let whole = (start == 0 || path.as_bytes()[start - 1] == b'/')
            && (end == path.len() || path.as_bytes()[end] == b'/');
        if whole {
            return true;
        }
        from = start + names.chars().next().map_or(1, char::len_utf8);
    }
    false
}

/// A set of small numbers.
trait States: Clone {
    fn add(&mut self, state: usize);
    fn has(&self, state: usize) -> bool;
    fn is_empty(&self) -> bool;
    fn each(&self, visit: impl FnMut(usize));
}

impl States for u64 {
    fn add(&mut self, state: usize) {
        *self |= 1 << state;
    }

    fn has(&self, state: usize) -> bool {
        self >> state & 1 == 1
    }

    fn is_empty(&self) -> bool {
        *self == 0
    }

    fn each(&self, mut visit: impl FnMut(usize)) {
        let mut rest = *self;
        while rest != 0 {
            visit(rest.trailing_zeros() as usize);
            rest &= rest - 1;
        }
    }
}

impl States for Vec<u64> {
    fn add(&mut self, state: usize) {
        self[state / 64].add(state % 64);
    }

    fn has(&self, state: usize) -> bool {
        self[state / 64].has(state % 64)
    }

    fn is_empty(&self) -> bool {
        self.iter().all(|word| *word == 0)
    }

    fn each(&self, mut visit: impl FnMut(usize)) {
        for (index, word) in self.iter().enumerate() {
            word.each(|state| visit(index * 64 + state));
        }
    }
}

fn tokens(text: &str, deep: bool) -> Result<Vec<Token>, &'static str> {
    let mut tokens = Vec::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '*' if deep && characters.next_if_eq(&'*').is_some() => {
                characters.next_if_eq(&'/');
                if characters.peek().is_none() {
                    tokens.push(Token::Rest);
                } else {
                    tokens.extend([Token::Enter, Token::Loop]);
                }
            }
            // Several in a row say no more than one.
            '*' if tokens.last() == Some(&Token::Many) => {}
            '*' => tokens.push(Token::Many),
            '?' => tokens.push(Token::One),
            '[' => tokens.push(class(&mut characters)?),
            '\\' => match characters.next() {
                Some(next) => tokens.push(Token::This(next)),
                None => return Err("nothing stands behind the last \\"),
            },
            other => tokens.push(Token::This(other)),
        }
    }
    Ok(tokens)
}

/// What stands behind `[`, up to `]`.
fn class(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Token, &'static str> {
    const OPEN: &str = "a [ has no ]";
    let negated = characters.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        let low = match characters.next().ok_or(OPEN)? {
            ']' if ranges.is_empty() => return Err("nothing stands between [ and ]"),
            ']' => return Ok(Token::Class(negated, ranges)),
            '-' => return Err("a range in [] has no begin"),
            '\\' => characters.next().ok_or(OPEN)?,
            other => other,
        };
        let high = match characters.next_if_eq(&'-') {
            None => low,
            Some(_) => match characters.next().ok_or(OPEN)? {
                ']' | '-' => return Err("a range in [] has no end"),
                '\\' => characters.next().ok_or(OPEN)?,
                other => other,
            },
        };
        ranges.push((low, high));
    }
}

#[cfg(test)]
#[path = "pattern/tests.rs"]
mod tests;
