//! One line of comma-separated values (RFC 4180), as `--mount` and `--gpus` are written.

/// The fields of one line of comma-separated values (RFC 4180): within quotes a comma is none.
pub fn fields(text: &str) -> Result<Vec<String>, String> {
    let mut all = vec![String::new()];
    let mut quoted = false;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let last = all.len() - 1;
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                all[last].push('"');
            }
            '"' if quoted => {
                quoted = false;
                if !matches!(letters.peek(), None | Some(',')) {
                    return Err(format!("extraneous or missing \" in quoted field: {text}"));
                }
            }
            '"' if all[last].is_empty() => quoted = true,
            '"' => return Err(format!("bare \" in non-quoted field: {text}")),
            ',' if !quoted => all.push(String::new()),
            other => all[last].push(other),
        }
    }
    match quoted {
        true => Err(format!("extraneous or missing \" in quoted field: {text}")),
        false => Ok(all),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::*;

    #[test]
    fn commas_within_quotes_are_none() {
        let bare = "! bare \" in non-quoted field: a\"b";
        let extraneous = "! extraneous or missing \" in quoted field: ";
        check(
            fields,
            &[
                ("", r#"[""]"#),
                ("a,b", r#"["a", "b"]"#),
                ("a,,b,", r#"["a", "", "b", ""]"#),
                (r#""a,b",c"#, r#"["a,b", "c"]"#),
                (r#""a""b",c"#, r#"["a\"b", "c"]"#),
                (r#""","#, r##"["", ""]"##),
                (r#"a"b"#, bare),
                (r#""a"b"#, &format!("{extraneous}\"a\"b")),
                (r#""a"#, &format!("{extraneous}\"a")),
                ("한 글,b", r#"["한 글", "b"]"#),
            ],
        );
    }
}
