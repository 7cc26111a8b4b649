//! Wildcards in the sources of a `COPY`, name by name: which names have some ([`Pattern`](crate::build::pattern::Pattern)
//! says what they match).

/// Whether a name has something that is not itself.
pub fn is_wild(name: &str) -> bool {
    let mut characters = name.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => drop(characters.next()),
            '*' | '?' | '[' => return true,
            _ => {}
        }
    }
    false
}

/// A name without the backslashes that keep characters from being wild.
pub fn plain(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    let mut characters = name.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => plain.extend(characters.next()),
            character => plain.push(character),
        }
    }
    plain
}

/// A path as a source that means nothing else.
pub fn literal(path: &str) -> String {
    let mut literal = String::with_capacity(path.len());
    for character in path.chars() {
        if matches!(character, '\\' | '*' | '?' | '[') {
            literal.push('\\');
        }
        literal.push(character);
    }
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wild_is_what_stands_for_something_else() {
        assert!(is_wild("a*") && is_wild("[x]") && !is_wild("a\\*") && is_wild("\\**"));
        assert_eq!(plain("a\\*\\\\b"), "a*\\b");
        let name = "a*[b]?\\c";
        assert!(!is_wild(&literal(name)) && plain(&literal(name)) == name);
    }
}
