//! What connects a container that runs to the rest of the world: networks of ours, or a program of others.

use super::connection::{Connection, Interfaces};
use super::program::{Command, Program};
use super::{pasta, ports, slirp4netns};
use crate::container::engine::Engine;
use crate::container::options::{NetworkMode, Options};
use crate::container::record::{Directory, Record};
use crate::error::{Error, Kind, bad_input};
use crate::id_mapping::find_program;
use crate::network::endpoint::{Protocol, Publication};
use crate::network::forward::inside::Inside;
use crate::network::forward::{Forwarder, Target, Wanted};
use crate::sys::process::Child;
use anyhow::Result;
use rustix::event::PollFd;
use std::net::IpAddr;
use std::path::PathBuf;

/// The networks of one run, or what stands in for them.
pub enum Attachment {
    /// Networks.
    Networks(Box<Connection>),
    /// slirp4netns or pasta.
    Program(Box<Substitute>),
}

/// A program of others, and what it is to do.
pub struct Substitute {
    kind: Which,
    path: PathBuf,
    ports: Vec<Publication>,
    running: Option<Program>,
}

enum Which {
    Slirp4netns(slirp4netns::Options),
    Pasta(Vec<String>),
}

impl Attachment {
    /// Takes addresses, those that it had before if they are free, and opens ports; `None` for a container that is in no network.
    pub fn prepare(
        engine: &Engine,
        record: &Record,
        before: &[IpAddr],
        warnings: &mut Vec<String>,
    ) -> Result<Option<Self>> {
        if let Some(substitute) = Substitute::of(&record.options)? {
            let substitute = substitute.with_ports(record)?;
            return Ok(Some(Self::Program(Box::new(substitute))));
        }
        let connection = Connection::prepare(engine, record, before, warnings)?;
        Ok(connection.map(|connection| Self::Networks(Box::new(connection))))
    }

    /// Connects a container that is just being made.
    pub fn connect(&mut self, engine: &Engine, record: &Record, child: &Child) -> Result<()> {
        match self {
            Self::Networks(connection) => connection.connect(engine, record, child),
            Self::Program(substitute) => {
                substitute.start(&Directory::of(engine, &record.id), child)
            }
        }
    }

    /// The networks, if these are ours.
    pub fn networks(&mut self) -> Option<&mut Connection> {
        match self {
            Self::Networks(connection) => Some(connection),
            Self::Program(_) => None,
        }
    }

    /// The container's addresses in networks.
    pub fn addresses(&self) -> Vec<IpAddr> {
        match self {
            Self::Networks(connection) => connection.addresses(),
            Self::Program(_) => Vec::new(),
        }
    }

    /// Ports of the host that nobody tells of but this.
    pub fn ports(&self) -> &[Publication] {
        match self {
            Self::Networks(_) => &[],
            Self::Program(substitute) => &substitute.ports,
        }
    }

    /// The address by which the host is reached (`host-gateway`).
    pub fn host(&self) -> Option<IpAddr> {
        match self {
            Self::Networks(connection) => connection.host(),
            Self::Program(substitute) => match &substitute.kind {
                Which::Slirp4netns(options) => options.gateway(),
                Which::Pasta(_) => None,
            },
        }
    }

    /// Adds what has to be waited for.
    pub fn watch<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        if let Self::Networks(connection) = self {
            connection.watch(fds);
        }
    }

    /// Something may have happened to that.
    pub fn turn(&mut self, engine: &Engine) {
        if let Self::Networks(connection) = self {
            connection.turn(engine);
        }
    }

    /// The container has ended: all of it goes but the interfaces, if there are any.
    pub fn end(self, engine: &Engine) -> Option<Interfaces> {
        match self {
            Self::Networks(connection) => Some(connection.end(engine)),
            Self::Program(_) => None,
        }
    }
}

/// Whether what a container wants of a program of others can be had.
pub fn check(options: &Options) -> Result<()> {
    match Substitute::of(options)? {
        Some(substitute) => substitute.wanted(options).map(drop),
        None => Ok(()),
    }
}

impl Substitute {
    /// Where the container asks for names.
    pub fn resolver(&self) -> String {
        match &self.kind {
            Which::Slirp4netns(options) => options.resolver().to_string(),
            Which::Pasta(words) => pasta::resolver(words).to_owned(),
        }
    }

    /// The container's address, where that is known beforehand.
    pub fn address(&self) -> Option<IpAddr> {
        match &self.kind {
            Which::Slirp4netns(options) => Some(options.address()),
            Which::Pasta(_) => None,
        }
    }

    fn of(options: &Options) -> Result<Option<Self>, Error> {
        let (kind, name, package) = match &options.network {
            NetworkMode::Slirp4netns(words) => {
                let kind = Which::Slirp4netns(slirp4netns::Options::parse(words)?);
                (kind, "slirp4netns", "slirp4netns")
            }
            NetworkMode::Pasta(words) => (Which::Pasta(words.clone()), "pasta", "passt"),
            _ => return Ok(None),
        };
        let Some(path) = find_program(name) else {
            let message = format!("--network {name}: the program `{name}` is not installed");
            return Err(Error::new(Kind::Unsupported, message).hint(format!(
                "install the package {package}, or leave --network out: bridge networks need no program"
            )));
        };
        Ok(Some(Self {
            kind,
            path,
            ports: Vec::new(),
            running: None,
        }))
    }

    /// What is to be published.
    fn wanted(&self, options: &Options) -> Result<Vec<Wanted>> {
        let mut wanted = ports::wanted(options, None)?;
        if wanted.iter().any(|port| port.protocol == Protocol::Sctp) {
            let message = "slirp4netns and pasta carry TCP and UDP only, no SCTP";
            return Err(bad_input(message).into());
        }
        if let Which::Slirp4netns(_) = self.kind {
            slirp4netns::narrow(&mut wanted)?;
        }
        Ok(wanted)
    }

    /// Chooses ports of the host. They are free at this moment; that they are taken is told best by who knows by whom.
    fn with_ports(mut self, record: &Record) -> Result<Self> {
        let wanted = self.wanted(&record.options)?;
        let target = Target {
            id: record.id.clone(),
            name: record.name.clone(),
            ipv4: None,
            ipv6: None,
            gateways: Vec::new(),
        };
        self.ports = Forwarder::new(Inside::Here)?.publish(target, &wanted)?;
        Ok(self)
    }

    fn command(&self, directory: &Directory) -> Command {
        let path = self.path.clone();
        match &self.kind {
            Which::Slirp4netns(options) => options.command(path, !self.ports.is_empty()),
            Which::Pasta(words) => pasta::command(path, words, &self.ports, directory.path()),
        }
    }

    fn start(&mut self, directory: &Directory, child: &Child) -> Result<()> {
        let is_slirp4netns = matches!(self.kind, Which::Slirp4netns(_));
        if is_slirp4netns {
            slirp4netns::clear(directory.path());
        }
        let command = self.command(directory);
        let running = Program::start(&command, directory.path(), child.pid)?;
        if is_slirp4netns && !self.ports.is_empty() {
            slirp4netns::publish(directory.path(), &self.ports)?;
        }
        self.running = Some(running);
        Ok(())
    }
}
