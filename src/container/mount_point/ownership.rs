//! To whom the files of a mount belong, as the container sees it: what would surprise is announced, and `U` gives them
//! to its user.

use super::MountPoint;
use super::fill::fill_new;
use super::open::{make_missing, mapped, open_below, open_volume};
use super::request::{Kind, Relabel};
use crate::container::confinement;
use crate::container::engine::Engine;
use crate::container::record::Record;
use crate::container::root::{self, Owners};
use crate::container::user_namespace;
use crate::error::{Error, Kind as Failure};
use crate::id_mapping::{NOBODY, Tier, outside};
use crate::runtime::lsm::Contexts;
use crate::runtime::plan::Held;
use crate::runtime::user::{Database, Identity};
use crate::store::lock::Lock;
use crate::store::tree::{self, Entry};
use crate::sys::mount;
use crate::sys::process::{self, Child};
use crate::sys::signal::{SignalFd, unblock_all};
use crate::volume;
use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{AtFlags, FileType, Gid, Mode, Stat, Uid, XattrFlags, chownat, fstat, lsetxattr};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{ErrorKind, PipeReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// So many files between two looks at whether to go on.
const STRIDE: u64 = 512;
/// So many files between two lines of progress.
const LINE: u64 = 20_000;

/// Who the program of a container is, in the words of the container; needs [`root::enter`].
fn user(engine: &Engine, record: &Record) -> Result<Identity> {
    let user = &record.program.user;
    let database = match user.as_str() {
        "" | "0" | "0:0" | "root" => Database::default(),
        _ => Database::below(&root::merged(engine, record)?),
    };
    match user.as_str() {
        "root" => Ok(Identity::default()),
        user => Ok(database.resolve(user, &[])?),
    }
}

/// Tells of binds and volumes whose files look like nobody's, or whose new files would belong to an id that the caller
/// is not. To be called where the sources were opened.
pub(in crate::container) fn announce(
    engine: &Engine,
    record: &Record,
    sources: &BTreeMap<PathBuf, Held>,
    warnings: &mut Vec<String>,
) -> Result<()> {
    if engine.mapping.tier == Tier::Root && record.options.nested.is_none() {
        return Ok(());
    }
    let owners = Owners::of(engine, record);
    let mut user_id = None;
    for point in &record.mounts {
        let request = &point.request;
        let Some(Held::Place(place)) = sources.get(Path::new(&request.target)) else {
            continue;
        };
        let found = fstat(place).context("fstat")?;
        if request.chown || request.idmap.is_some() || is_only_read(point, &found) {
            continue;
        }
        let what = format!("`{}`, mounted on `{}`,", request.source, request.target);
        if owners.inside((found.st_uid, found.st_gid)).0 == NOBODY {
            let how = nobodys(engine, point);
            warnings.push(format!(
                "{what} looks like nobody's in the container: its owner has no id there; {how}"
            ));
            continue;
        }
        let is_callers = request.kind == Kind::Bind && found.st_uid == 0;
        let has_others =
            engine.mapping.tier == Tier::Subordinate && record.options.nested.is_none();
        if request.read_only || !is_callers || !has_others {
            continue;
        }
        let uid = *user_id.get_or_insert_with(|| user(engine, record).map_or(0, |user| user.uid));
        if let (1.., Some(outside)) = (uid, outside(&engine.mapping.uids, uid)) {
            warnings.push(format!(
                "{what} is yours, and the program runs as {uid}, which is id {outside} on this host: \
                 --userns keep-id:uid={uid} makes it you, or `:U` gives the files to it"
            ));
        }
    }
    Ok(())
}

/// Whether it matters to nobody whose it is: what everybody may read is only read, or it is no file.
fn is_only_read(point: &MountPoint, found: &Stat) -> bool {
    let readable = match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory => Mode::ROTH | Mode::XOTH,
        FileType::RegularFile => Mode::ROTH,
        _ => return true,
    };
    point.request.read_only && Mode::from_raw_mode(found.st_mode).contains(readable)
}

/// What mends it.
fn nobodys(engine: &Engine, point: &MountPoint) -> &'static str {
    match (engine.mapping.tier, point.request.kind) {
        (Tier::Root, _) => {
            "`:idmap` shows the owners as they are on the disk, `:U` gives the files to the container's user"
        }
        (_, Kind::Bind) => {
            "what is yours stays so with --userns keep-id, what is others' stays nobody's"
        }
        _ => "`:U` gives the files to the container's user",
    }
}

