//! Hosts, networks and containers as network namespaces, for the network process of an ordinary user.
//!
//! ```text
//! host (of a user namespace)                       N, held by the network process
//!   out 198.51.100.1, 2001:db8:5::1                  br1 10.88.1.1/24 fd00:88:1::1 ── containers .2 .3
//!    │                                               br2 10.88.2.1/24 fd00:88:2::1 ── container  .2
//!   world 198.51.100.2, 2001:db8:5::2
//! ```
//!
//! A test is executed again in the namespaces, as an ordinary user where the tests are run by root.

use crate::support::host::{Account, User};
use onggi::network::endpoint::{Protocol, Publication};
use onggi::network::forward::Wanted;
use onggi::network::user::{Client, Lease, serve};
use onggi::paths::Paths;
use onggi::sys::namespace::inside_network;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Set where a test is executed again: its name, or that of the network process.
const PLAYED: &str = "ONGGI_TEST_SCENE";
const DIRECTORY: &str = "ONGGI_TEST_SCENE_DIRECTORY";
/// Set where a bench is executed again: the program, which is to be the network process there.
const PROGRAM: &str = "ONGGI_TEST_SCENE_PROGRAM";
/// The name of what is no test.
pub const BENCH: &str = "bench";

/// The host's addresses towards the world.
pub const HOST: [&str; 2] = ["198.51.100.1", "2001:db8:5::1"];
/// The world's.
pub const WORLD: [&str; 2] = ["198.51.100.2", "2001:db8:5::2"];
/// Somebody whom the world does not answer for.
pub const NOBODY: [&str; 2] = ["198.51.100.9", "2001:db8:5::9"];

/// A network namespace.
pub struct Place(OwnedFd);

impl Place {
    /// A new one; its loopback interface is up.
    pub fn new() -> Self {
        let made = std::thread::spawn(|| {
            onggi::sys::namespace::unshare(onggi::sys::process::flags::NEW_NET).unwrap();
            OwnedFd::from(File::open("/proc/thread-self/ns/net").unwrap())
        });
        let place = Self(made.join().unwrap());
        place.ip("link set lo up");
        place
    }

    /// That of the thread that asks.
    pub fn here() -> Self {
        Self(File::open("/proc/thread-self/ns/net").unwrap().into())
    }

    /// One that was opened.
    pub fn at(namespace: File) -> Self {
        Self(namespace.into())
    }

    /// That of a process.
    pub fn of(pid: &str) -> Self {
        Self(File::open(format!("/proc/{pid}/ns/net")).unwrap().into())
    }

    /// Where other programs find it.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Does something there.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside_network(self.0.as_fd(), work).unwrap()
    }

    /// A program there.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path())).arg(program);
        command
    }

    /// ip(8) there, several commands by lines.
    pub fn ip(&self, lines: &str) {
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let output = self.command("ip").args(line.split(' ')).output().unwrap();
            assert!(
                output.status.success(),
                "ip {line}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }

    /// A server for TCP there that does `serve` with each connection, in a thread of its own.
    pub fn serve(
        &self,
        at: &str,
        serve: impl Fn(TcpStream, SocketAddr) + Send + Clone + 'static,
    ) -> SocketAddr {
        let listener = self.run(|| TcpListener::bind(at).unwrap());
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            while let Ok((stream, from)) = listener.accept() {
                let serve = serve.clone();
                std::thread::spawn(move || serve(stream, from));
            }
        });
        address
    }

    /// A connection from there.
    pub fn connect(&self, to: &str) -> std::io::Result<TcpStream> {
        let to: SocketAddr = to.parse().unwrap();
        self.run(|| {
            let stream = TcpStream::connect_timeout(&to, Duration::from_secs(20))?;
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            Ok(stream)
        })
    }
}

/// What is there to be tested.
pub struct Scene {
    /// The host's namespace.
    pub host: Place,
    /// Where the servers and clients of the world are.
    pub world: Place,
    /// That of the networks.
    pub networks: Place,
    /// What a monitor has.
    pub client: Client,
    /// The network process.
    pub process: Child,
    /// Of its own; removed with the scene.
    pub directory: PathBuf,
}

/// A container.
pub struct Container {
    /// Its namespace.
    pub place: Place,
    /// Its addresses.
    pub addresses: [String; 2],
    /// Its lease.
    pub lease: Lease,
}

