//! The command line: from words to options, and from results to lines.

pub mod output;
