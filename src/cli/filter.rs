//! `--filter key=value`: which of the listed things are shown.
//!
//! Different keys must all fit; of several values of one key one must, except for labels, of which all must.
//! What a key means is for the command that lists.

use crate::error::{Error, bad_input};
use regex_lite::Regex;
use std::collections::BTreeMap;

/// The filters of one command line.
#[derive(Debug, Default)]
pub struct Filters {
    values: Vec<(String, String)>,
}

/// One filter, as clap parses it.
pub fn parse(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) => Ok((key.trim().to_lowercase(), value.trim().to_owned())),
        None => Err("bad format of filter (expected name=value)".to_owned()),
    }
}

impl Filters {
    /// The parsed filters; a key that the command does not know is an error.
    pub fn new(values: Vec<(String, String)>, known: &[&str]) -> Result<Self, Error> {
        match values
            .iter()
            .find(|(key, _)| !known.contains(&key.as_str()))
        {
            Some((key, _)) => Err(bad_input(format!("invalid filter '{key}'"))),
            None => Ok(Self { values }),
        }
    }

    /// All values of one key.
    pub fn of<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.values
            .iter()
            .filter(move |(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    /// Whether the key was not given, or one of its values fits.
    pub fn any(&self, key: &str, fits: impl Fn(&str) -> bool) -> bool {
        self.of(key).next().is_none() || self.of(key).any(fits)
    }

    /// A filter that is a yes or a no, in Docker's words; the last one counts.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, Error> {
        let mut found = None;
        for value in self.of(key) {
            found = Some(match value {
                "true" | "1" => true,
                "false" | "0" => false,
                _ => return Err(bad_input(format!("invalid filter '{key}=[{value}]'"))),
            });
        }
        Ok(found)
    }

    /// Whether all of `label` (`key` or `key=value`) are among these, and none of `label!`.
    pub fn labels(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = |wanted: &str| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
            None => labels.contains_key(wanted),
        };
        self.of("label").all(has) && !self.of("label!").any(has)
    }
}

/// Whether a regular expression fits a text anywhere; one that is none is taken as it is written.
pub fn expression_fits(expression: &str, text: &str) -> bool {
    expression == text || Regex::new(expression).is_ok_and(|expression| expression.is_match(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(texts: &[&str]) -> Filters {
        let values = texts.iter().map(|text| parse(text).unwrap()).collect();
        Filters::new(values, &["name", "label", "label!"]).unwrap()
    }

    #[test]
    fn values_are_alternatives_and_labels_are_not() {
        let names = filters(&["name=^web", "Name=db$"]);
        for (name, fits) in [("web-1", true), ("my-db", true), ("my-web", false)] {
            assert_eq!(
                names.any("name", |value| expression_fits(value, name)),
                fits,
                "{name}"
            );
        }
        assert!(names.any("label", |_| false));
        let labels = BTreeMap::from([
            ("a".to_owned(), "1".to_owned()),
            ("b".to_owned(), String::new()),
        ]);
        for (texts, fits) in [
            (&["label=a", "label=b"][..], true),
            (&["label=a=1"], true),
            (&["label=a=2"], false),
            (&["label=a", "label=c"], false),
            (&["label!=c"], true),
            (&["label!=a"], false),
        ] {
            assert_eq!(filters(texts).labels(&labels), fits, "{texts:?}");
        }
    }

    #[test]
    fn mistakes_are_told_in_dockers_words() {
        assert_eq!(
            parse("x").unwrap_err(),
            "bad format of filter (expected name=value)"
        );
        let error = Filters::new(vec![("x".into(), "y".into())], &["name"]).unwrap_err();
        assert_eq!(error.message, "invalid filter 'x'");
    }

    #[test]
    fn an_expression_that_is_none_is_text() {
        assert!(expression_fits("a(", "a("));
        assert!(!expression_fits("a(", "a"));
    }
}
