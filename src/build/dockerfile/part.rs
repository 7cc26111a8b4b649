//! A joined line and parts of it: how words, quotes and JSON lists are told apart before anything is expanded.
//!
//! It knows no instruction. Invariant: a [`Part`] is a piece of its line's text, so that what is wrong with it has a place.

use std::ops::Range;

/// A piece of a joined line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// What it says.
    pub text: &'a str,
    /// The byte of the line that it begins with.
    pub at: usize,
}

/// Something is wrong with a piece of a joined line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Bytes of the line.
    pub range: Range<usize>,
    /// What, on one line.
    pub message: String,
    /// What was expected.
    pub hint: String,
}

/// What separates words; other spaces of Unicode do not.
pub const BLANK: [char; 5] = [' ', '\t', '\r', '\u{b}', '\u{c}'];

impl<'a> Part<'a> {
    /// A whole line.
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Where it stands.
    pub fn range(&self) -> Range<usize> {
        self.at..self.at + self.text.len()
    }

    /// Bytes of it.
    pub fn slice(&self, range: Range<usize>) -> Self {
        Self {
            text: &self.text[range.clone()],
            at: self.at + range.start,
        }
    }

    /// Without spaces at its ends.
    #[must_use]
    pub fn trim(&self) -> Self {
        let start = self.text.len() - self.text.trim_start().len();
        let end = self.text.trim_end().len().max(start);
        self.slice(start..end)
    }

    /// Up to the first byte that is `separator`, and what is behind it.
    pub fn cut(&self, separator: char) -> Option<(Self, Self)> {
        let at = self.text.find(separator)?;
        Some((
            self.slice(0..at),
            self.slice(at + separator.len_utf8()..self.text.len()),
        ))
    }

    /// The first word and the rest, without spaces between them.
    pub fn first_word(&self) -> (Self, Self) {
        let part = self.trim();
        let end = part.text.find(BLANK).unwrap_or(part.text.len());
        (part.slice(0..end), part.slice(end..part.text.len()).trim())
    }

    /// The words, quotes or not.
    pub fn words(&self) -> Vec<Self> {
        let mut words = Vec::new();
        let mut from = 0;
        for piece in self.text.split(BLANK) {
            if !piece.is_empty() {
                words.push(self.slice(from..from + piece.len()));
            }
            from += piece.len() + 1;
        }
        words
    }

    /// The words as they were written; a space within quotes or behind the escape character is part of one. The flag
    /// tells that a quote is left open.
    pub fn quoted_words(&self, escape: char) -> (Vec<Self>, bool) {
        let mut words = Vec::new();
        let mut start = None;
        let mut quote = None;
        let mut characters = self.text.char_indices();
        while let Some((at, character)) = characters.next() {
            if quote.is_none() && character.is_whitespace() {
                if let Some(start) = start.take() {
                    words.push(self.slice(start..at));
                }
                continue;
            }
            start.get_or_insert(at);
            match quote {
                // Within single quotes nothing escapes.
                _ if character == escape && quote != Some('\'') => {
                    characters.next();
                }
                Some(open) if character == open => quote = None,
                None if character == '\'' || character == '"' => quote = Some(character),
                _ => {}
            }
        }
        if let Some(start) = start {
            words.push(self.slice(start..self.text.len()));
        }
        (words, quote.is_some())
    }

    /// A fault of it.
    pub fn fault(&self, message: impl Into<String>, hint: impl Into<String>) -> Fault {
        Fault {
            range: self.range(),
            message: message.into(),
            hint: hint.into(),
        }
    }
}

/// Without quotes and escapes, and whether there were any.
pub fn unquote(text: &str, escape: char) -> (String, bool) {
    let mut plain = String::new();
    let mut quoted = false;
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match quote {
            _ if character == escape && quote != Some('\'') => {
                quoted = true;
                plain.extend(characters.next());
            }
            Some(open) if character == open => quote = None,
            None if character == '\'' || character == '"' => {
                quoted = true;
                quote = Some(character);
            }
            _ => plain.push(character),
        }
    }
    (plain, quoted)
}

/// What a text is that may be a JSON list of words.
#[derive(Debug)]
pub enum List<'a> {
    /// It is one; behind it stands more, or nothing.
    Words(Vec<String>, Part<'a>),
    /// It is a list of other things.
    OtherThings,
    /// It is none.
    Text,
}

/// Tells a JSON list of words from other text. What stands behind the list is given back, since Docker ignores it.
pub fn json_list(part: Part<'_>) -> List<'_> {
    let part = part.trim();
    if !part.text.starts_with('[') {
        return List::Text;
    }
    let mut values =
        serde_json::Deserializer::from_str(part.text).into_iter::<Vec<serde_json::Value>>();
    let Some(Ok(list)) = values.next() else {
        return List::Text;
    };
    let rest = part.slice(values.byte_offset()..part.text.len()).trim();
    let words = list.into_iter().map(|value| match value {
        serde_json::Value::String(word) => Some(word),
        _ => None,
    });
    match words.collect() {
        Some(words) => List::Words(words, rest),
        None => List::OtherThings,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_their_quotes() {
        let cases: &[(&str, &[&str], bool)] = &[
            ("", &[], false),
            ("  a  b\t", &["a", "b"], false),
            ("a='x y' b", &["a='x y'", "b"], false),
            (r#"a="x \" y" b"#, &[r#"a="x \" y""#, "b"], false),
            (r"a=x\ y b", &[r"a=x\ y", "b"], false),
            (r"a='x\' b", &[r"a='x\'", "b"], false),
            ("a='x b", &["a='x b"], true),
            ("a\\", &["a\\"], false),
            ("'' b", &["''", "b"], false),
        ];
        for (text, expected, open) in cases {
            let (words, left_open) = Part::new(text).quoted_words('\\');
            let words: Vec<&str> = words.iter().map(|word| word.text).collect();
            assert_eq!((words.as_slice(), left_open), (*expected, *open), "{text}");
        }
    }

    #[test]
    fn parts_know_their_place() {
        let line = "ENV  a=1\tb";
        let words = Part::new(line).words();
        for word in &words {
            assert_eq!(&line[word.range()], word.text);
        }
        assert_eq!(words.len(), 3);
        let (first, rest) = Part::new("  RUN   x y ").first_word();
        assert_eq!(
            (first.text, first.at, rest.text, rest.at),
            ("RUN", 2, "x y", 8)
        );
    }

    #[test]
    fn a_list_is_json_or_text() {
        let kind = |text| match json_list(Part::new(text)) {
            List::Words(words, rest) => format!("{words:?}{}", rest.text),
            List::OtherThings => "other".to_owned(),
            List::Text => "text".to_owned(),
        };
        assert_eq!(kind(r#" ["a", "b c"] "#), r#"["a", "b c"]"#);
        assert_eq!(kind("[]"), "[]");
        assert_eq!(kind(r#"["a"] # why"#), r#"["a"]# why"#);
        assert_eq!(kind("['a']"), "text");
        assert_eq!(kind(r#"["a", 1]"#), "other");
        assert_eq!(kind(r#"[ "$x" = y ] && z"#), "text");
        assert_eq!(kind("echo"), "text");
    }
}
