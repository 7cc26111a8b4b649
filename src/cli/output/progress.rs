//! How far layers are: on a terminal one line for each, drawn again and again, and one for all together with rate and
//! time left; elsewhere a line whenever one has come to another step, as Docker writes them.

use super::{size, visible};
use crate::progress::{Progress, Step};
use rustix::termios::tcgetwinsize;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two drawings.
const PERIOD: Duration = Duration::from_millis(100);
/// Over which the rate is taken.
const RATE_PERIOD: Duration = Duration::from_secs(1);

/// Shows progress on standard output.
pub struct Bars {
    terminal: bool,
    state: Mutex<State>,
}

struct State {
    items: Vec<Item>,
    /// Lines that were drawn and can be drawn over.
    drawn: usize,
    last: Option<Instant>,
    rate: Rate,
}

struct Item {
    name: String,
    step: Step,
    received: u64,
    total: u64,
    /// What was there before the first byte came.
    before: Option<u64>,
}

impl Default for Bars {
    fn default() -> Self {
        Self::new()
    }
}

impl Bars {
    /// Nothing is shown yet.
    pub fn new() -> Self {
        Self {
            terminal: io::stdout().is_terminal(),
            state: Mutex::new(State {
                items: Vec::new(),
                drawn: 0,
                last: None,
                rate: Rate::new(Instant::now()),
            }),
        }
    }

    /// Draws the last state.
    pub fn finish(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if self.terminal {
            state.draw(true);
        }
    }
}

impl Progress for Bars {
    fn tell(&self, name: &str, step: Step) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = state.take(name, &step);
        if self.terminal {
            state.draw(false);
        } else if let Some(line) = plain(name, &step).filter(|_| changed) {
            // Nobody is left to tell where standard output is gone; the work goes on.
            let _ = writeln!(io::stdout(), "{line}");
        }
    }
}

/// Whether nothing comes after it.
fn is_end(step: &Step) -> bool {
    matches!(
        step,
        Step::Done
            | Step::AlreadyHere
            | Step::Uploaded
            | Step::Written
            | Step::AlreadyThere
            | Step::Mounted(_)
    )
}

/// The line of a step; counting bytes has none.
fn plain(name: &str, step: &Step) -> Option<String> {
    let what = match step {
        Step::Planned(_) => "Pulling fs layer",
        Step::AlreadyHere => "Already exists",
        Step::Waiting => "Waiting for another process that downloads it",
        Step::Broken(why) => return Some(format!("{name}: Retrying: {}", visible(why))),
        Step::Downloaded => "Download complete",
        Step::Done => "Pull complete",
        Step::Preparing => "Preparing",
        Step::Uploaded => "Pushed",
        Step::Written => "Written",
        Step::AlreadyThere => "Layer already exists",
        Step::Mounted(from) => return Some(format!("{name}: Mounted from {}", visible(from))),
        Step::Downloading(..) | Step::Unpacking(..) | Step::Uploading(..) | Step::Writing(..) => {
            return None;
        }
    };
    Some(format!("{name}: {what}"))
}

impl State {
    /// Whether that is another step than before.
    fn take(&mut self, name: &str, step: &Step) -> bool {
        let known = self.items.iter().position(|item| item.name == name);
        let place = known.unwrap_or_else(|| {
            self.items.push(Item {
                name: name.to_owned(),
                step: step.clone(),
                received: 0,
                total: 0,
                before: None,
            });
            self.items.len() - 1
        });
        let item = &mut self.items[place];
        match step {
            Step::Planned(total) => item.total = *total,
            Step::Downloading(received, total) => {
                item.before.get_or_insert(*received);
                (item.received, item.total) = (*received, *total);
            }
            // What is unpacked while it still comes is shown as coming.
            Step::Unpacking(..) if item.received < item.total => return false,
            Step::Unpacking(_, total) => (item.received, item.total) = (*total, *total),
            Step::Uploading(sent, total) => {
                item.before.get_or_insert(*sent);
                // What was sent in vain is sent again.
                item.before = item.before.min(Some(*sent));
                (item.received, item.total) = (*sent, total.unwrap_or_default().max(*sent));
            }
            Step::Writing(written, total) => {
                item.before.get_or_insert(*written);
                (item.received, item.total) = (*written, *total);
            }
            _ => {}
        }
        let same = std::mem::discriminant(&item.step) == std::mem::discriminant(step);
        let done = is_end(&item.step);
        if !done {
            item.step = step.clone();
        }
        known.is_none() || (!same && !done)
    }

