//! The command line: what was typed becomes plain values, a call, and printed lines.
//!
//! It knows Docker's spellings and nothing of system calls or formats on disk. Nothing prints but
//! [`output`]; nothing ends the process but `main.rs`. Called as `docker` or `podman` it answers under that
//! name. Only the command that was asked for is built, see [`command`].

pub mod build;
pub mod command;
pub mod container;
pub mod filter;
pub mod flag;
pub mod group;
pub mod help;
pub mod image;
pub mod manifest;
pub mod manual;
pub mod network;
pub mod output;
pub mod prune;
pub mod registry;
pub mod runtime;
pub mod system;
pub mod trust;
pub mod unsupported;
pub mod usage;
pub mod value;
pub mod volume;

use crate::cgroup::placement::Manager;
use crate::container::engine::{Engine, GlobalOptions};
use crate::error::{self, Error, Kind, bad_input};
use crate::store::damage;
use anyhow::Result;
use clap::{FromArgMatches, Parser};
use command::Command;
use flag::Mistake;
use output::Output;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use usage::{USAGE, misuse, no_command, program_help, show_help, written};

/// What every command gets.
pub struct Context {
    /// The name it was called by: `onggi`, `docker`, `podman`.
    pub program: String,
    /// Options before the command.
    pub globals: Globals,
    /// Those between `runtime` and its command.
    pub runtime: Option<runtime::Globals>,
    /// What a command below `runtime` runs from, if that is a mount of its own. To close it the kernel waits for all processors
    /// (0.2 ms): something for the time while others work.
    pub sealed: Option<OwnedFd>,
    /// When the program was started, see [`system::hello`].
    pub started: u64,
    /// The only way to print.
    pub output: Output,
}

impl Context {
    /// Those of the options before the command that say where the store is.
    pub fn global_options(&self) -> GlobalOptions {
        GlobalOptions {
            root: self.globals.root.clone(),
            runroot: self.globals.runroot.clone(),
            image_stores: self.globals.imagestore.clone(),
        }
    }

    /// The store that the options before the command name.
    pub fn engine(&mut self) -> Result<Engine> {
        let engine = Engine::open(&self.global_options())?;
        for line in &engine.news {
            self.output.warn(line);
        }
        Ok(engine)
    }
}

/// Options before the command.
#[derive(Debug, Default, Parser)]
pub struct Globals {
    /// Directory of images and containers
    #[arg(long)]
    pub root: Option<PathBuf>,
    /// Directory of what is known in this boot only
    #[arg(long)]
    pub runroot: Option<PathBuf>,
    /// Use the images of this data directory too, which is only read
    #[arg(long, value_name = "directory")]
    pub imagestore: Vec<PathBuf>,
    /// Who makes cgroups: "systemd" or "cgroupfs"
    #[arg(long, value_parser = value::cgroup_manager)]
    pub cgroup_manager: Option<Manager>,
    /// Directory of Docker's client configuration
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Look for descriptions of devices here (default /etc/cdi and /var/run/cdi)
    #[arg(long, value_name = "list")]
    pub cdi_spec_dir: Vec<PathBuf>,
    /// Tell each cause of a failure on a line of its own
    #[arg(short = 'D', long)]
    pub debug: bool,
    /// What to tell beside the data ("debug", "info", "warn", "error", "fatal")
    #[arg(short, long, default_value = "info", value_parser = log_level)]
    pub log_level: String,
    /// Engine to speak to: there is none but this program
    #[arg(short = 'H', long, hide = true)]
    host: Vec<String>,
    /// Docker context: only `default`
    #[arg(short, long, hide = true)]
    context: Option<String>,
    /// Show the version and quit
    #[arg(short, long)]
    version: bool,
    #[arg(trailing_var_arg = true, hide = true)]
    words: Vec<String>,
}

fn log_level(text: &str) -> Result<String, String> {
    let known = ["debug", "info", "warn", "error", "fatal"].contains(&text);
    known
        .then(|| text.to_owned())
        .ok_or_else(|| format!("unable to parse logging level: {text}"))
}

