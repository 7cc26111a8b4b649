//! What is bound into a container, as mounts that are attached nowhere yet. The parent makes them before there is an
//! init, where sources are paths of the host and privileges are those of whoever started the container; init, which
//! lives in other mount and user namespaces, has only to attach them (open_tree(2), mount_setattr(2)). Where the parent
//! may not, init makes them itself, first of all.

use crate::error::{Error, Kind, bad_input};
use crate::id_mapping::{IdMaps, Tier};
use crate::runtime::mount_options::{Ids, MountOptions, Spread};
use crate::runtime::plan::{Held, MountStep, Plan, Source, Sources};
use crate::sys::mount::{self, Attributes, Change, Propagation};
use crate::sys::openat2::{open_in_root, open_root};
use anyhow::{Context, Result, ensure};
use procfs::process::{MountInfo, MountOptFields};
use rustix::fs::{AtFlags, Mode, OFlags, StatVfsMountFlags, StatxFlags, fstatvfs, statx};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Makes those of all mounts of the plan, and the user namespaces for what can be bound only once others are made;
/// `user_namespace` is that of the container, if it has one of its own. The process must have one thread.
pub fn make(plan: &mut Plan, user_namespace: Option<BorrowedFd<'_>>) -> Result<()> {
    let sources = std::mem::take(&mut plan.sources);
    plan.trees = of(&plan.mounts, sources, user_namespace, plan.process.tier)?;
    Ok(())
}

/// Makes those of some mounts, of which `sources` are open, by destination; `None` for a file system that init makes. For
/// what lies in the container's root it is the user namespace that says what becomes of its owners, if they are mapped.
/// The process must have one thread.
pub fn of(
    mounts: &[MountStep],
    mut sources: Sources,
    user_namespace: Option<BorrowedFd<'_>>,
    tier: Tier,
) -> Result<Vec<Option<OwnedFd>>> {
    let mut maker = Maker {
        user_namespace,
        tier,
        mapped: Vec::new(),
    };
    let mut trees = Vec::with_capacity(mounts.len());
    // From the last to the first: of several mounts at one place it is the last that an open source is for.
    for step in mounts.iter().rev() {
        let held = sources.remove(step.target.as_os_str());
        let tree = maker.tree(step, held);
        trees.push(tree.with_context(|| super::mounts::describe(step))?);
    }
    trees.reverse();
    let unused = sources.keys().next();
    ensure!(unused.is_none(), "{unused:?} is open, and not mounted");
    Ok(trees)
}

struct Maker<'a> {
    user_namespace: Option<BorrowedFd<'a>>,
    tier: Tier,
    /// User namespaces that were made for the maps of mounts.
    mapped: Vec<(IdMaps, OwnedFd)>,
}

