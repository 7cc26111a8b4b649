//! Archives that go to a file of the user's or to standard output.

use super::Output;
use crate::error::{Error, bad_input};
use crate::store::atomic;
use anyhow::{Context, Result};
use std::io::Write;
use std::path::Path;

/// Nobody reads an archive on a terminal. To be called first, while nothing has been done.
pub fn refuse_terminal(path: Option<&Path>) -> Result<(), Error> {
    match path.is_none() && Output::is_terminal() {
        false => Ok(()),
        true => Err(bad_input(
            "cowardly refusing to save to a terminal. Use the -o flag or redirect",
        )),
    }
}

/// Lets `write` fill the file, which is there whole or not at all, or standard output; what it returns are warnings.
pub fn write(
    output: &mut Output,
    path: Option<&Path>,
    write: impl FnOnce(&mut dyn Write) -> Result<Vec<String>>,
) -> Result<()> {
    let mut warnings = Vec::new();
    match path {
        Some(path) => atomic::stream(path, |out| {
            warnings = write(out)?;
            Ok(())
        })?,
        None => {
            let mut out = output.stream();
            warnings = write(&mut out)?;
            out.flush().context("write to standard output")?;
        }
    }
    warnings.iter().for_each(|warning| output.warn(warning));
    Ok(())
}