/// Gives the files of the mounts that ask for it (`U`) to the container's user, before it starts; `tell` hears how far
/// it is. The calling process must have one thread.
pub fn give(engine: &Engine, record: &Record, tell: &mut dyn FnMut(&str)) -> Result<()> {
    let contexts = confinement::contexts(record)?;
    // With a single id there is nobody else to give to.
    let gives = |point: &MountPoint| point.request.chown && engine.mapping.tier != Tier::Single;
    let points: Vec<_> = record
        .mounts
        .iter()
        .filter(|point| gives(point) || label(point, contexts.as_ref()).is_some())
        .collect();
    if points.is_empty() {
        return Ok(());
    }
    points.iter().try_for_each(|point| make_missing(point))?;
    let (lines, line) = std::io::pipe().context("pipe")?;
    let mut line = Some(line);
    // What ends it is to say how far it has come, and nobody else's business meanwhile.
    let signals = SignalFd::block_all()?;
    let giver = process::clone3(0, || {
        let Some(mut line) = line.take() else {
            return 1;
        };
        let given = root::enter(engine).and_then(|()| {
            let user = user(engine, record)?;
            // What comes into a new volume is given too.
            fill_new(engine, record, &mut Vec::new())?;
            points.iter().try_for_each(|point| {
                let label = label(point, contexts.as_ref());
                let (place, _in_use) = open_source(engine, point)?;
                let wanted = match gives(point) {
                    true => Some(stored(engine, record, point, &user, &place)?),
                    false => None,
                };
                let source = point.source(engine);
                Change { wanted, label }.apply(&source, &place, &signals, &mut line)?;
                drop((place, _in_use));
                match point.volume() {
                    Some(name) => volume::mount::release(&engine.paths, name),
                    None => Ok(()),
                }
            })
        });
        match given {
            Ok(()) => 0,
            Err(error) => {
                let hint = crate::error::hint(&error).unwrap_or_default();
                // Who does not listen any more is not told.
                let _ = writeln!(line, "{FAILED}{error:#}\t{hint}");
                1
            }
        }
    });
    drop(line.take());
    let giver = giver.context("fork")?;
    let (failure, interrupted) = listen(&giver, lines, &signals, tell)?;
    let code = giver.wait().context("wait for a child")?.code();
    unblock_all()?;
    match (code, failure) {
        (0, _) if interrupted => Err(Error::new(
            Failure::Conflict,
            "interrupted when all files had been given to the container's user",
        )
        .hint("start the container to go on")
        .into()),
        (0, _) => Ok(()),
        (_, Some(error)) => Err(error.into()),
        _ => Err(Error::new(
            Failure::Denied,
            "giving files to the container's user has ended",
        )
        .into()),
    }
}

/// Hears what the giver says until it ends: why, if it failed, and whether this command was to end. What is to end this command ends the giver, whether the
/// whole group of processes was meant, as with Ctrl-C, or this one alone.
fn listen(
    giver: &Child,
    mut lines: PipeReader,
    signals: &SignalFd,
    tell: &mut dyn FnMut(&str),
) -> Result<(Option<Error>, bool)> {
    let (mut failure, mut interrupted, mut said) = (None, false, Vec::new());
    loop {
        let mut ready = [
            PollFd::new(&lines, PollFlags::IN),
            PollFd::new(signals, PollFlags::IN),
        ];
        match poll(&mut ready, None) {
            Err(Errno::INTR) => continue,
            polled => polled.context("poll")?,
        };
        let has_more = !ready[0].revents().is_empty();
        while let Some(signal) = signals.next() {
            if ENDING.contains(&signal) {
                interrupted = true;
                giver.kill(signal).context("end a child")?;
            }
        }
        if !has_more {
            continue;
        }
        let mut piece = [0; 4096];
        let length = lines.read(&mut piece).context("read from a child")?;
        if length == 0 {
            return Ok((failure, interrupted));
        }
        said.extend_from_slice(&piece[..length]);
        while let Some(end) = said.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = said.drain(..=end).collect();
            let text = String::from_utf8_lossy(&line[..end]);
            match text.strip_prefix(FAILED) {
                None => tell(&text),
                Some(said) => {
                    let (message, hint) = said.split_once('\t').unwrap_or((said, ""));
                    let mut error = Error::new(Failure::Denied, message);
                    error.hint = Some(hint.to_owned()).filter(|hint| !hint.is_empty());
                    failure = Some(error);
                }
            }
        }
    }
}

