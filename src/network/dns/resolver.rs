//! The loop of a resolver: what is ready is handled, what is asked is answered or passed on, what takes too long is
//! given up.

use super::exchange::{Client, Exchange, Progress, RECEIVED, limit};
use super::message::{self, Answer, Code, Data, Question};
use super::sockets::Sockets;
use super::stream::Stream;
use super::{Config, Egress, Names, zone};
use crate::network::resolv_conf::{Host, RESOLVER, ResolvConf, Server};
use anyhow::{Context, Result};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recvfrom, sendto};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Questions that are passed on at once; the oldest is given up for one more. With the two descriptors that each may have
/// and those of the clients they stay well below 1024, which is all that a process has by default.
const MOST_EXCHANGES: usize = 256;
/// Clients that are connected at once; the one that has been silent for longest is given up for one more.
const MOST_STREAMS: usize = 64;
/// Rounds of one turn, and datagrams of one round: the rest of the process has to live too.
const ROUNDS: usize = 8;
const BURST: usize = 32;

/// How long no client is accepted when there is no descriptor left for one: trying at once would never sleep.
const PAUSE: Duration = Duration::from_secs(1);

const UDP: u64 = 0;
const TCP: u64 = 1;
const TIMER: u64 = 2;

/// The resolver of one container.
pub struct Resolver {
    config: Config,
    names: Box<dyn Names>,
    egress: Option<Box<dyn Egress>>,
    sockets: Sockets,
    host: Host,
    epoll: OwnedFd,
    timer: OwnedFd,
    /// When the timer rings; later than that nothing has to be done without its being set again.
    armed: Option<Instant>,
    exchanges: BTreeMap<u64, Exchange>,
    streams: BTreeMap<u64, Stream>,
    /// Until when no client is accepted.
    paused: Option<Instant>,
    /// The number that the next of those gets.
    next: u64,
    /// How many answers have been turned.
    turned: usize,
    /// Streams that have got an answer, so that there may be more to do for them.
    answered: Vec<u64>,
}

impl AsFd for Resolver {
    /// Readable when there is something to do.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl Resolver {
    /// Answers on these sockets from then on, whenever it has its turn.
    pub fn new(config: Config, sockets: Sockets, names: impl Names + 'static) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).context("make an epoll descriptor")?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).context("make a timer")?;
        for (descriptor, token) in [(&sockets.udp, UDP), (&sockets.tcp, TCP), (&timer, TIMER)] {
            epoll::add(
                &epoll,
                descriptor,
                EventData::new_u64(token),
                EventFlags::IN,
            )
            .context("wait for questions")?;
        }
        Ok(Self {
            config,
            names: Box::new(names),
            egress: None,
            sockets,
            host: Host::new("/etc/resolv.conf"),
            epoll,
            timer,
            armed: None,
            exchanges: BTreeMap::new(),
            streams: BTreeMap::new(),
            paused: None,
            next: TIMER + 1,
            turned: 0,
            answered: Vec::new(),
        })
    }

    /// Binds what it tells to a policy.
    pub fn set_egress(&mut self, egress: Option<Box<dyn Egress>>) {
        self.egress = egress;
    }

    /// Reads the host's resolvers there instead of in `/etc/resolv.conf`.
    pub fn set_host_file(&mut self, path: &std::path::Path) {
        self.host = Host::new(path);
    }

    /// The container is in other networks now, or asks other resolvers.
    pub fn set_config(&mut self, config: Config) {
        self.config = config;
    }

    /// What it goes by.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Handles what is ready; never waits.
    pub fn turn(&mut self) {
        for _ in 0..ROUNDS {
            let mut events: Vec<Event> = Vec::with_capacity(BURST);
            let ready = epoll::wait(
                &self.epoll,
                spare_capacity(&mut events),
                Some(&Timespec::default()),
            );
            if ready.is_err() || events.is_empty() {
                break;
            }
            for event in events {
                self.handle(event.data.u64(), event.flags);
            }
        }
        self.arm();
    }

