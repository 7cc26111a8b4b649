//! `--chmod`: octal, or symbolic as of chmod(1) with a umask of zero.

use crate::error::{Error, bad_input};

/// What becomes of permission bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They are these.
    Bits(u32),
    /// Each change after the other.
    Changes(Vec<Change>),
}

/// One operator of a symbolic mode with what is before and behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Of `u`, `g`, `o`: 4, 2, 1.
    who: u32,
    operator: char,
    permissions: Vec<char>,
}

const USER: u32 = 4;
const GROUP: u32 = 2;
const OTHER: u32 = 1;
const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;
const STICKY: u32 = 0o1000;

impl Mode {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let invalid = || {
            bad_input(format!("invalid chmod parameter: '{text}'"))
                .hint("an octal number from 0 to 07777, or as of chmod(1): u=rwX,go=rX")
        };
        if let Ok(bits) = u32::from_str_radix(text, 8) {
            let is_mode = bits <= 0o7777 && !text.starts_with('+');
            return is_mode.then_some(Self::Bits(bits)).ok_or_else(invalid);
        }
        let mut changes = Vec::new();
        for clause in text.split(',') {
            let operators = clause.find(['+', '-', '=']).ok_or_else(invalid)?;
            let (who, mut rest) = clause.split_at(operators);
            let who = who.chars().try_fold(0, |who, character| {
                Some(match character {
                    'u' => who | USER,
                    'g' => who | GROUP,
                    'o' => who | OTHER,
                    'a' => USER | GROUP | OTHER,
                    _ => return None,
                })
            });
            let who = match who.ok_or_else(invalid)? {
                0 => USER | GROUP | OTHER,
                who => who,
            };
            while let Some(operator) = rest.chars().next() {
                rest = &rest[1..];
                let end = rest.find(['+', '-', '=']).unwrap_or(rest.len());
                let permissions: Vec<char> = rest[..end].chars().collect();
                let is_copy = permissions.iter().any(|one| "ugo".contains(*one));
                let known = permissions.iter().all(|one| "rwxXstugo".contains(*one));
                if !known || (is_copy && permissions.len() > 1) {
                    return Err(invalid());
                }
                rest = &rest[end..];
                changes.push(Change {
                    who,
                    operator,
                    permissions,
                });
            }
        }
        Ok(Self::Changes(changes))
    }

    /// The bits of something that has had these.
    pub fn apply(&self, bits: u32, is_directory: bool) -> u32 {
        match self {
            Self::Bits(bits) => *bits,
            Self::Changes(changes) => changes
                .iter()
                .fold(bits, |bits, change| change.apply(bits, is_directory)),
        }
    }
}

impl Change {
    fn apply(&self, bits: u32, is_directory: bool) -> u32 {
        let spread = |three: u32| {
            let shifts = [(USER, 6), (GROUP, 3), (OTHER, 0)];
            let shifts = shifts.iter().filter(|(who, _)| self.who & who != 0);
            shifts.fold(0, |bits, (_, shift)| bits | three << shift)
        };
        let mut named = 0;
        for permission in &self.permissions {
            named |= match permission {
                'r' => spread(4),
                'w' => spread(2),
                'x' => spread(1),
                'X' if is_directory || bits & 0o111 != 0 => spread(1),
                's' => {
                    let user = if self.who & USER != 0 { SET_UID } else { 0 };
                    let group = if self.who & GROUP != 0 { SET_GID } else { 0 };
                    user | group
                }
                't' => STICKY,
                'u' => spread(bits >> 6 & 7),
                'g' => spread(bits >> 3 & 7),
                'o' => spread(bits & 7),
                _ => 0,
            };
        }
        match self.operator {
            '+' => bits | named,
            '-' => bits & !named,
            _ => {
                let mut cleared = spread(7);
                // As GNU chmod: of a directory these two stay unless they are named.
                if !is_directory {
                    cleared |= if self.who & USER != 0 { SET_UID } else { 0 };
                    cleared |= if self.who & GROUP != 0 { SET_GID } else { 0 };
                }
                if self.who == USER | GROUP | OTHER {
                    cleared |= STICKY;
                }
                bits & !cleared | named
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_those_of_chmod() {
        for (text, bits, is_directory, expected) in [
            ("755", 0o600, false, 0o755),
            ("0", 0o600, false, 0),
            ("07777", 0o600, true, 0o7777),
            ("u+x", 0o644, false, 0o744),
            ("+x", 0o644, false, 0o755),
            ("a-w", 0o666, false, 0o444),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("g=u", 0o741, false, 0o771),
            ("go=", 0o777, false, 0o700),
            ("u+s,g+s", 0o755, false, 0o6755),
            ("o+t", 0o777, true, 0o1777),
            ("u+x-w", 0o644, false, 0o544),
            ("=rwx", 0o4000, false, 0o777),
        ] {
            let mode = Mode::parse(text).unwrap();
            assert_eq!(mode.apply(bits, is_directory), expected, "{text} {bits:o}");
        }
        for text in [
            "", "8", "10000", "+755", "-1", "u", "x+r", "u+ug", "u+q", "755,u+x", "a+r,",
        ] {
            assert!(Mode::parse(text).is_err(), "{text}");
        }
    }
}