/// Those by which somebody ends a command. A window that changes its size does not.
const ENDING: [i32; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

/// Begins the line that says why it has ended.
const FAILED: &str = "\u{1}";

/// The SELinux context that `z` and `Z` ask for, on hosts that have it.
fn label(point: &MountPoint, contexts: Option<&Contexts>) -> Option<String> {
    match (point.request.relabel?, contexts?) {
        (Relabel::Shared, _) => Some(SHARED_LABEL.to_owned()),
        (Relabel::Private, contexts) => Some(contexts.mount.clone()),
    }
}

/// What every container may use: the type of containers' files, without the categories of one of them.
const SHARED_LABEL: &str = "system_u:object_r:container_file_t:s0";

/// What will be mounted, links followed; and what keeps it there.
fn open_source(engine: &Engine, point: &MountPoint) -> Result<(OwnedFd, Option<Lock>)> {
    let (place, in_use) = match point.volume() {
        None => (mount::open_source(&point.source(engine))?, None),
        Some(name) => {
            let opened = open_volume(engine, name)?;
            (opened.place, opened.in_use)
        }
    };
    let below = open_below(place.as_fd(), point)?;
    Ok((below.unwrap_or(place), in_use))
}

/// The ids that the container's user has on the disk, as [`root::enter`] sees it.
fn stored(
    engine: &Engine,
    record: &Record,
    point: &MountPoint,
    user: &Identity,
    place: &OwnedFd,
) -> Result<(u32, u32)> {
    let is_mapped = point.request.idmap.is_some()
        || (point.volume().is_some() && is_volume_mapped(engine, record, place)?);
    Ok(match is_mapped {
        true => (user.uid, user.gid),
        false => Owners::of(engine, record).stored((user.uid, user.gid))?,
    })
}

/// What every file of a mount gets.
struct Change {
    wanted: Option<(u32, u32)>,
    label: Option<String>,
}

impl Change {
    fn apply(
        &self,
        source: &Path,
        place: &OwnedFd,
        signals: &SignalFd,
        line: &mut impl Write,
    ) -> Result<()> {
        let (mut seen, mut changed) = (0u64, 0u64);
        let mut look = |entry: &Entry<'_>| {
            seen += 1;
            let mut arrived = std::iter::from_fn(|| signals.next());
            if seen.is_multiple_of(STRIDE) && arrived.any(|signal| ENDING.contains(&signal)) {
                return Err(ErrorKind::Interrupted.into());
            }
            if seen.is_multiple_of(LINE) {
                let _ = writeln!(line, "{}: {seen} so far", self.describe(source));
            }
            let change = self.change(entry).map_err(|error| of_file(entry, &error));
            changed += u64::from(change?);
            Ok(true)
        };
        let found = fstat(place).context("fstat")?;
        let given = match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => tree::visit(place.as_fd(), b".", &mut look),
            _ => look(&Entry {
                parent: place.as_fd(),
                name: b"",
                found,
            })
            .map(drop),
        };
        given.map_err(|error| {
            let what = self.describe(source);
            let state = format!("{changed} files were changed, the others are as they were");
            match error.kind() {
                ErrorKind::Interrupted => Error::new(
                    Failure::Conflict,
                    format!("{what} was interrupted: {state}"),
                )
                .hint("start the container again to go on")
                .into(),
                _ => anyhow::Error::from(error).context(format!("{what} ({state})")),
            }
        })
    }

    fn describe(&self, source: &Path) -> String {
        match self.wanted {
            Some((uid, gid)) => {
                format!("giving the files of `{}` to {uid}:{gid}", source.display())
            }
            None => format!("labelling the files of `{}`", source.display()),
        }
    }

    fn change(&self, entry: &Entry<'_>) -> std::io::Result<bool> {
        let changes_owner =
            |wanted: &(u32, u32)| (entry.found.st_uid, entry.found.st_gid) != *wanted;
        if let Some(label) = &self.label {
            // Not followed: the last component is the file itself, the one before a directory that is held.
            let mut path = PathBuf::from(format!("/proc/self/fd/{}", entry.parent.as_raw_fd()));
            match entry.name {
                b"" => path = std::fs::read_link(path)?,
                name => path.push(OsStr::from_bytes(name)),
            }
            lsetxattr(
                &path,
                "security.selinux",
                label.as_bytes(),
                XattrFlags::empty(),
            )?;
        }
        let Some((uid, gid)) = self.wanted.filter(changes_owner) else {
            return Ok(false);
        };
        let (user, group) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        let give = |user, group| {
            // Without a name it is what is held itself.
            let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
            chownat(entry.parent, entry.name, user, group, flags)
        };
        let own_group = Some(rustix::process::getegid());
        let given = match give(user, group) {
            // Of a group that has no id here: of a file of one's own that can be changed, by itself.
            Err(Errno::PERM) if give(None, own_group).is_ok() => give(user, group),
            given => given,
        };
        match given {
            // Removed meanwhile.
            Err(Errno::NOENT) => Ok(false),
            changed => Ok(changed.map(|()| true)?),
        }
    }
}

/// Says which one; and whose, since that is mostly why.
fn of_file(entry: &Entry<'_>, error: &std::io::Error) -> std::io::Error {
    let parent = format!("/proc/self/fd/{}", entry.parent.as_raw_fd());
    let mut path = std::fs::read_link(parent).unwrap_or_default();
    if !matches!(entry.name, b"" | b".") {
        path.push(OsStr::from_bytes(entry.name));
    }
    let stat = &entry.found;
    let foreign = match [stat.st_uid, stat.st_gid].contains(&NOBODY) {
        true => ", whose owner or group has no id among those of this user",
        false => "",
    };
    let message = format!("`{}`{foreign}: {error}", path.display());
    std::io::Error::new(error.kind(), message)
}

fn is_volume_mapped(engine: &Engine, record: &Record, place: &OwnedFd) -> Result<bool> {
    let Some(nested) = user_namespace::nested(&record.options, engine) else {
        return Ok(false);
    };
    let namespace = nested.maps.namespace()?;
    Ok(mapped(engine, place.as_fd(), Some(namespace.as_fd()))?.is_some())
}
