//! What a running container uses, as the kernel has counted it for the container's cgroup; what no controller counts
//! there is counted from its processes (proc(5)) as far as that is true: nobody then counts what processes that have
//! ended outside their parents' view have used, and memory is that of processes, without the page cache.

use super::cgroup;
use super::list::Container;
use super::options::NetworkMode;
use crate::cgroup::stats::Statistics;
use crate::runtime::processes;
use anyhow::{Context, Result};
use procfs::process::Process;
use std::time::{Duration, Instant};

/// What was counted; `None` for what cannot be told.
#[derive(Clone, Debug)]
pub struct Usage {
    /// When.
    pub at: Instant,
    /// Processor time so far.
    pub processor: Duration,
    /// Bytes of memory; those of processes where nobody has counted more, what is shared by several divided among them.
    pub memory: Option<u64>,
    /// Bytes of memory that it may have.
    pub memory_limit: Option<u64>,
    /// Bytes received and sent.
    pub network: Option<(u64, u64)>,
    /// Bytes read from and written to disks.
    pub block: Option<(u64, u64)>,
    /// Threads.
    pub tasks: u64,
}

impl Usage {
    /// Percent of one processor since an earlier count.
    pub fn processor_since(&self, earlier: &Self) -> f64 {
        let used = self.processor.saturating_sub(earlier.processor);
        let passed = self.at.duration_since(earlier.at);
        match passed.is_zero() {
            true => 0.0,
            false => used.as_secs_f64() / passed.as_secs_f64() * 100.0,
        }
    }
}

/// Counts; `None` when the container has no processes.
pub fn of(container: &Container) -> Result<Option<Usage>> {
    let state = container.state.as_ref();
    let program = state.and_then(|state| state.program.as_ref());
    let Some((state, program)) = state.zip(program).filter(|found| found.1.is_alive()) else {
        return Ok(None);
    };
    let at = Instant::now();
    let group = match cgroup::of_running(state) {
        // It has ended meanwhile, and its group with it.
        Err(_) if !program.is_alive() => return Ok(None),
        group => group?,
    };
    let counted = match group {
        Some(cgroup) => Statistics::read(|file| cgroup.read(file))
            .with_context(|| format!("read `{}`", cgroup.directory().display()))?,
        None => Statistics::default(),
    };
    let found = match counted.is_complete() {
        true => Vec::new(),
        false => match processes::of(program)? {
            found if found.is_empty() => return Ok(None),
            found => found,
        },
    };
    let handles = || {
        let pids = found.iter().map(|process| process.stat.pid);
        pids.filter_map(|pid| Process::new(pid).ok())
    };
    let network = match container.record.options.network {
        NetworkMode::Host => None,
        _ => Process::new(program.pid)
            .ok()
            .and_then(|program| network(&program)),
    };
    let (memory, memory_limit) = match counted.memory {
        Some(memory) => (Some(memory.used), Some(memory.limit)),
        None => (handles().filter_map(ended_or(memory)).sum(), None),
    };
    Ok(Some(Usage {
        at,
        processor: counted.processor.unwrap_or_else(|| processor(&found)),
        memory,
        memory_limit,
        network,
        block: counted.block.or_else(|| {
            let mut processes = handles().filter_map(ended_or(block));
            processes.try_fold((0, 0), |sum, found| {
                let (read, written) = found?;
                Some((sum.0 + read, sum.1 + written))
            })
        }),
        tasks: counted.tasks.unwrap_or_else(|| {
            let threads = found.iter().map(|process| process.stat.num_threads);
            threads.map(i64::unsigned_abs).sum()
        }),
    }))
}

/// Time of these processes and of the children that they have waited for.
fn processor(processes: &[processes::Process]) -> Duration {
    let used: u64 = processes
        .iter()
        .map(|process| {
            let children = process.stat.cutime + process.stat.cstime;
            process.stat.utime + process.stat.stime + u64::try_from(children).unwrap_or_default()
        })
        .sum();
    Duration::from_secs_f64(used as f64 / procfs::ticks_per_second() as f64)
}

/// Asks a process; one that has ended meanwhile is passed over, one that may not be asked is not.
fn ended_or<T>(ask: impl Fn(&Process) -> Option<T>) -> impl Fn(Process) -> Option<Option<T>> {
    move |process| match ask(&process) {
        None if !process.is_alive() => None,
        answer => Some(answer),
    }
}

/// The proportional set size (proc_pid_smaps(5)).
fn memory(process: &Process) -> Option<u64> {
    let rollup = process.smaps_rollup().ok()?;
    let maps = rollup.memory_map_rollup.0;
    maps.first()?.extension.map.get("Pss").copied()
}

/// proc_pid_io(5).
fn block(process: &Process) -> Option<(u64, u64)> {
    let io = process.io().ok()?;
    Some((io.read_bytes, io.write_bytes))
}

/// All interfaces but loopback (proc_pid_net(5)).
fn network(process: &Process) -> Option<(u64, u64)> {
    let devices = process.dev_status().ok()?;
    let others = devices.values().filter(|device| device.name != "lo");
    Some(others.fold((0, 0), |sum, device| {
        (sum.0 + device.recv_bytes, sum.1 + device.sent_bytes)
    }))
}

/// Bytes of memory of this machine.
pub fn machine_memory() -> Result<u64> {
    use procfs::Current;
    Ok(procfs::Meminfo::current()
        .context("read `/proc/meminfo`")?
        .mem_total)
}
