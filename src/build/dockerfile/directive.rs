//! Parser directives: `# name=value` at the very top of a file, each at most once.
//! <https://docs.docker.com/reference/dockerfile/#parser-directives>
//!
//! It does not fetch what `syntax` names: we are the frontend ourselves.

use super::instruction::Directives;
use super::nearest::nearest;
use super::part::{Fault, Part};

/// The directives that mean something; others are comments.
const KNOWN: [&str; 3] = ["syntax", "escape", "check"];
/// What may stand in `check`.
const CHECK: [&str; 3] = ["skip", "error", "experimental"];

impl Default for Directives {
    fn default() -> Self {
        Self {
            syntax: None,
            escape: '\\',
            skipped_checks: Vec::new(),
            experimental_checks: Vec::new(),
            warnings_are_errors: false,
        }
    }
}

/// Reads the directives from the first lines on; the number is that of the line which the fault is in.
pub fn read<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Directives, (usize, Fault)> {
    let mut directives = Directives::default();
    let mut seen = Vec::new();
    for (number, line) in lines.enumerate() {
        let Some((name, value)) = directive(line) else {
            break;
        };
        let key = name.text.to_ascii_lowercase();
        let Some(known) = KNOWN.iter().find(|known| **known == key) else {
            continue;
        };
        if seen.contains(known) {
            let fault = name.fault(
                format!("only one {known} parser directive can be used"),
                "keep one of the two lines",
            );
            return Err((number, fault));
        }
        seen.push(known);
        let result = match *known {
            "syntax" => {
                directives.syntax = Some(value.text.to_owned());
                Ok(())
            }
            "escape" => escape(&mut directives, value),
            _ => check(&mut directives, value),
        };
        result.map_err(|fault| (number, fault))?;
    }
    Ok(directives)
}

/// Name and value of a line that has the form of a directive.
fn directive(line: &str) -> Option<(Part<'_>, Part<'_>)> {
    let line = Part::new(line).trim();
    if !line.text.starts_with('#') {
        return None;
    }
    let (name, value) = line.slice(1..line.text.len()).cut('=')?;
    let (name, value) = (name.trim(), value.trim());
    let letters = name
        .text
        .starts_with(|first: char| first.is_ascii_alphabetic())
        && name
            .text
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric());
    (letters && !value.text.is_empty()).then_some((name, value))
}

fn escape(directives: &mut Directives, value: Part<'_>) -> Result<(), Fault> {
    directives.escape = match value.text {
        "\\" => '\\',
        "`" => '`',
        other => {
            return Err(value.fault(
                format!("invalid escape character '{other}'"),
                "expected \\ or `",
            ));
        }
    };
    Ok(())
}

/// `skip=A,B;error=true;experimental=C`.
fn check(directives: &mut Directives, value: Part<'_>) -> Result<(), Fault> {
    let mut rest = Some(value);
    while let Some(part) = rest {
        let (option, behind) = match part.cut(';') {
            Some((option, behind)) => (option.trim(), Some(behind)),
            None => (part.trim(), None),
        };
        rest = behind;
        if option.text.is_empty() {
            continue;
        }
        let Some((key, value)) = option.cut('=') else {
            return Err(unknown_option(option));
        };
        let names = || {
            let names = value.text.split(',').map(|name| name.trim().to_owned());
            names.filter(|name| !name.is_empty()).collect()
        };
        match key.trim().text {
            "skip" => directives.skipped_checks = names(),
            "experimental" => directives.experimental_checks = names(),
            "error" => {
                directives.warnings_are_errors = match value.trim().text {
                    "true" | "True" | "TRUE" | "t" | "T" | "1" => true,
                    "false" | "False" | "FALSE" | "f" | "F" | "0" => false,
                    other => {
                        return Err(value.trim().fault(
                            format!("invalid value '{other}' of the check option 'error'"),
                            "expected true or false",
                        ));
                    }
                };
            }
            _ => return Err(unknown_option(key.trim())),
        }
    }
    Ok(())
}

fn unknown_option(option: Part<'_>) -> Fault {
    let message = match nearest(option.text, CHECK) {
        Some(name) if name != option.text => format!(
            "invalid check option '{}' (did you mean {name}?)",
            option.text
        ),
        _ => format!("invalid check option '{}'", option.text),
    };
    option.fault(
        message,
        "expected skip=all or skip=CHECK,…, error=true, experimental=CHECK,…, with ; between them",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Directives, String> {
        super::read(text.lines()).map_err(|(line, fault)| format!("{line}: {}", fault.message))
    }

    #[test]
    fn only_the_first_lines_count() {
        let cases = [
            ("", None, '\\'),
            ("# escape=`", None, '`'),
            ("#ESCAPE = `  ", None, '`'),
            (
                "# syntax=docker/dockerfile:1\n# escape=`\nFROM a",
                Some("docker/dockerfile:1"),
                '`',
            ),
            ("# unknown=1\n# escape=`", None, '`'),
            ("# a comment\n# escape=`", None, '\\'),
            ("\n# escape=`", None, '\\'),
            ("FROM a\n# escape=`", None, '\\'),
            ("// escape=`", None, '\\'),
        ];
        for (text, syntax, escape) in cases {
            let directives = read(text).unwrap();
            assert_eq!(directives.syntax.as_deref(), syntax, "{text}");
            assert_eq!(directives.escape, escape, "{text}");
        }
    }

    #[test]
    fn checks_are_chosen() {
        let directives =
            read("# check=skip=StageNameCasing, UndefinedVar;error=true;experimental=all").unwrap();
        assert_eq!(
            directives.skipped_checks,
            ["StageNameCasing", "UndefinedVar"]
        );
        assert_eq!(directives.experimental_checks, ["all"]);
        assert!(directives.warnings_are_errors);
    }

    #[test]
    fn wrong_ones_are_told() {
        let cases = [
            (
                "# escape=\\\n# escape=`",
                "1: only one escape parser directive can be used",
            ),
            ("# escape=/", "0: invalid escape character '/'"),
            (
                "# check=skp=all",
                "0: invalid check option 'skp' (did you mean skip?)",
            ),
            (
                "# check=error=maybe",
                "0: invalid value 'maybe' of the check option 'error'",
            ),
            ("# check=all", "0: invalid check option 'all'"),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text).unwrap_err(), expected, "{text}");
        }
    }
}
