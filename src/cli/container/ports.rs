//! The column PORTS of `ps`, in Docker's order: runs of ports with the same number on both sides first, then the rest.
//! Docker tells the rest port by port; here runs of it are told as one too.

use crate::container::network_settings::Port;
use crate::network::endpoint::Protocol;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A run of ports.
struct Run {
    /// Whose address leads to them; `None`: nobody's.
    address: Option<IpAddr>,
    protocol: Protocol,
    /// First and last in the container.
    container: (u16, u16),
    /// The first on the host.
    host: u16,
}

impl Run {
    /// Whether a port is the next one.
    fn goes_on(&self, next: &Self) -> bool {
        let count = u32::from(self.container.1 - self.container.0) + 1;
        self.is_alike(next)
            && u32::from(next.container.0) == u32::from(self.container.1) + 1
            && u32::from(next.host) == u32::from(self.host) + count
    }

    /// Whether both lead from the same address by the same protocol, with the same distance between the numbers.
    fn is_alike(&self, other: &Self) -> bool {
        let distance = |run: &Self| i32::from(run.host) - i32::from(run.container.0);
        (self.address, self.protocol, distance(self))
            == (other.address, other.protocol, distance(other))
    }

    fn is_straight(&self) -> bool {
        self.host == self.container.0
    }

    fn words(&self) -> String {
        let range = |first: u16| match self.container.1 - self.container.0 {
            0 => first.to_string(),
            more => format!("{first}-{}", u32::from(first) + u32::from(more)),
        };
        let inside = format!("{}/{}", range(self.container.0), self.protocol.word());
        match self.address {
            None => inside,
            Some(IpAddr::V4(address)) => format!("{address}:{}->{inside}", range(self.host)),
            Some(IpAddr::V6(address)) => format!("[{address}]:{}->{inside}", range(self.host)),
        }
    }
}

/// `0.0.0.0:80-81->80-81/tcp, [::]:8080->90/tcp`.
pub fn words(ports: &BTreeMap<Port, Vec<(IpAddr, u16)>>) -> String {
    let mut all: Vec<Run> = Vec::new();
    for ((port, protocol), bindings) in ports {
        let run = |address, host| Run {
            address,
            protocol: *protocol,
            container: (*port, *port),
            host,
        };
        match bindings.is_empty() {
            true => all.push(run(None, *port)),
            false => all.extend(
                bindings
                    .iter()
                    .map(|(address, host)| run(Some(*address), *host)),
            ),
        }
    }
    let text = |run: &Run| run.address.map_or(String::new(), |it| it.to_string());
    all.sort_by_cached_key(|run| (run.container, text(run), run.host, run.protocol.word()));
    // Docker tells a run when another one of its kind begins, and the last one of every kind at the end.
    let (mut done, mut open): (Vec<Run>, Vec<Run>) = (Vec::new(), Vec::new());
    for run in all {
        match open.iter_mut().find(|other| other.is_alike(&run)) {
            Some(last) if last.goes_on(&run) => last.container.1 = run.container.0,
            Some(last) => done.push(std::mem::replace(last, run)),
            None => open.push(run),
        }
    }
    let (straight, shifted): (Vec<Run>, Vec<Run>) =
        done.into_iter().chain(open).partition(Run::is_straight);
    let words = straight.iter().chain(&shifted).map(Run::words);
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `address host container/protocol`, or `container/protocol` where it is exposed only.
    fn told(lines: &[&str]) -> String {
        let mut ports: BTreeMap<Port, Vec<(IpAddr, u16)>> = BTreeMap::new();
        for line in lines {
            let mut words = line.split(' ').rev();
            let (port, protocol) = words.next().unwrap().split_once('/').unwrap();
            let protocol = Protocol::from_word(protocol).unwrap();
            let bindings = ports.entry((port.parse().unwrap(), protocol)).or_default();
            if let Some(host) = words.next() {
                let address = words.next().unwrap().parse().unwrap();
                bindings.push((address, host.parse().unwrap()));
            }
        }
        words(&ports)
    }

    /// The first five are what docker 28.2 prints.
    #[test]
    fn runs_are_told_as_one() {
        for (lines, expected) in [
            (
                &[
                    "0.0.0.0 8000 8000/tcp",
                    ":: 8000 8000/tcp",
                    "0.0.0.0 8001 8001/tcp",
                    ":: 8001 8001/tcp",
                ][..],
                "0.0.0.0:8000-8001->8000-8001/tcp, [::]:8000-8001->8000-8001/tcp",
            ),
            (
                &[
                    "0.0.0.0 8080 80/tcp",
                    ":: 8080 80/tcp",
                    "443/tcp",
                    "444/tcp",
                    "53/udp",
                    "127.0.0.1 9000 9000/tcp",
                ],
                "53/udp, 443-444/tcp, 127.0.0.1:9000->9000/tcp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp",
            ),
            (
                &[
                    "0.0.0.0 8000 8000/tcp",
                    "0.0.0.0 8000 8000/udp",
                    "0.0.0.0 8001 8001/udp",
                    "0.0.0.0 8003 8003/tcp",
                    "0.0.0.0 8004 8004/tcp",
                ],
                "0.0.0.0:8000->8000/tcp, 0.0.0.0:8003-8004->8003-8004/tcp, 0.0.0.0:8000-8001->8000-8001/udp",
            ),
            (
                &[
                    "0.0.0.0 32768 80/tcp",
                    ":: 32769 80/tcp",
                    "10.0.0.1 80 80/tcp",
                    "9.0.0.1 80 80/tcp",
                ],
                "10.0.0.1:80->80/tcp, 9.0.0.1:80->80/tcp, 0.0.0.0:32768->80/tcp, [::]:32769->80/tcp",
            ),
            (&[], ""),
            (
                &[
                    "0.0.0.0 8080 80/tcp",
                    ":: 8080 80/tcp",
                    "0.0.0.0 8081 81/tcp",
                    ":: 8081 81/tcp",
                    "0.0.0.0 9000 82/tcp",
                ],
                "0.0.0.0:8080-8081->80-81/tcp, [::]:8080-8081->80-81/tcp, 0.0.0.0:9000->82/tcp",
            ),
            (
                &["::1 65535 65535/sctp", "::1 65534 65534/sctp"],
                "[::1]:65534-65535->65534-65535/sctp",
            ),
        ] {
            assert_eq!(told(lines), expected);
        }
    }
}
