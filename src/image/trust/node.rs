//! JSON of which every part must be understood: keys twice in an object, or unknown ones, are errors that tell where.
//! Not for documents that may say more than we know.

use crate::error::{Error, bad_input};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;

/// A value, and where it stands.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    value: &'a Value,
    /// As in `transports.docker["a.org"][0]`; empty at the top.
    place: String,
}

/// Reads a text in which no object has a key twice.
pub fn parse(text: &str) -> Result<Value, Error> {
    match serde_json::from_str(text) {
        Ok(Unique(value)) => Ok(value),
        Err(error) => Err(bad_input(format!("it is no valid JSON: {error}"))),
    }
}

impl<'a> Node<'a> {
    /// The whole document.
    pub fn top(value: &'a Value) -> Self {
        Self {
            value,
            place: String::new(),
        }
    }

    /// What is wrong here.
    pub fn wrong(&self, why: &str) -> Error {
        match self.place.as_str() {
            "" => bad_input(why),
            place => bad_input(format!("{place}: {why}")),
        }
    }

    /// The members of an object whatever they are called.
    pub fn members(&self) -> Result<Vec<(&'a str, Node<'a>)>, Error> {
        let object: &'a Map<String, Value> = self
            .value
            .as_object()
            .ok_or_else(|| self.wrong("it should be an object"))?;
        let member = |(key, value): (&'a String, &'a Value)| (key.as_str(), self.below(key, value));
        Ok(object.iter().map(member).collect())
    }

    /// The members of an object that can have only these.
    pub fn object(&self, known: &[&str]) -> Result<BTreeMap<&'a str, Node<'a>>, Error> {
        let members = self.members()?;
        match members.iter().find(|(key, _)| !known.contains(key)) {
            Some((key, _)) => Err(self.wrong(&format!("the key `{key}` is unknown"))),
            None => Ok(members.into_iter().collect()),
        }
    }

    /// The text `type` of an object.
    pub fn kind(&self) -> Result<&'a str, Error> {
        let members = self.members()?;
        match members.into_iter().find(|(key, _)| *key == "type") {
            Some((_, kind)) => kind.text(),
            None => Err(self.wrong("`type` is missing")),
        }
    }

    /// A text.
    pub fn text(&self) -> Result<&'a str, Error> {
        self.value
            .as_str()
            .ok_or_else(|| self.wrong("it should be a text"))
    }

    /// A list of anything.
    pub fn list(&self) -> Result<Vec<Node<'a>>, Error> {
        let list = self
            .value
            .as_array()
            .ok_or_else(|| self.wrong("it should be a list"))?;
        let item = |(index, value)| Node {
            value,
            place: format!("{}[{index}]", self.place),
        };
        Ok(list.iter().enumerate().map(item).collect())
    }

    /// A list of texts.
    pub fn texts(&self) -> Result<Vec<&'a str>, Error> {
        self.list()?.iter().map(Node::text).collect()
    }

    fn below(&self, key: &str, value: &'a Value) -> Self {
        let simple = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let place = match (simple, self.place.as_str()) {
            (true, "") => key.to_owned(),
            (true, place) => format!("{place}.{key}"),
            (false, place) => format!("{place}[{key:?}]"),
        };
        Self { value, place }
    }
}

/// A value without a key that stands twice in an object.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor).map(Unique)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Unique(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((key, Unique(value))) = members.next_entry::<String, Unique>()? {
            if object.contains_key(&key) {
                return Err(de::Error::custom(format!(
                    "the key `{key}` stands there twice"
                )));
            }
            object.insert(key, value);
        }
        Ok(object.into())
    }
}
