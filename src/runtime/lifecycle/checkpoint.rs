//! `checkpoint` and `restore`: a container's processes are written down by criu, and made again by it (criu(8)). What
//! surrounds them is of the configuration: control group, root file system, what is bound into it.
//!
//! `streams.json` among the images says what the three standard streams were, since those lead out of the container.

use super::create::{Order, abandon, claim, streams, write_pid};
use super::record::{self, Container, Containers, Record, Status};
use super::{delete, group};
use crate::error::{Error, Kind, bad_input};
use crate::runtime::annotations::Annotations;
use crate::runtime::bundle::Opened;
use crate::runtime::criu::{self, Wishes};
use crate::runtime::hooks::Hooks;
use crate::sys::mount::{self, Attributes};
use crate::sys::process::{self, Child, Identity, flags};
use crate::sys::{descriptor, namespace};
use anyhow::{Context, Result};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

const STREAMS: &str = "streams.json";
/// In a container's directory, while it is restored.
const ROOT: &str = "root";
const NULL: &str = "null";
const PID: &str = "pid";

/// What one of the standard streams was.
#[derive(Debug, Serialize, Deserialize)]
struct Stream {
    /// As `/proc/PID/fd` names it.
    link: String,
    /// As criu names it.
    key: String,
}

/// Writes the processes of a running container down. Unless they go on (`stays`) the container is deleted; what its hooks
/// have failed with comes out.
pub fn checkpoint(
    containers: &Containers,
    container: &Container,
    program: &Path,
    wishes: &Wishes,
    (verb, stays): (&str, bool),
) -> Result<Vec<anyhow::Error>> {
    if container.status()? != Status::Running {
        let message = format!("container `{}` is not running", container.record.id);
        return Err(Error::new(Kind::Conflict, message).into());
    }
    let spec = container.spec()?;
    criu::require_fit(&spec)?;
    let pid = container.record.init.pid;
    let images = &wishes.images;
    let made = DirBuilder::new().recursive(true).mode(0o700).create(images);
    made.with_context(|| format!("create `{}`", images.display()))?;
    let mut command = criu::command(program, verb, wishes);
    command.args(["--tree", &pid.to_string()]);
    if stays && verb == "dump" {
        command.arg("--leave-running");
    }
    let bound = criu::bound(&spec)
        .into_iter()
        .map(|(destination, _)| destination);
    // What hides a directory is a file system in memory, and written down as such.
    let is_file = |path: &String| {
        fs::symlink_metadata(format!("/proc/{pid}/root{path}")).is_ok_and(|found| !found.is_dir())
    };
    for path in bound.chain(criu::masked_files(&spec).into_iter().filter(is_file)) {
        command.arg("--external").arg(format!("mnt[{path}]:{path}"));
    }
    if let Some(path) = criu::network(&spec) {
        let found = fs::metadata(&path).with_context(|| format!("stat `{}`", path.display()))?;
        command
            .arg("--external")
            .arg(format!("net[{}]:network", found.ino()));
    }
    let streams = (0..3)
        .map(|number| stream(pid, number))
        .collect::<Result<Vec<_>>>()?;
    for stream in streams
        .iter()
        .filter(|stream| stream.key.starts_with("file["))
    {
        command.arg("--external").arg(&stream.key);
    }
    let path = images.join(STREAMS);
    fs::write(&path, serde_json::to_vec(&streams)?)
        .with_context(|| format!("write `{}`", path.display()))?;
    let done = command
        .status()
        .with_context(|| format!("execute `{}`", program.display()))?;
    if !done.success() {
        return Err(criu::failure(verb, wishes));
    }
    match stays {
        true => Ok(Vec::new()),
        false => delete::delete(containers, &container.record.id, true),
    }
}

