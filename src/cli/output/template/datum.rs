//! What a template computes with: JSON, and the few things of Go that JSON does not know.
//!
//! Go tells a value that is not there from a nil inside an interface and from a nil pointer, and a map,
//! which may be asked for any key, from a struct, which may not. All four print and fail differently.

use super::digits;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::rc::Rc;

/// A value.
#[derive(Clone, Debug)]
pub enum Datum {
    /// Not there: a key that a map does not have. Prints as `<no value>`.
    Missing,
    /// JSON's null where anything could have been.
    Null,
    /// A null whose place has a type: the text it prints as is `<nil>`, `[]` or `map[]`.
    Nil(&'static str),
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
            Value::Object(fields) => {
                let entries = fields
                    .iter()
                    .map(|(key, value)| (key.clone(), Self::from_json(value)));
                Datum::Map(Rc::new(Map {
                    entries: entries.collect(),
                    zero: Datum::Null,
                }))
            }
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
    pub(super) fn truth(&self) -> bool {
        match self {
            Datum::Missing | Datum::Null | Datum::Nil(_) => false,
            Datum::Bool(value) => *value,
            Datum::Integer(value) => *value != 0,
            Datum::Float(value) => *value != 0.0,
            Datum::Text(text) => !text.is_empty(),
            Datum::List(values) => !values.is_empty(),
            Datum::Map(map) => !map.entries.is_empty(),
            Datum::Object(_) => true,
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
        }
    }

    /// One line of JSON; `<`, `>` and `&` are left alone.
    pub(super) fn json(&self) -> String {
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
