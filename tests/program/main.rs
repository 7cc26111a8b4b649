//! The program from outside: one file per command or topic, each against the real kernel and, where it says so,
//! as root and as both kinds of ordinary user.

#[path = "../support/mod.rs"]
mod support;

mod fixture;
