//! All commands in one table: how each is spelled, what it takes, what it is for, and which type does it.
//!
//! A command is three steps: a struct that derives [`clap::Args`] declares its options, the struct is parsed,
//! [`Verb::execute`] turns it into a call of the library. Only the command that was asked for is ever built,
//! which keeps the start of the process short. `docker container run` and `docker run` are one row.

mod table;

use super::Context;
pub use super::group::GROUPS;
use anyhow::Result;
use clap::ArgMatches;
pub use table::COMMANDS;

/// What the options of a command do once they are parsed.
pub trait Verb: clap::Args {
    /// Carries the command out; the answer is the exit code.
    fn execute(self, context: &mut Context) -> Result<u8>;
}

/// One row of the table.
pub struct Command {
    /// Every spelling, the one with the noun first; words are separated by one space.
    pub spellings: &'static [&'static str],
    /// The arguments in the notation of the usage line: `[X]` may be left out, `...` repeats.
    pub arguments: &'static str,
    /// One line of help.
    pub about: &'static str,
    /// Where the short spelling stands in the help of the program.
    pub section: Section,
    /// Exit code of failures that have none of their own: 125 for what starts containers, else 1.
    pub failure: u8,
    /// Adds the options to a clap command.
    pub augment: fn(clap::Command) -> clap::Command,
    /// Takes the parsed options and does it.
    pub execute: fn(&mut Context, &mut ArgMatches) -> Result<u8>,
}

/// Parts of the program's help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// What everyone uses.
    Common,
    /// Everything else.
    Other,
    /// Not shown.
    Hidden,
}

/// A row for the type that carries the command out.
const fn command<V: Verb>(
    spellings: &'static [&'static str],
    arguments: &'static str,
    about: &'static str,
) -> Command {
    Command {
        spellings,
        arguments,
        about,
        section: Section::Other,
        failure: 1,
        augment: V::augment_args,
        execute: |context, matches| V::from_arg_matches_mut(matches)?.execute(context),
    }
}

impl Command {
    /// Shows the short spelling under "Common Commands".
    const fn common(mut self) -> Self {
        self.section = Section::Common;
        self
    }

    /// Failures end with 125: of what starts containers, so that they differ from the exit codes of the
    /// container's program.
    const fn fails_with_125(mut self) -> Self {
        self.failure = 125;
        self
    }

    /// Failures end with 255, so that they differ from the exit codes of most programs.
    const fn fails_with_255(mut self) -> Self {
        self.failure = 255;
        self
    }

    /// Keeps the command out of the help.
    const fn hidden(mut self) -> Self {
        self.section = Section::Hidden;
        self
    }

    /// How many arguments it takes: at least, and at most (`None`: any number).
    pub fn arity(&self) -> (usize, Option<usize>) {
        let words = || self.arguments.split_whitespace();
        let least = words().filter(|word| !word.starts_with('[')).count();
        let most = (!self.arguments.contains("...")).then(|| words().count());
        (least, most)
    }
}

/// The command that the first words name, and how many words that took.
pub fn find(words: &[String]) -> Option<(&'static Command, &'static str)> {
    [2, 1]
        .into_iter()
        .filter(|count| words.len() >= *count)
        .find_map(|count| {
            let wanted = words[..count].join(" ");
            COMMANDS.iter().find_map(|command| {
                command
                    .spellings
                    .iter()
                    .find(|spelling| **spelling == wanted)
                    .map(|spelling| (command, *spelling))
            })
        })
}

#[cfg(test)]
mod tests;
