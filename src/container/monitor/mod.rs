//! The monitor: one process per container, from before its program starts until it has ended for good. It owns the
//! program's streams, its exit status and the container's lock; nobody else writes the container's state while it
//! lives.
//!
//! It is this program under another name, started by [`super::start`] with its channel to the client at
//! descriptor 3 and the container's lock at 4. Everything else it reads from the record. Later clients come to its
//! socket in the container's directory.

pub mod channel;
mod checks;
pub mod client;
pub(super) mod clients;
pub(super) mod files;
mod orders;
mod pause;
pub(super) mod prepare;
mod probe;
pub(super) mod relay;
mod restart;
mod victims;

use super::engine::Engine;
use super::log::writer::Writer;
use super::mount_point::InUse;
use super::network::{Attachment, Interfaces};
use super::options::{Namespace, RestartPolicy};
use super::record::{Directory, Edition, Record, State, now};
use super::{cgroup, event, mount_point, quota, remove, settle, spawn, user_namespace};
use crate::cgroup::Cgroup;
use crate::cgroup::events::OutOfMemory;
use crate::cgroup::placement::Placement;
use crate::paths;
use crate::runtime::plan::{Sockets, Sources};
use crate::runtime::process::parent::{self, Connect};
use crate::store::atomic::Durability;
use crate::store::lock::Lock;
use crate::sys::descriptor;
use crate::sys::process::{self, Child, Identity};
use crate::sys::signal::SignalFd;
use crate::sys::socket::{Channel, Listener};
use anyhow::{Context, Result};
use channel::{MONITOR_CHANNEL, MONITOR_LOCK, MONITOR_MORE, Report};
use checks::Checks;
use clients::Clients;
use relay::{Program, Relay};
use restart::Restarts;
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long those who wait for the end of a container wait for its volumes to be unmounted.
const LETTING_GO: Duration = Duration::from_secs(2);

/// Runs a monitor; `arguments` are those of [`spawn::spawn`].
pub fn main(arguments: impl Iterator<Item = OsString>) -> u8 {
    let Ok(descriptor) = descriptor::inherited(MONITOR_CHANNEL) else {
        return 125;
    };
    let starter = Channel::from_descriptor(descriptor);
    leave_the_caller();
    let prepared = (|| {
        let lock = Lock::inherited(descriptor::inherited(MONITOR_LOCK)?);
        // Before anything is opened that could have one of these numbers.
        let handed: Vec<_> = (MONITOR_MORE..)
            .map_while(|number| descriptor::inherited(number).ok())
            .collect();
        let mut handed = handed.into_iter();
        // Of a container with many mounts each is one.
        descriptor::raise_limit().context("raise the limit of open files")?;
        let (engine, id) = spawn::wanted(arguments)?;
        let directory = Directory::of(&engine, &id);
        // Before it is read: whatever comes in its place meanwhile is another one.
        let edition = directory.edition();
        let record = directory.record()?.context("the container has no record")?;
        let turn = match mount_point::takes_turns(&engine, &record)? {
            true => handed.next().map(Lock::inherited),
            false => None,
        };
        let state = State::beginning(Identity::of(std::process::id() as i32)?, 0);
        // Where there is none it was never started, or what became of it is lost.
        let before = directory.state().ok().flatten();
        let was_wanted = |state: &State| !state.started.is_empty() && !state.stopped;
        let monitor = Monitor {
            record,
            edition,
            turn,
            wish_is_kept: before.as_ref().is_some_and(was_wanted),
            state: match before {
                Some(before) => state.after(&before),
                None => state,
            },
            start_again: false,
            directory,
            engine,
            checks: None,
            kill_at: None,
            placement: None,
            cgroup: None,
            out_of_memory: None,
            signals: None,
            is_going_down: false,
            log: None,
            sockets: handed.collect(),
            network: None,
            interfaces: None,
            in_use: None,
        };
        // The mark leads to a socket that a killed monitor leaves, so it is there first.
        let marked = match monitor.record.options.auto_remove {
            true => Ok(()),
            false => settle::mark(&monitor.engine, &monitor.record.id),
        };
        let listener = marked.and_then(|()| Listener::bind(lock.as_fd(), paths::MONITOR_SOCKET));
        Ok::<_, anyhow::Error>((monitor, lock, listener))
    })();
    match prepared {
        Ok((mut monitor, lock, Ok(listener))) => {
            let mut relay = Relay::new(Clients::new(Some(listener), starter));
            let last = monitor.live(&mut relay);
            monitor.end(relay, lock, &last)
        }
        Ok((monitor, lock, Err(error))) => {
            let relay = Relay::new(Clients::new(None, starter));
            monitor.end(relay, lock, &Report::Failed(error))
        }
        Err(_) => 125,
    }
}

