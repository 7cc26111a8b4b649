//! What patterns say of a path: those of `.dockerignore`, those of `--exclude`.

use crate::build::ignore::Ignore;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// What is to become of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is copied.
    Taken,
    /// It is not; something below it may be, and then it is too.
    Left,
    /// It is not, nor is anything below it.
    Pruned,
}

/// Says it of a path below the root, without `/` at its begin and end, and whether that is a directory.
pub type Filter<'a> = dyn Fn(&[u8], bool) -> Verdict + Sync + 'a;

/// What a list of patterns says.
pub fn of(ignore: &Ignore) -> Box<Filter<'_>> {
    Box::new(|path, is_directory| {
        let path = OsStr::from_bytes(path);
        match ignore.excludes(path) {
            false => Verdict::Taken,
            true if is_directory && ignore.may_hold_included(path) => Verdict::Left,
            true => Verdict::Pruned,
        }
    })
}
