//! Patterns of `${x#glob}` and its kin: `*`, `?`, and `\` before a character that is meant itself.
//!
//! No classes, and `/` is a character like others: these are no patterns of paths.

/// As many steps as matching may take; more than anybody needs, and done in a moment.
const MOST_STEPS: usize = 1 << 24;

/// A piece of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Any,
    Many,
    This(char),
}

impl Piece {
    fn matches(self, character: char) -> bool {
        match self {
            Self::Any | Self::Many => true,
            Self::This(own) => own == character,
        }
    }
}

/// A pattern.
#[derive(Debug)]
pub struct Glob {
    pieces: Vec<Piece>,
}

impl Glob {
    /// None if matching it against a value of so many bytes would take too long.
    pub fn new(pattern: &str, length: usize) -> Option<Self> {
        let mut pieces = Vec::new();
        let mut characters = pattern.chars();
        while let Some(character) = characters.next() {
            pieces.push(match character {
                '*' => Piece::Many,
                '?' => Piece::Any,
                '\\' => Piece::This(characters.next().unwrap_or('\\')),
                other => Piece::This(other),
            });
        }
        // Several in a row say no more than one.
        pieces.dedup_by(|left, right| *left == Piece::Many && *right == Piece::Many);
        (pieces.len().saturating_mul(length) <= MOST_STEPS).then_some(Self { pieces })
    }

    /// How many bytes of the value's begin match.
    pub fn prefix(&self, value: &str, longest: bool) -> Option<usize> {
        let ends = value
            .char_indices()
            .map(|(at, character)| (at + character.len_utf8(), character));
        run(&self.pieces, 0, ends, longest)
    }

    /// The byte from which on the value's end matches.
    pub fn suffix(&self, value: &str, longest: bool) -> Option<usize> {
        let pieces: Vec<Piece> = self.pieces.iter().rev().copied().collect();
        run(&pieces, value.len(), value.char_indices().rev(), longest)
    }

    /// Puts a text in place of the first match, or of each, the longest at each place. None: it would be longer than
    /// `most` bytes.
    pub fn replace(&self, value: &str, text: &str, all: bool, most: usize) -> Option<String> {
        if self.pieces.is_empty() {
            return Some(value.to_owned());
        }
        let mut out = String::new();
        let mut at = 0;
        let mut steps = MOST_STEPS;
        let mut done = false;
        while at < value.len() {
            let rest = &value[at..];
            let found = if done { None } else { self.prefix(rest, true) };
            // A pattern that fails late fails late at every place.
            if !done {
                let cost = self.pieces.len() * found.unwrap_or_else(|| self.reach(rest)).max(1);
                steps = steps.checked_sub(cost)?;
            }
            match found {
                Some(length) if length > 0 => {
                    out.push_str(text);
                    at += length;
                    done = !all;
                }
                _ => {
                    let character = rest.chars().next()?;
                    out.push(character);
                    at += character.len_utf8();
                }
            }
            if out.len() > most {
                return None;
            }
        }
        Some(out)
    }

    /// How far matching looks: to the end if anything may follow, else as far as the pattern is long.
    fn reach(&self, rest: &str) -> usize {
        match self.pieces.contains(&Piece::Many) {
            true => rest.len(),
            false => self.pieces.len(),
        }
    }
}

/// Goes through characters with all places of the pattern at once; the mark of the first or the last place at which the
/// whole pattern matches, or `begin` if nothing does.
fn run(
    pieces: &[Piece],
    begin: usize,
    characters: impl Iterator<Item = (usize, char)>,
    longest: bool,
) -> Option<usize> {
    let mut states = vec![false; pieces.len() + 1];
    states[0] = true;
    skip_many(pieces, &mut states);
    let mut next = states.clone();
    let mut found = states[pieces.len()].then_some(begin);
    for (mark, character) in characters {
        if found.is_some() && !longest {
            return found;
        }
        next.fill(false);
        let mut alive = false;
        for (index, piece) in pieces.iter().enumerate() {
            if states[index] && piece.matches(character) {
                next[if *piece == Piece::Many {
                    index
                } else {
                    index + 1
                }] = true;
                alive = true;
            }
        }
        if !alive {
            break;
        }
        skip_many(pieces, &mut next);
        std::mem::swap(&mut states, &mut next);
        if states[pieces.len()] {
            found = Some(mark);
        }
    }
    found
}

/// A `*` may stand for nothing.
fn skip_many(pieces: &[Piece], states: &mut [bool]) {
    for (index, piece) in pieces.iter().enumerate() {
        if states[index] && *piece == Piece::Many {
            states[index + 1] = true;
        }
    }
}
