//! JSON with the types that Docker's client gives it before a template sees it.
//!
//! `types.txt` is the table. It decides which names exist (`.ID`, not `.Id`), what is there although the JSON
//! lacks it, in which order fields are printed, and what is a pointer.

use crate::cli::output::template::{Datum, Map, Object};
use crate::duration;
use serde_json::Value;
use std::rc::Rc;

const TYPES: &str = include_str!("types.txt");

/// The type of an inspected object, by the field that only this type has.
pub(super) fn of(value: &Value) -> Option<&'static str> {
    let marks = TYPES.lines().filter_map(|line| line.split_once(" means "));
    marks
        .filter(|(key, _)| value.get(key).is_some())
        .map(|(_, kind)| kind)
        .next()
}

/// `value` as Go has it in a variable of type `kind`; nothing is Go's zero.
pub(super) fn typed(kind: &'static str, value: Option<&Value>) -> Datum {
    let value = value.filter(|value| !value.is_null());
    let named = |datum| Datum::Named(kind, Rc::new(datum));
    if let Some(inner) = kind.strip_prefix('*') {
        return match value {
            Some(_) => Datum::Pointer(kind, Rc::new(typed(inner, value))),
            None => named(Datum::Nil("<nil>")),
        };
    }
    if let Some((_, element)) = kind.split_once(']').filter(|_| kind.starts_with('[')) {
        let Some(values) = value.and_then(Value::as_array) else {
            return named(Datum::Nil("[]"));
        };
        let values = values.iter().map(|value| typed(element, Some(value)));
        return named(Datum::List(Rc::new(values.collect())));
    }
    if let Some((key, element)) = kind
        .strip_prefix("map[")
        .and_then(|rest| rest.split_once(']'))
    {
        let Some(fields) = value.and_then(Value::as_object) else {
            return named(Datum::Nil("map[]"));
        };
        let entries = fields
            .iter()
            .map(|(key, value)| (key.clone(), typed(element, Some(value))));
        return named(Datum::Map(Rc::new(Map {
            entries: entries.collect(),
            closed: key != "string",
            zero: typed(element, None),
        })));
    }
    let text = value.and_then(Value::as_str).unwrap_or_default();
    match kind {
        "string" => Datum::text(text),
        "bool" => Datum::Bool(value.and_then(Value::as_bool).unwrap_or_default()),
        "int" => whole(value),
        "int64" | "uint" | "uint16" | "uint64" => named(whole(value)),
        "interface {}" => value.map_or(Datum::Null, Datum::from_json),
        "time.Time" => Datum::Object(Rc::new(Printed::time(text))),
        "time.Duration" => Datum::Object(Rc::new(Printed::duration(value))),
        _ => match alias(kind) {
            Some(other) => match typed(other, value) {
                Datum::Named(_, inner) => Datum::Named(kind, inner),
                plain => named(plain),
            },
            None => Datum::Object(Rc::new(Record::new(kind, value))),
        },
    }
}

fn whole(value: Option<&Value>) -> Datum {
    match value {
        Some(Value::Number(number)) => Datum::number(number),
        _ => Datum::Integer(0),
    }
}

/// The type that `kind` is another name of.
fn alias(kind: &str) -> Option<&'static str> {
    let names = TYPES.lines().filter_map(|line| line.split_once(" is "));
    names
        .filter(|(name, _)| *name == kind)
        .map(|(_, other)| other)
        .next()
}

/// The lines that define `kind`; a type without fields has none.
fn definition(kind: &str) -> impl Iterator<Item = &'static str> {
    let lines = TYPES.lines().skip_while(move |line| *line != kind);
    lines.skip(1).take_while(|line| !line.is_empty())
}

/// One field of a type.
#[derive(Debug)]
struct Field {
    name: &'static str,
    json: &'static str,
    omitted_when_empty: bool,
    /// Its own fields are also fields of the type around it.
    embedded: bool,
    value: Datum,
}

impl Field {
    fn new(line: &'static str, around: Option<&Value>) -> Self {
        if let Some(kind) = line.strip_prefix('+') {
            let name = kind.rsplit(['.', '*']).next().unwrap_or(kind);
            return Self {
                name,
                json: name,
                omitted_when_empty: false,
                embedded: true,
                value: typed(kind, around),
            };
        }
        let (names, kind) = line.split_once(' ').unwrap_or((line, "string"));
        let (name, json) = names.split_once('=').unwrap_or((names, names));
        let json = json.trim_end_matches('?');
        Self {
            name: name.trim_end_matches('?'),
            json,
            omitted_when_empty: names.contains('?'),
            embedded: false,
            value: typed(kind, around.and_then(|value| value.get(json))),
        }
    }
}

