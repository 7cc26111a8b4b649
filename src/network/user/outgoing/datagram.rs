//! Datagrams of containers to the world. A flow has a socket towards the world and one towards the container that has
//! the address which was spoken to; what follows in the same flow comes to the latter by itself.

use super::{Around, Ears};
use crate::network::forward::datagram::{Back, Name};
use crate::network::forward::events::Key;
use crate::network::forward::inside::{Transport, make};
use crate::network::user::segment;
use crate::sys::transparent;
use rustix::io::Errno;
use rustix::net::{bind, connect, sockopt};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

/// How many are taken before other things are done.
const PATIENCE: usize = 64;

/// Datagrams have come that are of no flow.
pub fn take(ears: &Ears, around: &mut Around<'_>) {
    for _ in 0..PATIENCE {
        let received = match around.forwarder.datagrams.receive(&ears.datagrams) {
            Ok(received) => received,
            Err(Errno::AGAIN) => return,
            Err(_) => continue,
        };
        let Some(to) = received.destination else {
            continue;
        };
        let name = Name {
            door: Key::default(),
            from: received.from,
            to: Some(to),
        };
        if !around.forwarder.datagrams.contains(&name) {
            match begin(name, to, around) {
                Ok(()) => {}
                Err(Some(error)) => {
                    let quote = segment::datagram_quote(name.from, to);
                    ears.tell(&quote, name.from.ip(), to.ip(), error);
                    continue;
                }
                Err(None) => continue,
            }
        }
        around.forwarder.datagrams.pass(&name, received.length);
    }
}

/// A flow begins, or why not; `None` where nothing is said.
fn begin(name: Name, to: SocketAddr, around: &mut Around<'_>) -> Result<(), Option<Errno>> {
    let (far, owner) = around.way(name.from, to, Transport::Datagram)?;
    let forwarder = &mut *around.forwarder;
    if !forwarder.datagrams.has_room(owner) || !forwarder.has_room(owner, 0, 0) {
        return Err(None);
    }
    let ahead = make(Transport::Datagram, far.is_ipv6())?;
    transparent::tell_errors(ahead.as_fd(), far.is_ipv6())?;
    connect(&ahead, &far)?;
    let back = towards(name.from, to, forwarder)?;
    forwarder.datagrams.insert(
        &forwarder.events,
        name,
        ahead,
        Back::Socket(back),
        owner,
        to.port(),
    )?;
    Ok(())
}

/// A socket with the address that a container has spoken to.
fn towards(
    container: SocketAddr,
    spoken_to: SocketAddr,
    forwarder: &mut crate::network::forward::Forwarder,
) -> Result<OwnedFd, Errno> {
    let socket = forwarder
        .inside
        .socket(Transport::Datagram, container.is_ipv6())?;
    // Others speak to the same address.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &spoken_to)?;
    connect(&socket, &container)?;
    Ok(socket)
}
