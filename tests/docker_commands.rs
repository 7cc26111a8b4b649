//! Nothing of Docker's command line is unknown here: every command and flag of the version that is followed is
//! either done, accepted, or refused with its reason. The list is data, so that a new Docker is a new list.

use onggi::cli::{command, flag, unsupported};
use std::collections::BTreeSet;

const LIST: &str = include_str!("data/docker-commands.txt");

struct Line<'a> {
    names: Vec<&'a str>,
    flags: Vec<(&'a str, Option<char>, bool)>,
}

fn list() -> impl Iterator<Item = Line<'static>> {
    LIST.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (names, flags) = line.split_once(':').expect("a colon");
            let flag = |word: &'static str| {
                let (word, value) = word
                    .strip_suffix('=')
                    .map_or((word, false), |word| (word, true));
                let (name, short) = word.split_once('/').unwrap_or((word, ""));
                (name, short.chars().next(), value)
            };
            Line {
                names: names.split(", ").collect(),
                flags: flags.split_whitespace().map(flag).collect(),
            }
        })
}

fn words(name: &str) -> Vec<String> {
    name.split(' ').map(str::to_owned).collect()
}

/// What the program says to a flag of a command that it has: nothing, or what is wrong about it.
fn flag_problem(
    found: &command::Command,
    (name, short, value): (&str, Option<char>, bool),
) -> Option<String> {
    let built = flag::build(found);
    let arg = built.get_arguments().find(|arg| {
        arg.get_long() == Some(name)
            || arg
                .get_all_aliases()
                .is_some_and(|aliases| aliases.contains(&name))
    });
    let Some(arg) = arg else {
        let long = unsupported::flag(found.spellings[0], &format!("--{name}")).is_none();
        let short = short.is_some_and(|short| {
            unsupported::flag(found.spellings[0], &format!("-{short}")).is_none()
        });
        return (long || short).then(|| "is unknown".to_owned());
    };
    let takes_value = !arg.is_require_equals_set();
    match short {
        Some(short) if arg.get_short() != Some(short) => {
            Some(format!("has not the letter {short}"))
        }
        _ if takes_value != value => {
            Some(format!("takes a value: {takes_value}, in Docker: {value}"))
        }
        _ => None,
    }
}

#[test]
fn every_command_and_flag_is_known() {
    let mut problems = BTreeSet::new();
    let (mut here, mut refused) = (0, 0);
    for line in list() {
        for name in &line.names {
            match command::find(&words(name)).filter(|(_, spelling)| spelling == name) {
                Some((found, _)) => {
                    here += 1;
                    for flag in &line.flags {
                        let problem = flag_problem(found, *flag);
                        problems.extend(
                            problem.map(|problem| format!("{name} --{}: {problem}", flag.0)),
                        );
                    }
                }
                None if unsupported::command("onggi", &words(name)).is_some() => refused += 1,
                None => drop(problems.insert(format!("{name}: is unknown"))),
            }
        }
    }
    assert!(
        problems.is_empty(),
        "\n{}",
        problems.into_iter().collect::<Vec<_>>().join("\n")
    );
    assert!(
        here > 50 && here + refused > 200,
        "{here} here, {refused} refused: the list was not read"
    );
}

#[test]
fn what_docker_does_not_have_is_unknown() {
    assert!(unsupported::command("onggi", &words("frobnicate")).is_none());
    assert!(unsupported::flag("container run", "--frobnicate").is_none());
    assert!(unsupported::flag("container run", "-Z").is_none());
}
