//! The Dockerfile, and the file that says what of the context is left out: where they are looked for.

use super::address::shown;
use super::{Context as BuildContext, Host, Watch};
use crate::error::{Error, Kind, bad_input, not_found};
use crate::sys::openat2::open_in_root;
use anyhow::{Context, Result};
use rustix::fs::{FileType, Mode, OFlags, fstat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

/// No Dockerfile, and no list of what is left out, is longer, in bytes.
pub const LONGEST: u64 = 16 << 20;

/// What a Dockerfile is called where nobody says it, in this order.
const NAMES: [&str; 3] = ["Dockerfile", "dockerfile", "Containerfile"];

/// A Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// As in messages.
    pub name: String,
    /// What it says.
    pub bytes: Vec<u8>,
    /// When it was changed, in seconds since 1970; 0 where nobody knows.
    pub modified: i64,
}

impl Definition {
    /// A text that has no file.
    pub fn text(name: &str, bytes: Vec<u8>) -> Self {
        Self {
            name: name.to_owned(),
            bytes,
            modified: 0,
        }
    }
}

/// Reads the Dockerfile of a build, and what it says is left out of the main context: `DOCKERFILE.dockerignore` beside
/// it, else the context's own file. `asked` is `--file`: a path of the host where the context is a directory of the host,
/// else one in the context; `-` is standard input. What is behind an address was `downloaded`.
pub fn read(
    context: &mut BuildContext,
    asked: Option<&str>,
    downloaded: Option<Definition>,
    host: &Host,
) -> Result<Definition> {
    if let Some(text) = context.definition.take() {
        return match asked {
            None => Ok(text),
            Some(_) => Err(bad_input(
                "the context is itself the Dockerfile, so no --file can be in it",
            )
            .into()),
        };
    }
    let (definition, ignore) = match (downloaded, asked) {
        (Some(downloaded), _) => (downloaded, None),
        (None, Some("-")) => (Definition::text("Dockerfile", host.read_input()?), None),
        (None, Some(path)) if context.is_local() => local(Path::new(path))?,
        (None, Some(path)) => inside(context.root(), path)?.ok_or_else(|| missing(path))?,
        (None, None) => {
            let mut found = None;
            for name in NAMES {
                found = inside(context.root(), name)?;
                if found.is_some() {
                    break;
                }
            }
            found.ok_or_else(|| missing(NAMES[0]))?
        }
    };
    match ignore {
        Some((name, bytes)) => context.set_ignored(&name, &bytes)?,
        None => context.read_ignored()?,
    }
    Ok(definition)
}

/// Whether a `--file` is an address rather than a path.
pub fn is_address(asked: &str) -> bool {
    asked.starts_with("https://") || asked.starts_with("http://")
}

/// Brings what is behind one.
pub fn download(address: &str, host: &Host, watch: Watch<'_>) -> Result<Definition> {
    let download = host.downloader().get(address, None, watch)?;
    Ok(Definition {
        name: download.name,
        bytes: limited(File::from(download.file), &shown(address))?,
        modified: download.modified,
    })
}

/// A file beside the Dockerfile: its name and what it says.
type Beside = Option<(String, Vec<u8>)>;

fn missing(path: &str) -> Error {
    let hint = "name it with --file, or name the directory that it is in";
    not_found(format!(
        "failed to read dockerfile: open {path}: no such file or directory"
    ))
    .hint(hint)
}

fn local(path: &Path) -> Result<(Definition, Beside)> {
    let shown = path.display().to_string();
    let open = |path: &Path| match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        opened => opened
            .map(Some)
            .with_context(|| format!("open `{}`", path.display())),
    };
    let file = open(path)?.ok_or_else(|| missing(&shown))?;
    let modified = modified(&file)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!("{name}.dockerignore"));
    let ignore = match open(&beside)? {
        Some(file) => {
            let name = beside.display().to_string();
            let bytes = limited(file, &name)?;
            Some((name, bytes))
        }
        None => None,
    };
    let definition = Definition {
        name: shown.clone(),
        bytes: limited(file, &shown)?,
        modified,
    };
    Ok((definition, ignore))
}

fn inside(root: BorrowedFd<'_>, path: &str) -> Result<Option<(Definition, Beside)>> {
    let Some(file) = open_inside(root, path)? else {
        return Ok(None);
    };
    let file = File::from(file);
    let modified = modified(&file)?;
    let beside = format!("{path}.dockerignore");
    let ignore = read_inside(root, &beside)?.map(|bytes| (beside, bytes));
    let definition = Definition {
        name: path.to_owned(),
        bytes: limited(file, path)?,
        modified,
    };
    Ok(Some((definition, ignore)))
}

/// What a file below a root says, if it is there.
pub fn read_inside(root: BorrowedFd<'_>, path: &str) -> Result<Option<Vec<u8>>> {
    let file = open_inside(root, path)?.map(File::from);
    file.map(|file| limited(file, path)).transpose()
}

/// Links are followed inside of the root only.
fn open_inside(root: BorrowedFd<'_>, path: &str) -> Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    match open_in_root(root, path.as_bytes(), flags, Mode::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(Errno::ACCESS) => {
            let message = format!("open `{path}` of the build context: permission denied");
            Err(Error::new(Kind::Denied, message).into())
        }
        opened => opened
            .map(Some)
            .with_context(|| format!("open `{path}` of the build context")),
    }
}

fn modified(file: &File) -> Result<i64> {
    Ok(fstat(file).context("stat the Dockerfile")?.st_mtime)
}

fn limited(file: File, name: &str) -> Result<Vec<u8>> {
    let found = fstat(&file).with_context(|| format!("stat `{name}`"))?;
    if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
        let message = format!("failed to read dockerfile: read {name}: is a directory");
        return Err(bad_input(message).into());
    }
    let mut bytes = Vec::new();
    file.take(LONGEST + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("read `{name}`"))?;
    if bytes.len() as u64 > LONGEST {
        return Err(bad_input(format!("`{name}` is longer than {LONGEST} bytes")).into());
    }
    Ok(bytes)
}
