//! The network process of an ordinary user: it holds the network namespace that his networks are in, and carries what goes
//! between that and the host's. There is one for each store, and only while a container is in such a network.
//!
//! ```text
//!            network namespace of the user                     │ the host's
//! container ── veth ── bridge ── sockets with any address ─────┼───── sockets ── the world, clients
//!                                    (a thread makes them)     │
//! ```
//!
//! It has no user-space TCP: both sides are the kernel's. One thread waits for everything in one epoll(7); another one lives
//! in the namespace of the networks to make sockets there, and sleeps otherwise.
//!
//! - [`outgoing`]: from containers to the world. [`crate::network::forward`]: from clients to containers.
//! - [`client`]: what monitors do. Their connection is a lease; the process ends two seconds after the last one.
//!
//! # Its beginning and its end
//!
//! It holds the lock of its store ([`crate::paths`]) from before it listens until it is gone; the next one waits for that.
//! It looks whether somebody has come just before it ends; who comes later is not answered, which counts as nobody.

pub mod client;
pub mod leases;
mod namespace;
mod outgoing;
mod process;
pub mod protocol;
mod segment;

pub use client::{Client, Namespaces};
pub use process::{Start, carry, serve};
pub use protocol::Lease;
