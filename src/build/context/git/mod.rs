//! Git repositories as contexts and as sources of `ADD`: what they are called, and how the `git` program fetches them.

mod address;
mod fetch;

pub use address::{Repository, Revision};
pub use fetch::{Checkout, fetch};
