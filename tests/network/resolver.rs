//! A container's namespace with a resolver in it, a host's namespace from which it asks, and resolvers there that do what
//! a test wants of them.
#![allow(dead_code, reason = "the bench uses a part of it")]

use onggi::network::dns::{Config, Names, Resolver, Sockets, Zone};
use onggi::network::endpoint::Endpoint;
use onggi::sys::namespace::{bring_loopback_up, inside_network, unshare};
use onggi::sys::process::flags::NEW_NET;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use simple_dns::rdata::{A, AAAA, RData};
use simple_dns::{CLASS, Name, Packet, QTYPE, Question, RCODE, ResourceRecord, TYPE};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longer than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Where containers ask.
pub const RESOLVER: &str = "127.0.0.11:53";

/// A new network namespace whose loopback interface is up.
pub fn namespace() -> Arc<OwnedFd> {
    let made = || {
        unshare(NEW_NET).expect("unshare");
        bring_loopback_up().expect("bring lo up");
        std::fs::File::open("/proc/thread-self/ns/net").expect("open the namespace")
    };
    let thread = std::thread::spawn(made);
    Arc::new(thread.join().expect("make a namespace").into())
}

/// What happens in the container's namespace is done in `container`.
pub struct World {
    pub host: Arc<OwnedFd>,
    pub container: Arc<OwnedFd>,
    /// The host's `resolv.conf`.
    pub host_file: PathBuf,
    directory: tempfile::TempDir,
    end: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl World {
    /// With a resolver that goes by these and whatever is done to it before it runs.
    pub fn new<N: Names + 'static>(
        config: Config,
        names: impl FnOnce() -> N + Send + 'static,
        prepare: impl FnOnce(&mut Resolver) + Send + 'static,
    ) -> Self {
        Self::of(Sockets::open, config, names, prepare)
    }

    /// Likewise, with sockets that are opened so.
    pub fn of<N: Names + 'static>(
        open: fn() -> anyhow::Result<Sockets>,
        config: Config,
        names: impl FnOnce() -> N + Send + 'static,
        prepare: impl FnOnce(&mut Resolver) + Send + 'static,
    ) -> Self {
        let (host, container) = (namespace(), namespace());
        let directory = tempfile::tempdir().expect("make a directory");
        let host_file = directory.path().join("resolv.conf");
        std::fs::write(&host_file, "nameserver 127.0.0.53\n").expect("write resolv.conf");
        let sockets = inside_network(container.as_fd(), open)
            .expect("join the container")
            .expect("open the sockets");
        let (stop, end) = pipe_with(PipeFlags::CLOEXEC).expect("make a pipe");
        let (own, file) = (host.clone(), host_file.clone());
        let serve = move || {
            let mut resolver = Resolver::new(config, sockets, names()).expect("make a resolver");
            resolver.set_host_file(&file);
            prepare(&mut resolver);
            run(&mut resolver, &stop);
        };
        let thread = std::thread::spawn(move || inside_network(own.as_fd(), serve).expect("join"));
        Self {
            host,
            container,
            host_file,
            directory,
            end: Some(end),
            thread: Some(thread),
        }
    }

    /// With one network, `net`, and these in it.
    pub fn with(endpoints: Vec<Endpoint>) -> Self {
        Self::new(config(), move || move |_: &str| endpoints.clone(), |_| {})
    }

    /// Of a resolver that only forwards, to these.
    pub fn forwarding(resolv_conf: &str) -> Self {
        let world = Self::with(Vec::new());
        world.set_host_file(resolv_conf);
        world
    }

    pub fn set_host_file(&self, text: &str) {
        let new = self.directory.path().join("new");
        std::fs::write(&new, text).expect("write resolv.conf");
        std::fs::rename(new, &self.host_file).expect("replace resolv.conf");
    }

    /// Does it in the container.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside_network(self.container.as_fd(), work).expect("join the container")
    }

    /// The answer to a question by datagrams.
    pub fn ask(&self, name: &str, kind: TYPE) -> Reply {
        self.inside(|| by_datagram(&query(name, kind.into())))
    }

    /// The addresses that a name has.
    pub fn addresses(&self, name: &str) -> Vec<IpAddr> {
        self.ask(name, TYPE::A).addresses()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// As the monitor's loop does it.
fn run(resolver: &mut Resolver, stop: &OwnedFd) {
    loop {
        let mut watched = [
            PollFd::new(resolver, PollFlags::IN),
            PollFd::new(stop, PollFlags::IN),
        ];
        poll(&mut watched, None).expect("poll");
        if !watched[1].revents().is_empty() {
            return;
        }
        resolver.turn();
    }
}

/// Whether the resolver has something to do within that time.
pub fn stirs(resolver: &Resolver, time: Duration) -> bool {
    let mut watched = [PollFd::new(resolver, PollFlags::IN)];
    let time = Timespec::try_from(time).expect("a time");
    poll(&mut watched, Some(&time)).expect("poll") > 0
}

/// One network, and a way out.
pub fn config() -> Config {
    let (id, name) = ("11".repeat(32), "net".to_owned());
    Config {
        networks: vec![Zone { id, name }],
        forwards: true,
        ..Config::default()
    }
}

/// An endpoint in it.
pub fn endpoint(name: &str, aliases: &[&str], addresses: &[&str]) -> Endpoint {
    let mut endpoint = Endpoint {
        network: "11".repeat(32),
        container: name
            .bytes()
            .fold(String::new(), |id, byte| id + &format!("{byte:02x}")),
        name: name.to_owned(),
        aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
        ..Endpoint::default()
    };
    endpoint.container += &"0".repeat(64_usize.saturating_sub(endpoint.container.len()));
    for address in addresses {
        match address.parse().expect("an address") {
            IpAddr::V4(address) => endpoint.ipv4 = Some(address),
            IpAddr::V6(address) => endpoint.ipv6 = Some(address),
        }
    }
    endpoint
}

/// A message that came back.
#[derive(Debug)]
pub struct Reply(pub Vec<u8>);

impl Reply {
    pub fn packet(&self) -> Packet<'_> {
        Packet::parse(&self.0).expect("an answer that can be read")
    }

    pub fn code(&self) -> RCODE {
        self.packet().rcode()
    }

    /// Those of its answers, sorted.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let mut addresses = self.addresses_in_order();
        addresses.sort();
        addresses
    }

    pub fn addresses_in_order(&self) -> Vec<IpAddr> {
        let packet = self.packet();
        let address = |record: &ResourceRecord| match &record.rdata {
            RData::A(A { address }) => Some(IpAddr::V4((*address).into())),
            RData::AAAA(AAAA { address }) => Some(IpAddr::V6((*address).into())),
            _ => None,
        };
        packet.answers.iter().filter_map(address).collect()
    }
}

