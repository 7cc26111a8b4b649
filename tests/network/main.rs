//! Networks against the real kernel, in network namespaces that the tests make: nothing leaves them.
// Every address here is a number.
#![allow(clippy::disallowed_methods)]

#[path = "../support/mod.rs"]
mod support;

mod commands;
mod dns;
mod dns_hostile;
mod reservation;
mod resolver;
