//! `runtime`: containers of bundles, in the words of runc and crun, under whose names this program answers likewise.
//! Programs call it: podman, containerd, Docker, CRI-O.
//!
//! Its options before the command are its own, and what it has to say goes to the log that they name.

pub mod checkpoint;
pub mod create;
pub mod describe;
pub mod events;
pub mod exec;
pub mod list;
pub mod operate;
pub mod update;

use super::flag::{self, Mistake};
use super::output::log_file::Format;
use super::{Context, Outcome};
use crate::cgroup::placement::Manager;
use crate::error::bad_input;
use crate::paths::bundle::BundlePaths;
use crate::runtime::bundle::VERSIONS;
use crate::runtime::lifecycle::{self, Access, Container, Containers};
use crate::sys::namespace;
use anyhow::Result;
use clap::{CommandFactory, FromArgMatches, Parser};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::path::PathBuf;

/// The noun of its commands.
pub const NOUN: &str = "runtime";

/// Names under which the program is nothing else.
pub const NAMES: [&str; 3] = ["onggi-runtime", "runc", "crun"];

/// Options before the command.
#[derive(Debug, Default, Parser)]
pub struct Globals {
    /// Directory of the containers' state
    #[arg(long)]
    pub root: Option<PathBuf>,
    /// Tell errors in this file too, and warnings there alone
    #[arg(long)]
    pub log: Option<PathBuf>,
    /// How: "text" or "json"
    #[arg(long, default_value = "text", value_parser = Format::parse)]
    pub log_format: Format,
    /// Tell each step, and each cause of a failure on a line of its own
    #[arg(long)]
    pub debug: bool,
    /// Control groups are systemd's, and cgroupsPath is slice:prefix:name
    #[arg(long)]
    pub systemd_cgroup: bool,
    /// Accepted: what the caller may do is found by trying
    #[arg(long, default_value = "auto")]
    pub rootless: String,
    /// The criu that makes checkpoints, by its name in PATH or its path
    #[arg(long, default_value = "criu")]
    pub criu: String,
    /// Who makes control groups: "cgroupfs", "systemd" or, for none at all, "disabled"; crun's option
    #[arg(long, value_name = "manager", value_parser = group_manager)]
    pub cgroup_manager: Option<GroupManager>,
    /// Set where this program has executed itself again
    #[arg(long, hide = true)]
    pub entered: bool,
    /// Show the version and quit
    #[arg(short, long)]
    pub version: bool,
    /// All words after `runtime`.
    #[arg(skip)]
    given: Vec<String>,
    #[arg(trailing_var_arg = true, hide = true)]
    words: Vec<String>,
}

/// Who makes control groups, if anybody.
#[derive(Clone, Copy, Debug)]
pub struct GroupManager(Option<Manager>);

fn group_manager(word: &str) -> Result<GroupManager, String> {
    let manager = Manager::from_word(word);
    match manager.is_some() || word == "disabled" {
        true => Ok(GroupManager(manager)),
        false => Err("it is not cgroupfs, systemd or disabled".to_owned()),
    }
}

/// Exit code where there is no such command, as of runc; it has 1 for every other command line that it does not understand.
pub const UNKNOWN_COMMAND: u8 = 3;

/// Commands that make a process inside a container.
const ENTERING: [&str; 3] = ["create", "run", "exec"];

/// Lets this process run from a sealed copy where one of these commands may be meant: before anything else is done, which
/// would have to be done again if it is executed once more.
pub(super) fn seal(context: &mut Context, words: &[String]) -> Result<()> {
    if words.iter().any(|word| ENTERING.contains(&word.as_str())) {
        context.sealed = lifecycle::seal_as_root()?;
    }
    Ok(())
}

