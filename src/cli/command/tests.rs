//! Tests of the table of commands.

use super::*;
use std::collections::BTreeSet;

#[test]
fn every_spelling_is_there_once_and_every_noun_is_a_group() {
    let mut seen = BTreeSet::new();
    for spelling in COMMANDS.iter().flat_map(|command| command.spellings) {
        assert!(seen.insert(spelling), "{spelling} twice");
        if let Some((noun, _)) = spelling.split_once(' ') {
            assert!(
                GROUPS.iter().any(|(group, _)| *group == noun),
                "{noun} has no line of help"
            );
        }
    }
}

#[test]
fn arity_comes_from_the_usage_line() {
    for (arguments, arity) in [
        ("", (0, Some(0))),
        ("[REPOSITORY[:TAG]]", (0, Some(1))),
        ("SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", (2, Some(2))),
        ("IMAGE [COMMAND] [ARG...]", (1, None)),
        ("CONTAINER [CONTAINER...]", (1, None)),
    ] {
        let command = Command {
            arguments,
            ..command::<crate::cli::system::version::Version>(&["x"], "", "")
        };
        assert_eq!(command.arity(), arity, "{arguments}");
    }
}