    fn handle(&mut self, token: u64, flags: EventFlags) {
        match token {
            UDP => self.read_datagrams(),
            TCP => self.accept(),
            TIMER => self.expire(),
            _ if self.streams.contains_key(&token) => self.turn_stream(token, flags),
            _ => {
                let namespace = self.namespace_asked_from();
                let namespace = namespace.then(|| self.sockets.namespace());
                if let Some(exchange) = self.exchanges.get_mut(&token) {
                    let progress = exchange.turn(self.epoll.as_fd(), token, namespace);
                    self.settle(token, progress);
                }
            }
        }
        while let Some(token) = self.answered.pop() {
            self.go_on(token);
        }
    }

    fn read_datagrams(&mut self) {
        let mut query = Vec::with_capacity(RECEIVED);
        for _ in 0..BURST {
            query.clear();
            let room = spare_capacity(&mut query);
            match recvfrom(&self.sockets.udp, room, RecvFlags::empty()) {
                Ok((_, _, Some(address))) => {
                    if let Ok(address) = SocketAddr::try_from(address) {
                        self.ask(&query, Client::Datagram(address));
                    }
                }
                Err(Errno::AGAIN) => break,
                // An answer that nobody took leaves an error here, which is nobody's either.
                Ok(_) | Err(_) => {}
            }
        }
    }

