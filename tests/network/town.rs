//! A host of its own for one user, with a world behind a cable: what the program does there, nobody else sees.
//!
//! ```text
//! host 198.51.100.1, 2001:db8:5::1 ── world 198.51.100.2, 2001:db8:5::2
//!   the user's store, a server at PORT           servers at PORT, a name server, clients
//! ```

use crate::namespaces::on_a_host;
use crate::scene::{HOST, Place, WORLD, at, tell_client};
use crate::support::{ALPINE, Need, OwnMounts, Store, User, requires, store};
use simple_dns::rdata::{A, PTR, RData};
use simple_dns::{CLASS, Name, Packet, QTYPE, RCODE, ResourceRecord, TYPE};
use std::io::{Error, ErrorKind, Read, Result};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

/// The users of the matrix.
pub const EVERYONE: [User; 3] = [User::Root, User::Subuid, User::Single];

/// Where servers of the world and of the host tell every client its address, over TCP and UDP.
pub const PORT: u16 = 7000;
/// Where nobody listens.
pub const NOWHERE: u16 = 9;
/// A name that the world's name server knows, and its address.
pub const KNOWN: (&str, &str) = ("known.example.org", "198.51.100.77");
/// A name that only the name server at the address of [`KNOWN`] knows, and its address.
pub const OTHER: (&str, &str) = ("other.example.org", "198.51.100.78");
/// Nothing that works takes this long.
const PATIENCE: Duration = Duration::from_secs(10);

/// The two places, and the store of the user.
pub struct Town {
    /// Where the user is.
    pub host: Place,
    /// Where everybody else is.
    pub world: Place,
    /// What he has; his commands see a `/etc/resolv.conf` that names the world's name server.
    pub store: Store,
    /// Ends after the store.
    _mounts: OwnMounts,
}

/// Plays with a town, if this user can be had.
pub fn town(user: User, play: impl FnOnce(&Town) + Send + 'static) {
    if !requires(&[Need::Root, Need::Program("ip")]) {
        return;
    }
    let Some(store) = store(user).filter(Store::alpine) else {
        return;
    };
    on_a_host(move || play(&Town::new(store)));
}

impl Town {
    /// Made by the thread that is on the host: what it starts is there as well.
    fn new(mut store: Store) -> Self {
        let (host, world) = (Place::here(), Place::new());
        host.ip(&format!(
            "link add out type veth peer name out netns {}
             link set out up
             addr add {}/24 dev out
             addr add {}/64 dev out nodad",
            world.path(),
            HOST[0],
            HOST[1]
        ));
        world.ip(&format!(
            "link set out up
             addr add {}/24 dev out
             addr add {}/64 dev out nodad
             addr add {}/24 dev out",
            WORLD[0], WORLD[1], KNOWN.1
        ));
        host.ip(&format!(
            "route add default via {}
             route add default via {}",
            WORLD[0], WORLD[1]
        ));
        let everybody = "0 2147483647";
        host.run(|| std::fs::write("/proc/sys/net/ipv4/ping_group_range", everybody).unwrap());
        for place in [&host, &world] {
            let addresses = if std::ptr::eq(place, &host) {
                HOST
            } else {
                WORLD
            };
            for address in addresses {
                place.serve(&at(address, PORT), tell_client);
                tell_senders(place, &at(address, PORT));
            }
        }
        answer_names(&world, WORLD[0], KNOWN);
        answer_names(&world, KNOWN.1, OTHER);
        let settings = store.file("resolv.conf", format!("nameserver {}\n", WORLD[0]));
        // Everybody may open the device, as udev has it; not so on every machine of tests.
        let tun = store.path().join("tun");
        let script = "mount --bind \"$1\" /etc/resolv.conf && mknod -m 666 \"$2\" c 10 200 &&
            mkdir -p /dev/net && touch /dev/net/tun && mount --bind \"$2\" /dev/net/tun";
        let mounts = OwnMounts::prepared(&mut store, script, &[settings, tun]);
        Self {
            host,
            world,
            store,
            _mounts: mounts,
        }
    }

