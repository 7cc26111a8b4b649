//! Where networks lie, and who is in them now.

use super::Paths;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

impl Paths {
    /// All networks.
    pub fn networks(&self) -> PathBuf {
        self.data.join("networks")
    }

    /// One network.
    pub fn network(&self, id: &str) -> PathBuf {
        self.networks().join(id)
    }

    /// Taken by whoever makes or removes a network.
    pub fn networks_lock(&self) -> PathBuf {
        self.networks().join("lock")
    }

    /// The prefix of the store's own IPv6 addresses.
    pub fn unique_local_prefix(&self) -> PathBuf {
        self.networks().join("unique-local")
    }

    /// Who is in which network now.
    pub fn all_endpoints(&self) -> PathBuf {
        self.run.join("networks")
    }

    /// Who is in one network now.
    pub fn endpoints(&self, network: &str) -> PathBuf {
        self.all_endpoints().join(network)
    }

    /// Whether this is root's store at its usual place.
    pub fn is_of_the_machine(&self) -> bool {
        self.data == Path::new(super::ROOTS_DATA)
    }
}

/// In the directory of the network process: where it listens.
pub const PROCESS_SOCKET: &str = "socket";

impl Paths {
    /// What belongs to an ordinary user's network process.
    pub fn network_process(&self) -> PathBuf {
        self.run.join("network")
    }

    /// By family, a file where this machine carries packets only because of us.
    pub fn forwarding(&self) -> PathBuf {
        self.run.join("forwarding")
    }

    /// Held by that process from before it listens until it is gone.
    pub fn network_process_lock(&self) -> PathBuf {
        self.network_process().join("lock")
    }
}

/// The record of a network.
pub fn network_record_in(network: &Path) -> PathBuf {
    network.join("network.json")
}

/// The endpoint of a container among those of a network.
pub fn endpoint_in(endpoints: &Path, container: &str) -> PathBuf {
    endpoints.join(container)
}

/// What is about to become that.
pub fn new_endpoint_in(endpoints: &Path, container: &str) -> PathBuf {
    endpoints.join(format!("{container}.new"))
}

/// Whose an address is.
pub fn address_in(endpoints: &Path, address: IpAddr) -> PathBuf {
    endpoints.join(address.to_string())
}

/// The addresses that were given last.
pub fn last_addresses_in(endpoints: &Path) -> PathBuf {
    endpoints.join("last")
}

/// A network on its way into the store.
pub fn staged_network(staging: &Path) -> PathBuf {
    staging.join("network")
}
