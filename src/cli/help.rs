//! The text of `--help`, in Docker's layout: usage, what it does, other spellings, options; for the program
//! and for a noun the list of commands. Made from the table of commands and from clap's definitions.

use super::command::{COMMANDS, Command, GROUPS, Section};
use super::flag;
use clap::{Arg, ArgAction};

/// Columns of a line when the terminal does not say otherwise.
pub const WIDTH: usize = 80;

/// The first line: `Usage:  onggi run [OPTIONS] IMAGE [COMMAND] [ARG...]`.
pub fn usage(name: &str, command: &Command) -> String {
    let has_options = flag::build(command)
        .get_arguments()
        .any(|arg| is_shown(arg) && arg.get_id() != "help");
    let options = if has_options { " [OPTIONS]" } else { "" };
    let space = if command.arguments.is_empty() {
        ""
    } else {
        " "
    };
    format!("Usage:  {name}{options}{space}{}", command.arguments)
}

/// The help of one command.
pub fn of_command(program: &str, command: &Command, spelling: &str, width: usize) -> String {
    let mut text = title(&format!("{program} {spelling}"), command);
    if command.spellings.len() > 1 {
        let all: Vec<String> = command
            .spellings
            .iter()
            .map(|spelling| format!("{program} {spelling}"))
            .collect();
        text += &format!("\nAliases:\n  {}\n", all.join(", "));
    }
    text + &options("Options", &flag::build(command), width)
}

/// The help of one command that is called nothing but `name`.
pub fn of_verb(name: &str, command: &Command, width: usize) -> String {
    title(name, command) + &options("Options", &flag::build(command), width)
}

fn title(name: &str, command: &Command) -> String {
    format!("{}\n\n{}\n", usage(name, command), command.about)
}

/// The help of a noun (`onggi container --help`), which is called `name` with the program before it; some have options
/// before their commands.
pub fn of_group(name: &str, noun: &str, about: &str, globals: Option<&clap::Command>) -> String {
    let rows = COMMANDS
        .iter()
        .filter(|command| command.section != Section::Hidden)
        .filter_map(|command| {
            let verb = command
                .spellings
                .iter()
                .find_map(|spelling| spelling.strip_prefix(noun)?.strip_prefix(' '))?;
            Some((verb, command.about))
        });
    let before = globals.map_or("", |_| "[OPTIONS] ");
    let mut text = format!("Usage:  {name} {before}COMMAND\n\n{about}\n");
    text += &list("Commands", rows.collect());
    text += &globals.map_or(String::new(), |globals| options("Options", globals, WIDTH));
    text + &format!("\nRun '{name} COMMAND --help' for more information on a command.\n")
}

/// The help of the program.
pub fn of_program(program: &str, globals: &clap::Command, width: usize) -> String {
    let short = |section| {
        let rows = COMMANDS
            .iter()
            .filter(move |command| command.section == section);
        rows.filter_map(|command| {
            let spelling = command
                .spellings
                .iter()
                .find(|spelling| !spelling.contains(' '))?;
            Some((*spelling, command.about))
        })
    };
    let mut other: Vec<_> = short(Section::Other).collect();
    other.sort_unstable();
    let mut text =
        format!("Usage:  {program} [OPTIONS] COMMAND\n\nRun containers without a daemon\n");
    text += &list("Common Commands", short(Section::Common).collect());
    text += &list("Management Commands", GROUPS.to_vec());
    text += &list("Commands", other);
    text += &options("Global Options", globals, width);
    text + &format!("\nRun '{program} COMMAND --help' for more information on a command.\n")
}

/// Two columns under a title.
fn list(title: &str, rows: Vec<(&str, &str)>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let widest = rows
        .iter()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or_default()
        .max(11);
    let lines: String = rows
        .iter()
        .map(|(name, about)| format!("  {name:widest$} {about}\n"))
        .collect();
    format!("\n{title}:\n{lines}")
}

/// Whether help shows it.
pub fn is_shown(arg: &Arg) -> bool {
    !arg.is_positional() && !arg.is_hide_set()
}

/// The options of a clap command, sorted, with the descriptions wrapped in their column.
fn options(title: &str, command: &clap::Command, width: usize) -> String {
    let mut rows: Vec<(String, String)> = command
        .get_arguments()
        .filter(|arg| is_shown(arg))
        .map(row)
        .collect();
    rows.sort_by(|a, b| a.0[6..].cmp(&b.0[6..]));
    let column = rows
        .iter()
        .map(|(flag, _)| flag.len())
        .max()
        .unwrap_or_default()
        + 3;
    let mut text = format!("\n{title}:\n");
    for (flag, about) in rows {
        let lines = wrap(&about, width.saturating_sub(column).max(24));
        for (number, line) in lines.iter().enumerate() {
            let left = if number == 0 { flag.as_str() } else { "" };
            text += format!("{left:column$}{line}").trim_end();
            text.push('\n');
        }
    }
    text
}

/// `  -e, --env list` and its description with the default.
pub fn row(arg: &Arg) -> (String, String) {
    let short = arg
        .get_short()
        .map_or("      ".to_owned(), |letter| format!("  -{letter}, "));
    let kind = value_kind(arg).map_or(String::new(), |kind| format!(" {kind}"));
    let mut about = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let default: Vec<_> = arg
        .get_default_values()
        .iter()
        .map(|value| value.to_string_lossy())
        .collect();
    match default.join(",").as_str() {
        "" | "false" => {}
        text if kind.is_empty() || text.parse::<i64>().is_ok() => {
            about += &format!(" (default {text})")
        }
        text => about += &format!(" (default {text:?})"),
    }
    (
        format!("{short}--{}{kind}", arg.get_long().unwrap_or_default()),
        about,
    )
}

/// The word that says what a value is: what the option declares, else `list` or `string`.
pub fn value_kind(arg: &Arg) -> Option<String> {
    if !arg.get_action().takes_values() || arg.is_require_equals_set() {
        return None;
    }
    let declared = arg
        .get_value_names()
        .and_then(|names| names.first())
        .map(|name| name.to_string());
    let made_up = arg.get_id().as_str().to_uppercase();
    let by_action = if matches!(arg.get_action(), ArgAction::Append) {
        "list"
    } else {
        "string"
    };
    Some(
        declared
            .filter(|name| *name != made_up)
            .unwrap_or_else(|| by_action.to_owned()),
    )
}

/// Breaks a text into lines of at most `width` columns; line breaks in the text stay.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            if !line.is_empty() && line.len() + 1 + word.len() > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line += word;
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_wrapped_between_words() {
        assert_eq!(wrap("one two three\nfour", 8), ["one two", "three", "four"]);
        assert_eq!(wrap("unbreakable", 3), ["unbreakable"]);
    }
}
