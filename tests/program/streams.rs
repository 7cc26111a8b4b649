//! Standard input, output and error of a container without a terminal.

use crate::support::{ALPINE, Outcome, everyone_with_alpine};
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

#[test]
fn output_and_error_stay_apart() {
    for store in everyone_with_alpine() {
        store
            .shell(&[], "echo out; echo error >&2")
            .run()
            .code(0)
            .stdout("out\n")
            .stderr("error\n");
    }
}

#[test]
fn input_is_given_whole_and_ends() {
    let bytes: Vec<u8> = (0..3_000_000u32)
        .map(|number| (number % 251) as u8)
        .collect();
    for store in everyone_with_alpine() {
        store
            .onggi(["run", "--rm", "-i", ALPINE, "cat"])
            .stdin("hi")
            .run()
            .code(0)
            .stdout("hi");
        let outcome = store
            .onggi(["run", "--rm", "-i", ALPINE, "sh", "-c", "cat; echo >&2"])
            .stdin(&bytes[..])
            .run();
        outcome
            .code(0)
            .stderr("\n")
            .expect(outcome.stdout_bytes() == bytes, "the same bytes");
    }
}

#[test]
fn without_interactive_there_is_no_input() {
    for store in everyone_with_alpine() {
        store
            .onggi(["run", "--rm", ALPINE, "cat"])
            .stdin("hi")
            .run()
            .code(0)
            .stdout("");
    }
}

#[test]
fn a_program_that_does_not_read_is_not_waited_for() {
    for store in everyone_with_alpine() {
        let mut client = store
            .onggi(["run", "--rm", "-i", ALPINE, "echo", "done"])
            .spawn();
        // Our end stays open: nobody says that the input has ended.
        let input = client.stdin.take();
        Outcome::of("run -i echo", client.wait_with_output().unwrap())
            .code(0)
            .stdout("done\n");
        drop(input);
    }
}

#[test]
fn a_closed_output_is_no_error() {
    for store in everyone_with_alpine() {
        let mut client = store.onggi(["run", "--rm", ALPINE, "yes"]).spawn();
        let mut output = BufReader::new(client.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "y\n");
        drop(output);
        let mut error = String::new();
        client
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut error)
            .unwrap();
        client.wait().unwrap();
        // The program inside may complain; we do not.
        assert!(!error.contains("onggi"), "{error}");
        store.onggi(["ps", "-aq"]).run().code(0).stdout("");
    }
}

#[test]
fn streams_that_are_closed_from_the_start_do_no_harm() {
    for store in everyone_with_alpine() {
        let run = store
            .onggi([
                "run",
                "--rm",
                ALPINE,
                "sh",
                "-c",
                "echo out; echo error >&2; exit 3",
            ])
            .into_command();
        let mut shell = store.command("sh");
        shell
            .args(["-c", "exec \"$0\" \"$@\" <&- >&- 2>&-"])
            .arg(run.get_program())
            .args(run.get_args());
        assert_eq!(shell.stdin(Stdio::null()).status().unwrap().code(), Some(3));
    }
}