impl Maker<'_> {
    /// `None` for a file system that init makes.
    fn tree(&mut self, step: &MountStep, held: Option<Held>) -> Result<Option<OwnedFd>> {
        let options = &step.options;
        let is_open = held.is_some();
        let ids = options.ids.as_ref();
        let namespace = ids.map(|ids| self.namespace(ids)).transpose()?;
        let place = match (held, &step.source) {
            (Some(Held::Mount(mount)), _) => {
                configure(&mount, options, None, namespace.as_ref(), false)?;
                return Ok(Some(mount));
            }
            (Some(Held::Place(place)), _) => place,
            (None, Source::Bind { path }) => mount::open_source(path)?,
            (None, Source::Image { root, path }) => in_image(root, path)?,
            (None, Source::Inside { .. }) => return Ok(namespace),
            (None, Source::Filesystem { .. } | Source::Remount) => return Ok(None),
        };
        if let Some(spread) = options.propagation.filter(|_| is_open) {
            self.require_group(&step.source, &place, spread.propagation)?;
        }
        let is_nested = self.user_namespace.is_some();
        bind(&place, options, namespace.as_ref(), is_nested).map(Some)
    }

    /// The user namespace that says what becomes of owners.
    fn namespace(&mut self, ids: &Ids) -> Result<OwnedFd> {
        let Some(maps) = &ids.maps else {
            return match self.user_namespace {
                Some(namespace) => namespace
                    .try_clone_to_owned()
                    .context("duplicate a descriptor"),
                None if self.tier == Tier::Root => {
                    let message =
                        "ids are to be mapped, and neither the mount nor the container says how";
                    Err(bad_input(message)
                        .hint("give the container a user namespace, with --userns auto for example, or the mount a mapping")
                        .bundle_hint("give the container a user namespace, or the mount `uidMappings` and `gidMappings`")
                        .into())
                }
                None => Ok(File::open("/proc/self/ns/user")
                    .context("open `/proc/self/ns/user`")?
                    .into()),
            };
        };
        let namespace = match self.mapped.iter().position(|(known, _)| known == maps) {
            Some(at) => &self.mapped[at].1,
            None => {
                let made = maps.namespace().context("map the ids of a mount")?;
                self.mapped.push((maps.clone(), made));
                &self.mapped[self.mapped.len() - 1].1
            }
        };
        namespace.try_clone().context("duplicate a descriptor")
    }

    /// Whether mounts reach the container from that place, or the place from there, is said by the mount that it lies in
    /// (proc_pid_mountinfo(5), "optional fields"). That is Docker's rule, for who opens sources; of a bundle of somebody
    /// else's nothing is asked beyond what mount(2) asks.
    fn require_group(&self, source: &Source, place: &OwnedFd, wanted: Propagation) -> Result<()> {
        let is_shared = match wanted {
            Propagation::Shared => true,
            Propagation::Slave => false,
            Propagation::Private | Propagation::Unbindable => return Ok(()),
        };
        let Source::Bind { path } = source else {
            return Ok(());
        };
        if is_shared && self.user_namespace.is_some() {
            let message = format!(
                "`{}` cannot be shared with a container in a user namespace of its own: what it mounts would be the host's",
                path.display()
            );
            return Err(bad_input(message)
                .hint("with rslave mounts of the host appear in the container")
                .into());
        }
        let mount = mount_of(place)?;
        let has_group = mount.opt_fields.iter().any(|field| match field {
            MountOptFields::Shared(_) => true,
            MountOptFields::Master(_) => !is_shared,
            _ => false,
        });
        if has_group {
            return Ok(());
        }
        // Docker's words.
        let error = bad_input(format!(
            "path {} is mounted on {} but it is not a shared{} mount",
            path.display(),
            mount.mount_point.display(),
            if is_shared { "" } else { " or slave" },
        ));
        let is_slave = |field: &MountOptFields| matches!(field, MountOptFields::Master(_));
        Err(match mount.opt_fields.iter().any(is_slave) {
            true if self.tier != Tier::Root => error.hint(
                "what an ordinary user's container mounts never appears on the host; with rslave the host's mounts appear inside",
            ),
            _ => error.hint(format!(
                "mount --make-shared {}",
                mount.mount_point.display()
            )),
        }
        .into())
    }
}

/// What a path leads to whose links the image may have made.
fn in_image(root: &Path, path: &Path) -> Result<OwnedFd> {
    let root = open_root(root).with_context(|| format!("open `{}`", root.display()))?;
    let name = path.as_os_str().as_bytes();
    open_in_root(&root, name, OFlags::PATH, Mode::empty())
        .with_context(|| format!("open `{}` in the container", path.display()))
}

/// A copy of what lies at a place of this mount namespace, as the options have it. `namespace` says what becomes of owners;
/// `is_nested`: it is for mounts of less privilege.
pub fn bind(
    place: &OwnedFd,
    options: &MountOptions,
    namespace: Option<&OwnedFd>,
    is_nested: bool,
) -> Result<OwnedFd> {
    let recursive = options.bind.unwrap_or(true);
    let tree = mount::clone_tree(place.as_fd(), recursive)
        .map_err(|error| explain_locked(error, recursive))?;
    configure(&tree, options, Some(place), namespace, is_nested)?;
    Ok(tree)
}

