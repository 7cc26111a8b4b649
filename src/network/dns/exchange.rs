//! A question that has been passed on: which resolvers are to be asked, which have been, and whether what came back is an
//! answer to it (RFC 5452 section 9).
//!
//! While the next resolver is asked, the last one is still listened to: if it answers, however late, it has answered.

use super::message::{self, Question, UDP_LIMIT};
use super::sockets::connected;
use crate::network::resolv_conf::Server;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketType, recv, send};
use rustix::rand::{GetRandomFlags, getrandom};
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Room for what is read at once: the longest message with its length.
pub const RECEIVED: usize = 2 + u16::MAX as usize;

/// Resolvers that are listened to.
const MOST_TRIES: usize = 2;

/// Datagrams that are looked at for one try before others have their turn: whoever floods it gains nothing.
const BURST: usize = 8;

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// By a datagram from there.
    Datagram(SocketAddr),
    /// By the stream of that number.
    Stream(u64),
}

/// What has become of it.
pub enum Progress {
    /// Nothing yet.
    Waiting,
    /// This is to be passed on; its number is that of the question as it was asked.
    Answered(Vec<u8>),
    /// Nobody is left to be asked.
    Failed,
}

/// The question.
pub struct Exchange {
    /// Who asked.
    pub client: Client,
    /// As it came.
    pub query: Vec<u8>,
    /// What of it was read.
    pub question: Question,
    /// Those still to be asked, the next one last.
    servers: Vec<Server>,
    /// How long each is waited for before the next is asked too.
    timeout: Duration,
    /// When that is.
    pub deadline: Instant,
    tries: Vec<Try>,
    /// What a resolver said that could not answer: told if none can.
    failure: Option<Vec<u8>>,
}

/// A resolver that has been asked.
struct Try {
    socket: OwnedFd,
    id: u16,
    stream: Option<Buffers>,
}

/// A query on its way and an answer that is not whole yet, each with its length before it.
struct Buffers {
    output: Vec<u8>,
    input: Vec<u8>,
}

impl Exchange {
    /// Of a query that has not been sent yet; `servers` in the order in which they are to be asked.
    pub fn new(
        client: Client,
        query: Vec<u8>,
        question: Question,
        mut servers: Vec<Server>,
        timeout: Duration,
    ) -> Self {
        servers.reverse();
        Self {
            client,
            query,
            question,
            servers,
            timeout,
            deadline: Instant::now(),
            tries: Vec::new(),
            failure: None,
        }
    }

    /// Bytes that the client takes.
    pub fn limit(&self) -> usize {
        limit(self.client, &self.query, &self.question)
    }

    /// Asks the next resolver that can be asked at all, in that network namespace or ours.
    pub fn ask(
        &mut self,
        epoll: BorrowedFd<'_>,
        token: u64,
        namespace: Option<BorrowedFd<'_>>,
    ) -> Progress {
        while let Some(server) = self.servers.pop() {
            if self.open(&server, epoll, token, namespace).is_ok() {
                self.deadline = Instant::now() + self.timeout;
                return Progress::Waiting;
            }
        }
        match self.failure.take() {
            Some(failure) => Progress::Answered(failure),
            None => Progress::Failed,
        }
    }

    fn open(
        &mut self,
        server: &Server,
        epoll: BorrowedFd<'_>,
        token: u64,
        namespace: Option<BorrowedFd<'_>>,
    ) -> Result<(), Errno> {
        let is_stream = matches!(self.client, Client::Stream(_));
        let (kind, interest) = if is_stream {
            (SocketType::STREAM, EventFlags::IN | EventFlags::OUT)
        } else {
            (SocketType::DGRAM, EventFlags::IN)
        };
        let socket = connected(kind, server, namespace)?;
        let id = random()?;
        let mut output = Vec::with_capacity(2 + self.query.len());
        output.extend_from_slice(&(self.query.len() as u16).to_be_bytes());
        output.extend_from_slice(&self.query);
        message::set_id(&mut output[2..], id);
        if !is_stream {
            send(&socket, &output[2..], SendFlags::NOSIGNAL)?;
        }
        epoll::add(epoll, &socket, EventData::new_u64(token), interest)?;
        let stream = is_stream.then(|| Buffers {
            output,
            input: Vec::new(),
        });
        if self.tries.len() == MOST_TRIES {
            self.tries.remove(0);
        }
        self.tries.push(Try { socket, id, stream });
        Ok(())
    }

    /// Something has happened to one of its sockets.
    pub fn turn(
        &mut self,
        epoll: BorrowedFd<'_>,
        token: u64,
        namespace: Option<BorrowedFd<'_>>,
    ) -> Progress {
        let mut at = 0;
        let mut is_last_lost = false;
        while at < self.tries.len() {
            match self.tries[at].receive(epoll, token, &self.question) {
                Received::Nothing => at += 1,
                Received::Answer(mut reply) => {
                    if let Some(id) = message::id(&self.query) {
                        message::set_id(&mut reply, id);
                    }
                    if !is_failure(&reply) {
                        return Progress::Answered(reply);
                    }
                    if !message::is_without_question(&reply) {
                        self.failure = Some(reply);
                    }
                    is_last_lost |= self.lose(at);
                }
                Received::Broken => is_last_lost |= self.lose(at),
            }
        }
        if is_last_lost {
            return self.next(epoll, token, namespace);
        }
        Progress::Waiting
    }

