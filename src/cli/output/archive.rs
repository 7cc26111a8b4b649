//! Archives that go to a file of the user's or to standard output.

use super::Output;
use crate::error::{Error, Kind, bad_input};
use crate::store::atomic;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{BufWriter, Write};
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

/// Where there is no room for it, the store is not what is full.
pub(super) fn explain(error: anyhow::Error, path: Option<&Path>) -> anyhow::Error {
    if !atomic::is_full(&error) {
        return error;
    }
    let place = match path {
        Some(path) => format!("where `{}` lies", path.display()),
        None => "where standard output goes".to_owned(),
    };
    Error::new(Kind::Denied, format!("{error:#}"))
        .hint(format!("free some space {place}, or write it elsewhere"))
        .into()
}

/// Lets `write` fill the file, which is there whole or not at all, or standard output; what it returns are warnings.
pub fn write(
    output: &mut Output,
    path: Option<&Path>,
    write: impl FnOnce(&mut dyn Write) -> Result<Vec<String>>,
) -> Result<()> {
    let mut warnings = Vec::new();
    let written = match path {
        Some(path) => atomic::stream(path, |out| {
            warnings = write(out)?;
            Ok(())
        }),
        None => {
            let mut out = output.stream();
            write(&mut out).and_then(|found| {
                warnings = found;
                out.flush().context("write to standard output")
            })
        }
    };
    written.map_err(|error| explain(error, path))?;
    warnings.iter().for_each(|warning| output.warn(warning));
    Ok(())
}

/// Likewise for what several threads may write, readable for everybody; of standard output a reader that goes away is an
/// error.
pub fn write_shared(
    path: Option<&Path>,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<()>,
) -> Result<()> {
    let written = match path {
        Some(path) => atomic::stream_with(path, 0o644, write),
        None => {
            let out = rustix::stdio::stdout().try_clone_to_owned();
            let out = File::from(out.context("duplicate standard output")?);
            let mut out = BufWriter::with_capacity(1 << 20, out);
            write(&mut out).and_then(|()| out.flush().context("write to standard output"))
        }
    };
    written.map_err(|error| explain(error, path))
}
