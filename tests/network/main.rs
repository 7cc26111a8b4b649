//! Networks against the real kernel, in network namespaces that the tests make: nothing leaves them.
// Every address here is a number.
#![allow(clippy::disallowed_methods)]

#[path = "../support/mod.rs"]
mod support;

mod attach;
mod commands;
mod containers;
mod dns;
mod dns_hostile;
mod egress;
mod firewall;
mod flood;
mod forward;
mod left;
mod matrix;
mod namespaces;
mod outgoing;
mod parent;
mod programs;
mod reservation;
mod resolver;
mod rules;
mod scene;
mod servers;
mod town;
mod upkeep;
