//! `exec`: one more program in a running container.
//!
//! ```text
//! onggi exec ──▶ onggi-exec (one per program, lives as long as it) ──joins the container──▶ program
//!    │            holds its pseudo-terminal or pipes, reaps it
//!    └── attached through a channel; may die without harm, what the program writes is then thrown away
//! ```
//!
//! The program dies with the container, whose pid namespace it is in. `containers/ID/exec/EXEC` says who it is as
//! long as it runs; what a killed `onggi-exec` has left there is swept by the next one.

use super::cgroup;
use super::create;
use super::engine::Engine;
use super::event;
use super::inherited;
use super::list::Container;
use super::monitor;
use super::monitor::channel::{Order, Report, Request, Stream};
use super::monitor::client::{self, Attach, Outcome};
use super::monitor::clients::Clients;
use super::monitor::prepare;
use super::monitor::relay::{Pipes, Program, Relay, Supervisor};
use super::network;
use super::options::Namespace;
use super::record::{Directory, Record, Status};
use super::resources::Enforcement;
use super::spawn::{self, Home, Neighbour};
use super::spec;
use super::user_namespace;
use crate::error::{self, Error, Kind};
use crate::id_mapping::Tier;
use crate::runtime::capabilities::{CapabilitySet, ProcessCapabilities};
use crate::runtime::plan::ProcessPlan;
use crate::runtime::process::exec::{self as runtime, Target};
use crate::runtime::process::parent::Started;
use crate::store::atomic::{self, Durability};
use crate::store::id::random_hex;
use crate::sys::descriptor;
use crate::sys::process::{self, Child, Identity};
use crate::sys::signal::SignalFd;
use crate::sys::socket::Channel;
use crate::sys::terminal;
use anyhow::{Context, Result};
use oci_spec::runtime::ContainerState;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;

/// `argv[0]` of the process that holds an exec'd program.
pub const EXEC_NAME: &str = "onggi-exec";

/// What is asked for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Options {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// `KEY=VALUE`, in order; they win over the container's. A name alone takes the container's away.
    pub env: Vec<String>,
    /// Directory to start in, which must be there; `None`: that of the container.
    pub working_dir: Option<String>,
    /// `user[:group]`, by name or number; `None`: that of the container.
    pub user: Option<String>,
    /// All capabilities.
    pub privileged: bool,
    /// Give it a pseudo-terminal.
    pub tty: bool,
    /// Keep standard input open.
    pub interactive: bool,
    /// Nobody is attached.
    pub detach: bool,
}

/// What goes to `onggi-exec`.
#[derive(Serialize, Deserialize)]
struct Task {
    id: String,
    options: Options,
    /// Rows and columns of the caller's terminal.
    size: (u16, u16),
}

/// Runs a program in a container, and stays with it until it has ended if `attach` says so.
///
/// Fails with 127 for a program that is not there, 126 for everything else that keeps it from starting, as Docker.
pub fn exec(
    engine: &Engine,
    container: &Container,
    options: Options,
    attach: Option<&Attach>,
) -> Result<Outcome> {
    let record = &container.record;
    let target = target(container)?;
    let id = random_hex(64)?;
    let task = Task {
        id: id.clone(),
        size: match options.tty {
            true => terminal::size(rustix::stdio::stdin()).unwrap_or_default(),
            false => (0, 0),
        },
        options,
    };
    let words = task.options.command.join(" ");
    event::container(
        engine,
        record,
        &format!("exec_create: {words}"),
        &[("execID", &id)],
    );
    let (ours, theirs) = Channel::pair()?;
    if let Some(attach) = attach {
        // It lies in the channel before there is anybody, so that nothing the program prints can come first.
        Request::Attach(attach.wants)
            .send(&ours)
            .context("attach")?;
    }
    let (reader, mut writer) = std::io::pipe().context("pipe")?;
    let user_namespace = match engine.mapping.needs_user_namespace() {
        false => None,
        true => Some(target.user_namespace(1)?),
    };
    let monitor = container.state.as_ref().map(|state| &state.monitor);
    let neighbour = Neighbour {
        user_namespace,
        program: monitor.and_then(spawn::sealed_as),
    };
    let handed = [theirs.as_fd(), reader.as_fd()];
    let complaint = spawn::spawn(
        engine,
        Home::Beside(&neighbour),
        EXEC_NAME,
        &record.id,
        &handed,
    )?;
    drop((theirs, reader, target, neighbour));
    // If nobody reads it, the channel says so too.
    let _ = writer.write_all(&serde_json::to_vec(&task)?);
    drop(writer);
    let outcome = match attach {
        Some(attach) => client::follow(ours, attach, &mut |_| {}),
        None => client::await_start(&ours, &mut |_| {}),
    };
    match outcome {
        Ok(Outcome::Detached) => {
            event::container(engine, record, "exec_detach", &[("execID", &id)]);
            Ok(Outcome::Detached)
        }
        Err(error) if error::kind(&error) == Some(Kind::Conflict) => {
            let killed = "the process that holds the program was killed, and the program with it";
            Err(match complaint.heard()? {
                None => Error::new(Kind::Conflict, killed).into(),
                Some(said) => cannot_execute(said),
            })
        }
        result => result,
    }
}

