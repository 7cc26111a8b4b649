//! Names of hosts become addresses (RFC 1035; hosts(5), resolv.conf(5)), without libc's getaddrinfo, which loads
//! NSS modules that a static program cannot have.
//!
//! `/etc/hosts` comes first, then the name servers of `/etc/resolv.conf` with its search list, `ndots`, `timeout` and
//! `attempts`; without a name server, one on this machine is asked. Not here: caches, DNSSEC, mDNS.
//!
//! Invariant: an answer counts only if it came from the server that was asked, to the question that was asked.

use rustix::rand::{GetRandomFlags, getrandom};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream, UdpSocket};
use std::time::{Duration, Instant};
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

const HOSTS: &str = "/etc/hosts";
const CONFIGURATION: &str = "/etc/resolv.conf";
const ADDRESS: u16 = 1;
const ADDRESS_6: u16 = 28;
const INTERNET: u16 = 1;
/// More of them help nobody, and this is what the transport has room for.
const ADDRESSES: usize = 16;

/// The resolver that connections use.
#[derive(Debug)]
pub struct HostResolver;

impl Resolver for HostResolver {
    fn resolve(
        &self,
        uri: &Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?;
        let default = if uri.scheme_str() == Some("http") {
            80
        } else {
            443
        };
        let port = uri.port_u16().unwrap_or(default);
        let mut addresses = self.empty();
        for address in lookup(host)?.into_iter().take(ADDRESSES) {
            addresses.push(SocketAddr::new(address, port));
        }
        Ok(addresses)
    }
}

/// The addresses of a host, those of version 4 first; at least one. [`ErrorKind::NotFound`] says that there is no
/// such host.
pub fn lookup(host: &str) -> io::Result<Vec<IpAddr>> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let here = std::fs::read_to_string(HOSTS).unwrap_or_default();
    let found = in_hosts(&here, host);
    if !found.is_empty() {
        return Ok(found);
    }
    if host == "localhost" || host.ends_with(".localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let text = std::fs::read_to_string(CONFIGURATION).unwrap_or_default();
    Configuration::parse(&text).lookup(host)
}

fn in_hosts(text: &str, host: &str) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    for line in text.lines() {
        let mut words = line
            .split('#')
            .next()
            .unwrap_or_default()
            .split_whitespace();
        let address = words.next().and_then(|word| word.parse().ok());
        if let Some(address) = address
            && words.any(|name| name.eq_ignore_ascii_case(host))
        {
            found.push(address);
        }
    }
    found.sort_by_key(IpAddr::is_ipv6);
    found
}

/// What `/etc/resolv.conf` says.
#[derive(Debug, PartialEq, Eq)]
struct Configuration {
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    ndots: usize,
    timeout: Duration,
    attempts: usize,
}

impl Configuration {
    fn parse(text: &str) -> Self {
        let mut configuration = Self {
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
        };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let server = words.next().and_then(server);
                    configuration.servers.extend(server);
                }
                Some("search" | "domain") => {
                    let domain = |word: &str| word.trim_matches('.').to_owned();
                    configuration.search = words.map(domain).collect();
                }
                Some("options") => words.for_each(|option| configuration.option(option)),
                _ => {}
            }
        }
        if configuration.servers.is_empty() {
            let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 53));
            configuration.servers.push(here);
        }
        configuration.servers.truncate(3);
        configuration
    }

    /// With the limits of resolv.conf(5).
    fn option(&mut self, option: &str) {
        let (name, value) = option.split_once(':').unwrap_or((option, ""));
        match (name, value.parse::<usize>()) {
            ("ndots", Ok(value)) => self.ndots = value.min(15),
            ("timeout", Ok(value)) => self.timeout = Duration::from_secs(value.clamp(1, 30) as u64),
            ("attempts", Ok(value)) => self.attempts = value.clamp(1, 5),
            _ => {}
        }
    }

    /// The names to ask for, in order.
    fn candidates(&self, host: &str) -> Vec<String> {
        if let Some(whole) = host.strip_suffix('.') {
            return vec![whole.to_owned()];
        }
        let suffixed = self.search.iter().filter(|domain| !domain.is_empty());
        let mut names: Vec<String> = suffixed.map(|domain| format!("{host}.{domain}")).collect();
        let place = match host.matches('.').count() >= self.ndots {
            true => 0,
            false => names.len(),
        };
        names.insert(place, host.to_owned());
        names
    }

    fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let mut failure = None;
        for name in self.candidates(host) {
            match self.ask(&name) {
                Ok(addresses) if !addresses.is_empty() => return Ok(addresses),
                Ok(_) => {}
                Err(error) => failure = Some(error),
            }
        }
        let unknown = || io::Error::new(ErrorKind::NotFound, "no such host");
        Err(failure.unwrap_or_else(unknown))
    }

    /// Both kinds of addresses of one name; none where it does not exist.
    fn ask(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let mut addresses = self.ask_servers(name, ADDRESS)?;
        match self.ask_servers(name, ADDRESS_6) {
            Ok(more) => addresses.extend(more),
            // One kind is enough to go on with.
            Err(error) if addresses.is_empty() => return Err(error),
            Err(_) => {}
        }
        Ok(addresses)
    }

    fn ask_servers(&self, name: &str, kind: u16) -> io::Result<Vec<IpAddr>> {
        let mut failure = io::Error::from(ErrorKind::NotFound);
        for _ in 0..self.attempts {
            for server in &self.servers {
                match query(*server, name, kind, self.timeout) {
                    Ok(addresses) => return Ok(addresses),
                    Err(error) => {
                        let text = format!("name server {} does not answer: {error}", server.ip());
                        failure = io::Error::new(error.kind(), text);
                    }
                }
            }
        }
        Err(failure)
    }
}

