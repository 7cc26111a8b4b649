//! The process that executes steps of a build, one after the other: who starts it, and how both talk.
//!
//! ```text
//! scheduler ── order, descriptors ──▶ worker ──▶ the step's program, in a container that nobody sees
//!           ◀── output … result ────
//! ```
//!
//! It is this program under another name ([`crate::container::spawn`]); an ordinary user's is root of the store's user
//! namespace. It lives as long as the scheduler holds its channel: when that is dropped, or its process is killed, the
//! worker kills what it runs, takes away what it has half made, and ends.
//!
//! Not here: which steps there are, in which order, and which of them are known already.

mod agent;
mod cache;
mod chroot;
mod files;
mod guest;
mod layer;
pub mod layers;
mod message;
pub mod mode;
mod mounts;
pub mod order;
mod owner;
mod replica;
mod run;
mod serve;

pub use serve::{WORKER_NAME, main};

use crate::container::engine::Engine;
use crate::container::spawn::{self, Complaint, Home, Neighbour};
use crate::container::{remove, step};
use crate::error::{Error, Kind};
use crate::network::user::Client;
use crate::sys::process::Identity;
use crate::sys::socket::Channel;
use anyhow::{Context, Result, bail};
use message::{Read, Told};
use mode::Mode;
use order::{Answer, Order};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

/// The scheduler's end of one.
pub struct Worker {
    /// How it carries steps out.
    pub mode: Mode,
    channel: Channel,
    pid: i32,
    complaint: Option<Complaint<'static>>,
    /// Keeps the networks of a user where the worker can reach them.
    _networks: Option<Client>,
}

impl Worker {
    /// Starts one. For an ordinary user, the others live beside the first: to make its user namespace takes long.
    ///
    /// Returns once it runs.
    pub fn start(engine: &Engine, beside: Option<&Self>) -> Result<Self> {
        let (home, networks) = match beside {
            Some(worker) if engine.mapping.needs_user_namespace() => (Some(worker.home()?), None),
            Some(_) => (None, None),
            None => {
                // What an earlier build has left that was killed.
                remove::sweep(engine)?;
                match engine.mapping.refused {
                    None => step::home(engine)?,
                    Some(_) => (None, None),
                }
            }
        };
        let neighbour = home.map(|user_namespace| Neighbour {
            user_namespace: Some(user_namespace),
            program: None,
        });
        let (channel, theirs) = Channel::pair()?;
        let complaint = spawn::spawn(
            engine,
            neighbour.as_ref().map_or(Home::New, Home::Beside),
            WORKER_NAME,
            "-",
            &[theirs.as_fd()],
        )
        .context("start a worker")?;
        drop(theirs);
        let mut worker = Self {
            mode: Mode::Containers,
            channel,
            pid: 0,
            complaint: Some(complaint),
            _networks: networks,
        };
        match worker.read()? {
            Told::Greeting(greeting) => {
                worker.pid = greeting.pid;
                worker.mode = greeting.mode;
            }
            Told::Answer(Answer::Failed { message, hint }) => {
                let error = Error::new(Kind::Unsupported, message);
                return Err(match hint {
                    Some(hint) => error.hint(hint),
                    None => error,
                }
                .into());
            }
            told => bail!("the worker began with {told:?}"),
        }
        Ok(worker)
    }

    fn home(&self) -> Result<std::os::fd::OwnedFd> {
        let path = format!("/proc/{}/ns/user", self.pid);
        let namespace = File::open(&path).with_context(|| format!("open `{path}`"))?;
        Ok(namespace.into())
    }

    /// Who it is, on the host.
    pub fn identity(&self) -> Result<Identity> {
        Identity::of(self.pid)
    }

    /// Gives it a step to execute, with the descriptors that this speaks of. It takes one at a time.
    pub fn order(&self, order: &Order, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        message::send_order(&self.channel, order, descriptors).context("give a worker its order")
    }

    /// What it says next, waiting for that. [`Answer::Done`], [`Answer::Exited`] and [`Answer::Failed`] are the last about
    /// an order.
    pub fn receive(&mut self) -> Result<Answer> {
        match self.read()? {
            Told::Answer(answer) => Ok(answer),
            told => bail!("the worker said {told:?} again"),
        }
    }

    fn read(&mut self) -> Result<Told> {
        match message::receive(&self.channel).context("listen to a worker")? {
            Read::Told(told) => Ok(told),
            Read::Closed => {
                let said = self.complaint.take().map(Complaint::heard).transpose()?;
                Err(said.flatten().unwrap_or_else(|| {
                    Error::new(Kind::Conflict, "the process that ran the step was killed").into()
                }))
            }
        }
    }
}

/// Readable when it has something to say.
impl AsFd for Worker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}
