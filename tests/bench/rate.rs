//! Throughput by iperf3(1) between network namespaces, both ways.
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

use crate::scene::Place;
use std::process::{Child, Stdio};
use std::time::Duration;

/// Where servers listen.
pub const PORT: u16 = 5201;
/// How often all ways are measured, each after the other.
const ROUNDS: usize = 3;

/// A program that ends with this.
pub struct Running(Child);

impl Running {
    /// Starts it.
    pub fn start(command: &mut std::process::Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null());
        Self(command.stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server for [`compare`] in each of these places.
pub fn servers(places: &[&Place]) -> Vec<Running> {
    let start = |place: &&Place| Running::start(place.command("iperf3").arg("-s"));
    let servers = places.iter().map(start).collect();
    std::thread::sleep(Duration::from_millis(500));
    servers
}

/// A way that bytes can take.
pub struct Way<'a> {
    /// As it stands in the table.
    pub name: &'a str,
    /// Where the client is.
    pub from: &'a Place,
    /// The server's address, as the client has to name it.
    pub to: &'a str,
    /// Its port there.
    pub port: u16,
}

/// Prints the medians of all ways, interleaved, and what part of the first one's they are; and has them, there and back.
pub fn compare(title: &str, ways: &[Way<'_>]) -> Vec<[f64; 2]> {
    println!("\n{title}, Gbit/s, median and range of {ROUNDS} rounds, interleaved");
    println!(
        "  {:34}{:>8}{:>15}{:>7}{:>12}{:>15}{:>7}",
        "", "there", "", "part", "back", "", "part"
    );
    let mut rates = vec![[const { Vec::new() }; 2]; ways.len()];
    for _ in 0..ROUNDS {
        for (way, rates) in ways.iter().zip(&mut rates) {
            for (rates, reverse) in rates.iter_mut().zip([false, true]) {
                rates.push(measure(way, reverse));
            }
        }
    }
    let median = |rates: &mut Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let medians: Vec<[f64; 2]> = rates
        .iter_mut()
        .map(|rates| rates.each_mut().map(median))
        .collect();
    for ((way, rates), medians_here) in ways.iter().zip(&rates).zip(&medians) {
        print!("  {:34}", way.name);
        for ((rates, median), first) in rates.iter().zip(medians_here).zip(medians[0]) {
            let range = format!("{:.2}–{:.2}", rates[0], rates[rates.len() - 1]);
            print!("{median:8.2}{range:>15}{:7.2}    ", median / first);
        }
        println!();
    }
    medians
}

/// NaN where nothing comes through.
fn measure(way: &Way<'_>, reverse: bool) -> f64 {
    let mut command = way.from.command("timeout");
    let port = way.port.to_string();
    command.args([
        "20", "iperf3", "-c", way.to, "-p", &port, "-J", "-t", "2", "-O", "1",
    ]);
    if reverse {
        command.arg("-R");
    }
    let output = command.output().unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let rate = answer["end"]["sum_received"]["bits_per_second"].as_f64();
    rate.map_or(f64::NAN, |rate| rate / 1e9)
}
