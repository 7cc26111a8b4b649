//! One call of the program: what goes in, and what is expected to come out.

use std::ffi::OsStr;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// No command of a test takes this long unless it hangs.
const HANGS: Duration = Duration::from_secs(120);

/// A command that has not run yet.
pub struct Call {
    command: Command,
    stdin: Vec<u8>,
}

impl Call {
    /// Wraps a command.
    pub fn new(command: Command) -> Self {
        Self {
            command,
            stdin: Vec::new(),
        }
    }

    /// More arguments.
    pub fn args<I: IntoIterator<Item: AsRef<OsStr>>>(mut self, arguments: I) -> Self {
        self.command.args(arguments);
        self
    }

    /// What standard input holds; it ends after it.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Sets a variable of the environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Removes a variable of the environment.
    pub fn without(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Runs it to its end.
    pub fn run(self) -> Outcome {
        let line = format!("{:?}", self.command);
        let mut command = assert_cmd::Command::from_std(self.command);
        let output = command.timeout(HANGS).write_stdin(self.stdin).output();
        Outcome {
            line,
            output: output.unwrap(),
        }
    }

    /// Starts it with pipes on all three streams.
    pub fn spawn(mut self) -> Child {
        self.command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// The command itself, for what this type does not offer.
    pub fn into_command(self) -> Command {
        self.command
    }
}

/// What a finished command left; each expectation fails with all of it.
pub struct Outcome {
    line: String,
    output: Output,
}

impl Outcome {
    /// Takes over what somebody else waited for.
    pub fn of(line: &str, output: Output) -> Self {
        Self {
            line: line.to_owned(),
            output,
        }
    }

    /// Whether it ended with 0.
    pub fn succeeded(&self) -> bool {
        self.output.status.success()
    }

    /// It ended by itself with this code.
    #[track_caller]
    pub fn code(&self, code: i32) -> &Self {
        self.expect(
            self.output.status.code() == Some(code),
            &format!("exit code {code}"),
        )
    }

    /// Standard output is exactly this.
    #[track_caller]
    pub fn stdout(&self, text: &str) -> &Self {
        self.expect(self.stdout_text() == text, &format!("stdout {text:?}"))
    }

    /// Standard error is exactly this.
    #[track_caller]
    pub fn stderr(&self, text: &str) -> &Self {
        self.expect(self.stderr_text() == text, &format!("stderr {text:?}"))
    }

    /// Standard output has this somewhere.
    #[track_caller]
    pub fn stdout_has(&self, text: &str) -> &Self {
        self.expect(
            self.stdout_text().contains(text),
            &format!("stdout with {text:?}"),
        )
    }

    /// Standard output has this nowhere.
    #[track_caller]
    pub fn stdout_lacks(&self, text: &str) -> &Self {
        self.expect(
            !self.stdout_text().contains(text),
            &format!("stdout without {text:?}"),
        )
    }

    /// Standard error has this somewhere.
    #[track_caller]
    pub fn stderr_has(&self, text: &str) -> &Self {
        self.expect(
            self.stderr_text().contains(text),
            &format!("stderr with {text:?}"),
        )
    }

    /// Standard error has this nowhere.
    #[track_caller]
    pub fn stderr_lacks(&self, text: &str) -> &Self {
        self.expect(
            !self.stderr_text().contains(text),
            &format!("stderr without {text:?}"),
        )
    }

    /// Whatever is wrong, said with the whole of what happened.
    #[track_caller]
    pub fn expect(&self, holds: bool, what: &str) -> &Self {
        assert!(
            holds,
            "expected {what}\n  command: {}\n  status:  {}\n  stdout:  {:?}\n  stderr:  {:?}",
            self.line,
            self.output.status,
            self.stdout_text(),
            self.stderr_text(),
        );
        self
    }

    /// The exit code; `None` when a signal ended it.
    pub fn exit_code(&self) -> Option<i32> {
        self.output.status.code()
    }

    /// Standard output as text.
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    /// Standard output itself.
    pub fn stdout_bytes(&self) -> &[u8] {
        &self.output.stdout
    }

    /// Standard error as text.
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        let parsed = serde_json::from_slice(&self.output.stdout);
        self.expect(parsed.is_ok(), "JSON on stdout");
        parsed.unwrap()
    }
}
