//! The mounts of a container beside those that every one has: binds, volumes, memory, files of images. What was asked
//! for ([`request`]) is resolved once when the container is made, and opened once when it starts.

pub mod request;

use crate::image::digest::Digest;
use request::Request;
use serde::{Deserialize, Serialize};

/// One mount of a container, as its record keeps it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct MountPoint {
    /// What and where, with everything looked up: a volume has its name.
    pub request: Request,
    /// A volume that nobody has named: it goes with the last container that has it.
    pub anonymous: bool,
    /// Of files of an image: which one.
    pub image: Option<Digest>,
    /// Its layer directories, lowest first.
    pub layers: Vec<String>,
}