fn stream(pid: i32, number: i32) -> Result<Stream> {
    let path = format!("/proc/{pid}/fd/{number}");
    let say = || format!("look at `{path}`");
    let link = fs::read_link(&path)
        .with_context(say)?
        .to_string_lossy()
        .into_owned();
    if link.contains(":[") {
        return Ok(Stream {
            key: link.clone(),
            link,
        });
    }
    let found = fs::metadata(&path).with_context(say)?;
    let told = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).with_context(say)?;
    let mount = told
        .lines()
        .find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse::<u32>().ok());
    let key = format!("file[{:x}:{:x}]", mount.with_context(say)?, found.ino());
    Ok(Stream { link, key })
}

/// Makes a container of a bundle and of what was written down; its first process comes out. With `adopts` that is a child
/// of the calling process, which must have one thread.
pub fn restore(
    containers: &Containers,
    bundle: Opened,
    order: &Order,
    (program, wishes): (&Path, &Wishes),
    adopts: bool,
    warnings: &mut Vec<String>,
) -> Result<(Container, Child)> {
    record::check_id(&order.id)?;
    criu::require_fit(&bundle.spec)?;
    if criu::has_early_hooks(&bundle.spec) {
        let message = "a container with hooks that are run before its program cannot be restored";
        return Err(Error::new(Kind::Unsupported, message).into());
    }
    if !wishes.images.is_dir() {
        let message = format!("there is no checkpoint in `{}`", wishes.images.display());
        return Err(bad_input(message)
            .hint("name its directory with --image-path")
            .into());
    }
    let _lock = claim(containers, &order.id, warnings)?;
    remake(containers, bundle, order, (program, wishes), adopts)
        .inspect_err(|_| abandon(containers, &order.id, warnings))
}

fn remake(
    containers: &Containers,
    bundle: Opened,
    order: &Order,
    (program, wishes): (&Path, &Wishes),
    adopts: bool,
) -> Result<(Container, Child)> {
    let Opened {
        directory: of_bundle,
        root,
        spec,
        ..
    } = bundle;
    let annotations = Annotations::of(spec.annotations())?;
    let mut container = Container {
        paths: containers.paths.clone(),
        record: Record::new(&order.id, of_bundle, root.clone(), &spec)?,
    };
    let group = group::make(&spec, &order.id, order.group_manager, &annotations)?;
    container.announce(&serde_json::to_vec(&spec)?, group.cgroup.as_ref())?;
    let directory = container.directory();
    let surroundings = Surroundings::new(&directory, root)?;
    let mut command = criu::command(program, "restore", wishes);
    command
        .args(["--restore-detached", "--pidfile"])
        .arg(directory.join(PID));
    command.arg("--root").arg(directory.join(ROOT));
    for path in criu::masked_files(&spec) {
        let null = directory.join(NULL);
        command
            .arg("--external")
            .arg(format!("mnt[{path}]:{}", null.display()));
    }
    for (destination, source) in criu::bound(&spec) {
        command
            .arg("--external")
            .arg(format!("mnt[{destination}]:{}", source.display()));
    }
    let mut held = saved_streams(&wishes.images)?;
    if let Some(path) = criu::network(&spec) {
        let file = File::open(&path).with_context(|| format!("open `{}`", path.display()))?;
        held.push(("network".to_owned(), file.into()));
    }
    if adopts {
        let own = Pid::from_raw(std::process::id() as i32);
        rustix::process::set_child_subreaper(own).context("prctl PR_SET_CHILD_SUBREAPER")?;
    }
    let place = group.cgroup.as_ref().map(AsFd::as_fd);
    let criu = process::clone3_into(0, place, || {
        let failed = surroundings
            .enter()
            .and_then(|()| become_criu(command, &held));
        let Err(error) = failed;
        // Its log would have said why.
        let _ = fs::write(
            wishes.images.join("restore.log"),
            format!("Error (onggi): {error:#}\n"),
        );
        125
    })
    .context("fork")?;
    if criu.wait().context("wait for criu")?.code() != 0 {
        return Err(criu::failure("restore", wishes));
    }
    finish(container, order, &spec)
}

