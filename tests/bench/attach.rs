//! How long a keystroke takes from the keyboard through the terminal of an attached container and back to the screen,
//! beside podman and a shell without any container.
//!
//! `cargo bench --bench attach`. The program inside is `cat` on a terminal that does not echo: each key comes back
//! from the program itself, one at a time.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench prints its figures"
)]

#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};
use support::terminal::Terminal;
use support::{ALPINE, everyone_with_alpine};

const KEYS: usize = 500;
const CAT: &str = "stty raw -echo; echo rea''dy; exec cat";

fn main() {
    println!(
        "  {:34}{:>12}{:>12}{:>12}",
        "", "median µs", "95 % µs", "to no jail"
    );
    for store in everyone_with_alpine() {
        let plain = round_trips(Terminal::lead_command(&store, "sh", &["-c", CAT]));
        let base = plain[KEYS / 2];
        print(&format!("no container ({:?})", store.user), &plain, base);
        store.ok([
            "run",
            "-dit",
            "--name",
            "one",
            ALPINE,
            "sh",
            "-c",
            "read line; eval \"$line\"",
        ]);
        let mut terminal = Terminal::start(&store, ["attach", "one"], 24, 80);
        terminal.types(&format!("{CAT}\r"));
        print("onggi attach", &round_trips(terminal), base);
        let run = ["run", "--rm", "-it", ALPINE, "sh", "-c", CAT];
        print(
            "onggi run -it",
            &round_trips(Terminal::start(&store, run, 24, 80)),
            base,
        );
    }
    println!("  less than 1000 µs is the figure to reach");
}

fn print(name: &str, times: &[Duration], base: Duration) {
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let (median, late) = (times[times.len() / 2], times[times.len() * 95 / 100]);
    let ratio = median.as_secs_f64() / base.as_secs_f64();
    println!(
        "  {name:34}{:12.0}{:12.0}{ratio:12.2}",
        micros(median),
        micros(late)
    );
}

/// The times of the keys, the shortest first.
fn round_trips(mut terminal: Terminal) -> Vec<Duration> {
    terminal.shows("ready\n");
    let mut times: Vec<Duration> = (0..KEYS)
        .map(|number| {
            let key = char::from(b'a' + (number % 26) as u8).to_string();
            let start = Instant::now();
            terminal.types(&key);
            terminal.shows(&key);
            start.elapsed()
        })
        .collect();
    times.sort();
    let _ = terminal.child.kill();
    times
}
