//! Docker's grammar for options, which is that of Go's pflag, on top of clap: `--rm=false`, `-d=true`, `-itd`,
//! `-eK=V`, values that start with a dash, the last of several values wins, and Docker's words for mistakes.
//!
//! It knows nothing of what an option means. Where options stop at the first argument (`run IMAGE ...`) the
//! command's struct says so with `trailing_var_arg`.

use super::command::Command;
use super::{Globals, unsupported};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, CommandFactory};

/// Why a command line was not understood.
#[derive(Debug)]
pub enum Mistake {
    /// Not a mistake: help was asked for.
    Help,
    /// There is no such option.
    Unknown {
        /// As written, without its value: `--publish`, `-p`.
        flag: String,
        /// Docker's sentence.
        message: String,
    },
    /// An option has no value, or one that does not fit; Docker's sentence.
    Value(String),
    /// Too few or too many arguments.
    Count,
}

/// The clap command for one row of the table, with the grammar above.
pub fn build(command: &Command) -> clap::Command {
    let accepted = unsupported::accepted(command.spellings[0]).map(|flag| {
        let action = if flag.value {
            ArgAction::Append
        } else {
            ArgAction::SetTrue
        };
        Arg::new(flag.name)
            .short(flag.short)
            .long(flag.name)
            .hide(true)
            .action(action)
    });
    with_grammar((command.augment)(clap::Command::new(command.spellings[0])).args(accepted))
}

/// The clap command for the options before the command.
pub fn build_global() -> clap::Command {
    with_grammar(Globals::command())
}

/// The clap command for the options before the commands of `runtime`.
pub fn build_of(globals: clap::Command) -> clap::Command {
    with_grammar(globals)
}

fn with_grammar(command: clap::Command) -> clap::Command {
    let help = Arg::new("help")
        .long("help")
        .action(ArgAction::Help)
        .help("Show this text");
    let h_is_taken = command
        .get_arguments()
        .any(|arg| arg.get_short() == Some('h'));
    let help = if h_is_taken {
        help
    } else {
        help.short_alias('h')
    };
    command
        .no_binary_name(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args_override_self(true)
        .arg(help)
        .mut_args(go_grammar)
}

/// Gives one option pflag's grammar.
fn go_grammar(arg: Arg) -> Arg {
    match arg.get_action() {
        _ if arg.is_positional() => arg,
        ArgAction::SetTrue => {
            let default = if arg.get_default_values().is_empty() {
                "false"
            } else {
                "true"
            };
            arg.action(ArgAction::Set)
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
                .default_value(default)
                .value_parser(boolean)
        }
        ArgAction::Set | ArgAction::Append => arg.allow_hyphen_values(true),
        _ => arg,
    }
}

/// The spellings of truth that Go's `strconv.ParseBool` knows.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!(
            "strconv.ParseBool: parsing {text:?}: invalid syntax"
        )),
    }
}

/// Turns clap's error about `words` into Docker's words.
pub fn mistake(error: &clap::Error, built: &clap::Command, words: &[String]) -> Mistake {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    let subject = context(ContextKind::InvalidArg);
    match error.kind() {
        ErrorKind::DisplayHelp => Mistake::Help,
        ErrorKind::UnknownArgument if subject.starts_with('-') => {
            let flag = subject.split(['=', ' ']).next().unwrap_or_default();
            Mistake::Unknown {
                flag: flag.to_owned(),
                message: unknown(flag, words),
            }
        }
        ErrorKind::ValueValidation => {
            let cause = std::error::Error::source(error)
                .map(ToString::to_string)
                .unwrap_or_default();
            let value = context(ContextKind::InvalidValue);
            let flag = both_spellings(built, subject);
            let place = match flag.is_empty() {
                true => String::new(),
                false => format!(" for \"{flag}\" flag"),
            };
            Mistake::Value(format!("invalid argument {value:?}{place}: {cause}"))
        }
        // The same error stands for a value that is missing, which only the last word can be without.
        ErrorKind::InvalidValue => {
            let value = context(ContextKind::InvalidValue);
            let is_empty = |word: &String| word.is_empty() || word.ends_with('=');
            if value.is_empty() && !words.iter().any(is_empty) {
                return Mistake::Value(no_value(words));
            }
            let flag = both_spellings(built, subject);
            let why = match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(valid)) if !valid.is_empty() => {
                    format!("expected {}", valid.join(" or "))
                }
                _ => "it is empty".to_owned(),
            };
            Mistake::Value(format!(
                "invalid argument {value:?} for \"{flag}\" flag: {why}"
            ))
        }
        ErrorKind::UnknownArgument
        | ErrorKind::MissingRequiredArgument
        | ErrorKind::TooFewValues
        | ErrorKind::TooManyValues => Mistake::Count,
        _ => {
            let first = error
                .to_string()
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned();
            Mistake::Value(first.trim_start_matches("error: ").to_owned())
        }
    }
}

/// pflag's sentence for an option that does not exist.
fn unknown(flag: &str, words: &[String]) -> String {
    let Some(letter) = flag
        .strip_prefix('-')
        .filter(|rest| !rest.starts_with('-'))
        .and_then(|rest| rest.chars().next())
    else {
        return format!("unknown flag: {flag}");
    };
    let is_cluster = |word: &&String| {
        word.starts_with('-') && !word.starts_with("--") && word[1..].contains(letter)
    };
    let cluster = words.iter().find(is_cluster).map_or(flag, String::as_str);
    format!("unknown shorthand flag: {letter:?} in {cluster}")
}

/// pflag's sentence for an option at the end whose value is missing.
fn no_value(words: &[String]) -> String {
    let word = words.last().map_or("", String::as_str);
    match word.chars().last() {
        Some(letter) if !word.starts_with("--") => {
            format!("flag needs an argument: {letter:?} in {word}")
        }
        _ => format!("flag needs an argument: {word}"),
    }
}

/// `-e, --env` for `--env <list>`.
fn both_spellings(built: &clap::Command, subject: &str) -> String {
    let long = subject.split(['=', ' ', '[']).next().unwrap_or_default();
    let arg = built.get_arguments().find(|arg| {
        arg.get_long()
            .is_some_and(|name| long == format!("--{name}"))
    });
    match arg.and_then(Arg::get_short) {
        Some(short) => format!("-{short}, {long}"),
        None => long.to_owned(),
    }
}

/// Docker's sentence for too few or too many arguments.
pub fn wrong_count(arity: (usize, Option<usize>), name: &str) -> String {
    let plural = |count| if count == 1 { "argument" } else { "arguments" };
    match arity {
        (_, Some(0)) => format!("'{name}' accepts no arguments"),
        (least, Some(most)) if least == most => {
            format!("'{name}' requires {least} {}", plural(least))
        }
        (0, Some(most)) => format!("'{name}' requires at most {most} {}", plural(most)),
        (least, Some(most)) => format!(
            "'{name}' requires at least {least} and at most {most} {}",
            plural(most)
        ),
        (least, None) => format!("'{name}' requires at least {least} {}", plural(least)),
    }
}