/// Runs the command line; the answer is the exit code of the process.
pub fn main(arguments: impl Iterator<Item = OsString>) -> u8 {
    let started = system::hello::monotonic_now();
    let mut context = Context {
        program: "onggi".to_owned(),
        globals: Globals::default(),
        runtime: None,
        sealed: None,
        started,
        output: Output::standard(),
    };
    let mut words = Vec::new();
    let taken = take_words(&mut context, arguments, &mut words);
    let is_runtime = words.first().is_some_and(|word| word == runtime::NOUN);
    if let Err(error) = taken {
        let code = if is_runtime { 1 } else { USAGE };
        return fail(&mut context, &error, code);
    }
    // Its options come after the word: there are none before it.
    let outcome = match is_runtime {
        true => {
            if let Err(error) = runtime::seal(&mut context, &words) {
                return fail(&mut context, &error, 1);
            }
            Ok(Outcome::Command(words))
        }
        false => globals(&mut context, &words),
    };
    match outcome {
        Ok(Outcome::Done(code)) => code,
        Ok(Outcome::Command(words)) => match runtime::take_globals(&mut context, words) {
            Ok(Outcome::Command(words)) => dispatch(&mut context, &words),
            Ok(Outcome::Done(code)) => code,
            Err(error) => fail(&mut context, &error, 1),
        },
        Err(error) => fail(&mut context, &error, USAGE),
    }
}

/// The words after the program's name. The name itself may stand for one: `docker-compose` is `docker compose`.
fn take_words(
    context: &mut Context,
    mut arguments: impl Iterator<Item = OsString>,
    words: &mut Vec<String>,
) -> Result<()> {
    let path = arguments.next().unwrap_or_default();
    let name = path.to_string_lossy();
    let name = name.rsplit('/').next().unwrap_or_default();
    if runtime::NAMES.contains(&name) {
        name.clone_into(&mut context.program);
        context.output.set_program(name);
        words.push(runtime::NOUN.to_owned());
    }
    if let Some(program) = ["docker", "podman"]
        .into_iter()
        .find(|program| name.starts_with(program))
    {
        program.clone_into(&mut context.program);
        context.output.set_program(program);
        if name.ends_with("-compose") {
            words.push("compose".to_owned());
        }
    }
    for argument in arguments {
        words.push(
            argument
                .into_string()
                .map_err(|raw| bad_input(format!("argument {raw:?} is not valid UTF-8")))?,
        );
    }
    Ok(())
}

/// What the options before the command came to.
enum Outcome {
    Done(u8),
    Command(Vec<String>),
}

/// Takes the options before the command.
fn globals(context: &mut Context, words: &[String]) -> Result<Outcome> {
    let mut built = flag::build_global();
    match built.try_get_matches_from_mut(words) {
        Ok(matches) => context.globals = Globals::from_arg_matches(&matches)?,
        Err(error) => match flag::mistake(&error, &built, words) {
            Mistake::Help => return Ok(Outcome::Done(written(context, &program_help(context)))),
            Mistake::Unknown { message, .. } | Mistake::Value(message) => {
                let usage = format!("Usage:  {} [OPTIONS] COMMAND [ARG...]", context.program);
                return Ok(Outcome::Done(misuse(context, &message, &usage, "")));
            }
            Mistake::Count => return Err(error.into()),
        },
    }
    refuse_other_engines(&context.globals)?;
    if ["error", "fatal"].contains(&context.globals.log_level.as_str()) {
        context.output.suppress_warnings();
    }
    if context.globals.version {
        context
            .output
            .line(system::version::line(&context.program))?;
        return Ok(Outcome::Done(0));
    }
    let words = std::mem::take(&mut context.globals.words);
    if words.is_empty() {
        let help = program_help(context);
        context.output.usage(&help);
        return Ok(Outcome::Done(0));
    }
    Ok(Outcome::Command(words))
}

/// `-H` and `--context` name an engine elsewhere; there is nothing to speak to.
fn refuse_other_engines(globals: &Globals) -> Result<(), Error> {
    let refused = match (globals.host.first(), globals.context.as_deref()) {
        (Some(host), _) => format!("--host {host}"),
        (None, Some(name)) if !["", "default"].contains(&name) => format!("--context {name}"),
        _ => return Ok(()),
    };
    let why = "there is no engine to speak to; containers run on this machine, started by this program itself";
    Err(Error::new(
        Kind::Unsupported,
        format!("{refused} is not supported: {why}"),
    ))
}