/// A query with a number of its own.
pub fn query(name: &str, kind: QTYPE) -> Vec<u8> {
    static NUMBER: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(100);
    let mut packet = Packet::new_query(NUMBER.fetch_add(1, Ordering::Relaxed));
    packet.set_flags(simple_dns::PacketFlag::RECURSION_DESIRED);
    let name = Name::new(name).expect("a name").into_owned();
    packet
        .questions
        .push(Question::new(name, kind, CLASS::IN.into(), false));
    packet.build_bytes_vec().expect("a query")
}

/// That answer to a query.
pub fn answer(query: &[u8], addresses: &[&str]) -> Vec<u8> {
    let packet = Packet::parse(query).expect("a query");
    let name = packet.questions[0].qname.clone();
    let mut reply = packet.clone().into_reply();
    for address in addresses {
        let data = match address.parse().expect("an address") {
            IpAddr::V4(address) => RData::A(A::from(address)),
            IpAddr::V6(address) => RData::AAAA(AAAA::from(address)),
        };
        reply
            .answers
            .push(ResourceRecord::new(name.clone(), CLASS::IN, 300, data));
    }
    reply.build_bytes_vec_compressed().expect("a reply")
}

/// The reply without records that has this code.
pub fn failure(query: &[u8], code: RCODE) -> Vec<u8> {
    let mut reply = Packet::parse(query).expect("a query").into_reply();
    *reply.rcode_mut() = code;
    reply.build_bytes_vec().expect("a reply")
}

pub fn by_datagram(query: &[u8]) -> Reply {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    socket.connect(RESOLVER).expect("connect");
    socket
        .set_read_timeout(Some(PATIENCE))
        .expect("set a timeout");
    socket.send(query).expect("ask");
    let mut reply = vec![0; 65536];
    let length = socket.recv(&mut reply).expect("an answer");
    reply.truncate(length);
    assert_eq!(reply[..2], query[..2], "the answer's number");
    Reply(reply)
}

pub fn connect() -> TcpStream {
    let stream = TcpStream::connect(RESOLVER).expect("connect");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("set a timeout");
    stream
}

pub fn write_message(stream: &mut TcpStream, message: &[u8]) {
    let length = u16::try_from(message.len()).expect("a short message");
    let whole = [&length.to_be_bytes(), message].concat();
    stream.write_all(&whole).expect("write");
}

pub fn read_message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).ok()?;
    Some(message)
}

pub fn by_stream(query: &[u8]) -> Reply {
    let mut stream = connect();
    write_message(&mut stream, query);
    Reply(read_message(&mut stream).expect("an answer"))
}