/// Of the caller nothing stays but the environment: not its session and process group, whose end would be ours, not
/// its directory, which could not be unmounted, not its mask for new files.
pub fn leave_the_caller() {
    // Fails only for the leader of a group, which has a session of its own already.
    let _ = rustix::process::setsid();
    let _ = rustix::process::chdir("/");
    rustix::process::umask(rustix::fs::Mode::from(0o022));
}

struct Monitor {
    engine: Engine,
    record: Record,
    edition: Option<Edition>,
    directory: Directory,
    state: State,
    /// A client wants it to start again when it has ended.
    start_again: bool,
    /// That it is to run survives a power cut.
    wish_is_kept: bool,
    /// How its health is probed while its program runs, where it has a check.
    checks: Option<Checks>,
    /// When the program, which has been asked to end since it is unhealthy, is killed.
    kill_at: Option<Instant>,
    /// Where its groups come to lie, once it was started.
    placement: Option<Placement>,
    /// Where it lives while its program runs.
    cgroup: Option<Cgroup>,
    /// Whom the out-of-memory killer ends there.
    out_of_memory: Option<OutOfMemory>,
    /// What systemd tells the scope that it is alone in with its program.
    signals: Option<SignalFd>,
    /// systemd ends the scope, at the end of the machine mostly: what runs ends, and what is to run runs again at the
    /// next boot.
    is_going_down: bool,
    /// Until it has started for the first time, so that the next one finds it.
    turn: Option<Lock>,
    /// As long as the program runs, unless its output is not kept.
    log: Option<Writer>,
    /// Its networks while it runs.
    network: Option<Attachment>,
    /// What its last run has left of them.
    interfaces: Option<Interfaces>,
    /// Sockets for the program.
    sockets: Vec<OwnedFd>,
    /// Volumes that have to stay mounted while the program runs.
    in_use: Option<InUse>,
}

