//! Values of pipelines: commands one after another, fields, methods and calls of functions.
//!
//! Arguments are checked against the parameters of a function before it runs, so that functions find what
//! they ask for.

use super::datum::Datum;
use super::evaluator::{At, Evaluated, Evaluator};
use super::functions::{self, Function, Parameter};
use super::literal::quote;
use super::node::{Command, Number, Pipeline, Term, Word};
use super::verb;
use super::{LONGEST, OnMissing};

/// A value, and whether Go would hold it in an interface: that type is then the one in messages.
#[derive(Clone, Debug)]
pub(super) struct Operand {
    pub(super) datum: Datum,
    pub(super) boxed: bool,
}

impl From<Datum> for Operand {
    fn from(datum: Datum) -> Self {
        Self {
            datum,
            boxed: false,
        }
    }
}

impl Operand {
    fn kind(&self) -> &str {
        if self.boxed {
            "interface {}"
        } else {
            self.datum.kind()
        }
    }
}

impl<'t> Evaluator<'t> {
    pub(super) fn pipeline(&mut self, dot: &Operand, pipeline: &'t Pipeline) -> Evaluated<Datum> {
        self.deeper()?;
        self.at = At::Pipeline(pipeline);
        let mut value: Option<Datum> = None;
        for command in &pipeline.commands {
            let result = self.command(dot, command, value.take())?.datum;
            value = Some(match result {
                Datum::Null => Datum::Missing,
                other => other,
            });
        }
        let value = value.unwrap_or(Datum::Missing);
        for variable in &pipeline.variables {
            if pipeline.assigns {
                self.assign(variable, value.clone().into())?;
            } else {
                self.variables.push((variable, value.clone().into()));
            }
        }
        self.depth -= 1;
        Ok(value)
    }

    pub(super) fn assign(&mut self, name: &str, value: Operand) -> Evaluated<()> {
        match self
            .variables
            .iter_mut()
            .rev()
            .find(|(variable, _)| *variable == name)
        {
            Some((_, place)) => {
                *place = value;
                Ok(())
            }
            None => Err(self.fail(format!("undefined variable: {name}"))),
        }
    }

    /// `last` is the value that the pipeline brings: it becomes the last argument.
    fn command(
        &mut self,
        dot: &Operand,
        command: &'t Command,
        last: Option<Datum>,
    ) -> Evaluated<Operand> {
        let word = &command.words[0];
        let arguments = &command.words[1..];
        match &word.term {
            Term::Field(names) => {
                self.at = At::Word(word);
                return self.fields(dot, dot.clone(), names, arguments, last);
            }
            Term::Variable(name, names) if !names.is_empty() => {
                self.at = At::Word(word);
                let value = self.variable(name)?;
                return self.fields(dot, value, names, arguments, last);
            }
            Term::Chain(inner, names) => {
                self.at = At::Word(word);
                let value = self.chain_start(dot, word, inner)?;
                return self.fields(dot, value, names, arguments, last);
            }
            Term::Function(name) => {
                self.at = At::Word(word);
                return self.call(dot, name, At::Command(command), arguments, last);
            }
            _ => self.at = At::Word(word),
        }
        if !arguments.is_empty() || last.is_some() {
            return Err(self.fail(format!("can't give argument to non-function {word}")));
        }
        match &word.term {
            Term::Nil => Err(self.fail("nil is not a command".to_string())),
            _ => self.word(dot, word),
        }
    }

    /// The value of a word that stands alone.
    fn word(&mut self, dot: &Operand, word: &'t Word) -> Evaluated<Operand> {
        self.at = At::Word(word);
        Ok(match &word.term {
            Term::Dot => dot.clone(),
            Term::Nil => Datum::Missing.into(),
            Term::Bool(value) => Datum::Bool(*value).into(),
            Term::Number(number) => self.constant(number)?.into(),
            Term::Text(_, text) => Datum::text(text.as_str()).into(),
            Term::Field(names) => self.fields(dot, dot.clone(), names, &[], None)?,
            Term::Variable(name, names) => {
                let value = self.variable(name)?;
                self.fields(dot, value, names, &[], None)?
            }
            Term::Function(name) => self.call(dot, name, At::Word(word), &[], None)?,
            Term::Group(pipeline) => self.pipeline(dot, pipeline)?.into(),
            Term::Chain(inner, names) => {
                let value = self.chain_start(dot, word, inner)?;
                self.fields(dot, value, names, &[], None)?
            }
        })
    }

