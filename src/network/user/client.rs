//! The side of those that want connections of containers to be carried: monitors.
//!
//! Who finds nobody at the socket starts a network process. It waits for the lock that the one before holds until it is
//! gone, looks whether another one was quicker, and says when it can be asked ([`super::serve`]).

use super::protocol::{Answer, Lease, PORTS_MAX, Question, Read, receive, send};
use crate::network::endpoint::Publication;
use crate::network::forward::Wanted;
use crate::network::record::Network;
use crate::paths::Paths;
use crate::paths::network::PROCESS_SOCKET;
use crate::sys::socket::Channel;
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A connection to the network process. Its end releases all leases, also when this process is killed.
#[derive(Debug)]
pub struct Client {
    channel: Channel,
    namespaces: Namespaces,
}

/// Where networks of a user are.
#[derive(Debug)]
pub struct Namespaces {
    /// The user namespace of the network process, in which the other one was made.
    pub user: OwnedFd,
    /// The network namespace with the bridges.
    pub network: OwnedFd,
}

impl Client {
    /// Connects to the network process of a store; `None` when there is none, or one that is just ending.
    pub fn connect(paths: &Paths) -> Result<Option<Self>> {
        let path = paths.network_process();
        let directory = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened.with_context(|| format!("open `{}`", path.display()))?,
        };
        match Channel::connect(directory.as_fd(), PROCESS_SOCKET)? {
            Some(channel) => Self::over(channel),
            None => Ok(None),
        }
    }

    fn over(channel: Channel) -> Result<Option<Self>> {
        if send(&channel, &Question::Namespaces, None, true).is_err() {
            return Ok(None);
        }
        let next = || match receive::<Answer>(&channel, true)? {
            Read::Message(Answer::User | Answer::Network, Some(descriptor)) => Ok(Some(descriptor)),
            Read::Message(answer, _) => bail!("the network process answered {answer:?}"),
            Read::Nothing | Read::Closed => Ok(None),
        };
        let (Some(user), Some(network)) = (next()?, next()?) else {
            return Ok(None);
        };
        let namespaces = Namespaces { user, network };
        Ok(Some(Self {
            channel,
            namespaces,
        }))
    }

    /// The namespaces.
    pub fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// Has the connections of an endpoint carried, and ports of the host lead to it: all, or nothing at all.
    ///
    /// Errors: those of [`crate::network::forward::Forwarder::publish`].
    pub fn lease(&self, lease: &Lease, ports: &[Wanted]) -> Result<Vec<Publication>> {
        self.ask(&Question::Lease(lease.clone()))?;
        let mut published = Vec::new();
        for some in ports.chunks(PORTS_MAX) {
            let endpoint = lease.endpoint.clone();
            let ports = some.to_vec();
            match self.ask(&Question::Publish { endpoint, ports }) {
                Ok(Answer::Published(some)) => published.extend(some),
                Ok(answer) => bail!("the network process answered {answer:?}"),
                Err(error) => {
                    self.release(&lease.endpoint)?;
                    return Err(error);
                }
            }
        }
        Ok(published)
    }

    /// Ends the lease of an endpoint: its ports are free, what went through them is cut.
    pub fn release(&self, endpoint: &str) -> Result<()> {
        let endpoint = endpoint.to_owned();
        self.ask(&Question::Release { endpoint }).map(|_| ())
    }

    /// Removes what the containers of a network shared.
    pub fn remove(&self, network: &Network) -> Result<()> {
        let question = Question::Remove(Box::new(network.clone()));
        self.ask(&question).map(|_| ())
    }

    /// Puts back what is missing of rules, routes and the bridge of a network.
    pub fn restore(&self, network: &Network, ends: &[String]) -> Result<()> {
        ends.chunks(PORTS_MAX).try_for_each(|some| {
            let question = Question::Restore {
                network: Box::new(network.clone()),
                ends: some.to_vec(),
            };
            self.ask(&question).map(|_| ())
        })
    }

    fn ask(&self, question: &Question) -> Result<Answer> {
        send(&self.channel, question, None, true).context("ask the network process")?;
        match receive(&self.channel, true).context("ask the network process")? {
            Read::Message(Answer::Failed(failure), _) => Err(failure.into_error()),
            Read::Message(answer, _) => Ok(answer),
            Read::Nothing | Read::Closed => bail!("the network process has ended"),
        }
    }
}

/// Readable when the network process has ended: it says nothing by itself.
impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}
