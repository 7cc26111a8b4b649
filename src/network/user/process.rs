//! The process itself: monitors that come and go, and the loop.

use super::client::Client as Caller;
use super::leases::Leases;
use super::namespace::{Prepared, enter, renew};
use super::outgoing::{Around, FREE, Outgoing};
use super::protocol::{Answer, Failure, Lease, Question, Read, receive, send};
use crate::error::bad_input;
use crate::network::attach;
use crate::network::forward::events::{Key, Table, Token, Watch};
use crate::network::forward::inside::{Inside, Sockets, Worker};
use crate::network::forward::{FOREIGN, Forwarder, Target, Wanted};
use crate::network::home::Home;
use crate::paths::Paths;
use crate::paths::network::PROCESS_SOCKET;
use crate::store::lock::Lock;
use crate::sys::socket::{Channel, Listener};
use crate::sys::{descriptor, memory};
use anyhow::{Context, Result, bail};
use rustix::event::epoll::EventFlags;
use rustix::net::sockopt;
use std::fs::{DirBuilder, File};
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::time::{Duration, Instant};

const LISTENER: u8 = FREE;
const CLIENT: u8 = FREE + 1;
/// How long there may be nobody: at first, and after the last one.
const FIRST: Duration = Duration::from_secs(10);
const LAST: Duration = Duration::from_secs(2);
/// How long after a monitor has said something others may be about to.
const CALM: Duration = Duration::from_secs(1);
/// How long the one before may take to end, and how often is looked.
const PREDECESSOR: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(5);

/// What the process begins with. It is root of its user namespace, its network namespace is the host's.
#[derive(Debug)]
pub struct Start {
    /// Where monitors come.
    pub listener: Listener,
    /// The network namespace, where there is one already: of a process that was killed.
    pub namespace: Option<OwnedFd>,
}

/// Is the network process of a store, or finds that there is one; says once that it can be asked. Returns when nobody holds
/// a lease any more. `namespace` is that of the networks, where there is one already: of a process that was killed.
///
/// Errors: the kernel does not allow what it takes.
pub fn serve(paths: &Paths, namespace: Option<OwnedFd>, ready: impl FnOnce()) -> Result<()> {
    let directory = paths.network_process();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory)
        .with_context(|| format!("make `{}`", directory.display()))?;
    let end = Instant::now() + PREDECESSOR;
    let lock = loop {
        if let Some(lock) = Lock::try_make(&paths.network_process_lock())? {
            break lock;
        }
        // Somebody was quicker, or is about to end.
        if Caller::connect(paths)?.is_some() {
            ready();
            return Ok(());
        }
        if Instant::now() > end {
            bail!("the network process before this one does not end");
        }
        std::thread::sleep(LOOK);
    };
    let opened =
        File::open(&directory).with_context(|| format!("open `{}`", directory.display()))?;
    let listener = Listener::bind(opened.as_fd(), PROCESS_SOCKET)?;
    let result = carry(
        Start {
            listener,
            namespace,
        },
        ready,
    );
    drop(lock);
    result
}

/// Carries connections until nobody holds a lease any more.
///
/// Errors: the kernel does not allow what it takes.
pub fn carry(start: Start, ready: impl FnOnce()) -> Result<()> {
    // Each connection takes two descriptors; with fewer of them it carries fewer.
    let _ = descriptor::raise_limit();
    let given = start.namespace;
    let (worker, prepared) = Worker::start(move || enter(given))?;
    let Prepared { namespace, ears } = prepared;
    let forwarder = Forwarder::new(Inside::Elsewhere(Sockets::new(worker)))?;
    let outgoing = Outgoing::new(ears, &forwarder)?;
    let token = Token::new(LISTENER, Key::default());
    let watched = forwarder
        .events
        .watch(start.listener.as_fd(), token, Watch::Level);
    watched.context("epoll_ctl")?;
    let user = File::open("/proc/self/ns/user").context("open `/proc/self/ns/user`")?;
    ready();
    let mut process = Process {
        forwarder,
        outgoing,
        leases: Leases::default(),
        listener: start.listener,
        clients: Table::default(),
        user: user.into(),
        network: namespace,
        ends: Some(Instant::now() + FIRST),
        calm: Some(Instant::now() + CALM),
    };
    process.run()
}

