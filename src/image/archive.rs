//! Something that holds named files and can be read in any order: a directory, a tar file read in place, or a
//! tar stream that was put down in the scratch directory first, because it is compressed or comes from a pipe.
//!
//! What the files mean is for [`super::oci_layout`] and [`super::docker_archive`]. Names and links in it are
//! hostile: they are resolved inside it, and a link in a directory may not lead out of it (tar(5), pax(1)).

use super::compression::{self, Compression};
use super::store::DOCUMENT_LIMIT;
use crate::error::{Error, bad_input};
use crate::store::id::random_hex;
use crate::sys::openat2;
use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tar::EntryType;

/// Links to follow from one name.
const LINKS: usize = 16;
/// The most bytes that headers, long names and extended attributes of one member may take.
const MEMBER_HEADERS: u64 = 1 << 20;

/// Named files in any order.
pub struct Archive {
    files: Files,
    place: PathBuf,
}

enum Files {
    Directory(PathBuf),
    Tar {
        file: File,
        members: BTreeMap<String, Member>,
    },
}

enum Member {
    Data {
        offset: u64,
        size: u64,
    },
    /// To another member, by its normal name.
    Link(String),
}

impl Archive {
    /// Takes a directory.
    pub fn directory(path: &Path) -> Result<Self> {
        let path = path
            .canonicalize()
            .with_context(|| format!("open `{}`", path.display()))?;
        Ok(Self {
            files: Files::Directory(path.clone()),
            place: path,
        })
    }

    /// Takes a file, or whatever else can be read from, such as a pipe. `scratch` takes what must be unpacked, at
    /// most `max_bytes`.
    pub fn read(mut file: File, scratch: &Path, max_bytes: u64) -> Result<Self> {
        let place = place(&file)?;
        let in_place = file.metadata()?.is_file() && file.stream_position()? == 0;
        let (compression, stream) = compression::peek(&file)?;
        let file = match (in_place, compression) {
            (true, Compression::None) => {
                drop(stream);
                file
            }
            _ => put_down(compression, stream, scratch, max_bytes)?,
        };
        let members = index(&file)?;
        Ok(Self {
            files: Files::Tar { file, members },
            place,
        })
    }

    /// Where it is, whatever name it was opened by and whatever has become of that; nowhere where it is a pipe.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Opens a file of it; `None` when there is none of that name.
    pub fn file(&self, name: &str) -> Result<Option<Section<'_>>> {
        let Some(mut name) = normal("", name) else {
            return Err(bad_input(format!("`{name}` leads out of the archive")).into());
        };
        let (file, members) = match &self.files {
            Files::Directory(root) => return open_below(root, &name),
            Files::Tar { file, members } => (file, members),
        };
        for _ in 0..LINKS {
            match members.get(&name) {
                None => return Ok(None),
                Some(Member::Link(target)) => name.clone_from(target),
                Some(Member::Data { offset, size }) => {
                    let (offset, left) = (*offset, *size);
                    return Ok(Some(Section {
                        file: Source::Shared(file),
                        offset,
                        left,
                    }));
                }
            }
        }
        Err(bad_input(format!("`{name}` is a link that leads round in circles")).into())
    }

    /// The content of a small file; `None` when there is none of that name.
    pub fn document(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(mut section) = self.file(name)? else {
            return Ok(None);
        };
        let size = section.left;
        if size > DOCUMENT_LIMIT {
            let message =
                format!("`{name}` has {size} bytes, the most for a document is {DOCUMENT_LIMIT}");
            return Err(bad_input(message).into());
        }
        let mut bytes = Vec::new();
        section
            .read_to_end(&mut bytes)
            .with_context(|| format!("read `{name}`"))?;
        Ok(Some(bytes))
    }

    /// The names of the directories at the top that hold a file called `file`.
    pub fn directories_with(&self, file: &str) -> Result<Vec<String>> {
        let mut names = Vec::new();
        match &self.files {
            Files::Directory(root) => {
                let context = || format!("read `{}`", root.display());
                for entry in root.read_dir().with_context(context)? {
                    let name = entry.with_context(context)?.file_name();
                    let name = name.to_string_lossy().into_owned();
                    if self.file(&format!("{name}/{file}"))?.is_some() {
                        names.push(name);
                    }
                }
                names.sort();
            }
            Files::Tar { members, .. } => names.extend(members.keys().filter_map(|name| {
                name.strip_suffix(file)?
                    .strip_suffix('/')
                    .filter(|top| !top.contains('/'))
                    .map(str::to_owned)
            })),
        }
        Ok(names)
    }
}

/// The path of what is open.
fn place(file: &File) -> Result<PathBuf> {
    if !file.metadata()?.is_file() {
        return Ok(PathBuf::new());
    }
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    std::fs::read_link(&link).with_context(|| format!("read `{link}`"))
}

/// One file of an archive.
pub struct Section<'a> {
    file: Source<'a>,
    offset: u64,
    left: u64,
}

enum Source<'a> {
    Own(File),
    Shared(&'a File),
}