/// The address of a name server; one of a link carries the link's name (`fe80::1%eth0`).
fn server(word: &str) -> Option<SocketAddr> {
    let Some((address, link)) = word.split_once('%') else {
        return Some(SocketAddr::new(word.parse().ok()?, 53));
    };
    let index = match link.parse() {
        Ok(index) => index,
        Err(_) if link.contains('/') => return None,
        Err(_) => {
            let text = std::fs::read_to_string(format!("/sys/class/net/{link}/ifindex")).ok()?;
            text.trim().parse().ok()?
        }
    };
    Some(SocketAddrV6::new(address.parse().ok()?, 53, 0, index).into())
}

/// Asks one server, by UDP and, where the answer is too long for that, by TCP.
fn query(server: SocketAddr, name: &str, kind: u16, timeout: Duration) -> io::Result<Vec<IpAddr>> {
    let mut id = [0; 2];
    getrandom(&mut id[..], GetRandomFlags::empty())?;
    let question = question(id, name, kind)?;
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(server)?;
    socket.send(&question)?;
    let end = Instant::now() + timeout;
    let mut buffer = [0; 4096];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let length = match socket.recv(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(ErrorKind::TimedOut.into());
            }
            received => received?,
        };
        match answer(&question, &buffer[..length], kind) {
            // Somebody else's, or nonsense: the true one may still come.
            None => {}
            Some(Answer::Truncated) => return query_by_stream(server, &question, kind, timeout),
            Some(Answer::Failed(code)) => return Err(server_failure(code)),
            Some(Answer::Addresses(addresses)) => return Ok(addresses),
        }
    }
}

