//! An instruction from its joined line: its name, its flags, and its words in whichever form it takes them.
//!
//! It looks at one line only; what must stand before or behind it is the parser's affair. Nothing is expanded.

mod copy;
mod mount;
mod run;
mod variables;

use super::check::{Rule, rule};
use super::flag::{self, Flags, Kind};
use super::instruction::{Argument, Command, Heredoc, Instruction};
use super::nearest::nearest;
use super::part::{Fault, List, Part, json_list};
use std::ops::Range;

/// All instructions.
pub const NAMES: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// What a line says.
#[derive(Debug)]
pub enum Line<'a> {
    /// A stage begins.
    From(From<'a>),
    /// Something in a stage, or an `ARG` before the first.
    Instruction(Instruction),
}

/// `FROM`.
#[derive(Debug)]
pub struct From<'a> {
    /// The image, stage or `scratch`.
    pub base: &'a str,
    /// `--platform`.
    pub platform: Option<String>,
    /// The word `AS` as it was written, and the name.
    pub name: Option<(Part<'a>, Part<'a>)>,
}

/// Something doubtful in a line.
#[derive(Debug)]
pub struct Note {
    /// Bytes of the joined line.
    pub range: Range<usize>,
    /// None if no check is about it.
    pub rule: Option<&'static Rule>,
    /// What, on one line.
    pub message: String,
}

/// A joined line, taken apart as far as all instructions are alike.
struct Input<'a> {
    name: &'static str,
    /// The name as it was written.
    keyword: Part<'a>,
    flags: Vec<Part<'a>>,
    /// Behind name and flags.
    rest: Part<'a>,
    heredocs: &'a [Heredoc],
    escape: char,
    notes: Vec<Note>,
}

/// Reads a line. `comments` are those right above it.
pub fn line<'a>(
    text: &'a str,
    heredocs: &'a [Heredoc],
    comments: &[&str],
    escape: char,
) -> Result<(Line<'a>, Vec<Note>), Fault> {
    let (keyword, rest) = Part::new(text).first_word();
    let name = name(keyword)?;
    let (flags, rest) = flag::split(rest, escape);
    let mut input = Input {
        name,
        keyword,
        flags,
        rest,
        heredocs,
        escape,
        notes: Vec::new(),
    };
    if name == "FROM" {
        let from = from(&input)?;
        return Ok((Line::From(from), input.notes));
    }
    let instruction = instruction(&mut input, comments)?;
    Ok((Line::Instruction(instruction), input.notes))
}

