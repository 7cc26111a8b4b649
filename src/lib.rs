//! onggi runs containers without a daemon: each command does its work and ends, and one small monitor per
//! container stays as long as that container runs. This page is the map.
//!
//! # Rooms
//!
//! A folder is a room with one noun. A room may name only rooms of lower rows and none of its own row;
//! `tests/architecture.rs` reads the sources and says so when an import breaks this.
//!
//! | row | room | knows | must not know |
//! |---|---|---|---|
//! | 0 | [`error`] | kind → exit code, hint | anything else |
//! | 1 | [`sys`] [`paths`] [`settings`] [`progress`] [`duration`] | man pages; where things lie on disk | containers, images, OCI |
//! | 2 | [`store`] [`id_mapping`] [`systemd`] | records, locks, ids; which ids a caller may map; sockets of a service | what the records mean |
//! | 3 | [`cgroup`] | cgroups(7) of version 2, systemd's scopes | who lives in a group |
//! | 4 | [`runtime`] [`image`] [`volume`] | a bundle becomes a process; archives become layers; data that stays. Blind to each other | Docker's options, names |
//! | 5 | [`container`] | joins them: records, life cycle, monitor, options → OCI configuration | flags, colours; never prints |
//! | 6 | [`build`] | Dockerfiles | how anything is shown |
//! | 9 | [`cli`] | the command line, tables, templates | system calls, formats on disk |
//!
//! # Invariants
//!
//! - Only `sys` has unsafe code, only `cli::output` prints, only `main.rs` ends the process, only `paths.rs` knows
//!   where things lie.
//! - What is acknowledged is on disk: records are written to a temporary name, fsynced, renamed, the directory
//!   fsynced. Only flock(2) locks: they die with their process, so none is ever left behind.
//! - Whether a container runs is derived from who lives (pid, start time, boot id), never believed.
//! - A command that fails leaves nothing half made; what a killed one leaves lies in `staging/` or is marked in
//!   `pending/`, and the next command sweeps it.
//! - Everything in an image or a container is hostile. The kernel resolves its paths inside its root
//!   (openat2(2)); descriptors, not paths, cross the border.
//! - From the command line to clone3(2) there is one thread; nothing on that path starts another.
//!
//! # The walk of `onggi run`
//!
//! ```text
//! onggi run ──▶ monitor (one per container, lives as long as it) ──clone3──▶ init ──execve──▶ the user's program
//! ```
//!
//! 1. [`cli::container::run`]: words → [`container::options::Options`].
//! 2. [`image::store::find`]: reference → image; two small files are read.
//! 3. [`container::create`]: the name is taken, the record written; a guard takes all back unless that is reached.
//! 4. [`container::start`]: the monitor is executed from a read-only mount of this program (CVE-2019-5736). An
//!    ordinary user's monitor is root of a user namespace ([`id_mapping`]); from here on there is one path for all.
//! 5. [`container::spec`]: record → OCI configuration, touching nothing.
//! 6. [`runtime::plan`]: configuration → [`runtime::plan::Plan`], everything that can be decided beforehand, as data.
//! 7. [`runtime::process::init`]: carries the plan out in the new namespaces, step by step, then execve(2).
//! 8. [`container::monitor`]: passes streams on until the end, writes the state, removes what was to go.
//! 9. Back in the caller: the exit code.
//!
//! Whoever comes later (`attach`, `stop`, `kill`, `pause`, `wait`, …) connects to the monitor's socket in the container's
//! directory and speaks the same protocol ([`container::monitor::channel`], [`container::control`]). A monitor that is
//! gone has left a mark in `pending/`; the next command ends its program and writes the end down
//! ([`container::remove::sweep`]).
//!
//! `onggi exec` takes the same way from step 4 on with a process that holds the program's streams instead of a monitor
//! ([`container::exec`]) and that joins the container instead of making it ([`runtime::process::exec`]).
//!
//! # On disk
//!
//! [`paths`] lists every path below the two roots with the lock that guards it.

pub mod build;
pub mod cgroup;
pub mod cli;
pub mod container;
pub mod duration;
pub mod error;
pub mod id_mapping;
pub mod image;
pub mod network;
pub mod paths;
pub mod progress;
pub mod runtime;
pub mod settings;
pub mod store;
pub mod sys;
pub mod systemd;
pub mod volume;
