//! A command on a pseudo-terminal of its own (pty(7)), as somebody at a keyboard has it.

use super::store::Store;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Nothing on a screen takes this long unless it hangs.
const HANGS: Duration = Duration::from_secs(60);

/// The keyboard and screen side of a terminal with a command on it.
pub struct Terminal {
    keyboard: File,
    /// Held open, so that the terminal and its settings outlive the command.
    line: File,
    screen: Receiver<Vec<u8>>,
    seen: String,
    /// The command; it is the session leader, the terminal its controlling one.
    pub child: Child,
}

impl Terminal {
    /// Starts the program on a new terminal of that size, as leader of a session (setsid(1)).
    pub fn start<I>(store: &Store, arguments: I, rows: u16, columns: u16) -> Self
    where
        I: IntoIterator<Item: AsRef<OsStr>>,
    {
        let onggi = store.onggi(arguments).into_command();
        Self::lead(store, onggi.get_program(), onggi.get_args(), rows, columns)
    }

    /// Starts the program as child of a shell that leads the session, prints `ended` after it and waits for a line.
    pub fn below_shell<I: IntoIterator<Item: AsRef<OsStr>>>(store: &Store, arguments: I) -> Self {
        let onggi = store.onggi(arguments).into_command();
        let shell = ["-c", "\"$0\" \"$@\"; echo ended; read line"].map(OsStr::new);
        let words = shell
            .into_iter()
            .chain([onggi.get_program()])
            .chain(onggi.get_args());
        Self::lead(store, OsStr::new("sh"), words, 24, 80)
    }

    /// Starts any program as leader of a session.
    pub fn lead_command(store: &Store, program: &str, arguments: &[&str]) -> Self {
        Self::lead(
            store,
            OsStr::new(program),
            arguments.iter().map(OsStr::new),
            24,
            80,
        )
    }

    fn lead<'a>(
        store: &Store,
        program: &OsStr,
        arguments: impl Iterator<Item = &'a OsStr>,
        rows: u16,
        columns: u16,
    ) -> Self {
        let keyboard: OwnedFd =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let name = ptsname(&keyboard, Vec::new()).unwrap();
        let line = File::options()
            .read(true)
            .write(true)
            .open(name.to_str().unwrap())
            .unwrap();
        resize(&keyboard, rows, columns);
        let mut leader = store.command("setsid");
        leader
            .arg("--ctty")
            .arg(program)
            .args(arguments)
            .env("TERM", "xterm");
        let stream = || Stdio::from(line.try_clone().unwrap());
        let child = leader
            .stdin(stream())
            .stdout(stream())
            .stderr(stream())
            .spawn()
            .unwrap();
        let keyboard = File::from(keyboard);
        let mut output = keyboard.try_clone().unwrap();
        let (sender, screen) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self {
            keyboard,
            line,
            screen,
            seen: String::new(),
            child,
        }
    }

    /// Types; `\r` is the return key.
    pub fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the screen has shown this after what was waited for before; gives all up to its end.
    #[track_caller]
    pub fn shows(&mut self, text: &str) -> String {
        let start = Instant::now();
        loop {
            if let Some(at) = self.seen.find(text) {
                return self.seen.drain(..at + text.len()).collect();
            }
            match self
                .screen
                .recv_timeout(HANGS.saturating_sub(start.elapsed()))
            {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("the screen never showed {text:?}, but {:?}", self.seen),
            }
        }
    }

    /// Gives the window another size; the kernel sends SIGWINCH.
    pub fn resize(&self, rows: u16, columns: u16) {
        resize(&self.keyboard, rows, columns);
    }

    /// The settings of the line, as the command and whoever comes after it see them.
    pub fn settings(&self) -> Termios {
        tcgetattr(&self.line).unwrap()
    }

    /// Waits for the end of the command and gives its exit code.
    #[track_caller]
    pub fn code(&mut self) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(
                start.elapsed() < HANGS,
                "the command does not end; the screen shows {:?}",
                self.seen
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn resize(terminal: &impl std::os::fd::AsFd, rows: u16, columns: u16) {
    tcsetwinsize(
        terminal,
        Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        },
    )
    .unwrap();
}
