//! The networks of a container: which it is in, and what is held of them while it runs.
//!
//! ```text
//! create: names → records                                          (choose)
//! start:  addresses → bridges → ports → init is born → connected   (connection)
//!         an ordinary user's monitor lives where his network process does, and asks that for its ports  (process)
//! end:    everything is dropped; what a killed monitor leaves is swept by the next command
//! ```

mod choose;
mod connection;
mod files;
mod joined;
mod place;
mod ports;
pub mod process;

pub(super) use choose::choose;
pub(super) use connection::Connection;
pub(super) use files::hosts;
pub(super) use joined::home;
pub(super) use joined::join;
pub(super) use place::{beside, remove, sweep};
