//! The functions of templates: Go's own, and those that Docker adds.

use super::LONGEST;
use super::comparison::{self, Order};
use super::datum::Datum;
use super::escape;
use super::verb;
use std::rc::Rc;

/// What a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parameter {
    /// Anything.
    Any,
    /// Text.
    Text,
    /// A whole number.
    Integer,
    /// A list of texts.
    Texts,
}

impl Parameter {
    /// Its name in Go, for messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Parameter::Any => "interface {}",
            Parameter::Text => "string",
            Parameter::Integer => "int",
            Parameter::Texts => "[]string",
        }
    }
}

type Run = fn(&[Datum]) -> Result<Datum, String>;

/// A function with its signature. `and` and `or` are evaluated elsewhere, since they need not look at all
/// their arguments; so is `call`, whose failure quotes the argument.
#[derive(Clone, Copy, Debug)]
pub(super) struct Function {
    pub(super) name: &'static str,
    pub(super) parameters: &'static [Parameter],
    /// Further arguments, as many as there are.
    pub(super) more: Option<Parameter>,
    pub(super) run: Run,
}

const fn function(
    name: &'static str,
    parameters: &'static [Parameter],
    more: Option<Parameter>,
    run: Run,
) -> Function {
    Function {
        name,
        parameters,
        more,
        run,
    }
}

const ANY: Option<Parameter> = Some(Parameter::Any);

const FUNCTIONS: &[Function] = &[
    function("and", &[Parameter::Any], ANY, last),
    function("or", &[Parameter::Any], ANY, last),
    function("not", &[Parameter::Any], None, |a| {
        Ok(Datum::Bool(!a[0].truth()))
    }),
    function("len", &[Parameter::Any], None, |a| length(&a[0])),
    function("index", &[Parameter::Any], ANY, |a| match &a[0] {
        Datum::Missing | Datum::Null => Err("index of untyped nil".to_string()),
        value => a[1..].iter().try_fold(value.clone(), index),
    }),
    function("slice", &[Parameter::Any], ANY, slice),
    function("call", &[Parameter::Any], ANY, first),
    function("print", &[], ANY, |a| Ok(Datum::text(verb::print(a)))),
    function("println", &[], ANY, |a| Ok(Datum::text(verb::println(a)))),
    function("printf", &[Parameter::Text], ANY, |a| {
        Ok(Datum::text(verb::printf(text(&a[0]), &a[1..])))
    }),
    function("html", &[], ANY, |a| {
        Ok(Datum::text(escape::html(&escape::plain(a))))
    }),
    function("js", &[], ANY, |a| {
        Ok(Datum::text(escape::javascript(&escape::plain(a))))
    }),
    function("urlquery", &[], ANY, |a| {
        Ok(Datum::text(escape::query(&escape::plain(a))))
    }),
    function("eq", &[Parameter::Any], ANY, |a| {
        comparison::equal(&a[0], &a[1..]).map(Datum::Bool)
    }),
    function("ne", &[Parameter::Any, Parameter::Any], None, |a| {
        comparison::equal(&a[0], &a[1..]).map(|equal| Datum::Bool(!equal))
    }),
    function("lt", &[Parameter::Any, Parameter::Any], None, |a| {
        comparison::ordered(a, Order::Less)
    }),
    function("le", &[Parameter::Any, Parameter::Any], None, |a| {
        comparison::ordered(a, Order::LessOrEqual)
    }),
    function("gt", &[Parameter::Any, Parameter::Any], None, |a| {
        comparison::ordered(a, Order::Greater)
    }),
    function("ge", &[Parameter::Any, Parameter::Any], None, |a| {
        comparison::ordered(a, Order::GreaterOrEqual)
    }),
    function("json", &[Parameter::Any], None, |a| {
        Ok(Datum::text(a[0].json()))
    }),
    function("split", &[Parameter::Text, Parameter::Text], None, split),
    function("join", &[Parameter::Texts, Parameter::Text], None, join),
    function("title", &[Parameter::Text], None, |a| {
        Ok(Datum::text(title(text(&a[0]))))
    }),
    function("lower", &[Parameter::Text], None, |a| {
        Ok(lower(text(&a[0])))
    }),
    function("upper", &[Parameter::Text], None, |a| {
        Ok(upper(text(&a[0])))
    }),
    function(
        "pad",
        &[Parameter::Text, Parameter::Integer, Parameter::Integer],
        None,
        pad,
    ),
    function(
        "truncate",
        &[Parameter::Text, Parameter::Integer],
        None,
        truncate,
    ),
];

