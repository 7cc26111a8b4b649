//! What integration tests share: which users this host has, a store of their own for each test, the program
//! as a command with expectations, and skips that are counted.
//!
//! ```text
//! for store in everyone() {                         // root, a user with subordinate ids, one without
//!     if !store.alpine() { continue }               // skipped, with a printed reason, where it is missing
//!     store.onggi(["run", "--rm", "-i", ALPINE, "cat"]).stdin("hi").run().code(0).stdout("hi");
//! }
//! ```
#![allow(
    dead_code,
    unused_imports,
    reason = "each test crate uses a part of it"
)]
#![allow(
    clippy::print_stderr,
    reason = "a skip is told to whoever watches the tests"
)]

pub mod command;
pub mod host;
pub mod store;
pub mod terminal;

pub use command::{Call, Outcome};
pub use host::{Need, User, image, images, requires, skip};
pub use store::{ALPINE, Store, everyone, store};
