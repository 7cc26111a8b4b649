//! What a process inherits of its caller and may not raise by itself: hard resource limits (setrlimit(2)), and how long
//! the kernel spares it when memory is short (proc_pid_oom_score_adj(5)). With best effort, what cannot be had is taken
//! back to what is inherited, which is found by trying: who may raise it depends on more than capabilities.

use crate::runtime::plan::{limit_name, limit_number};
use crate::sys::process::{limit, set_limit};
use anyhow::{Context, Result};
use oci_spec::runtime::{PosixRlimit, PosixRlimitBuilder, Process};
use rustix::io::Errno;

const OOM_SCORE_ADJ: &str = "/proc/self/oom_score_adj";

/// Takes back what the calling process cannot give to its children; what is to be said about that.
pub fn soften(process: &mut Process) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    let mut softened = Vec::new();
    for wanted in process.rlimits().iter().flatten() {
        softened.push(match softened_limit(wanted)? {
            Some(softer) => {
                warnings.push(format!(
                    "the hard limit `{}` stays {}, which is the caller's own",
                    limit_name(limit_number(wanted.typ())),
                    softer.hard()
                ));
                softer
            }
            None => *wanted,
        });
    }
    process.set_rlimits(Some(softened));
    if let Some(wanted) = process.oom_score_adj()
        && let Some(own) = refused_adjustment(wanted)?
    {
        warnings.push(format!(
            "the OOM score adjustment stays {own}, which is the caller's own"
        ));
        process.set_oom_score_adj(None);
    }
    Ok(warnings)
}

/// The limit that can be had instead; `None` where that is the one that is wanted.
fn softened_limit(wanted: &PosixRlimit) -> Result<Option<PosixRlimit>> {
    let resource = limit_number(wanted.typ());
    let (soft, hard) = limit(resource).context("getrlimit")?;
    if wanted.hard() <= hard {
        return Ok(None);
    }
    match set_limit(resource, soft, wanted.hard()) {
        Ok(()) => {
            set_limit(resource, soft, hard).context("setrlimit")?;
            Ok(None)
        }
        Err(Errno::PERM) => {
            let softer = PosixRlimitBuilder::default().typ(wanted.typ());
            Ok(Some(
                softer.soft(wanted.soft().min(hard)).hard(hard).build()?,
            ))
        }
        Err(error) => Err(error).context("setrlimit"),
    }
}

/// The own adjustment where the wanted one is refused.
fn refused_adjustment(wanted: i32) -> Result<Option<String>> {
    let own = std::fs::read_to_string(OOM_SCORE_ADJ)
        .with_context(|| format!("read `{OOM_SCORE_ADJ}`"))?;
    if std::fs::write(OOM_SCORE_ADJ, wanted.to_string()).is_err() {
        return Ok(Some(own.trim().to_owned()));
    }
    std::fs::write(OOM_SCORE_ADJ, own.trim())
        .with_context(|| format!("write `{OOM_SCORE_ADJ}`"))?;
    Ok(None)
}
