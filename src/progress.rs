//! What is under way, told to whoever shows it. Not how it is shown: that is [`crate::cli::output`]'s.

/// Somebody who wants to know; told by several threads.
pub trait Progress: Sync {
    /// Something has come to a step.
    fn tell(&self, item: &str, step: Step);
}

/// How far something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It will be fetched, so many bytes.
    Planned(u64),
    /// It was here before.
    AlreadyHere,
    /// Somebody else fetches it just now.
    Waiting,
    /// So many of so many bytes are here.
    Downloading(u64, u64),
    /// The connection broke; what is here is kept.
    Broken(String),
    /// All of it is here.
    Downloaded,
    /// So many of so many bytes are unpacked.
    Unpacking(u64, u64),
    /// It is unpacked.
    Done,
    /// It is made ready to be sent.
    Preparing,
    /// So many of so many bytes are sent; of how many, where they are made while they go, is not known.
    Uploading(u64, Option<u64>),
    /// So many of so many bytes are written to a file.
    Writing(u64, u64),
    /// All of it is in a file.
    Written,
    /// All of it is at the other end.
    Uploaded,
    /// The other end has it already.
    AlreadyThere,
    /// The other end took it from that repository of its own.
    Mounted(String),
}

/// Nobody wants to know.
#[derive(Debug)]
pub struct Silent;

impl Progress for Silent {
    fn tell(&self, _: &str, _: Step) {}
}
