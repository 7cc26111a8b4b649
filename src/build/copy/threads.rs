//! The same work by several threads.

use anyhow::{Context, Result};

/// Runs `work` in as many threads as there are processors, but no more than `most`, of which the caller's is one. The
/// first error ends nobody else's.
pub fn together<T: Send>(
    name: &str,
    most: usize,
    work: impl Fn() -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get());
    std::thread::scope(|scope| {
        let mut others = Vec::new();
        for _ in 1..processors.min(most) {
            let thread = std::thread::Builder::new().name(name.to_owned());
            others.push(
                thread
                    .spawn_scoped(scope, &work)
                    .context("start a thread")?,
            );
        }
        let own = work();
        let results = others.into_iter().map(|other| {
            let panicked = |panic| std::panic::resume_unwind(panic);
            other.join().unwrap_or_else(panicked)
        });
        let results: Vec<Result<T>> = std::iter::once(own).chain(results).collect();
        results.into_iter().collect()
    })
}
