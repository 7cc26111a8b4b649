//! `.dockerignore`: which files of a context are left out. Also `--exclude` of `COPY` and `ADD`.
//! <https://docs.docker.com/build/concepts/context/#dockerignore-files>
//!
//! It looks at names only. The last line that matches a path, or a directory that the path is in, decides.

use super::pattern::Pattern;
use super::source::{Diagnostic, Source};
use std::path::Path;

/// The lines of a `.dockerignore`.
#[derive(Clone, Debug, Default)]
pub struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    pattern: Pattern,
    /// It began with `!`: what matches is in.
    included: bool,
}

impl Ignore {
    /// Reads a file; `name` is what messages call it.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, Diagnostic> {
        let source = Source::decode(name, bytes)?;
        let mut rules = Vec::new();
        for index in 0..source.line_count() {
            let line = source.line(index);
            if line.starts_with('#') {
                continue;
            }
            if let Some(damage) = source.damage(index) {
                return Err(damage);
            }
            let rule = rule(line).map_err(|message| {
                let start = line.len() - line.trim_start().len();
                let span = source.span(index, start..line.trim_end().len());
                source.error(
                    span,
                    format!("syntax error in pattern: {message}"),
                    "a character that is meant itself needs a \\ before it",
                )
            })?;
            rules.extend(rule);
        }
        Ok(Self { rules })
    }

    /// From patterns as `--exclude` has them. The error names the pattern, on one line.
    pub fn from_patterns<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut rules = Vec::new();
        for pattern in patterns {
            let rule = rule(pattern)
                .map_err(|message| format!("syntax error in pattern '{pattern}': {message}"))?;
            rules.extend(rule);
        }
        Ok(Self { rules })
    }

    /// Nothing is left out.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether some lines begin with `!`.
    pub fn has_exceptions(&self) -> bool {
        self.rules.iter().any(|rule| rule.included)
    }

    /// Whether a file or a directory is left out; the path is relative to the context, which itself never is.
    pub fn excludes(&self, path: impl AsRef<Path>) -> bool {
        let path = path.as_ref().as_os_str().to_string_lossy();
        if path.is_empty() || path == "." {
            return false;
        }
        let decides = self
            .rules
            .iter()
            .rev()
            .find(|rule| rule.pattern.covers(&path));
        decides.is_some_and(|rule| !rule.included)
    }

    /// Whether something in a directory may be in, even if the directory itself is left out. If not, nobody needs to look
    /// into it.
    pub fn may_hold_included(&self, directory: impl AsRef<Path>) -> bool {
        let path = directory.as_ref().as_os_str().to_string_lossy();
        if path.is_empty() || path == "." {
            return true;
        }
        for rule in self.rules.iter().rev() {
            let covered = rule.pattern.covers(&path);
            if rule.included && (covered || rule.pattern.reaches(&path)) {
                return true;
            }
            if covered {
                return rule.included;
            }
        }
        true
    }
}

/// A line's rule; none if it is empty.
fn rule(line: &str) -> Result<Option<Rule>, &'static str> {
    let line = line.trim();
    let (included, text) = match line.strip_prefix('!') {
        Some(rest) => (true, rest.trim()),
        None => (false, line),
    };
    if text.is_empty() {
        return if included {
            Err("nothing stands behind !")
        } else {
            Ok(None)
        };
    }
    let text = clean(text);
    let pattern = Pattern::new(&text)?;
    // The context itself is never left out.
    Ok((text != ".").then_some(Rule { pattern, included }))
}

/// Go's `filepath.Clean`, then without a slash at the begin: a context's paths are relative.
fn clean(text: &str) -> String {
    let rooted = text.starts_with('/');
    let mut names: Vec<&str> = Vec::new();
    for name in text.split('/') {
        match name {
            "" | "." => {}
            ".." if names.last().is_some_and(|last| *last != "..") => {
                names.pop();
            }
            ".." if rooted => {}
            other => names.push(other),
        }
    }
    if names.is_empty() {
        ".".to_owned()
    } else {
        names.join("/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignore(text: &str) -> Ignore {
        Ignore::parse(".dockerignore", text.as_bytes()).unwrap()
    }

    #[test]
    fn the_last_line_that_matches_decides() {
        let cases: &[(&str, &str, &str)] = &[
            ("", "", "a a/b"),
            ("# a\n\n  \n", "", "a #"),
            ("a", "a a/b a/b/c", "b b/a ab"),
            ("/a/", "a a/b", "b/a"),
            ("  a  \r\n./b/../c\r\n", "a c", "b"),
            ("*/a", "x/a x/a/b", "a x/y/a"),
            ("**/a", "a x/a x/y/a/b", "xa"),
            ("*.md\n!README.md", "x.md", "README.md d/x.md"),
            (
                "*.md\n!README*.md\nREADME-secret.md",
                "x.md README-secret.md",
                "README.md",
            ),
            (
                "*.md\nREADME-secret.md\n!README*.md",
                "x.md",
                "README.md README-secret.md",
            ),
            ("*\n!src\n!go.*", "x Makefile", "src src/a/b go.mod"),
            (
                "*\n!src/**/*.go",
                "src src/a.c src/x",
                "src/a.go src/x/y.go",
            ),
            (
                "node_modules\n!node_modules/keep",
                "node_modules node_modules/x",
                "node_modules/keep/a",
            ),
            ("!a\na", "a a/b", "b"),
            (".\n/\n..\n../a", "", "a b/c ."),
            (
                "Dockerfile\n.dockerignore",
                "Dockerfile .dockerignore",
                "d/Dockerfile",
            ),
            ("\u{feff}a", "a", "b"),
            ("a b\n\\#c\n \\!d", "#c !d", "a b"),
            ("!  a\n", "", "a"),
        ];
        for (text, out, within) in cases {
            let ignore = ignore(text);
            for path in out.split_whitespace() {
                assert!(ignore.excludes(path), "{text:?} keeps {path}");
            }
            for path in within.split_whitespace() {
                assert!(!ignore.excludes(path), "{text:?} leaves out {path}");
            }
        }
        assert!(ignore("a b").excludes("a b"));
    }

    #[test]
    fn a_directory_is_looked_into_only_if_something_may_be_in() {
        let cases = [
            ("a", "a", false),
            ("a", "b", true),
            ("*\n!a/b", "a", true),
            ("*\n!a/b", "x", false),
            ("*\n!a/b", "a/b", true),
            ("*\n!a/b", "a/b/c", true),
            ("*\n!a/b", "a/c", false),
            ("*\n!**/keep", "x/y", true),
            ("!a/b\na", "a", false),
            ("a\n!a/b\na/b/c", "a/b/c", false),
            ("a\n!b", "a", false),
        ];
        for (text, directory, expected) in cases {
            assert_eq!(
                ignore(text).may_hold_included(directory),
                expected,
                "{text:?} {directory}"
            );
        }
    }

    #[test]
    fn wrong_lines_are_told() {
        let error = |text: &str| {
            Ignore::parse(".dockerignore", text.as_bytes())
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            error("a\n [b\n"),
            ".dockerignore:2:2: syntax error in pattern: a [ has no ]"
        );
        assert_eq!(
            error("!"),
            ".dockerignore:1:1: syntax error in pattern: nothing stands behind !"
        );
        assert_eq!(
            Ignore::from_patterns(["a", "[]"]).unwrap_err(),
            "syntax error in pattern '[]': nothing stands between [ and ]"
        );
    }
}
