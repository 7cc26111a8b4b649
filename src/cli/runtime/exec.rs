//! `runtime exec`: one more program in a container.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::value;
use crate::error::{Error, bad_input};
use crate::runtime::bundle;
use crate::runtime::lifecycle::{self, Access, Console, Guest};
use crate::sys::signal::SignalFd;
use crate::sys::terminal;
use anyhow::Result;
use oci_spec::runtime::{BoxBuilder, Capability, Process, User};
use std::path::PathBuf;

/// Options of `runtime exec`.
#[derive(clap::Args)]
pub struct Exec {
    /// Socket that gets the other side of the terminal
    #[arg(long, value_name = "path")]
    console_socket: Option<PathBuf>,
    /// Working directory in the container
    #[arg(long, value_name = "directory")]
    cwd: Option<PathBuf>,
    /// Set an environment variable
    #[arg(short, long, value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    /// Numbers of its user and group (uid[:gid])
    #[arg(short, long)]
    user: Option<String>,
    /// Number of a further group
    #[arg(short = 'g', long, value_name = "gid")]
    additional_gids: Vec<u32>,
    /// Take all of it from this file, which is as `process` of a configuration
    #[arg(short, long, value_name = "path")]
    process: Option<PathBuf>,
    /// Leave it running
    #[arg(short, long)]
    detach: bool,
    /// Write its number to this file
    #[arg(long, value_name = "path")]
    pid_file: Option<PathBuf>,
    /// Socket that gets a descriptor of the process (pidfd_open(2))
    #[arg(long, value_name = "path")]
    pidfd_socket: Option<PathBuf>,
    /// SELinux label
    #[arg(long, value_name = "label")]
    process_label: Option<String>,
    /// AppArmor profile
    #[arg(long, value_name = "profile")]
    apparmor: Option<String>,
    /// No privileges by executing a program
    #[arg(long)]
    no_new_privs: bool,
    /// Add a capability
    #[arg(short, long, value_name = "capability")]
    cap: Vec<String>,
    /// Of this many descriptors from 3 on, beside those of LISTEN_FDS, pass on those that are open
    #[arg(long, value_name = "number", default_value_t = 0)]
    preserve_fds: usize,
    /// Run it in this group of the container's
    #[arg(long, value_name = "path")]
    cgroup: Option<String>,
    /// Also in a paused container, where it then waits
    #[arg(long)]
    ignore_paused: bool,
    #[arg(required = true, trailing_var_arg = true)]
    words: Vec<String>,
}

impl Verb for Exec {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let containers = context.containers()?;
        let id = self.words.first().map(String::as_str).unwrap_or_default();
        let container = containers.find(id)?;
        lifecycle::join(&container, &context.again(&containers))?;
        let spec = container.spec()?;
        let mut warnings = Vec::new();
        let process = spec.process().clone().unwrap_or_default();
        let guest = Guest {
            process: self.process(process, &mut warnings)?,
            console: match (&self.console_socket, self.detach) {
                (Some(path), _) => Console::Socket(path.clone()),
                (None, false) => Console::Caller,
                (None, true) => Console::Nobody,
            },
            pid_file: self.pid_file,
            pidfd_socket: self.pidfd_socket,
            preserved: self.preserve_fds,
            even_if_paused: self.ignore_paused,
            outlives_caller: self.detach,
            group: self.cgroup,
            access: context.access().unwrap_or(Access::Own),
        };
        let signals = match self.detach {
            true => None,
            false => Some(SignalFd::block_all()?),
        };
        let started = lifecycle::exec(&container, &spec, &guest, &mut warnings);
        for warning in &warnings {
            context.output.warn(warning);
        }
        let (child, terminal) = started?;
        drop(context.sealed.take());
        (context.output).step(format!("started process {} in `{id}`", child.pid));
        match signals {
            Some(signals) => Ok(lifecycle::attend(&child, terminal, &signals, None)?.code()),
            None => Ok(0),
        }
    }
}

impl Exec {
    /// That of the configuration, changed by what was asked for; or another one altogether.
    fn process(&self, mut process: Process, warnings: &mut Vec<String>) -> Result<Process> {
        if let Some(path) = &self.process {
            let text = value::read_file(path)?;
            let (process, more) = bundle::parse_process(&text, &path.to_string_lossy())?;
            warnings.extend(more);
            return Ok(process);
        }
        let words = &self.words[1..];
        if words.is_empty() {
            return Err(bad_input("no command is given")
                .hint("or name a file with --process")
                .into());
        }
        process
            .set_args(Some(words.to_vec()))
            .set_terminal(Some(self.tty));
        if let Some(directory) = &self.cwd {
            if !directory.is_absolute() {
                let message = format!("--cwd: `{}` is not absolute", directory.display());
                return Err(bad_input(message).into());
            }
            process.set_cwd(directory.clone());
        }
        if let Some((rows, columns)) = terminal::size(rustix::stdio::stdin()) {
            let size = BoxBuilder::default().height(rows).width(columns).build()?;
            process.set_console_size(Some(size));
        }
        let mut environment = process.env().clone().unwrap_or_default();
        environment.extend(self.env.iter().cloned());
        process.set_env(Some(environment));
        if let Some(text) = &self.user {
            process.set_user(user(text, process.user())?);
        }
        if !self.additional_gids.is_empty() {
            let mut user = process.user().clone();
            let mut groups = user.additional_gids().clone().unwrap_or_default();
            groups.extend(&self.additional_gids);
            user.set_additional_gids(Some(groups));
            process.set_user(user);
        }
        if self.no_new_privs {
            process.set_no_new_privileges(Some(true));
        }
        if let Some(label) = &self.process_label {
            process.set_selinux_label(Some(label.clone()));
        }
        if let Some(profile) = &self.apparmor {
            process.set_apparmor_profile(Some(profile.clone()));
        }
        self.add_capabilities(&mut process, warnings);
        Ok(process)
    }

    fn add_capabilities(&self, process: &mut Process, warnings: &mut Vec<String>) {
        if self.cap.is_empty() {
            return;
        }
        let mut sets = process.capabilities().clone().unwrap_or_default();
        for name in &self.cap {
            let Ok(capability) = serde_json::from_value::<Capability>(name.to_uppercase().into())
            else {
                // As runc and crun: what a newer kernel has an older one does without.
                warnings.push(format!(
                    "there is no capability `{name}`, which --cap names"
                ));
                continue;
            };
            let with = |set: &Option<std::collections::HashSet<Capability>>| {
                let mut set = set.clone().unwrap_or_default();
                set.insert(capability);
                Some(set)
            };
            let sets_with = [
                with(sets.bounding()),
                with(sets.effective()),
                with(sets.permitted()),
                // What is not inheritable too does not stay there.
                with(sets.ambient()),
            ];
            let [bounding, effective, permitted, ambient] = sets_with;
            sets.set_bounding(bounding)
                .set_effective(effective)
                .set_permitted(permitted)
                .set_ambient(ambient);
        }
        process.set_capabilities(Some(sets));
    }
}

/// `uid[:gid]`.
fn user(text: &str, before: &User) -> Result<User, Error> {
    let number = |part: &str| {
        part.parse()
            .map_err(|_| bad_input(format!("`{text}` is not uid[:gid]: both are numbers")))
    };
    let mut user = before.clone();
    match text.split_once(':') {
        Some((uid, gid)) => user.set_uid(number(uid)?).set_gid(number(gid)?),
        None => user.set_uid(number(text)?),
    };
    Ok(user)
}
