//! The first process of a container, from both sides.

pub mod init;
pub mod parent;
mod protocol;
pub mod reaper;
