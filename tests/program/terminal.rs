//! `-t`: a real terminal inside, its size, and the caller's terminal as it was whatever happens (termios(3)).

use crate::life_cycle::send;
use crate::support::terminal::Terminal;
use crate::support::{ALPINE, Store, everyone_with_alpine};
use rustix::termios::{LocalModes, Termios};
use std::time::{Duration, Instant};

fn shell(store: &Store) -> Terminal {
    Terminal::start(store, ["run", "--rm", "-it", ALPINE, "sh"], 33, 101)
}

fn is_cooked(settings: &Termios) -> bool {
    settings
        .local_modes
        .contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
}

#[track_caller]
fn assert_restored(terminal: &Terminal, before: &Termios) {
    let start = Instant::now();
    while !is_cooked(&terminal.settings()) {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "the terminal stays raw"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let after = terminal.settings();
    assert_eq!(after.input_modes, before.input_modes);
    assert_eq!(after.output_modes, before.output_modes);
    assert_eq!(after.local_modes, before.local_modes);
}

#[test]
fn a_shell_is_usable() {
    for store in everyone_with_alpine() {
        let mut terminal = shell(&store);
        let before = terminal.settings();
        terminal.types("echo $((40 + 2)); stty size; tty; test -t 2 && echo terminal\r");
        terminal.shows("42\r\n33 101\r\n/dev/pts/0\r\nterminal\r\n");
        terminal.types("exit 5\r");
        assert_eq!(terminal.code(), Some(5));
        assert_restored(&terminal, &before);
    }
}

#[test]
fn the_window_may_change() {
    for store in everyone_with_alpine() {
        let script = "trap 'stty size; exit 3' WINCH; echo ready; while :; do sleep 0.1; done";
        let words = ["run", "--rm", "-t", ALPINE, "sh", "-c", script];
        let mut terminal = Terminal::start(&store, words, 33, 101);
        terminal.shows("ready");
        terminal.resize(50, 132);
        terminal.shows("50 132");
        assert_eq!(terminal.code(), Some(3));
    }
}

#[test]
fn the_interrupt_key_reaches_the_program_inside() {
    for store in everyone_with_alpine() {
        let mut terminal = shell(&store);
        terminal.types("echo rea''dy; cat\r");
        terminal.shows("ready\r\n");
        terminal.types("typed\r");
        terminal.shows("typed\r\ntyped\r\n");
        terminal.types("\x03");
        terminal.shows("^C");
        terminal.shows("/ # ");
        terminal.types("echo still''here\r");
        terminal.shows("stillhere");
        terminal.types("exit\r");
        terminal.code();
    }
}

#[test]
fn restored_after_an_error() {
    for store in everyone_with_alpine() {
        let mut terminal = Terminal::start(
            &store,
            ["run", "--rm", "-it", ALPINE, "no-such-program"],
            24,
            80,
        );
        let before = terminal.settings();
        assert_eq!(terminal.code(), Some(127));
        assert_restored(&terminal, &before);
    }
}

#[test]
fn restored_after_the_client_is_killed() {
    for store in everyone_with_alpine() {
        for signal in ["TERM", "KILL"] {
            // A shell leads the session: a terminal is hung up with its leader.
            let mut terminal = Terminal::below_shell(&store, ["run", "--rm", "-it", ALPINE, "sh"]);
            let before = terminal.settings();
            terminal.types("echo rea''dy\r");
            terminal.shows("ready");
            assert!(!is_cooked(&terminal.settings()));
            let client = std::fs::read_to_string(format!(
                "/proc/{0}/task/{0}/children",
                terminal.child.id()
            ))
            .unwrap();
            let client = client.split_whitespace().next().unwrap().parse().unwrap();
            send(signal, client);
            if signal == "KILL" {
                assert_restored(&terminal, &before);
            } else {
                // Forwarded: the shell inside ignores it and lives on.
                terminal.types("exit\r");
                terminal.shows("ended");
                assert_restored(&terminal, &before);
            }
        }
    }
}

#[test]
fn output_alone_may_be_a_pipe() {
    for store in everyone_with_alpine() {
        store
            .shell(&["-t"], "tty; echo error >&2")
            .run()
            .code(0)
            .stdout("/dev/pts/0\r\nerror\r\n")
            .stderr("");
    }
}
