//! The one typed error: what kind of failure it is, what to say, and what to try.
//!
//! Inside the library errors travel as [`anyhow::Error`]; an [`Error`] is put at the place where the fact
//! is known. The kind alone decides the exit code (docker run, "Exit status"), never the text.

use std::fmt;

/// What went wrong, as far as a caller can act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The command line, a file or an archive does not say something that can be done.
    BadInput,
    /// A named object does not exist.
    NotFound,
    /// A name is taken or the object is in a state that forbids the request.
    Conflict,
    /// Docker knows it, this program does not have it.
    Unsupported,
    /// The kernel, the host or its administrator forbids it.
    Denied,
    /// The policy for signatures does not accept an image.
    Refused,
    /// A format is no template (exit code 64, as of Docker's commands that show one object).
    Template,
    /// The program of the container exists but cannot be executed (exit code 126).
    CannotExecute,
    /// The program of the container does not exist (exit code 127).
    CommandNotFound,
}

/// A failure with its kind, one line of message and, where known, one line that says what to try.
#[derive(Debug)]
pub struct Error {
    /// Decides the exit code.
    pub kind: Kind,
    /// One line: verb, object, cause.
    pub message: String,
    /// What the user may try, without a leading "try".
    pub hint: Option<String>,
    /// The same for who has written a bundle's configuration, where the other names options of `run`.
    pub bundle_hint: Option<String>,
}

impl Error {
    /// An error without a hint.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
            bundle_hint: None,
        }
    }

    /// Adds the line that says what to try.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what this line says to who has written a bundle's configuration.
    #[must_use]
    pub fn bundle_hint(mut self, hint: impl Into<String>) -> Self {
        self.bundle_hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// Shorthand for [`Kind::BadInput`].
pub fn bad_input(message: impl Into<String>) -> Error {
    Error::new(Kind::BadInput, message)
}

/// Shorthand for [`Kind::NotFound`].
pub fn not_found(message: impl Into<String>) -> Error {
    Error::new(Kind::NotFound, message)
}

/// The kind of the innermost [`Error`] in the chain, if there is one.
pub fn kind(error: &anyhow::Error) -> Option<Kind> {
    error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Error>())
        .map(|error| error.kind)
}

/// What to try where a disk is full.
pub const NO_SPACE: &str = "free some space there: `onggi system df` tells what images and containers take, `onggi system prune` removes \
     what nobody uses";

/// The hint nearest to the cause.
pub fn hint(error: &anyhow::Error) -> Option<&str> {
    nearest(error, |error| error.hint.as_deref())
}

/// Likewise for who has written a bundle's configuration.
pub fn bundle_hint(error: &anyhow::Error) -> Option<&str> {
    nearest(error, |error| {
        error.bundle_hint.as_deref().or(error.hint.as_deref())
    })
}

fn nearest(error: &anyhow::Error, of: fn(&Error) -> Option<&str>) -> Option<&str> {
    let hints = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<Error>())
        .filter_map(of);
    hints
        .last()
        .or_else(|| error.chain().any(is_no_space).then_some(NO_SPACE))
}

/// ENOSPC or EDQUOT, in any of the types that carry an errno.
fn is_no_space(cause: &(dyn std::error::Error + 'static)) -> bool {
    let errno = match cause.downcast_ref::<std::io::Error>() {
        Some(error) => error.raw_os_error(),
        None => cause
            .downcast_ref::<rustix::io::Errno>()
            .map(|errno| errno.raw_os_error()),
    };
    errno.is_some_and(|errno| errno == libc::ENOSPC || errno == libc::EDQUOT)
}

/// What a command ends with: the container's own code or the code that belongs to the failure.
///
/// `general` is the code for failures that have none of their own: 125 for commands that run a
/// container, 1 for Docker's other commands.
pub fn exit_code(error: &anyhow::Error, general: u8) -> u8 {
    match kind(error) {
        Some(Kind::CannotExecute) => 126,
        Some(Kind::CommandNotFound) => 127,
        Some(Kind::Template) => 64,
        _ => general,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_full_disk_has_a_hint_wherever_it_is_met() {
        let full = std::io::Error::from_raw_os_error(libc::ENOSPC);
        let error = anyhow::Error::from(full).context("write `x`");
        assert_eq!(hint(&error), Some(NO_SPACE));
        let error = anyhow::Error::from(rustix::io::Errno::DQUOT).context("mkdir `x`");
        assert_eq!(hint(&error), Some(NO_SPACE));
        let error = anyhow::Error::from(std::io::Error::from_raw_os_error(libc::EACCES));
        assert_eq!(hint(&error), None);
    }

    #[test]
    fn kind_and_hint_survive_context() {
        let error: anyhow::Result<()> =
            Err(Error::new(Kind::CommandNotFound, "no").hint("look")).context("start");
        let error = error.unwrap_err();
        assert_eq!((exit_code(&error, 125), hint(&error)), (127, Some("look")));
        assert_eq!(exit_code(&anyhow::anyhow!("x"), 125), 125);
    }
}
