//! Line by line, as BuildKit tells it with `--progress=plain`.

use super::clean;
use crate::build::report::Event;
use crate::cli::output::{Output, size};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What has been shown.
#[derive(Default)]
pub struct Plain {
    /// By the number that the builder gives.
    steps: BTreeMap<usize, Step>,
    /// How many have been shown.
    shown: usize,
    /// Which one the last line was about.
    last: usize,
}

struct Step {
    name: String,
    /// What it is called here, once it is shown.
    number: usize,
    started: Instant,
    /// A line of output that is not whole yet.
    rest: Vec<u8>,
    /// When it was last said how far it is.
    progressed: Option<Instant>,
}

/// How often a step says how far it is.
const PERIOD: Duration = Duration::from_secs(5);

/// No line of a program's is waited for any longer.
const LONGEST: usize = 64 << 10;

impl Plain {
    /// Shows an event.
    pub fn tell(&mut self, output: &mut Output, vertex: usize, event: Event<'_>) {
        match event {
            Event::Planned { name, .. } => {
                let step = Step {
                    name: clean::line(name.as_bytes()),
                    number: 0,
                    started: Instant::now(),
                    rest: Vec::new(),
                    progressed: None,
                };
                self.steps.insert(vertex, step);
            }
            Event::Started => {
                if let Some(step) = self.steps.get_mut(&vertex) {
                    step.started = Instant::now();
                }
                self.line(output, vertex, "");
            }
            Event::Cached => self.line(output, vertex, "CACHED"),
            Event::Progress {
                item,
                current,
                total,
                done,
            } => {
                let step = self.steps.get_mut(&vertex);
                let is_due = step.is_some_and(|step| {
                    let is_due = step.progressed.is_none_or(|last| last.elapsed() >= PERIOD);
                    if is_due {
                        step.progressed = Some(Instant::now());
                    }
                    is_due
                });
                if done || is_due {
                    self.line(output, vertex, &progress(item, current, total, done));
                }
            }
            Event::Output { bytes, .. } => self.written(output, vertex, bytes),
            Event::Warning(text) => {
                self.line(output, vertex, &format!("WARN: {}", one_line(text)));
            }
            Event::Check(_) => {}
            Event::Done(time) => {
                self.flush(output, vertex);
                self.line(output, vertex, &format!("DONE {:.1}s", time.as_secs_f64()));
            }
            Event::Failed(why) => {
                self.flush(output, vertex);
                self.line(output, vertex, &format!("ERROR: {}", one_line(why)));
            }
            Event::Canceled => {
                self.flush(output, vertex);
                self.line(output, vertex, "CANCELED");
            }
        }
    }

    /// A line about a step, after its name if the last one was about another.
    fn line(&mut self, output: &mut Output, vertex: usize, text: &str) {
        let Some(step) = self.steps.get_mut(&vertex) else {
            return;
        };
        let is_new = step.number == 0;
        if is_new {
            self.shown += 1;
            step.number = self.shown;
        }
        let mut lines = String::new();
        if self.last != step.number {
            if self.last != 0 {
                lines.push('\n');
            }
            let more = if is_new { "" } else { " ..." };
            lines += &format!("#{} {}{more}\n", step.number, step.name);
            self.last = step.number;
        }
        if !text.is_empty() {
            lines += &format!("#{} {text}\n", step.number);
        }
        output.usage(&lines);
    }

    fn written(&mut self, output: &mut Output, vertex: usize, bytes: &[u8]) {
        let Some(step) = self.steps.get_mut(&vertex) else {
            return;
        };
        step.rest.extend(bytes);
        let time = step.started.elapsed();
        while let Some(step) = self.steps.get_mut(&vertex) {
            let end = step.rest.iter().position(|&byte| byte == b'\n');
            let end = end.or((step.rest.len() > LONGEST).then_some(LONGEST - 1));
            let Some(end) = end else {
                break;
            };
            let line: Vec<u8> = step.rest.drain(..=end).collect();
            self.output_line(output, vertex, time, &line);
        }
    }

    fn flush(&mut self, output: &mut Output, vertex: usize) {
        let Some(step) = self.steps.get_mut(&vertex) else {
            return;
        };
        let (rest, time) = (std::mem::take(&mut step.rest), step.started.elapsed());
        if !rest.is_empty() {
            self.output_line(output, vertex, time, &rest);
        }
    }

    fn output_line(&mut self, output: &mut Output, vertex: usize, time: Duration, line: &[u8]) {
        let text = format!("{:.3} {}", time.as_secs_f64(), clean::line(line));
        self.line(output, vertex, text.trim_end());
    }
}

/// `transferring context: 2.1kB done`, or the words alone where nothing is counted.
pub fn progress(item: &str, current: u64, total: Option<u64>, done: bool) -> String {
    let (item, size) = (one_line(item), size::decimal(current));
    match (current, total) {
        (0, None) if done => format!("{item} done"),
        _ if done => format!("{item}: {size} done"),
        (current, Some(total)) if current < total => {
            format!("{item}: {size} / {}", size::decimal(total))
        }
        _ => format!("{item}: {size}"),
    }
}

fn one_line(text: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|line| clean::line(line.as_bytes()))
        .collect();
    lines.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::tests::Capture;

    #[test]
    fn steps_that_run_at_the_same_time_are_told_apart() {
        let (mut output, _, notes) = Capture::output();
        let mut plain = Plain::default();
        let bytes = |text: &'static str| Event::Output {
            error: false,
            bytes: text.as_bytes(),
        };
        for (vertex, name) in [(0, "[1/2] RUN a"), (1, "[2/2] RUN b")] {
            plain.tell(&mut output, vertex, Event::Planned { name, inputs: &[] });
            plain.tell(&mut output, vertex, Event::Started);
        }
        for (vertex, event) in [
            (0, bytes("half")),
            (1, bytes("whole\n")),
            (0, bytes(" a line\x1b[2J\n")),
            (1, Event::Cached),
            (0, Event::Done(Duration::from_millis(1250))),
        ] {
            plain.tell(&mut output, vertex, event);
        }
        let times = regex_lite::Regex::new(r"\d\.\d{3}").unwrap();
        assert_eq!(
            times.replace_all(&notes.take(), "T"),
            "#1 [1/2] RUN a\n\n#2 [2/2] RUN b\n#2 T whole\n\n#1 [1/2] RUN a ...\n#1 T half a line\n\n#2 [2/2] RUN b \
             ...\n#2 CACHED\n\n#1 [1/2] RUN a ...\n#1 DONE 1.2s\n"
        );
    }

    #[test]
    fn what_is_counted_has_its_sizes() {
        for (current, total, done, shown) in [
            (0, None, true, "x done"),
            (2, Some(2), true, "x: 2B done"),
            (0, Some(0), true, "x: 0B done"),
            (1000, Some(3000), false, "x: 1kB / 3kB"),
            (1000, None, false, "x: 1kB"),
        ] {
            assert_eq!(progress("x", current, total, done), shown);
        }
    }
}