impl Section<'_> {
    /// Bytes that are still to be read.
    pub fn left(&self) -> u64 {
        self.left
    }
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let file = match &self.file {
            Source::Own(file) => file,
            Source::Shared(file) => file,
        };
        let most = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let got = file.read_at(&mut buffer[..most], self.offset)?;
        self.offset += got as u64;
        self.left -= got as u64;
        Ok(got)
    }
}

fn open_below(root: &Path, name: &str) -> Result<Option<Section<'static>>> {
    let path = root.join(name);
    let real = match path.canonicalize() {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        real => real.with_context(|| format!("open `{}`", path.display()))?,
    };
    let Ok(below) = real.strip_prefix(root) else {
        return Err(bad_input(format!("`{}` leads out of the directory", path.display())).into());
    };
    // A fifo would block the open for ever; a link that has come into the way meanwhile is not followed.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat2::open_root(root)
        .and_then(|root| {
            let name = below.as_os_str().as_bytes();
            openat2::open_beneath(root, name, flags, Mode::empty())
        })
        .map(File::from)
        .with_context(|| format!("open `{}`", real.display()))?;
    let metadata = file
        .metadata()
        .with_context(|| format!("stat `{}`", real.display()))?;
    match metadata.is_file() {
        true => Ok(Some(Section {
            file: Source::Own(file),
            offset: 0,
            left: metadata.len(),
        })),
        false => Err(bad_input(format!("`{}` is no regular file", path.display())).into()),
    }
}

/// Unpacks a stream into a file without a name.
fn put_down(
    compression: Compression,
    packed: impl Read + Send,
    scratch: &Path,
    max_bytes: u64,
) -> Result<File> {
    let mut file = nameless_file_in(scratch)?;
    let mut stream = compression
        .unpack(packed)?
        .take(max_bytes.saturating_add(1));
    let mut buffer = vec![0; 256 << 10];
    let mut total = 0;
    loop {
        let got = match stream.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            got => got.map_err(|error| compression::read_error(error, compression))?,
        };
        total += got as u64;
        if total > max_bytes {
            return Err(
                bad_input(format!("the archive is larger than {max_bytes} bytes"))
                    .hint("raise the setting `layer-max-bytes` if that is right")
                    .into(),
            );
        }
        if got == 0 {
            return Ok(file);
        }
        file.write_all(&buffer[..got])
            .with_context(|| format!("write below `{}`", scratch.display()))?;
    }
}

/// A file that is gone when it is closed; unlinked by hand, since not every file system has O_TMPFILE.
fn nameless_file_in(directory: &Path) -> Result<File> {
    let path = directory.join(random_hex(16)?);
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .and_then(|file| std::fs::remove_file(&path).map(|()| file))
        .with_context(|| format!("create `{}`", path.display()))
}

/// Where each member lies. Later members win over earlier ones of the same name, as when a tar is unpacked.
fn index(file: &File) -> Result<BTreeMap<String, Member>> {
    let length = file.metadata()?.len();
    let reader = Reader {
        file,
        position: Cell::new(0),
        budget: Cell::new(MEMBER_HEADERS),
    };
    let mut archive = tar::Archive::new(&reader);
    let mut members = BTreeMap::new();
    for entry in archive.entries_with_seek().map_err(not_a_tar)? {
        let entry = entry.map_err(not_a_tar)?;
        reader.budget.set(MEMBER_HEADERS);
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let Some(name) = normal("", &path) else {
            continue;
        };
        let (offset, size) = (entry.raw_file_position(), entry.size());
        if offset.checked_add(size).is_none_or(|end| end > length) {
            return Err(bad_input(format!("the archive is cut off inside `{path}`")).into());
        }
        let target = entry
            .link_name_bytes()
            .map(|target| String::from_utf8_lossy(&target).into_owned());
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
        let member = match (entry.header().entry_type(), target) {
            (EntryType::Regular | EntryType::Continuous, _) => Some(Member::Data { offset, size }),
            (EntryType::Symlink, Some(target)) => normal(folder, &target).map(Member::Link),
            (EntryType::Link, Some(target)) => normal("", &target).map(Member::Link),
            _ => None,
        };
        if let Some(member) = member {
            members.insert(name, member);
        }
    }
    only_zeros_follow(file, reader.position.get())?;
    Ok(members)
}

fn not_a_tar(error: io::Error) -> anyhow::Error {
    match error.raw_os_error() {
        Some(_) => anyhow::Error::from(error).context("read the archive"),
        None => bad_input(format!("it is no whole tar archive: {error}")).into(),
    }
}

/// After the end mark a tar is padded with zeros; anything else was cut off or pasted on.
fn only_zeros_follow(file: &File, mut position: u64) -> Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let got = file
            .read_at(&mut buffer, position)
            .context("read the archive")?;
        if got == 0 {
            return Ok(());
        }
        if let Some(garbage) = buffer[..got].iter().position(|&byte| byte != 0) {
            let at = position + garbage as u64;
            return Err(bad_input(format!(
                "there is garbage after the end of the archive, at byte {at}"
            ))
            .into());
        }
        position += got as u64;
    }
}

