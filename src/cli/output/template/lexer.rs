//! Words of a template: plain text outside `{{ }}`, tokens inside.
//!
//! Lexing never fails as a whole: what cannot be read becomes an [`Kind::Error`] token, the last one, whose
//! text the parser reports with the line. Trim markers (`{{- `, ` -}}`) and comments are settled here.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Plain text between actions.
    Text,
    /// `{{`
    Open,
    /// `}}`
    Close,
    /// A run of white space inside an action.
    Space,
    /// `(`
    LeftParen,
    /// `)`
    RightParen,
    /// `|`
    Pipe,
    /// `=`
    Assign,
    /// `:=`
    Declare,
    /// `.`
    Dot,
    /// `.Name`
    Field,
    /// `$` or `$name`
    Variable,
    /// `true` or `false`
    Bool,
    /// `'c'`
    Char,
    /// Digits, signs and what else numbers are made of.
    Number,
    /// `"text"` with its quotes.
    Quoted,
    /// `` `text` `` with its quotes.
    Raw,
    /// A name: a function.
    Name,
    /// `if`, `range`, `nil` and the like.
    Keyword,
    /// Any other printable ASCII character.
    Other,
    /// Nothing more.
    End,
    /// The text says what is wrong.
    Error,
}

const KEYWORDS: [&str; 11] = [
    "block", "break", "continue", "define", "else", "end", "if", "nil", "range", "template", "with",
];

/// A piece of the template.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    /// As written; for [`Kind::Error`] the message.
    pub(super) text: String,
    /// Offset in bytes from the start of the template.
    pub(super) position: usize,
    /// Counted from one.
    pub(super) line: usize,
}

impl Token {
    /// Whether this is the keyword `word`.
    pub(super) fn is(&self, word: &str) -> bool {
        self.kind == Kind::Keyword && self.text == word
    }
}

/// All tokens of `input`; the last is [`Kind::End`] or [`Kind::Error`].
pub(super) fn tokens(input: &str) -> Vec<Token> {
    let mut lexer = Lexer {
        input,
        start: 0,
        position: 0,
        line: 1,
        depth: 0,
        tokens: Vec::new(),
    };
    match lexer.run() {
        Ok(()) => lexer.emit(Kind::End),
        Err(text) => {
            let (position, line) = (lexer.start, lexer.line);
            lexer.tokens.push(Token {
                kind: Kind::Error,
                text,
                position,
                line,
            });
        }
    }
    lexer.tokens
}

struct Lexer<'a> {
    input: &'a str,
    /// Where the token at hand begins; `line` is the line of this place.
    start: usize,
    position: usize,
    line: usize,
    /// Open parentheses in this action.
    depth: usize,
    tokens: Vec<Token>,
}

impl<'a> Lexer<'a> {
    fn run(&mut self) -> Result<(), String> {
        while let Some(offset) = self.rest().find("{{") {
            let open = self.position + offset;
            let text = &self.input[self.position..open];
            let trim = starts_trim(&self.input[open + 2..]);
            self.position += if trim {
                text.trim_end_matches(is_space).len()
            } else {
                offset
            };
            if self.position > self.start {
                self.emit(Kind::Text);
            }
            self.position = open;
            self.skip();
            self.action(trim)?;
        }
        self.position = self.input.len();
        if self.position > self.start {
            self.emit(Kind::Text);
        }
        Ok(())
    }

    /// From `{{` to the `}}` that belongs to it.
    fn action(&mut self, trim: bool) -> Result<(), String> {
        self.position += 2;
        let marker = if trim { 2 } else { 0 };
        if self.rest()[marker..].starts_with("/*") {
            self.position += marker;
            return self.comment();
        }
        self.emit(Kind::Open);
        self.position += marker;
        self.skip();
        self.depth = 0;
        while !self.rest().starts_with("}}") && !ends_trim(self.rest()) {
            self.word()?;
        }
        if self.depth > 0 {
            return Err("unclosed left paren".to_string());
        }
        self.close(Some(Kind::Close));
        Ok(())
    }

    fn comment(&mut self) -> Result<(), String> {
        self.skip();
        let end = self.rest()[2..].find("*/").ok_or("unclosed comment")?;
        self.position += end + 4;
        if !self.rest().starts_with("}}") && !ends_trim(self.rest()) {
            return Err("comment ends before closing delimiter".to_string());
        }
        self.close(None);
        Ok(())
    }

    /// Takes `}}` or ` -}}`, the latter with the white space behind it.
    fn close(&mut self, kind: Option<Kind>) {
        let trim = ends_trim(self.rest());
        if trim {
            self.position += 2;
            self.skip();
        }
        self.position += 2;
        if let Some(kind) = kind {
            self.emit(kind);
        }
        if trim {
            self.position = self.input.len() - self.rest().trim_start_matches(is_space).len();
        }
        self.skip();
    }

