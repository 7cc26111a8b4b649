//! `--filter` for lists of images and for pruning, by Docker's rules: values of one key are alternatives (labels
//! must all fit), keys must all fit, and an unknown key is an error.

use super::reference::Reference;
use super::store::{self, Image};
use crate::error::{Error, bad_input};
use crate::paths::Paths;
use anyhow::Result;
use jiff::{SignedDuration, Timestamp, Zoned, civil};
use std::collections::BTreeMap;

/// Keys of `images`.
pub const LIST: &[&str] = &[
    "before",
    "dangling",
    "label",
    "label!",
    "readonly",
    "reference",
    "since",
    "until",
];
/// Keys of `image prune`.
pub const PRUNE: &[&str] = &["dangling", "label", "label!", "until"];

/// What an image must be like.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// With or without tags.
    pub dangling: Option<bool>,
    read_only: Option<bool>,
    labels: Vec<String>,
    no_labels: Vec<String>,
    references: Vec<String>,
    before: Option<Timestamp>,
    since: Option<Timestamp>,
}

impl Filter {
    /// Takes keys with their values; `known` are the keys of the command. `before` and `since` name images.
    pub fn new(paths: &Paths, known: &[&str], pairs: &[(String, String)]) -> Result<Self> {
        let mut filter = Self::default();
        for (key, value) in pairs {
            if !known.contains(&key.as_str()) {
                return Err(bad_input(format!("invalid filter '{key}'")).into());
            }
            match key.as_str() {
                "label" => filter.labels.push(value.to_owned()),
                "label!" => filter.no_labels.push(value.to_owned()),
                "reference" => filter.references.push(value.to_owned()),
                "dangling" => filter.dangling = Some(parse_bool(key, value)?),
                "readonly" => filter.read_only = Some(parse_bool(key, value)?),
                "since" => {
                    let created = store::find(paths, value)?.created;
                    filter.since = filter.since.max(created);
                }
                _ => {
                    let time = match key.as_str() {
                        "before" => store::find(paths, value)?.created,
                        _ => Some(parse_until(value, Timestamp::now())?),
                    };
                    filter.before = [filter.before, time].into_iter().flatten().min();
                }
            }
        }
        Ok(filter)
    }

    /// Adds the name or pattern that `images` takes as an argument.
    pub fn add_reference(&mut self, pattern: &str) {
        self.references.push(pattern.to_owned());
    }

    /// Whether an image fits.
    pub fn matches(&self, image: &Image) -> bool {
        let labels = &image.config.config.labels;
        let is_dangling = image.is_dangling();
        let mut names = image.names.iter().chain(&image.names_elsewhere);
        self.dangling.is_none_or(|dangling| dangling == is_dangling)
            && self
                .read_only
                .is_none_or(|read_only| read_only == image.store.is_some())
            && self.labels.iter().all(|wanted| has_label(labels, wanted))
            && !self
                .no_labels
                .iter()
                .any(|unwanted| has_label(labels, unwanted))
            && self
                .before
                .is_none_or(|before| image.created.is_some_and(|created| created < before))
            && self
                .since
                .is_none_or(|since| image.created.is_some_and(|created| created > since))
            && (self.references.is_empty() || names.any(|name| self.names(name)))
    }

    /// Whether a name of a fitting image is to be shown.
    pub fn names(&self, name: &Reference) -> bool {
        self.references.is_empty()
            || self.references.iter().any(|pattern| {
                // A pattern may be written in full.
                let pattern = pattern.strip_prefix("docker.io/").unwrap_or(pattern);
                let pattern = pattern.strip_prefix("library/").unwrap_or(pattern);
                glob(pattern, &name.to_string()) || glob(pattern, &name.repository())
            })
    }
}

fn has_label(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
        None => labels.contains_key(wanted),
    }
}

fn parse_bool(key: &str, value: &str) -> Result<bool, Error> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(bad_input(format!("invalid filter '{key}=[{value}]'"))),
    }
}

