//! Limits are written to a cgroup, and what is to be said about those that cannot be.

use super::convert::io_weight_of_block_io;
use super::{Controller, Limited, Setting};
use crate::cgroup::{Cgroup, errno, remedy};
use crate::error::{Error, Kind};
use anyhow::Result;
use rustix::io::Errno;
use std::path::Path;

const NO_SWAP: &str = "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited \
     without swap.";

/// The error for limits of a controller that is not there for the group in this directory; `user` is the caller's uid
/// outside of any user namespace, or `None` for root.
pub fn missing(controller: Controller, directory: &Path, reason: &str, user: Option<u32>) -> Error {
    let message = format!(
        "the limits of the `{}` controller cannot be applied in `{}`: {reason}",
        controller.name(),
        directory.display()
    );
    let remedy = remedy::of_missing_limit(user);
    Error::new(Kind::Denied, message)
        .hint(format!(
            "{remedy}; or go without the limit: --limits=best-effort"
        ))
        .bundle_hint(format!("{remedy}; or leave it out of `linux.resources`"))
}

/// Writes the limits of controllers that are enabled. What cannot be written ends it, or with `best_effort` is left
/// out; the answer is what is to be said about that. `user` is as for [`missing`].
pub fn apply(
    cgroup: &Cgroup,
    settings: &[Setting],
    best_effort: bool,
    user: Option<u32>,
) -> Result<Vec<Error>> {
    let enabled = cgroup.words("cgroup.controllers")?;
    let mut said: Vec<Error> = Vec::new();
    let mut told = Vec::new();
    let mut postponed = Vec::new();
    let mut refuse = |error: Error| match best_effort {
        true => {
            said.push(error);
            Ok(())
        }
        false => Err(error),
    };
    let mut no_swap = None;
    for setting in settings {
        let name = setting.controller.name();
        if !enabled.iter().any(|word| word == name) {
            if !told.contains(&setting.controller) {
                told.push(setting.controller);
                refuse(missing(
                    setting.controller,
                    &cgroup.directory(),
                    "it is not delegated to that group",
                    user,
                ))?;
            }
            continue;
        }
        if let Some(error) = in_use(cgroup, setting)? {
            refuse(error)?;
            continue;
        }
        match write(cgroup, setting) {
            Ok(()) => {}
            // A burst must fit its quota: which of both has to go first depends on what was before.
            Err(error) if errno(&error) == Some(Errno::INVAL) => postponed.push(setting),
            Err(error) if errno(&error) == Some(Errno::NOENT) => match setting.file.as_str() {
                // As Docker: memory can be limited where swap is not accounted for.
                "memory.swap.max" if ["0", "max"].contains(&setting.value.as_str()) => {}
                "memory.swap.max" => no_swap = Some(Error::new(Kind::Unsupported, NO_SWAP)),
                // Since Linux 5.7.
                file if file.ends_with(".rsvd.max") => {}
                _ => refuse(refused(&error))?,
            },
            Err(error) => refuse(refused(&error))?,
        }
    }
    for setting in postponed {
        if let Err(error) = write(cgroup, setting) {
            refuse(refused(&error))?;
        }
    }
    said.extend(no_swap);
    Ok(said)
}

/// Why a limit of memory is refused that spares what is there (config-linux.md, "checkBeforeUpdate").
fn in_use(cgroup: &Cgroup, setting: &Setting) -> Result<Option<Error>> {
    let Some((limited, limit)) = setting.spares else {
        return Ok(None);
    };
    let limited = match limited {
        Limited::Memory => "memory",
        Limited::MemoryAndSwap => "memory+swap",
    };
    let used = cgroup.words("memory.current")?;
    let used = used.first().and_then(|word| word.parse::<u64>().ok());
    Ok(used.filter(|used| *used > limit).map(|used| {
        let message = format!("rejecting {limited} limit {limit}: {used} bytes are in use");
        Error::new(Kind::Conflict, message)
    }))
}

fn write(cgroup: &Cgroup, setting: &Setting) -> Result<()> {
    match cgroup.write(&setting.file, &setting.value) {
        // There is the one of the scheduler BFQ, and that of the kernel's cost model.
        Err(error) if setting.file == "io.bfq.weight" && errno(&error) == Some(Errno::NOENT) => {
            cgroup.write("io.weight", &in_cost_model(&setting.value))
        }
        written => written,
    }
}

/// `500` or `8:0 500`.
fn in_cost_model(value: &str) -> String {
    let (device, weight) = match value.rsplit_once(' ') {
        Some((device, weight)) => (format!("{device} "), weight),
        None => (String::new(), value),
    };
    let weight = weight.parse().unwrap_or_default();
    format!("{device}{}", io_weight_of_block_io(weight))
}

fn refused(error: &anyhow::Error) -> Error {
    let failure = Error::new(Kind::Denied, format!("set a limit: {error:#}"));
    match errno(error) {
        Some(Errno::NOENT) => failure.hint("this kernel has no such limit"),
        Some(Errno::INVAL | Errno::RANGE) => failure.hint("the kernel does not take this value"),
        Some(Errno::NODEV) => failure.hint("the kernel limits whole disks, not partitions"),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Mode, OFlags, open};

    #[test]
    fn weights_of_both_kinds() {
        assert_eq!(in_cost_model("500"), "4950");
        assert_eq!(in_cost_model("8:0 10"), "8:0 1");
    }

    /// A directory stands for the group.
    #[test]
    fn memory_in_use_is_spared() {
        let group = tempfile::tempdir().unwrap();
        let files = [
            ("cgroup.controllers", "memory\n"),
            ("memory.current", "100\n"),
            ("memory.max", "max\n"),
        ];
        for (file, text) in files {
            std::fs::write(group.path().join(file), text).unwrap();
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let cgroup = Cgroup {
            directory: open(group.path(), flags, Mode::empty()).unwrap(),
            path: "/x".into(),
        };
        let limit = |value: &str, spares: bool| {
            let setting = Setting::new(Controller::Memory, "memory.max", value);
            let spares = spares.then(|| Some((Limited::Memory, value.parse().ok()?)));
            let spares = spares.flatten();
            let applied = apply(&cgroup, &[Setting { spares, ..setting }], false, None);
            let now = std::fs::read_to_string(group.path().join("memory.max")).unwrap();
            (applied.map_err(|error| error.to_string()).err(), now)
        };
        let said = "rejecting memory limit 99: 100 bytes are in use".to_owned();
        assert_eq!(limit("99", true), (Some(said), "max\n".to_owned()));
        for (value, spares) in [("99", false), ("100", true), ("max", true)] {
            let (error, now) = limit(value, spares);
            assert!(
                error.is_none() && now.starts_with(value),
                "{value}: {error:?} {now}"
            );
        }
    }
}
