//! Commands about containers, one file each.

pub mod attach;
mod column;
pub mod commit;
pub mod cp;
pub mod create;
pub mod diff;
mod each;
pub mod exec;
pub mod export;
pub mod image;
pub mod inspect;
pub mod kill;
pub mod logs;
pub mod mount;
pub mod options;
pub mod port;
pub mod prune;
pub mod ps;
pub mod rename;
pub mod rm;
pub mod run;
pub mod selection;
pub mod start;
pub mod stats;
pub mod stop;
pub mod top;
pub mod wait;
