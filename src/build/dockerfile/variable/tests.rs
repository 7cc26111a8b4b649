//! What words become, and what is told of wrong ones.

use super::*;
use std::collections::BTreeMap;

fn values(name: &str) -> Option<String> {
    let known = [
        ("x", "abc"),
        ("e", ""),
        ("path", "/usr/local/lib/libc.so.6"),
        ("s", "a b  c"),
        ("star", "a*b?c\\d"),
        ("v", "1.2.3-rc1"),
        ("ü", "never"),
    ];
    let known = BTreeMap::from(known);
    known.get(name).map(|value| (*value).to_owned())
}

fn word(text: &str) -> String {
    match Expander::new('\\', &values).word(text) {
        Ok(word) => word,
        Err(fault) => format!("{:?}: {}", fault.range, fault.message),
    }
}

#[test]
fn words_are_expanded() {
    let cases = [
        ("", ""),
        ("plain", "plain"),
        ("$x", "abc"),
        ("${x}d", "abcd"),
        ("$xd", ""),
        ("$x-$x", "abc-abc"),
        ("$", "$"),
        ("a$ b", "a$ b"),
        ("$ü", "$ü"),
        ("\\$x", "$x"),
        ("\\\\$x", "\\abc"),
        ("'$x'", "$x"),
        ("\"$x\"", "abc"),
        ("\"\\$x \\\" \\\\ \\a\"", "$x \" \\ \\a"),
        ("'a'\"b\"c", "abc"),
        ("\"it's\"", "it's"),
        ("a\\ b", "a b"),
        ("a\\", "a"),
        ("$1$@${2}", ""),
        ("$12a", "a"),
        // Defaults.
        ("${u:-d}", "d"),
        ("${u-d}", "d"),
        ("${e:-d}", "d"),
        ("${e-d}", ""),
        ("${x:-d}", "abc"),
        ("${u:-${e:-$x}}!", "abc!"),
        ("${u:-'a}b'}", "a}b"),
        ("${u:-a\\}b}", "a}b"),
        ("${u:-}", ""),
        // Alternatives.
        ("${x:+y}", "y"),
        ("${x+y}", "y"),
        ("${e:+y}", ""),
        ("${e+y}", "y"),
        ("${u+y}", ""),
        // Demands.
        ("${x:?m}", "abc"),
        ("${e?m}", ""),
        ("${e:?not $x}", "0..12: e: not abc"),
        ("${u?}", "0..5: u: not allowed to be unset"),
        ("a${e:?}", "1..7: e: not allowed to be empty"),
        // Cutting.
        ("${path#*/}", "usr/local/lib/libc.so.6"),
        ("${path##*/}", "libc.so.6"),
        ("${path%/*}", "/usr/local/lib"),
        ("${path%%/*}", ""),
        ("${path%.so*}", "/usr/local/lib/libc"),
        ("${path#/???/}", "local/lib/libc.so.6"),
        ("${x#b}", "abc"),
        ("${x%b}", "abc"),
        ("${x#}", "abc"),
        ("${x##*}", ""),
        ("${x#$x}", ""),
        ("${star#a\\*}", "b?c\\d"),
        ("${star%\\\\?}", "a*b?c"),
        ("${u#a}", ""),
        // Replacing.
        ("${v/./-}", "1-2.3-rc1"),
        ("${v//./-}", "1-2-3-rc1"),
        ("${v/-*/}", "1.2.3"),
        ("${v//[0-9]/x}", "1.2.3-rc1"),
        ("${path//\\//_}", "_usr_local_lib_libc.so.6"),
        ("${x/?/$v}", "1.2.3-rc1bc"),
        ("${x/z/y}", "abc"),
        ("${x//*/y}", "y"),
        ("${x//z*/y}", "abc"),
        ("${x///y}", "abc"),
        // Wrong.
        ("${", "0..2: syntax error: bad substitution"),
        ("${}", "0..3: syntax error: bad substitution"),
        ("${x", "0..3: syntax error: missing '}'"),
        ("${x:", "0..4: syntax error: missing '}'"),
        (
            "${x:-",
            "5..5: unexpected end of statement while looking for matching }",
        ),
        (
            "${x/a}",
            "4..6: unexpected end of statement while looking for matching /",
        ),
        ("${x:=d}", "0..5: unsupported modifier (:=) in substitution"),
        ("${x^^}", "0..4: unsupported modifier (^) in substitution"),
        ("${x:#a}", "0..5: unsupported modifier (:#) in substitution"),
        (
            "a'b",
            "1..3: unexpected end of statement while looking for matching single-quote",
        ),
        (
            "a \"b$x",
            "2..6: unexpected end of statement while looking for matching double-quote",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(word(text), expected, "{text}");
    }
}

#[test]
fn words_are_split_where_they_are_not_quoted() {
    let cases: &[(&str, &[&str])] = &[
        ("", &[]),
        ("a  b\tc", &["a", "b", "c"]),
        ("$s", &["a", "b", "c"]),
        ("\"$s\"", &["a b  c"]),
        ("x$s", &["xa", "b", "c"]),
        ("'a b' \"\" c\\ d", &["a b", "", "c d"]),
        ("$e $u", &[]),
        ("${u:-1 2}", &["1", "2"]),
    ];
    for (text, expected) in cases {
        assert_eq!(
            Expander::new('\\', &values).words(text).unwrap(),
            *expected,
            "{text}"
        );
    }
}

#[test]
fn heredocs_keep_their_quotes() {
    let mut expander = Expander::new('`', &values);
    let text = expander
        .heredoc("\"$x\" 'it' don't \\$x `a` ${u:-\"d\"}\n")
        .unwrap();
    assert_eq!(text, "\"abc\" 'it' don't $x `a` \"d\"\n");
    assert_eq!(expander.word("a`$b\\").unwrap(), "a$b\\");
}

#[test]
fn names_are_remembered() {
    let mut expander = Expander::new('\\', &values);
    expander
        .word("$x ${u:-$e} '$quoted' \\$escaped ${w+$z}")
        .unwrap();
    let names = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(names(&expander.used), "e x");
    assert_eq!(names(&expander.unset), "u w z");
}

#[test]
fn hostile_words_end_soon() {
    let many = |_: &str| Some("ab".repeat(1 << 19));
    let mut expander = Expander::new('\\', &many);
    let mut message = |text: &str| expander.word(text).err().map(|fault| fault.message);
    assert_eq!(
        message(&"$x".repeat(100)).unwrap(),
        "the expanded text is too long"
    );
    assert_eq!(
        message(&"\"$x$x\"".repeat(50)).unwrap(),
        "the expanded text is too long"
    );
    assert_eq!(
        message(&format!("${{x//a/{}}}", "c".repeat(1000))).unwrap(),
        "the expanded text is too long"
    );
    assert_eq!(
        message("${x//a*c/d}").unwrap(),
        "the expanded text is too long"
    );
    assert_eq!(
        message(&format!("${{x#{}}}", "a*".repeat(1000))).unwrap(),
        "the pattern is too long for this value"
    );
    assert_eq!(
        message(&"${x:-".repeat(100_000)).unwrap(),
        "variables are nested too deep"
    );
    // No program could be given that; a file may be longer.
    let long = "x".repeat(200 << 10);
    assert_eq!(message(&long).unwrap(), "the expanded text is too long");
    assert_eq!(expander.heredoc(&long).unwrap(), long);
    let deep = format!("{}d{}", "${u:-".repeat(50), "}".repeat(50));
    assert_eq!(word(&deep), "d");
}
