//! The processes of a container that are started from outside, from both sides: its first one and those of `exec`.

pub mod chroot;
pub mod exec;
pub mod gate;
pub mod init;
mod nested;
pub mod parent;
mod program;
mod protocol;
pub mod reaper;
mod unmapped;
