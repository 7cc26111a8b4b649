//! What a monitor does when the out-of-memory killer has ended one of the container's processes: as Docker, it tells
//! everybody once per attack, whether the container goes on or not, and keeps it in the state until the next start.

use super::Monitor;
use crate::cgroup::events::OutOfMemory;
use crate::store::atomic::Durability;

impl Monitor {
    /// From here on they count. Without a memory controller nobody limits its memory, and nobody counts.
    pub(super) fn watch_for_victims(&mut self) {
        let watch = self.cgroup.as_ref().map(OutOfMemory::watch);
        // Whoever cannot be told of them is no reason not to run.
        self.out_of_memory = watch.and_then(|watch| watch.ok().flatten());
    }

    /// Looks for new ones.
    pub(super) fn note_victims(&mut self) {
        let victims = self.out_of_memory.as_mut().map(OutOfMemory::victims);
        match victims {
            None | Some(Ok(0)) => {}
            Some(Ok(_)) => {
                self.announce("oom", &[]);
                if std::mem::replace(&mut self.state.oom_killed, true) {
                    return;
                }
                // On a full disk the end writes it down, in the place of the old file.
                let _ = self
                    .directory
                    .write_state(&self.state, Durability::Volatile);
            }
            // Somebody has removed the group, whose file would be ready for ever.
            Some(Err(_)) => self.out_of_memory = None,
        }
    }
}
