//! What a template computes with: JSON, and the few things of Go that JSON does not know.
//!
//! Go tells a value that is not there from a nil inside an interface and from a nil pointer, and a map,
//! which may be asked for any key, from a struct, which may not. All four print and fail differently.

use super::digits;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::rc::Rc;

/// The type of numbers in [`Datum::untyped`].
const JSON_NUMBER: &str = "json.Number";

/// A value.
#[derive(Clone, Debug)]
pub enum Datum {
    /// Not there: a key that a map does not have. Prints as `<no value>`.
    Missing,
    /// JSON's null where anything could have been.
    Null,
    /// A null whose place has a type: the text it prints as is `<nil>`, `[]` or `map[]`.
    Nil(&'static str),
    /// A value whose type in Go is not the one that its JSON suggests: `int64`, `[]string`, `json.Number`.
    Named(&'static str, Rc<Datum>),
    /// Go's pointer to a value, with its type: true even if the value is not, and no number to compare with.
    Pointer(&'static str, Rc<Datum>),
    /// A truth value.
    Bool(bool),
    /// A whole number; never rounded.
    Integer(i128),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(Rc<str>),
    /// Values in order.
    List(Rc<Vec<Datum>>),
    /// Values by key.
    Map(Rc<Map>),
    /// Something with named fields, and perhaps methods.
    Object(Rc<dyn Object>),
}

/// A map; any key may be asked for.
#[derive(Clone, Debug)]
pub struct Map {
    /// In the order in which loops see them.
    pub entries: BTreeMap<String, Datum>,
    /// The keys have a type of their own, and no text of a template is one: loops only.
    pub closed: bool,
    /// What `index` gives for a key that is not there.
    pub zero: Datum,
}

/// A method of an object, which takes one text: nothing more is needed.
pub type Method<'a> = Box<dyn Fn(&str) -> Datum + 'a>;

/// Named fields, of which only these may be asked for.
pub trait Object: Debug {
    /// The name of the type, for messages.
    fn kind(&self) -> &str;
    /// The field called `name`.
    fn field(&self, name: &str) -> Option<Datum>;
    /// All fields, in the order in which they are printed.
    fn fields(&self) -> Vec<(String, Datum)>;
    /// As the function `json` writes it, on one line.
    fn json(&self) -> String {
        let fields: Vec<String> = self
            .fields()
            .iter()
            .map(|(name, value)| format!("{}:{}", json_text(name), value.json()))
            .collect();
        format!("{{{}}}", fields.join(","))
    }
    /// What it prints as, if not as its fields.
    fn text(&self) -> Option<String> {
        None
    }
    /// The method called `name`.
    fn method(&self, name: &str) -> Option<Method<'_>> {
        let _ = name;
        None
    }
}

impl Datum {
    /// Text.
    pub fn text(text: impl Into<Rc<str>>) -> Self {
        Datum::Text(text.into())
    }

    /// JSON as Docker's client reads it where it knows no type: a number is text that is not quoted.
    pub fn untyped(value: &Value) -> Self {
        match value {
            Value::Number(number) => {
                let text = match number.as_f64().filter(|_| number.is_f64()) {
                    Some(float) => digits::json_float(float),
                    None => number.to_string(),
                };
                Datum::Named(JSON_NUMBER, Rc::new(Datum::text(text)))
            }
            Value::Array(values) => {
                Datum::List(Rc::new(values.iter().map(Self::untyped).collect()))
            }
            Value::Object(fields) => Self::map(
                fields
                    .iter()
                    .map(|(key, value)| (key.clone(), Self::untyped(value))),
            ),
            other => Self::from_json(other),
        }
    }

    /// The field of an object, or of that to which a pointer leads.
    pub fn field(&self, name: &str) -> Option<Datum> {
        match self.pointee() {
            Datum::Object(object) => object.field(name),
            _ => None,
        }
    }

    /// A map of anything.
    fn map(entries: impl Iterator<Item = (String, Datum)>) -> Self {
        Datum::Map(Rc::new(Map {
            entries: entries.collect(),
            closed: false,
            zero: Datum::Null,
        }))
    }

    /// The value under its names.
    pub(super) fn bare(&self) -> &Datum {
        match self {
            Datum::Named(_, value) => value.bare(),
            value => value,
        }
    }

    /// The value under its names and behind its pointers.
    pub(super) fn pointee(&self) -> &Datum {
        match self {
            Datum::Named(_, value) | Datum::Pointer(_, value) => value.pointee(),
            value => value,
        }
    }

    /// What a pointer points to, with its names.
    pub(super) fn dereferenced(&self) -> &Datum {
        match self {
            Datum::Pointer(_, value) => value.dereferenced(),
            value => value,
        }
    }

    /// JSON with every object as a map.
    pub fn from_json(value: &Value) -> Self {
        match value {
            Value::Null => Datum::Null,
            Value::Bool(value) => Datum::Bool(*value),
            Value::Number(number) => Self::number(number),
            Value::String(text) => Self::text(text.as_str()),
            Value::Array(values) => {
                Datum::List(Rc::new(values.iter().map(Self::from_json).collect()))
            }
            Value::Object(fields) => Self::map(
                fields
                    .iter()
                    .map(|(key, value)| (key.clone(), Self::from_json(value))),
            ),
        }
    }

    /// Whole numbers stay whole.
    pub fn number(number: &serde_json::Number) -> Self {
        match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => Datum::Integer(value.into()),
            (_, Some(value)) => Datum::Integer(value.into()),
            _ => Datum::Float(number.as_f64().unwrap_or_default()),
        }
    }

    /// Whether it counts as true: neither zero nor empty nor absent.
    pub fn truth(&self) -> bool {
        match self {
            Datum::Missing | Datum::Null | Datum::Nil(_) => false,
            Datum::Bool(value) => *value,
            Datum::Integer(value) => *value != 0,
            Datum::Float(value) => *value != 0.0,
            Datum::Text(text) => !text.is_empty(),
            Datum::List(values) => !values.is_empty(),
            Datum::Map(map) => !map.entries.is_empty(),
            Datum::Object(_) | Datum::Pointer(..) => true,
            Datum::Named(_, value) => value.truth(),
        }
    }

    /// The name of its type in Go, for messages.
    pub(super) fn kind(&self) -> &str {
        match self {
            Datum::Missing | Datum::Null => "<nil>",
            Datum::Nil(_) => "nil",
            Datum::Bool(_) => "bool",
            Datum::Integer(_) => "int",
            Datum::Float(_) => "float64",
            Datum::Text(_) => "string",
            Datum::List(_) => "[]interface {}",
            Datum::Map(_) => "map[string]interface {}",
            Datum::Object(object) => object.kind(),
            Datum::Named(kind, _) | Datum::Pointer(kind, _) => kind,
        }
    }

    /// One line of JSON; `<`, `>` and `&` are left alone.
    pub fn json(&self) -> String {
        match self {
            Datum::Missing | Datum::Null | Datum::Nil(_) => "null".to_string(),
            Datum::Bool(value) => value.to_string(),
            Datum::Integer(value) => value.to_string(),
            Datum::Float(value) => digits::json_float(*value),
            Datum::Text(text) => json_text(text),
            Datum::List(values) => {
                format!(
                    "[{}]",
                    values.iter().map(Datum::json).collect::<Vec<_>>().join(",")
                )
            }
            Datum::Map(map) => {
                let entries = map
                    .entries
                    .iter()
                    .map(|(key, value)| format!("{}:{}", json_text(key), value.json()));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
            }
            Datum::Object(object) => object.json(),
            Datum::Named(JSON_NUMBER, value) => match &**value {
                Datum::Text(text) => text.to_string(),
                value => value.json(),
            },
            Datum::Named(_, value) | Datum::Pointer(_, value) => value.json(),
        }
    }
}

/// `text` as JSON; the two line separators of Unicode are escaped since they end lines in JavaScript.
pub(super) fn json_text(text: &str) -> String {
    Value::from(text)
        .to_string()
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}
