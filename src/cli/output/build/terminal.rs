//! The whole build on a terminal, drawn again and again: a line for each step with its time at the right, below those that
//! run the last lines of what they write. What is done keeps its one line.
//!
//! Invariant: only lines that were drawn here are drawn over, also after the terminal has another size.

use super::{clean, plain};
use crate::build::report::Event;
use crate::cli::output::Output;
use rustix::termios::tcgetwinsize;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// Between two drawings.
pub const PERIOD: Duration = Duration::from_millis(100);
/// Lines of output below a step that runs.
const LINES: usize = 6;
/// More of a line is never shown.
const LONGEST: usize = 4096;

/// What is on the terminal.
pub struct Terminal {
    started: Instant,
    /// By the number that the builder gives.
    steps: BTreeMap<usize, Step>,
    /// In the order in which they were begun.
    shown: Vec<usize>,
    /// The columns of each line that can be drawn over.
    drawn: Vec<usize>,
    last: Option<Instant>,
    finished: bool,
}

struct Step {
    name: String,
    started: Option<Instant>,
    end: Option<End>,
    /// How far parts of it are, by their names.
    parts: Vec<(String, String)>,
    lines: VecDeque<String>,
    rest: Vec<u8>,
}

struct End {
    word: &'static str,
    time: Duration,
}

impl Terminal {
    /// Nothing is drawn yet.
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            steps: BTreeMap::new(),
            shown: Vec::new(),
            drawn: Vec::new(),
            last: None,
            finished: false,
        }
    }

    /// Takes an event in.
    pub fn tell(&mut self, output: &mut Output, vertex: usize, event: Event<'_>) {
        if let Event::Planned { name, .. } = event {
            let step = Step {
                name: clean::line(name.as_bytes()),
                started: None,
                end: None,
                parts: Vec::new(),
                lines: VecDeque::new(),
                rest: Vec::new(),
            };
            self.steps.insert(vertex, step);
            return;
        }
        let Some(step) = self.steps.get_mut(&vertex) else {
            return;
        };
        if step.started.is_none() {
            step.started = Some(Instant::now());
            self.shown.push(vertex);
        }
        let time = step.started.map_or(Duration::ZERO, |start| start.elapsed());
        let end = |word, time| Some(End { word, time });
        match event {
            Event::Cached => step.end = end("CACHED ", Duration::ZERO),
            Event::Done(time) => step.end = step.end.take().or(end("", time)),
            Event::Failed(_) => step.end = end("ERROR ", time),
            Event::Canceled => step.end = end("CANCELED ", time),
            Event::Warning(text) => {
                step.part("WARN", format!("WARN: {}", clean::line(text.as_bytes())))
            }
            Event::Progress {
                item,
                current,
                total,
                done,
            } => step.part(item, plain::progress(item, current, total, done)),
            Event::Output { bytes, .. } => step.written(bytes),
            // What was cached may turn out to have to be done.
            Event::Started => (step.started, step.end) = (Some(Instant::now()), None),
            Event::Planned { .. } | Event::Check(_) => {}
        }
        self.draw(output, false);
    }

    /// Draws the last state; what comes after it stands below.
    pub fn finish(&mut self, output: &mut Output, built: bool) {
        self.finished = built;
        self.draw(output, true);
        self.drawn.clear();
    }

    /// Draws it, unless that was done a moment ago.
    pub fn draw(&mut self, output: &mut Output, always: bool) {
        let now = Instant::now();
        if !always && self.last.is_some_and(|last| now - last < PERIOD) {
            return;
        }
        self.last = Some(now);
        let window = tcgetwinsize(rustix::stdio::stderr()).ok();
        let (rows, columns) = window.map_or((24, 80), |size| (size.ws_row, size.ws_col));
        // One that does not know its size says 0.
        let rows = if rows == 0 { 24 } else { usize::from(rows) };
        let columns = if columns == 0 {
            80
        } else {
            usize::from(columns)
        };
        let lines = self.lines(rows.max(4) - 1, columns.max(20) - 1, always);
        let above: usize = self
            .drawn
            .iter()
            .map(|width| width.div_ceil(columns).max(1))
            .sum();
        let mut text = String::new();
        if above > 0 {
            let _ = write!(text, "\x1b[{above}A\r\x1b[J");
        }
        self.drawn.clear();
        for line in lines {
            self.drawn.push(line.chars().map(clean::width).sum());
            text.push_str(&line);
            text.push('\n');
        }
        output.usage(&text);
    }

    /// As many lines as fit, what is done first left out; all of them at the end.
    fn lines(&self, rows: usize, columns: usize, all: bool) -> Vec<String> {
        let done = self
            .steps
            .values()
            .filter(|step| step.end.is_some())
            .count();
        let seconds = self.started.elapsed().as_secs_f64();
        let finished = if self.finished { " FINISHED" } else { "" };
        let total = self.steps.len();
        let head = format!("[+] Building {seconds:.1}s ({done}/{total}){finished}");
        let mut blocks: Vec<(bool, Vec<String>)> = Vec::new();
        for step in self
            .shown
            .iter()
            .filter_map(|vertex| self.steps.get(vertex))
        {
            blocks.push((step.end.is_some(), step.block(columns)));
        }
        let mut excess = match all {
            true => 0,
            false => {
                let count: usize = blocks.iter().map(|(_, lines)| lines.len()).sum();
                (count + 1).saturating_sub(rows)
            }
        };
        // First whatever is done, then what is written, then even what runs.
        for (is_done, lines) in &mut blocks {
            if *is_done && excess > 0 {
                excess = excess.saturating_sub(lines.len());
                lines.clear();
            }
        }
        for (_, lines) in &mut blocks {
            while excess > 0 && lines.len() > 1 {
                lines.pop();
                excess -= 1;
            }
        }
        let lines = blocks.into_iter().flat_map(|(_, lines)| lines);
        let lines = lines.skip(excess);
        std::iter::once(clean::cut(&head, columns))
            .chain(lines)
            .collect()
    }
}

