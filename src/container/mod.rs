//! Containers: joins images, the runtime and the host into something with a name and a life.

pub mod engine;
pub mod name;
pub mod options;