fn finish(
    mut container: Container,
    order: &Order,
    spec: &oci_spec::runtime::Spec,
) -> Result<(Container, Child)> {
    let directory = container.directory();
    let written = fs::read_to_string(directory.join(PID)).context("read what criu has written")?;
    let pid: i32 = written
        .trim()
        .parse()
        .context("read the number of the first process")?;
    for name in [PID, NULL] {
        let _ = fs::remove_file(directory.join(name));
    }
    let _ = fs::remove_dir(directory.join(ROOT));
    let known = Pid::from_raw(pid).context("criu has named no process")?;
    let child = Child {
        pid,
        pidfd: pidfd_open(known, PidfdFlags::empty()).context("pidfd_open")?,
    };
    container.record.init = Identity::of(pid)?;
    let told = container.write().and_then(|()| match &order.pid_file {
        Some(path) => write_pid(path, pid),
        None => Ok(()),
    });
    let hooks = Hooks::new(spec.hooks().as_ref(), &container.state())?;
    if let Err(error) = told.and_then(|()| hooks.poststart(pid)) {
        let _ = child.kill(libc::SIGKILL);
        return Err(error);
    }
    Ok((container, child))
}

/// The streams of the calling process, or the files that those of the container were, by what criu calls them.
fn saved_streams(images: &Path) -> Result<Vec<(String, OwnedFd)>> {
    let path = images.join(STREAMS);
    let text = fs::read(&path).with_context(|| format!("read `{}`", path.display()))?;
    let saved: Vec<Stream> =
        serde_json::from_slice(&text).with_context(|| format!("read `{}`", path.display()))?;
    let mut held: Vec<(String, OwnedFd)> = Vec::new();
    for (stream, own) in saved.into_iter().zip(streams()?) {
        if held.iter().any(|(key, _)| *key == stream.key) {
            continue;
        }
        let file = match stream.key.starts_with("file[") {
            false => own,
            true => {
                let readable = File::options().read(true).write(true).open(&stream.link);
                let opened = readable.or_else(|_| File::open(&stream.link));
                opened
                    .with_context(|| {
                        format!(
                            "open `{}`, which was a stream of the container",
                            stream.link
                        )
                    })?
                    .into()
            }
        };
        held.push((stream.key, file));
    }
    Ok(held)
}

/// Executes criu with what it is to hold.
fn become_criu(
    mut command: std::process::Command,
    held: &[(String, OwnedFd)],
) -> Result<std::convert::Infallible> {
    for (key, file) in held {
        let kept = descriptor::inheritable(file.as_fd()).context("duplicate a descriptor")?;
        command.args(criu::inherited(kept, key));
    }
    Err(command.exec()).context("execute criu")
}

/// What criu needs around it, in a mount namespace that goes with it: the root file system where nothing covers it, and a
/// null device that cannot be changed.
struct Surroundings {
    root: PathBuf,
    place: PathBuf,
    null: PathBuf,
}

impl Surroundings {
    fn new(directory: &Path, root: PathBuf) -> Result<Self> {
        let (place, null) = (directory.join(ROOT), directory.join(NULL));
        let made = DirBuilder::new().mode(0o700).create(&place);
        made.and_then(|()| File::create(&null).map(drop))
            .with_context(|| format!("create `{}`", place.display()))?;
        Ok(Self { root, place, null })
    }

    fn enter(&self) -> Result<()> {
        namespace::unshare(flags::NEW_MOUNT).context("unshare the mount namespace")?;
        mount::set_propagation_of_all(false).context("make mounts private")?;
        let hardened = Attributes::MOUNT_ATTR_RDONLY
            | Attributes::MOUNT_ATTR_NOSUID
            | Attributes::MOUNT_ATTR_NOEXEC;
        let null = Path::new("/dev/null");
        for (source, place, attributes) in [
            (self.root.as_path(), &self.place, Attributes::empty()),
            (null, &self.null, hardened),
        ] {
            let say = || format!("bind `{}`", source.display());
            let copy = mount::clone_tree_at(source, true).with_context(say)?;
            mount::add_attributes(copy.as_fd(), attributes, false).with_context(say)?;
            let place = mount::open_source(place)?;
            mount::attach(copy.as_fd(), place.as_fd()).with_context(say)?;
        }
        Ok(())
    }
}
