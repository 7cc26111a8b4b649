//! The monitor: one process per container, from before its program starts until after it has ended. It owns the
//! program's streams, its exit status and the container's lock; nobody else writes the container's state.
//!
//! It is this program under another name, started by [`super::start`] with its channel to the client at
//! descriptor 3 and the container's lock at 4. Everything else it reads from the record.

pub mod channel;
pub mod client;
mod files;
mod relay;

use super::engine::Engine;
use super::options::Namespace;
use super::record::{Directory, Record, State, now};
use super::{keep_id, remove, spec};
use crate::image::store::overlay_order;
use crate::paths::Paths;
use crate::runtime::plan::{Bundle, Root};
use crate::runtime::process::parent::{self, Started, Streams};
use crate::store::atomic::Durability;
use crate::store::lock::Lock;
use crate::sys::process::{self, Identity};
use crate::sys::signal::SignalFd;
use crate::sys::socket::Channel;
use anyhow::{Context, Result, bail};
use channel::{MONITOR_CHANNEL, MONITOR_LOCK};
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Runs a monitor; `arguments` are those of [`super::start`].
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> u8 {
    let Ok(descriptor) = process::inherited(MONITOR_CHANNEL) else {
        return 125;
    };
    let channel = Channel::from_descriptor(descriptor);
    leave_the_caller();
    match (|| {
        let lock = Lock::inherited(process::inherited(MONITOR_LOCK)?);
        let (Some(data), Some(run), Some(id)) =
            (arguments.nth(1), arguments.next(), arguments.next())
        else {
            bail!("a monitor is started by the program itself only");
        };
        let engine = Engine::reopen(Paths::new(data, run))?;
        let id = id.into_string().unwrap_or_default();
        let record = Directory::of(&engine, &id)
            .record()?
            .context("the container has no record")?;
        Ok::<_, anyhow::Error>(Monitor {
            directory: Directory::of(&engine, &id),
            engine,
            record,
            lock,
            channel: Some(channel),
        })
    })() {
        Ok(monitor) => monitor.run(),
        Err(_) => 125,
    }
}

/// Of the caller nothing stays but the environment: not its session and process group, whose end would be ours, not
/// its directory, which could not be unmounted, not its mask for new files.
fn leave_the_caller() {
    // Fails only for the leader of a group, which has a session of its own already.
    let _ = rustix::process::setsid();
    let _ = rustix::process::chdir("/");
    rustix::process::umask(rustix::fs::Mode::from(0o022));
}

struct Monitor {
    engine: Engine,
    record: Record,
    directory: Directory,
    lock: Lock,
    channel: Option<Channel>,
}

/// The monitor's ends of the program's streams.
struct Pipes {
    input: Option<OwnedFd>,
    output: Option<OwnedFd>,
    error: Option<OwnedFd>,
}

impl Monitor {
    fn run(mut self) -> u8 {
        let (code, failure) = match self.live() {
            Ok(code) => (code, None),
            Err(error) => (crate::error::exit_code(&error, 125), Some(error)),
        };
        let channel = self.channel.take();
        if self.record.options.auto_remove {
            // What cannot be removed now is swept by the next command.
            let _ = remove::remove_locked(&self.engine, &self.record.id, self.lock);
        } else {
            drop(self.lock);
        }
        // Last, so that the caller finds nothing of the container left when it hears of the end.
        if let Some(channel) = channel {
            let _ = match failure {
                None => channel::send_ended(&channel, code),
                Some(error) => channel::send_failed(&channel, &error),
            };
        }
        code
    }

