//! The program from outside: one file per command or topic, each against the real kernel and, where it says so,
//! as root and as both kinds of ordinary user.

#[path = "../support/mod.rs"]
mod support;

mod apt;
mod attach;
mod bad_input;
mod boot;
mod cdi;
mod commit;
mod cp;
mod crash;
mod device;
mod df;
mod diff;
mod events;
mod exec;
mod exists;
mod exit_code;
mod export;
mod files;
mod fixture;
mod health;
mod inspect;
mod kill;
mod libseccomp;
mod life_cycle;
mod limits;
mod logs;
mod mount;
mod namespaces;
mod pause;
mod port;
mod process;
mod prune;
mod ps;
mod rename;
mod restart;
mod restart_policy;
mod restrictions;
mod rm;
mod rootless;
mod run_detached;
mod seccomp;
mod start;
mod stats;
mod stop;
mod streams;
mod terminal;
mod top;
mod unshare;
mod update;
mod usage;
mod userns;
mod userns_files;
mod wait;
