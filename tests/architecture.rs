//! Reads the sources and fails where they leave the map: imports that point up or sideways, `unsafe` outside
//! `sys`, printing outside `cli/output`, disk paths outside `paths.rs`, an exit outside `main.rs`, and files
//! or functions that have grown too long or are named after nothing.
//!
//! It knows Rust's tokens (comments, strings, lifetimes), not its grammar. Every rule is also shown a sample
//! that breaks it, so that a rule which cannot fail does not go unnoticed.

#[path = "architecture/source.rs"]
mod source;

use source::{Kind, Source, Token, tokens};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Lowest row first. A room may name rooms of lower rows only, and none of its own row but itself.
const ROWS: &[&[&str]] = &[
    &["error"],
    &["sys", "paths", "settings", "progress", "duration"],
    &["store", "systemd", "id_mapping"],
    &["cgroup"],
    &["runtime", "image", "network", "volume"],
    &["container"],
    &["build"],
    &["compose"],
    &["api"],
    &["cli"],
];

/// Names that say nothing and therefore collect everything.
const EMPTY_NAMES: &[&str] = &[
    "util", "utils", "common", "helper", "helpers", "misc", "core",
];

const LONGEST_FILE: usize = 600;
const LONGEST_FUNCTION: usize = 100;

fn row(room: &str) -> Option<usize> {
    ROWS.iter().position(|rooms| rooms.contains(&room))
}

fn imports_point_down(source: &Source) -> Vec<String> {
    let Some(room) = source.room() else {
        return Vec::new();
    };
    let Some(own) = row(room) else {
        return vec![source.finding(1, format!("room `{room}` stands in no row"))];
    };
    let mut findings = Vec::new();
    for (line, name) in source.rooms_named() {
        match row(&name) {
            _ if name == room => {}
            Some(other) if other < own => {}
            Some(other) => {
                findings.push(source.finding(
                    line,
                    format!("`{room}` (row {own}) names `{name}` (row {other})"),
                ));
            }
            None => findings.push(source.finding(line, format!("`crate::{name}` is not a room"))),
        }
    }
    findings
}

fn unsafe_only_in_sys(source: &Source) -> Vec<String> {
    if source.room() == Some("sys") {
        return Vec::new();
    }
    let is_unsafe = |token: &&Token| token.kind == Kind::Word && token.text == "unsafe";
    source
        .tokens
        .iter()
        .filter(is_unsafe)
        .map(|token| source.finding(token.line, "`unsafe` outside `sys`"))
        .collect()
}

fn only_output_prints(source: &Source) -> Vec<String> {
    if source.path.starts_with("src/cli/output") {
        return Vec::new();
    }
    let is_stream = |word: &str| matches!(word, "stdout" | "stderr");
    let mut findings = Vec::new();
    for at in 0..source.tokens.len() {
        let word = source.word(at);
        let prints = matches!(word, "print" | "println" | "eprint" | "eprintln" | "dbg")
            && source.mark(at + 1) == "!";
        let streams = word == "io"
            && source.marks(at + 1, &[":", ":"])
            && (is_stream(source.word(at + 3))
                || source
                    .first_names(at + 3)
                    .iter()
                    .any(|name| is_stream(name)));
        if prints || streams {
            findings.push(source.finding(source.tokens[at].line, "printing outside `cli/output`"));
        }
    }
    findings
}

/// `names` are the components that `paths.rs` itself joins.
fn only_paths_knows_the_disk(source: &Source, names: &BTreeSet<String>) -> Vec<String> {
    if source.room().is_none_or(|room| room == "paths") {
        return Vec::new();
    }
    let tests = source.test_lines();
    let mut findings = Vec::new();
    for (at, token) in source.tokens.iter().enumerate() {
        if token.kind != Kind::Text || tests.iter().any(|range| range.contains(&token.line)) {
            continue;
        }
        let value = token
            .text
            .trim_matches(['b', 'c', 'r', '#'])
            .trim_matches('"');
        let joined =
            at >= 2 && source.mark(at - 1) == "(" && matches!(source.word(at - 2), "join" | "push");
        let known = value.split('/').any(|part| names.contains(part));
        let absolute = ["/var/lib/onggi", "/run/onggi", ".local/share"]
            .iter()
            .any(|root| value.contains(root));
        if (joined && known) || absolute || (known && value.ends_with(".json")) {
            findings.push(source.finding(token.line, format!("path `{value}` outside `paths.rs`")));
        }
    }
    findings
}