impl Step {
    fn part(&mut self, item: &str, text: String) {
        match self.parts.iter_mut().find(|(known, _)| known == item) {
            Some((_, old)) => *old = text,
            None => self.parts.push((item.to_owned(), text)),
        }
    }

    fn written(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let room = LONGEST.saturating_sub(self.rest.len());
            self.rest.extend(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                let line = clean::line(&std::mem::take(&mut self.rest));
                if self.lines.len() == LINES {
                    self.lines.pop_front();
                }
                self.lines.push_back(line);
            }
        }
    }

    fn block(&self, columns: usize) -> Vec<String> {
        let running = self.started.map_or(Duration::ZERO, |start| start.elapsed());
        let (word, time) = match &self.end {
            Some(end) => (end.word, end.time),
            None => ("", running),
        };
        let mut lines = vec![right(&format!(" => {word}{}", self.name), time, columns)];
        for (_, text) in &self.parts {
            lines.push(right(&format!(" => => {text}"), time, columns));
        }
        if self.end.is_none() {
            let rest = (!self.rest.is_empty()).then(|| clean::line(&self.rest));
            let written = self.lines.iter().cloned().chain(rest);
            let written: Vec<String> = written.collect();
            let first = written.len().saturating_sub(LINES);
            let shown = written[first..].iter();
            lines.extend(shown.map(|line| clean::cut(&format!(" => => # {line}"), columns)));
        }
        lines
    }
}

/// A text with a time at the right edge.
fn right(text: &str, time: Duration, columns: usize) -> String {
    let time = format!(" {:.1}s", time.as_secs_f64());
    let text = clean::cut(text, columns.saturating_sub(time.len()));
    let used: usize = text.chars().map(clean::width).sum();
    let space = columns.saturating_sub(used + time.len());
    format!("{text}{}{time}", " ".repeat(space))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::tests::Capture;

    fn planned(terminal: &mut Terminal, output: &mut Output, vertex: usize, name: &str) {
        terminal.tell(output, vertex, Event::Planned { name, inputs: &[] });
        terminal.tell(output, vertex, Event::Started);
    }

    #[test]
    fn what_is_done_has_one_line_and_makes_room_first() {
        let (mut output, _, _) = Capture::output();
        let mut terminal = Terminal::new();
        for vertex in 0..5 {
            let name = format!("[{vertex}/5] RUN step");
            planned(&mut terminal, &mut output, vertex, &name);
        }
        let bytes = b"a\x1b[2J\nb\nc\n".as_slice();
        let error = false;
        terminal.tell(&mut output, 0, Event::Done(Duration::from_millis(1500)));
        terminal.tell(&mut output, 4, Event::Output { error, bytes });
        let lines = terminal.lines(24, 40, false);
        assert_eq!(lines[1], " => [0/5] RUN step                  1.5s");
        assert_eq!(&lines[6..], [" => => # a", " => => # b", " => => # c"]);
        assert!(lines[0].ends_with("(1/5)"), "{}", lines[0]);
        let lines = terminal.lines(6, 40, false);
        assert_eq!(lines.len(), 6);
        assert!(
            lines[1].contains("[1/5]") && lines[4].contains("[4/5]"),
            "{lines:?}"
        );
        assert_eq!(terminal.lines(6, 40, true).len(), 9);
    }

    #[test]
    fn lines_that_were_drawn_are_drawn_over_in_a_terminal_of_another_size() {
        let (mut output, _, notes) = Capture::output();
        let mut terminal = Terminal::new();
        planned(&mut terminal, &mut output, 0, "[1/1] RUN a");
        terminal.draw(&mut output, true);
        notes.take();
        // As if they had been drawn on one that was twice as wide.
        terminal.drawn = vec![160, 160];
        terminal.draw(&mut output, true);
        let window = tcgetwinsize(rustix::stdio::stderr()).ok();
        let columns = window.map_or(80, |size| usize::from(size.ws_col)).max(1);
        let above = 2 * 160_usize.div_ceil(columns);
        let text = notes.take();
        assert!(
            text.starts_with(&format!("\x1b[{above}A\r\x1b[J[+]")),
            "{text:?}"
        );
    }
}
