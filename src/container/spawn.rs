//! Starting a process of ours that outlives its caller: a container's monitor, or whoever holds the streams of an
//! exec'd program.
//!
//! It is this program again, executed from a read-only mount of itself: whatever a container does with
//! `/proc/PID/exe` or an interpreter line, it never gets hold of a writable copy (CVE-2019-5736). That of an ordinary
//! user lives in the user namespace of the store, as its root, and does there what real root does.

use super::engine::Engine;
use crate::id_mapping;
use crate::paths::Paths;
use crate::sys::descriptor;
use crate::sys::namespace;
use crate::sys::own_program;
use crate::sys::process::{self, Identity, Words, flags};
use anyhow::{Context, Result, anyhow, bail};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{PipeReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The number of the first descriptor that is handed over; the others follow.
pub const HANDED: i32 = 3;

/// Where this program lies, in the caller's mount namespace.
pub fn own_path() -> Result<PathBuf> {
    match std::env::var_os(OWN_PATH) {
        Some(path) => Ok(path.into()),
        None => std::fs::read_link("/proc/self/exe").context("read the link `/proc/self/exe`"),
    }
}

/// Tells a process that runs from a mount without a path where the program lies.
const OWN_PATH: &str = "ONGGI_PROGRAM";

/// Where an ordinary user's process of ours lives; root's always lives where its caller does.
#[derive(Clone, Copy, Debug)]
pub enum Home<'a> {
    /// In a new user namespace with the ids of the store.
    New,
    /// Beside one of ours that runs.
    Beside(&'a Neighbour),
}

/// What is shared with a process of ours that runs already.
#[derive(Debug)]
pub struct Neighbour {
    /// The user namespace of the store; `None` for root.
    pub user_namespace: Option<OwnedFd>,
    /// What it runs from, see [`sealed_as`].
    pub program: Option<OwnedFd>,
}

/// The sealed copy of this program from which a process of ours runs; `None` when it runs from something else, since
/// the program was replaced meanwhile for example. To take it is cheaper than to make another mount.
pub fn sealed_as(process: &Identity) -> Option<OwnedFd> {
    use rustix::fs::{CWD, Mode, OFlags, StatVfsMountFlags, fstat, fstatvfs, openat};
    let path = format!("/proc/{}/exe", process.pid);
    let program = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let running = std::fs::metadata("/proc/self/exe").ok()?;
    let found = fstat(&program).ok()?;
    let is_ours = (found.st_dev, found.st_ino) == (running.dev(), running.ino());
    let mount = fstatvfs(&program).ok()?;
    (is_ours && mount.f_flag.contains(StatVfsMountFlags::RDONLY)).then_some(program)
}

/// What a process of ours has to say that may never have come to be.
#[derive(Debug)]
pub struct Complaint<'a> {
    name: &'a str,
    pipe: PipeReader,
}

impl Complaint<'_> {
    /// Why it could not be executed; `None` where it was, or was killed. Waits until that is known.
    pub fn heard(mut self) -> Result<Option<anyhow::Error>> {
        let (name, mut said) = (self.name, String::new());
        let read = self.pipe.read_to_string(&mut said);
        read.with_context(|| format!("listen to `{name}`"))?;
        Ok((!said.is_empty()).then(|| anyhow!("start `{name}`: {said}")))
    }
}

/// In a process of ours: the store and the container's id that are among its arguments.
pub fn wanted(mut arguments: impl Iterator<Item = OsString>) -> Result<(Engine, String)> {
    let (Some(data), Some(run), Some(id)) = (arguments.nth(1), arguments.next(), arguments.next())
    else {
        bail!("the program starts this by itself only");
    };
    let engine = Engine::reopen(Paths::new(data, run))?;
    Ok((engine, id.into_string().unwrap_or_default()))
}

/// Starts this program as `name` with the two roots of the store and the container's id as arguments and `handed` from
/// descriptor [`HANDED`] on.
pub fn spawn<'a>(
    engine: &Engine,
    home: Home<'_>,
    name: &'a str,
    id: &str,
    handed: &[BorrowedFd<'_>],
) -> Result<Complaint<'a>> {
    let own = own_path()?;
    let [data, run] = [engine.paths.data(), engine.paths.run()].map(Path::as_os_str);
    let arguments = Words::new([name.as_ref(), data, run, id.as_ref()].map(OsStr::as_bytes))?;
    let environment = environment(&own)?;
    let nothing = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .context("open `/dev/null`")?;

    let (isolated, existing, sealed) = match home {
        Home::New => (engine.mapping.needs_user_namespace(), None, None),
        Home::Beside(neighbour) => (
            false,
            neighbour.user_namespace.as_ref(),
            neighbour.program.as_ref(),
        ),
    };
    let (mut mapped, tell) = std::io::pipe().context("pipe")?;
    let (complaint, mut complain) = std::io::pipe().context("pipe")?;
    let namespaces = if isolated {
        flags::NEW_USER | flags::NEW_MOUNT
    } else {
        0
    };
    let mut tell = Some(tell);
    let child = process::clone3(namespaces, || {
        // The child's copy of the other end would keep it waiting, with all it has inherited, for a caller that is
        // gone.
        drop(tell.take());
        let result = (|| -> Result<std::convert::Infallible> {
            if isolated {
                mapped
                    .read_exact(&mut [0])
                    .context("wait for the id maps")?;
                id_mapping::become_root()?;
            }
            if let Some(existing) = existing {
                namespace::join(existing.as_fd(), flags::NEW_USER)
                    .context("join the user namespace")?;
                id_mapping::become_root()?;
                if sealed.is_none() {
                    // Only where it may mount can it seal the program itself.
                    namespace::unshare(flags::NEW_MOUNT).context("unshare mounts")?;
                }
            }
            let program = match sealed {
                Some(program) => program.try_clone().context("duplicate a descriptor")?,
                None => own_program::seal(&own)?,
            };
            descriptor::close_on_exec_from(0)
                .context("close_range as of Linux 5.12 or later, which onggi needs")?;
            let streams = [nothing.as_fd(); HANDED as usize];
            descriptor::place(&[&streams, handed, &[program.as_fd()]].concat())
                .context("hand over descriptors")?;
            let program = descriptor::inherited(HANDED + handed.len() as i32)
                .context("hand over descriptors")?;
            let failed = process::execute_descriptor(program.as_fd(), &arguments, &environment);
            Err(failed).with_context(|| format!("execute `{name}`"))
        })();
        let Err(error) = result;
        // The descriptors may have been replaced already; then the channel's end says that something is wrong.
        let _ = write!(complain, "{error:#}");
        125
    });
    let child = if isolated {
        child.map_err(id_mapping::refused)?
    } else {
        child.with_context(|| format!("start `{name}`"))?
    };
    drop((complain, mapped));
    if let Some(mut tell) = tell.filter(|_| isolated) {
        engine.mapping.write_maps(child.pid)?;
        tell.write_all(b"1")
            .with_context(|| format!("release `{name}`"))?;
    }
    Ok(Complaint {
        name,
        pipe: complaint,
    })
}

/// The caller's, with the place of this program.
fn environment(own: &Path) -> Result<Words> {
    let kept = std::env::vars_os().filter(|(key, _)| key != OWN_PATH);
    let entries: Vec<Vec<u8>> = kept
        .chain([(OWN_PATH.into(), own.as_os_str().to_owned())])
        .map(|(key, value)| [key.as_bytes(), b"=", value.as_bytes()].concat())
        .collect();
    Words::new(&entries)
}
