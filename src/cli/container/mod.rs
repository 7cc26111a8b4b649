//! Commands about containers, one file each.

pub mod options;
