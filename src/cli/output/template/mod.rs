//! Templates of `--format`: the language of Go's text/template with Docker's functions.
//!
//! - `lexer`, `literal`, `parser`, `node`: from text to trees
//! - `evaluator`, `expression`, `functions`, `comparison`, `escape`: from trees and values to text
//! - `datum`: the values; `verb`, `digits`: their text, as `print` and `printf` make it
//!
//! Scripts depend on what it prints and on when it fails; the messages are those of Go, since people look
//! them up. Complex numbers, functions as values and channels have no place in JSON and are left out.

mod comparison;
mod datum;
mod digits;
mod escape;
mod evaluator;
mod expression;
mod functions;
mod lexer;
mod literal;
mod node;
mod parser;
mod verb;

pub use datum::{Datum, Map, Method, Object};
pub use literal::quote;

use crate::error::{Error, bad_input};
use evaluator::Evaluator;
use parser::Trees;
use std::collections::BTreeSet;

/// No text that a template makes may be longer, in bytes.
const LONGEST: usize = 16 << 20;

/// What a key is that a map does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnMissing {
    /// Prints as `<no value>`.
    NoValue,
    /// An error.
    Fail,
}

/// A template that can be executed.
#[derive(Clone, Debug)]
pub struct Template {
    input: String,
    trees: Trees,
    fields: BTreeSet<String>,
    whole: bool,
}

impl Template {
    /// Reads `input`, or says in Go's words where it is wrong.
    pub fn parse(input: &str) -> Result<Self, Error> {
        let is_function = |name: &str| functions::find(name, false).is_some();
        let trees = parser::parse(input, &is_function).map_err(failure)?;
        let mut fields = BTreeSet::new();
        let mut whole = false;
        for token in lexer::tokens(input) {
            match token.kind {
                lexer::Kind::Dot | lexer::Kind::Variable => whole = true,
                lexer::Kind::Field => {
                    fields.insert(token.text[1..].to_string());
                }
                _ => {}
            }
        }
        Ok(Self {
            input: input.to_string(),
            trees,
            fields,
            whole,
        })
    }

    /// Whether the field may be asked for: a caller need not compute what nobody asks for.
    pub fn mentions(&self, field: &str) -> bool {
        self.whole || self.fields.contains(field)
    }

    /// The text for `data`.
    pub fn execute(&self, data: &Datum, on_missing: OnMissing) -> Result<String, Error> {
        let mut evaluator = Evaluator::new(&self.input, &self.trees, on_missing, false);
        evaluator.run(data).map_err(failure)?;
        Ok(evaluator.output)
    }

    /// The line of headings of a table: functions leave text alone, and the first mistake ends the line.
    pub fn headings(&self, data: &Datum) -> String {
        let mut evaluator = Evaluator::new(&self.input, &self.trees, OnMissing::NoValue, true);
        let _ = evaluator.run(data);
        evaluator.output
    }
}

fn failure(message: String) -> Error {
    bad_input(format!("template parsing error: {message}"))
}

#[cfg(test)]
mod tests;
