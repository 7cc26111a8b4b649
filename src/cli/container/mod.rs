//! Commands about containers, one file each.

pub mod create;
pub mod exec;
pub mod image;
pub mod inspect;
pub mod options;
pub mod ps;
pub mod rm;
pub mod run;
pub mod selection;
pub mod start;
