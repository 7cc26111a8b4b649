//! Sockets in the namespace of the networks: the caller's own, or another one, in which a thread makes them.
//!
//! A process that has joined a network namespace which an ordinary user has made cannot come back, but a thread can stay
//! there, and its sockets are of use to all threads. It makes them in stock, so that a connection does not wait for it.

use anyhow::{Context, Result, anyhow};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc;

use crate::sys::transparent;

/// How many sockets of a kind are made at once.
const STOCK: usize = 32;
/// The thread has little to remember.
const STACK: usize = 128 * 1024;

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// tcp(7).
    Stream,
    /// udp(7).
    Datagram,
}

/// Where the namespace of the networks is.
#[derive(Debug)]
pub enum Inside {
    /// The caller's own: addresses of clients are translated by the kernel, if at all.
    Here,
    /// Another one, where everything that is no network of it leads to itself: sockets there may have any address.
    Elsewhere(Sockets),
}

impl Inside {
    /// A socket that is not connected and does not block.
    pub fn socket(&mut self, transport: Transport, ipv6: bool) -> Result<OwnedFd, Errno> {
        match self {
            Self::Here => make(transport, ipv6),
            Self::Elsewhere(sockets) => sockets.take(transport, ipv6),
        }
    }

    /// Whether sockets may have the addresses of clients.
    pub fn is_transparent(&self) -> bool {
        matches!(self, Self::Elsewhere(_))
    }
}

/// A thread in another network namespace.
#[derive(Debug)]
pub struct Worker {
    orders: mpsc::Sender<Order>,
}

type Order = Box<dyn FnOnce() + Send>;

impl Worker {
    /// Starts one that does `enter` first; its result.
    pub fn start<T: Send + 'static>(
        enter: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<(Self, T)> {
        let (orders, queue) = mpsc::channel::<Order>();
        let (entered, result) = mpsc::channel();
        std::thread::Builder::new()
            .name("inside".to_owned())
            .stack_size(STACK)
            .spawn(move || {
                let result = enter();
                let stays = result.is_ok();
                let _ = entered.send(result);
                if stays {
                    while let Ok(order) = queue.recv() {
                        order();
                    }
                }
            })
            .context("start a thread")?;
        let result = result
            .recv()
            .map_err(|_| anyhow!("the thread inside has ended"))?;
        Ok((Self { orders }, result?))
    }

    /// Has it do something, and waits for that.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (done, result) = mpsc::channel();
        let order = Box::new(move || {
            let _ = done.send(work());
        });
        self.orders.send(order).ok()?;
        result.recv().ok()
    }
}

/// Sockets of a worker in stock.
#[derive(Debug)]
pub struct Sockets {
    worker: Worker,
    /// By transport and family.
    stock: [Vec<OwnedFd>; 4],
}

impl Sockets {
    /// None in stock yet.
    pub fn new(worker: Worker) -> Self {
        Self {
            worker,
            stock: Default::default(),
        }
    }

    /// Who makes them.
    pub fn worker(&self) -> &Worker {
        &self.worker
    }

    fn take(&mut self, transport: Transport, ipv6: bool) -> Result<OwnedFd, Errno> {
        let shelf = &mut self.stock[transport as usize * 2 + usize::from(ipv6)];
        if let Some(socket) = shelf.pop() {
            return Ok(socket);
        }
        let made = self.worker.run(move || {
            let mut made = Vec::with_capacity(STOCK);
            for _ in 0..STOCK {
                let socket = make(transport, ipv6).and_then(|socket| {
                    transparent::make_transparent(socket.as_fd(), ipv6)?;
                    if transport == Transport::Stream {
                        // A client may use its port towards several ports of ours.
                        sockopt::set_socket_reuseaddr(&socket, true)?;
                    }
                    Ok(socket)
                });
                match socket {
                    Ok(socket) => made.push(socket),
                    // Some are better than none.
                    Err(_) if !made.is_empty() => break,
                    Err(error) => return Err(error),
                }
            }
            Ok(made)
        });
        *shelf = made.unwrap_or(Err(Errno::NXIO))?;
        shelf.pop().ok_or(Errno::NXIO)
    }
}

/// A socket of the calling thread's network namespace, which does not block.
pub fn make(transport: Transport, ipv6: bool) -> Result<OwnedFd, Errno> {
    let family = match ipv6 {
        true => AddressFamily::INET6,
        false => AddressFamily::INET,
    };
    let kind = match transport {
        Transport::Stream => SocketType::STREAM,
        Transport::Datagram => SocketType::DGRAM,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(family, kind, flags, None)
}

/// What every connection with others than containers has: small messages at once, and an end when the other side is gone.
pub fn attend(socket: &OwnedFd) -> Result<(), Errno> {
    sockopt::set_tcp_nodelay(socket, true)?;
    sockopt::set_socket_keepalive(socket, true)
}
