//! Starting a container: its monitor is started, and the caller stays attached or leaves.
//!
//! The monitor is this program again, executed from a read-only mount of itself: whatever the container does with
//! `/proc/PID/exe` or an interpreter line, it never gets hold of a writable copy (CVE-2019-5736). An ordinary
//! user's monitor lives in the user namespace of the store, as its root, and does there what real root does.

use super::engine::Engine;
use super::monitor::channel::{MONITOR_CHANNEL, MONITOR_LOCK, MONITOR_NAME};
use super::monitor::client::{self, Attach};
use super::record::{Directory, Record};
use crate::error::{self, Error, Kind};
use crate::id_mapping;
use crate::store::lock::Lock;
use crate::sys::mount;
use crate::sys::process::{self, Words, flags};
use crate::sys::socket::Channel;
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{PipeReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Starts a container that is here and not running. Returns the program's exit code if it was waited for.
pub fn start(engine: &Engine, id: &str, attach: Option<&Attach>) -> Result<Option<u8>> {
    let directory = Directory::of(engine, id);
    let lock = Lock::try_directory(directory.path())?;
    let (Some(lock), Some(record)) = (lock, directory.record()?) else {
        if directory
            .state()?
            .is_some_and(|state| state.status().is_up())
        {
            return match attach {
                // As in Docker, starting what runs is no error.
                None => Ok(None),
                Some(_) => Err(Error::new(Kind::Conflict, format!("container {id} is already running, and attaching to a running container is not supported yet")).into()),
            };
        }
        return Err(Error::new(
            Kind::Conflict,
            format!("container {id} is being changed by another command"),
        )
        .hint("try again")
        .into());
    };
    start_locked(engine, &record, lock, attach)
}

/// Starts a container whose lock is held.
pub fn start_locked(
    engine: &Engine,
    record: &Record,
    lock: Lock,
    attach: Option<&Attach>,
) -> Result<Option<u8>> {
    let (ours, theirs) = Channel::pair()?;
    let mut complaint = match spawn_monitor(engine, record, theirs, lock) {
        // There is no monitor that would do it.
        Err(error) if record.options.auto_remove => {
            let directory = Directory::of(engine, &record.id);
            if let Some(lock) = Lock::try_directory(directory.path())? {
                super::remove::remove_locked(engine, &record.id, lock)?;
            }
            return Err(error);
        }
        result => result?,
    };
    match client::follow(ours, attach) {
        // A monitor that never came to be has said why; only then is it worth the wait.
        Err(error) if error::kind(&error) == Some(Kind::Conflict) => {
            let mut said = String::new();
            complaint
                .read_to_string(&mut said)
                .context("listen to the monitor")?;
            if said.is_empty() {
                Err(error)
            } else {
                bail!("start the monitor: {said}")
            }
        }
        result => result,
    }
}

/// Where this program lies, in the caller's mount namespace.
pub fn own_path() -> Result<PathBuf> {
    match std::env::var_os(OWN_PATH) {
        Some(path) => Ok(path.into()),
        None => std::fs::read_link("/proc/self/exe").context("read the link `/proc/self/exe`"),
    }
}

/// Tells a monitor, which runs from a mount without a path, where the program lies.
const OWN_PATH: &str = "ONGGI_PROGRAM";

fn spawn_monitor(
    engine: &Engine,
    record: &Record,
    channel: Channel,
    lock: Lock,
) -> Result<PipeReader> {
    let own = own_path()?;
    let paths = [engine.paths.data(), engine.paths.run()].map(|path| path.as_os_str().as_bytes());
    let arguments = Words::new([
        MONITOR_NAME.as_bytes(),
        paths[0],
        paths[1],
        record.id.as_bytes(),
    ])?;
    let kept = std::env::vars_os().filter(|(key, _)| key != OWN_PATH);
    let environment: Vec<Vec<u8>> = kept
        .chain([(OWN_PATH.into(), own.clone().into_os_string())])
        .map(|(key, value)| [key.as_bytes(), b"=", value.as_bytes()].concat())
        .collect();
    let environment = Words::new(&environment)?;
    let nothing = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .context("open `/dev/null`")?;
    const PROGRAM: i32 = 5;
    const { assert!(MONITOR_CHANNEL == 3 && MONITOR_LOCK == 4) };

    let isolated = engine.mapping.needs_user_namespace();
    let (mut mapped, tell) = std::io::pipe().context("pipe")?;
    let (complaint, mut complain) = std::io::pipe().context("pipe")?;
    let namespaces = if isolated {
        flags::NEW_USER | flags::NEW_MOUNT
    } else {
        0
    };
    let child = process::clone3(namespaces, || {
        let result = (|| -> Result<std::convert::Infallible> {
            if isolated {
                mapped
                    .read_exact(&mut [0])
                    .context("wait for the id maps")?;
                id_mapping::become_root()?;
            }
            let program = sealed(&own)?;
            process::close_on_exec_from(0).context("close_range")?;
            let streams = [nothing.as_fd(); 3];
            let handed = [channel.as_fd(), lock.as_fd(), program.as_fd()];
            process::place(&[streams, handed].concat()).context("hand over descriptors")?;
            let program = process::inherited(PROGRAM).context("hand over descriptors")?;
            let failed = process::execute_descriptor(program.as_fd(), &arguments, &environment);
            Err(failed).context("execute the monitor")
        })();
        let Err(error) = result;
        // The descriptors may have been replaced already; then the channel's end says that something is wrong.
        let _ = write!(complain, "{error:#}");
        125
    });
    let child = if isolated {
        child.map_err(id_mapping::refused)?
    } else {
        child.context("start the monitor")?
    };
    drop((complain, mapped));
    if isolated {
        let mut tell = tell;
        engine.mapping.write_maps(child.pid)?;
        tell.write_all(b"1").context("release the monitor")?;
    }
    Ok(complaint)
}

/// This program, so that nobody can write to what runs from the descriptor.
fn sealed(own: &Path) -> Result<OwnedFd> {
    let running = std::fs::metadata("/proc/self/exe").context("stat `/proc/self/exe`")?;
    if let Ok(file) = mount::open_source(own)
        && rustix::fs::fstat(&file)
            .is_ok_and(|found| (found.st_dev, found.st_ino) == (running.dev(), running.ino()))
        && let Ok(mounted) = mount::read_only_copy(file.as_fd())
    {
        return Ok(mounted);
    }
    // Replaced while it runs, or in a sandbox that forbids mounts: a sealed copy in memory, slower and as safe.
    sealed_copy()
}

fn sealed_copy() -> Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    let copy = memfd_create("onggi", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .context("memfd_create")?;
    let mut copy = File::from(copy);
    let mut program = File::open("/proc/self/exe").context("open `/proc/self/exe`")?;
    std::io::copy(&mut program, &mut copy).context("copy this program into memory")?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&copy, seals).context("seal the copy of this program")?;
    Ok(copy.into())
}

/// Whether the arguments are those of a monitor.
pub fn is_monitor(program: &OsStr) -> bool {
    program == MONITOR_NAME
}
