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

/// Bytes on the disk, by du(1).
fn du(path: &std::path::Path) -> u64 {
    let mut du = std::process::Command::new("du");
    let output = du.args(["-s", "-B1"]).arg(path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

/// What is kept beside the files of an image, to give its archives back byte for byte, is at most three in a hundred of
/// what tar(1) makes of them on the same file system.
#[test]
fn an_image_takes_little_more_than_its_files() {
    for store in everyone_with_alpine() {
        let mut archives = Vec::new();
        let saved = |name: &str| {
            let unpacked = store.path().join("unpacked");
            std::fs::create_dir_all(&unpacked).unwrap();
            let archive = store.path().join("saved.tar");
            let output = store.onggi(["save", name]).run();
            std::fs::write(&archive, output.code(0).stdout_bytes()).unwrap();
            let tar = |archive: &std::path::Path, directory: &std::path::Path| {
                std::fs::create_dir_all(directory).unwrap();
                let mut tar = std::process::Command::new("tar");
                let status = tar.arg("xf").arg(archive).arg("-C").arg(directory).status();
                assert!(status.unwrap().success());
            };
            let parts = store.path().join("parts");
            tar(&archive, &parts);
            let layer = run(
                &store,
                &[
                    "image",
                    "inspect",
                    "--format",
                    "{{index .RootFS.Layers 0}}",
                    name,
                ],
            );
            let hex = layer.trim().trim_start_matches("sha256:").to_owned();
            tar(&parts.join("blobs/sha256").join(&hex), &unpacked);
            let sizes = (du(&unpacked), du(&store.data().join("layers").join(&hex)));
            for directory in [unpacked, parts] {
                std::fs::remove_dir_all(directory).unwrap();
            }
            sizes
        };
        archives.push((ALPINE, saved(ALPINE)));
        // Each header costs most where there is little beside it.
        let mut builder = tar::Builder::new(Vec::new());
        for index in 0..2000u32 {
            let mut header = tar::Header::new_gnu();
            header
                .set_path(format!("directory-{}/file-{index}", index % 40))
                .unwrap();
            header.set_size(100);
            header.set_mode(0o644);
            header.set_mtime(u64::from(1_700_000_000 + index * 7919 % 1_000_000));
            header.set_cksum();
            let content = [index.to_le_bytes(); 25].concat();
            builder.append(&header, &content[..]).unwrap();
        }
        let archive = builder.into_inner().unwrap();
        store
            .onggi(["import", "-", "small"])
            .stdin(archive)
            .run()
            .code(0);
        archives.push(("small", saved("small")));
        for (name, (unpacked, layer)) in archives {
            let ratio = layer as f64 / unpacked as f64;
            assert!(
                (0.9..=1.03).contains(&ratio),
                "{name}: {layer} / {unpacked} = {ratio}"
            );
        }
    }
}
