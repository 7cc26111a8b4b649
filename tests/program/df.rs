//! system df: Docker's rows, and the others; that they add up to what du says.

use crate::support::{ALPINE, Store, everyone_with_alpine};

fn run(store: &Store, words: &[&str]) -> String {
    let outcome = store.onggi(words).run();
    outcome.code(0).stdout_text()
}

/// `1.234MB` in bytes.
fn bytes(text: &str) -> f64 {
    let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap();
    let scale = match &text[end..] {
        "B" => 1.0,
        "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        unit => panic!("{unit}"),
    };
    text[..end].parse::<f64>().unwrap() * scale
}

#[test]
fn the_rows_add_up_to_the_data_directory() {
    for store in everyone_with_alpine() {
        let write =
            "head -c 3000000 /dev/urandom >/file; mkdir -p /a/b; chmod 000 /a/b; ln /file /again";
        store
            .onggi(["run", "--name", "ended", ALPINE, "sh", "-c", write])
            .run()
            .code(0);
        // Where owners cannot be mapped, copies of the layers belong to the image.
        let [option, value] = store.own_user_namespace();
        run(&store, &["run", "--rm", option, value, ALPINE, "true"]);
        run(
            &store,
            &[
                "run",
                "-d",
                "--name",
                "up",
                ALPINE,
                "sh",
                "-c",
                "echo x >/y; exec sleep 1000",
            ],
        );
        let rows = run(
            &store,
            &[
                "system",
                "df",
                "--format",
                "{{.Type}}|{{.TotalCount}}|{{.Active}}|{{.Size}}|{{.Reclaimable}}",
            ],
        );
        let rows: Vec<Vec<&str>> = rows.lines().map(|line| line.split('|').collect()).collect();
        let kinds: Vec<&str> = rows.iter().map(|row| row[0]).collect();
        assert_eq!(
            kinds[..4],
            ["Images", "Containers", "Local Volumes", "Build Cache"]
        );
        assert_eq!(rows[0][1..3], ["1", "1"]);
        assert_eq!(rows[1][1..3], ["2", "1"]);
        assert_eq!(rows[2][1..], ["0", "0", "0B", "0B"]);
        let size = bytes(rows[1][3]);
        assert!((3e6..3.2e6).contains(&size), "{rows:?}");
        let free = rows[1][4].split(' ').next().unwrap();
        assert!(
            (2.9e6..=size).contains(&bytes(free)) && rows[1][4].ends_with("%)"),
            "{rows:?}"
        );
        // A layer that a container needs is not to be had; what the image says of itself is.
        assert!(rows[0][4].starts_with("0B (0%)"), "{rows:?}");
        let sum: f64 = rows.iter().map(|row| bytes(row[3])).sum();
        let mut du = store.command("du");
        du.args(["-s", "-B1"]).arg(store.data());
        if let crate::support::User::Subuid | crate::support::User::Single = store.user {
            // Root may look into everything.
            du = std::process::Command::new("du");
            du.args(["-s", "-B1"]).arg(store.data());
        }
        let du = String::from_utf8(du.output().unwrap().stdout).unwrap();
        let du: f64 = du.split_whitespace().next().unwrap().parse().unwrap();
        // Each row is rounded to four digits.
        assert!((sum - du).abs() < du / 1000.0, "{sum} {du} {rows:?}");
    }
}

#[test]
fn verbose_tells_of_each() {
    for store in everyone_with_alpine() {
        run(&store, &["tag", ALPINE, "other:1"]);
        let id = run(&store, &["create", "--name", "web", ALPINE, "sleep", "1"]);
        let text = run(&store, &["system", "df", "-v"]);
        for wanted in [
            "Images space usage:\n\nREPOSITORY   TAG       IMAGE ID       CREATED",
            "SHARED SIZE   UNIQUE SIZE   CONTAINERS\n",
            "\nContainers space usage:\n\nCONTAINER ID   IMAGE         COMMAND     LOCAL VOLUMES   SIZE",
            "\nLocal Volumes space usage:\n\nVOLUME NAME   LINKS     SIZE\n",
            "\nBuild cache usage: 0B\n\nCACHE ID   CACHE TYPE   SIZE      CREATED   LAST USED   USAGE     SHARED\n",
            "\nOther space usage:\n\nTYPE      TOTAL     ACTIVE    SIZE",
            &id[..12],
            "\"sleep 1\"   0 ",
        ] {
            assert!(text.contains(wanted), "{wanted:?} in\n{text}");
        }
        let json: serde_json::Value =
            serde_json::from_str(&run(&store, &["system", "df", "-v", "--format", "json"]))
                .unwrap();
        assert_eq!(json["Images"].as_array().unwrap().len(), 2);
        assert_eq!(json["Images"][0]["Containers"], "1");
        assert_eq!(json["Containers"][0]["Names"], "web");
        let names = "{{range .Images}}{{.Repository}}:{{.Tag}} {{end}}";
        assert_eq!(
            run(&store, &["system", "df", "-v", "--format", names]),
            "alpine:3.20 other:1 \n"
        );
        let row = run(&store, &["system", "df", "--format", "json"]);
        assert!(
            row.starts_with("{\"Active\":\"1\",\"Reclaimable\":\""),
            "{row}"
        );
    }
}
