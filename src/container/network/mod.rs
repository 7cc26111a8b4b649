//! The networks of a container: which it is in, and what is held of them while it runs.
//!
//! ```text
//! create: names → records                                          (choose)
//! start:  addresses → bridges → ports → init is born → connected   (connection, membership)
//!         an ordinary user's monitor lives where his network process does, and asks that for its ports  (process)
//! end:    everything is dropped; what a killed monitor leaves is swept by the next command
//! ```
//!
//! A program of others may do instead of networks what it can (attachment, program; slirp4netns, pasta).

mod attachment;
mod choose;
mod connection;
mod files;
mod joined;
mod membership;
mod pasta;
mod place;
mod ports;
pub mod process;
mod program;
mod slirp4netns;

pub(super) use attachment::{Attachment, check};
pub(super) use choose::{check_egress, choose, look_again};
pub(super) use connection::Interfaces;
pub(super) use files::hosts;
pub(super) use joined::home;
pub(super) use joined::{join, owner};
pub(super) use place::{beside, reload, remove, sweep};
