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