/// In the line of headings these leave their text as it is.
const HEADING_FUNCTIONS: &[Function] = &[
    function("json", &[Parameter::Text], None, first),
    function("title", &[Parameter::Text], None, first),
    function("lower", &[Parameter::Text], None, first),
    function("upper", &[Parameter::Text], None, first),
    function(
        "truncate",
        &[Parameter::Text, Parameter::Integer],
        None,
        first,
    ),
];

/// The function called `name`, or what stands for it in a line of headings.
pub(super) fn find(name: &str, heading: bool) -> Option<&'static Function> {
    let named = |function: &&Function| function.name == name;
    HEADING_FUNCTIONS
        .iter()
        .find(named)
        .filter(|_| heading)
        .or_else(|| FUNCTIONS.iter().find(named))
}

fn first(arguments: &[Datum]) -> Result<Datum, String> {
    Ok(arguments[0].clone())
}

fn last(arguments: &[Datum]) -> Result<Datum, String> {
    arguments
        .last()
        .cloned()
        .ok_or_else(|| "no arguments".to_string())
}

/// The text of a parameter that has been checked to be one.
fn text(value: &Datum) -> &str {
    if let Datum::Text(text) = value.pointee() {
        text
    } else {
        ""
    }
}

fn whole(value: &Datum) -> i128 {
    if let Datum::Integer(number) = value.pointee() {
        *number
    } else {
        0
    }
}

fn length(value: &Datum) -> Result<Datum, String> {
    let length = match value.pointee() {
        Datum::Text(text) => text.len(),
        Datum::List(values) => values.len(),
        Datum::Map(map) => map.entries.len(),
        Datum::Nil("<nil>") | Datum::Null => return Err("len of nil pointer".to_string()),
        Datum::Nil(_) => 0,
        Datum::Missing => {
            return Err("reflect: call of reflect.Value.Type on zero Value".to_string());
        }
        _ => return Err(format!("len of type {}", value.dereferenced().kind())),
    };
    Ok(Datum::Integer(length.try_into().unwrap_or(i128::MAX)))
}

fn index(value: Datum, at: &Datum) -> Result<Datum, String> {
    match value.pointee() {
        Datum::Missing | Datum::Null | Datum::Nil("<nil>") => {
            Err("index of nil pointer".to_string())
        }
        Datum::Nil("map[]") if value.kind().ends_with("]string") => Ok(Datum::text("")),
        Datum::Nil("map[]") => Ok(Datum::Null),
        Datum::Nil(_) => {
            place(at, 0)?;
            Err("reflect: slice index out of range".to_string())
        }
        Datum::List(values) => {
            let place = place(at, values.len())?;
            values
                .get(place)
                .cloned()
                .ok_or_else(|| "reflect: slice index out of range".to_string())
        }
        Datum::Text(text) => {
            let place = place(at, text.len())?;
            let byte = text
                .as_bytes()
                .get(place)
                .copied()
                .map(i128::from)
                .map(Datum::Integer);
            byte.ok_or_else(|| "reflect: string index out of range".to_string())
        }
        Datum::Map(map) => match at {
            Datum::Text(_) if map.closed => Err("value has type string".to_string()),
            Datum::Text(key) => Ok(map.entries.get(&**key).unwrap_or(&map.zero).clone()),
            Datum::Missing | Datum::Null => {
                Err("value is nil; should be of type string".to_string())
            }
            other => Err(format!("value has type {}; should be string", other.kind())),
        },
        _ => Err(format!(
            "can't index item of type {}",
            value.dereferenced().kind()
        )),
    }
}

/// `at` as a place in something of this `length`; the end itself is let through.
fn place(at: &Datum, length: usize) -> Result<usize, String> {
    match at.bare() {
        Datum::Integer(number) => {
            let place = usize::try_from(*number)
                .ok()
                .filter(|&place| place <= length);
            place.ok_or_else(|| format!("index out of range: {number}"))
        }
        Datum::Missing | Datum::Null => Err("cannot index slice/array with nil".to_string()),
        _ => Err(format!("cannot index slice/array with type {}", at.kind())),
    }
}

