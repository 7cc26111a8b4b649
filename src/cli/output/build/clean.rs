//! What programs write, made fit for a line of a terminal or a log: no escape sequences, no control characters, no bytes
//! that are no text.
//!
//! Invariant: nothing that comes out moves a cursor, changes a colour or a title, or asks a terminal for an answer.

/// A line that the program has written over again and again is what it has come to.
pub fn line(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .rposition(|byte| !matches!(byte, b'\r' | b'\n'));
    let bytes = &bytes[..end.map_or(0, |end| end + 1)];
    let start = bytes.iter().rposition(|&byte| byte == b'\r');
    let text = String::from_utf8_lossy(&bytes[start.map_or(0, |start| start + 1)..]);
    let mut clean = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '\u{1b}' => skip_sequence(&mut rest),
            '\t' => clean.push_str("    "),
            '\u{8}' => drop(clean.pop()),
            character if character.is_control() || is_direction(character) => {}
            character => clean.push(character),
        }
    }
    clean
}

/// What stands behind an escape character (ECMA-48): a control sequence with its last byte, a string with its end, or one
/// character.
fn skip_sequence(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match rest.next() {
        Some('[') => {
            for character in rest.by_ref() {
                if ('@'..='~').contains(&character) {
                    return;
                }
            }
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(character) = rest.next() {
                match character {
                    '\u{7}' => return,
                    '\u{1b}' => {
                        rest.next_if_eq(&'\\');
                        return;
                    }
                    _ => {}
                }
            }
        }
        Some(' '..='/') => drop(rest.next()),
        _ => {}
    }
}

/// Marks that turn the direction of what follows, which then reads as something else.
fn is_direction(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// How many columns a character takes, at most.
pub fn width(character: char) -> usize {
    if ('\u{1100}'..).contains(&character) && !matches!(character, '\u{2000}'..='\u{2e7f}') {
        2
    } else {
        1
    }
}

/// As much of a text as fits into so many columns.
pub fn cut(text: &str, columns: usize) -> String {
    let mut used = 0;
    let fits = |character: &char| {
        used += width(*character);
        used <= columns
    };
    text.chars().take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_that_a_terminal_acts_on() {
        for (written, shown) in [
            (&b"plain\n"[..], "plain"),
            (b"\x1b[31mred\x1b[0m\r\n", "red"),
            (b"10%\r20%\r30%", "30%"),
            (b"10%\r20%\r", "20%"),
            (b"\x1b]0;title\x07text", "text"),
            (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
            (b"\x1bPqq\x1b\\a", "a"),
            (b"a\tb", "a    b"),
            (b"ab\x08c", "ac"),
            (b"\xff\xfe", "\u{fffd}\u{fffd}"),
            (b"\x1b(Bx", "x"),
            (b"\x1b[2J\x1b[Hx", "x"),
            ("a\u{202e}b\u{9b}31m".as_bytes(), "ab31m"),
            (b"\x1b", ""),
            (b"\r\n", ""),
        ] {
            assert_eq!(line(written), shown, "{written:?}");
        }
        assert_eq!(cut("a漢字b", 3), "a漢");
    }
}
