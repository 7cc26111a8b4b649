//! `ARG`, `ENV` and `LABEL`: names with values.
//!
//! Quotes stay in the values, since expansion must see them.

use super::super::instruction::Argument;
use super::super::part::{Fault, Part};
use super::{Input, argument, legacy, usage};

/// `ARG a b=c`.
pub fn arguments(input: &Input<'_>, comments: &[&str]) -> Result<Vec<Argument>, Fault> {
    let words = words(input)?;
    let mut arguments = Vec::new();
    for word in words {
        let (name, default) = match word.cut('=') {
            Some((name, default)) => (name, Some(default.text)),
            None => (word, None),
        };
        check_name(input.name, word, name)?;
        arguments.push(argument(name.text, default, comments));
    }
    Ok(arguments)
}

/// `ENV a=b c=d`, and the old `ENV a b c` whose value is all that is behind the name.
pub fn pairs(input: &mut Input<'_>) -> Result<Vec<(String, String)>, Fault> {
    let words = words(input)?;
    if !words[0].text.contains('=') {
        let (name, value) = input.rest.first_word();
        if value.text.is_empty() {
            return Err(name.fault(
                format!("{} must have two arguments", input.name),
                format!("expected {}", usage(input.name)),
            ));
        }
        input.notes.push(legacy(input.name, input.rest.range()));
        return Ok(vec![(name.text.to_owned(), value.text.to_owned())]);
    }
    let mut pairs = Vec::new();
    for word in words {
        let Some((name, value)) = word.cut('=') else {
            return Err(word.fault(
                format!(
                    "can't find = in '{}'. Must be of the form: name=value",
                    shortened(word.text)
                ),
                "a value with spaces must be quoted",
            ));
        };
        check_name(input.name, word, name)?;
        pairs.push((name.text.to_owned(), value.text.to_owned()));
    }
    Ok(pairs)
}

fn words<'a>(input: &Input<'a>) -> Result<Vec<Part<'a>>, Fault> {
    let rest = input.at_least_one()?;
    let (words, open) = rest.quoted_words(input.escape);
    if open {
        let last = words.last().copied().unwrap_or(rest);
        return Err(last.fault(
            "a quote is left open",
            "expected the same quote again before the end of the line; a quote that is meant needs the escape character before it",
        ));
    }
    Ok(words)
}

fn check_name(instruction: &str, word: Part<'_>, name: Part<'_>) -> Result<(), Fault> {
    if name.text.trim().is_empty() {
        return Err(word.fault(
            format!("{instruction} names can not be blank"),
            format!(
                "expected {}, without spaces around the =",
                usage(instruction)
            ),
        ));
    }
    Ok(())
}

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}
