//! More than there is room for: half-opened connections, thousands of short ones, datagrams of thousands of senders, fewer
//! descriptors than connections. What carries them does so afterwards as before, and has kept nothing.

use crate::containers::{network_processes, run};
use crate::scene::{HOST, NOBODY, Place, WORLD, at, tell_client};
use crate::support::life::until;
use crate::support::{Outcome, User};
use crate::town::{PORT, Town, told_by_tcp, told_by_udp, town};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sendto, socket_with};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// How many descriptors may be there for what comes next: sockets that are made in advance, and pipes.
const SPARE: usize = 40;

/// A process that carries connections.
struct Carrier(u32);

impl Carrier {
    /// Of a container in a town: the network process, or for root the monitor, which has those by loopback.
    fn of(town: &Town, container: &str) -> Self {
        match town.store.user {
            User::Root => Self(town.store.monitor(container)),
            _ => {
                let [process] = network_processes(town)[..] else {
                    panic!("{:?}", network_processes(town));
                };
                Self(process)
            }
        }
    }

    fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.0))
            .unwrap()
            .count()
    }

    /// Kilobytes of memory that are its own (proc_pid_status(5)).
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.unwrap().parse().unwrap()
    }

    /// How long it has run on a processor, in hundredths of a second (proc_pid_stat(5)).
    fn worked(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let fields = fields.split(' ').skip(11).take(2);
        fields.map(|field| field.parse::<u64>().unwrap()).sum()
    }

    /// Limits how many descriptors it may have from now on, as its user.
    fn limit(&self, town: &Town, descriptors: usize) {
        let mut prlimit = town.store.command("prlimit");
        prlimit.args([
            &format!("--pid={}", self.0),
            &format!("--nofile={descriptors}:"),
        ]);
        Outcome::of("prlimit", prlimit.output().unwrap()).code(0);
    }

    /// Waits until it has no more of them than before, but for those in stock.
    fn lets_go(&self, before: usize) {
        let end = Instant::now() + Duration::from_secs(70);
        while self.open_files() > before + SPARE {
            let now = self.open_files();
            assert!(Instant::now() < end, "{before} descriptors, then {now}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A container whose port 80 tells clients who they are, by 8080 of the host.
fn web(town: &Town) -> Place {
    run(town, "web", &["-p", "8080:80", "-p", "8080:80/udp"]);
    let inside = town.inside("web");
    inside.serve("[::]:80", tell_client);
    inside
}

/// From where its carrier is asked, and how.
fn client(town: &Town) -> (&Place, [&'static str; 2]) {
    match town.store.user {
        User::Root => (&town.host, ["127.0.0.1", "::1"]),
        _ => (&town.world, HOST),
    }
}

fn serves(town: &Town) -> bool {
    let (place, addresses) = client(town);
    let mut addresses = addresses.iter();
    addresses.all(|address| told_by_tcp(place, &at(address, 8080)).is_ok())
}

#[test]
fn thousands_of_short_connections_leave_nothing() {
    for user in [User::Root, User::Subuid, User::Single] {
        town(user, |town| {
            let inside = web(town);
            let carrier = Carrier::of(town, "web");
            let (place, addresses) = client(town);
            let many = |number: usize| {
                for turn in 0..number {
                    let side = turn % 2;
                    told_by_tcp(place, &at(addresses[side], 8080)).unwrap();
                    told_by_tcp(&inside, &at(WORLD[side], PORT)).unwrap();
                    // Who goes without a word, and who is not answered.
                    let to = at(addresses[side], 8080);
                    drop(place.connect(&to).unwrap());
                    told_by_tcp(&inside, &at(WORLD[side], 9)).unwrap_err();
                }
            };
            many(200);
            let (files, memory) = (carrier.open_files(), carrier.memory());
            many(1000);
            carrier.lets_go(files);
            let now = carrier.memory();
            assert!(now <= memory + 512, "{memory} kB, then {now} kB");
        });
    }
}

/// The beginning of a connection from an address and a port that do not know of it (RFC 791, RFC 9293).
fn beginning(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), number: u32) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0];
    packet.extend(from.0.octets());
    packet.extend(to.0.octets());
    let addresses = packet[12..20].to_vec();
    packet.extend(from.1.to_be_bytes());
    packet.extend(to.1.to_be_bytes());
    packet.extend(number.to_be_bytes());
    packet.extend([0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    let pseudo = [&addresses[..], &[0, 6, 0, 20], &packet[20..]].concat();
    let words = pseudo
        .chunks(2)
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    packet[36..38].copy_from_slice(&(!sum as u16).to_be_bytes());
    packet
}

#[test]
fn who_only_begins_connections_keeps_nobody_out() {
    for user in [User::Root, User::Subuid] {
        town(user, |town| {
            web(town);
            let carrier = Carrier::of(town, "web");
            let reached = || {
                let told = told_by_tcp(&town.world, &at(HOST[0], 8080)).unwrap();
                assert_eq!(told.ip().to_string(), WORLD[0]);
            };
            reached();
            let (files, memory) = (carrier.open_files(), carrier.memory());
            let flags = SocketFlags::CLOEXEC;
            let kind = SocketType::RAW;
            let socket = town
                .world
                .run(|| socket_with(AddressFamily::INET, kind, flags, Some(ipproto::RAW)))
                .unwrap();
            let host: Ipv4Addr = HOST[0].parse().unwrap();
            for number in 0..30_000_u32 {
                let [.., high, low] = number.to_be_bytes();
                // Some are of the world's own network, where nobody has such an address, and some of elsewhere.
                let from = match number % 2 {
                    0 => Ipv4Addr::new(198, 51, 100, low | 128),
                    _ => Ipv4Addr::new(203, 0, 113, low),
                };
                let port = 1024 + (number / 2) as u16;
                let packet = beginning((from, port), (host, 8080), number ^ u32::from(high));
                let to = SocketAddr::from((host, 0));
                // The interface may have no room for a while.
                let _ = sendto(&socket, &packet, rustix::net::SendFlags::empty(), &to);
                if number % 5_000 == 0 {
                    reached();
                }
            }
            reached();
            assert!(carrier.open_files() <= files + SPARE);
            assert!(carrier.memory() <= memory + 512);
        });
    }
}

#[test]
fn a_container_that_asks_for_nobody_leaves_room_for_others() {
    town(User::Subuid, |town| {
        let inside = web(town);
        run(town, "other", &[]);
        let other = town.inside("other");
        let carrier = Carrier::of(town, "web");
        assert!(serves(town));
        let files = carrier.open_files();
        let nobody: SocketAddr = at(NOBODY[0], 80).parse().unwrap();
        let begin = |_| {
            inside.run(|| {
                let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None);
                let socket = socket.unwrap();
                let _ = rustix::net::connect(&socket, &nobody);
                socket
            })
        };
        let asked: Vec<_> = (0..200).map(begin).collect();
        let told = told_by_tcp(&other, &at(WORLD[0], PORT)).unwrap();
        assert_eq!(told.ip().to_string(), HOST[0]);
        assert!(serves(town));
        drop(asked);
        // Somebody is there now, who has no server.
        let somebody = format!("addr add {}/24 dev out", NOBODY[0]);
        town.world.ip(&somebody);
        carrier.lets_go(files);
        told_by_tcp(&inside, &at(WORLD[0], PORT)).unwrap();
    });
}

#[test]
fn senders_who_are_not_answered_are_forgotten() {
    town(User::Subuid, |town| {
        let inside = web(town);
        let carrier = Carrier::of(town, "web");
        let silent = inside.run(|| UdpSocket::bind("[::]:80").unwrap());
        let files = carrier.open_files();
        let to: SocketAddr = at(HOST[0], 8080).parse().unwrap();
        let mut senders = Vec::new();
        // As many at a time as the buffer of a socket has room for, however late they are read.
        for known in (50..=500).step_by(50) {
            senders.extend((0..50).map(|_| {
                let socket = town.world.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
                socket.send_to(b"hear me", to).unwrap();
                socket
            }));
            until("they are known", || {
                carrier.open_files() + SPARE >= files + known
            });
        }
        carrier.lets_go(files);
        // They can speak again, once there is room for what they say.
        let mut buffer = [0; 64];
        silent.set_nonblocking(true).unwrap();
        while silent.recv(&mut buffer).is_ok() {}
        silent.set_nonblocking(false).unwrap();
        let timeout = Some(Duration::from_secs(20));
        silent.set_read_timeout(timeout).unwrap();
        senders[0].send_to(b"once more", to).unwrap();
        let (length, from) = silent.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"once more");
        silent.send_to(b"yes", from).unwrap();
        senders[0].set_read_timeout(timeout).unwrap();
        let mut answer = [0; 8];
        assert_eq!(senders[0].recv(&mut answer).unwrap(), 3);
    });
}

#[test]
fn connections_wait_for_descriptors() {
    for user in [User::Root, User::Subuid] {
        town(user, |town| {
            let inside = web(town);
            crate::town::tell_senders(&inside, "[::]:80");
            let carrier = Carrier::of(town, "web");
            assert!(serves(town));
            let files = carrier.open_files();
            carrier.limit(town, files + 40);
            let (place, addresses) = client(town);
            let to: SocketAddr = at(addresses[0], 8080).parse().unwrap();
            // The kernel lets them in; those that there are descriptors for are carried.
            let waiting: Vec<TcpStream> = (0..200)
                .map(|_| place.run(|| TcpStream::connect(to)).unwrap())
                .collect();
            std::thread::sleep(Duration::from_millis(500));
            let before = carrier.worked();
            std::thread::sleep(Duration::from_secs(2));
            let worked = carrier.worked() - before;
            assert!(worked < 100, "{worked} hundredths of two seconds");
            drop(waiting);
            until("it serves again", || serves(town));
            told_by_tcp(&inside, &at(WORLD[0], PORT)).unwrap();
            carrier.lets_go(files);
            carrier.limit(town, 4096);
            told_by_udp(place, &at(addresses[0], 8080)).unwrap();
        });
    }
}

#[test]
fn few_descriptors_are_enough_for_few_connections() {
    for user in [User::Root, User::Subuid, User::Single] {
        town(user, |town| {
            let script = format!(
                "ulimit -n 110; exec onggi run -d --name web -p 8080:80 {} sleep 1000",
                crate::support::ALPINE
            );
            let started = town.store.script(&script).without("ONGGI_NETWORK").run();
            started.code(0).stderr("");
            town.inside("web").serve("[::]:80", tell_client);
            for _ in 0..50 {
                assert!(serves(town));
            }
            told_by_tcp(&town.inside("web"), &at(WORLD[0], PORT)).unwrap();
        });
    }
}
