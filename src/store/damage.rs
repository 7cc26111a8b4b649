//! Records that cannot be read: each of them costs only what it describes. Whoever goes on without one notes it
//! here, and the command line tells all of it once at the end of the command; nothing is printed here.
//!
//! Invariant: a note is a warning beside a result that is right for everything else. Who needs the damaged thing
//! itself returns the error.

use crate::error::{Error, bad_input};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// What mends a store, as a hint.
pub const HINT: &str = "`onggi system check` tells what is wrong, with --repair it mends it";

/// The lines that have been noted, by what they are about: a command may meet it more than once.
static NOTES: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());

/// The error of a record whose content makes no sense.
pub fn damaged(path: &Path, why: impl Display) -> Error {
    bad_input(format!("`{}` is damaged: {why}", path.display())).hint(HINT)
}

/// Remembers that the command goes on without `what` because of an error.
pub fn note(what: impl Display, error: &anyhow::Error) {
    let mut notes = NOTES.lock().unwrap_or_else(PoisonError::into_inner);
    let line = format!("{what}: {error:#} (see `onggi system check`)");
    notes.insert(what.to_string(), line);
}

/// Remembers a warning about something outside of the store, which the command went on without.
pub fn remark(line: impl Display) {
    let mut notes = NOTES.lock().unwrap_or_else(PoisonError::into_inner);
    notes.insert(line.to_string(), line.to_string());
}

/// Takes all notes, one line each, with what to do about it.
pub fn take() -> Vec<String> {
    let notes = std::mem::take(&mut *NOTES.lock().unwrap_or_else(PoisonError::into_inner));
    notes.into_values().collect()
}
