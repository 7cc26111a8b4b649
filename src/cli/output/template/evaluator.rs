//! Runs the statements of a template; what stands in their pipelines is for `expression`.
//!
//! The place of an error is the last part that was looked at, as in Go. Depth, steps and lengths are
//! bounded: a template cannot exhaust the stack or the memory, nor run forever.

use super::datum::{Datum, Map};
use super::expression::Operand;
use super::literal::quote;
use super::node::{Branch, Command, Invocation, Pipeline, Statement, Word};
use super::parser::Trees;
use super::verb;
use super::{LONGEST, OnMissing};
use std::rc::Rc;

/// Statements and pipelines may stand in each other this deep, called templates included.
const DEEPEST: usize = 200;
/// Statements one run may execute.
const STEPS: usize = 1_000_000;

/// The part that is being looked at.
#[derive(Clone, Copy)]
pub(super) enum At<'t> {
    Start,
    Pipeline(&'t Pipeline),
    Command(&'t Command),
    Word(&'t Word),
    Invocation(&'t Invocation),
}

/// What follows a statement.
#[derive(PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

pub(super) type Evaluated<T> = Result<T, String>;

/// One run of a template.
pub(super) struct Evaluator<'t> {
    input: &'t str,
    trees: &'t Trees,
    pub(super) on_missing: OnMissing,
    /// Functions are those of a line of headings.
    pub(super) heading: bool,
    /// What has been written so far, also when the run fails.
    pub(super) output: String,
    name: &'t str,
    pub(super) variables: Vec<(&'t str, Operand)>,
    pub(super) at: At<'t>,
    pub(super) depth: usize,
    steps: usize,
}

impl<'t> Evaluator<'t> {
    pub(super) fn new(
        input: &'t str,
        trees: &'t Trees,
        on_missing: OnMissing,
        heading: bool,
    ) -> Self {
        Self {
            input,
            trees,
            on_missing,
            heading,
            output: String::new(),
            name: "",
            variables: Vec::new(),
            at: At::Start,
            depth: 0,
            steps: 0,
        }
    }

    /// Executes the main template with `data` as dot.
    pub(super) fn run(&mut self, data: &Datum) -> Evaluated<()> {
        let dot = Operand::from(data.clone());
        self.variables = vec![("$", dot.clone())];
        match self.trees.get("") {
            Some(statements) => self.statements(&dot, statements).map(|_| ()),
            None => Ok(()),
        }
    }

    fn statements(&mut self, dot: &Operand, statements: &'t [Statement]) -> Evaluated<Flow> {
        self.deeper()?;
        let mut flow = Flow::Next;
        for statement in statements {
            flow = self.statement(dot, statement)?;
            if flow != Flow::Next {
                break;
            }
        }
        self.depth -= 1;
        Ok(flow)
    }

    pub(super) fn deeper(&mut self) -> Evaluated<()> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.fail(format!("exceeded maximum template depth ({DEEPEST})")));
        }
        Ok(())
    }

    fn statement(&mut self, dot: &Operand, statement: &'t Statement) -> Evaluated<Flow> {
        self.step()?;
        match statement {
            Statement::Text(text) => self.output.push_str(text),
            Statement::Action(pipeline) => {
                let value = self.pipeline(dot, pipeline)?;
                if pipeline.variables.is_empty() {
                    self.print(&value);
                }
            }
            Statement::If(branch) => return self.branch(dot, branch, false),
            Statement::With(branch) => return self.branch(dot, branch, true),
            Statement::Range(branch) => return self.range(dot, branch),
            Statement::Invoke(invocation) => self.invoke(dot, invocation)?,
            Statement::Break => return Ok(Flow::Break),
            Statement::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn step(&mut self) -> Evaluated<()> {
        self.steps += 1;
        if self.steps > STEPS {
            return Err(self.fail(format!("more than {STEPS} steps")));
        }
        if self.output.len() > LONGEST {
            return Err(self.fail(format!("output of more than {LONGEST} bytes")));
        }
        Ok(())
    }

    fn print(&mut self, value: &Datum) {
        match value.dereferenced() {
            Datum::Missing => self.output.push_str("<no value>"),
            Datum::Text(text) => self.output.push_str(text),
            value => self
                .output
                .push_str(&verb::print(std::slice::from_ref(value))),
        }
    }

    fn branch(&mut self, dot: &Operand, branch: &'t Branch, with: bool) -> Evaluated<Flow> {
        let mark = self.variables.len();
        let value = self.pipeline(dot, &branch.pipeline)?;
        let flow = match (value.truth(), with) {
            (true, true) => self.statements(&value.into(), &branch.body)?,
            (true, false) => self.statements(dot, &branch.body)?,
            (false, _) => self.statements(dot, &branch.otherwise)?,
        };
        self.variables.truncate(mark);
        Ok(flow)
    }

    fn range(&mut self, dot: &Operand, branch: &'t Branch) -> Evaluated<Flow> {
        let mark = self.variables.len();
        let value = self.pipeline(dot, &branch.pipeline)?;
        let mut iterations = match value.pointee() {
            Datum::Missing | Datum::Null | Datum::Nil(_) => Iterations::List(Rc::default(), 0),
            Datum::List(values) => Iterations::List(values.clone(), 0),
            Datum::Map(map) => Iterations::Map(map.clone(), None),
            Datum::Integer(_) if branch.pipeline.variables.len() > 1 => {
                let shown = verb::print(std::slice::from_ref(value.dereferenced()));
                return Err(self.fail(format!(
                    "can't use {shown} to iterate over more than one variable"
                )));
            }
            Datum::Integer(end) => Iterations::Count(0, *end),
            _ => {
                let shown = verb::print(std::slice::from_ref(value.dereferenced()));
                return Err(self.fail(format!("range can't iterate over {shown}")));
            }
        };
        let inside = self.variables.len();
        let mut flow = Flow::Next;
        let mut empty = true;
        while let Some((key, element)) = iterations.next() {
            empty = false;
            self.step()?;
            self.set_loop_variables(&branch.pipeline, key, &element)?;
            let body = self.statements(&element, &branch.body)?;
            self.variables.truncate(inside);
            if body == Flow::Break {
                break;
            }
        }
        if empty {
            flow = self.statements(dot, &branch.otherwise)?;
        }
        self.variables.truncate(mark);
        Ok(flow)
    }

    /// The last variable is the element, the one before it the index or key.
    fn set_loop_variables(
        &mut self,
        pipeline: &'t Pipeline,
        key: Datum,
        element: &Operand,
    ) -> Evaluated<()> {
        let values = [element.clone(), key.into()];
        for (back, (variable, value)) in pipeline.variables.iter().rev().zip(values).enumerate() {
            if pipeline.assigns {
                self.assign(variable, value)?;
            } else {
                let place = self.variables.len() - 1 - back;
                self.variables[place].1 = value;
            }
        }
        Ok(())
    }

    fn invoke(&mut self, dot: &Operand, invocation: &'t Invocation) -> Evaluated<()> {
        self.at = At::Invocation(invocation);
        let Some((name, statements)) = self.trees.get_key_value(&invocation.name) else {
            return Err(self.fail(format!("template {} not defined", quote(&invocation.name))));
        };
        let data = match &invocation.pipeline {
            Some(pipeline) => self.pipeline(dot, pipeline)?,
            None => Datum::Missing,
        };
        let data = Operand::from(data);
        // A template sees no variables of its caller.
        let outside = std::mem::replace(&mut self.variables, vec![("$", data.clone())]);
        let caller = std::mem::replace(&mut self.name, name);
        self.statements(&data, statements)?;
        self.name = caller;
        self.variables = outside;
        Ok(())
    }

    /// `message` with the place and the text of the part at hand.
    pub(super) fn fail(&self, message: String) -> String {
        let (position, context) = match self.at {
            At::Start => return format!("template: {}: {message}", self.name),
            At::Pipeline(pipeline) => (pipeline.position, pipeline.to_string()),
            At::Command(command) => (command.position, command.to_string()),
            At::Word(word) => (word.position, word.to_string()),
            At::Invocation(invocation) => (invocation.position, invocation.to_string()),
        };
        let before = &self.input[..position];
        let line = 1 + before.matches('\n').count();
        let column = before
            .rfind('\n')
            .map_or(position, |newline| position - newline - 1);
        let name = quote(self.name);
        format!("template: :{line}:{column}: executing {name} at <{context}>: {message}")
    }
}

/// What a loop goes through.
enum Iterations {
    List(Rc<Vec<Datum>>, usize),
    /// The key seen last.
    Map(Rc<Map>, Option<String>),
    Count(i128, i128),
}

impl Iterations {
    fn next(&mut self) -> Option<(Datum, Operand)> {
        match self {
            Iterations::List(values, next) => {
                let datum = values.get(*next)?.clone();
                let key = Datum::Integer((*next).try_into().ok()?);
                *next += 1;
                Some((key, Operand { datum, boxed: true }))
            }
            Iterations::Map(map, last) => {
                use std::ops::Bound::{Excluded, Unbounded};
                let start = last.take().map_or(Unbounded, Excluded);
                let (key, datum) = map.entries.range::<String, _>((start, Unbounded)).next()?;
                *last = Some(key.clone());
                Some((
                    Datum::text(key.as_str()),
                    Operand {
                        datum: datum.clone(),
                        boxed: true,
                    },
                ))
            }
            Iterations::Count(next, end) => {
                let number = (*next < *end).then_some(*next)?;
                *next += 1;
                Some((Datum::Integer(number), Datum::Integer(number).into()))
            }
        }
    }
}
