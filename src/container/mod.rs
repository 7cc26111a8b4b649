//! Containers: joins images, the runtime and the host into something with a name and a life.
//!
//! ```text
//! create ─▶ record on disk ─▶ start ─▶ monitor (one per container, lives as long as it) ─▶ init ─▶ program
//!                                └──────── attached through a channel; may die without harm
//! ```

pub mod boot;
pub mod cdi;
pub mod cgroup;
pub mod changes;
pub mod check;
pub mod commit;
pub mod confinement;
pub mod control;
pub mod copy;
pub mod create;
pub mod device;
pub mod disk;
pub mod engine;
pub mod event;
pub mod exec;
pub mod export;
pub mod file_system;
pub mod health;
mod host_config;
mod image_store;
mod inherited;
pub mod inspect;
pub mod list;
pub mod log;
pub mod membership;
pub mod monitor;
pub mod monitors;
pub mod mount;
pub mod mount_point;
pub mod name;
pub mod naming;
pub mod network;
pub mod network_settings;
pub mod options;
pub mod prune;
mod quota;
pub mod record;
pub mod remove;
pub mod resources;
pub mod root;
mod settle;
pub mod share;
pub mod size;
pub mod spawn;
pub mod spec;
pub mod start;
pub mod step;
pub mod unshare;
pub mod update;
pub mod usage;
pub mod user_namespace;
pub mod volume;
pub mod walls;