/// A moment: so long before `now` (`24h`), seconds since 1970, or a date with as much of the time as is written.
pub fn parse_until(text: &str, now: Timestamp) -> Result<Timestamp, Error> {
    if let Ok(seconds) = text.parse::<f64>() {
        let time = SignedDuration::try_from_secs_f64(seconds)
            .ok()
            .and_then(|d| Timestamp::from_duration(d).ok());
        return time.ok_or_else(|| bad_input(format!("invalid time `{text}`")));
    }
    if let Ok(duration) = text.parse::<SignedDuration>() {
        return now
            .checked_sub(duration)
            .map_err(|_| bad_input(format!("invalid time `{text}`")));
    }
    let local = |time: civil::DateTime| time.to_zoned(jiff::tz::TimeZone::system()).ok();
    text.parse::<Timestamp>()
        .ok()
        .or_else(|| {
            text.parse::<civil::DateTime>()
                .ok()
                .and_then(local)
                .map(|zoned: Zoned| zoned.timestamp())
        })
        .ok_or_else(|| {
            bad_input(format!(
                "invalid time `{text}`: expected a duration, a date or seconds since 1970"
            ))
        })
}

/// Go's path.Match: `*` and `?` stop at a slash, `[a-z]` and `[^a-z]` are classes, `\` takes the next as it is.
fn glob(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    glob_from(&pattern, &text)
}

fn glob_from(pattern: &[char], text: &[char]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        (['*', rest @ ..], _) => {
            let reach = text.iter().position(|&c| c == '/').unwrap_or(text.len());
            (0..=reach).any(|taken| glob_from(rest, &text[taken..]))
        }
        (['?', rest @ ..], [first, more @ ..]) => *first != '/' && glob_from(rest, more),
        (['[', rest @ ..], [first, more @ ..]) => {
            let Some(end) = rest
                .iter()
                .skip(1)
                .position(|&c| c == ']')
                .map(|end| end + 1)
            else {
                return false;
            };
            in_class(&rest[..end], *first) && glob_from(&rest[end + 1..], more)
        }
        (['\\', wanted, rest @ ..] | [wanted, rest @ ..], [first, more @ ..]) => {
            wanted == first && glob_from(rest, more)
        }
        _ => false,
    }
}

fn in_class(class: &[char], character: char) -> bool {
    let (negated, mut class) = match class {
        ['^', rest @ ..] => (true, rest),
        class => (false, class),
    };
    let mut found = false;
    while let [first, rest @ ..] = class {
        class = match rest {
            ['-', last, after @ ..] => {
                found |= (*first..=*last).contains(&character);
                after
            }
            _ => {
                found |= *first == character;
                rest
            }
        };
    }
    found != negated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_gos() {
        for (pattern, text, expected) in [
            ("alpine*", "alpine:3.20", true),
            ("*", "user/app", false),
            ("*/*", "user/app", true),
            ("al?ine", "alpine", true),
            ("[a-c]lpine", "alpine", true),
            ("[^a-c]lpine", "alpine", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("alpine", "alpine:3.20", false),
            ("[a", "a", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn times_are_relative_or_absolute() {
        let now: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("24h", "2026-11-19T12:00:00Z"),
            ("1h30m", "2026-11-20T10:30:00Z"),
            ("0", "1970-01-01T00:00:00Z"),
            ("1700000000.5", "2023-11-14T22:13:20.5Z"),
            ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ] {
            assert_eq!(
                parse_until(text, now).unwrap().to_string(),
                expected,
                "{text}"
            );
        }
        assert!(parse_until("2026-01-02", now).is_ok() && parse_until("yesterday", now).is_err());
    }

    #[test]
    fn unknown_keys_are_refused_in_dockers_words() {
        let paths = Paths::new("/nonexistent", "/nonexistent");
        let pair = |text: &str| {
            let (key, value) = text.split_once('=').unwrap();
            [(key.to_owned(), value.to_owned())]
        };
        let error = |text: &str| {
            Filter::new(&paths, PRUNE, &pair(text))
                .unwrap_err()
                .to_string()
        };
        assert_eq!(error("reference=x"), "invalid filter 'reference'");
        assert_eq!(error("dangling=maybe"), "invalid filter 'dangling=[maybe]'");
        assert!(Filter::new(&paths, PRUNE, &pair("label!=a=b")).is_ok());
    }
}
