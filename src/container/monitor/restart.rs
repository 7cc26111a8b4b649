//! When a program that has ended is started again (docker run, `--restart`): at once the first time, later after
//! twice the time each, and from the beginning once it has run for a while.

use crate::container::options::RestartPolicy;
use std::time::Duration;

const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(60);
/// Whoever runs longer than this is not failing at its start.
const STEADY: Duration = Duration::from_secs(10);

/// The restarts since a user started the container.
#[derive(Debug, Default)]
pub struct Restarts {
    /// How many there were.
    pub count: u32,
    last_delay: Option<Duration>,
}

impl Restarts {
    /// How long to wait before it is started again; `None`: it is not.
    pub fn next(
        &mut self,
        policy: RestartPolicy,
        code: u8,
        stopped: bool,
        lasted: Duration,
    ) -> Option<Duration> {
        if lasted >= STEADY {
            self.last_delay = None;
        }
        let again = !stopped
            && match policy {
                RestartPolicy::No => false,
                RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
                RestartPolicy::OnFailure { maximum: 0 } => code != 0,
                RestartPolicy::OnFailure { maximum } => code != 0 && self.count < maximum,
            };
        if !again {
            return None;
        }
        let doubled = self.last_delay.map_or(FIRST_DELAY, |delay| delay * 2);
        let delay = doubled.min(LONGEST_DELAY);
        self.count += 1;
        self.last_delay = Some(delay);
        Some(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_secs(1);

    fn delays(policy: RestartPolicy, code: u8, stopped: bool) -> Vec<Option<u128>> {
        let mut restarts = Restarts::default();
        let mut next = || restarts.next(policy, code, stopped, SHORT);
        (0..3)
            .map(|_| next().map(|delay| delay.as_millis()))
            .collect()
    }

    #[test]
    fn policies() {
        let growing = vec![Some(100), Some(200), Some(400)];
        for (policy, code, stopped, expected) in [
            (RestartPolicy::No, 1, false, vec![None; 3]),
            (RestartPolicy::Always, 0, false, growing.clone()),
            (RestartPolicy::Always, 0, true, vec![None; 3]),
            (RestartPolicy::UnlessStopped, 137, false, growing.clone()),
            (RestartPolicy::OnFailure { maximum: 0 }, 1, false, growing),
            (
                RestartPolicy::OnFailure { maximum: 0 },
                0,
                false,
                vec![None; 3],
            ),
            (
                RestartPolicy::OnFailure { maximum: 2 },
                1,
                false,
                vec![Some(100), Some(200), None],
            ),
        ] {
            assert_eq!(delays(policy, code, stopped), expected, "{policy:?}");
        }
    }

    #[test]
    fn delays_end_at_a_minute_and_begin_again_after_a_steady_run() {
        let mut restarts = Restarts::default();
        let mut next = |lasted| restarts.next(RestartPolicy::Always, 1, false, lasted);
        let last = (0..12).map(|_| next(SHORT)).last().flatten();
        assert_eq!(last, Some(LONGEST_DELAY));
        assert_eq!(next(STEADY), Some(FIRST_DELAY));
    }
}