/// The container's first process, if it runs.
fn target(container: &Container) -> Result<Target> {
    let id = &container.record.id;
    let conflict = |message: String| Error::new(Kind::Conflict, message);
    let error = match container.status() {
        Status::Running => {
            let program = container
                .state
                .as_ref()
                .and_then(|state| state.program.as_ref());
            if let Some(program) = program
                && let Some(target) = Target::open(program)?
            {
                return Ok(target);
            }
            conflict(format!("Container {id} is not running"))
        }
        Status::Paused => conflict(format!(
            "Container {id} is paused, unpause the container before exec"
        )),
        Status::Restarting => conflict(format!(
            "Container {id} is restarting, wait until the container is running"
        )),
        Status::Created | Status::Exited => conflict(format!("Container {id} is not running")),
    };
    Err(error.into())
}

/// Runs an `onggi-exec`; `arguments` are those of [`spawn::spawn`].
pub fn main(arguments: impl Iterator<Item = OsString>) -> u8 {
    let Ok(descriptor) = descriptor::inherited(spawn::HANDED) else {
        return 125;
    };
    let mut relay = Relay::new(Clients::new(None, Channel::from_descriptor(descriptor)));
    monitor::leave_the_caller();
    let (code, last) = match serve(arguments, &mut relay) {
        Ok(code) => (code, Report::Ended(code)),
        Err(error) => {
            let error = cannot_execute(error);
            (error::exit_code(&error, 126), Report::Failed(error))
        }
    };
    relay.clients.dismiss(&last);
    relay.clients.see_off();
    code
}

/// Whatever kept a program from starting is a 126, unless it is a 127.
fn cannot_execute(error: anyhow::Error) -> anyhow::Error {
    match error::exit_code(&error, 126) {
        126 => {
            let hint = error::hint(&error).map(str::to_owned);
            let failure = Error::new(Kind::CannotExecute, format!("{error:#}"));
            match hint {
                Some(hint) => failure.hint(hint),
                None => failure,
            }
            .into()
        }
        _ => error,
    }
}

/// From start to end.
fn serve(arguments: impl Iterator<Item = OsString>, relay: &mut Relay) -> Result<u8> {
    let (engine, id) = spawn::wanted(arguments)?;
    let mut task = Vec::new();
    File::from(descriptor::inherited(spawn::HANDED + 1)?)
        .read_to_end(&mut task)
        .context("read what to execute")?;
    let task: Task = serde_json::from_slice(&task).context("read what to execute")?;
    let directory = Directory::of(&engine, &id);
    let record = directory.record()?;
    let container = Container {
        record: record.with_context(|| format!("No such container: {id}"))?,
        state: directory.state()?,
    };
    let record = &container.record;
    // What is meant for the client or the whole process group ends neither this nor the program.
    let _signals = SignalFd::block_all()?;
    let shared_processes = record.options.pid == Namespace::Host;
    if shared_processes {
        process::adopt_orphans()?;
    }
    let (started, pipes, target) = start(&engine, &container, &task.options, task.size)?;
    let note = Note::write(&directory, &task.id, started.child.pid);
    let mut program = Program::new(started, pipes, true)?;
    if shared_processes {
        program.bind_to(target.into_pidfd());
    }
    let tell = |action: &str, more: &[(&str, &str)]| {
        let own = [("execID", task.id.as_str())];
        event::container(&engine, record, action, &[&own[..], more].concat());
    };
    tell(
        &format!("exec_start: {}", task.options.command.join(" ")),
        &[],
    );
    relay.clients.tell_all(&Report::Started);
    let ended = relay.serve(&mut program, &mut Nobody);
    if shared_processes {
        // Nobody else would end what it has left when the container ends.
        let _ = process::kill_children();
    }
    let code = ended?.code();
    drop(note);
    tell("exec_die", &[("exitCode", &code.to_string())]);
    Ok(code)
}

/// Starts a program in a container that runs, for whoever holds its streams: a process of ours that is where the
/// container's monitor is. The third is the container's first process.
pub(super) fn start(
    engine: &Engine,
    container: &Container,
    options: &Options,
    size: (u16, u16),
) -> Result<(Started, Pipes, Target)> {
    let record = &container.record;
    let target = target(container)?;
    let mut plan = plan(engine, container, options, size)?;
    let nested = user_namespace::nested(&record.options, engine).map(|nested| runtime::Nested {
        depth: nested.depth,
        owner: nested.maps.owner(),
    });
    // What nobody is there to read need not be written through a pipe.
    let input = options.interactive && !options.detach;
    let (streams, pipes) = prepare::pipes(input, options.tty || options.detach)?;
    user_namespace::give_streams(&record.options, engine, &streams)?;
    let cgroup = match &container.state {
        Some(state) => cgroup::to_join(engine, state)?,
        None => None,
    };
    let started = runtime::start(&target, nested, cgroup.as_ref(), &mut plan, &streams)?;
    Ok((started, pipes, target))
}

