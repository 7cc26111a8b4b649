//! `/etc/resolv.conf` (resolv.conf(5)): what the host's says, and that of a container.

use anyhow::{Result, anyhow};
use rustix::fs::Stat;
use std::fmt::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Where containers with a resolver of ours find it; Docker's address.
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// Resolvers that are asked, as in resolver(3) (MAXNS).
const MOST_SERVERS: usize = 3;

/// A resolver.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// Where it is.
    pub address: IpAddr,
    /// The interface that a link-local address is behind, by name or number (RFC 4007 section 11).
    pub scope: Option<String>,
}

impl FromStr for Server {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (address, scope) = match text.split_once('%') {
            Some((address, scope)) => (address, Some(scope.to_owned())),
            None => (text, None),
        };
        let parsed: Option<IpAddr> = address.parse().ok();
        match (parsed, &scope) {
            (Some(IpAddr::V6(_)), Some(scope)) if scope.is_empty() => {}
            (Some(address @ IpAddr::V6(_)), _) | (Some(address), None) => {
                return Ok(Self { address, scope });
            }
            _ => {}
        }
        Err(anyhow!("`{text}` is not the address of a resolver"))
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.scope {
            Some(scope) => write!(f, "{}%{scope}", self.address),
            None => write!(f, "{}", self.address),
        }
    }
}

/// What a resolver has to know of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// At most three; what is no address is left out.
    pub servers: Vec<Server>,
    /// Words behind `options`.
    pub options: Vec<String>,
}

impl ResolvConf {
    /// Reads what can be read, as resolver(3) does.
    pub fn parse(text: &str) -> Self {
        let servers = words(text, "nameserver");
        let servers = servers.iter().filter_map(|word| word.parse().ok());
        Self {
            servers: servers.take(MOST_SERVERS).collect(),
            options: words(text, "options"),
        }
    }

    /// How long one resolver is waited for: `timeout:`, else two seconds, so that a second one is asked before the
    /// program's own five seconds are over.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.number("timeout:").map_or(2, |n| n.clamp(1, 30)))
    }

    /// How often each is asked: `attempts:`, else twice.
    pub fn attempts(&self) -> usize {
        self.number("attempts:").map_or(2, |n| n.clamp(1, 5)) as usize
    }

    /// Whether each query begins with another one.
    pub fn rotates(&self) -> bool {
        self.options.iter().any(|option| option == "rotate")
    }

    fn number(&self, name: &str) -> Option<u64> {
        let mut values = self
            .options
            .iter()
            .filter_map(|option| option.strip_prefix(name));
        values.next_back()?.parse().ok()
    }
}

/// The host's file, read again when it is another one or has changed.
#[derive(Debug)]
pub struct Host {
    path: PathBuf,
    seen: Option<(u64, u64, i64, i64, u64)>,
    content: ResolvConf,
}

impl Host {
    /// Reads nothing yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            seen: None,
            content: ResolvConf::default(),
        }
    }

    /// What it says now; nothing where there is none.
    pub fn read(&mut self) -> &ResolvConf {
        let identity = |stat: Stat| {
            (
                stat.st_dev,
                stat.st_ino,
                stat.st_mtime,
                stat.st_mtime_nsec as i64,
                stat.st_size as u64,
            )
        };
        let now = rustix::fs::stat(&self.path).ok().map(identity);
        if now.is_none() || now != self.seen {
            let bytes = std::fs::read(&self.path).unwrap_or_default();
            self.content = ResolvConf::parse(&String::from_utf8_lossy(&bytes));
            self.seen = now;
        }
        &self.content
    }
}

/// What was asked for with `--dns`, `--dns-search` and `--dns-option`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// Resolvers.
    pub servers: &'a [String],
    /// Search domains; a single dot asks for none at all.
    pub search: &'a [String],
    /// Options.
    pub options: &'a [String],
}

/// For a container without a resolver of ours: the host's text, each of the three replaced by what was asked for.
pub fn render(host: &str, asked: Asked<'_>) -> String {
    if asked.servers.is_empty() && asked.search.is_empty() && asked.options.is_empty() {
        return host.to_owned();
    }
    let servers = choose(asked.servers, host, "nameserver");
    let options = choose(asked.options, host, "options");
    lines(&servers, &search(host, asked), &options)
}

/// For a container that has another resolver than the host, by its address.
pub fn render_with(server: &str, host: &str, asked: Asked<'_>) -> String {
    let own = [server.to_owned()];
    let servers = match asked.servers {
        [] => &own,
        servers => servers,
    };
    lines(
        servers,
        &search(host, asked),
        &choose(asked.options, host, "options"),
    )
}

