//! Text from values as Go's fmt makes it: `print` and the verbs of `printf`.
//!
//! Floating-point hexadecimal (`%x` of 1.5) and `%p` are told as wrong verbs, since nothing here has them.

use super::LONGEST;
use super::datum::Datum;
use super::digits::{Flags, float, integer, pad};
use super::literal::{quote, quote_with};
use std::fmt::Write;

/// Wider or more precise than this is an error in Go, too.
const WIDEST: usize = 1_000_000;

/// Arguments one after another, with a space where neither neighbour is text.
pub(super) fn print(values: &[Datum]) -> String {
    let mut text = String::new();
    for (index, value) in values.iter().enumerate() {
        let texts = [
            index.checked_sub(1).map(|index| &values[index]),
            Some(value),
        ];
        if index > 0
            && !texts
                .iter()
                .flatten()
                .any(|value| matches!(value.bare(), Datum::Text(_)))
        {
            text.push(' ');
        }
        write(&mut text, Flags::default(), 'v', value, 0);
    }
    text
}

/// Arguments with spaces between them and a new line.
pub(super) fn println(values: &[Datum]) -> String {
    let texts: Vec<String> = values
        .iter()
        .map(|value| print(std::slice::from_ref(value)))
        .collect();
    texts.join(" ") + "\n"
}

/// `format` with its verbs replaced; what does not fit is told in the text, as in `%!d(string=x)`.
pub(super) fn printf(format: &str, values: &[Datum]) -> String {
    let mut printer = Printer {
        rest: format,
        values,
        next: 0,
        reordered: false,
        good: true,
        text: String::new(),
    };
    printer.run();
    printer.text
}

struct Printer<'a> {
    rest: &'a str,
    values: &'a [Datum],
    next: usize,
    /// An explicit index was used, so leftover arguments are no mistake.
    reordered: bool,
    /// The explicit index of the verb at hand exists.
    good: bool,
    text: String,
}

impl Printer<'_> {
    fn run(&mut self) {
        while let Some(offset) = self.rest.find('%') {
            self.text.push_str(&self.rest[..offset]);
            self.rest = &self.rest[offset + 1..];
            self.directive();
            if self.text.len() > LONGEST {
                return;
            }
        }
        self.text.push_str(self.rest);
        if !self.reordered && self.next < self.values.len() {
            let extra: Vec<String> = self.values[self.next..].iter().map(typed).collect();
            let _ = write!(self.text, "%!(EXTRA {})", extra.join(", "));
        }
    }

    fn directive(&mut self) {
        let mut flags = Flags::default();
        self.good = true;
        while let Some(c) = self.rest.chars().next() {
            match c {
                '-' => (flags.minus, flags.zero) = (true, false),
                '+' => flags.plus = true,
                '#' => flags.sharp = true,
                ' ' => flags.space = true,
                '0' => flags.zero = !flags.minus,
                _ => break,
            }
            self.rest = &self.rest[1..];
        }
        let mut indexed = self.index();
        match self.number("%!(BADWIDTH)", &mut indexed) {
            Some(width) if width < 0 => {
                (flags.minus, flags.zero) = (true, false);
                flags.width = usize::try_from(-width).ok();
            }
            width => flags.width = width.and_then(|width| usize::try_from(width).ok()),
        }
        if let Some(rest) = self.rest.strip_prefix('.') {
            self.rest = rest;
            // `%[3].2d` asks for an index that nothing uses.
            self.good &= !indexed;
            indexed = self.index();
            let starred = self.rest.starts_with('*');
            flags.precision = match self.number("%!(BADPREC)", &mut indexed) {
                None if !starred => Some(0),
                Some(precision) if precision < 0 => {
                    self.text.push_str("%!(BADPREC)");
                    None
                }
                precision => precision.and_then(|precision| usize::try_from(precision).ok()),
            };
        }
        if !indexed {
            self.index();
        }
        self.verb(flags);
    }

    /// `[n]`: the argument to take next.
    fn index(&mut self) -> bool {
        let Some(inner) = self.rest.strip_prefix('[') else {
            return false;
        };
        self.reordered = true;
        let Some(end) = inner.find(']') else {
            self.rest = inner;
            self.good = false;
            return false;
        };
        self.rest = &inner[end + 1..];
        match inner[..end].parse::<usize>() {
            Ok(number) if (1..=self.values.len()).contains(&number) => self.next = number - 1,
            _ => self.good = false,
        }
        true
    }

    /// Digits, or `*` for the next argument; nothing if neither is there.
    fn number(&mut self, complaint: &str, indexed: &mut bool) -> Option<i64> {
        if let Some(rest) = self.rest.strip_prefix('*') {
            self.rest = rest;
            *indexed = false;
            let value = self.values.get(self.next);
            self.next += usize::from(value.is_some());
            let widest = i128::try_from(WIDEST).unwrap_or(i128::MAX);
            return match value.map(Datum::bare) {
                Some(Datum::Integer(number)) if (-widest..=widest).contains(number) => {
                    i64::try_from(*number).ok()
                }
                _ => {
                    self.text.push_str(complaint);
                    None
                }
            };
        }
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        if digits.is_empty() {
            return None;
        }
        self.good &= !*indexed;
        match digits
            .parse::<usize>()
            .ok()
            .filter(|&number| number <= WIDEST)
        {
            Some(number) => {
                self.rest = rest;
                i64::try_from(number).ok()
            }
            // Go gives up in the middle of such a number; what is left of it is plain text.
            None => {
                self.rest = "";
                self.text.push_str("%!(NOVERB)");
                None
            }
        }
    }

    fn verb(&mut self, mut flags: Flags) {
        let Some(verb) = self.rest.chars().next() else {
            if !self.text.ends_with("%!(NOVERB)") {
                self.text.push_str("%!(NOVERB)");
            }
            return;
        };
        self.rest = &self.rest[verb.len_utf8()..];
        match self.values.get(self.next) {
            _ if verb == '%' => self.text.push('%'),
            _ if !self.good => {
                let _ = write!(self.text, "%!{verb}(BADINDEX)");
            }
            None => {
                let _ = write!(self.text, "%!{verb}(MISSING)");
            }
            Some(value) => {
                self.next += 1;
                // With `%+v` it is the fields of objects that get their names, not numbers their sign.
                flags.names = verb == 'v' && flags.plus;
                flags.plus &= verb != 'v';
                write(&mut self.text, flags, verb, value, 0);
            }
        }
    }
}

