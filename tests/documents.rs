//! The README and the examples do what they say. Manual pages and `--help` are in `man.rs` and `cli_help.rs`.

mod support;

use std::path::Path;
use support::{ALPINE, Store, everyone, image, store};

const README: &str = include_str!("../README.md");
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");

/// A command and what it prints.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    command: String,
    printed: Vec<String>,
}

/// The steps of all `console` blocks.
fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        match (line, line.strip_prefix("$ ")) {
            ("```console", _) => inside = true,
            ("```", _) => inside = false,
            (_, Some(command)) if inside => steps.push(Step {
                command: command.to_owned(),
                printed: Vec::new(),
            }),
            _ if inside => steps
                .last_mut()
                .expect("a command before its output")
                .printed
                .push(line.to_owned()),
            _ => {}
        }
    }
    steps
}

/// Whether a line fits a pattern in which `...` stands for anything. Runs of spaces count as one: how wide a
/// column is depends on what stands in it.
fn fits(pattern: &str, line: &str) -> bool {
    let one_space = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (pattern, line) = (one_space(pattern), one_space(line));
    let parts: Vec<&str> = pattern.split("...").collect();
    let [first, middle @ .., last] = &parts[..] else {
        return pattern == line;
    };
    let Some(mut rest) = line.strip_prefix(first) else {
        return false;
    };
    for part in middle {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[test]
fn the_tour_is_as_it_is_told() {
    let file = format!(
        "alpine-3.20.3-rootfs/alpine-minirootfs-3.20.3-{}.tar.gz",
        std::env::consts::ARCH
    );
    let Some(alpine) = image(&file) else { return };
    for store in everyone() {
        store.file("alpine-minirootfs.tar.gz", std::fs::read(&alpine).unwrap());
        for step in steps(README) {
            let printed = store
                .script(&format!("exec 2>&1; {}", step.command))
                .run()
                .stdout_text();
            let lines: Vec<&str> = printed.lines().collect();
            let as_told = lines.len() == step.printed.len()
                && step
                    .printed
                    .iter()
                    .zip(&lines)
                    .all(|(pattern, line)| fits(pattern, line));
            assert!(
                as_told,
                "as {:?}:\n$ {}\nREADME: {:#?}\nprinted: {lines:#?}",
                store.user, step.command, step.printed
            );
        }
    }
}

#[test]
fn steps_and_patterns_are_read() {
    let read = steps("$ no\n```console\n$ a b\nx\n\n$ c\n```\ny\n");
    let step = |command: &str, printed: &[&str]| Step {
        command: command.to_owned(),
        printed: printed.iter().map(ToString::to_string).collect(),
    };
    assert_eq!(read, [step("a b", &["x", ""]), step("c", &[])]);
    for (pattern, line, fit) in [
        ("a", "a", true),
        ("a", "b", false),
        ("a  b", "a b", true),
        ("sha256:...", "sha256:12", true),
        ("... x ...z", "1 x y z", true),
        ("a...b", "ab", true),
        ("a...b", "a", false),
        ("...", "", true),
    ] {
        assert_eq!(fits(pattern, line), fit, "{pattern} {line}");
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

/// What the section about builds names is an option of `build`, of `builder prune`, or of what is done in a step.
#[test]
fn the_flags_of_builds_are_there() {
    let Some(store) = everyone().next() else {
        return;
    };
    let help = |words: &[&str]| store.onggi(words).args(["--help"]).run().stdout_text();
    let known = [&["build"][..], &["run"], &["builder", "prune"]]
        .map(help)
        .join("\n");
    let (_, section) = README.split_once("\n## Build\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let mut flags = 0;
    for (at, _) in section.match_indices("--") {
        let is_letter = |letter: char| letter.is_ascii_lowercase() || letter == '-';
        let flag = section[at..]
            .split(|letter| !is_letter(letter))
            .next()
            .unwrap();
        // Lines of tables are none.
        let is_known = known.contains(flag) || flag == "--from" || flag.starts_with("---");
        assert!(is_known, "{flag} is no option");
        flags += usize::from(flag.len() > 2);
    }
    assert!(flags > 15, "{flags}");
}

#[test]
fn the_two_commands_are_told() {
    for command in ["cargo run --release -- run hello", "\ntests/run\n"] {
        assert!(README.contains(command), "{command}");
    }
}

#[test]
fn what_is_refused_is_in_the_table() {
    let (_, table) = README.split_once("## Not there yet").unwrap();
    let names = include_str!("data/docker-commands.txt")
        .lines()
        .filter(|line| !line.starts_with('#'));
    let names = names.flat_map(|line| line.split(':').next().unwrap().split(", "));
    for words in names.map(|name| name.split(' ').map(str::to_owned).collect::<Vec<_>>()) {
        if onggi::cli::unsupported::command("onggi", &words).is_some() {
            let told = [
                words.join(" "),
                words[0].clone(),
                words.last().unwrap().clone(),
            ];
            assert!(
                told.iter().any(|name| table.contains(&format!("`{name}`"))),
                "{words:?} is missing"
            );
        }
    }
}

#[test]
fn what_the_readme_says_is_missing_is_missing() {
    let Some(store) = store(support::User::Root).or_else(|| everyone().next()) else {
        return;
    };
    for words in [
        &["buildx", "bake"][..],
        &["compose", "up"],
        &["run", "--pull=never", "-v", "/a:/b:O", "x"],
        &["run", "--pull=never", "-p", "1:1", "x"],
        &["run", "--pull=never", "--memory", "1g", "x"],
        &["run", "--pull=never", "--cpus", "1", "x"],
        &["run", "--pull=never", "--device", "/dev/x", "x"],
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
            store
                .script(&format!(
                    "printf '{input}' | sh ./example.sh {}",
                    words.join(" ")
                ))
                .run()
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
        run("image_from_files.sh", &[ALPINE], "")
            .code(0)
            .stdout("hello from a file\n");
        store.file(
            "app/Dockerfile",
            format!("FROM {ALPINE}\nRUN date +%N > /made\n"),
        );
        let job = || run("ci_build.sh", &["cache", "app", "app"], "");
        let first = job().code(0).stdout_text();
        store.ok(["builder", "prune", "-af"]);
        assert_eq!(job().code(0).stdout_text(), first);
        run("keep_and_restart.sh", &[ALPINE], "")
            .code(0)
            .stdout("run 1\nrun 2\nexit code 0\n");
        let path = store.home().join("copy.tar");
        let outcome = run("back_up_a_volume.sh", &[path.to_str().unwrap(), ALPINE], "");
        outcome.code(0).stdout("restored: one note\n");
        store.onggi(["volume", "ls", "-q"]).run().code(0).stdout("");
    }
}
