//! A registry of our own: the server's side of the OCI distribution-spec, of version 1.1, with Docker's catalog.
//!
//! ```text
//! listener ─▶ a thread per connection ─▶ http::request ─▶ route ─▶ pull · push · discovery ─▶ storage
//!             (connection)               http::body                                           folder | images
//! ```
//!
//! - `http`: requests and answers · `listener`, `connection`: where they come from, and how many at a time
//! - `route`, `name`, `digest`: what a path means · `refusal`: answers that say no
//! - `pull`, `push`, `discovery`: what the specification calls so
//! - `storage`: what is served: a `folder` of the registry's own, or the `images` of the store
//!
//! Not here: who may do what. A registry that other machines reach is for networks whose machines are all trusted, or
//! stands behind a proxy that asks for passwords.

mod connection;
pub mod digest;
mod discovery;
pub mod folder;
mod http;
pub mod images;
pub mod listener;
pub mod name;
mod pull;
mod push;
pub mod refusal;
mod route;
pub mod storage;

use crate::sys::signal::SignalFd;
use anyhow::{Context, Result};
use connection::Connections;
use http::socket::Socket;
use listener::Listener;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::Storage;

/// How often is looked whether somebody has gone, where that is waited for.
const LOOK: Duration = Duration::from_millis(20);

/// The certificate that a server shows.
pub type Tls = Arc<rustls::ServerConfig>;

/// Reads the files of a certificate and its key.
pub fn tls(certificates: &Path, key: &Path) -> Result<Tls> {
    http::tls::configuration(certificates, key)
}

/// Something that who runs a server may want to know.
pub enum Event<'a> {
    /// A request was answered.
    Answered {
        /// Where it came from, to be shown.
        client: &'a dyn std::fmt::Display,
        /// Its method and target, as they were written.
        line: &'a str,
        /// Of the answer.
        status: u16,
    },
    /// A request could not be answered, for a reason that lies here.
    Failed {
        /// Its method and target, as they were written.
        line: &'a str,
        /// The reason.
        error: &'a anyhow::Error,
    },
    /// No connection could be taken, or one has ended before its time.
    Broken(&'a anyhow::Error),
}

/// A registry.
pub struct Server<'a> {
    /// What it serves.
    pub storage: &'a dyn Storage,
    /// Whether and how it speaks TLS over TCP.
    pub tls: Option<Tls>,
    /// Called from any thread.
    pub report: &'a (dyn Fn(Event) + Sync),
}

/// How long a server runs.
pub struct Until {
    /// Signals that ask it to end; made before any thread.
    pub signals: SignalFd,
    /// Without any connection it ends after that time.
    pub idle: Option<Duration>,
}

impl Server<'_> {
    /// Answers until it is asked to end, or nobody has come for a while. What is being answered then is finished, unless
    /// it is asked a second time.
    pub fn run(&self, listeners: Vec<Listener>, until: &Until) -> Result<()> {
        let connections = Connections::default();
        std::thread::scope(|scope| {
            let mut used = Instant::now();
            let outcome = loop {
                if connections.number() > 0 {
                    used = Instant::now();
                }
                let left = until.idle.map(|idle| idle.saturating_sub(used.elapsed()));
                if left.is_some_and(|left| left.is_zero()) || until.signals.next().is_some() {
                    break Ok(());
                }
                if let Err(error) = wait(&listeners, until, &connections, left) {
                    break Err(error);
                }
                if connections.is_full() {
                    connections.make_room();
                    continue;
                }
                for listener in &listeners {
                    match listener.accept() {
                        Ok(Some(socket)) => self.take(scope, &connections, socket),
                        Ok(None) => {}
                        Err(error) => {
                            let error = anyhow::Error::from(error).context("accept a connection");
                            (self.report)(Event::Broken(&error));
                            std::thread::sleep(LOOK);
                        }
                    }
                }
            };
            // Nobody who comes now is to wait for an answer.
            drop(listeners);
            connections.stop();
            while connections.number() > 0 {
                if until.signals.next().is_some() {
                    connections.cut();
                }
                std::thread::sleep(LOOK);
            }
            outcome
        })
    }

    fn take<'scope>(
        &'scope self,
        scope: &'scope std::thread::Scope<'scope, '_>,
        connections: &'scope Connections,
        socket: Socket,
    ) {
        let ticket = connections.enter(socket);
        let spawned = std::thread::Builder::new().spawn_scoped(scope, move || {
            // A client that goes away, or never says anything, is no news.
            if let Err(error) = connection::serve(self, &ticket)
                && !error.chain().any(|cause| cause.is::<std::io::Error>())
            {
                (self.report)(Event::Broken(&error));
            }
        });
        if let Err(error) = spawned {
            let error = anyhow::Error::from(error).context("start a thread for a connection");
            (self.report)(Event::Broken(&error));
        }
    }
}

/// Until somebody comes, or it is time to look at something.
fn wait(
    listeners: &[Listener],
    until: &Until,
    connections: &Connections,
    left: Option<Duration>,
) -> Result<()> {
    let mut waited = vec![PollFd::from_borrowed_fd(
        until.signals.as_fd(),
        PollFlags::IN,
    )];
    let is_full = connections.is_full();
    if !is_full {
        let listeners = listeners.iter();
        waited.extend(listeners.map(|listener| PollFd::new(listener, PollFlags::IN)));
    }
    let time = match (is_full, left) {
        (true, _) => Some(LOOK),
        // So that the time is counted from when the last client has gone.
        (false, left) => left.map(|left| left.min(Duration::from_secs(1))),
    };
    let time = time.and_then(|time| Timespec::try_from(time).ok());
    match poll(&mut waited, time.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error).context("wait for connections"),
    }
}
