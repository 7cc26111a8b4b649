//! Commands about the program and its host, one file each.

pub mod boot;
pub mod check;
pub mod df;
pub mod events;
pub mod hello;
pub mod info;
pub mod prune;
pub mod setup;
pub mod share;
pub mod unshare;
pub mod version;