/// `value` under one verb; `depth` is how many lists and maps are around it.
///
/// Where Go shows the address of a pointer, it is what the pointer points to.
fn write(text: &mut String, flags: Flags, verb: char, named: &Datum, depth: usize) {
    let go_syntax = verb == 'v' && flags.sharp;
    match (verb, named.bare()) {
        ('T', _) => pad(text, flags, named.kind()),
        (_, Datum::Pointer(_, value)) => {
            let whole = depth == 0
                && match value.bare() {
                    Datum::Object(object) => object.text().is_none(),
                    value => matches!(value, Datum::List(_) | Datum::Map(_)),
                };
            text.push_str(if whole { "&" } else { "" });
            write(text, flags, verb, value, depth);
        }
        (_, Datum::Nil("<nil>")) if go_syntax => {
            let _ = write!(text, "({})(nil)", named.kind());
        }
        (_, Datum::Nil(_)) if go_syntax => {
            let _ = write!(text, "{}(nil)", named.kind());
        }
        ('b' | 'o' | 'd' | 'x' | 'X', Datum::Nil("<nil>")) => integer(text, flags, verb, 0),
        ('v', Datum::Nil("<nil>")) => pad(text, flags, "<nil>"),
        (_, Datum::Nil(shown @ ("[]" | "map[]"))) => text.push_str(shown),
        (_, Datum::Missing | Datum::Null) if go_syntax && depth > 0 => {
            text.push_str("interface {}(nil)")
        }
        (_, Datum::Missing | Datum::Null) if verb == 'v' || depth > 0 => pad(text, flags, "<nil>"),
        ('v' | 't', Datum::Bool(value)) => pad(text, flags, if *value { "true" } else { "false" }),
        ('v', Datum::Text(value)) if go_syntax => pad(text, flags, &quote(value)),
        ('v' | 's', Datum::Text(value)) => pad(text, flags, &cut(flags, value)),
        ('q', Datum::Text(value)) => pad(text, flags, &quoted(flags, &cut(flags, value))),
        ('x' | 'X', Datum::Text(value)) => {
            pad(text, flags, &hexadecimal(flags, value, verb == 'X'))
        }
        ('v' | 'd' | 'b' | 'o' | 'O' | 'x' | 'X' | 'c' | 'q' | 'U', Datum::Integer(value)) => {
            integer(text, flags, verb, *value);
        }
        ('v' | 'e' | 'E' | 'f' | 'F' | 'g' | 'G', Datum::Float(value)) => {
            float(text, flags, verb, *value)
        }
        (_, Datum::List(values)) => {
            if go_syntax {
                let _ = write!(text, "{}{{", named.kind());
            } else {
                text.push('[');
            }
            sequence(
                text,
                flags,
                verb,
                values.iter().map(|value| (None, value)),
                depth,
            );
            text.push(if go_syntax { '}' } else { ']' });
        }
        (_, Datum::Map(map)) => {
            if go_syntax {
                let _ = write!(text, "{}{{", named.kind());
            } else {
                text.push_str("map[");
            }
            let entries = map
                .entries
                .iter()
                .map(|(key, value)| (Some(Datum::text(key.as_str())), value));
            sequence(text, flags, verb, entries, depth);
            text.push(if go_syntax { '}' } else { ']' });
        }
        ('v' | 's', Datum::Object(object)) if object.text().is_some() => {
            pad(text, flags, &object.text().unwrap_or_default());
        }
        (_, Datum::Object(object)) => {
            text.push('{');
            for (index, (name, value)) in object.fields().iter().enumerate() {
                text.push_str(if index > 0 { " " } else { "" });
                if flags.names || go_syntax {
                    let _ = write!(text, "{name}:");
                }
                write(text, flags, verb, value, depth + 1);
            }
            text.push('}');
        }
        (_, Datum::Missing | Datum::Null) => {
            let _ = write!(text, "%!{verb}(<nil>)");
        }
        _ => {
            let _ = write!(text, "%!{verb}({}=", named.kind());
            write(text, flags, 'v', named, 0);
            text.push(')');
        }
    }
}

