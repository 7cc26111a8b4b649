//! What is started when the machine has been: the containers that would run again under Docker, whose daemon does
//! this when it starts. What their monitors could not do, since the end of the machine has ended those too.
//!
//! | restart policy | is started |
//! |---|---|
//! | `no` | never |
//! | `on-failure[:n]` | when its last exit code is not 0 (255 for an end by a power cut), and it was not restarted n times |
//! | `always` | also when a user has stopped it, unless that was since the machine was started |
//! | `unless-stopped` | unless a user has stopped it |
//!
//! What has never run is not started, and what runs is left alone.

use super::engine::Engine;
use super::list::{self, Container};
use super::options::RestartPolicy;
use super::{remove, start};
use anyhow::Result;

/// Starts them, the oldest first. Each is told by its id; one that cannot be started keeps none from its turn.
pub fn boot(engine: &Engine, tell: &mut dyn FnMut(&str, Result<()>) -> Result<()>) -> Result<()> {
    // What was to go when it ends has ended, and every end that nobody has seen is written down.
    remove::sweep(engine)?;
    for container in list::list(engine)?.iter().rev() {
        if is_wanted(container) {
            let id = &container.record.id;
            tell(id, start::start(engine, id, None, &mut |_| {}).map(drop))?;
        }
    }
    Ok(())
}

fn is_wanted(container: &Container) -> bool {
    let Some(state) = &container.state else {
        return false;
    };
    if state.started.is_empty() || state.status().is_active() {
        return false;
    }
    match container.record.options.restart {
        RestartPolicy::No => false,
        // What a user has stopped since the machine was started stays so.
        _ if state.stopped && state.monitor.is_of_this_boot() => false,
        RestartPolicy::Always => true,
        RestartPolicy::UnlessStopped => !state.stopped,
        RestartPolicy::OnFailure { maximum } => {
            state.code() != 0 && (maximum == 0 || state.restart_count < maximum)
        }
    }
}
