//! Texts that nobody means: nothing panics, every place lies within the file, and nothing takes long.

use super::instruction::Instruction;
use super::variable::Expander;
use super::{parse, parse_instruction};
use crate::build::source::{Diagnostic, Span};
use proptest::prelude::*;

/// The lines of a text, to see that places lie within.
struct Lines(Vec<usize>);

impl Lines {
    /// How many characters each has, with what ends it.
    fn new(text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self(text.split('\n').map(|line| line.chars().count()).collect())
    }

    fn check(&self, span: Span) {
        assert!(span.start <= span.end, "{span:?}");
        for place in [span.start, span.end] {
            let length = self.0.get(place.line as usize - 1);
            let length = length.unwrap_or_else(|| panic!("{place:?} is behind the last line"));
            assert!(
                place.column >= 1 && place.column as usize <= length + 1,
                "{place:?}"
            );
        }
    }

    fn check_all(&self, diagnostics: &[Diagnostic]) {
        for diagnostic in diagnostics {
            self.check(diagnostic.span);
            assert!(!diagnostic.message.contains('\n'), "{diagnostic:?}");
        }
        // What is shown of one line is as long as that line, many times over.
        for diagnostic in diagnostics.iter().take(10) {
            assert!(diagnostic.snippet().contains('^'));
        }
    }
}

fn check_file(text: &str) {
    let lines = Lines::new(text);
    let file = match parse("x", text.as_bytes()) {
        Ok(file) => file,
        Err(errors) => {
            assert!(!errors.is_empty());
            return lines.check_all(&errors);
        }
    };
    assert!(!file.stages.is_empty());
    lines.check_all(&file.warnings);
    for stage in &file.stages {
        lines.check(stage.span);
        for step in &stage.instructions {
            lines.check(step.span);
            if let Instruction::OnBuild(trigger) = &step.instruction
                && file.directives.escape == '\\'
            {
                parse_instruction("trigger", trigger).unwrap();
            }
        }
    }
}

/// Lines that are nearly right.
fn nearly() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &[
        "FROM",
        "RUN",
        "COPY",
        "ADD",
        "ENV",
        "ARG",
        "LABEL",
        "ONBUILD",
        "HEALTHCHECK",
        "CMD",
        "SHELL",
        "VOLUME",
        "EXPOSE",
        "as",
        "a",
        "b=c",
        "--from=x",
        "--mount=type=cache,target=/x",
        "--interval=1s",
        "<<E",
        "<<-\"F\"",
        "<<",
        "E",
        "F",
        "\n",
        "\n",
        "\n",
        "\r\n",
        "\\\n",
        "\\",
        "`",
        "'",
        "\"",
        "[\"a\"]",
        "[",
        "# x",
        "#escape=`",
        "${x:-",
        "}",
        "$y",
        "\t",
        "\u{a0}",
        "\u{e9}",
        "\u{feff}",
        "NONE",
        "=",
    ];
    let word = proptest::sample::select(WORDS).prop_flat_map(|word| {
        proptest::sample::select(&["", " "][..]).prop_map(move |space| format!("{word}{space}"))
    });
    proptest::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn any_text_is_read_or_told(text in any::<String>()) {
        check_file(&text);
    }

    #[test]
    fn nearly_right_text_is_read_or_told(text in nearly()) {
        check_file(&text);
        check_file(&format!("FROM a\n{text}"));
    }

    #[test]
    fn any_bytes_are_read_or_told(bytes in any::<Vec<u8>>()) {
        let mut file = b"FROM a\nRUN ".to_vec();
        file.extend(bytes);
        let _ = parse("x", &file);
    }

    #[test]
    fn any_word_is_expanded_or_told(text in "[a-z$\\{\\}:?+#%/*'\"` \\\\-]{0,24}|\\PC{0,12}") {
        let values = |name: &str| (name.len() % 2 == 1).then(|| "a b*c/d".to_owned());
        for escape in ['\\', '`'] {
            let mut expander = Expander::new(escape, &values);
            if let Err(fault) = expander.word(&text) {
                prop_assert!(fault.range.start <= fault.range.end && fault.range.end <= text.len());
                prop_assert!(text.is_char_boundary(fault.range.start) && text.is_char_boundary(fault.range.end));
            }
            let _ = expander.words(&text);
            let _ = expander.heredoc(&text);
        }
    }
}

/// Each of these takes a moment; anything that looks at a line or a file again and again would take minutes.
#[test]
fn big_files_are_read_at_once() {
    const MANY: usize = 100_000;
    let files = [
        format!("FROM a\n{}", "RUN apt-get\n".repeat(MANY)),
        format!("FROM a\nRUN x \\\n{}y", " && z \\\n".repeat(MANY)),
        format!("FROM a\nRUN x \\\n{}y", "# z\n\n".repeat(MANY)),
        format!("FROM a\n{}RUN y", "# z\n".repeat(MANY)),
        format!("FROM a\nENV {}", "a=b \\\n".repeat(MANY)),
        format!("FROM a\nRUN {}", "x ".repeat(MANY * 10)),
        format!("FROM a\nRUN x << y\n{}", "RUN x << y <<- z\n".repeat(MANY)),
        format!(
            "FROM a\nCOPY {} /d\n{}",
            "<<E ".repeat(MANY),
            "E\n".repeat(MANY)
        ),
        format!("FROM a\nRUN <<E\n{}E", "x\n".repeat(MANY)),
        format!("FROM a\nCMD [{}\"x\"]", "\"x\",".repeat(MANY)),
        format!("FROM a\nRUN {}", "[".repeat(MANY)),
        format!(
            "FROM a\nRUN {}",
            "--mount=type=tmpfs,target=/x ".repeat(MANY)
        ),
        "FROM a AS b\n".repeat(MANY),
        format!("FROM a\n{}", "CMD x\n".repeat(MANY)),
        format!("FROM a\nARG {}", "token_a ".repeat(MANY)),
        format!("FROM a\n{}", "ONBUILD ".repeat(MANY)),
        "x".repeat(MANY * 10),
        "\\\n".repeat(MANY),
    ];
    for file in files {
        check_file(&file);
    }
}
