//! Records, locks and ids: how things come to be on disk whole or not at all. What they mean is for others.

pub mod atomic;
pub mod copy;
pub mod damage;
pub mod directory;
pub mod id;
pub mod lock;
pub mod record;
pub mod ring;
pub mod staging;
pub mod tree;