/// Executes the test of that name in a scene; where `name` is its path in this program.
pub fn scene(name: &str, play: impl FnOnce(&mut Scene)) {
    match std::env::var(PLAYED) {
        Ok(played) if played == name => {
            let mut scene = Scene::new(PathBuf::from(std::env::var(DIRECTORY).unwrap()));
            play(&mut scene);
            let _ = scene.process.kill();
            let _ = scene.process.wait();
        }
        Ok(_) => {}
        Err(_) => again(name),
    }
}

#[allow(
    clippy::print_stdout,
    reason = "a skip is told to whoever watches the tests"
)]
fn again(name: &str) {
    let account = match account() {
        Ok(account) => account,
        Err(reason) => return crate::support::skip(format!("{name}: {reason}")),
    };
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command
        .args([
            "-U",
            "-r",
            "-n",
            "-m",
            "-p",
            "-f",
            "--kill-child",
            "--mount-proc",
        ])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(PLAYED, name)
        .env(DIRECTORY, directory.path())
        .current_dir("/");
    if name == BENCH {
        command.env(PROGRAM, crate::support::store::program());
        command.args(std::env::args_os().skip(1));
    }
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(directory.path(), Some(account.uid), Some(account.gid)).unwrap();
        command.uid(account.uid).gid(account.gid);
    }
    if name == BENCH {
        assert!(command.status().unwrap().success());
        return;
    }
    let output = command.output().unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    if text.contains("skipped:") {
        print!("{text}");
    }
    assert!(output.status.success(), "{text}");
}

/// Who plays: a bench may be asked for the one with a single id.
fn account() -> Result<Account, String> {
    if std::env::args().any(|word| word == "single") {
        return User::Single.account();
    }
    User::Subuid.account().or_else(|_| User::Single.account())
}

/// Not a test: the network process of a scene.
#[test]
fn network_process() {
    be_the_process();
}

/// Is the network process of a scene, if that is what this was executed for.
pub fn be_the_process() -> bool {
    let is_it = std::env::var(PLAYED).is_ok_and(|played| played == "process");
    if is_it {
        let run = std::env::var(DIRECTORY).unwrap();
        serve(&Paths::new(&run, &run), None, || {}).unwrap();
    }
    is_it
}

impl Scene {
    fn new(directory: PathBuf) -> Self {
        let host = Place::here();
        host.ip("link set lo up");
        let _ = std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0");
        let world = Place::new();
        let far = world.path();
        host.ip(&format!(
            "link add out type veth peer name out netns {far}
             link set out up
             addr add {}/24 dev out
             addr add {}/64 dev out nodad
             route add default via {}
             route add default via {}",
            HOST[0], HOST[1], WORLD[0], WORLD[1]
        ));
        world.ip(&format!(
            "link set out up
             addr add {}/24 dev out
             addr add {}/64 dev out nodad
             route add unreachable 203.0.113.0/24
             route add unreachable 2001:db8:dead::/48",
            WORLD[0], WORLD[1]
        ));
        // It tells others that it has no way to those.
        world.run(|| {
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
            std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
        });
        let process = start(&directory);
        let client = connect(&directory);
        let networks = Place(client.namespaces().network.try_clone().unwrap());
        for number in [1, 2] {
            networks.ip(&format!(
                "link add br{number} type bridge
                 addr add 10.88.{number}.1/24 dev br{number}
                 addr add fd00:88:{number}::1/64 dev br{number} nodad
                 link set br{number} up"
            ));
        }
        Self {
            host,
            world,
            networks,
            client,
            process,
            directory,
        }
    }

    /// A container in a network, with its lease and its ports.
    pub fn container(
        &self,
        network: u8,
        number: u8,
        ports: &[Wanted],
    ) -> (Container, Vec<Publication>) {
        let container = self.unleased(network, number);
        let published = self.client.lease(&container.lease, ports).unwrap();
        (container, published)
    }

