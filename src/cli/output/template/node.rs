//! The tree of a template. It prints as Go prints it, since error messages quote the part that failed.

use std::fmt::{self, Display, Formatter};

/// A part of a template that does something.
#[derive(Clone, Debug)]
pub(super) enum Statement {
    /// Plain text.
    Text(String),
    /// `{{pipeline}}`
    Action(Pipeline),
    /// `{{if pipeline}} body {{else}} otherwise {{end}}`
    If(Branch),
    /// `{{with pipeline}} body {{else}} otherwise {{end}}`
    With(Branch),
    /// `{{range pipeline}} body {{else}} otherwise {{end}}`
    Range(Branch),
    /// `{{template "name" pipeline}}`
    Invoke(Invocation),
    /// `{{break}}`
    Break,
    /// `{{continue}}`
    Continue,
}

/// What `if`, `with` and `range` have in common.
#[derive(Clone, Debug)]
pub(super) struct Branch {
    pub(super) pipeline: Pipeline,
    pub(super) body: Vec<Statement>,
    pub(super) otherwise: Vec<Statement>,
}

/// A call of a named template.
#[derive(Clone, Debug)]
pub(super) struct Invocation {
    pub(super) position: usize,
    pub(super) name: String,
    pub(super) pipeline: Option<Pipeline>,
}

/// `$x, $y := command | command`
#[derive(Clone, Debug)]
pub(super) struct Pipeline {
    pub(super) position: usize,
    /// Names with their `$`.
    pub(super) variables: Vec<String>,
    /// `=` instead of `:=`.
    pub(super) assigns: bool,
    pub(super) commands: Vec<Command>,
}

/// `word word …`: a value, or a function or method with its arguments. Never empty.
#[derive(Clone, Debug)]
pub(super) struct Command {
    pub(super) position: usize,
    pub(super) words: Vec<Word>,
}

/// A term with its place.
#[derive(Clone, Debug)]
pub(super) struct Word {
    /// Offset in bytes.
    pub(super) position: usize,
    pub(super) term: Term,
}

/// The smallest parts.
#[derive(Clone, Debug)]
pub(super) enum Term {
    /// `.`
    Dot,
    /// `nil`
    Nil,
    /// `true`, `false`
    Bool(bool),
    /// A number or a character.
    Number(Number),
    /// The text as written, with quotes, and its meaning.
    Text(String, String),
    /// `.A.B`
    Field(Vec<String>),
    /// `$x.A`: the name with its `$`, and fields.
    Variable(String, Vec<String>),
    /// The name of a function.
    Function(String),
    /// `(pipeline)`
    Group(Box<Pipeline>),
    /// Fields of something that is neither a field nor a variable: `(pipeline).A`.
    Chain(Box<Word>, Vec<String>),
}

/// A constant that may serve as more than one type.
#[derive(Clone, Debug)]
pub(super) struct Number {
    /// As written.
    pub(super) text: String,
    /// Its value, if it is whole.
    pub(super) integer: Option<i128>,
    /// Whether it is written as a floating-point number, and its value if so.
    pub(super) float: Option<f64>,
}

impl Display for Pipeline {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            let sign = if self.assigns { "=" } else { ":=" };
            write!(f, "{} {sign} ", self.variables.join(", "))?;
        }
        for (index, command) in self.commands.iter().enumerate() {
            let separator = if index > 0 { " | " } else { "" };
            write!(f, "{separator}{command}")?;
        }
        Ok(())
    }
}

impl Display for Command {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, word) in self.words.iter().enumerate() {
            let separator = if index > 0 { " " } else { "" };
            write!(f, "{separator}{word}")?;
        }
        Ok(())
    }
}

impl Display for Word {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.term {
            Term::Dot => f.write_str("."),
            Term::Nil => f.write_str("nil"),
            Term::Bool(value) => write!(f, "{value}"),
            Term::Number(number) => f.write_str(&number.text),
            Term::Text(written, _) => f.write_str(written),
            Term::Field(names) => names.iter().try_for_each(|name| write!(f, ".{name}")),
            Term::Variable(variable, names) => {
                f.write_str(variable)?;
                names.iter().try_for_each(|name| write!(f, ".{name}"))
            }
            Term::Function(name) => f.write_str(name),
            Term::Group(pipeline) => write!(f, "({pipeline})"),
            Term::Chain(word, names) => {
                write!(f, "{word}")?;
                names.iter().try_for_each(|name| write!(f, ".{name}"))
            }
        }
    }
}

impl Display for Invocation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{{{{template {}", super::literal::quote(&self.name))?;
        if let Some(pipeline) = &self.pipeline {
            write!(f, " {pipeline}")?;
        }
        f.write_str("}}")
    }
}
