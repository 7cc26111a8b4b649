//! stats: what running containers use, once and again.

use crate::support::{ALPINE, everyone_with_alpine};
use std::io::{BufRead, BufReader};

#[test]
fn numbers_are_those_of_the_processes() {
    for store in everyone_with_alpine() {
        let run = |words: &[&str]| {
            let outcome = store.onggi(words).run();
            outcome.code(0).stdout_text().trim().to_owned()
        };
        let busy =
            "head -c 30000000 /dev/zero | tail -c 30000000 | sleep 1000 & while :; do :; done";
        run(&["run", "-d", "--name", "busy", ALPINE, "sh", "-c", busy]);
        run(&[
            "run",
            "-d",
            "--name",
            "idle",
            "--network",
            "host",
            ALPINE,
            "sleep",
            "1000",
        ]);
        run(&["create", "--name", "new", ALPINE, "true"]);
        let heading = "CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT     MEM %     NET I/O   BLOCK I/O   PIDS";
        let table = run(&["stats", "--no-stream"]);
        let first: Vec<&str> = table
            .lines()
            .next()
            .unwrap()
            .split("  ")
            .map(str::trim)
            .collect();
        let words = |words: &[&str]| {
            words
                .iter()
                .filter(|word| !word.is_empty())
                .copied()
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(
            words(&first),
            words(&heading.split("  ").map(str::trim).collect::<Vec<_>>())
        );
        assert_eq!(table.lines().count(), 3, "{table}");
        let format = [
            "--format",
            "{{.Name}} {{.CPUPerc}} {{.MemUsage}} {{.NetIO}} {{.PIDs}}",
        ];
        let all = run(&["stats", "-a", "--no-stream", format[0], format[1]]);
        let of = |name: &str| -> Vec<&str> {
            let line = all.lines().find(|line| line.starts_with(name)).expect(&all);
            line.split(' ').collect()
        };
        let number = |text: &str| text.trim_end_matches('%').parse::<f64>().unwrap();
        assert_eq!(
            of("new")[1..],
            ["0.00%", "0B", "/", "0B", "0B", "/", "0B", "0"]
        );
        assert!(
            number(of("busy")[1]) > 5.0 && number(of("idle")[1]) < 5.0,
            "{all}"
        );
        assert!(
            of("idle")[2].ends_with("KiB") || of("idle")[2].ends_with("MiB"),
            "{all}"
        );
        assert_eq!(of("busy")[5..8], ["0B", "/", "0B"]);
        // The traffic of the host is nobody's own.
        assert_eq!(of("idle")[5..], ["--", "/", "--", "1"]);
        assert!(number(of("busy")[8]) >= 2.0, "{all}");
        let json = run(&[
            "container",
            "stats",
            "--no-stream",
            "--format",
            "json",
            "idle",
        ]);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let keys = json
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
            .join(" ");
        assert_eq!(
            keys,
            "BlockIO CPUPerc Container ID MemPerc MemUsage Name NetIO PIDs"
        );
        assert_eq!(
            (&json["Container"], &json["Name"]),
            (&"idle".into(), &"idle".into())
        );
        let missing = store
            .onggi(["stats", "--no-stream", "idle", "nobody"])
            .run();
        missing
            .code(1)
            .stdout("")
            .stderr_has("No such container: nobody");
    }
}

#[test]
fn without_no_stream_it_goes_on_until_its_reader_has_gone() {
    for store in everyone_with_alpine() {
        let words = ["run", "-d", "--name", "idle", ALPINE, "sleep", "1000"];
        store.onggi(words).run().code(0);
        let mut client = store.onggi(["stats", "--format", "{{.Name}}"]).spawn();
        let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
        for _ in 0..2 {
            assert_eq!(lines.next().unwrap().unwrap(), "idle");
        }
        drop(lines);
        assert_eq!(client.wait().unwrap().code(), Some(0));
    }
}
