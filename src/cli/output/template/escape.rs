//! `html`, `js` and `urlquery`: text made safe for other languages, as Go's functions of these names do it.

use super::datum::Datum;
use super::verb;
use std::fmt::Write;

/// The arguments as one text; what is absent is said so.
pub(super) fn plain(values: &[Datum]) -> String {
    let shown: Vec<Datum> = values
        .iter()
        .map(|value| match value {
            Datum::Missing | Datum::Null => Datum::text("<no value>"),
            value => value.dereferenced().clone(),
        })
        .collect();
    verb::print(&shown)
}

/// For the text and the quoted attributes of HTML.
pub(super) fn html(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\0' => safe.push('\u{fffd}'),
            '"' => safe.push_str("&#34;"),
            '\'' => safe.push_str("&#39;"),
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            c => safe.push(c),
        }
    }
    safe
}

/// For a string of JavaScript.
pub(super) fn javascript(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '\'' | '"' => safe.extend(['\\', c]),
            '<' | '>' | '&' | '=' | '\0'..' ' => {
                let _ = write!(safe, "\\u{:04X}", u32::from(c));
            }
            c if !c.is_ascii() && (c.is_control() || c.is_whitespace()) => {
                let _ = write!(safe, "\\u{:04X}", u32::from(c));
            }
            c => safe.push(c),
        }
    }
    safe
}

/// For the query of a URL.
pub(super) fn query(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                safe.push(char::from(byte))
            }
            b' ' => safe.push('+'),
            byte => {
                let _ = write!(safe, "%{byte:02X}");
            }
        }
    }
    safe
}
