//! run -d: the id, once the program runs; the right code, when it does not.

use crate::support::life::until;
use crate::support::{ALPINE, Outcome, everyone_with_alpine};
use std::collections::BTreeSet;
use std::process::Stdio;

#[test]
fn the_id_when_it_runs() {
    for store in everyone_with_alpine() {
        let outcome = store
            .onggi(["run", "-d", "--name", "one", ALPINE, "sleep", "1000"])
            .run();
        let id = outcome.code(0).stderr("").stdout_text();
        assert_eq!(id, store.field("one", "{{.Id}}") + "\n");
        assert_eq!(store.status("one"), "running 0");
    }
}

#[test]
fn the_right_code_when_it_does_not() {
    for store in everyone_with_alpine() {
        for (options, program, code) in [
            (&[][..], "no-such-program", 127),
            (&[], "/etc/passwd", 126),
            (&["-u", "nobody-knows"], "true", 125),
        ] {
            let run = ["run", "-d", "--name", "one"];
            let outcome = store
                .onggi(run.iter().chain(options).chain(&[ALPINE, program]))
                .run();
            outcome
                .code(code)
                .expect(!outcome.stderr_text().is_empty(), "a reason");
            assert_eq!(store.status("one"), format!("created {code}"));
            store.ok(["rm", "one"]);
            let run = ["run", "-d", "--rm"];
            store
                .onggi(run.iter().chain(options).chain(&[ALPINE, program]))
                .run()
                .code(code);
            store.onggi(["ps", "-aq"]).run().code(0).stdout("");
        }
    }
}

#[test]
fn whatever_becomes_of_the_output() {
    for store in everyone_with_alpine() {
        for (name, redirection) in [
            ("closed", ">&- 2>&-"),
            ("broken", "| true"),
            ("full", ">/dev/full"),
        ] {
            let run = store
                .onggi(["run", "-d", "--name", name, ALPINE, "sleep", "1000"])
                .into_command();
            let mut shell = store.command("sh");
            shell
                .arg("-c")
                .arg(format!("\"$0\" \"$@\" {redirection}"))
                .arg(run.get_program())
                .args(run.get_args());
            let _ = shell.stdin(Stdio::null()).output().unwrap();
            assert_eq!(store.status(name), "running 0", "{name}");
        }
        // A pipe that nobody reads is no reason to wait with the start.
        let (reader, writer) = std::io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        while rustix::io::write(&writer, &[0; 4096]).is_ok() {}
        while rustix::io::write(&writer, &[0; 1]).is_ok() {}
        rustix::io::ioctl_fionbio(&writer, false).unwrap();
        let mut run = store
            .onggi(["run", "-d", "--name", "stuck", ALPINE, "sleep", "1000"])
            .into_command();
        let mut client = run.stdin(Stdio::null()).stdout(writer).spawn().unwrap();
        drop(run);
        until("it runs", || {
            let outcome = store
                .onggi(["inspect", "-f", "{{.State.Status}}", "stuck"])
                .run();
            outcome.stdout_text() == "running\n"
        });
        assert!(client.try_wait().unwrap().is_none());
        drop(reader);
        client.wait().unwrap();
        assert_eq!(store.status("stuck"), "running 0");
    }
}

#[test]
fn a_hundred_at_once() {
    for store in everyone_with_alpine() {
        let run = || store.onggi(["run", "-d", ALPINE, "sleep", "1000"]).spawn();
        let clients: Vec<_> = (0..100).map(|_| run()).collect();
        let ids: BTreeSet<String> = clients
            .into_iter()
            .map(|client| {
                Outcome::of("run -d", client.wait_with_output().unwrap())
                    .code(0)
                    .stderr("")
                    .stdout_text()
            })
            .collect();
        assert_eq!(ids.len(), 100);
        let names = store.ok(["ps", "--format", "{{.Names}}"]);
        assert_eq!(names.lines().collect::<BTreeSet<_>>().len(), 100);
        let words: Vec<&str> = ["rm", "-f"]
            .into_iter()
            .chain(ids.iter().map(|id| id.trim()))
            .collect();
        store.onggi(words).run().code(0).stderr("");
        until("no process is left", || store.processes().is_empty());
    }
}