/// What a resolver does about a query.
pub enum Step {
    Wait(Duration),
    Send(Vec<u8>),
    /// From another address than the one that was asked.
    SendFromElsewhere(Vec<u8>),
}

/// What it has been asked.
#[derive(Clone, Debug)]
pub struct Asked {
    pub query: Vec<u8>,
    pub from: SocketAddr,
    pub by_stream: bool,
}

type Behaviour = dyn Fn(&Asked) -> Vec<Step> + Send + Sync;

/// A resolver on loopback of a namespace, port 53, that behaves so.
pub struct Upstream {
    asked: Arc<Mutex<Vec<Asked>>>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Upstream {
    pub fn new(
        namespace: &Arc<OwnedFd>,
        address: &str,
        behaviour: impl Fn(&Asked) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        let address = SocketAddr::new(address.parse().expect("an address"), 53);
        let sockets = || (UdpSocket::bind(address), TcpListener::bind(address));
        let (udp, tcp) = inside_network(namespace.as_fd(), sockets).expect("join");
        let (udp, tcp) = (udp.expect("bind"), tcp.expect("bind"));
        let (asked, over) = (
            Arc::new(Mutex::new(Vec::new())),
            Arc::new(AtomicBool::new(false)),
        );
        let behaviour: Arc<Behaviour> = Arc::new(behaviour);
        let mut threads = Vec::new();
        let server = Server {
            behaviour,
            asked: asked.clone(),
            over: over.clone(),
            namespace: namespace.clone(),
        };
        let other = server.clone();
        threads.push(std::thread::spawn(move || server.serve_datagrams(&udp)));
        threads.push(std::thread::spawn(move || other.serve_streams(&tcp)));
        Self {
            asked,
            over,
            threads,
        }
    }

    /// That always answers with these.
    pub fn giving(namespace: &Arc<OwnedFd>, address: &str, addresses: &'static [&str]) -> Self {
        Self::new(namespace, address, |asked| {
            vec![Step::Send(answer(&asked.query, addresses))]
        })
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic").clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

#[derive(Clone)]
struct Server {
    behaviour: Arc<Behaviour>,
    asked: Arc<Mutex<Vec<Asked>>>,
    over: Arc<AtomicBool>,
    namespace: Arc<OwnedFd>,
}

impl Server {
    fn steps(&self, asked: Asked) -> Vec<Step> {
        self.asked.lock().expect("no panic").push(asked.clone());
        (self.behaviour)(&asked)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn serve_datagrams(&self, socket: &UdpSocket) {
        let pause = Duration::from_millis(20);
        socket.set_read_timeout(Some(pause)).expect("set a timeout");
        let mut buffer = vec![0; 65536];
        while !self.is_over() {
            let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                continue;
            };
            let asked = Asked {
                query: buffer[..length].to_vec(),
                from,
                by_stream: false,
            };
            let (server, socket) = (self.clone(), socket.try_clone().expect("duplicate"));
            let steps = server.steps(asked);
            let waits = steps.iter().any(|step| matches!(step, Step::Wait(_)));
            let act = move || server.act(&socket, from, steps);
            // Who waits must not keep the others waiting.
            match waits {
                true => drop(std::thread::spawn(act)),
                false => act(),
            }
        }
    }

    fn act(&self, socket: &UdpSocket, from: SocketAddr, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Wait(time) => std::thread::sleep(time),
                Step::Send(message) => drop(socket.send_to(&message, from)),
                Step::SendFromElsewhere(message) => {
                    let send = || UdpSocket::bind("127.0.0.99:53")?.send_to(&message, from);
                    let sent = inside_network(self.namespace.as_fd(), send);
                    sent.expect("join").expect("send");
                }
            }
        }
    }

    fn serve_streams(&self, listener: &TcpListener) {
        listener.set_nonblocking(true).expect("make non-blocking");
        while !self.is_over() {
            match listener.accept() {
                Ok((stream, from)) => {
                    let server = self.clone();
                    drop(std::thread::spawn(move || {
                        server.serve_stream(stream, from)
                    }));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    fn serve_stream(&self, mut stream: TcpStream, from: SocketAddr) {
        stream.set_nonblocking(false).expect("make blocking");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("set a timeout");
        while let Some(query) = read_message(&mut stream) {
            let asked = Asked {
                query,
                from,
                by_stream: true,
            };
            for step in self.steps(asked) {
                match step {
                    Step::Wait(time) => std::thread::sleep(time),
                    Step::Send(message) => write_message(&mut stream, &message),
                    Step::SendFromElsewhere(_) => {}
                }
            }
        }
    }
}
