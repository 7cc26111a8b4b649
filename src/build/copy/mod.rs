//! `COPY` and `ADD`: which files are meant, the digest of them, and the layer that they become.
//!
//! ```text
//! Selector ─ select ─▶ Selection (entries, digest, newest time)      in the builder, or in a worker for layers
//! Plan, Selections ─ write_layer ─▶ tar of a layer                  in a worker
//! ```
//!
//! What they mean is BuildKit's: <https://docs.docker.com/reference/dockerfile/#copy>. Not here: where the files come
//! from ([`crate::build::context`]), what becomes of the layer.
//!
//! Invariant: a file is only ever opened beneath a descriptor of its root, without following a link.

pub mod archive;
mod content;
mod crowd;
pub mod filter;
pub mod glob;
mod layer;
mod mode;
mod owner;
pub mod plan;
mod resolve;
mod select;
pub mod selection;
mod staged;
pub mod stat_cache;
mod threads;
mod tree;
mod walk;

pub use layer::{Written, write_directory, write_layer};
pub use resolve::MAX_LINKS;
pub use select::select;
pub use tree::{Files, Owner, Tree, shown};

#[cfg(test)]
mod tests;
