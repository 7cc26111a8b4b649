//! What is printed of the command line itself: help, and what is wrong with one that was not understood.

use super::command::{self, Command};
use super::{Context, fail, flag, help, runtime, unsupported};

/// Exit code of a command line that was not understood, and of everything that Docker has and this has not.
pub(super) const USAGE: u8 = 125;

impl Context {
    /// A command with the name of the program before it; one that is nothing but the runtime has no noun between.
    pub(super) fn called(&self, spelling: &str) -> String {
        let spelling = match runtime::NAMES.contains(&self.program.as_str()) {
            true => spelling.strip_prefix(runtime::NOUN).unwrap_or(spelling),
            false => spelling,
        };
        format!("{} {}", self.program, spelling.trim_start())
            .trim_end()
            .to_owned()
    }

    /// Exit code of a command line that was not understood.
    pub(super) fn misuse_code(&self) -> u8 {
        match self.runtime {
            Some(_) => 1,
            None => USAGE,
        }
    }
}

pub(super) fn program_help(context: &Context) -> String {
    help::of_program(&context.program, &flag::build_global(), help::WIDTH)
}

/// The words name no command: a noun alone, something that is not here, or nothing at all.
pub(super) fn no_command(context: &mut Context, words: &[String], help_wanted: bool) -> u8 {
    let rest: Vec<&str> = words[1..].iter().map(String::as_str).collect();
    if let Some((noun, about)) = command::GROUPS.iter().find(|(noun, _)| *noun == words[0]) {
        let help = match *noun {
            runtime::NOUN => runtime::help(&context.called(noun), about),
            noun => help::of_group(&context.called(noun), noun, about, None),
        };
        match rest.as_slice() {
            ["--help" | "-h", ..] => return written(context, &help),
            [] if help_wanted => return written(context, &help),
            [] => {
                context.output.usage(&help);
                return 0;
            }
            _ => {}
        }
    }
    if words[0] == "help" {
        let help = program_help(context);
        return written(context, &help);
    }
    if let Some(error) = unsupported::command(&context.program, words) {
        return fail(context, &error.into(), USAGE);
    }
    let known = command::GROUPS.iter().any(|(noun, _)| *noun == words[0]);
    let (unknown, place) = match rest.first() {
        Some(verb) if known => (format!("{} {verb}", words[0]), context.called(&words[0])),
        _ => (words[0].clone(), context.program.clone()),
    };
    let message = format!(
        "{}: unknown command: {}",
        context.program,
        context.called(&unknown)
    );
    let more = format!("Run '{place} --help' for more information\n");
    context.output.misuse(&message, &more);
    match context.runtime {
        Some(_) => runtime::UNKNOWN_COMMAND,
        None => USAGE,
    }
}

pub(super) fn show_help(context: &mut Context, command: &Command, spelling: &str) -> u8 {
    let text = match context.runtime {
        Some(_) => help::of_verb(&context.called(spelling), command, help::WIDTH),
        None => help::of_command(&context.program, command, spelling, help::WIDTH),
    };
    written(context, &text)
}

/// Help that was asked for is data.
pub(super) fn written(context: &mut Context, text: &str) -> u8 {
    match context.output.write(text.as_bytes()) {
        Ok(()) => 0,
        Err(error) => fail(context, &error, 1),
    }
}

/// A command line that was not understood, in Docker's layout.
pub(super) fn misuse(context: &mut Context, message: &str, usage: &str, spelling: &str) -> u8 {
    let name = context.called(spelling);
    let more = format!("{usage}\n\nRun '{name} --help' for more information\n");
    context.output.misuse(message, &more);
    context.misuse_code()
}
