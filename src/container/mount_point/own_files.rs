//! The files that every container has of its own in `/etc`, where something else is mounted above them.
//!
//! What is missing is made by the runtime, as in Docker, so that an empty directory mounted on `/etc` has these three
//! afterwards. In what is mounted read-only they cannot be made, and Docker starts no such container either.

use super::MountPoint;
use super::request::Kind;
use crate::container::engine::Engine;
use crate::container::record::Record;
use crate::error::bad_input;
use crate::runtime::plan::{Held, Sources};
use crate::sys::openat2::open_in_root;
use anyhow::Result;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What they are called in the container's directory, and where it sees them.
pub(in crate::container) const OWN_FILES: [(&str, &str); 3] = [
    ("resolv.conf", "/etc/resolv.conf"),
    ("hostname", "/etc/hostname"),
    ("hosts", "/etc/hosts"),
];

/// Refuses read-only mounts above places that are not there.
pub(in crate::container) fn check(
    engine: &Engine,
    record: &Record,
    sources: &Sources,
) -> Result<()> {
    let mut missing: BTreeMap<&str, (&MountPoint, Vec<&Path>)> = BTreeMap::new();
    for (_, path) in OWN_FILES {
        let path = Path::new(path);
        let Some((point, rest)) = above(record, path) else {
            continue;
        };
        let target = &point.request.target;
        let (Held::Place(source) | Held::Mount(source)) = match sources.get(OsStr::new(target)) {
            Some(held) if point.request.read_only || point.request.kind == Kind::Image => held,
            _ => continue,
        };
        let found = open_in_root(
            source,
            rest.as_os_str().as_bytes(),
            OFlags::PATH,
            Mode::empty(),
        );
        if let Err(Errno::NOENT) = found {
            let (_, files) = missing.entry(target).or_insert((point, Vec::new()));
            files.push(rest);
        }
    }
    let Some((target, (point, files))) = missing.first_key_value() else {
        return Ok(());
    };
    let shown = |directory: &Path, between: &str| {
        let files = files
            .iter()
            .map(|file| directory.join(file).display().to_string());
        files.collect::<Vec<_>>().join(between)
    };
    let message = format!(
        "`{target}` is mounted read-only and has no place for the container's own {}",
        shown(Path::new(""), ", ")
    );
    let hint = match point.request.kind {
        Kind::Image => "use a volume or a directory that has them".to_owned(),
        _ => format!(
            "make them, empty: touch {}; or mount it without `ro`",
            shown(
                &point
                    .source(engine)
                    .join(point.request.subpath.as_deref().unwrap_or("")),
                " "
            )
        ),
    };
    Err(bad_input(message).hint(hint).into())
}

/// The mount that a path lies in, if it is no place of a mount itself, and the path within that.
fn above<'a>(record: &'a Record, path: &'a Path) -> Option<(&'a MountPoint, &'a Path)> {
    let points = record.mounts.iter().filter_map(|point| {
        let target = point.request.target.as_str();
        // Most are elsewhere, which is told sooner of bytes than of the parts of paths.
        let may_be_above = path.as_os_str().as_bytes().starts_with(target.as_bytes());
        let rest = may_be_above.then(|| path.strip_prefix(target))?.ok()?;
        Some((point, rest))
    });
    let (point, rest) = points.min_by_key(|(_, rest)| rest.components().count())?;
    (!rest.as_os_str().is_empty()).then_some((point, rest))
}
