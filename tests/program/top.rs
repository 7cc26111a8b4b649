//! top: the processes of a container by host numbers, in ps's columns; of one that runs only.

use crate::support::{ALPINE, Store, everyone_with_alpine};
use std::io::{BufRead, BufReader};
use std::process::Child;

/// A container `web` with a shell and two sleepers.
fn start(store: &Store, options: &[&str]) -> Child {
    let script = "sleep 1111 & sleep 2222 & echo ready; wait";
    let words = [
        &["run", "--name", "web"],
        options,
        &[ALPINE, "sh", "-c", script],
    ]
    .concat();
    let mut client = store.onggi(words).spawn();
    let mut line = String::new();
    let mut output = BufReader::new(client.stdout.as_mut().unwrap());
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    // The shell's children are there, but may not be sleepers yet.
    let sleepers = |lines: Vec<Vec<String>>| lines.iter().filter(|line| line[1] == "sleep").count();
    while sleepers(top(store, &["-o", "pid,comm"])) < 2 {}
    client
}

fn top(store: &Store, options: &[&str]) -> Vec<Vec<String>> {
    let outcome = store.onggi(["top", "web"].iter().chain(options)).run();
    let text = outcome.code(0).stdout_text();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    text.lines().map(words).collect()
}

#[test]
fn processes_are_those_of_the_container_and_no_others() {
    for store in everyone_with_alpine() {
        for options in [&[][..], &["--pid", "host"]] {
            let client = start(&store, options);
            let lines = top(&store, &[]);
            assert_eq!(lines[0].join(" "), "UID PID PPID C STIME TTY TIME CMD");
            let commands: Vec<_> = lines[1..]
                .iter()
                .map(|cells| cells[7..].join(" "))
                .collect();
            assert_eq!(
                commands,
                [
                    "sh -c sleep 1111 & sleep 2222 & echo ready; wait",
                    "sleep 1111",
                    "sleep 2222"
                ]
            );
            let inspect = ["inspect", "-f", "{{.State.Pid}}", "web"];
            let pid = store.onggi(inspect).run().code(0).stdout_text();
            assert_eq!(lines[1][1], pid.trim());
            assert_eq!([&lines[2][2], &lines[3][2]], [&lines[1][1]; 2]);
            assert_eq!(lines[1][0], store.account.name);
            store.onggi(["rm", "-f", "web"]).run().code(0);
            drop(client);
        }
    }
}

#[test]
fn columns_are_chosen_as_with_ps() {
    for store in everyone_with_alpine() {
        let mut client = start(&store, &[]);
        let words = |line: &[String]| line.join(" ");
        let aux = top(&store, &["aux"]);
        assert_eq!(
            words(&aux[0]),
            "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"
        );
        assert!(
            aux[1][4].parse::<u64>().unwrap() > 0 && aux[1][7].starts_with('S'),
            "{aux:?}"
        );
        let own = top(&store, &["-eo", "pid,ppid,comm,user,rss=Memory"]);
        assert_eq!(words(&own[0]), "PID PPID COMMAND USER Memory");
        assert_eq!([&own[1][2], &own[2][2]], ["sh", "sleep"]);
        let spelled = store
            .onggi(["container", "top", "web", "-o", "pid,args"])
            .run();
        spelled.code(0).stdout_has("PID                 COMMAND\n");
        let refused = |options: &[&str], message: &str| {
            let outcome = store.onggi(["top", "web"].iter().chain(options)).run();
            outcome.code(1).stdout("").stderr_has(message);
        };
        refused(
            &["--sort", "pid"],
            "ps option --sort is not supported by top",
        );
        refused(&["-o", "args"], "Couldn't find PID field in ps output");
        refused(
            &["-o", "pid,cgroup"],
            "ps column cgroup is not supported by top",
        );
        store.onggi(["rm", "-f", "web"]).run().code(0);
        client.wait().unwrap();
        store
            .onggi(["top", "web"])
            .run()
            .code(1)
            .stderr_has("No such container: web");
        let id = store
            .onggi(["create", "--name", "web", ALPINE, "true"])
            .run();
        let id = id.code(0).stdout_text();
        refused(&[], &format!("container {} is not running", id.trim()));
    }
}
