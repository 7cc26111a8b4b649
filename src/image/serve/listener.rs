//! Where a server is spoken to: addresses it is given, and sockets that systemd has opened for it.

use super::http::socket::Socket;
use crate::error::{Error, Kind, bad_input};
use anyhow::{Context, Result};
use procfs::process::FDTarget;
use rustix::net::{AddressFamily, SocketType, sockopt};
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The longest path of a socket in bytes (unix(7)).
const LONGEST: usize = 107;
/// The lowest port that is not root's alone (Documentation/networking/ip-sysctl.rst).
const UNPRIVILEGED: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";

/// `127.0.0.1:5000`, `[::1]:5000`, `localhost:5000`, `:5000` for all addresses of the machine, `unix:/PATH`. Port 0 is any
/// that is free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path.starts_with('/') {
                true if path.len() > LONGEST => Err(bad_input(format!(
                    "`{path}` has {} bytes, and a socket is called by {LONGEST} at most",
                    path.len()
                ))),
                true => Ok(Self::Unix(path.into())),
                false => Err(bad_input(format!("`{text}` names no absolute path"))),
            };
        }
        let invalid = || {
            bad_input(format!("`{text}` is no address to listen at"))
                .hint("as in 127.0.0.1:5000, :5000 or unix:/run/registry.sock")
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
        let port = port.parse().map_err(|_| invalid())?;
        let bracketed = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let ip = match (host, bracketed) {
            ("", _) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            ("localhost", _) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            (_, Some(bracketed)) => IpAddr::V6(bracketed.parse().map_err(|_| invalid())?),
            (host, None) => IpAddr::V4(host.parse().map_err(|_| invalid())?),
        };
        Ok(Self::Tcp(SocketAddr::new(ip, port)))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

enum Open {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A socket that clients connect to.
pub struct Listener {
    open: Open,
    address: Address,
    /// The name in the file system that goes with it.
    made: Option<PathBuf>,
}

impl Listener {
    /// Listens at an address.
    pub fn bind(address: &Address) -> Result<Self> {
        let context = || format!("listen at {address}");
        match address {
            Address::Tcp(asked) => {
                let listener = match TcpListener::bind(asked) {
                    // A host without IPv6.
                    Err(_) if asked.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
                        TcpListener::bind((Ipv4Addr::UNSPECIFIED, asked.port()))
                    }
                    listener => listener,
                };
                let listener = listener.map_err(|error| refused(error, asked))?;
                Self::tcp(listener).with_context(context)
            }
            Address::Unix(path) => {
                remove_dead(path).with_context(context)?;
                let listener = UnixListener::bind(path).with_context(context)?;
                let mut listener = Self::unix(listener).with_context(context)?;
                listener.made = Some(path.clone());
                Ok(listener)
            }
        }
    }

    /// A socket that was handed over.
    pub fn inherited(socket: OwnedFd) -> Result<Self> {
        let is_listening = sockopt::socket_type(&socket)
            .is_ok_and(|kind| kind == SocketType::STREAM)
            && sockopt::socket_acceptconn(&socket).unwrap_or(false);
        let family = sockopt::socket_domain(&socket);
        match family {
            Ok(AddressFamily::INET | AddressFamily::INET6) if is_listening => {
                Self::tcp(socket.into())
            }
            Ok(AddressFamily::UNIX) if is_listening => Self::unix(socket.into()),
            _ => Err(
                bad_input("a socket that was handed over does not wait for connections")
                    .hint("ListenStream= and Accept=no in the unit of the socket")
                    .into(),
            ),
        }
    }

    fn tcp(listener: TcpListener) -> Result<Self> {
        listener.set_nonblocking(true)?;
        let address = Address::Tcp(listener.local_addr()?);
        Ok(Self {
            open: Open::Tcp(listener),
            address,
            made: None,
        })
    }

    fn unix(listener: UnixListener) -> Result<Self> {
        listener.set_nonblocking(true)?;
        let path = listener.local_addr()?.as_pathname().map(Path::to_owned);
        Ok(Self {
            open: Open::Unix(listener),
            address: Address::Unix(path.unwrap_or_default()),
            made: None,
        })
    }

    /// Where it listens, with the port that it has.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Whether other machines reach it.
    pub fn is_public(&self) -> bool {
        matches!(&self.address, Address::Tcp(address) if !address.ip().is_loopback())
    }

    /// The next client that waits, if there is one.
    pub fn accept(&self) -> io::Result<Option<Socket>> {
        let accepted = match &self.open {
            Open::Tcp(listener) => listener.accept().map(|(socket, _)| {
                // Small answers must not wait for their acknowledgement.
                let _ = socket.set_nodelay(true);
                Socket::Tcp(socket)
            }),
            Open::Unix(listener) => listener.accept().map(|(socket, _)| Socket::Unix(socket)),
        };
        match accepted {
            Ok(socket) => Ok(Some(socket)),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.open {
            Open::Tcp(listener) => listener.as_fd(),
            Open::Unix(listener) => listener.as_fd(),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.made {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Why nobody can listen there, with what is known of the reason.
fn refused(error: io::Error, address: &SocketAddr) -> anyhow::Error {
    let hint = match error.kind() {
        ErrorKind::AddrInUse => match holder(address.port()) {
            Some((name, pid)) => {
                format!("{name}, process {pid}, listens there; port 0 is any that is free")
            }
            None => "another program listens there; port 0 is any that is free".to_owned(),
        },
        ErrorKind::AddrNotAvailable => {
            "no interface of this machine has that address; `:PORT` is all that they have"
                .to_owned()
        }
        ErrorKind::PermissionDenied => {
            let least = std::fs::read_to_string(UNPRIVILEGED).unwrap_or_default();
            let least = least.trim();
            format!(
                "ports below {least} are root's: take a higher one, or, as root, \
                 `sysctl net.ipv4.ip_unprivileged_port_start={}`",
                address.port()
            )
        }
        _ => return anyhow::Error::from(error).context(format!("listen at {address}")),
    };
    let kind = match error.kind() {
        ErrorKind::AddrInUse => Kind::Conflict,
        _ => Kind::Denied,
    };
    Error::new(kind, format!("listen at {address}: {error}"))
        .hint(hint)
        .into()
}

/// Who listens at a port, as far as this user may know: the program's name and its process number.
fn holder(port: u16) -> Option<(String, i32)> {
    let sockets = [procfs::net::tcp(), procfs::net::tcp6()];
    let listens = |entry: &procfs::net::TcpNetEntry| {
        entry.state == procfs::net::TcpState::Listen && entry.local_address.port() == port
    };
    let inodes: Vec<u64> = sockets
        .into_iter()
        .flatten()
        .flatten()
        .filter(listens)
        .map(|entry| entry.inode)
        .collect();
    let holds = |process: &procfs::process::Process| {
        let mut open = process.fd().into_iter().flatten().flatten();
        open.any(|open| matches!(open.target, FDTarget::Socket(inode) if inodes.contains(&inode)))
    };
    let mut processes = procfs::process::all_processes().ok()?.flatten();
    let process = processes.find(holds)?;
    Some((process.stat().ok()?.comm, process.pid))
}

/// Removes the socket of a server that was killed; nobody answers there any more.
fn remove_dead(path: &Path) -> Result<()> {
    use std::os::unix::fs::FileTypeExt;
    let is_socket = path
        .symlink_metadata()
        .is_ok_and(|metadata| metadata.file_type().is_socket());
    let is_dead = || matches!(UnixStream::connect(path), Err(error) if error.kind() == ErrorKind::ConnectionRefused);
    if is_socket && is_dead() {
        std::fs::remove_file(path).with_context(|| format!("remove `{}`", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_numbers() {
        for (text, expected) in [
            ("127.0.0.1:5000", "127.0.0.1:5000"),
            ("localhost:0", "127.0.0.1:0"),
            (":5000", "[::]:5000"),
            ("[::1]:80", "[::1]:80"),
            ("unix:/run/x", "unix:/run/x"),
            ("unix:///run/x", "unix:/run/x"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), expected);
        }
        for bad in [
            "",
            "5000",
            "a.example:5000",
            "127.0.0.1",
            "127.0.0.1:x",
            "127.0.0.1:70000",
            "::1:80",
            "unix:x",
            "unix:",
            &format!("unix:/{}", "x".repeat(LONGEST)),
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
