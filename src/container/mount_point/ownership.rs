//! To whom the files of a mount belong, as the container sees it: what would surprise is announced, and `U` gives them
//! to its user.

use super::MountPoint;
use super::fill::{fill_new, is_new};
use super::open::{enter, make_missing, mapped, open_to_change};
use super::request::{Kind, Recursion, Relabel};
use crate::container::confinement;
use crate::container::engine::Engine;
use crate::container::record::Record;
use crate::container::root::{self, Owners};
use crate::container::user_namespace;
use crate::error::{Error, Kind as Failure};
use crate::id_mapping::{NOBODY, Tier, outside};
use crate::runtime::lsm::Contexts;
use crate::runtime::plan::{Held, Sources};
use crate::runtime::user::{Database, Identity};
use crate::store::tree::{self, Entry};
use crate::sys::process::{self, Child};
use crate::sys::signal::{SignalFd, unblock_all};
use crate::volume;
use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid, XattrFlags, chownat, fstat, lsetxattr, openat,
    setxattr,
};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io::{ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

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
    sources: &Sources,
    warnings: &mut Vec<String>,
) -> Result<()> {
    if engine.mapping.tier == Tier::Root && record.options.nested.is_none() {
        return Ok(());
    }
    let owners = Owners::of(engine, record);
    let mut user_id = None;
    for point in &record.mounts {
        let request = &point.request;
        let place = match (sources.get(OsStr::new(&request.target)), request.kind) {
            (Some(Held::Place(place)), _) | (Some(Held::Mount(place)), Kind::Bind) => place,
            // Its owners are those that the container is to see.
            _ => continue,
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

/// Makes the mounts of a container ready before it starts, as what may take long and can be interrupted: new volumes are
/// filled at its `first` start, and files are given to its user where that is asked for (`U`). `tell` hears how far it is.
/// The calling process must have one thread, and holds the container's lock.
pub fn make_ready(
    engine: &Engine,
    record: &Record,
    first: bool,
    tell: &mut dyn FnMut(&str),
) -> Result<()> {
    if record.mounts.is_empty() {
        return Ok(());
    }
    let contexts = confinement::contexts(record)?;
    let changes: Vec<_> = record
        .mounts
        .iter()
        .map(|point| Wanted {
            point,
            // With a single id there is nobody else to give to.
            gives: point.request.chown && engine.mapping.tier != Tier::Single,
            label: label(point, contexts.as_ref()),
        })
        .filter(|wanted| wanted.gives || wanted.label.is_some())
        .collect();
    for wanted in &changes {
        make_missing(wanted.point)?;
    }
    prepare(engine, record, first, &changes, tell)
}

/// Fills the new volumes of a container that is made and not started: others may use them before it does.
pub fn fill(engine: &Engine, record: &Record, tell: &mut dyn FnMut(&str)) -> Result<()> {
    prepare(engine, record, true, &[], tell)
}

fn prepare(
    engine: &Engine,
    record: &Record,
    first: bool,
    changes: &[Wanted<'_>],
    tell: &mut dyn FnMut(&str),
) -> Result<()> {
    let fills = first && is_new(engine, record);
    if changes.is_empty() && !fills {
        return Ok(());
    }
    let (lines, line) = std::io::pipe().context("pipe")?;
    let mut line = Some(line);
    // What ends it is to say how far it has come, and nobody else's business meanwhile.
    let signals = SignalFd::block_all()?;
    let worker = process::clone3(0, || match line.take() {
        Some(line) => work(engine, record, fills, changes, line),
        None => 1,
    });
    drop(line.take());
    let worker = worker.context("fork")?;
    let (failure, interrupted) = listen(&worker, lines, &signals, tell)?;
    let code = worker.wait().context("wait for a child")?.code();
    unblock_all()?;
    let why = match (code, failure, interrupted) {
        (0, _, false) => return Ok(()),
        (_, Some(error), _) => return Err(error.into()),
        (_, None, true) => "the preparation of its mounts was interrupted",
        (_, None, false) => "the preparation of its mounts has ended",
    };
    Err(Error::new(Failure::Conflict, why)
        .hint(again(record))
        .into())
}

/// What goes on with it.
fn again(record: &Record) -> String {
    match record.options.auto_remove {
        true => "run it again to go on".to_owned(),
        false => format!("`onggi start {}` goes on", record.name),
    }
}

/// A mount whose files are changed.
struct Wanted<'a> {
    point: &'a MountPoint,
    gives: bool,
    label: Option<String>,
}

/// In the child, which ends with what it returns.
fn work(
    engine: &Engine,
    record: &Record,
    fills: bool,
    changes: &[Wanted<'_>],
    mut line: PipeWriter,
) -> u8 {
    let mut work = || {
        enter(engine, record.volumes())?;
        if fills {
            // Whoever ends it while it copies leaves nothing half filled.
            unblock_all()?;
            let mut warnings = Vec::new();
            fill_new(engine, record, &mut warnings)?;
            for warning in warnings {
                let _ = writeln!(line, "{warning}");
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        let signals = SignalFd::block_all()?;
        let user = user(engine, record)?;
        for wanted in changes {
            change_one(engine, record, wanted, &user, &signals, &mut line)?;
        }
        Ok::<_, anyhow::Error>(())
    };
    let Err(error) = work() else { return 0 };
    let hint = crate::error::hint(&error).unwrap_or_default();
    // Who does not listen any more is not told.
    let _ = writeln!(line, "{FAILED}{error:#}\t{hint}");
    1
}

fn change_one(
    engine: &Engine,
    record: &Record,
    wanted: &Wanted<'_>,
    user: &Identity,
    signals: &SignalFd,
    line: &mut impl Write,
) -> Result<()> {
    let point = wanted.point;
    let (place, in_use) = open_to_change(engine, point)?;
    let change = Change {
        source: point.source(engine),
        wanted: match wanted.gives {
            true => Some(stored(engine, record, point, user, place.as_fd())?),
            false => None,
        },
        label: wanted.label.as_deref(),
        again: again(record),
        mounts_below: point.request.recursion != Recursion::Disabled,
    };
    let changed = change.apply(place.as_fd(), signals, line);
    drop(in_use);
    if let Some(name) = point.volume() {
        volume::mount::release(&engine.paths, name)?;
    }
    changed
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

/// The SELinux context that `z` and `Z` ask for, on hosts that have it: that of the container's files, or the same without
/// the categories that no other container has.
fn label(point: &MountPoint, contexts: Option<&Contexts>) -> Option<String> {
    let own = &contexts?.mount;
    match point.request.relabel? {
        Relabel::Private => Some(own.clone()),
        Relabel::Shared => Some(own.splitn(5, ':').take(4).collect::<Vec<_>>().join(":")),
    }
}

/// The ids that the container's user has on the disk, as [`root::enter`] sees it.
fn stored(
    engine: &Engine,
    record: &Record,
    point: &MountPoint,
    user: &Identity,
    place: BorrowedFd<'_>,
) -> Result<(u32, u32)> {
    let is_mapped = point.request.idmap.is_some()
        || (point.volume().is_some() && is_volume_mapped(engine, record, place)?);
    Ok(match is_mapped {
        true => (user.uid, user.gid),
        false => Owners::of(engine, record).stored((user.uid, user.gid))?,
    })
}

/// What every file of a mount gets.
struct Change<'a> {
    source: PathBuf,
    wanted: Option<(u32, u32)>,
    label: Option<&'a str>,
    /// What to try when it was interrupted.
    again: String,
    /// Those of mounts below it too.
    mounts_below: bool,
}

impl Change<'_> {
    fn apply(
        &self,
        place: BorrowedFd<'_>,
        signals: &SignalFd,
        line: &mut impl Write,
    ) -> Result<()> {
        let top = fstat(place).context("fstat")?;
        let (mut seen, mut changed) = (0u64, 0u64);
        let mut look = |entry: &Entry<'_>| {
            if entry.found.st_dev != top.st_dev && !self.mounts_below {
                return Ok(false);
            }
            seen += 1;
            let mut arrived = std::iter::from_fn(|| signals.next());
            if seen.is_multiple_of(STRIDE) && arrived.any(|signal| ENDING.contains(&signal)) {
                return Err(ErrorKind::Interrupted.into());
            }
            if seen.is_multiple_of(LINE) {
                let _ = writeln!(line, "{}: {seen} so far", self.describe());
            }
            let change = self.change(entry).map_err(|error| of_file(entry, &error));
            changed += u64::from(change?);
            Ok(true)
        };
        let visited = match FileType::from_raw_mode(top.st_mode) {
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let directory = openat(place, ".", flags, Mode::empty()).context("open it")?;
                tree::visit(directory.as_fd(), b".", &mut look)
            }
            _ => look(&Entry {
                parent: place,
                name: b"",
                found: top,
            })
            .map(drop),
        };
        visited.map_err(|error| {
            let what = self.describe();
            let state = format!("{changed} files were changed, the others are as they were");
            match error.kind() {
                ErrorKind::Interrupted => Error::new(
                    Failure::Conflict,
                    format!("{what} was interrupted: {state}"),
                )
                .hint(&*self.again)
                .into(),
                _ => anyhow::Error::from(error).context(format!("{what} ({state})")),
            }
        })
    }

    fn describe(&self) -> String {
        let source = &self.source;
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
        if let Some(label) = self.label {
            set_label(entry, label)?;
        }
        let Some((uid, gid)) = self.wanted.filter(changes_owner) else {
            return Ok(false);
        };
        let (user, group) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        let give = |user, group| {
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

/// Labels a file that is not followed: the last component is the file itself, the one before a directory that is held.
fn set_label(entry: &Entry<'_>, label: &str) -> std::io::Result<()> {
    let mut path = format!("/proc/self/fd/{}", entry.parent.as_raw_fd()).into_bytes();
    let set = match entry.name {
        b"" => setxattr::<&[u8], &str>,
        name => {
            path.push(b'/');
            path.extend_from_slice(name);
            lsetxattr::<&[u8], &str>
        }
    };
    match set(
        &path,
        "security.selinux",
        label.as_bytes(),
        XattrFlags::empty(),
    ) {
        // Removed meanwhile, or on a file system that has one label for all.
        Err(Errno::NOENT | Errno::NOTSUP) => Ok(()),
        labelled => Ok(labelled?),
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

fn is_volume_mapped(engine: &Engine, record: &Record, place: BorrowedFd<'_>) -> Result<bool> {
    let Some(nested) = user_namespace::nested(&record.options, engine) else {
        return Ok(false);
    };
    let namespace = nested.maps.namespace()?;
    Ok(mapped(engine, place, Some(namespace.as_fd()))?.is_some())
}