    fn chain_start(
        &mut self,
        dot: &Operand,
        chain: &'t Word,
        inner: &'t Word,
    ) -> Evaluated<Operand> {
        match inner.term {
            Term::Nil => Err(self.fail(format!("indirection through explicit nil in {chain}"))),
            _ => self.word(dot, inner),
        }
    }

    /// A number where nothing says what type it should have.
    fn constant(&self, number: &Number) -> Evaluated<Datum> {
        match (number.float, number.integer) {
            (Some(value), _) => Ok(Datum::Float(value)),
            (None, Some(value)) if i64::try_from(value).is_ok() => Ok(Datum::Integer(value)),
            _ => Err(self.fail(format!("{} overflows int", number.text))),
        }
    }

    fn variable(&mut self, name: &str) -> Evaluated<Operand> {
        match self
            .variables
            .iter()
            .rev()
            .find(|(variable, _)| *variable == name)
        {
            Some((_, value)) => Ok(value.clone()),
            None => Err(self.fail(format!("undefined variable: {name}"))),
        }
    }

    /// `.A.B arguments`: only the last name may be a method.
    fn fields(
        &mut self,
        dot: &Operand,
        mut value: Operand,
        names: &'t [String],
        arguments: &'t [Word],
        last: Option<Datum>,
    ) -> Evaluated<Operand> {
        let Some((end, names)) = names.split_last() else {
            return Ok(value);
        };
        for name in names {
            value = self.field(dot, &value, name, &[], None)?;
        }
        self.field(dot, &value, end, arguments, last)
    }

    fn field(
        &mut self,
        dot: &Operand,
        value: &Operand,
        name: &str,
        arguments: &'t [Word],
        last: Option<Datum>,
    ) -> Evaluated<Operand> {
        let given = !arguments.is_empty() || last.is_some();
        match value.datum.pointee() {
            Datum::Missing if self.on_missing == OnMissing::Fail => {
                Err(self.fail(format!("nil data; no entry for key {}", quote(name))))
            }
            Datum::Missing => Ok(Datum::Missing.into()),
            Datum::Null => Err(self.fail(format!("nil pointer evaluating interface {{}}.{name}"))),
            Datum::Nil("map[]") if !given && self.on_missing == OnMissing::NoValue => {
                Ok(Datum::Missing.into())
            }
            Datum::Nil(_) => {
                Err(self.fail(format!("nil pointer evaluating {}.{name}", value.kind())))
            }
            Datum::Object(object) => {
                if let Some(method) = object.method(name) {
                    let count = arguments.len() + usize::from(last.is_some());
                    if count != 1 {
                        return Err(self.fail(format!(
                            "wrong number of args for {name}: want 1 got {count}"
                        )));
                    }
                    let values = self.arguments(dot, &[Parameter::Text], None, arguments, last)?;
                    let key = if let Some(Datum::Text(text)) = values.first() {
                        text
                    } else {
                        ""
                    };
                    return Ok(method(key).into());
                }
                match object.field(name) {
                    Some(_) if given => Err(self.fail(format!(
                        "{name} has arguments but cannot be invoked as function"
                    ))),
                    Some(datum) => Ok(datum.into()),
                    None => Err(self.fail(format!(
                        "can't evaluate field {name} in type {}",
                        value.kind()
                    ))),
                }
            }
            Datum::Map(_) if given => {
                Err(self.fail(format!("{name} is not a method but has arguments")))
            }
            Datum::Map(map) if map.closed => Err(self.fail(format!(
                "can't evaluate field {name} in type {}",
                value.kind()
            ))),
            Datum::Map(map) => match map.entries.get(name) {
                Some(datum) => Ok(Operand {
                    datum: datum.clone(),
                    boxed: true,
                }),
                None if self.on_missing == OnMissing::NoValue => Ok(Datum::Missing.into()),
                None => Err(self.fail(format!("map has no entry for key {}", quote(name)))),
            },
            _ => Err(self.fail(format!(
                "can't evaluate field {name} in type {}",
                value.kind()
            ))),
        }
    }