    /// From start to end; the state on disk follows.
    fn live(&mut self) -> Result<u8> {
        let mut state = State::beginning(Identity::of(std::process::id() as i32)?, 0);
        let shared_processes = self.record.options.pid == Namespace::Host;
        if shared_processes {
            rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1))
                .context("prctl PR_SET_CHILD_SUBREAPER")?;
        }
        let result = self.start_program(&mut state).and_then(|(started, pipes)| {
            if let Some(channel) = &self.channel {
                // A client that has gone meanwhile is noticed by the relay.
                let _ = channel::send_started(channel);
            }
            relay::run(&mut self.channel, started, pipes)
        });
        if shared_processes {
            // Without a pid namespace of its own, the end of its first process ends nobody else.
            let _ = process::kill_children();
        }
        state.finished = now();
        let result = match result {
            Ok(ended) => {
                state.exit_code = ended.code();
                Ok(ended.code())
            }
            Err(error) => {
                state.exit_code = crate::error::exit_code(&error, 125);
                state.error = format!("{error:#}");
                Err(error)
            }
        };
        if !self.record.options.auto_remove {
            // On a full disk the old file still has its place. Whatever becomes of it, the caller hears how it ended.
            let _ = self
                .directory
                .write_state(&state, Durability::Durable)
                .or_else(|_| self.directory.overwrite_state(&state));
        }
        result
    }

    fn start_program(&self, state: &mut State) -> Result<(Started, Pipes)> {
        // Nothing but the end of the container ends the monitor: a signal to the whole process group or control
        // group is for the client to pass on.
        let _signals = SignalFd::block_all()?;
        self.directory.write_state(state, Durability::Volatile)?;
        files::write(&self.record, &self.directory)?;
        self.renew_work_directory()?;
        let (streams, pipes) = pipes(self.record.options.interactive, self.record.options.tty)?;
        let started = parent::start(self.bundle()?, &streams)?;
        drop(streams);
        state.program = Some(Identity::of(started.child.pid)?);
        state.started = now();
        self.directory.write_state(state, Durability::Volatile)?;
        Ok((started, pipes))
    }

    /// An overlay that was once mounted volatile, or was cut off, refuses its old work directory.
    fn renew_work_directory(&self) -> Result<()> {
        let work = self.directory.file("work");
        if work.join("work").exists() {
            std::fs::remove_dir_all(&work)
                .with_context(|| format!("remove `{}`", work.display()))?;
            std::fs::create_dir(&work).with_context(|| format!("create `{}`", work.display()))?;
        }
        Ok(())
    }

    /// An overlay shows its root with the owner and the mode of the upper directory: those of the image, then.
    fn give_root_attributes(&self, top: Option<&PathBuf>) -> Result<()> {
        let Some(top) = top else { return Ok(()) };
        let upper = self.directory.file("upper");
        let stat = |path: &PathBuf| {
            std::fs::metadata(path).with_context(|| format!("stat `{}`", path.display()))
        };
        let (wanted, found) = (stat(top)?, stat(&upper)?);
        if (wanted.uid(), wanted.gid()) != (found.uid(), found.gid()) {
            std::os::unix::fs::chown(&upper, Some(wanted.uid()), Some(wanted.gid()))
                .with_context(|| format!("change the owner of `{}`", upper.display()))?;
        }
        if wanted.mode() != found.mode() {
            std::fs::set_permissions(&upper, wanted.permissions())
                .with_context(|| format!("change the mode of `{}`", upper.display()))?;
        }
        Ok(())
    }

    /// The trees of the layers, uppermost first.
    fn layers(&self) -> Result<Vec<PathBuf>> {
        if spec::keeps_id(&self.record.options, &self.engine) {
            return keep_id::layers(&self.engine, &self.record);
        }
        let keys = overlay_order(&self.record.layers).into_iter();
        Ok(keys.map(|key| self.engine.paths.layer_tree(key)).collect())
    }

    fn bundle(&self) -> Result<Bundle> {
        let options = &self.record.options;
        let lower = self.layers()?;
        self.give_root_attributes(lower.first())?;
        Ok(Bundle {
            spec: spec::build(&self.record, &self.engine)?,
            root: Root::Overlay {
                lower,
                upper: self.directory.file("upper"),
                work: self.directory.file("work"),
                volatile: options.auto_remove,
            },
            groups: options.group_add.clone(),
            tier: self.engine.mapping.tier,
            seccomp: spec::seccomp(options, &self.engine)?,
        })
    }
}

/// The program's streams and our ends of them.
fn pipes(interactive: bool, terminal: bool) -> Result<(Streams, Pipes)> {
    let nothing = || -> Result<OwnedFd> {
        Ok(File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .context("open `/dev/null`")?
            .into())
    };
    if terminal {
        let pipes = Pipes {
            input: None,
            output: None,
            error: None,
        };
        return Ok(([nothing()?, nothing()?, nothing()?], pipes));
    }
    let (output, output_in) = std::io::pipe().context("pipe")?;
    let (error, error_in) = std::io::pipe().context("pipe")?;
    let (input, input_out) = match interactive {
        true => {
            let (reader, writer) = std::io::pipe().context("pipe")?;
            (reader.into(), Some(writer.into()))
        }
        false => (nothing()?, None),
    };
    let ours = Pipes {
        input: input_out,
        output: Some(output.into()),
        error: Some(error.into()),
    };
    Ok(([input, output_in.into(), error_in.into()], ours))
}