/// An exec'd program takes no orders, and what it prints is not kept.
struct Nobody;

impl Supervisor for Nobody {
    fn obey(&mut self, _: Order, _: Option<&Child>) -> Result<()> {
        Err(Error::new(Kind::Conflict, "an exec'd program takes no orders").into())
    }

    fn output(&mut self, _: Stream, _: &[u8]) {}

    fn is_decided(&self) -> bool {
        true
    }
}

/// The container's own program with what was asked for in its place.
fn plan(
    engine: &Engine,
    container: &Container,
    options: &Options,
    size: (u16, u16),
) -> Result<ProcessPlan> {
    let record = &container.record;
    let mut process = spec::process(record, engine)?;
    if record.options.limits == Enforcement::BestEffort {
        // It was said when the container was started.
        inherited::soften(&mut process)?;
    }
    process.set_args(Some(options.command.clone()));
    process.set_env(Some(environment(
        process.env().clone().unwrap_or_default(),
        record,
        options,
    )));
    if let Some(directory) = &options.working_dir {
        process.set_cwd(PathBuf::from(directory));
    }
    if let Some(user) = &options.user {
        let mut own = process.user().clone();
        own.set_username(Some(user.clone()));
        process.set_user(own);
    }
    if options.privileged {
        let nested = user_namespace::nested(&record.options, engine);
        let all = match engine.mapping.tier {
            Tier::Root if nested.is_none() => CapabilitySet::bounding(),
            _ => CapabilitySet::known(),
        };
        network::check_egress(engine, &record.options, all)?;
        process.set_capabilities(Some(ProcessCapabilities::docker(all, 0).to_oci()));
        process.set_apparmor_profile(None);
    }
    process.set_terminal(Some(options.tty));
    let directory = Directory::of(engine, &record.id);
    let mut state = spec::state(record, &directory, ContainerState::Running);
    let first = container
        .state
        .as_ref()
        .and_then(|state| state.program.as_ref());
    state.set_pid(first.map(|first| first.pid));
    let mut plan = ProcessPlan::new(
        &process,
        record.options.group_add.clone(),
        spec::seccomp(&record.options, engine)?.map(|filter| filter.of_container(state)),
        engine.mapping.tier,
    )?;
    plan.terminal = options.tty.then_some(size);
    Ok(plan)
}

/// `TERM` goes with the terminal that this program has, not with the one that the container's program has.
fn environment(mut environment: Vec<String>, record: &Record, options: &Options) -> Vec<String> {
    const TERM: &str = "TERM=xterm";
    let container = &record.options;
    if container.tty && !options.tty && !container.env.iter().any(|entry| entry == TERM) {
        environment.retain(|entry| entry != TERM);
    }
    if options.tty && !environment.iter().any(|entry| entry.starts_with("TERM=")) {
        environment.push(TERM.to_owned());
    }
    for entry in &options.env {
        create::set(&mut environment, entry);
    }
    environment
}

/// Says who an exec'd program is as long as it runs.
struct Note(PathBuf);

impl Note {
    /// A disk without room for it must not keep anybody from looking for what fills it.
    fn write(directory: &Directory, id: &str, pid: i32) -> Option<Self> {
        let place = directory.file(EXEC_NOTES);
        match std::fs::create_dir(&place) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => sweep(directory),
            result => result.ok()?,
        }
        let identity = serde_json::to_vec(&Identity::of(pid).ok()?).ok()?;
        let path = place.join(id);
        atomic::write(&path, &identity, Durability::Volatile).ok()?;
        Some(Self(path))
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        // It may be gone with the container.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// In a container's directory: a note for each exec'd program that runs.
const EXEC_NOTES: &str = "exec";

/// The ids of the programs that run in a container beside its own.
pub fn running(directory: &Directory) -> Vec<String> {
    let mut ids: Vec<String> = notes(directory)
        .filter(|(_, alive)| *alive)
        .filter_map(|(path, _)| Some(path.file_name()?.to_str()?.to_owned()))
        .collect();
    ids.sort_unstable();
    ids
}

/// Removes what killed processes have left.
fn sweep(directory: &Directory) {
    for (path, alive) in notes(directory) {
        if !alive {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn notes(directory: &Directory) -> impl Iterator<Item = (PathBuf, bool)> {
    let entries = std::fs::read_dir(directory.file(EXEC_NOTES));
    entries.into_iter().flatten().flatten().map(|entry| {
        let path = entry.path();
        let identity = std::fs::read(&path)
            .ok()
            .and_then(|text| serde_json::from_slice::<Identity>(&text).ok());
        let alive = identity.is_some_and(|identity| identity.is_alive());
        (path, alive)
    })
}