    /// One token inside an action.
    fn word(&mut self) -> Result<(), String> {
        let Some(first) = self.next() else {
            return Err("unclosed action".to_string());
        };
        match first {
            c if is_space(c) => self.space(),
            '=' => self.emit(Kind::Assign),
            ':' if self.next() == Some('=') => self.emit(Kind::Declare),
            ':' => return Err("expected :=".to_string()),
            '|' => self.emit(Kind::Pipe),
            '"' => self.quoted('"', Kind::Quoted, "quoted string")?,
            '\'' => self.quoted('\'', Kind::Char, "character constant")?,
            '`' => {
                let end = self
                    .rest()
                    .find('`')
                    .ok_or("unterminated raw quoted string")?;
                self.position += end + 1;
                self.emit(Kind::Raw);
            }
            '$' => self.name(Kind::Variable, Kind::Variable)?,
            '.' if !self.peek().is_some_and(|c| c.is_ascii_digit()) => {
                self.name(Kind::Field, Kind::Dot)?
            }
            '.' | '+' | '-' | '0'..='9' => self.number()?,
            c if is_alphanumeric(c) => self.name(Kind::Name, Kind::Name)?,
            '(' => {
                self.depth += 1;
                self.emit(Kind::LeftParen);
            }
            ')' => {
                self.depth = self.depth.checked_sub(1).ok_or("unexpected right paren")?;
                self.emit(Kind::RightParen);
            }
            c if c.is_ascii_graphic() => self.emit(Kind::Other),
            c => {
                return Err(format!(
                    "unrecognized character in action: {}",
                    code_point(c)
                ));
            }
        }
        Ok(())
    }

    /// White space; one character of it stays behind when it belongs to a trim marker.
    fn space(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.position += 1;
        }
        if ends_trim(&self.input[self.position - 1..]) {
            self.position -= 1;
        }
        if self.position > self.start {
            self.emit(Kind::Space);
        }
    }

    fn quoted(&mut self, quote: char, kind: Kind, what: &str) -> Result<(), String> {
        loop {
            match self.next() {
                Some('\\') if !matches!(self.peek(), None | Some('\n')) => {
                    self.next();
                }
                Some('\\' | '\n') | None => return Err(format!("unterminated {what}")),
                Some(c) if c == quote => {
                    self.emit(kind);
                    return Ok(());
                }
                Some(_) => {}
            }
        }
    }

    /// A name, with a first character that is taken already; `bare` when only that is there.
    fn name(&mut self, kind: Kind, bare: Kind) -> Result<(), String> {
        while self.peek().is_some_and(is_alphanumeric) {
            self.next();
        }
        if let Some(c) = self
            .peek()
            .filter(|&c| !is_space(c) && !".,|:)(".contains(c))
            && !self.rest().starts_with("}}")
        {
            return Err(format!("bad character {}", code_point(c)));
        }
        let word = &self.input[self.start..self.position];
        self.emit(match word {
            "true" | "false" => Kind::Bool,
            _ if KEYWORDS.contains(&word) => Kind::Keyword,
            "." | "$" => bare,
            _ => kind,
        });
        Ok(())
    }

    /// Anything that begins like a number; whether it is one is for the parser to say.
    fn number(&mut self) -> Result<(), String> {
        self.position = self.start;
        self.accept(|c| "+-".contains(c));
        let mut digits = 10;
        if self.accept(|c| c == '0') {
            digits = match self.peek() {
                Some('x' | 'X') => 16,
                Some('o' | 'O') => 8,
                Some('b' | 'B') => 2,
                _ => 10,
            };
            self.position += usize::from(digits != 10);
        }
        let digit = |c: char| c == '_' || c.is_digit(digits);
        while self.accept(digit) {}
        if self.accept(|c| c == '.') {
            while self.accept(digit) {}
        }
        if digits == 10 && self.accept(|c| "eE".contains(c))
            || digits == 16 && self.accept(|c| "pP".contains(c))
        {
            self.accept(|c| "+-".contains(c));
            while self.accept(|c| c == '_' || c.is_ascii_digit()) {}
        }
        if self
            .peek()
            .is_some_and(|c| is_alphanumeric(c) || "+-".contains(c))
        {
            self.next();
            return Err(format!(
                "bad number syntax: {}",
                super::literal::quote(&self.input[self.start..self.position])
            ));
        }
        self.emit(Kind::Number);
        Ok(())
    }

    fn rest(&self) -> &'a str {
        &self.input[self.position..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.position += c.len_utf8();
        Some(c)
    }

    fn accept(&mut self, wanted: impl Fn(char) -> bool) -> bool {
        self.peek().is_some_and(wanted) && self.next().is_some()
    }

    fn emit(&mut self, kind: Kind) {
        let text = self.input[self.start..self.position].to_string();
        self.tokens.push(Token {
            kind,
            text,
            position: self.start,
            line: self.line,
        });
        self.skip();
    }

    /// Leaves out what lies between the last token and here.
    fn skip(&mut self) {
        self.line += self.input[self.start..self.position].matches('\n').count();
        self.start = self.position;
    }
}

/// `- ` after `{{`.
fn starts_trim(text: &str) -> bool {
    text.strip_prefix('-')
        .is_some_and(|rest| rest.starts_with(is_space))
}

/// ` -}}`.
fn ends_trim(text: &str) -> bool {
    text.strip_prefix(is_space)
        .is_some_and(|rest| rest.starts_with("-}}"))
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_alphanumeric(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// `U+00E9 'é'`.
fn code_point(c: char) -> String {
    match c.is_control() {
        true => format!("U+{:04X}", u32::from(c)),
        false => format!("U+{:04X} '{c}'", u32::from(c)),
    }
}