/// The components that a file joins to paths; the program's own name says nothing about the layout.
fn joined_names(source: &Source) -> BTreeSet<String> {
    let joined = |&at: &usize| source.word(at) == "join" && source.mark(at + 1) == "(";
    let literals = (0..source.tokens.len())
        .filter(joined)
        .filter_map(|at| source.tokens.get(at + 2));
    literals
        .filter(|token| token.kind == Kind::Text)
        .flat_map(|token| {
            token
                .text
                .trim_matches('"')
                .split('/')
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .filter(|name| name != env!("CARGO_PKG_NAME"))
        .collect()
}

fn only_main_exits(source: &Source) -> Vec<String> {
    if source.path == "src/main.rs" {
        return Vec::new();
    }
    let exits = |&at: &usize| {
        source.word(at) == "process"
            && source.marks(at + 1, &[":", ":"])
            && source.first_names(at + 3).iter().any(|name| name == "exit")
    };
    let at = (0..source.tokens.len()).filter(exits);
    at.map(|at| source.finding(source.tokens[at].line, "`process::exit` outside `main.rs`"))
        .collect()
}

fn files_are_short_and_introduced(source: &Source) -> Vec<String> {
    let mut findings = Vec::new();
    let lines = source.text.lines().count();
    if lines > LONGEST_FILE {
        findings.push(source.finding(lines, format!("{lines} lines, {LONGEST_FILE} at most")));
    }
    if !source.text.starts_with("//!") {
        findings.push(source.finding(1, "does not start with `//!`"));
    }
    findings
}

fn names_mean_something(source: &Source) -> Vec<String> {
    let parts = source.path.trim_end_matches(".rs").split('/').skip(1);
    parts
        .filter(|part| EMPTY_NAMES.contains(part))
        .map(|part| source.finding(1, format!("`{part}` is the name of nothing")))
        .collect()
}

fn functions_are_short(source: &Source) -> Vec<String> {
    let mut findings = Vec::new();
    for at in 0..source.tokens.len() {
        let name = source.word(at + 1);
        if source.word(at) != "fn" || name.is_empty() {
            continue;
        }
        let Some(open) = (at..source.tokens.len()).find(|&at| matches!(source.mark(at), "{" | ";"))
        else {
            continue;
        };
        if source.mark(open) != "{" {
            continue;
        }
        let last = source
            .tokens
            .get(source.after_bracket(open) - 1)
            .map_or(0, |token| token.line);
        let lines = (last + 1).saturating_sub(source.tokens[at].line);
        if lines > LONGEST_FUNCTION {
            let what = format!("`{name}` has {lines} lines, {LONGEST_FUNCTION} at most");
            findings.push(source.finding(source.tokens[at].line, what));
        }
    }
    findings
}

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// All sources below `folder` of the crate.
fn sources(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    rust_files(&root.join(folder), &mut paths);
    paths.sort();
    let read = |path: &PathBuf| {
        let relative = path.strip_prefix(root).unwrap().to_str().unwrap();
        Source::new(relative, &std::fs::read_to_string(path).unwrap())
    };
    let sources: Vec<Source> = paths.iter().map(read).collect();
    assert!(!sources.is_empty(), "no sources in {folder}");
    sources
}

fn assert_clean(folders: &[&str], rule: impl Fn(&Source) -> Vec<String>) {
    let findings: Vec<String> = folders
        .iter()
        .flat_map(|folder| sources(folder))
        .flat_map(|source| rule(&source))
        .collect();
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

/// The rule must find something in `bad` and nothing in `good`.
fn assert_tells_apart(
    rule: impl Fn(&Source) -> Vec<String>,
    bad: &[(&str, &str)],
    good: &[(&str, &str)],
) {
    for (path, text) in bad {
        assert!(
            !rule(&Source::new(path, text)).is_empty(),
            "not seen in {path}: {text}"
        );
    }
    for (path, text) in good {
        let findings = rule(&Source::new(path, text));
        assert!(findings.is_empty(), "{findings:?} in {path}: {text}");
    }
}

#[test]
fn rooms_name_only_rooms_of_lower_rows() {
    assert_tells_apart(
        imports_point_down,
        &[
            (
                "src/image/store.rs",
                "use crate::container::record::Record;",
            ),
            (
                "src/image/store.rs",
                "use crate::{error::{Error, Kind}, runtime};",
            ),
            ("src/image/store.rs", "fn f() { crate::cli::run() }"),
            (
                "src/image/layer/unpack.rs",
                "use super::super::super::network::bridge;",
            ),
            ("src/error.rs", "use crate::paths;"),
            ("src/store/mod.rs", "mod tests { use super::super::image; }"),
            ("src/util/mod.rs", ""),
            ("src/cli/mod.rs", "use crate::*;"),
        ],
        &[
            (
                "src/image/store.rs",
                "use crate::{error::{Error, Kind}, image::digest, sys::mount};",
            ),
            (
                "src/image/layer/unpack.rs",
                "use super::super::digest; // crate::container",
            ),
            (
                "src/error.rs",
                "mod tests { use super::*; mod more { use super::super::Error; } }",
            ),
            ("src/main.rs", "use onggi::cli;"),
            (
                "src/cli/mod.rs",
                "const TEXT: &str = \"crate::nothing\"; use crate::container;",
            ),
        ],
    );
    assert_clean(&["src"], imports_point_down);
}

#[test]
fn unsafe_lives_in_sys() {
    assert_tells_apart(
        unsafe_only_in_sys,
        &[
            ("src/runtime/x.rs", "fn f() { unsafe { g() } }"),
            ("src/lib.rs", "unsafe impl Send for X {}"),
        ],
        &[
            ("src/sys/clone.rs", "unsafe { g() }"),
            (
                "src/runtime/x.rs",
                "#![deny(unsafe_code)] // unsafe\nlet x = 'u';",
            ),
        ],
    );
    assert_clean(&["src"], unsafe_only_in_sys);
}

#[test]
fn only_the_output_folder_prints() {
    assert_tells_apart(
        only_output_prints,
        &[
            ("src/cli/run.rs", "println!(\"{x}\");"),
            ("src/image/x.rs", "let out = std::io::stdout().lock();"),
            ("src/image/x.rs", "use std::io::{self, Write, stderr};"),
            ("src/image/x.rs", "dbg!(x);"),
        ],
        &[
            (
                "src/cli/output/table.rs",
                "println!(\"{x}\"); std::io::stdout();",
            ),
            (
                "src/image/x.rs",
                "command.stdout(Stdio::null()); // println!\nlet s = \"eprintln!\"; let stderr = 2;",
            ),
        ],
    );
    assert_clean(&["src"], only_output_prints);
}

#[test]
fn only_paths_knows_where_things_lie() {
    let paths = Source::new(
        "src/paths.rs",
        &std::fs::read_to_string("src/paths.rs").unwrap(),
    );
    let names = joined_names(&paths);
    assert!(
        ["images", "layers", "containers", "names", "tags.json"]
            .iter()
            .all(|name| names.contains(*name))
    );
    let rule = |source: &Source| only_paths_knows_the_disk(source, &names);
    assert_tells_apart(
        rule,
        &[
            (
                "src/image/store.rs",
                "let path = root.join(\"layers\").join(id);",
            ),
            ("src/image/store.rs", "path.push(\"tags.json\");"),
            ("src/cli/info.rs", "const ROOT: &str = \"/var/lib/onggi\";"),
            ("src/container/x.rs", "format!(\"{id}/tags.json\")"),
        ],
        &[
            (
                "src/cli/images.rs",
                "let name = \"images\"; // root.join(\"layers\")",
            ),
            (
                "src/image/x.rs",
                "#[cfg(test)]\nmod tests { fn f() { root.join(\"layers\"); } }",
            ),
            ("src/paths.rs", "self.data.join(\"layers\")"),
        ],
    );
    assert_clean(&["src"], rule);
}

#[test]
fn only_main_ends_the_process() {
    assert_tells_apart(
        only_main_exits,
        &[
            ("src/cli/mod.rs", "std::process::exit(1)"),
            ("src/cli/mod.rs", "use std::process::{Command, exit};"),
        ],
        &[
            ("src/main.rs", "std::process::exit(1)"),
            ("src/cli/mod.rs", "let exit = process::ExitCode::from(1);"),
        ],
    );
    assert_clean(&["src"], only_main_exits);
}

#[test]
fn files_have_an_introduction_and_an_end() {
    let long = format!("//! x\n{}", "// y\n".repeat(LONGEST_FILE));
    assert_tells_apart(
        files_are_short_and_introduced,
        &[
            ("src/a.rs", &long),
            ("src/a.rs", "use std::fs;"),
            ("src/a.rs", "// x"),
        ],
        &[("src/a.rs", "//! What it is.\n")],
    );
    assert_clean(&["src", "tests"], files_are_short_and_introduced);
}

#[test]
fn names_say_something() {
    assert_tells_apart(
        names_mean_something,
        &[
            ("src/image/util.rs", ""),
            ("src/helpers/mod.rs", ""),
            ("tests/common/mod.rs", ""),
        ],
        &[
            ("src/image/utility_of_hashes.rs", ""),
            ("tests/support/mod.rs", ""),
        ],
    );
    assert_clean(&["src", "tests"], names_mean_something);
}

#[test]
fn functions_end_on_the_same_page() {
    let body = "    x();\n".repeat(LONGEST_FUNCTION);
    let long = format!("fn f<'a>(x: &'a str) -> char {{\n    let brace = '{{';\n{body}}}\n");
    assert_tells_apart(
        functions_are_short,
        &[("src/a.rs", &long)],
        &[
            ("src/a.rs", "fn f() {\n}\n"),
            (
                "src/a.rs",
                &format!("trait T {{ fn f(); }}\n{}", "\n".repeat(200)),
            ),
        ],
    );
    // Tests may be long tables of cases.
    assert_clean(&["src"], functions_are_short);
}

#[test]
fn tokens_are_rusts() {
    let text = "'a' b'\\'' r#\"x\"y\"# \"a\\\"b\" 'life /* a /* b */ c */ br\"z\" '\\u{1F600}' '\"' // end\nlast";
    let found: Vec<String> = tokens(text).into_iter().map(|token| token.text).collect();
    assert_eq!(
        found,
        ["b", "r#\"x\"y\"#", "\"a\\\"b\"", "life", "br\"z\"", "last"]
    );
}
