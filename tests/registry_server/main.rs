//! `registry serve` as its clients see it: what the conformance tests of distribution-spec ask for, one file for each of
//! their four parts, and beyond them what goes wrong, what other programs do, and what a service is to do.
// Every address here is a number.
#![allow(clippy::disallowed_methods)]

#[path = "../support/mod.rs"]
mod support;

mod client;
mod crash;
mod discovery;
mod images;
mod management;
mod peers;
mod protocol;
mod prune;
mod pull;
mod push;
mod service;

use client::{Answer, Client, Value, digest_of};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use support::store::program;

/// A registry that runs; killed with the value.
pub struct Served {
    child: Child,
    /// Where it listens, `127.0.0.1:PORT`.
    pub address: String,
    directory: Option<tempfile::TempDir>,
}

impl Served {
    /// With a folder of its own.
    pub fn start() -> Self {
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        let mut served = Self::of(directory.path(), &[]);
        served.directory = Some(directory);
        served
    }

    /// Of a folder that somebody else has made.
    pub fn of(storage: &Path, options: &[&str]) -> Self {
        let mut command = Command::new(program());
        command.args(["-D", "registry", "serve", "--listen", "127.0.0.1:0"]);
        command.arg("--storage").arg(storage).args(options);
        Self::by(command)
    }

    /// Started by a command that is complete.
    pub fn by(mut command: Command) -> Self {
        use std::io::{BufRead, BufReader};
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut told = BufReader::new(child.stdout.take().unwrap());
        told.read_line(&mut line).unwrap();
        let address = line.trim().rsplit("://").next().unwrap().to_owned();
        assert!(address.starts_with("127.0.0.1:"), "{line:?}");
        Self {
            child,
            address,
            directory: None,
        }
    }

    /// The folder.
    pub fn folder(&self) -> PathBuf {
        self.directory.as_ref().unwrap().path().to_owned()
    }

    /// Whoever speaks to it.
    pub fn client(&self) -> Client {
        Client::new(&self.address)
    }

    /// The name of an image there.
    pub fn name(&self, image: &str) -> String {
        format!("{}/{image}", self.address)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        let pid = rustix::process::Pid::from_raw(self.child.id() as i32).unwrap();
        let signal = rustix::process::Signal::from_named_raw(signal).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits until it has ended.
    pub fn ended(&mut self) -> ExitStatus {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All files below a directory.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(directory) else {
        return found;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}