    fn accept(&mut self) {
        for _ in 0..BURST {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match accept_with(&self.sockets.tcp, flags) {
                Ok(socket) => {
                    if self.streams.len() >= MOST_STREAMS {
                        self.give_up_a_stream();
                    }
                    let token = self.token();
                    let data = EventData::new_u64(token);
                    if epoll::add(&self.epoll, &socket, data, EventFlags::IN).is_ok() {
                        self.streams.insert(token, Stream::new(socket));
                    }
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(_) if !self.streams.is_empty() => self.give_up_a_stream(),
                Err(_) => {
                    self.paused = Some(Instant::now() + PAUSE);
                    self.listen(EventFlags::empty());
                    break;
                }
            }
        }
    }

    fn listen(&self, interest: EventFlags) {
        let data = EventData::new_u64(TCP);
        // It fails for a descriptor that is not there, and this one is.
        let _ = epoll::modify(&self.epoll, &self.sockets.tcp, data, interest);
    }

    fn give_up_a_stream(&mut self) {
        let oldest = self.streams.iter().min_by_key(|(_, stream)| stream.active);
        if let Some(token) = oldest.map(|(token, _)| *token) {
            self.close(token);
        }
    }

    fn token(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn turn_stream(&mut self, token: u64, flags: EventFlags) {
        let Some(stream) = self.streams.get_mut(&token) else {
            return;
        };
        let mut is_sound = !flags.intersects(EventFlags::ERR | EventFlags::HUP);
        if is_sound && flags.contains(EventFlags::OUT) {
            is_sound = stream.write();
        }
        if is_sound && flags.contains(EventFlags::IN) {
            is_sound = stream.read();
        }
        if !is_sound {
            return self.close(token);
        }
        self.go_on(token);
    }

    /// Looks at the questions that have come by a stream, and at what is to be waited for next.
    fn go_on(&mut self, token: u64) {
        while let Some(stream) = self.streams.get_mut(&token) {
            let Some(query) = stream.next() else {
                if stream.is_done() {
                    return self.close(token);
                }
                let wanted = stream.wanted();
                if wanted != stream.interest {
                    let data = EventData::new_u64(token);
                    stream.interest = wanted;
                    if epoll::modify(&self.epoll, &stream.socket, data, wanted).is_err() {
                        return self.close(token);
                    }
                }
                return;
            };
            stream.open += 1;
            self.ask(&query, Client::Stream(token));
        }
    }

    fn close(&mut self, token: u64) {
        self.streams.remove(&token);
        self.exchanges
            .retain(|_, exchange| exchange.client != Client::Stream(token));
    }

    /// Answers a query, or passes it on.
    fn ask(&mut self, query: &[u8], client: Client) {
        if query.len() < message::HEADER || message::is_reply(query) {
            // Nobody waits for an answer to that.
            if let Client::Stream(token) = client {
                self.close(token);
            }
            return;
        }
        if !message::is_query(query) {
            return self.refuse(query, client, Code::NotImplemented);
        }
        let Some(question) = Question::read(query) else {
            return self.refuse(query, client, Code::FormatError);
        };
        let is_allowed = self
            .egress
            .as_ref()
            .is_none_or(|egress| egress.allows(&question.name));
        if !is_allowed {
            return self.answer(query, &question, client, Code::NoSuchName, &[]);
        }
        if let Some(mut records) = zone::look_up(&self.config, &*self.names, &question) {
            if !records.is_empty() {
                self.turned = self.turned.wrapping_add(1);
                let first = self.turned % records.len();
                records.rotate_left(first);
            }
            let (code, records) = match self.tell(&question, &records) {
                Ok(()) => (Code::NoError, records),
                Err(_) => (Code::ServerFailure, Vec::new()),
            };
            return self.answer(query, &question, client, code, &records);
        }
        if !self.config.forwards {
            return self.answer(query, &question, client, Code::NoSuchName, &[]);
        }
        self.forward(query.to_vec(), question, client);
    }

    /// Says to the egress policy which addresses of another container will be told.
    fn tell(&mut self, question: &Question, records: &[Data]) -> Result<()> {
        let addresses = records.iter().filter_map(|record| match record {
            Data::Address(address) => Some(*address),
            Data::Name(_) => None,
        });
        let addresses: Vec<_> = addresses.collect();
        match &mut self.egress {
            Some(egress) if !addresses.is_empty() => egress.met(&question.name, &addresses),
            _ => Ok(()),
        }
    }

    fn refuse(&mut self, query: &[u8], client: Client, code: Code) {
        let answer = Answer {
            query,
            question: None,
            code,
            records: &[],
            ttl: 0,
        };
        self.send(client, &answer.write(message::UDP_LIMIT));
    }

    fn answer(
        &mut self,
        query: &[u8],
        question: &Question,
        client: Client,
        code: Code,
        records: &[Data],
    ) {
        let answer = Answer {
            query,
            question: Some(question),
            code,
            records,
            ttl: 0,
        };
        self.send(client, &answer.write(limit(client, query, question)));
    }

    fn forward(&mut self, query: Vec<u8>, question: Question, client: Client) {
        let (servers, timeout) = self.servers();
        if self.exchanges.len() >= MOST_EXCHANGES
            && let Some(oldest) = self.exchanges.keys().next().copied()
        {
            self.settle(oldest, Progress::Failed);
        }
        let token = self.token();
        let namespace = self.namespace_asked_from();
        let namespace = namespace.then(|| self.sockets.namespace());
        let mut exchange = Exchange::new(client, query, question, servers, timeout);
        let progress = exchange.ask(self.epoll.as_fd(), token, namespace);
        self.exchanges.insert(token, exchange);
        self.settle(token, progress);
    }

    /// Whether it is the container's namespace from which others are asked. Where not everything may be reached, it is not:
    /// the resolver may be reached by us alone then.
    fn namespace_asked_from(&self) -> bool {
        !self.config.servers.is_empty() && self.egress.is_none()
    }

    /// Whom to ask, one after the other, and how long each is waited for.
    fn servers(&mut self) -> (Vec<Server>, Duration) {
        let host = self.host.read();
        let is_own = !self.config.servers.is_empty();
        let settings = ResolvConf {
            servers: match is_own {
                true => self.config.servers.clone(),
                false => host.servers.clone(),
            },
            options: match self.config.options.is_empty() {
                true => host.options.clone(),
                false => self.config.options.clone(),
            },
        };
        let mut servers = settings.servers.clone();
        if is_own {
            // From the container's namespace that address is this resolver.
            servers.retain(|server| server.address.to_canonical() != RESOLVER);
        }
        if settings.rotates() && !servers.is_empty() {
            self.turned = self.turned.wrapping_add(1);
            let first = self.turned % servers.len();
            servers.rotate_left(first);
        }
        let times = std::iter::repeat_n(servers, settings.attempts());
        (times.flatten().collect(), settings.timeout())
    }

    /// Passes on what has become of a question that was passed on.
    fn settle(&mut self, token: u64, progress: Progress) {
        if matches!(progress, Progress::Waiting) {
            return;
        }
        let Some(exchange) = self.exchanges.remove(&token) else {
            return;
        };
        let (query, question, client) = (&exchange.query, &exchange.question, exchange.client);
        let Progress::Answered(reply) = progress else {
            return self.answer(query, question, client, Code::ServerFailure, &[]);
        };
        match self.judge(&exchange, &reply) {
            Verdict::Pass if reply.len() > exchange.limit() => {
                self.send(client, &message::truncated(&reply, question));
            }
            Verdict::Pass => self.send(client, &reply),
            Verdict::Only(records) => {
                self.answer(query, question, client, Code::NoError, &records);
            }
            Verdict::Fail => self.answer(query, question, client, Code::ServerFailure, &[]),
        }
    }

    /// What the egress policy lets the container know of a reply.
    fn judge(&mut self, exchange: &Exchange, reply: &[u8]) -> Verdict {
        let Some(egress) = &mut self.egress else {
            return Verdict::Pass;
        };
        let question = &exchange.question;
        if message::is_without_question(reply) {
            return Verdict::Pass;
        }
        let Some((addresses, ttl)) = message::addresses(reply, question) else {
            return Verdict::Fail;
        };
        let name = &question.name;
        let (accepted, refused): (Vec<_>, Vec<_>) = addresses
            .into_iter()
            .partition(|address| egress.accepts(name, *address));
        let ttl = Duration::from_secs(ttl.into());
        if !accepted.is_empty() && egress.learned(name, &accepted, ttl).is_err() {
            return Verdict::Fail;
        }
        if refused.is_empty() {
            return Verdict::Pass;
        }
        Verdict::Only(accepted.into_iter().map(Data::Address).collect())
    }

    fn send(&mut self, client: Client, message: &[u8]) {
        match client {
            // Who does not take it asks again.
            Client::Datagram(address) => {
                let _ = sendto(&self.sockets.udp, message, SendFlags::NOSIGNAL, &address);
            }
            Client::Stream(token) => {
                let Some(stream) = self.streams.get_mut(&token) else {
                    return;
                };
                stream.open = stream.open.saturating_sub(1);
                match stream.answer(message) {
                    true if self.answered.contains(&token) => {}
                    true => self.answered.push(token),
                    false => self.close(token),
                }
            }
        }
    }

    /// Sees to all whose time is up.
    fn expire(&mut self) {
        let mut rings = [0; 8];
        let _ = rustix::io::read(&self.timer, &mut rings);
        self.armed = None;
        let now = Instant::now();
        let late = |exchange: &Exchange| exchange.deadline <= now;
        let tokens: Vec<u64> = self
            .exchanges
            .iter()
            .filter(|(_, exchange)| late(exchange))
            .map(|(token, _)| *token)
            .collect();
        for token in tokens {
            let namespace = self.namespace_asked_from();
            let namespace = namespace.then(|| self.sockets.namespace());
            if let Some(exchange) = self.exchanges.get_mut(&token) {
                let progress = exchange.ask(self.epoll.as_fd(), token, namespace);
                self.settle(token, progress);
            }
        }
        if self.paused.take_if(|time| *time <= now).is_some() {
            self.listen(EventFlags::IN);
        }
        let is_silent = |stream: &Stream| stream.deadline().is_some_and(|time| time <= now);
        self.streams.retain(|_, stream| !is_silent(stream));
    }

    /// Sets the timer to what comes first, unless it rings before that anyway.
    fn arm(&mut self) {
        let exchanges = self.exchanges.values().map(|exchange| exchange.deadline);
        let streams = self.streams.values().filter_map(Stream::deadline);
        let Some(first) = exchanges.chain(streams).chain(self.paused).min() else {
            return;
        };
        if self.armed.is_some_and(|armed| armed <= first) {
            return;
        }
        // Zero would mean never.
        let left = first
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(1));
        let timer = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: left.subsec_nanos().into(),
            },
        };
        if timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &timer).is_ok() {
            self.armed = Some(first);
        }
    }
}

/// What is passed on of a reply.
enum Verdict {
    Pass,
    Only(Vec<Data>),
    Fail,
}