impl Monitor {
    /// From the first start to the last end; the state on disk follows.
    fn live(&mut self, relay: &mut Relay) -> Report<'static> {
        let mut restarts = Restarts::default();
        loop {
            let begun = Instant::now();
            let code = match self.run_once(relay) {
                Ok(code) => code,
                Err(error) => {
                    self.state.finished = now();
                    self.state.exit_code = crate::error::exit_code(&error, 125);
                    self.state.error = format!("{error:#}");
                    // What a user cannot start will not be by trying again. What has run before may be, when the
                    // disk has room again.
                    if restarts.count == 0 {
                        return Report::Failed(error);
                    }
                    self.state.exit_code
                }
            };
            let policy = self.record.options.restart;
            let next = restarts.next(policy, code, self.state.stopped, begun.elapsed());
            let again = self.start_again || next.is_some();
            if !again || self.is_going_down {
                return Report::Ended(code);
            }
            self.state.restarting = true;
            // A full disk does not end the container: who asks sees the state that was written last.
            let _ = self
                .directory
                .write_state(&self.state, Durability::Volatile)
                .or_else(|_| self.directory.overwrite_state(&self.state));
            relay.clients.dismiss(&Report::Ended(code));
            // Not before it is known how it ended: a server that does not answer may keep this waiting.
            self.in_use = None;
            self.interfaces = None;
            let until = Instant::now() + next.unwrap_or_default();
            if let Err(error) = relay.rest(until, self) {
                return Report::Failed(error);
            }
            match std::mem::take(&mut self.start_again) {
                _ if self.is_going_down => return Report::Ended(code),
                true => restarts = Restarts::default(),
                false if self.state.stopped => return Report::Ended(code),
                false => {}
            }
            self.refresh();
            let again = State::beginning(self.state.monitor.clone(), restarts.count);
            self.state = State {
                restarting: true,
                ..again.after(&self.state)
            };
        }
    }

    /// The record may have been changed by `update` or `rename`.
    fn refresh(&mut self) {
        let edition = self.directory.edition();
        if edition != self.edition
            && let Ok(Some(record)) = self.directory.record()
        {
            (self.record, self.edition) = (record, edition);
        }
    }

    /// From the start of the program to its end.
    fn run_once(&mut self, relay: &mut Relay) -> Result<u8> {
        let begun = Instant::now();
        let shared_processes = self.record.options.pid == Namespace::Host;
        if shared_processes {
            process::adopt_orphans()?;
        }
        let ended = self
            .start_program(&mut relay.clients)
            .and_then(|mut program| {
                self.checks = Checks::begin(&self.record, &self.directory);
                event::started(&self.engine, &self.record);
                relay.clients.tell_all(&Report::Started);
                relay.serve(&mut program, self)
            });
        self.kill_at = None;
        // Nobody in it is left to be found.
        let network = self.network.take();
        if let Some(network) = &network {
            self.state.addresses = network.addresses();
        }
        self.interfaces = network.and_then(|network| network.end(&self.engine));
        if let Some(checks) = self.checks.take() {
            checks.end();
        }
        // What happened last may not have been heard.
        self.note_victims();
        self.out_of_memory = None;
        if let Some(cgroup) = self.cgroup.take() {
            // What is left is ended by the next start or the removal.
            let _ = cgroup::end(cgroup);
        }
        if shared_processes {
            // Without a pid namespace of its own, the end of its first process ends nobody else.
            let _ = process::kill_children();
        }
        // Whoever follows the log has all of it when the state says that there is an end.
        if let Some(mut log) = self.log.take() {
            log.finish();
        }
        self.refresh();
        let code = ended?.code();
        self.state.finished = now();
        self.state.exit_code = code;
        let lasted = begun.elapsed().as_secs().to_string();
        let attributes = [
            ("execDuration", lasted.as_str()),
            ("exitCode", &code.to_string()),
        ];
        event::ended(&self.engine, &self.record, &attributes);
        Ok(code)
    }

    /// Tells of something that happens while the program runs: a rename may have changed the record since it was read.
    fn announce(&self, action: &str, attributes: &[(&str, &str)]) {
        let current = self.directory.record().unwrap_or_default();
        let record = current.as_ref().unwrap_or(&self.record);
        event::container(&self.engine, record, action, attributes);
    }

    fn start_program(&mut self, clients: &mut Clients) -> Result<Program> {
        // Nothing but the end of the container ends the monitor: a signal to the whole process group or control
        // group is for the client to pass on, unless that is a scope in which there is none.
        let signals = SignalFd::block_all()?;
        let mut warnings = Vec::new();
        let placement = match self.placement.take() {
            Some(placement) => placement,
            None => cgroup::place(&self.engine, &self.record, &mut warnings)?,
        };
        let placement = self.placement.insert(placement);
        self.signals = Some(signals).filter(|_| placement.is_scope());
        // Before there is a group, so that whoever comes after a killed monitor finds it.
        self.state.cgroup = placement.path();
        self.directory
            .write_state(&self.state, Durability::Volatile)?;
        self.network = Attachment::prepare(
            &self.engine,
            &self.record,
            &self.state.addresses,
            &mut warnings,
        )?;
        let network = self.network.as_ref();
        files::write(&self.engine, &self.record, &self.directory, network)?;
        self.log = Writer::open(&self.record, &self.directory)?;
        if self.state.started.is_empty() {
            mount_point::fill_new(&self.engine, &self.record, &mut warnings)?;
        }
        let options = &self.record.options;
        let (streams, pipes) = prepare::pipes(options.interactive, options.tty)?;
        user_namespace::give_streams(options, &self.engine, &streams)?;
        let widened = quota::Widened::of(&self.directory, &self.record);
        let (mut bundle, in_use) = prepare::bundle(
            &self.engine,
            &self.record,
            &self.directory,
            placement,
            Sources::new(),
            &mut warnings,
        )?;
        self.in_use = Some(in_use);
        bundle.sockets = self.sockets()?;
        for warning in warnings {
            clients.tell_all(&Report::Warning(warning));
        }
        // From here on it is removed by whoever ends the run, started or not.
        self.cgroup = match &bundle.cgroup {
            Some(cgroup) => Some(cgroup.try_clone()?),
            None => None,
        };
        self.watch_for_victims();
        let (engine, record) = (&self.engine, &self.record);
        let mut connect = self
            .network
            .as_mut()
            .map(|network| |child: &Child| network.connect(engine, record, child));
        let connect = connect.as_mut().map(|connect| connect as &mut Connect<'_>);
        let mut started = parent::start(bundle, &streams, connect)?;
        drop(widened);
        for warning in started.warnings.drain(..) {
            clients.tell_all(&Report::Warning(warning));
        }
        drop(streams);
        if let Err(error) = self.note_start(&started.child) {
            // Nobody would know of it.
            started.child.end();
            return Err(error);
        }
        self.turn = None;
        Program::new(started, pipes, self.record.options.stdin_once)
    }

    /// What a service manager has given to the command that has started this, for every run.
    fn sockets(&self) -> Result<Sockets> {
        let copies = self.sockets.iter().map(OwnedFd::try_clone);
        Ok(Sockets {
            descriptors: copies
                .collect::<Result<_, _>>()
                .context("duplicate a descriptor")?,
            names: std::env::var("LISTEN_FDNAMES").unwrap_or_default(),
            untold: Vec::new(),
        })
    }

    fn note_start(&mut self, program: &Child) -> Result<()> {
        self.state.program = Some(Identity::of(program.pid)?);
        let ports = self.network.as_ref().map(Attachment::ports);
        self.state.ports = ports.unwrap_or_default().to_vec();
        self.state.started = now();
        self.state.finished.clear();
        (self.state.exit_code, self.state.restarting) = (0, false);
        self.state.oom_killed = false;
        // `boot` has to know of it, whenever the power goes.
        let durability = match self.record.options.restart {
            RestartPolicy::No => Durability::Volatile,
            _ if self.wish_is_kept => Durability::Volatile,
            _ => Durability::Durable,
        };
        self.directory.write_state(&self.state, durability)?;
        self.wish_is_kept |= durability == Durability::Durable;
        Ok(())
    }

    /// Unmounts the devices of volumes that nobody uses any more. A server that does not answer may take forever over it:
    /// those who wait for the end of the container hear of it all the same.
    fn let_go(&mut self) {
        // Without such volumes it takes no time.
        let Some(in_use) = self.in_use.take().filter(InUse::has_devices) else {
            return;
        };
        let (done, ended) = std::sync::mpsc::channel::<()>();
        let unmount = move || {
            drop(in_use);
            drop(done);
        };
        // Without a thread, it has been done when this fails.
        if std::thread::Builder::new().spawn(unmount).is_ok() {
            let _ = ended.recv_timeout(LETTING_GO);
        }
    }

    /// Writes down how it ended, or removes what was to go; then everybody is told.
    fn end(mut self, mut relay: Relay, lock: Lock, last: &Report<'_>) -> u8 {
        self.state.restarting = false;
        if self.record.options.auto_remove {
            // What cannot be removed now is swept by the next command.
            let _ = remove::remove_read(&self.engine, &self.record, self.edition, &lock);
        } else {
            // On a full disk the old file still has its place. Whatever becomes of it, those who wait hear how it
            // ended, and the mark stays for the next command.
            let written = self
                .directory
                .write_state(&self.state, Durability::Durable)
                .or_else(|_| self.directory.overwrite_state(&self.state));
            if written.is_ok() {
                let _ = settle::unmark(&self.engine, &self.record.id);
            }
        }
        self.let_go();
        let _ = rustix::fs::unlinkat(
            lock.as_fd(),
            paths::MONITOR_SOCKET,
            rustix::fs::AtFlags::empty(),
        );
        relay.clients.close_door();
        drop(lock);
        // Last, so that whoever hears of the end finds the container as it will stay.
        relay.clients.dismiss(last);
        relay.clients.see_off();
        drop(self.interfaces.take());
        self.state.exit_code
    }
}
