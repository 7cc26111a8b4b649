//! Docker's own client as the oracle: the same template, the same canned answer of an engine, through `docker`
//! and through this program's printing code, byte for byte.
//!
//! `templates.txt` has the templates; `random` makes more of them from a small grammar. `network` compares what is said
//! to options of `create`.

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod client;
mod inspect;
mod network;
mod network_list;
mod random;
mod server;
mod tables;
