//! The README and the examples do what they say. Manual pages and `--help` are in `man.rs` and `cli_help.rs`.

mod support;

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use support::store::program;
use support::{ALPINE, Call, Outcome, Store, everyone, image, store};

const README: &str = include_str!("../README.md");
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");

/// The `sh` blocks between a heading and the next.
fn blocks(heading: &str) -> Vec<&'static str> {
    let (_, section) = README
        .split_once(&format!("\n## {heading}\n"))
        .expect("the heading");
    let section = section.split("\n## ").next().unwrap();
    let blocks = section
        .split("```sh\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap());
    blocks.collect()
}

/// A shell in the store's home whose `onggi` is the program under test.
fn shell(store: &Store, script: &str) -> Outcome {
    let programs = store.home().join("bin");
    if !programs.exists() {
        std::fs::create_dir(&programs).unwrap();
        symlink(program(), programs.join("onggi")).unwrap();
    }
    let mut command: Command = store.command("/bin/sh");
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .current_dir(store.home())
        .env("PATH", format!("{}:{path}", programs.display()));
    command
        .env("ONGGI_ROOT", store.data())
        .env("ONGGI_RUNROOT", store.run_root());
    Call::new(command).args(["-e", "-c", script]).run()
}

#[test]
fn the_tour_of_the_readme_works_for_everyone() {
    let Some(alpine) = image("alpine-3.20.3-rootfs/alpine-minirootfs-3.20.3-x86_64.tar.gz") else {
        return;
    };
    let Some(busybox) = image("archives/test-docker-image.tar") else {
        return;
    };
    for store in everyone() {
        store.file(
            "alpine-minirootfs-3.20.3-x86_64.tar.gz",
            std::fs::read(&alpine).unwrap(),
        );
        store.file("busybox.tar", std::fs::read(&busybox).unwrap());
        let blocks = blocks("A short tour");
        assert_eq!(blocks.len(), 3, "the tour has three parts");
        shell(&store, blocks[0]).code(0).stdout_has("alpine");
        // A shell to type into is shown by the tests of terminals.
        let lines: Vec<&str> = blocks[1]
            .lines()
            .filter(|line| !line.contains("-it"))
            .collect();
        assert_eq!(lines.len() + 1, blocks[1].lines().count());
        shell(
            &store,
            &lines
                .join("\n")
                .replace("exit 7'; echo $?", "exit 7' || echo $?"),
        )
        .code(0)
        .stdout_has("3.20.3\nhi\n7\n")
        .stdout_has("Exited (0)");
        shell(&store, blocks[2]).code(0);
        shell(&store, "onggi load -i alpine.tar")
            .code(0)
            .stdout_has(ALPINE);
    }
}

#[test]
fn the_readme_lists_all_settings() {
    let settings = include_str!("../src/settings.rs");
    let (_, section) = README
        .split_once("| setting | value | meaning |")
        .expect("the table of settings");
    for row in section
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
    {
        let name = row.split('`').nth(1).expect("a name in back quotes");
        assert!(
            settings.contains(&format!("(\"{name}\"")),
            "{name} is no setting"
        );
    }
    for name in ["layer-max-bytes", "layer-devices", "layer-absolute-names"] {
        assert!(
            section.contains(&format!("`{name}`")),
            "{name} is not in the README"
        );
    }
}

#[test]
fn what_the_readme_says_is_missing_is_missing() {
    let Some(store) = store(support::User::Root).or_else(|| everyone().next()) else {
        return;
    };
    for words in [
        &["pull", "x"][..],
        &["push", "x"],
        &["login"],
        &["search", "x"],
        &["exec", "x", "y"],
        &["attach", "x"],
        &["logs", "x"],
        &["stop", "x"],
        &["kill", "x"],
        &["cp", "x", "y"],
        &["commit", "x"],
        &["build", "."],
        &["compose", "up"],
        &["run", "-v", "/a:/b", "x"],
        &["run", "-p", "1:1", "x"],
        &["run", "--memory", "1g", "x"],
        &["run", "--cpus", "1", "x"],
        &["run", "--device", "/dev/x", "x"],
        &["run", "--restart", "always", "x"],
        &["run", "--mount", "type=bind,src=/a,dst=/b", "x"],
    ] {
        let outcome = store.onggi(words).run();
        outcome.code(125).expect(
            outcome.stderr_text().lines().count() <= 2,
            "one line and a hint",
        );
    }
}

#[test]
fn the_examples_run() {
    for store in everyone().filter(Store::alpine) {
        let run = |name: &str, arguments: &[&str], input: &str| {
            let path = Path::new(EXAMPLES).join(name);
            let words: Vec<String> = arguments.iter().map(|word| format!("'{word}'")).collect();
            let text = std::fs::read_to_string(&path).unwrap();
            store.file("example.sh", text);
            shell(
                &store,
                &format!("printf '{input}' | sh ./example.sh {}", words.join(" ")),
            )
        };
        run("one_shot.sh", &[ALPINE], "b\\na\\nb\\n")
            .code(0)
            .stdout("a\nb\n");
        run(
            "build_step.sh",
            &[ALPINE, "sh", "-c", "touch /tmp/x; echo $CI; ! touch /x"],
            "",
        )
        .code(0)
        .stdout("true\n");
    }
}