struct Process {
    forwarder: Forwarder,
    outgoing: Outgoing,
    leases: Leases,
    listener: Listener,
    clients: Table<Client>,
    user: OwnedFd,
    network: OwnedFd,
    /// When there was nobody for long enough.
    ends: Option<Instant>,
    /// When no monitor has said anything for long enough that what it takes to answer one is given back.
    calm: Option<Instant>,
}

/// A monitor.
struct Client {
    channel: Channel,
    /// Of its leases.
    endpoints: Vec<String>,
}

impl Process {
    fn run(&mut self) -> Result<()> {
        let mut happened = Vec::new();
        loop {
            let wait = !self.forwarder.streams.is_tired();
            let is_calm = |calm: &mut Instant| *calm <= Instant::now();
            let lightly = wait && self.calm.take_if(is_calm).is_some();
            let events = &mut self.forwarder.events;
            let taken = match lightly {
                true => memory::sleep_lightly(|| events.take(wait, &mut happened)),
                false => events.take(wait, &mut happened),
            };
            taken.context("epoll_wait")?;
            for (token, flags) in happened.drain(..) {
                self.handle(token, flags);
            }
            let forwarder = &mut self.forwarder;
            forwarder.streams.go_on(&forwarder.events);
            let mut around = Around {
                forwarder: &mut self.forwarder,
                leases: &self.leases,
            };
            self.outgoing.complain(&mut around);
            let now = Instant::now();
            if self.ends.is_some_and(|ends| ends <= now) {
                // Somebody may have come in the last moment.
                self.welcome();
                if self.clients.is_empty() {
                    return Ok(());
                }
            }
            let times = [
                self.forwarder.expire(now),
                self.outgoing.expire(now, &self.forwarder.events),
                self.ends,
                self.calm.filter(|calm| *calm > now),
            ];
            let next = times.into_iter().flatten().min();
            self.forwarder
                .events
                .set_alarm(next)
                .context("timerfd_settime")?;
        }
    }

    fn handle(&mut self, token: Token, flags: EventFlags) {
        if let LISTENER | CLIENT = token.kind {
            self.calm = Some(Instant::now() + CALM);
        }
        match token.kind {
            LISTENER => self.welcome(),
            CLIENT => self.listen(token.key),
            FOREIGN..FREE => {
                let mut around = Around {
                    forwarder: &mut self.forwarder,
                    leases: &self.leases,
                };
                self.outgoing.handle(token, flags, &mut around);
            }
            _ => self.forwarder.handle(token, flags),
        }
    }

    /// Monitors have come.
    fn welcome(&mut self) {
        while let Some(channel) = self.listener.accept() {
            // Nobody else can reach the socket's directory, but directories can be given away.
            let own = rustix::process::geteuid();
            let is_own = sockopt::socket_peercred(&channel).is_ok_and(|peer| peer.uid == own);
            if !is_own {
                continue;
            }
            let key = self.clients.insert(Client {
                channel,
                endpoints: Vec::new(),
            });
            self.ends = None;
            if let Some(client) = self.clients.get(key) {
                let token = Token::new(CLIENT, key);
                let watched =
                    self.forwarder
                        .events
                        .watch(client.channel.as_fd(), token, Watch::Level);
                if watched.is_err() {
                    self.dismiss(key);
                }
            }
        }
    }

    /// A monitor says something.
    fn listen(&mut self, key: Key) {
        let Some(client) = self.clients.get(key) else {
            return;
        };
        let done = match receive::<Question>(&client.channel, false) {
            Ok(Read::Nothing) => return,
            Ok(Read::Message(question, _)) => self.answer(key, question),
            Ok(Read::Closed) | Err(_) => Err(anyhow::anyhow!("gone")),
        };
        // Whoever does not speak our language, or takes no answers, is sent away.
        if done.is_err() {
            self.dismiss(key);
        }
    }

