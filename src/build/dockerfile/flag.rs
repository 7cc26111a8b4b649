//! Flags of instructions: `--name` and `--name=value`, before everything else.
//!
//! Which instruction has which is said where it is read. Quotes and escapes are gone from a value, as in BuildKit.

use super::nearest::nearest;
use super::part::{Fault, Part, unquote};
use std::ops::Range;

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `--name=value`, once.
    Text,
    /// `--name`, `--name=true`, `--name=false`, once.
    Switch,
    /// `--name=value`, as often as one likes.
    List,
}

/// A flag as it was written.
#[derive(Clone, Debug)]
pub struct Flag {
    name: String,
    value: Option<String>,
    /// Where it stands in the joined line.
    pub range: Range<usize>,
}

/// All flags of an instruction, each of which it has.
#[derive(Debug)]
pub struct Flags {
    flags: Vec<Flag>,
}

/// The words that begin with `--`, and what comes behind them. `--` alone ends the flags and is none.
pub fn split(part: Part<'_>, escape: char) -> (Vec<Part<'_>>, Part<'_>) {
    let mut words = Vec::new();
    let mut rest = part.trim();
    while rest.text.starts_with("--") {
        let end = word_end(rest.text, escape);
        let word = rest.slice(0..end);
        rest = rest.slice(end..rest.text.len()).trim();
        if word.text == "--" {
            break;
        }
        words.push(word);
    }
    (words, rest)
}

/// Where the first word ends, with the spaces that are quoted or escaped in it.
fn word_end(text: &str, escape: char) -> usize {
    let mut quote = None;
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match quote {
            None if character.is_whitespace() => return at,
            _ if character == escape => {
                characters.next();
            }
            Some(open) if character == open => quote = None,
            None if character == '\'' || character == '"' => quote = Some(character),
            _ => {}
        }
    }
    text.len()
}

impl Flags {
    /// Reads the flags of an instruction that has these. `instruction` is its name, for messages.
    pub fn read(
        instruction: &str,
        words: &[Part<'_>],
        escape: char,
        known: &[(&'static str, Kind)],
    ) -> Result<Self, Fault> {
        let mut flags: Vec<Flag> = Vec::new();
        for word in words {
            let text = word.slice(2..word.text.len());
            let (name, value) = match text.cut('=') {
                Some((name, value)) => (name, Some(unquote(value.text, escape).0)),
                None => (text, None),
            };
            let Some((_, kind)) = known.iter().find(|(known, _)| *known == name.text) else {
                return Err(unknown(instruction, *word, name.text, known));
            };
            if *kind != Kind::List && flags.iter().any(|flag| flag.name == name.text) {
                return Err(word.fault(
                    format!("duplicate flag specified: {}", name.text),
                    format!("--{} can be given once", name.text),
                ));
            }
            check_value(*word, name.text, value.as_deref(), *kind)?;
            flags.push(Flag {
                name: name.text.to_owned(),
                value,
                range: word.range(),
            });
        }
        Ok(Self { flags })
    }

    /// The value of a [`Kind::Text`].
    pub fn text(&self, name: &str) -> Option<String> {
        self.find(name).and_then(|flag| flag.value.clone())
    }

    /// The same with its place.
    pub fn located(&self, name: &str) -> Option<(&str, Range<usize>)> {
        let flag = self.find(name)?;
        Some((flag.value.as_deref()?, flag.range.clone()))
    }

    /// The value of a [`Kind::Switch`], if it was given.
    pub fn switch(&self, name: &str) -> Option<bool> {
        let flag = self.find(name)?;
        Some(
            !flag
                .value
                .as_deref()
                .is_some_and(|value| value.eq_ignore_ascii_case("false")),
        )
    }

    /// The values of a [`Kind::List`] with their places.
    pub fn list(&self, name: &str) -> impl Iterator<Item = (&str, Range<usize>)> {
        self.flags
            .iter()
            .filter(move |flag| flag.name == name)
            .filter_map(|flag| Some((flag.value.as_deref()?, flag.range.clone())))
    }

    fn find(&self, name: &str) -> Option<&Flag> {
        self.flags.iter().find(|flag| flag.name == name)
    }
}

fn check_value(word: Part<'_>, name: &str, value: Option<&str>, kind: Kind) -> Result<(), Fault> {
    match (kind, value) {
        (Kind::Switch, Some(value))
            if !value.eq_ignore_ascii_case("true") && !value.eq_ignore_ascii_case("false") =>
        {
            Err(word.fault(
                format!("expecting boolean value for flag {name}, not: {value}"),
                format!("expected --{name}, --{name}=true or --{name}=false"),
            ))
        }
        (Kind::Text | Kind::List, None) => Err(word.fault(
            format!("missing a value on flag: {name}"),
            format!("expected --{name}=VALUE"),
        )),
        _ => Ok(()),
    }
}

fn unknown(instruction: &str, word: Part<'_>, name: &str, known: &[(&'static str, Kind)]) -> Fault {
    let names = || known.iter().map(|(name, _)| *name);
    let message = match nearest(name, names()) {
        Some(near) => format!("unknown flag: --{name} (did you mean --{near}?)"),
        None => format!("unknown flag: --{name}"),
    };
    let hint = if known.is_empty() {
        format!("{instruction} has no flags")
    } else {
        let names: Vec<String> = names().map(|name| format!("--{name}")).collect();
        format!("{instruction} has {}", names.join(", "))
    };
    word.fault(message, hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[(&str, Kind)] = &[
        ("from", Kind::Text),
        ("link", Kind::Switch),
        ("exclude", Kind::List),
    ];

    fn read(line: &str) -> Result<(Flags, String), String> {
        let (words, rest) = split(Part::new(line), '\\');
        Flags::read("COPY", &words, '\\', KNOWN)
            .map(|flags| (flags, rest.text.to_owned()))
            .map_err(|fault| format!("{} at {:?}", fault.message, fault.range))
    }

    #[test]
    fn flags_and_the_rest() {
        let (flags, rest) =
            read("--from=a --link --exclude=\"x y\" --exclude=b\\ c  s --d ").unwrap();
        assert_eq!(flags.text("from").as_deref(), Some("a"));
        assert_eq!(flags.switch("link"), Some(true));
        let excludes: Vec<&str> = flags.list("exclude").map(|(value, _)| value).collect();
        assert_eq!(excludes, ["x y", "b c"]);
        assert_eq!(rest, "s --d");
        let (flags, rest) = read("--link=FALSE -- --from=a b").unwrap();
        assert_eq!(
            (flags.switch("link"), rest.as_str()),
            (Some(false), "--from=a b")
        );
        assert_eq!(read("-x y").unwrap().1, "-x y");
    }

    #[test]
    fn wrong_flags_are_told() {
        let cases = [
            (
                "--form=a b c",
                "unknown flag: --form (did you mean --from?) at 0..8",
            ),
            ("--zzzzzzzz", "unknown flag: --zzzzzzzz at 0..10"),
            ("--from a b", "missing a value on flag: from at 0..6"),
            (
                "--from=a --from=b c",
                "duplicate flag specified: from at 9..17",
            ),
            (
                "--link=maybe a",
                "expecting boolean value for flag link, not: maybe at 0..12",
            ),
        ];
        for (line, expected) in cases {
            assert_eq!(read(line).unwrap_err(), expected, "{line}");
        }
    }
}