/// Takes the options between `runtime` and its command.
pub(super) fn take_globals(context: &mut Context, words: Vec<String>) -> Result<Outcome> {
    if words[0] != NOUN || words.len() == 1 {
        return Ok(Outcome::Command(words));
    }
    context.output.hint_of_bundles();
    let mut built = flag::build_of(Globals::command());
    let mut globals = match built.try_get_matches_from_mut(&words[1..]) {
        Ok(matches) => Globals::from_arg_matches(&matches)?,
        Err(error) => {
            let mistake = flag::mistake(&error, &built, &words[1..]);
            if let Mistake::Help = mistake {
                return Ok(Outcome::Command(vec![NOUN.to_owned(), "--help".to_owned()]));
            }
            log_mistake(context, built, &words[1..]);
            return Err(match mistake {
                Mistake::Unknown { message, .. } | Mistake::Value(message) => {
                    bad_input(message).into()
                }
                _ => error.into(),
            });
        }
    };
    if globals.version {
        context.output.write(version(&context.program).as_bytes())?;
        return Ok(Outcome::Done(0));
    }
    context.globals.debug |= globals.debug;
    if let Some(path) = &globals.log {
        context.output.log_to(path, globals.log_format)?;
    }
    if globals.debug {
        context.output.tell_steps(globals.log_format);
        let (name, version) = (&context.program, env!("CARGO_PKG_VERSION"));
        (context.output).step(format!("{name} {version}: {}", words[1..].join(" ")));
    }
    let mut rest = std::mem::take(&mut globals.words);
    globals.given = words[1..].to_vec();
    context.runtime = Some(globals);
    let is_help = rest.first().is_some_and(|word| word == "help");
    let before = match is_help {
        true => vec![rest.remove(0), NOUN.to_owned()],
        false => vec![NOUN.to_owned()],
    };
    Ok(Outcome::Command(before.into_iter().chain(rest).collect()))
}

/// Lets the mistake in `words` go to the log that they name all the same: it is what callers read.
fn log_mistake(context: &mut Context, built: clap::Command, words: &[String]) {
    let understood = built.ignore_errors(true).try_get_matches_from(words);
    let globals = understood.and_then(|matches| Globals::from_arg_matches(&matches));
    let Ok(globals) = globals else { return };
    if let Some(path) = &globals.log {
        // Without it the mistake is told on standard error, as it is anyway.
        let _ = context.output.log_to(path, globals.log_format);
    }
    context.runtime = Some(globals);
}

/// Its commands, and the options before them.
pub fn help(program: &str, about: &str) -> String {
    let globals = flag::build_of(Globals::command());
    super::help::of_group(program, NOUN, about, Some(&globals))
}

/// What callers read of `--version`: the first line, and that of the specification.
fn version(program: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!("{program} version {version}\nspec: {}\n", VERSIONS[1])
}

impl Context {
    /// Who makes control groups, unless nobody is to.
    fn group_manager(&self) -> Option<Manager> {
        match &self.runtime {
            Some(globals) if globals.systemd_cgroup => Some(Manager::Systemd),
            Some(Globals {
                cgroup_manager: Some(asked),
                ..
            }) => asked.0,
            _ => Some(Manager::Cgroupfs),
        }
    }

    /// The containers of the state root that the options name.
    fn containers(&self) -> Result<Containers> {
        // Root of a user namespace, as in podman's, has no place in `/run`.
        let is_root = lifecycle::is_root()? && namespace::is_initial_user();
        let asked = self
            .runtime
            .as_ref()
            .and_then(|globals| globals.root.clone());
        let user = (!is_root).then(|| rustix::process::geteuid().as_raw());
        let paths = BundlePaths::find(asked, user);
        Ok(Containers { paths })
    }

    /// How this process has come to where it is, if it was executed again to get there.
    fn access(&self) -> Option<Access> {
        let globals = self.runtime.as_ref()?;
        globals.entered.then_some(Access::Entered)
    }

    /// What this program is executed with once more: in another user namespace the usual state root would be another.
    fn again(&self, containers: &Containers) -> impl Fn(Access) -> Vec<OsString> + use<> {
        let root = containers.paths.root().as_os_str().to_owned();
        let given = self.runtime.as_ref().map(|globals| globals.given.clone());
        let given = given.unwrap_or_default();
        move |access| {
            let mut words: Vec<OsString> = ["onggi", NOUN, "--root"].map(OsString::from).into();
            words.push(root.clone());
            words.extend((access == Access::Entered).then(|| "--entered".into()));
            words.extend(given.iter().map(OsString::from));
            words
        }
    }
}

/// What `state` and `list` tell of a container alike, in the order in which runc does.
fn described(container: &Container) -> Result<Value> {
    let record = &container.record;
    Ok(json!({
        "ociVersion": record.oci_version,
        "id": record.id,
        "pid": container.pid(),
        "status": container.status()?.word(),
        "bundle": record.bundle,
        "rootfs": record.rootfs,
        "created": record.created,
    }))
}
