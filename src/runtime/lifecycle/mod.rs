//! Containers of bundles: the operations of the runtime-spec (runtime.md, "Operations") and those that runc has beside
//! them, on containers whose state lies in a directory of the caller's choice.
//!
//! ```text
//!            create              start             (program ends)
//! (nothing) ───────▶ created ───────────▶ running ───────────────▶ stopped
//!                       │                  │  ▲                      │
//!                       │             pause│  │resume                │
//!                       │                  ▼  │                      │
//!                       │                 paused                     │
//!                       └──────── delete ─────┴─ delete --force ─────┴──▶ (nothing)
//! ```
//!
//! What a container does is derived from its first process and its control group each time, never believed. Whoever
//! changes it holds the lock of its directory.

mod access;
mod checkpoint;
mod console;
mod create;
mod delete;
mod exec;
mod foreground;
mod group;
mod inherited;
mod notify;
mod record;
mod sockets;
mod start;
mod statistics;

pub use access::{Access, enter, is_root, join, seal_as_root};
pub use checkpoint::{checkpoint, restore};
pub use console::Console;
pub use create::{Created, Order, create};
pub use delete::delete;
pub use exec::{Guest, exec};
pub use foreground::attend;
pub use group::{limit_unit, update};
pub use notify::Readiness;
pub use record::{Container, Containers, Record, Status};
pub use start::{start, start_own};
pub use statistics::statistics;
