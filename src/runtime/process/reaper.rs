//! Process 1 for programs that do not want to be it (`--init`): starts the program, passes signals on and reaps
//! whatever is orphaned (pid_namespaces(7)). It is this program again, mounted read-only into the container.

use crate::sys::process::{self, Words};
use crate::sys::signal::{self, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, setpgid};
use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStrExt;

/// Runs `arguments`, which follow a `--`; the exit code is that of the program.
pub fn main(arguments: impl Iterator<Item = OsString>) -> u8 {
    let words: Vec<OsString> = arguments.skip(2).collect();
    run(&words).unwrap_or(126)
}

fn run(words: &[OsString]) -> Option<u8> {
    let signals = SignalFd::block_all().ok()?;
    let program = process::clone3(0, || execute(words));
    let program = program
        .map_err(|error| tell(&format!("start the program: {error}")))
        .ok()?;
    let pid = Pid::from_raw(program.pid)?;
    // A process group of its own in the foreground, so that the keys of a terminal reach the program.
    let _ = setpgid(Some(pid), Some(pid));
    let _ = rustix::termios::tcsetpgrp(rustix::stdio::stdin(), pid);
    loop {
        match poll(&mut [PollFd::new(&signals, PollFlags::IN)], None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return None,
        }
        while let Some(number) = signals.next() {
            if number != libc::SIGCHLD {
                // To a program that has just ended: it will be reaped below.
                let _ = program.kill(number);
            }
        }
        while let Ok(Some((reaped, ended))) = process::reap(false) {
            if reaped == program.pid {
                return Some(ended.code());
            }
        }
    }
}

/// In the child: becomes the program.
fn execute(words: &[OsString]) -> u8 {
    // Sockets that were for process 1 are for the program (sd_listen_fds(3)).
    let pid = OsString::from(std::process::id().to_string());
    let environment: Vec<Vec<u8>> = std::env::vars_os()
        .map(|(key, value)| match key == "LISTEN_PID" {
            true => (key, pid.clone()),
            false => (key, value),
        })
        .map(|(key, value)| [key.as_bytes(), b"=", value.as_bytes()].concat())
        .collect();
    let (Ok(arguments), Ok(environment)) = (
        Words::new(words.iter().map(|word| word.as_bytes())),
        Words::new(&environment),
    ) else {
        return 126;
    };
    let Some(name) = words.first().map(|word| word.as_bytes()) else {
        return 127;
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let candidates: Vec<Vec<u8>> = match name.contains(&b'/') {
        true => vec![name.to_vec()],
        false => std::env::split_paths(&path)
            .map(|directory| {
                directory
                    .join(&words[0])
                    .into_os_string()
                    .as_bytes()
                    .to_vec()
            })
            .collect(),
    };
    let _ = signal::reset_all();
    let mut failure = Errno::NOENT;
    for candidate in candidates {
        let Ok(program) = CString::new(candidate) else {
            return 126;
        };
        match process::execute(&program, &arguments, &environment) {
            Errno::NOENT | Errno::NOTDIR => {}
            error => failure = error,
        }
    }
    let why = std::io::Error::from(failure);
    tell(&format!("{}: {why}", String::from_utf8_lossy(name)));
    match failure {
        Errno::NOENT => 127,
        _ => 126,
    }
}

/// On the program's own stream: there is nobody else to tell by now.
fn tell(message: &str) {
    let line = format!("onggi: --init: {message}\n");
    let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
}