/// Gives a mount that is attached nowhere its attributes; `place` is what it shows, unless it is nowhere else.
fn configure(
    tree: &OwnedFd,
    options: &MountOptions,
    place: Option<&OwnedFd>,
    namespace: Option<&OwnedFd>,
    is_nested: bool,
) -> Result<()> {
    let (tree, namespace) = (tree.as_fd(), namespace.map(AsFd::as_fd));
    let maps_all = options.ids.as_ref().is_some_and(|ids| ids.recursive);
    let spread = options.propagation.unwrap_or(Spread {
        propagation: Propagation::Private,
        recursive: true,
    });
    // As in a mount namespace that is copied into a user namespace of less privilege (mount_namespaces(7)): what is mounted
    // inside stays there.
    let tames = is_nested && spread.propagation == Propagation::Shared;
    if tames {
        follow(tree, true)?;
    }
    if options.bind == Some(false) {
        let both = options.all.then(options.own);
        return change(tree, both, Some(spread.propagation), namespace, false);
    }
    let alone = match place.filter(|_| !spread.recursive) {
        Some(place) => alone(place.as_fd(), spread.propagation, tames)?,
        None => None,
    };
    let is_alone = alone.is_some() || spread.propagation == Propagation::Unbindable;
    let of_all = match is_alone && !spread.recursive {
        true => Propagation::Private,
        false => spread.propagation,
    };
    let of_below = namespace.filter(|_| maps_all);
    change(tree, options.all, Some(of_all), of_below, true)?;
    let of_own = namespace.filter(|_| !maps_all);
    let propagation =
        (of_all != spread.propagation && alone.is_none()).then_some(spread.propagation);
    if !options.own.is_empty() || of_own.is_some() || propagation.is_some() {
        change(tree, options.own, propagation, of_own, false)?;
    }
    match alone {
        Some(alone) => match mount::join_group_of(tree, alone.as_fd()) {
            // There is nobody whose mounts could appear here.
            Err(Errno::INVAL) if !place.is_some_and(has_group) => Ok(()),
            joined => joined.context("move_mount with MOVE_MOUNT_SET_GROUP of Linux 5.15"),
        },
        None => Ok(()),
    }
}

/// Lets a mount see what the others of its group mount, which then see nothing of what is mounted here.
fn follow(mount: BorrowedFd<'_>, recursive: bool) -> Result<()> {
    change(
        mount,
        Change::default(),
        Some(Propagation::Slave),
        None,
        recursive,
    )
}

fn has_group(place: &OwnedFd) -> bool {
    let is_group = |field: &MountOptFields| {
        matches!(field, MountOptFields::Shared(_) | MountOptFields::Master(_))
    };
    mount_of(place).is_ok_and(|mount| mount.opt_fields.iter().any(is_group))
}

/// A mount with that propagation and without those below it, which another one is to join, alone too. `None` where the
/// propagation takes none, or where the kernel shows no mount without those below it: an ordinary user's, who gets later
/// mounts below them too.
fn alone(place: BorrowedFd<'_>, propagation: Propagation, tames: bool) -> Result<Option<OwnedFd>> {
    let alone = match (mount::clone_tree(place, false), propagation) {
        (_, Propagation::Private | Propagation::Unbindable)
        | (Err(Errno::INVAL), Propagation::Slave) => return Ok(None),
        (alone, _) => alone.map_err(|error| explain_locked(error, false))?,
    };
    if tames {
        follow(alone.as_fd(), false)?;
    }
    change(
        alone.as_fd(),
        Change::default(),
        Some(propagation),
        None,
        false,
    )?;
    Ok(Some(alone))
}