    fn draw(&mut self, last: bool) {
        let now = Instant::now();
        if !last && self.last.is_some_and(|last| now - last < PERIOD) {
            return;
        }
        self.last = Some(now);
        let fetched = |item: &Item| item.received - item.before.unwrap_or(item.received);
        self.rate.add(now, self.items.iter().map(fetched).sum());
        let window = tcgetwinsize(rustix::stdio::stdout()).ok();
        let (rows, columns) = window.map_or((24, 80), |size| (size.ws_row, size.ws_col));
        let (rows, columns) = (usize::from(rows).max(4), usize::from(columns).max(20));
        let mut lines: Vec<String> = self.items.iter().map(Item::line).collect();
        if lines.len() > rows - 2 {
            // What still moves is worth more than what is done.
            let moving =
                |item: &&Item| !is_end(&item.step) && !matches!(item.step, Step::Planned(_));
            lines = self
                .items
                .iter()
                .filter(moving)
                .map(Item::line)
                .take(rows - 2)
                .collect();
        }
        lines.extend(self.total());
        let mut text = match self.drawn {
            0 => String::new(),
            drawn => format!("\x1b[{drawn}A\x1b[J"),
        };
        for line in &lines {
            text.extend(line.chars().take(columns - 1));
            text.push('\n');
        }
        self.drawn = lines.len();
        let mut out = io::stdout();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// All layers together, while something comes.
    fn total(&self) -> Option<String> {
        let coming = |item: &&Item| {
            matches!(
                item.step,
                Step::Downloading(..) | Step::Uploading(..) | Step::Writing(..) | Step::Broken(_)
            )
        };
        if !self.items.iter().any(|item| coming(&item)) {
            return None;
        }
        // What an image says of its lengths may be anything.
        let sum = |of: fn(&Item) -> u64| self.items.iter().map(of).fold(0, u64::saturating_add);
        let (received, total) = (sum(|item| item.received), sum(|item| item.total));
        let rate = self.rate.per_second();
        let left = match rate {
            0 => String::new(),
            rate => format!(
                "  {} left",
                clock(total.saturating_sub(received).div_ceil(rate))
            ),
        };
        let (received, total, rate) = (
            size::decimal(received),
            size::decimal(total),
            size::decimal(rate),
        );
        Some(format!("Total: {received}/{total}  {rate}/s{left}"))
    }
}

impl Item {
    fn line(&self) -> String {
        let name = &self.name;
        let bar = |what: &str, done: u64, total: u64| {
            let part = (done / (total / 30).max(1)).min(30) as usize;
            let (full, empty) = ("=".repeat(part), " ".repeat(30 - part));
            format!(
                "{name}: {what} [{full}>{empty}] {}/{}",
                size::decimal(done),
                size::decimal(total)
            )
        };
        match &self.step {
            Step::Downloading(done, total) => bar("Downloading", *done, *total),
            Step::Unpacking(done, total) => bar("Extracting ", *done, *total),
            Step::Writing(done, total) => bar("Writing", *done, *total),
            Step::Uploading(done, Some(total)) => bar("Pushing", *done, *total),
            Step::Uploading(done, None) => format!("{name}: Pushing {}", size::decimal(*done)),
            step => plain(name, step).unwrap_or_default(),
        }
    }
}

/// `59s`, `2m05s`, `1h02m`.
fn clock(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds:02}s"),
        (hours, minutes, _) => format!("{hours}h{minutes:02}m"),
    }
}

/// Bytes in a second, as of late.
struct Rate {
    since: Instant,
    at: u64,
    value: u64,
}

impl Rate {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            at: 0,
            value: 0,
        }
    }

    fn add(&mut self, now: Instant, bytes: u64) {
        let passed = now - self.since;
        if passed >= RATE_PERIOD || self.value == 0 {
            let millis = passed.as_millis().max(1);
            let fresh = u128::from(bytes.saturating_sub(self.at)) * 1000 / millis;
            let fresh = u64::try_from(fresh).unwrap_or(u64::MAX);
            // Half old, half new: steady enough to be read.
            self.value = if self.value == 0 {
                fresh
            } else {
                self.value / 2 + fresh / 2
            };
            if passed >= RATE_PERIOD {
                (self.since, self.at) = (now, bytes);
            }
        }
    }

    fn per_second(&self) -> u64 {
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_is_told_once() {
        let mut state = State {
            items: Vec::new(),
            drawn: 0,
            last: None,
            rate: Rate::new(Instant::now()),
        };
        for (step, told) in [
            (Step::Planned(10), true),
            (Step::Downloading(1, 10), true),
            (Step::Downloading(2, 10), false),
            (Step::Unpacking(1, 10), false),
            (Step::Downloading(10, 10), false),
            (Step::Downloaded, true),
            (Step::Unpacking(5, 10), true),
            (Step::Done, true),
            (Step::Done, false),
        ] {
            assert_eq!(state.take("a", &step), told, "{step:?}");
        }
        assert_eq!(plain("a", &Step::Done).unwrap(), "a: Pull complete");
        assert_eq!(
            plain("a", &Step::Broken("x\x1b".to_owned())).unwrap(),
            "a: Retrying: x\\x1b"
        );
    }

    #[test]
    fn rate_and_time_left_are_of_what_comes() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        rate.add(start + Duration::from_secs(2), 2000);
        assert_eq!(rate.per_second(), 1000);
        rate.add(start + Duration::from_secs(3), 5000);
        assert_eq!(rate.per_second(), 2000);
        for (seconds, text) in [(5, "5s"), (125, "2m05s"), (3720, "1h02m")] {
            assert_eq!(clock(seconds), text);
        }
    }
}
