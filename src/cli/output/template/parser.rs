//! From tokens to trees, with the messages of Go's parser.
//!
//! What nests is bounded here, so that nothing that walks a tree later can exhaust the stack.

use super::lexer::{self, Kind, Token};
use super::literal;
use super::literal::quote;
use super::node::{Branch, Command, Invocation, Pipeline, Statement, Term, Word};
use std::collections::BTreeMap;

/// Parentheses and control structures may stand in each other this deep.
const DEEPEST: usize = 100;

/// Named templates; the main one has the empty name.
pub(super) type Trees = BTreeMap<String, Vec<Statement>>;

/// Trees of `input`; `is_function` knows the names that may be called.
pub(super) fn parse(input: &str, is_function: &dyn Fn(&str) -> bool) -> Result<Trees, String> {
    let mut parser = Parser {
        tokens: lexer::tokens(input),
        next: 0,
        furthest: 0,
        action_line: None,
        variables: vec!["$".to_string()],
        ranges: 0,
        depth: 0,
        trees: Trees::new(),
        is_function,
    };
    let result = parser.main();
    result.map_err(|message| format!("template: :{}: {message}", parser.line()))?;
    Ok(parser.trees)
}

/// What ends a list of statements.
enum Ending {
    End,
    Else,
}

impl Ending {
    fn text(&self) -> &'static str {
        match self {
            Ending::End => "{{end}}",
            Ending::Else => "{{else}}",
        }
    }
}

struct Parser<'a> {
    /// Never empty; the last one is handed out again and again.
    tokens: Vec<Token>,
    next: usize,
    /// The last token looked at: where an error is said to be.
    furthest: usize,
    action_line: Option<usize>,
    variables: Vec<String>,
    /// How many loops there are around.
    ranges: usize,
    depth: usize,
    trees: Trees,
    is_function: &'a dyn Fn(&str) -> bool,
}

type Parsed<T> = Result<T, String>;