    /// The network namespace of a container that runs.
    pub fn inside(&self, container: &str) -> Place {
        Place::of(&self.store.field(container, "{{.State.Pid}}"))
    }

    /// What the program says to this, with the defaults for networks that it has for everybody.
    #[track_caller]
    pub fn onggi(&self, words: &[&str]) -> crate::support::Outcome {
        self.store.onggi(words).without("ONGGI_NETWORK").run()
    }
}

/// What a server of [`tell_client`] tells somebody who connects from that place.
pub fn told_by_tcp(from: &Place, to: &str) -> Result<SocketAddr> {
    let mut text = String::new();
    let to: SocketAddr = to.parse().unwrap();
    from.run(|| {
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.read_to_string(&mut text)
    })?;
    parsed(&text)
}

/// What a server of [`tell_senders`] tells somebody who sends from that place.
pub fn told_by_udp(from: &Place, to: &str) -> Result<SocketAddr> {
    let to: SocketAddr = to.parse().unwrap();
    let any: IpAddr = if to.is_ipv4() {
        [0; 4].into()
    } else {
        [0; 16].into()
    };
    let socket = from.run(|| UdpSocket::bind((any, 0)))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(PATIENCE / 4))?;
    let mut buffer = [0; 128];
    let mut heard = Err(ErrorKind::TimedOut.into());
    // A datagram may be lost.
    for _ in 0..3 {
        socket.send(b"who am I?")?;
        heard = socket.recv(&mut buffer);
        if heard.is_ok() {
            break;
        }
    }
    parsed(&String::from_utf8_lossy(&buffer[..heard?]))
}

fn parsed(text: &str) -> Result<SocketAddr> {
    let told = |_| Error::new(ErrorKind::InvalidData, format!("told {text:?}"));
    let address: SocketAddr = text.parse().map_err(told)?;
    Ok(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

/// Tells everybody who sends a datagram to that address from where it came.
pub fn tell_senders(place: &Place, address: &str) {
    let socket = place.run(|| UdpSocket::bind(address).unwrap());
    std::thread::spawn(move || {
        let mut buffer = [0; 128];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(from.to_string().as_bytes(), from);
        }
    });
}

/// A name server that knows one name, and the name of its address.
fn answer_names(world: &Place, at_address: &str, known: (&'static str, &'static str)) {
    let socket = world.run(|| UdpSocket::bind(at(at_address, 53)).unwrap());
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            if let Some(answer) = answer(&buffer[..length], known) {
                let _ = socket.send_to(&answer, from);
            }
        }
    });
}

fn answer(question: &[u8], known: (&str, &str)) -> Option<Vec<u8>> {
    let asked = Packet::parse(question).ok()?;
    let question = asked.questions.first()?.clone();
    let mut reply = Packet::new_reply(asked.id());
    let record = |data| ResourceRecord::new(question.qname.clone(), CLASS::IN, 60, data);
    let address: std::net::Ipv4Addr = known.1.parse().unwrap();
    let [a, b, c, d] = address.octets();
    let backwards = format!("{d}.{c}.{b}.{a}.in-addr.arpa");
    match (question.qname.to_string().as_str(), question.qtype) {
        (name, QTYPE::TYPE(TYPE::A)) if name == known.0 => {
            reply.answers.push(record(RData::A(A::from(address))));
        }
        (name, _) if name == known.0 => {}
        (name, QTYPE::TYPE(TYPE::PTR)) if name == backwards => {
            let name = Name::new(known.0).unwrap();
            reply.answers.push(record(RData::PTR(PTR(name))));
        }
        _ => *reply.rcode_mut() = RCODE::NameError,
    }
    reply.questions.push(question);
    reply.build_bytes_vec().ok()
}

/// A container that does nothing.
#[track_caller]
pub fn run(town: &Town, name: &str, options: &[&str]) -> Place {
    let words = [
        &["run", "-d", "--name", name],
        options,
        &[ALPINE, "sleep", "1000"],
    ];
    town.onggi(&words.concat()).code(0);
    town.inside(name)
}