fn sequence<'a>(
    text: &mut String,
    flags: Flags,
    verb: char,
    entries: impl Iterator<Item = (Option<Datum>, &'a Datum)>,
    depth: usize,
) {
    let separator = if flags.sharp && verb == 'v' {
        ", "
    } else {
        " "
    };
    for (index, (key, value)) in entries.enumerate() {
        if index > 0 {
            text.push_str(separator);
        }
        if text.len() > LONGEST {
            return;
        }
        if let Some(key) = key {
            write(text, flags, verb, &key, depth + 1);
            text.push(':');
        }
        write(text, flags, verb, value, depth + 1);
    }
}

/// `string=x`, as in the complaint about a wrong verb.
fn typed(value: &Datum) -> String {
    match value {
        Datum::Missing | Datum::Null => "<nil>".to_string(),
        value => format!("{}={}", value.kind(), print(std::slice::from_ref(value))),
    }
}

fn cut(flags: Flags, text: &str) -> String {
    text.chars()
        .take(flags.precision.unwrap_or(usize::MAX))
        .collect()
}

fn hexadecimal(flags: Flags, text: &str, upper: bool) -> String {
    let prefix = if upper { "0X" } else { "0x" };
    let bytes = text.as_bytes();
    let bytes = &bytes[..bytes.len().min(flags.precision.unwrap_or(usize::MAX))];
    let mut shown = String::with_capacity(bytes.len() * 2);
    for (index, byte) in bytes.iter().enumerate() {
        if index > 0 && flags.space {
            shown.push(' ');
        }
        if flags.sharp && (index == 0 || flags.space) {
            shown.push_str(prefix);
        }
        let _ = if upper {
            write!(shown, "{byte:02X}")
        } else {
            write!(shown, "{byte:02x}")
        };
    }
    shown
}

/// `%q`: back quotes if asked for and possible.
fn quoted(flags: Flags, text: &str) -> String {
    let plain = |c: char| c != '`' && c != '\u{feff}' && (c == '\t' || !c.is_control());
    match flags.sharp && text.chars().all(plain) {
        true => format!("`{text}`"),
        false => quote_with(flags.plus, '"', text),
    }
}
