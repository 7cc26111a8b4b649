//! What is wrong with a Dockerfile, at several places, as one error.

use super::source::Diagnostic;
use std::fmt;

/// At least one.
#[derive(Debug)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// As an error, with the hint of the first.
    pub fn error(found: Vec<Diagnostic>) -> anyhow::Error {
        Self(found).into()
    }
}

impl std::error::Error for Diagnostics {}

impl fmt::Display for Diagnostics {
    /// The first one, on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [] => f.write_str("the Dockerfile cannot be read"),
            [only] => only.fmt(f),
            [first, others @ ..] => write!(f, "{first} (and {} more)", others.len()),
        }
    }
}