/// Changes a mount. What a mount namespace of more privilege has fixed stays (mount_namespaces(7), "Restrictions on
/// mount namespaces"): the way access times are kept, which changes nothing that a program could do, and anything else
/// is an error.
fn change(
    mount: BorrowedFd<'_>,
    change: Change,
    propagation: Option<Propagation>,
    user_namespace: Option<BorrowedFd<'_>>,
    recursive: bool,
) -> Result<()> {
    let apply = |change| mount::change(mount, change, propagation, user_namespace, recursive);
    let times = Attributes::MOUNT_ATTR__ATIME | Attributes::MOUNT_ATTR_NODIRATIME;
    let without_times = Change {
        set: change.set - times,
        clear: change.clear - times,
    };
    let done = match apply(change) {
        Err(Errno::PERM) if without_times != change => apply(without_times),
        done => done,
    };
    match (done, user_namespace) {
        (Ok(()), _) => Ok(()),
        (Err(Errno::PERM), None) if !without_times.clear.is_empty() => {
            Err(explain_fixed(mount, without_times.clear))
        }
        (Err(error), None) => Err(error).context("mount_setattr"),
        (Err(error), Some(_)) => Err(explain_ids(error)),
    }
}

/// Names what is to be taken away and cannot be: what the mount has of it, or else some mount below it.
fn explain_fixed(mount: BorrowedFd<'_>, wanted: Attributes) -> anyhow::Error {
    const NAMES: [(Attributes, StatVfsMountFlags, &str); 4] = [
        (
            Attributes::MOUNT_ATTR_RDONLY,
            StatVfsMountFlags::RDONLY,
            "ro",
        ),
        (
            Attributes::MOUNT_ATTR_NOSUID,
            StatVfsMountFlags::NOSUID,
            "nosuid",
        ),
        (
            Attributes::MOUNT_ATTR_NODEV,
            StatVfsMountFlags::NODEV,
            "nodev",
        ),
        (
            Attributes::MOUNT_ATTR_NOEXEC,
            StatVfsMountFlags::NOEXEC,
            "noexec",
        ),
    ];
    let here = fstatvfs(mount).map_or(StatVfsMountFlags::empty(), |found| found.f_flag);
    let names = |flags: StatVfsMountFlags| -> Vec<&str> {
        let of_both = NAMES
            .iter()
            .filter(|(attribute, flag, _)| wanted.contains(*attribute) && flags.contains(*flag));
        of_both.map(|(_, _, name)| *name).collect()
    };
    let (place, fixed) = match names(here) {
        none if none.is_empty() => ("a mount below it", names(StatVfsMountFlags::all())),
        fixed => ("it", fixed),
    };
    let message = format!(
        "the host has mounted {place} with `{}`, which only root of the host can take away",
        fixed.join(",")
    );
    Error::new(Kind::Denied, message)
        .hint("leave out the option that is to take it away")
        .into()
}

fn explain_ids(error: Errno) -> anyhow::Error {
    let (kind, why) = match error {
        Errno::PERM => (
            Kind::Denied,
            "the kernel lets only root of the host map the ids of the host's files, once each",
        ),
        Errno::INVAL => (
            Kind::Unsupported,
            "its file system, or this kernel, does not map ids",
        ),
        _ => return anyhow::Error::from(error).context("map the ids of its files"),
    };
    Error::new(kind, format!("map the ids of its files: {error}: {why}"))
        .hint("go without idmap; --userns keep-id makes the caller's files those of the container's user")
        .bundle_hint("leave `idmap` out of the mount's options, and its `uidMappings` and `gidMappings`")
        .into()
}

fn explain_locked(error: Errno, recursive: bool) -> anyhow::Error {
    match (error, recursive) {
        (Errno::INVAL, false) => Error::new(
            Kind::Denied,
            "the kernel does not show an ordinary user what lies below other mounts, of which there are some in it",
        )
        .hint("bind it with the mounts below it")
        .into(),
        (Errno::INVAL, true) => {
            anyhow::Error::from(error).context("open_tree, as of an unbindable mount")
        }
        _ => anyhow::Error::from(error).context("open_tree"),
    }
}

/// The mount that an open file lies in.
fn mount_of(file: &OwnedFd) -> Result<MountInfo> {
    let found = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).context("statx")?;
    let id = i32::try_from(found.stx_mnt_id)?;
    procfs::process::Process::myself()
        .and_then(|process| process.mountinfo())
        .context("read `/proc/self/mountinfo`")?
        .into_iter()
        .find(|mount| mount.mnt_id == id)
        .context("its mount is not in `/proc/self/mountinfo`")
}
