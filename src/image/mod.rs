//! Images: references, configs, the store of images and layers, and the ways in and out of it.

pub mod digest;
