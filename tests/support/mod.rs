//! What integration tests share: which users this host has, a store of their own for each test, the program
//! as a command with expectations, and skips that are counted.
//!
//! ```text
//! // Root, a user with subordinate ids, one without; skipped, with a printed reason, where one is missing.
//! for store in everyone_with_alpine() {
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
pub mod debian;
pub mod host;
pub mod life;
pub mod own_mounts;
pub mod refusal;
pub mod seccomp_agent;
pub mod store;
pub mod terminal;

pub use command::{Call, Outcome};
pub use host::{Need, User, engine, image, images, requires, skip};
pub use own_mounts::OwnMounts;
pub use refusal::without_user_namespaces;
pub use store::{ALPINE, Store, everyone, everyone_in_memory, everyone_with_alpine, store};