fn query_by_stream(
    server: SocketAddr,
    question: &[u8],
    kind: u16,
    timeout: Duration,
) -> io::Result<Vec<IpAddr>> {
    let mut stream = TcpStream::connect_timeout(&server, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let length = u16::try_from(question.len()).unwrap_or(u16::MAX);
    stream.write_all(&[&length.to_be_bytes()[..], question].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    match answer(question, &message, kind) {
        Some(Answer::Addresses(addresses)) => Ok(addresses),
        Some(Answer::Failed(code)) => Err(server_failure(code)),
        _ => Err(ErrorKind::InvalidData.into()),
    }
}

fn server_failure(code: u8) -> io::Error {
    io::Error::other(format!("it fails with code {code}"))
}

fn question(id: [u8; 2], name: &str, kind: u16) -> io::Result<Vec<u8>> {
    // Recursion desired; one question.
    let mut message = vec![id[0], id[1], 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        match u8::try_from(label.len()) {
            Ok(length @ 1..=63) => message.push(length),
            _ => return Err(io::Error::new(ErrorKind::NotFound, "no such host")),
        }
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&INTERNET.to_be_bytes());
    Ok(message)
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Truncated,
    Failed(u8),
    Addresses(Vec<IpAddr>),
}

/// What a message says to a question; `None` when it answers another one or cannot be read.
fn answer(question: &[u8], message: &[u8], kind: u16) -> Option<Answer> {
    let header = message.get(..12)?;
    let response = header[2] & 0x80 != 0;
    let asked = message.get(12..question.len())?;
    if header[..2] != question[..2] || !response || !asked.eq_ignore_ascii_case(&question[12..]) {
        return None;
    }
    if header[2] & 2 != 0 {
        return Some(Answer::Truncated);
    }
    match header[3] & 15 {
        0 => {}
        // No such name.
        3 => return Some(Answer::Addresses(Vec::new())),
        code => return Some(Answer::Failed(code)),
    }
    let count = u16::from_be_bytes([header[6], header[7]]);
    let mut rest = &message[question.len()..];
    let mut addresses = Vec::new();
    for _ in 0..count {
        rest = after_name(rest)?;
        let fixed = rest.get(..10)?;
        let found = u16::from_be_bytes([fixed[0], fixed[1]]);
        let length = usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
        let data = rest.get(10..10 + length)?;
        rest = &rest[10 + length..];
        if found == kind {
            addresses.extend(match kind {
                ADDRESS => <[u8; 4]>::try_from(data).ok().map(IpAddr::from),
                _ => <[u8; 16]>::try_from(data).ok().map(IpAddr::from),
            });
        }
    }
    Some(Answer::Addresses(addresses))
}

/// What follows a name: labels up to an empty one, or to a pointer to where the rest of it stands.
fn after_name(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        match *rest.first()? {
            0 => return rest.get(1..),
            length if length & 0xc0 == 0xc0 => return rest.get(2..),
            length => rest = rest.get(1 + usize::from(length)..)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_file_is_read() {
        let text =
            "127.0.0.1 localhost # x\n::1 a.example\n10.0.0.1 b A.example\nnonsense a.example\n";
        assert_eq!(
            in_hosts(text, "a.example"),
            [
                "10.0.0.1".parse::<IpAddr>().unwrap(),
                "::1".parse().unwrap()
            ]
        );
        assert!(in_hosts(text, "x").is_empty());
    }

    #[test]
    fn the_configuration_is_read_and_orders_the_names() {
        let text = "nameserver 10.0.0.1\nnameserver fe80::1%7\nnameserver x\nsearch a.org b.org.\n\
                    options ndots:2 timeout:90 attempts:0 rotate\n";
        let configuration = Configuration::parse(text);
        assert_eq!(configuration.servers.len(), 2);
        assert_eq!(configuration.servers[1].to_string(), "[fe80::1%7]:53");
        assert_eq!(
            (configuration.timeout.as_secs(), configuration.attempts),
            (30, 1)
        );
        for (host, names) in [
            ("h", vec!["h.a.org", "h.b.org", "h"]),
            ("h.x.y", vec!["h.x.y", "h.x.y.a.org", "h.x.y.b.org"]),
            ("h.x.", vec!["h.x"]),
        ] {
            assert_eq!(configuration.candidates(host), names);
        }
        assert_eq!(
            Configuration::parse("").servers[0].to_string(),
            "127.0.0.1:53"
        );
    }

    #[test]
    fn only_the_answer_to_the_question_counts() {
        let asked = question([1, 2], "a.example", ADDRESS).unwrap();
        let mut message = asked.clone();
        message[2] = 0x81;
        message[7] = 2;
        // An alias by a pointer, then an address.
        message.extend_from_slice(&[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 2, 0xc0, 12]);
        message.extend_from_slice(&[1, b'b', 0, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 0, 0, 7]);
        let expected = Answer::Addresses(vec!["10.0.0.7".parse().unwrap()]);
        assert_eq!(answer(&asked, &message, ADDRESS), Some(expected));
        for cut in 0..message.len() {
            assert_eq!(answer(&asked, &message[..cut], ADDRESS), None, "{cut}");
        }
        let mut other = message.clone();
        other[0] = 9;
        assert_eq!(answer(&asked, &other, ADDRESS), None);
        let mut truncated = message.clone();
        truncated[2] |= 2;
        assert_eq!(answer(&asked, &truncated, ADDRESS), Some(Answer::Truncated));
        let mut none = message;
        none[3] = 3;
        assert_eq!(
            answer(&asked, &none, ADDRESS),
            Some(Answer::Addresses(Vec::new()))
        );
        assert!(question([0, 0], &"x".repeat(64), ADDRESS).is_err());
        assert!(question([0, 0], "a..b", ADDRESS).is_err());
    }

    #[test]
    fn a_server_is_asked_and_believed() {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = server.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            let (length, from) = server.recv_from(&mut buffer).unwrap();
            let mut message = buffer[..length].to_vec();
            message[2] = 0x81;
            message[7] = 1;
            message.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1]);
            let mut wrong = message.clone();
            wrong[1] ^= 1;
            server.send_to(&wrong, from).unwrap();
            server.send_to(&message, from).unwrap();
        });
        let found = query(address, "a.example", ADDRESS, Duration::from_secs(10)).unwrap();
        assert_eq!(found, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(lookup("[::1]").unwrap(), ["::1".parse::<IpAddr>().unwrap()]);
    }
}
