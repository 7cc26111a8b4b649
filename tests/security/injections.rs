//! Values with line ends and other control characters, which must not become lines of files or variables of their own.

use crate::support::{ALPINE, everyone_in_memory};

#[test]
fn a_variable_is_one_variable() {
    for store in everyone_in_memory() {
        let list = "env -0 | tr '\\n\\0' '|\\n'";
        let count = format!("{list} | grep -c ^LD_PRELOAD=; {list} | grep ^A=");
        store
            .shell(&["-e", "A=1\nLD_PRELOAD=/x"], &count)
            .run()
            .code(0)
            .stdout("0\nA=1|LD_PRELOAD=/x\n");
        // Two variables, where they are two: the count can tell.
        store
            .shell(&["-e", "A=1", "-e", "LD_PRELOAD=/x"], &count)
            .run()
            .code(0)
            .stdout("1\nA=1\n");
    }
}

#[test]
fn host_names_are_words() {
    for store in everyone_in_memory() {
        // Each is refused for what it is, by name.
        for options in [
            ["--hostname", "a\n6.6.6.6 example.com"],
            ["--hostname", "a b"],
            ["--hostname", "a\tb"],
            ["--hostname", "../x"],
            ["--add-host", "a\n6.6.6.6 example.com:1.2.3.4"],
            ["--add-host", "a:1.2.3.4\n6.6.6.6 example.com"],
            ["--dns", "1.2.3.4\nnameserver 6.6.6.6"],
            ["--dns-search", "example.com\nnameserver 6.6.6.6"],
            ["--dns-option", "ndots:1\nnameserver 6.6.6.6"],
            ["--name", "a\nb"],
            ["--name", "../../x"],
        ] {
            let message = match options[0] {
                "--name" => "Invalid container name (",
                option => &format!("{option}\" flag: "),
            };
            let outcome = store.shell(&options, "echo ran").run();
            outcome.code(125).stdout("").stderr_has(message);
        }
        let read = "cat /etc/hostname; grep -c 1.2.3.4 /etc/hosts /etc/resolv.conf";
        let honest = [
            "--hostname",
            "a-b.c",
            "--add-host",
            "d:1.2.3.4",
            "--dns",
            "1.2.3.4",
        ];
        store
            .shell(&honest, read)
            .run()
            .code(0)
            .stdout("a-b.c\n/etc/hosts:1\n/etc/resolv.conf:1\n");
    }
}

/// What a table prints of a container is one line, whatever it was given.
#[test]
fn labels_and_commands_are_one_line() {
    for store in everyone_in_memory() {
        let label = "a=b\nfake   line";
        let echo = ["echo", "a\nb\x1b[2J"];
        let run = ["run", "--name", "web", "-l", label, ALPINE];
        store.onggi(run.iter().chain(&echo)).run().code(0);
        let list = |format: &str| {
            let words = ["ps", "-a", "--no-trunc", "--format", format];
            store.onggi(words).run().code(0).stdout_text()
        };
        let rows = [
            ("table {{.Labels}}", "LABELS\na=b\\nfake   line\n"),
            ("table {{.Label \"a\"}}", "a\nb\\nfake   line\n"),
            ("table {{.Command}}", "COMMAND\n\"echo a\\nb\\x1b[2J\"\n"),
            ("{{.Command}}", "\"echo a\\nb\\x1b[2J\"\n"),
            ("{{json .Labels}}", "\"a=b\\nfake   line\"\n"),
            // Whoever asks for the value itself gets it, as with Docker: the line end is there.
            ("{{.Labels}}", "a=b\nfake   line\n"),
        ];
        for (format, printed) in rows {
            assert_eq!(list(format), printed, "{format}");
        }
        // Also where nobody asks for a format.
        let table = store.ok(["ps", "-a", "--no-trunc"]);
        assert_eq!(table.lines().count(), 2, "{table}");
        assert!(table.contains("\"echo a\\nb\\x1b[2J\""), "{table}");
    }
}
