//! Images: references, configs, the store of images and layers, and the ways in and out of it.

pub mod config;
pub mod digest;
pub mod layer;
pub mod platform;
pub mod reference;
pub mod store;