    fn call(
        &mut self,
        dot: &Operand,
        name: &str,
        place: At<'t>,
        words: &'t [Word],
        last: Option<Datum>,
    ) -> Evaluated<Operand> {
        let Some(Function {
            parameters,
            more,
            run,
            ..
        }) = functions::find(name, self.heading)
        else {
            return Err(self.fail(format!("{} is not a defined function", quote(name))));
        };
        let count = words.len() + usize::from(last.is_some());
        if more.is_some() && count < parameters.len() {
            let (least, given) = (parameters.len(), words.len());
            return Err(self.fail(format!(
                "wrong number of args for {name}: want at least {least} got {given}"
            )));
        }
        if more.is_none() && count != parameters.len() {
            return Err(self.fail(format!(
                "wrong number of args for {name}: want {} got {count}",
                parameters.len()
            )));
        }
        if name == "and" || name == "or" {
            return self.decide(dot, name == "or", words, last);
        }
        let values = self.arguments(dot, parameters, *more, words, last)?;
        let result = if name == "call" {
            Err(not_a_function(&values[0], words.first()))
        } else {
            run(&values)
        };
        if let Err(message) = &result {
            self.at = place;
            return Err(self.fail(format!("error calling {name}: {message}")));
        }
        match result {
            Ok(Datum::Text(text)) if text.len() > LONGEST => {
                self.at = place;
                Err(self.fail(format!(
                    "error calling {name}: result of more than {LONGEST} bytes"
                )))
            }
            result => Ok(result.unwrap_or(Datum::Missing).into()),
        }
    }

    /// `and` and `or` look no further than they must.
    fn decide(
        &mut self,
        dot: &Operand,
        or: bool,
        words: &'t [Word],
        last: Option<Datum>,
    ) -> Evaluated<Operand> {
        let mut value = Datum::Missing;
        for word in words {
            value = self.argument(dot, Parameter::Any, word)?;
            if value.truth() == or {
                return Ok(value.into());
            }
        }
        Ok(last.unwrap_or(value).into())
    }

    fn arguments(
        &mut self,
        dot: &Operand,
        parameters: &[Parameter],
        more: Option<Parameter>,
        words: &'t [Word],
        last: Option<Datum>,
    ) -> Evaluated<Vec<Datum>> {
        let parameter = |index: usize| {
            parameters
                .get(index)
                .copied()
                .or(more)
                .unwrap_or(Parameter::Any)
        };
        let mut values = Vec::with_capacity(words.len() + 1);
        for (index, word) in words.iter().enumerate() {
            values.push(self.argument(dot, parameter(index), word)?);
        }
        if let Some(last) = last {
            values.push(self.fitting(parameter(words.len()), last)?);
        }
        Ok(values)
    }

    fn argument(
        &mut self,
        dot: &Operand,
        parameter: Parameter,
        word: &'t Word,
    ) -> Evaluated<Datum> {
        self.at = At::Word(word);
        match (&word.term, parameter) {
            (Term::Nil, Parameter::Text | Parameter::Integer) => {
                Err(self.fail(format!("cannot assign nil to {}", parameter.name())))
            }
            (Term::Number(number), Parameter::Integer) if number.integer.is_some() => {
                Ok(Datum::Integer(number.integer.unwrap_or_default()))
            }
            (Term::Bool(_) | Term::Number(_), Parameter::Text) => {
                Err(self.fail(format!("expected string; found {word}")))
            }
            (Term::Bool(_) | Term::Number(_) | Term::Text(..), Parameter::Integer) => {
                Err(self.fail(format!("expected integer; found {word}")))
            }
            (Term::Bool(_) | Term::Number(_) | Term::Text(..), Parameter::Texts) => Err(self.fail(
                format!("can't handle {word} for arg of type {}", parameter.name()),
            )),
            _ => {
                let value = self.word(dot, word)?;
                self.fitting(parameter, value.datum)
            }
        }
    }

    /// `value` if the parameter takes it.
    fn fitting(&self, parameter: Parameter, value: Datum) -> Evaluated<Datum> {
        // A function of Go takes its own type, a pointer to it, or another name of a list of texts.
        match (parameter, value.dereferenced()) {
            (Parameter::Any, _)
            | (Parameter::Text, Datum::Text(_))
            | (Parameter::Integer, Datum::Integer(_))
            | (
                Parameter::Texts,
                Datum::Missing | Datum::Named("[]string" | "strslice.StrSlice", _),
            ) => Ok(value),
            (_, Datum::Missing) => {
                Err(self.fail(format!("invalid value; expected {}", parameter.name())))
            }
            (_, Datum::Null) => Err(self.fail(format!(
                "wrong type for value; expected {}; got interface {{}}",
                parameter.name()
            ))),
            _ => Err(self.fail(format!(
                "wrong type for value; expected {}; got {}",
                parameter.name(),
                value.kind()
            ))),
        }
    }
}

/// Why `call` fails: there are no functions among the values of a template here.
fn not_a_function(value: &Datum, word: Option<&Word>) -> String {
    let shown = word.map_or_else(|| verb::print(std::slice::from_ref(value)), Word::to_string);
    match value {
        Datum::Missing | Datum::Null => "call of nil".to_string(),
        value => format!("non-function {shown} of type {}", value.kind()),
    }
}