/// The instruction that a word names, in any casing.
pub fn name(keyword: Part<'_>) -> Result<&'static str, Fault> {
    let word = keyword.text;
    if let Some(name) = NAMES.iter().find(|name| name.eq_ignore_ascii_case(word)) {
        return Ok(name);
    }
    let shown: String = word.chars().take(40).collect();
    let message = format!("unknown instruction: {}", shown.escape_debug());
    let space = word.find(|letter: char| !letter.is_ascii() && letter.is_whitespace());
    let known = space.is_some_and(|at| {
        NAMES
            .iter()
            .any(|name| name.eq_ignore_ascii_case(&word[..at]))
    });
    if !known && let Some(near) = nearest(word, NAMES) {
        return Err(keyword.fault(
            format!("{message} (did you mean {near}?)"),
            format!("a line begins with an instruction such as {near}"),
        ));
    }
    let hint = if known {
        "behind the instruction there is a no-break or other uncommon space; expected a plain one"
    } else if word.starts_with("//") || word.starts_with("--") {
        "a comment begins with #"
    } else {
        "expected an instruction, as FROM or RUN; if it belongs to the line above, that one must end with the escape character"
    };
    Err(keyword.fault(message, hint))
}

fn instruction(input: &mut Input<'_>, comments: &[&str]) -> Result<Instruction, Fault> {
    match input.name {
        "ADD" => return copy::add(input).map(Instruction::Add),
        "COPY" => return copy::copy(input).map(Instruction::Copy),
        "RUN" => return run::run(input).map(Instruction::Run),
        "HEALTHCHECK" => return run::healthcheck(input).map(Instruction::Healthcheck),
        _ => {}
    }
    input.flags(&[])?;
    Ok(match input.name {
        "ARG" => Instruction::Arg(variables::arguments(input, comments)?),
        "CMD" => Instruction::Cmd(input.command()?),
        "ENTRYPOINT" => Instruction::Entrypoint(input.command()?),
        "ENV" => Instruction::Env(variables::pairs(input)?),
        "EXPOSE" => Instruction::Expose(input.at_least_one()?.words().iter().map(owned).collect()),
        "LABEL" => Instruction::Label(variables::pairs(input)?),
        "MAINTAINER" => Instruction::Maintainer(input.one()?),
        "ONBUILD" => Instruction::OnBuild(on_build(input)?),
        "SHELL" => Instruction::Shell(shell(input)?),
        "STOPSIGNAL" => Instruction::StopSignal(input.one()?),
        "USER" => Instruction::User(input.one()?),
        "VOLUME" => Instruction::Volume(volumes(input)?),
        _ => Instruction::Workdir(input.one()?),
    })
}

fn owned(part: &Part<'_>) -> String {
    part.text.to_owned()
}

impl<'a> Input<'a> {
    /// The flags, of those that there are.
    fn flags(&self, known: &[(&'static str, Kind)]) -> Result<Flags, Fault> {
        Flags::read(self.name, &self.flags, self.escape, known)
    }

    /// The rest, which must not be empty.
    fn at_least_one(&self) -> Result<Part<'a>, Fault> {
        if self.rest.text.is_empty() {
            return Err(self.keyword.fault(
                format!("{} requires at least one argument", self.name),
                format!("expected {}", usage(self.name)),
            ));
        }
        Ok(self.rest)
    }

    /// The rest as one word, whatever spaces are in it.
    fn one(&self) -> Result<String, Fault> {
        if self.rest.text.is_empty() {
            return Err(self.keyword.fault(
                format!("{} requires exactly one argument", self.name),
                format!("expected {}", usage(self.name)),
            ));
        }
        Ok(self.rest.text.to_owned())
    }

    /// The rest as a list if it is one in JSON.
    fn list(&mut self) -> Result<Option<Vec<String>>, Fault> {
        match json_list(self.rest) {
            List::Text => Ok(None),
            List::OtherThings => Err(self.rest.fault(
                "when using JSON array syntax, arrays must be comprised of strings only",
                "put each word between double quotes",
            )),
            List::Words(words, rest) => {
                if !rest.text.is_empty() {
                    self.notes.push(Note {
                        range: rest.range(),
                        rule: None,
                        message: format!("{} ignores what stands behind the JSON list", self.name),
                    });
                }
                Ok(Some(words))
            }
        }
    }

    /// Exec form or shell form.
    fn command(&mut self) -> Result<Command, Fault> {
        self.at_least_one()?;
        Ok(match self.list()? {
            Some(words) => Command::Exec(words),
            None => Command::Shell(self.rest.text.to_owned()),
        })
    }

    /// Words of a text that is no list: split at spaces, so that a quote cannot hold one.
    fn plain_words(&self) -> Result<Vec<Part<'a>>, Fault> {
        let words = self.rest.words();
        for word in &words {
            if word.quoted_words(self.escape).1 {
                return Err(word.fault(
                    format!("a quote in {} is left open", word.text),
                    format!(
                        "words with spaces need the JSON form: {} [\"a b\", \"c\"]",
                        self.name
                    ),
                ));
            }
        }
        Ok(words)
    }
}

/// What an instruction looks like.
fn usage(name: &str) -> &'static str {
    match name {
        "ARG" => "ARG NAME[=DEFAULT]",
        "CMD" => "CMD [\"PROGRAM\", \"ARGUMENT\"] or CMD COMMAND",
        "ENTRYPOINT" => "ENTRYPOINT [\"PROGRAM\", \"ARGUMENT\"] or ENTRYPOINT COMMAND",
        "ENV" => "ENV NAME=VALUE",
        "EXPOSE" => "EXPOSE PORT[/PROTOCOL]",
        "HEALTHCHECK" => "HEALTHCHECK [FLAGS] CMD COMMAND or HEALTHCHECK NONE",
        "LABEL" => "LABEL NAME=VALUE",
        "MAINTAINER" => "MAINTAINER NAME",
        "ONBUILD" => "ONBUILD INSTRUCTION",
        "RUN" => "RUN [FLAGS] COMMAND or RUN [\"PROGRAM\", \"ARGUMENT\"]",
        "SHELL" => "SHELL [\"PROGRAM\", \"ARGUMENT\"]",
        "STOPSIGNAL" => "STOPSIGNAL SIGNAL",
        "USER" => "USER NAME[:GROUP]",
        "VOLUME" => "VOLUME PATH or VOLUME [\"PATH\"]",
        "WORKDIR" => "WORKDIR PATH",
        "COPY" => "COPY [FLAGS] SOURCE… DESTINATION",
        "ADD" => "ADD [FLAGS] SOURCE… DESTINATION",
        _ => "FROM IMAGE [AS NAME]",
    }
}

