//! The network namespace in which the bridges, the ends of the pairs and the rules of networks are.

use crate::sys::namespace::inside_network;
use anyhow::Result;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

/// That of the host for root; one of his own, which his network process holds, for a user.
#[derive(Debug)]
pub struct Home {
    /// `None`: the caller is in it.
    pub namespace: Option<OwnedFd>,
    /// Whether the kernel routes between it and the world, translates addresses and leads published ports inside. That is
    /// so where the caller is the host's root; the network process of a user carries connections itself.
    pub routes: bool,
    /// A directory that lasts until the machine ends, for what has to be known of its kernel's settings; `None`: nothing
    /// is remembered.
    pub memory: Option<PathBuf>,
}

impl Home {
    /// The namespace of the caller, who is the host's root.
    pub fn here() -> Self {
        Self {
            namespace: None,
            routes: true,
            memory: None,
        }
    }

    /// The same, with a memory.
    pub fn here_with(memory: PathBuf) -> Self {
        Self {
            memory: Some(memory),
            ..Self::here()
        }
    }

    /// Works in it.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        match &self.namespace {
            None => work(),
            Some(namespace) => inside_network(namespace.as_fd(), work)?,
        }
    }
}
