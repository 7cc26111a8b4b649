//! onggi: a container runtime without a daemon.

pub mod cli;
pub mod container;
pub mod error;
pub mod id_mapping;
pub mod image;
pub mod paths;
pub mod runtime;
pub mod settings;
pub mod store;
pub mod sys;
