//! The Dockerfile language, as BuildKit's labs frontend has it.
//! <https://docs.docker.com/reference/dockerfile/>
//!
//! ```text
//! bytes ─▶ source ─▶ directive ─▶ lexer (joined lines, heredocs) ─▶ parser ─▶ read/ (an instruction) ─▶ Dockerfile
//!                                                                              │
//!                     variable (expansion, while a stage is evaluated)         └─▶ check/ (warnings)
//! ```
//!
//! It reads and warns; it evaluates no stage and opens no file. Bytes are hostile: nothing panics, and the time grows
//! with their number and no faster.

pub mod check;
mod directive;
mod flag;
mod heredoc;
pub mod instruction;
mod lexer;
pub mod nearest;
mod parser;
pub mod part;
mod read;

pub mod variable;

pub use parser::{parse, parse_instruction};

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