fn slice(arguments: &[Datum]) -> Result<Datum, String> {
    let (value, places) = (&arguments[0], &arguments[1..]);
    if matches!(value, Datum::Missing | Datum::Null) {
        return Err("slice of untyped nil".to_string());
    }
    if places.len() > 3 {
        return Err(format!("too many slice indexes: {}", places.len()));
    }
    let length = match value.bare() {
        Datum::Text(_) if places.len() == 3 => {
            return Err("cannot 3-index slice a string".to_string());
        }
        Datum::Text(text) => text.len(),
        Datum::List(values) => values.len(),
        _ => return Err(format!("can't slice item of type {}", value.kind())),
    };
    let mut bounds = [0, length, length];
    for (bound, at) in bounds.iter_mut().zip(places) {
        *bound = place(at, length)?;
    }
    let [from, to, capacity] = bounds;
    for (low, high) in [(from, to), (to, capacity)] {
        if low > high {
            return Err(format!("invalid slice index: {low} > {high}"));
        }
    }
    let part = match value.bare() {
        Datum::List(values) => Datum::List(Rc::new(values[from..to].to_vec())),
        // A cut through a character leaves what Unicode has for that.
        value => Datum::text(String::from_utf8_lossy(&text(value).as_bytes()[from..to])),
    };
    Ok(match value {
        Datum::Named(kind, _) => Datum::Named(kind, Rc::new(part)),
        _ => part,
    })
}

fn split(arguments: &[Datum]) -> Result<Datum, String> {
    let (whole, separator) = (text(&arguments[0]), text(&arguments[1]));
    let parts: Vec<Datum> = match separator {
        "" => whole.chars().map(|c| Datum::text(c.to_string())).collect(),
        separator => whole.split(separator).map(Datum::text).collect(),
    };
    Ok(Datum::Named(
        "[]string",
        Rc::new(Datum::List(Rc::new(parts))),
    ))
}

fn join(arguments: &[Datum]) -> Result<Datum, String> {
    let Datum::List(values) = arguments[0].pointee() else {
        return Ok(Datum::text(""));
    };
    let texts: Vec<&str> = values.iter().map(text).collect();
    Ok(Datum::text(texts.join(text(&arguments[1]))))
}

/// The first letter of each word in upper case; in ASCII only letters, digits and `_` make words.
fn title(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        shown.push(if inside {
            c
        } else {
            single(c, c.to_uppercase())
        });
        inside = c.is_alphanumeric() || c == '_' || !c.is_ascii() && !c.is_whitespace();
    }
    shown
}

fn lower(text: &str) -> Datum {
    Datum::text(
        text.chars()
            .map(|c| single(c, c.to_lowercase()))
            .collect::<String>(),
    )
}

fn upper(text: &str) -> Datum {
    Datum::text(
        text.chars()
            .map(|c| single(c, c.to_uppercase()))
            .collect::<String>(),
    )
}

/// What `c` is mapped to, if that is one character: `ß` stays as it is, as in Go. Only `İ` loses its dot.
fn single(c: char, mut mapped: impl ExactSizeIterator<Item = char>) -> char {
    if mapped.len() == 1 || c == 'İ' {
        mapped.next().unwrap_or(c)
    } else {
        c
    }
}

/// Spaces before and after a text that is not empty.
fn pad(arguments: &[Datum]) -> Result<Datum, String> {
    let (shown, before, after) = (
        text(&arguments[0]),
        whole(&arguments[1]),
        whole(&arguments[2]),
    );
    if shown.is_empty() {
        return Ok(Datum::text(""));
    }
    if before < 0 || after < 0 {
        return Err("strings: negative Repeat count".to_string());
    }
    let count = |number: i128| {
        usize::try_from(number)
            .ok()
            .filter(|&number| number <= LONGEST)
    };
    match (count(before), count(after)) {
        (Some(before), Some(after)) => {
            Ok(Datum::text(" ".repeat(before) + shown + &" ".repeat(after)))
        }
        _ => Err(format!("more than {LONGEST} spaces")),
    }
}

/// At most so many bytes, and no half characters.
fn truncate(arguments: &[Datum]) -> Result<Datum, String> {
    let (shown, length) = (text(&arguments[0]), whole(&arguments[1]));
    let Ok(length) = usize::try_from(length) else {
        return Err(format!(
            "runtime error: slice bounds out of range [:{length}]"
        ));
    };
    Ok(Datum::text(&shown[..shown.floor_char_boundary(length)]))
}