impl Parser<'_> {
    fn main(&mut self) -> Parsed<()> {
        let mut statements = Vec::new();
        while self.peek().kind != Kind::End {
            if self.peek().kind == Kind::Open && self.word_after_open().is("define") {
                self.define()?;
                continue;
            }
            match self.statement()? {
                Ok(statement) => statements.push(statement),
                Err(ending) => return Err(format!("unexpected {}", ending.text())),
            }
        }
        self.add(String::new(), statements)
    }

    fn word_after_open(&mut self) -> Token {
        let start = self.next;
        self.take();
        let token = self.take_word();
        self.next = start;
        token
    }

    fn define(&mut self) -> Parsed<()> {
        const CONTEXT: &str = "define clause";
        self.take();
        self.take_word();
        let token = self.take_word();
        let name = self.template_name(&token, CONTEXT)?;
        self.expect(Kind::Close, CONTEXT)?;
        self.template(name, CONTEXT)
    }

    /// The body of a template of its own, up to its end: it sees no variables and no loop from outside.
    fn template(&mut self, name: String, context: &str) -> Parsed<()> {
        let variables = std::mem::replace(&mut self.variables, vec!["$".to_string()]);
        let ranges = std::mem::take(&mut self.ranges);
        let (statements, ending) = self.list()?;
        if let Ending::Else = ending {
            return Err(format!("unexpected {} in {context}", ending.text()));
        }
        self.variables = variables;
        self.ranges = ranges;
        self.add(name, statements)
    }

    /// A template that is empty may be given a body once.
    fn add(&mut self, name: String, statements: Vec<Statement>) -> Parsed<()> {
        match self.trees.get(&name) {
            Some(known) if !is_blank(known) && !is_blank(&statements) => Err(format!(
                "template: multiple definition of template {}",
                quote(&name)
            )),
            Some(known) if !is_blank(known) => Ok(()),
            _ => {
                self.trees.insert(name, statements);
                Ok(())
            }
        }
    }

    fn list(&mut self) -> Parsed<(Vec<Statement>, Ending)> {
        self.deeper()?;
        let mut statements = Vec::new();
        while self.peek_word().kind != Kind::End {
            match self.statement()? {
                Ok(statement) => statements.push(statement),
                Err(ending) => {
                    self.depth -= 1;
                    return Ok((statements, ending));
                }
            }
        }
        Err("unexpected EOF".to_string())
    }

    fn deeper(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth > DEEPEST {
            Err(format!("nested more than {DEEPEST} deep"))
        } else {
            Ok(())
        }
    }

    fn statement(&mut self) -> Parsed<Result<Statement, Ending>> {
        let token = self.take_word();
        match token.kind {
            Kind::Text => Ok(Ok(Statement::Text(token.text))),
            Kind::Open => {
                self.action_line = Some(token.line);
                let statement = self.action()?;
                self.action_line = None;
                Ok(statement)
            }
            _ => Err(self.unexpected(&token, "input")),
        }
    }

    fn action(&mut self) -> Parsed<Result<Statement, Ending>> {
        let token = self.peek_word();
        let keyword = if token.kind == Kind::Keyword {
            token.text.as_str()
        } else {
            ""
        };
        if !matches!(keyword, "" | "nil" | "define") {
            self.take_word();
        }
        Ok(Ok(match keyword {
            "if" => Statement::If(self.branch("if")?),
            "with" => Statement::With(self.branch("with")?),
            "range" => Statement::Range(self.branch("range")?),
            "block" => Statement::Invoke(self.block()?),
            "template" => Statement::Invoke(self.invocation()?),
            "break" => self.jump(Statement::Break, "{{break}}")?,
            "continue" => self.jump(Statement::Continue, "{{continue}}")?,
            "end" => {
                self.expect(Kind::Close, "end")?;
                return Ok(Err(Ending::End));
            }
            "else" => {
                // `else if` and `else with` leave their second word for `branch`.
                let next = self.peek_word();
                if !next.is("if") && !next.is("with") {
                    self.expect(Kind::Close, "else")?;
                }
                return Ok(Err(Ending::Else));
            }
            _ => Statement::Action(self.pipeline("command", Kind::Close)?),
        }))
    }

    fn jump(&mut self, statement: Statement, text: &str) -> Parsed<Statement> {
        self.expect(Kind::Close, text)?;
        if self.ranges == 0 {
            return Err(format!("{text} outside {{{{range}}}}"));
        }
        Ok(statement)
    }

    fn branch(&mut self, context: &str) -> Parsed<Branch> {
        let variables = self.variables.len();
        let pipeline = self.pipeline(context, Kind::Close)?;
        self.ranges += usize::from(context == "range");
        let (body, ending) = self.list()?;
        self.ranges -= usize::from(context == "range");
        let otherwise = match ending {
            Ending::End => Vec::new(),
            Ending::Else => self.otherwise(context)?,
        };
        self.variables.truncate(variables);
        Ok(Branch {
            pipeline,
            body,
            otherwise,
        })
    }

    /// What follows `{{else`: `{{else if x}}` is an `if` in the `else` whose `end` serves both.
    fn otherwise(&mut self, context: &str) -> Parsed<Vec<Statement>> {
        let next = self.peek();
        if context != "range" && next.is(context) {
            self.take();
            self.deeper()?;
            let branch = self.branch(context)?;
            self.depth -= 1;
            return Ok(vec![if context == "if" {
                Statement::If(branch)
            } else {
                Statement::With(branch)
            }]);
        }
        let (statements, ending) = self.list()?;
        match ending {
            Ending::End => Ok(statements),
            Ending::Else => Err(format!("expected end; found {}", ending.text())),
        }
    }

    fn block(&mut self) -> Parsed<Invocation> {
        const CONTEXT: &str = "block clause";
        let token = self.take_word();
        let name = self.template_name(&token, CONTEXT)?;
        let pipeline = Some(self.pipeline(CONTEXT, Kind::Close)?);
        self.template(name.clone(), CONTEXT)?;
        Ok(Invocation {
            position: token.position,
            name,
            pipeline,
        })
    }

    fn invocation(&mut self) -> Parsed<Invocation> {
        const CONTEXT: &str = "template clause";
        let token = self.take_word();
        let name = self.template_name(&token, CONTEXT)?;
        let pipeline = match self.peek_word().kind {
            Kind::Close => {
                self.take_word();
                None
            }
            _ => Some(self.pipeline(CONTEXT, Kind::Close)?),
        };
        Ok(Invocation {
            position: token.position,
            name,
            pipeline,
        })
    }

    fn template_name(&self, token: &Token, context: &str) -> Parsed<String> {
        match token.kind {
            Kind::Quoted | Kind::Raw => literal::text(&token.text),
            _ => Err(self.unexpected(token, context)),
        }
    }

    fn pipeline(&mut self, context: &str, end: Kind) -> Parsed<Pipeline> {
        self.deeper()?;
        let position = self.peek_word().position;
        let (variables, assigns) = self.declaration(context)?;
        let mut commands: Vec<Command> = Vec::new();
        loop {
            let token = self.peek_word();
            match token.kind {
                kind if kind == end => break,
                Kind::Bool
                | Kind::Char
                | Kind::Dot
                | Kind::Field
                | Kind::Name
                | Kind::Number
                | Kind::Raw
                | Kind::Quoted
                | Kind::Variable
                | Kind::LeftParen => commands.push(self.command()?),
                Kind::Keyword if token.text == "nil" => commands.push(self.command()?),
                _ => {
                    self.take_word();
                    return Err(self.unexpected(&token, context));
                }
            }
        }
        self.take_word();
        if commands.is_empty() {
            return Err(format!("missing value for {context}"));
        }
        let constant = |command: &Command| {
            matches!(
                command.words[0].term,
                Term::Bool(_) | Term::Dot | Term::Nil | Term::Number(_) | Term::Text(..)
            )
        };
        if let Some(stage) = commands.iter().skip(1).position(constant) {
            return Err(format!(
                "non executable command in pipeline stage {}",
                stage + 2
            ));
        }
        self.depth -= 1;
        Ok(Pipeline {
            position,
            variables,
            assigns,
            commands,
        })
    }

    /// `$x :=`, `$x =`, and for loops `$i, $x :=`.
    fn declaration(&mut self, context: &str) -> Parsed<(Vec<String>, bool)> {
        let mut variables = Vec::new();
        while self.peek_word().kind == Kind::Variable {
            let start = self.next;
            let variable = self.take_word();
            let next = self.peek_word();
            let comma = next.kind == Kind::Other && next.text == ",";
            if !comma && next.kind != Kind::Assign && next.kind != Kind::Declare {
                self.next = start;
                break;
            }
            self.take_word();
            variables.push(variable.text.clone());
            self.variables.push(variable.text);
            if !comma {
                return Ok((variables, next.kind == Kind::Assign));
            }
            if context != "range" || variables.len() > 1 {
                return Err(format!("too many declarations in {context}"));
            }
            if !matches!(
                self.peek_word().kind,
                Kind::Variable | Kind::Close | Kind::RightParen
            ) {
                return Err("range can only initialize variables".to_string());
            }
        }
        Ok((variables, false))
    }

    fn command(&mut self) -> Parsed<Command> {
        let position = self.peek_word().position;
        let mut words = Vec::new();
        loop {
            self.peek_word();
            words.extend(self.operand()?);
            let token = self.take();
            match token.kind {
                Kind::Space => continue,
                Kind::Close | Kind::RightParen => self.next -= 1,
                Kind::Pipe => {}
                _ => return Err(self.unexpected(&token, "operand")),
            }
            break;
        }
        if words.is_empty() {
            return Err("empty command".to_string());
        }
        Ok(Command { position, words })
    }

    /// A term and the fields behind it; nothing if there is no term.
    fn operand(&mut self) -> Parsed<Option<Word>> {
        let Some(word) = self.term()? else {
            return Ok(None);
        };
        let position = self.peek().position;
        let mut fields = Vec::new();
        while self.peek().kind == Kind::Field {
            fields.push(self.take().text[1..].to_string());
        }
        if fields.is_empty() {
            return Ok(Some(word));
        }
        let term = match word.term {
            Term::Field(names) => Term::Field([names, fields].concat()),
            Term::Variable(variable, names) => Term::Variable(variable, [names, fields].concat()),
            Term::Bool(_) | Term::Text(..) | Term::Number(_) | Term::Nil | Term::Dot => {
                return Err(format!(
                    "unexpected . after term {}",
                    quote(&word.to_string())
                ));
            }
            Term::Function(_) | Term::Group(_) | Term::Chain(..) => {
                Term::Chain(Box::new(word), fields)
            }
        };
        Ok(Some(Word { position, term }))
    }

    fn term(&mut self) -> Parsed<Option<Word>> {
        let start = self.next;
        let token = self.take_word();
        let term = match token.kind {
            Kind::Name if (self.is_function)(&token.text) => Term::Function(token.text),
            Kind::Name => return Err(format!("function {} not defined", quote(&token.text))),
            Kind::Dot => Term::Dot,
            Kind::Keyword if token.text == "nil" => Term::Nil,
            Kind::Variable if self.variables.contains(&token.text) => {
                Term::Variable(token.text, Vec::new())
            }
            Kind::Variable => return Err(format!("undefined variable {}", quote(&token.text))),
            Kind::Field => Term::Field(vec![token.text[1..].to_string()]),
            Kind::Bool => Term::Bool(token.text == "true"),
            Kind::Char | Kind::Number => Term::Number(literal::number(&token.text)?),
            Kind::LeftParen => Term::Group(Box::new(
                self.pipeline("parenthesized pipeline", Kind::RightParen)?,
            )),
            Kind::Quoted | Kind::Raw => {
                let meaning = literal::text(&token.text)?;
                Term::Text(token.text, meaning)
            }
            _ => {
                self.next = start;
                return Ok(None);
            }
        };
        Ok(Some(Word {
            position: token.position,
            term,
        }))
    }

    fn peek(&mut self) -> Token {
        self.furthest = self.furthest.max(self.next.min(self.tokens.len() - 1));
        self.tokens[self.next.min(self.tokens.len() - 1)].clone()
    }

    fn take(&mut self) -> Token {
        let token = self.peek();
        self.next += 1;
        token
    }

    /// The next token that is not white space, which is passed over.
    fn peek_word(&mut self) -> Token {
        while self.peek().kind == Kind::Space {
            self.next += 1;
        }
        self.peek()
    }

    fn take_word(&mut self) -> Token {
        let token = self.peek_word();
        self.next += 1;
        token
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Parsed<()> {
        let token = self.take_word();
        if token.kind == kind {
            Ok(())
        } else {
            Err(self.unexpected(&token, context))
        }
    }

    fn line(&self) -> usize {
        self.tokens[self.furthest].line
    }

    fn unexpected(&self, token: &Token, context: &str) -> String {
        if token.kind == Kind::Error {
            return match self.action_line.filter(|&line| line != token.line) {
                Some(line) if token.text.ends_with(" action") => {
                    format!("{} started at :{line}", token.text)
                }
                Some(line) => format!("{} in action started at :{line}", token.text),
                None => token.text.clone(),
            };
        }
        let shown = match token.kind {
            Kind::End => "EOF".to_string(),
            Kind::Keyword | Kind::Dot => format!("<{}>", token.text),
            _ if token.text.len() > 10 => {
                quote(&token.text.chars().take(10).collect::<String>()) + "..."
            }
            _ => quote(&token.text),
        };
        format!("unexpected {shown} in {context}")
    }
}

/// Whether there is nothing but white space.
fn is_blank(statements: &[Statement]) -> bool {
    statements
        .iter()
        .all(|statement| matches!(statement, Statement::Text(text) if text.trim().is_empty()))
}
