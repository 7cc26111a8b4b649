//! Programs that keep credentials (docker-credential-helpers, "Development"): one is called with an action, reads the name
//! of a registry or a credential from its standard input, and answers on its standard output.
//!
//! Invariant: a secret is in no argument and in no message; a helper that hangs is given up.

use super::credentials::{Credential, Secret, TOKEN_USER};
use crate::error::{Error, Kind, bad_input};
use anyhow::{Context, Result};
use serde::Deserialize;
use std::io::{ErrorKind, Write};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// How long a helper may take; somebody may have to unlock what it keeps.
const HELPER: Duration = Duration::from_secs(30);

/// Who somebody is, as a helper answers.
pub fn credential(helper: &str, answer: &[u8], source: String) -> Result<Credential> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }
    // Not the parser's own words: they may quote the secret.
    let bad = |_| {
        bad_input(format!(
            "docker-credential-{helper} answers with something else than credentials"
        ))
    };
    let answer: Answer = serde_json::from_slice(answer).map_err(bad)?;
    let secret = match answer.username == TOKEN_USER {
        true => Secret::Refresh(answer.secret),
        false => Secret::Password(answer.secret),
    };
    Ok(Credential {
        user: answer.username,
        secret,
        source,
    })
}

/// Asks a helper; `None` where it knows nothing of the entry.
pub fn call(helper: &str, action: &str, input: &[u8]) -> Result<Option<Vec<u8>>> {
    let program = format!("docker-credential-{helper}");
    if helper.contains('/') {
        return Err(bad_input(format!("`{helper}` is no name of a credential helper")).into());
    }
    let output = ask_program(&program, action, input, HELPER)?;
    if output.status.success() {
        return Ok(Some(output.stdout));
    }
    // Helpers tell of mistakes on standard output.
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    match said.to_ascii_lowercase().contains("credentials not found") {
        true => Ok(None),
        false => {
            Err(Error::new(Kind::Denied, format!("`{program} {action}` fails: {said}")).into())
        }
    }
}

/// Gives a program its input and takes what it says; one that takes longer than `limit` is killed.
fn ask_program(program: &str, action: &str, input: &[u8], limit: Duration) -> Result<Output> {
    let mut child = Command::new(program)
        .arg(action)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| {
            Error::new(Kind::Denied, format!("execute `{program}`: {error}"))
                .hint("install it, or remove `credsStore` and `credHelpers` that name it")
        })?;
    let pid = rustix::process::Pid::from_child(&child);
    let handle = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
        .with_context(|| format!("watch `{program}`"))?;
    let (answer, answered) = std::sync::mpsc::channel();
    let input = input.to_vec();
    // It outlives this call where what the program started keeps its streams open.
    std::thread::Builder::new()
        .name("helper".to_owned())
        .spawn(move || {
            let written = child.stdin.take().map(|mut stdin| stdin.write_all(&input));
            let output = match written {
                Some(Err(error)) if error.kind() != ErrorKind::BrokenPipe => Err(error),
                _ => child.wait_with_output(),
            };
            // Nobody waits any more.
            let _ = answer.send(output);
        })
        .context("start a thread")?;
    match answered.recv_timeout(limit) {
        Ok(output) => output.with_context(|| format!("wait for `{program}`")),
        Err(_) => {
            // It may have ended just now.
            let _ = rustix::process::pidfd_send_signal(handle, rustix::process::Signal::KILL);
            let message = format!(
                "`{program} {action}` gives no answer within {} seconds",
                limit.as_secs()
            );
            Err(Error::new(Kind::Denied, message)
                .hint("does it wait for somebody to unlock it? `credsStore` and `credHelpers` name it; --authfile does without")
                .into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_helper_that_hangs_is_given_up_and_named() {
        let ask = |action: &str, limit| ask_program("sleep", action, b"", limit);
        assert!(ask("0", Duration::from_secs(60)).unwrap().status.success());
        let error = ask("1000", Duration::from_millis(1))
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("`sleep 1000` gives no answer"), "{error}");
    }
}
