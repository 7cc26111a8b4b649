//! What patterns match, by tables and against regular expressions.

use super::*;
use proptest::prelude::*;

#[test]
fn paths_match() {
    let cases = [
        ("a", "a", true),
        ("a", "b", false),
        ("a/b", "a/b", true),
        ("*", "abc", true),
        ("*", "", true),
        ("*", "a/b", false),
        ("*.md", "README.md", true),
        ("*.md", "a/README.md", false),
        ("a*b*c", "axxbyyc", true),
        ("a*b*c", "axxbyy", false),
        ("a?c", "abc", true),
        ("a?c", "a/c", false),
        ("a?c", "aüc", true),
        ("[a-c]x", "bx", true),
        ("[^a-c]x", "bx", false),
        ("[^a-c]x", "dx", true),
        ("[\\]a]", "]", true),
        ("[x\\-z]", "-", true),
        ("[x\\-z]", "y", false),
        ("\\*", "*", true),
        ("\\*", "a", false),
        ("a\\[b", "a[b", true),
        ("**", "a", true),
        ("**", "a/b/c", true),
        ("**/a", "a", true),
        ("**/a", "x/y/a", true),
        ("**/a", "xa", false),
        ("**/*.go", "m.go", true),
        ("**/*.go", "a/b/m.go", true),
        ("**/*.go", "a/b/m.gx", false),
        ("a/**", "a/b/c", true),
        ("a/**", "a", false),
        ("a/**", "ab", false),
        ("a/**/b", "a/b", true),
        ("a/**/b", "a/x/y/b", true),
        ("a/**/b", "a/xb", false),
        ("a**b", "ab", true),
        ("a**b", "ax/b", true),
        ("a**b", "axb", false),
        ("**/a/**/b", "x/a/y/b", true),
        ("a.b", "axb", false),
        ("a+b(c)$", "a+b(c)$", true),
    ];
    for (pattern, path, expected) in cases {
        assert_eq!(
            Pattern::new(pattern).unwrap().matches(path),
            expected,
            "{pattern} {path}"
        );
    }
    assert!(!Pattern::plain("**/a").unwrap().matches("x/y/a"));
    assert!(Pattern::plain("**/a").unwrap().matches("x/a"));
    assert!(
        Pattern::plain("a/b").unwrap().is_literal() && !Pattern::plain("a/?").unwrap().is_literal()
    );
}

#[test]
fn directories_cover_what_is_in_them() {
    let cases = [
        ("a", "a/b/c", true),
        ("a", "ab/c", false),
        ("*", "a/b", true),
        ("a/*", "a/b/c", true),
        ("a/*", "a", false),
        ("**/b", "a/b/c", true),
        ("**/b/c", "a/b/c/d", true),
        ("**/b/c", "a/b/cd", false),
        ("**/bb", "abb/bbb/bb/x", true),
        ("**/ü", "aü/ü", true),
        ("*.md", "a/b.md", false),
    ];
    for (pattern, path, expected) in cases {
        assert_eq!(
            Pattern::new(pattern).unwrap().covers(path),
            expected,
            "{pattern} {path}"
        );
    }
}

#[test]
fn patterns_reach_into_directories() {
    let cases = [
        ("a/b/c", "a", true),
        ("a/b/c", "a/b", true),
        ("a/b/c", "a/b/c", false),
        ("a/b/c", "a/bc", false),
        ("abc", "a", false),
        ("a/*.go", "a", true),
        ("a/*.go", "a/b", false),
        ("*/x", "a", true),
        ("*/x", "a/b", false),
        ("**/x", "a/b/c", true),
        ("*.go", "a", false),
        ("a", "", true),
        ("a/**", "a/b", true),
        ("b/**", "a/b", false),
    ];
    for (pattern, directory, expected) in cases {
        assert_eq!(
            Pattern::new(pattern).unwrap().reaches(directory),
            expected,
            "{pattern} {directory}"
        );
    }
}

#[test]
fn wrong_ones_are_told() {
    for pattern in [
        "[", "[a", "[]", "[]a]", "[a-]", "[-a]", "[^]", "a\\", "[\\", "[a-\\",
    ] {
        assert!(Pattern::new(pattern).is_err(), "{pattern}");
    }
}

#[test]
fn a_long_pattern_is_not_slow() {
    let pattern = Pattern::new(&"*a".repeat(500)).unwrap();
    assert!(!pattern.matches(&"a".repeat(499)));
    assert!(pattern.matches(&"a".repeat(600)));
    assert!(!pattern.matches(&format!("{}b", "a".repeat(5000))));
}

/// The regular expression that a pattern stands for.
fn expression(pattern: &str) -> String {
    let mut out = String::from("(?s)^");
    let mut rest = pattern;
    while !rest.is_empty() {
        if let Some(behind) = rest.strip_prefix("**") {
            rest = behind.strip_prefix('/').unwrap_or(behind);
            out.push_str(if rest.is_empty() { ".*" } else { "(?:.*/)?" });
            continue;
        }
        match rest.as_bytes()[0] {
            b'*' => out.push_str("[^/]*"),
            b'?' => out.push_str("[^/]"),
            other => out.push(char::from(other)),
        }
        rest = &rest[1..];
    }
    out + "$"
}

proptest! {
    #[test]
    fn they_are_what_their_expression_is(pattern in "[ab/*?]{0,8}", path in "[ab]{1,3}(/[ab]{1,3}){0,4}") {
        let compiled = Pattern::new(&pattern).unwrap();
        let expression = regex_lite::Regex::new(&expression(&pattern)).unwrap();
        prop_assert_eq!(compiled.matches(&path), expression.is_match(&path), "{} {}", pattern, path);
        let parents = path.match_indices('/').map(|(at, _)| &path[..at]);
        let covered = expression.is_match(&path) || parents.clone().any(|parent| expression.is_match(parent));
        prop_assert_eq!(compiled.covers(&path), covered, "{} {}", pattern, path);
        // What it matches below a directory, it reaches from there.
        if expression.is_match(&path) {
            for parent in parents {
                prop_assert!(compiled.reaches(parent), "{} {}", pattern, parent);
            }
        }
    }

    #[test]
    fn nothing_panics(pattern in any::<String>(), path in any::<String>()) {
        if let Ok(pattern) = Pattern::new(&pattern) {
            pattern.covers(&path);
            pattern.reaches(&path);
        }
    }
}