    /// One whose connections are not carried.
    pub fn unleased(&self, network: u8, number: u8) -> Container {
        let place = Place::new();
        let name = format!("c{network}x{number}");
        self.networks.ip(&format!(
            "link add {name} type veth peer name eth0 netns {}
             link set {name} master br{network} up",
            place.path()
        ));
        let addresses = [
            format!("10.88.{network}.{number}"),
            format!("fd00:88:{network}::{number}"),
        ];
        place.ip(&format!(
            "addr add {}/24 dev eth0
             addr add {}/64 dev eth0 nodad
             link set eth0 up
             route add default via 10.88.{network}.1
             route add default via fd00:88:{network}::1",
            addresses[0], addresses[1]
        ));
        let lease = Lease {
            endpoint: format!("endpoint-{name}"),
            container: name.clone(),
            name,
            addresses: addresses
                .iter()
                .map(|address| address.parse().unwrap())
                .collect(),
            subnets: vec![
                format!("10.88.{network}.0/24").parse().unwrap(),
                format!("fd00:88:{network}::/64").parse().unwrap(),
            ],
            gateways: vec![
                format!("10.88.{network}.1").parse().unwrap(),
                format!("fd00:88:{network}::1").parse().unwrap(),
            ],
            interface: format!("br{network}"),
            internal: false,
        };
        Container {
            place,
            addresses,
            lease,
        }
    }

    /// Another monitor.
    pub fn another_client(&self) -> Client {
        connect(&self.directory)
    }

    /// Another network process, and a monitor that has found one.
    pub fn start_another(&self) -> (Child, Client) {
        (start(&self.directory), connect(&self.directory))
    }

    /// The first one has ended by itself when this returns: its last monitor has.
    pub fn end_first(&mut self) {
        let spare = Client::connect(&Paths::new(&self.directory, &self.directory))
            .unwrap()
            .unwrap();
        drop(std::mem::replace(&mut self.client, spare));
        // The one that has taken its place ends like a killed one, by its descriptor.
        rustix::net::shutdown(self.client.as_fd(), rustix::net::Shutdown::Both).unwrap();
        assert!(self.process.wait().unwrap().success());
    }

    /// How many descriptors the network process has open.
    pub fn open_files(&self) -> usize {
        let path = format!("/proc/{}/fd", self.process.id());
        std::fs::read_dir(path).unwrap().count()
    }
}

fn start(directory: &std::path::Path) -> Child {
    let mut command = match std::env::var_os(PROGRAM) {
        None => {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", "scene::network_process", "--nocapture"]);
            command
        }
        Some(program) => {
            let mut command = Command::new("bash");
            // All that it reads of a store.
            let map = r#"[{"inside":0,"outside":0,"size":1}]"#;
            let record = format!(
                r#"{{"version":1,"mapping":{{"tier":"single","uid":0,"gid":0,"uids":{map},"gids":{map}}},
                    "file_system":{{"id":"","roots":"overlays"}}}}"#
            );
            std::fs::write(directory.join("store.json"), record).unwrap();
            // It says by its first descriptor that it can be asked.
            let script = "exec -a onggi-network \"$0\" \"$@\" 3> /dev/null";
            command.args(["-c", script]).arg(program);
            command.args([directory, directory]).arg("-");
            command
        }
    };
    command
        .env(PLAYED, "process")
        .env(DIRECTORY, directory)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn connect(directory: &std::path::Path) -> Client {
    let paths = Paths::new(directory, directory);
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        match Client::connect(&paths).unwrap() {
            Some(client) => return client,
            None => assert!(Instant::now() < end, "the network process does not answer"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A port that is asked for.
pub fn wanted(address: Option<&str>, host: u16, container: u16, protocol: Protocol) -> Wanted {
    Wanted {
        address: address.map(|address| address.parse().unwrap()),
        host: (host != 0).then_some((host, host)),
        container: (container, container),
        protocol,
    }
}

/// Address and port as text.
pub fn at(address: &str, port: u16) -> String {
    SocketAddr::new(address.parse::<IpAddr>().unwrap(), port).to_string()
}

/// Sends back what comes, to the end, and then ends.
pub fn echo(mut stream: TcpStream, _: SocketAddr) {
    let mut buffer = [0; 65536];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

/// Says who has connected, and ends.
pub fn tell_client(mut stream: TcpStream, from: SocketAddr) {
    let _ = stream.write_all(from.to_string().as_bytes());
}

/// Everything that comes until the end.
pub fn read_all(mut stream: &TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}