/// For a container that our resolver answers. A name without a dot may be a container's: it is asked for as it is before
/// the search domains are tried, unless `ndots` says otherwise.
pub fn render_for_resolver(host: &str, asked: Asked<'_>) -> String {
    let mut options = choose(asked.options, host, "options");
    if !options.iter().any(|option| option.starts_with("ndots:")) {
        options.push("ndots:0".to_owned());
    }
    lines(&[RESOLVER.to_string()], &search(host, asked), &options)
}

fn search(host: &str, asked: Asked<'_>) -> Vec<String> {
    let mut search = choose(asked.search, host, "search");
    search.retain(|domain| domain != ".");
    search
}

fn choose(asked: &[String], host: &str, keyword: &str) -> Vec<String> {
    if asked.is_empty() {
        words(host, keyword)
    } else {
        asked.to_vec()
    }
}

/// All words behind a keyword, of all its lines.
fn words(text: &str, keyword: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() == Some(keyword) {
            found.extend(words.map(str::to_owned));
        }
    }
    found
}

fn lines(servers: &[String], search: &[String], options: &[String]) -> String {
    let mut text = String::new();
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    for (keyword, words) in [("search", search), ("options", options)] {
        if !words.is_empty() {
            let _ = writeln!(text, "{keyword} {}", words.join(" "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_addresses() {
        for (text, expect) in [
            ("10.0.0.1", Some("10.0.0.1")),
            ("fd00::53", Some("fd00::53")),
            ("fe80::1%eth0", Some("fe80::1%eth0")),
            ("fe80::1%2", Some("fe80::1%2")),
            ("fe80::1%", None),
            ("10.0.0.1%eth0", None),
            ("10.0.0.1:53", None),
            ("resolver", None),
            ("", None),
        ] {
            let server = text.parse::<Server>().ok().map(|server| server.to_string());
            assert_eq!(server.as_deref(), expect, "{text}");
        }
    }

    #[test]
    fn host_file_is_read_as_resolvers_read_it() {
        let text = "# nameserver 10.0.0.9\n nameserver\t10.0.0.1\nnameserver x\nnameserver fe80::1%eth0\n\
                    nameserversx 10.0.0.8\nnameserver 10.0.0.3\nnameserver 10.0.0.4\n\
                    options timeout:1 rotate\noptions attempts:99 timeout:7\n";
        let read = ResolvConf::parse(text);
        let servers: Vec<String> = read.servers.iter().map(Server::to_string).collect();
        assert_eq!(servers, ["10.0.0.1", "fe80::1%eth0", "10.0.0.3"]);
        assert_eq!(
            (read.timeout(), read.attempts()),
            (Duration::from_secs(7), 5)
        );
        assert!(read.rotates());
        let nothing =
            ResolvConf::parse("\0\u{fffd}options timeout:-1 attempts:0\noptions timeout:x");
        assert_eq!(nothing.servers, []);
        assert_eq!(
            (nothing.timeout(), nothing.attempts()),
            (Duration::from_secs(2), 2)
        );
        assert!(!nothing.rotates());
    }

    #[test]
    fn host_file_is_read_again_when_it_is_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("resolv.conf");
        let mut host = Host::new(&path);
        assert_eq!(host.read().servers, []);
        for address in ["10.0.0.1", "10.0.0.22", "10.0.0.3"] {
            let new = directory.path().join("new");
            std::fs::write(&new, format!("nameserver {address}\n")).unwrap();
            std::fs::rename(new, &path).unwrap();
            assert_eq!(host.read().servers[0].to_string(), address);
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(host.read().servers, []);
    }

    #[test]
    fn files_of_containers() {
        let host = "nameserver 10.0.0.1\nsearch a.example b.example\noptions edns0 trust-ad\n";
        let words = |text: &str| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        for (servers, search, options, plain, with_resolver) in [
            (
                "",
                "",
                "",
                host,
                "nameserver 127.0.0.11\nsearch a.example b.example\noptions edns0 trust-ad ndots:0\n",
            ),
            (
                "10.9.9.9 fe80::1%eth0",
                "c.example",
                "ndots:2",
                "nameserver 10.9.9.9\nnameserver fe80::1%eth0\nsearch c.example\noptions ndots:2\n",
                "nameserver 127.0.0.11\nsearch c.example\noptions ndots:2\n",
            ),
            (
                "",
                ".",
                "rotate",
                "nameserver 10.0.0.1\noptions rotate\n",
                "nameserver 127.0.0.11\noptions rotate ndots:0\n",
            ),
        ] {
            let (servers, search, options) = (words(servers), words(search), words(options));
            let asked = Asked {
                servers: &servers,
                search: &search,
                options: &options,
            };
            assert_eq!(render(host, asked), plain);
            assert_eq!(render_for_resolver(host, asked), with_resolver);
        }
        let none = render_for_resolver("", Asked::default());
        assert_eq!(none, "nameserver 127.0.0.11\noptions ndots:0\n");
    }
}