    fn answer(&mut self, key: Key, question: Question) -> Result<()> {
        let result = match question {
            Question::Namespaces => {
                let Some(client) = self.clients.get(key) else {
                    return Ok(());
                };
                send(
                    &client.channel,
                    &Answer::User,
                    Some(self.user.as_fd()),
                    false,
                )?;
                let network = Some(self.network.as_fd());
                return send(&client.channel, &Answer::Network, network, false);
            }
            Question::Lease(lease) => self.lease(key, lease).map(|()| Answer::Done),
            Question::Publish { endpoint, ports } => {
                self.publish(key, &endpoint, &ports).map(Answer::Published)
            }
            Question::Release { endpoint } => {
                if let Some(client) = self.clients.get_mut(key) {
                    let before = client.endpoints.len();
                    client.endpoints.retain(|own| *own != endpoint);
                    if client.endpoints.len() < before {
                        self.release(&endpoint);
                    }
                }
                Ok(Answer::Done)
            }
            Question::Remove(network) => self
                .inside(move |home| attach::remove(home, &network))
                .map(|()| Answer::Done),
            Question::Restore { network, ends } => self
                .inside(move |home| {
                    renew()?;
                    attach::restore(home, &network, &ends)
                })
                .map(|()| Answer::Done),
        };
        let answer = result.unwrap_or_else(|error| Answer::Failed(Failure::of(&error)));
        match self.clients.get(key) {
            Some(client) => send(&client.channel, &answer, None, false),
            None => Ok(()),
        }
    }

    fn lease(&mut self, key: Key, lease: Lease) -> Result<()> {
        if self.leases.of(&lease.endpoint).is_some() {
            return Err(bad_input(format!("endpoint {} is leased already", lease.endpoint)).into());
        }
        let Some(client) = self.clients.get_mut(key) else {
            return Ok(());
        };
        client.endpoints.push(lease.endpoint.clone());
        let owner = self.forwarder.enroll(target(&lease));
        self.leases.insert(owner, lease);
        self.forwarder.networks = self.leases.networks();
        Ok(())
    }

    fn publish(
        &mut self,
        key: Key,
        endpoint: &str,
        ports: &[Wanted],
    ) -> Result<Vec<crate::network::endpoint::Publication>> {
        let client = self.clients.get(key);
        let is_own =
            client.is_some_and(|client| client.endpoints.iter().any(|own| own == endpoint));
        let lease = self.leases.of(endpoint).filter(|_| is_own);
        let lease = lease.ok_or_else(|| bad_input(format!("endpoint {endpoint} is not leased")))?;
        let target = target(lease);
        self.forwarder.publish(target, ports)
    }

    fn release(&mut self, endpoint: &str) {
        self.forwarder.unpublish(endpoint);
        if let Some(owner) = self.leases.remove(endpoint) {
            self.outgoing.cut(owner);
        }
        self.forwarder.networks = self.leases.networks();
    }

    /// Has the thread inside do something; other questions wait: another network may get the same addresses after it.
    fn inside(&self, work: impl FnOnce(&Home) -> Result<()> + Send + 'static) -> Result<()> {
        let Inside::Elsewhere(sockets) = &self.forwarder.inside else {
            return Ok(());
        };
        let home = Home {
            namespace: None,
            routes: false,
            memory: None,
        };
        let done = sockets.worker().run(move || work(&home));
        done.unwrap_or(Ok(()))
    }

    /// A monitor has gone.
    fn dismiss(&mut self, key: Key) {
        let Some(client) = self.clients.remove(key) else {
            return;
        };
        for endpoint in &client.endpoints {
            self.release(endpoint);
        }
        if self.clients.is_empty() {
            self.ends = Some(Instant::now() + LAST);
        }
    }
}

/// Where published ports of a lease lead to.
fn target(lease: &Lease) -> Target {
    let addresses = || lease.addresses.iter();
    Target {
        id: lease.endpoint.clone(),
        name: lease.name.clone(),
        ipv4: addresses().find_map(|address| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        }),
        ipv6: addresses().find_map(|address| match address {
            IpAddr::V6(address) => Some(*address),
            IpAddr::V4(_) => None,
        }),
        gateways: lease.gateways.clone(),
    }
}
