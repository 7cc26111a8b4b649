//! How a heredoc begins: `<<NAME`, `<<-NAME`, `<<"NAME"`, as a word of `RUN`, `COPY` and `ADD`, also behind `ONBUILD`.
//! <https://docs.docker.com/reference/dockerfile/#here-documents>
//!
//! What stands in one is read by the lexer.

use super::flag;
use super::part::{List, Part, json_list, unquote};
use std::ops::Range;

/// The word that begins one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The line that ends it.
    pub name: String,
    /// Tabs at the begin of its lines are cut off.
    pub tabs: bool,
    /// No part of the name was quoted: variables in it are expanded.
    pub expand: bool,
    /// The name is a word of its own, as in `<< EOF`. It could as well be a shift in the shell's arithmetic, so that it is a
    /// heredoc only if the line that ends it is there.
    pub spaced: bool,
    /// Where the word stands in the joined line.
    pub range: Range<usize>,
}

/// Those that a line begins, in their order.
pub fn openings(line: Part<'_>, escape: char) -> Vec<Opening> {
    if !line.text.contains("<<") {
        return Vec::new();
    }
    let (mut name, mut rest) = line.first_word();
    if name.text.eq_ignore_ascii_case("ONBUILD") {
        (name, rest) = rest.first_word();
    }
    let may = ["RUN", "COPY", "ADD"];
    if !may.iter().any(|may| name.text.eq_ignore_ascii_case(may)) {
        return Vec::new();
    }
    if let List::Words(..) = json_list(flag::split(rest, escape).1) {
        return Vec::new();
    }
    let (words, open) = rest.quoted_words(escape);
    // With a quote left open nobody can tell what is a word.
    if open {
        return Vec::new();
    }
    let mut openings = Vec::new();
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        openings.extend(opening(word, escape));
        if let Some(tabs) = bare(word)
            && let Some(next) = words.peek()
        {
            openings.push(named(*next, next.text, tabs, true, escape));
        }
    }
    openings
}

/// Whether a command is nothing but this heredoc.
pub fn is_whole(text: &str, heredoc: &str, escape: char) -> bool {
    let (words, _) = Part::new(text).quoted_words(escape);
    match words.as_slice() {
        [word] => opening(*word, escape).is_some(),
        [word, name] => bare(*word).is_some() && unquote(name.text, escape).0 == heredoc,
        _ => false,
    }
}

/// `<<` or `<<-` by itself, whose name is the next word; whether tabs are cut off.
pub fn bare(word: Part<'_>) -> Option<bool> {
    match word
        .text
        .trim_start_matches(|digit: char| digit.is_ascii_digit())
    {
        "<<" => Some(false),
        "<<-" => Some(true),
        _ => None,
    }
}

/// The heredoc that a word begins. A number before it is the descriptor, which is the shell's affair.
pub fn opening(word: Part<'_>, escape: char) -> Option<Opening> {
    let rest = word
        .text
        .trim_start_matches(|digit: char| digit.is_ascii_digit());
    let rest = rest.strip_prefix("<<")?;
    let (tabs, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    Some(named(word, rest, tabs, false, escape))
}

fn named(word: Part<'_>, name: &str, tabs: bool, spaced: bool, escape: char) -> Opening {
    let (name, quoted) = unquote(name, escape);
    Opening {
        name,
        tabs,
        expand: !quoted,
        spaced,
        range: word.range(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_begin_one() {
        let cases = [
            ("<<EOF", Some(("EOF", false, true))),
            ("<<-EOF", Some(("EOF", true, true))),
            ("3<<EOF", Some(("EOF", false, true))),
            ("<<'E F'", Some(("E F", false, false))),
            ("<<-\"EOF\"", Some(("EOF", true, false))),
            ("<<E\"O\"F", Some(("EOF", false, false))),
            ("<<\\EOF", Some(("EOF", false, false))),
            ("<<robots.txt", Some(("robots.txt", false, true))),
            ("<<", None),
            ("<<-", None),
            ("<<<EOF", None),
            ("<EOF", None),
            ("cat<<EOF", None),
            ("EOF", None),
        ];
        for (word, expected) in cases {
            let opening = opening(Part::new(word), '\\');
            let found = opening
                .as_ref()
                .map(|it| (it.name.as_str(), it.tabs, it.expand));
            assert_eq!(found, expected, "{word}");
        }
    }

    #[test]
    fn only_where_they_may_stand() {
        let count = |line| openings(Part::new(line), '\\').len();
        assert_eq!(count("RUN cat <<A <<B"), 2);
        assert_eq!(count("run --mount=type=tmpfs,target=/x <<A"), 1);
        assert_eq!(count("COPY <<A <<B /x"), 2);
        assert_eq!(count("ONBUILD ADD <<A /x"), 1);
        assert_eq!(count("RUN [\"cat\", \"<<A\"]"), 0);
        assert_eq!(count("RUN echo '<<A'"), 0);
        assert_eq!(count("RUN cat << A <<- B"), 2);
        assert_eq!(count("RUN cat <<"), 0);
        assert_eq!(count("ENV x=<<A"), 0);
        assert_eq!(count("CMD cat <<A"), 0);
    }
}