    /// Forgets a try; true if it was the one that is waited for.
    fn lose(&mut self, at: usize) -> bool {
        self.tries.remove(at);
        at == self.tries.len()
    }

    /// The one that is waited for has not answered, or cannot: asks the next. While earlier ones may still answer, the
    /// last one's time is theirs too.
    fn next(
        &mut self,
        epoll: BorrowedFd<'_>,
        token: u64,
        namespace: Option<BorrowedFd<'_>>,
    ) -> Progress {
        if self.servers.is_empty() && !self.tries.is_empty() && self.deadline > Instant::now() {
            return Progress::Waiting;
        }
        self.ask(epoll, token, namespace)
    }
}

/// Bytes that a client takes in an answer to that.
pub fn limit(client: Client, query: &[u8], question: &Question) -> usize {
    match client {
        Client::Datagram(_) => message::edns(query, question).unwrap_or(UDP_LIMIT),
        Client::Stream(_) => usize::from(u16::MAX),
    }
}

enum Received {
    Nothing,
    Answer(Vec<u8>),
    Broken,
}

impl Try {
    fn receive(&mut self, epoll: BorrowedFd<'_>, token: u64, question: &Question) -> Received {
        match &mut self.stream {
            Some(buffers) => match buffers.receive(&self.socket, epoll, token) {
                Ok(Some(reply)) => {
                    // What comes by a stream is that resolver's own, and there is nothing better to wait for.
                    answer(reply, self.id, question).map_or(Received::Broken, Received::Answer)
                }
                Ok(None) => Received::Nothing,
                Err(_) => Received::Broken,
            },
            None => self.receive_datagram(question),
        }
    }

    /// Passes over what is no answer: it may be another's, who hopes to be believed.
    fn receive_datagram(&self, question: &Question) -> Received {
        for _ in 0..BURST {
            let mut reply = Vec::with_capacity(RECEIVED);
            match recv(&self.socket, spare_capacity(&mut reply), RecvFlags::empty()) {
                Ok(_) => {
                    if let Some(mut reply) = answer(reply, self.id, question) {
                        reply.shrink_to_fit();
                        return Received::Answer(reply);
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Received::Nothing,
                // ECONNREFUSED and its like: an ICMP message says that there is no resolver.
                Err(_) => return Received::Broken,
            }
        }
        Received::Nothing
    }
}

impl Buffers {
    fn receive(
        &mut self,
        socket: &OwnedFd,
        epoll: BorrowedFd<'_>,
        token: u64,
    ) -> Result<Option<Vec<u8>>, Errno> {
        while !self.output.is_empty() {
            match send(socket, &self.output, SendFlags::NOSIGNAL) {
                Ok(sent) => drop(self.output.drain(..sent)),
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
            if self.output.is_empty() {
                epoll::modify(epoll, socket, EventData::new_u64(token), EventFlags::IN)?;
            }
        }
        self.input.reserve(RECEIVED);
        match recv(socket, spare_capacity(&mut self.input), RecvFlags::empty()) {
            Ok((0, _)) => return Err(Errno::CONNRESET),
            Ok(_) => {}
            Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
            Err(errno) => return Err(errno),
        }
        let Some((length, rest)) = self.input.split_first_chunk::<2>() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes(*length));
        Ok(rest.get(..length).map(<[u8]>::to_vec))
    }
}

/// What comes from a resolver, if it answers that question as we have asked it and can be read. What is cut off may be
/// so in the middle of a record: all is to be had by TCP.
fn answer(reply: Vec<u8>, id: u16, question: &Question) -> Option<Vec<u8>> {
    if !message::is_reply(&reply) || message::id(&reply) != Some(id) {
        return None;
    }
    if message::is_without_question(&reply) {
        return is_failure(&reply).then_some(reply);
    }
    if Question::read(&reply).as_ref() != Some(question) {
        return None;
    }
    match message::is_readable(&reply, question) {
        true => Some(reply),
        false => message::is_truncated(&reply).then(|| message::truncated(&reply, question)),
    }
}

/// SERVFAIL, NOTIMP and REFUSED: another resolver may know better, as resolver(3) does it. So may one be asked where an
/// answer has no question, which can only be an error.
fn is_failure(reply: &[u8]) -> bool {
    matches!(message::code(reply), Some(2 | 4 | 5))
        || (message::is_without_question(reply) && message::code(reply) != Some(0))
}

fn random() -> Result<u16, Errno> {
    let mut bytes = [0; 2];
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(u16::from_be_bytes(bytes))
}
