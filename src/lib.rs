//! onggi: a container runtime without a daemon.

pub mod container;
pub mod error;
pub mod sys;
pub mod id_mapping;
pub mod image;
pub mod paths;
pub mod store;