/// Finds the command that the words name and runs it.
fn dispatch(context: &mut Context, words: &[String]) -> u8 {
    let (words, help_wanted) = match words {
        [first, rest @ ..] if first == "help" && !rest.is_empty() => (rest, true),
        _ => (words, false),
    };
    match command::find(words) {
        Some((command, spelling)) if help_wanted => show_help(context, command, spelling),
        Some((command, spelling)) => run(context, command, spelling, words),
        None => no_command(context, words, help_wanted),
    }
}

/// Parses the options of one command and carries it out.
fn run(context: &mut Context, command: &Command, spelling: &str, words: &[String]) -> u8 {
    let words = &words[spelling.split(' ').count()..];
    let name = context.called(spelling);
    let mut built = flag::build(command);
    let mut matches = match built.try_get_matches_from_mut(words) {
        Ok(matches) => matches,
        Err(error) => {
            let usage = || help::usage(&name, command);
            return match flag::mistake(&error, &built, words) {
                Mistake::Help => show_help(context, command, spelling),
                Mistake::Unknown { flag, message } => {
                    match unsupported::flag(command.spellings[0], &flag) {
                        Some(error) => fail(context, &error.into(), context.misuse_code()),
                        None => misuse(context, &message, &usage(), spelling),
                    }
                }
                Mistake::Value(message) => misuse(context, &message, &usage(), spelling),
                Mistake::Count => {
                    let message = format!(
                        "{}: {}",
                        context.program,
                        flag::wrong_count(command.arity(), &name)
                    );
                    misuse(context, &message, &usage(), spelling)
                }
            };
        }
    };
    let result = unsupported::check(command.spellings[0], &matches)
        .map_err(Into::into)
        .and_then(|warnings| {
            warnings
                .iter()
                .for_each(|warning| context.output.warn(warning));
            (command.execute)(context, &mut matches)
        });
    for note in damage::take() {
        context.output.warn(note);
    }
    result.unwrap_or_else(|error| fail(context, &error, command.failure))
}

/// What is wrong where somebody may not use the home directory that he was given.
fn home_of_another(error: &anyhow::Error) -> Option<anyhow::Error> {
    use std::os::unix::fs::MetadataExt;
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref());
    let denied = |cause: &std::io::Error| cause.kind() == std::io::ErrorKind::PermissionDenied;
    if !causes.any(denied) || error::hint(error).is_some() {
        return None;
    }
    let home = std::path::PathBuf::from(std::env::var_os("HOME")?);
    let owner = std::fs::metadata(&home).ok()?.uid();
    let message = format!("{error:#}");
    // Of all that lies there, `.local` or `.config`: nothing else is looked for in it without being named.
    let hidden = home.join(".");
    if owner == rustix::process::geteuid().as_raw() || !message.contains(hidden.to_str()?) {
        return None;
    }
    let hint = format!(
        "HOME is `{}`, which belongs to uid {owner}: `sudo -H` and `su -` set that of the user",
        home.display()
    );
    Some(error::Error::new(Kind::Denied, message).hint(hint).into())
}

/// Prints a failure; the answer is the exit code.
fn fail(context: &mut Context, error: &anyhow::Error, general: u8) -> u8 {
    let explained = home_of_another(error);
    let error = explained.as_ref().unwrap_or(error);
    let general = if context.runtime.is_none() && error::kind(error) == Some(Kind::Unsupported) {
        USAGE
    } else {
        general
    };
    context.output.error(error);
    if context.globals.debug || context.globals.log_level == "debug" {
        for cause in error.chain().skip(1) {
            let text = format!("caused by: {cause}");
            match context.runtime {
                Some(_) => context.output.step(text),
                None => context.output.progress(text),
            }
        }
    }
    match context.runtime {
        // Whoever calls a runtime reads the message.
        Some(_) => general,
        None => error::exit_code(error, general),
    }
}
