//! Git repositories as contexts and as sources of `ADD`: what they are called, and how the `git` program fetches them.

mod address;
mod fetch;
mod login;

pub use address::{Repository, Revision};
pub use fetch::{Checkout, fetch};
pub use login::{Login, login};
