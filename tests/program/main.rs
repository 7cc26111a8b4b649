//! The program from outside: one file per command or topic, each against the real kernel and, where it says so,
//! as root and as both kinds of ordinary user.

#[path = "../support/mod.rs"]
mod support;

mod apt;
mod bad_input;
mod commit;
mod cp;
mod cp_hostile;
mod crash;
mod df;
mod diff;
mod events;
mod exec;
mod exec_escape;
mod exit_code;
mod export;
mod files;
mod fixture;
mod health;
mod inspect;
mod life_cycle;
mod logs;
mod mount;
mod namespaces;
mod process;
mod prune;
mod ps;
mod restrictions;
mod rootless;
mod stats;
mod streams;
mod terminal;
mod top;
mod unshare;
mod usage;
mod vulnerabilities;
