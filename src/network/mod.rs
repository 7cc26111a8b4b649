//! Networks: who may talk to whom, by which address and name. A network is a record; what lives of it (its bridge, the
//! addresses in use) is derived from the containers that are in it now.
//!
//! ```text
//! namespace of the networks                                     container
//!   root: the host's                                            eth0 ── default route, 127.0.0.11 answers names
//!   user: one of his own, held by his network process            │
//!                                                                │ veth
//!   bridge ──────────────────────────────────────────────────────┘
//!     │ root: the kernel routes, translates addresses (nftables)
//!     └ user: the network process carries connections between this namespace and the host's
//! ```
//!
//! It knows neither containers nor how they are started: whoever starts one reserves an [`endpoint::Endpoint`], connects
//! the network namespace, and holds what he got until the container ends.

pub mod attach;
mod bridge;
mod detach;
pub mod dns;
pub mod egress;
pub mod endpoint;
pub mod forward;
pub mod forwarding;
pub mod home;
pub mod hosts;
pub mod ipam;
pub mod link;
pub mod nftables;
pub mod options;
mod parent;
pub mod record;
pub mod request;
pub mod resolv_conf;
pub mod store;
pub mod surroundings;
pub mod sysctl;
pub mod user;
