//! A seccomp agent (runtime-spec config-linux.md, "Seccomp"): a process of its own, which answers for calls as
//! `agent.py` says.

use super::Store;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

/// What it knows of each container beside its state.
pub const METADATA: &str = "for the agent";

/// One that listens.
pub struct Agent {
    process: Child,
    lines: BufReader<ChildStdout>,
    socket: PathBuf,
}

impl Agent {
    pub fn start(store: &Store, conduct: &str) -> Self {
        let socket = store.home().join("agent.sock");
        let _ = std::fs::remove_file(&socket);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/agent.py");
        let mut command = Command::new("python3");
        command.arg(script).arg(&socket).arg(conduct);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        let mut agent = Self {
            process,
            lines,
            socket,
        };
        // The home directory is its owner's; the agent's user is root.
        assert_eq!(agent.line(), "ready\n");
        agent
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }

    /// What it was told of the next process.
    pub fn told(&mut self) -> Value {
        let line = self.line();
        let message = line.strip_suffix(" 1\n");
        serde_json::from_str(message.expect("one descriptor")).unwrap()
    }

    /// A policy that leaves calls to it.
    pub fn asked(&self, mut policy: Value) -> Value {
        policy["listenerPath"] = json!(self.socket);
        policy["listenerMetadata"] = json!(METADATA);
        policy
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
