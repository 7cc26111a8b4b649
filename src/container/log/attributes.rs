//! What goes with each line beside its text: labels and variables of the container (`labels`, `labels-regex`, `env`,
//! `env-regex`) and its tag.
//!
//! A tag is Go's template language in Docker; here it is text with the names of [`TAG_FIELDS`] in it, which is what
//! templates of tags consist of. Everything else is refused when the container is made.

use crate::container::record::Record;
use crate::error::{Error, bad_input};
use regex_lite::Regex;
use std::collections::BTreeMap;

/// What may stand between `{{` and `}}`.
pub const TAG_FIELDS: [&str; 7] = [
    ".ID",
    ".FullID",
    ".Name",
    ".ImageID",
    ".ImageFullID",
    ".ImageName",
    ".DaemonName",
];

/// The labels and variables that the options of the log ask for.
pub fn of(record: &Record, options: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let variables = record
        .program
        .environment
        .iter()
        .filter_map(|entry| entry.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    for (name, all) in [("labels", &record.labels), ("env", &variables)] {
        let listed = options.get(name).map_or("", String::as_str);
        let expression = options
            .get(&format!("{name}-regex"))
            .filter(|text| !text.is_empty())
            .and_then(|text| Regex::new(text).ok());
        for (key, value) in all {
            if listed.split(',').any(|wanted| wanted == key)
                || expression
                    .as_ref()
                    .is_some_and(|expression| expression.is_match(key))
            {
                found.insert(key.clone(), value.clone());
            }
        }
    }
    found
}

/// The tag of a container; `template` was checked by [`check_tag`].
pub fn tag(record: &Record, template: &str) -> String {
    let fill = |name: &str| match name {
        ".ID" => record.id[..12].to_owned(),
        ".FullID" => record.id.clone(),
        ".Name" => record.name.clone(),
        ".ImageID" => record.image.hex().chars().take(12).collect(),
        ".ImageFullID" => record.image.to_string(),
        ".ImageName" => record.image_name.clone(),
        _ => "docker".to_owned(),
    };
    expand(template, fill).unwrap_or_default()
}

/// Refuses what [`tag`] could not fill in.
pub fn check_tag(template: &str) -> Result<(), Error> {
    expand(template, |_| String::new()).map(|_| ())
}

fn expand(template: &str, fill: impl Fn(&str) -> String) -> Result<String, Error> {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").ok_or_else(|| {
            bad_input(format!(
                "invalid log tag {template:?}: `{{{{` without `}}}}`"
            ))
        })?;
        let name = name.trim();
        if !TAG_FIELDS.contains(&name) {
            return Err(bad_input(format!(
                "invalid log tag {template:?}: `{name}` is not known"
            ))
            .hint(format!("a tag may have {}", TAG_FIELDS.join(", "))));
        }
        text.push_str(before);
        text.push_str(&fill(name));
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_text_with_names_in_it() {
        let upper = |name: &str| name.to_uppercase();
        for (template, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("a-{{.ID}}/{{ .Name }}", "a-.ID/.NAME"),
        ] {
            assert_eq!(expand(template, upper).unwrap(), expected);
        }
        for (template, message) in [
            ("{{.ID", "invalid log tag \"{{.ID\": `{{` without `}}`"),
            (
                "{{.Nope}}",
                "invalid log tag \"{{.Nope}}\": `.Nope` is not known",
            ),
            (
                "{{if .ID}}",
                "invalid log tag \"{{if .ID}}\": `if .ID` is not known",
            ),
        ] {
            assert_eq!(check_tag(template).unwrap_err().message, message);
        }
    }
}