fn from<'a>(input: &Input<'a>) -> Result<From<'a>, Fault> {
    let flags = input.flags(&[("platform", Kind::Text)])?;
    let words = input.rest.words();
    let (base, name) = match words.as_slice() {
        [base] => (base, None),
        [base, keyword, name] if keyword.text.eq_ignore_ascii_case("as") => {
            (base, Some((*keyword, *name)))
        }
        [_, keyword, _] => {
            return Err(keyword.fault(
                format!("unexpected '{}' in FROM", keyword.text),
                "expected AS before the name of the stage",
            ));
        }
        _ => {
            let place = words.get(1).unwrap_or(&input.keyword);
            return Err(place.fault(
                "FROM requires either one or three arguments",
                "expected FROM IMAGE or FROM IMAGE AS NAME",
            ));
        }
    };
    if let Some((_, name)) = name {
        stage_name(name)?;
    }
    Ok(From {
        base: base.text,
        platform: flags.text("platform"),
        name,
    })
}

fn stage_name(name: Part<'_>) -> Result<(), Fault> {
    let first = name
        .text
        .starts_with(|letter: char| letter.is_ascii_alphabetic());
    let rest = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    if first && name.text.chars().all(rest) {
        return Ok(());
    }
    Err(name.fault(
        format!(
            "invalid name for build stage: \"{}\", name can't start with a number or contain symbols",
            name.text
        ),
        "expected a letter, then letters, digits, '-', '_' or '.'",
    ))
}

fn shell(input: &mut Input<'_>) -> Result<Vec<String>, Fault> {
    let usage = usage("SHELL");
    match input.list()? {
        Some(words) if words.is_empty() => Err(input.rest.fault(
            "SHELL requires at least one argument",
            format!("expected {usage}"),
        )),
        Some(words) => Ok(words),
        None => {
            let place = if input.rest.text.is_empty() {
                input.keyword
            } else {
                input.rest
            };
            Err(place.fault(
                "SHELL requires the arguments to be in JSON form",
                format!("expected {usage}"),
            ))
        }
    }
}

fn volumes(input: &mut Input<'_>) -> Result<Vec<String>, Fault> {
    let place = input.at_least_one()?;
    let volumes = match input.list()? {
        Some(words) => words,
        None => input.plain_words()?.iter().map(owned).collect(),
    };
    if volumes.is_empty() {
        return Err(place.fault(
            "VOLUME requires at least one argument",
            format!("expected {}", usage("VOLUME")),
        ));
    }
    if volumes.iter().any(|volume| volume.trim().is_empty()) {
        return Err(place.fault(
            "VOLUME specified can not be an empty string",
            "name a path in each of its words",
        ));
    }
    Ok(volumes)
}

/// The trigger is read to see that it is one, and kept as text: whoever builds on the image reads it again.
fn on_build(input: &Input<'_>) -> Result<String, Fault> {
    let rest = input.at_least_one()?;
    let (keyword, _) = rest.first_word();
    let trigger = name(keyword)?;
    match trigger {
        "ONBUILD" => {
            return Err(keyword.fault(
                "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
                "name an instruction that a build on this image is to make",
            ));
        }
        "FROM" | "MAINTAINER" => {
            return Err(keyword.fault(
                format!("{trigger} isn't allowed as an ONBUILD trigger"),
                "any instruction but FROM, MAINTAINER and ONBUILD may be one",
            ));
        }
        _ => {}
    }
    line(rest.text, input.heredocs, &[], input.escape).map_err(|fault| Fault {
        range: fault.range.start + rest.at..fault.range.end + rest.at,
        ..fault
    })?;
    let mut text = rest.text.to_owned();
    for heredoc in input.heredocs {
        text.push('\n');
        text.push_str(&heredoc.content);
        text.push_str(&heredoc.name);
    }
    Ok(text)
}

/// What the comments say of a name: the one that begins with it.
pub fn description(comments: &[&str], name: &str) -> Option<String> {
    let text = |line: &&str| -> Option<String> {
        let comment = line.trim().trim_start_matches('#').trim();
        let behind = comment.strip_prefix(name)?.strip_prefix(' ')?;
        Some(behind.trim().to_owned())
    };
    comments.iter().find_map(text)
}

/// `ARG NAME` for the arguments that several readers make.
fn argument(name: &str, default: Option<&str>, comments: &[&str]) -> Argument {
    Argument {
        name: name.to_owned(),
        default: default.map(str::to_owned),
        comment: description(comments, name),
    }
}

/// The check that a note is about, for the old form of `ENV` and `LABEL`.
fn legacy(name: &str, range: Range<usize>) -> Note {
    Note {
        range,
        rule: Some(&rule::LEGACY_KEY_VALUE_FORMAT),
        message: format!(
            "\"{name} key=value\" should be used instead of legacy \"{name} key value\" format"
        ),
    }
}
