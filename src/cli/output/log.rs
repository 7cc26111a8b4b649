//! What a command that goes on for long says meanwhile, from any of its threads: lines to standard error.

use super::one_line;
use std::fmt;
use std::io::{self, Write};

/// Standard error, a line at a time.
#[derive(Debug)]
pub struct Log {
    program: String,
}

impl Log {
    /// With the name that the program was called by.
    pub fn new(program: &str) -> Self {
        Self {
            program: program.to_owned(),
        }
    }

    /// Something that has happened.
    pub fn line(&self, text: impl fmt::Display) {
        // Standard error is the last resort: where it cannot be written to, nobody is left to tell.
        let _ = io::stderr().write_all(format!("{}\n", one_line(&text.to_string())).as_bytes());
    }

    /// Something that has gone wrong although the command goes on.
    pub fn warn(&self, text: impl fmt::Display) {
        self.line(format_args!("{}: warning: {text}", self.program));
    }
}