/// The path of `name` seen from `folder`, without `.` and `..`; `None` when it leads out of the archive.
fn normal(folder: &str, name: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    let start = if name.starts_with('/') { "" } else { folder };
    for part in start.split('/').chain(name.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Reads a file from a position of its own, and never much for the headers of one member.
struct Reader<'a> {
    file: &'a File,
    position: Cell<u64>,
    budget: Cell<u64>,
}

impl Read for &Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.file.read_at(buffer, self.position.get())?;
        self.position.set(self.position.get() + got as u64);
        let budget = self.budget.get().checked_sub(got as u64);
        self.budget
            .set(budget.ok_or_else(|| io::Error::other("the headers of a member exceed 1 MiB"))?);
        Ok(got)
    }
}

impl Seek for &Reader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(delta) => self.position.get().checked_add_signed(delta),
            SeekFrom::End(_) => None,
        };
        let position =
            position.ok_or_else(|| io::Error::other("a member lies outside the archive"))?;
        self.position.set(position);
        Ok(position)
    }
}

/// What is said of a file that is needed and not there.
pub fn missing(name: &str) -> Error {
    bad_input(format!("`{name}` is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tar(members: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind, content) in members {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            if *kind == EntryType::Regular {
                header.set_size(content.len() as u64);
                builder
                    .append_data(&mut header, name, content.as_bytes())
                    .unwrap();
            } else {
                header.set_size(0);
                builder.append_link(&mut header, name, content).unwrap();
            }
        }
        builder.into_inner().unwrap()
    }

    fn open(bytes: &[u8]) -> Result<Archive> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("archive");
        std::fs::write(&path, bytes).unwrap();
        Archive::read(File::open(&path).unwrap(), directory.path(), 1 << 20)
    }

    #[test]
    fn members_are_found_by_any_spelling_and_through_links() {
        let long = format!("{}/x", "d".repeat(200));
        let bytes = tar(&[
            ("./a/layer.tar", EntryType::Regular, "one"),
            ("b/layer.tar", EntryType::Symlink, "../a/layer.tar"),
            ("c", EntryType::Link, "a/layer.tar"),
            ("round", EntryType::Symlink, "round"),
            ("out", EntryType::Symlink, "../../etc/passwd"),
            (&long, EntryType::Regular, "long"),
        ]);
        for bytes in [bytes.clone(), zstd::encode_all(&bytes[..], 1).unwrap()] {
            let archive = open(&bytes).unwrap();
            for (name, content) in [
                ("a/layer.tar", "one"),
                ("/a//layer.tar", "one"),
                ("b/layer.tar", "one"),
                ("c", "one"),
                (&long, "long"),
            ] {
                assert_eq!(
                    archive.document(name).unwrap().unwrap(),
                    content.as_bytes(),
                    "{name}"
                );
            }
            assert!(archive.document("out").unwrap().is_none());
            assert!(archive.document("../a").is_err() && archive.document("round").is_err());
            assert_eq!(archive.directories_with("layer.tar").unwrap(), ["a", "b"]);
        }
    }

    #[test]
    fn damaged_archives_are_refused() {
        let bytes = tar(&[
            ("a", EntryType::Regular, &"x".repeat(2000)),
            ("b", EntryType::Regular, "y"),
        ]);
        let mut garbage = bytes.clone();
        garbage.extend_from_slice(b"garbage");
        let mut broken = bytes.clone();
        broken[3] ^= 1;
        for (bytes, part) in [
            (&bytes[..1500], "cut off inside `a`"),
            (&bytes[..3000], "no whole tar archive"),
            (
                &garbage,
                "garbage after the end of the archive, at byte 4608",
            ),
            (&broken, "checksum"),
            (b"hello, world", "no whole tar archive"),
            (&zstd::encode_all(&bytes[..], 1).unwrap()[..20], "cut off"),
            (
                &zstd::encode_all(&vec![0u8; 2 << 20][..], 1).unwrap(),
                "larger than 1048576 bytes",
            ),
            (b"BZh91AY&SY", "bzip2"),
        ] {
            let error = format!("{:#}", open(bytes).err().expect(part));
            assert!(error.contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn a_link_may_not_lead_out_of_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("layout");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(directory.path().join("secret"), "s").unwrap();
        std::fs::write(root.join("file"), "f").unwrap();
        std::os::unix::fs::symlink("../secret", root.join("out")).unwrap();
        std::os::unix::fs::symlink("file", root.join("in")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            root.join("fifo"),
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .unwrap();
        let archive = Archive::directory(&root).unwrap();
        assert_eq!(archive.document("in").unwrap().unwrap(), b"f");
        assert!(archive.document("none").unwrap().is_none());
        for bad in ["out", "fifo", "../secret"] {
            assert!(archive.document(bad).is_err(), "{bad}");
        }
    }
}
