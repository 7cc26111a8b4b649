//! What a build tells while it goes. How it is shown is the caller's affair.

use super::source::Diagnostic;
use std::time::Duration;

/// Somebody who wants to know.
pub trait Reporter {
    /// Something has happened; `vertex` is the number of the step that it is about.
    fn tell(&mut self, vertex: usize, event: Event<'_>);

    /// How often [`Reporter::tick`] is wanted while nothing happens.
    fn period(&self) -> Option<Duration> {
        None
    }

    /// Time has passed.
    fn tick(&mut self) {}
}

/// What happens to a step.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// It is known. BuildKit's words: `[builder 2/5] RUN make`, `[internal] load build context`.
    Planned {
        /// What it is called.
        name: &'a str,
        /// Numbers of the steps that it needs.
        inputs: &'a [usize],
    },
    /// It has begun.
    Started,
    /// Its result was here already.
    Cached,
    /// Part of it is under way, as in `transferring context: 2.1MB`, so many of so many bytes.
    Progress {
        /// What.
        item: &'a str,
        /// How far.
        current: u64,
        /// Of how much, if that is known.
        total: Option<u64>,
        /// It is over.
        done: bool,
    },
    /// Its program has written this.
    Output {
        /// To standard error.
        error: bool,
        /// What.
        bytes: &'a [u8],
    },
    /// Something to be said, which is no failure.
    Warning(&'a str),
    /// A build check has found this.
    Check(&'a Diagnostic),
    /// It is done.
    Done(Duration),
    /// It has failed: why, on one line.
    Failed(&'a str),
    /// It was given up since something else has failed.
    Canceled,
}

/// Nobody wants to know.
#[derive(Debug)]
pub struct Silent;

impl Reporter for Silent {
    fn tell(&mut self, _: usize, _: Event<'_>) {}
}
