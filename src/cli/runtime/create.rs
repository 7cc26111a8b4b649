//! `runtime create`, `runtime run`: a container is made of a bundle.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::error::bad_input;
use crate::runtime::bundle;
use crate::runtime::lifecycle::{self, Console, Container, Containers, Created, Order};
use crate::sys::signal::SignalFd;
use anyhow::Result;
use std::path::PathBuf;

/// What both have.
#[derive(clap::Args)]
pub struct Making {
    /// Directory of the bundle
    #[arg(short, long, value_name = "directory", default_value = ".")]
    bundle: PathBuf,
    /// Configuration that is read instead of the bundle's config.json
    #[arg(short = 'f', long, value_name = "file")]
    config: Option<PathBuf>,
    /// Socket that gets the other side of the terminal
    #[arg(long, value_name = "path")]
    console_socket: Option<PathBuf>,
    /// Write the number of the first process to this file
    #[arg(long, value_name = "path")]
    pid_file: Option<PathBuf>,
    /// Socket that gets a descriptor of the first process (pidfd_open(2))
    #[arg(long, value_name = "path")]
    pidfd_socket: Option<PathBuf>,
    /// Cover the caller's root instead of changing it by pivot_root(2), which a ramdisk does not allow
    #[arg(long)]
    no_pivot: bool,
    /// Stay in the caller's session keyring
    #[arg(long)]
    no_new_keyring: bool,
    /// Of this many descriptors from 3 on, beside those of LISTEN_FDS, pass on those that are open
    #[arg(long, value_name = "number", default_value_t = 0)]
    preserve_fds: usize,
    #[arg(required = true)]
    id: String,
}

/// What the caller does once the container is made.
#[derive(PartialEq, Eq)]
enum Caller {
    /// Whoever else starts it.
    Leaves,
    /// It starts it, and leaves.
    Starts,
    /// It starts it, and stays until it ends.
    Stays,
}

impl Making {
    fn create(
        self,
        context: &mut Context,
        containers: &Containers,
        caller: Caller,
    ) -> Result<Created> {
        let mut opened = bundle::read(&self.bundle, self.config.as_deref())?;
        let (directory, root) = (opened.directory.display(), opened.root.display());
        (context.output).step(format!("bundle `{directory}`, root `{root}`"));
        let entered = lifecycle::enter(&opened.spec, &context.again(containers))?;
        let console = match (self.console_socket, caller == Caller::Stays) {
            (Some(_), true) => {
                return Err(
                    bad_input("--console-socket is of no use to who stays attached")
                        .hint("add --detach, or leave it out")
                        .into(),
                );
            }
            (Some(path), false) => Console::Socket(path),
            (None, true) => Console::Caller,
            (None, false) => Console::Nobody,
        };
        let mut warnings = std::mem::take(&mut opened.warnings);
        let created = lifecycle::create(
            containers,
            opened,
            &Order {
                id: self.id,
                console,
                pid_file: self.pid_file,
                pidfd_socket: self.pidfd_socket,
                preserved: self.preserve_fds,
                group_manager: context.group_manager(),
                keeps_keyring: self.no_new_keyring,
                moves_root: self.no_pivot,
                access: context.access().unwrap_or(entered),
                starts: caller != Caller::Leaves,
            },
            &mut warnings,
        );
        for warning in &warnings {
            context.output.warn(warning);
        }
        let created = created?;
        let Container { record, .. } = &created.container;
        let group = match &record.cgroup {
            Some(path) => format!("control group `{}`", path.display()),
            None => "no control group".to_owned(),
        };
        let (id, pid) = (&record.id, created.child.pid);
        (context.output).step(format!("created `{id}`: process {pid}, {group}"));
        Ok(created)
    }
}

/// Options of `runtime create`.
#[derive(clap::Args)]
pub struct Create {
    #[command(flatten)]
    making: Making,
}

impl Verb for Create {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let containers = context.containers()?;
        let created = self.making.create(context, &containers, Caller::Leaves)?;
        limit_unit(&containers, &created).map(|()| 0)
    }
}

/// The last step of who leaves; a container that cannot be limited does not stay.
fn limit_unit(containers: &Containers, created: &Created) -> Result<()> {
    lifecycle::limit_unit(&created.container).inspect_err(|_| {
        created.child.end();
        // Why it does not stay is what counts.
        let _ = lifecycle::delete(containers, &created.container.record.id, true);
    })
}

/// Options of `runtime run`.
#[derive(clap::Args)]
pub struct Run {
    #[command(flatten)]
    making: Making,
    /// Leave it running
    #[arg(short, long)]
    detach: bool,
    /// Keep the container when it has ended
    #[arg(long)]
    keep: bool,
    /// Accepted: this program adopts no processes
    #[arg(long)]
    no_subreaper: bool,
}

impl Verb for Run {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let signals = match self.detach {
            true => None,
            // Before there is somebody whom they would be passed on to.
            false => Some(SignalFd::block_all()?),
        };
        // Before the process is root of a user namespace, which has another place for them.
        let containers = context.containers()?;
        let caller = match self.detach {
            true => Caller::Starts,
            false => Caller::Stays,
        };
        let mut created = self.making.create(context, &containers, caller)?;
        let id = created.container.record.id.clone();
        let readiness = match lifecycle::start_own(&created) {
            Ok(readiness) => readiness,
            Err(error) => {
                created.child.end();
                drop(created.terminal);
                lifecycle::delete(&containers, &id, true)?;
                return Err(error);
            }
        };
        drop(context.sealed.take());
        context.output.step(format!("started `{id}`"));
        let Some(signals) = signals else {
            readiness.map_or(Ok(()), |readiness| readiness.wait(&created.container))?;
            return limit_unit(&containers, &created).map(|()| 0);
        };
        let terminal = created.terminal.take();
        let ended = lifecycle::attend(&created.child, terminal, &signals, readiness)?;
        (context.output).step(format!("`{id}` ended with {}", ended.code()));
        if !self.keep {
            for error in lifecycle::delete(&containers, &id, true)? {
                context.output.warn(format!("{error:#}"));
            }
        }
        Ok(ended.code())
    }
}