/// An object with fixed fields.
#[derive(Debug)]
struct Record {
    kind: &'static str,
    fields: Vec<Field>,
}

impl Record {
    fn new(kind: &'static str, value: Option<&Value>) -> Self {
        let fields = definition(kind).map(|line| Field::new(line, value));
        Self {
            kind,
            fields: fields.collect(),
        }
    }

    /// `"name":value,…` without the braces.
    fn members(&self) -> String {
        let fields = self.fields.iter().filter_map(|field| {
            if field.embedded {
                let json = field.value.json();
                let members = json.strip_prefix('{')?.strip_suffix('}')?;
                return (!members.is_empty()).then(|| members.to_owned());
            }
            let json = field.value.json();
            // A duration is an object here and a number there.
            let is_empty = !field.value.truth() || json == "0";
            (!field.omitted_when_empty || !is_empty).then(|| format!("\"{}\":{json}", field.json))
        });
        fields.collect::<Vec<_>>().join(",")
    }
}

impl Object for Record {
    fn kind(&self) -> &str {
        self.kind
    }

    fn field(&self, name: &str) -> Option<Datum> {
        let own = self.fields.iter().find(|field| field.name == name);
        own.map(|field| field.value.clone()).or_else(|| {
            let embedded = self.fields.iter().filter(|field| field.embedded);
            embedded.filter_map(|field| field.value.field(name)).next()
        })
    }

    fn fields(&self) -> Vec<(String, Datum)> {
        let fields = self.fields.iter();
        fields
            .map(|field| (field.name.to_owned(), field.value.clone()))
            .collect()
    }

    fn json(&self) -> String {
        format!("{{{}}}", self.members())
    }
}

/// A value whose type says how it is printed.
#[derive(Debug)]
struct Printed {
    kind: &'static str,
    text: String,
    json: String,
}

impl Printed {
    /// RFC 3339 as Go prints it: `2026-11-20 08:10:12.25 +0000 UTC`.
    fn time(text: &str) -> Self {
        let text = if text.is_empty() {
            "0001-01-01T00:00:00Z"
        } else {
            text
        };
        let (date, rest) = text.split_once('T').unwrap_or((text, ""));
        let (time, zone) = rest.split_at(rest.find(['Z', '+', '-']).unwrap_or(rest.len()));
        let zone = match zone.replace(':', "").as_str() {
            "Z" | "+0000" => "+0000 UTC".to_owned(),
            zone => format!("{zone} {zone}"),
        };
        Self {
            kind: "time.Time",
            text: format!("{date} {time} {zone}"),
            json: Value::from(text).to_string(),
        }
    }

    fn duration(value: Option<&Value>) -> Self {
        let nanoseconds = value.and_then(Value::as_i64).unwrap_or_default();
        Self {
            kind: "time.Duration",
            text: duration::format(nanoseconds),
            json: nanoseconds.to_string(),
        }
    }
}

impl Object for Printed {
    fn kind(&self) -> &str {
        self.kind
    }

    fn field(&self, _: &str) -> Option<Datum> {
        None
    }

    fn fields(&self) -> Vec<(String, Datum)> {
        Vec::new()
    }

    fn json(&self) -> String {
        self.json.clone()
    }

    fn text(&self) -> Option<String> {
        Some(self.text.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_the_table_is_defined() {
        let defined: Vec<&str> = TYPES
            .split("\n\n")
            .filter_map(|block| block.lines().next())
            .collect();
        for line in TYPES.lines().filter(|line| !line.starts_with('#')) {
            let kind = match (line.split_once(" means "), line.split_once(" is ")) {
                (Some((_, kind)), _) | (_, Some((_, kind))) => kind,
                _ if defined.contains(&line) => continue,
                _ => line
                    .strip_prefix('+')
                    .or(line.split_once(' ').map(|(_, kind)| kind))
                    .unwrap_or("string"),
            };
            let kind = kind.rsplit(['*', ']']).next().unwrap_or(kind);
            let basic = ["string", "bool", "int", "int64", "uint", "uint16", "uint64"]
                .contains(&kind)
                || ["struct {}", "interface {}", "time.Time", "time.Duration"].contains(&kind);
            assert!(
                basic || alias(kind).is_some() || defined.contains(&kind),
                "{kind:?} in {line:?}"
            );
        }
    }
}
