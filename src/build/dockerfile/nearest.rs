//! The known name that a wrong one was probably meant to be.
//!
//! It knows spelling only: letters that were swapped, left out, doubled or mistaken.

/// Names longer than this are no slip of the pen; comparing them would take long.
const LONGEST: usize = 64;

/// The nearest of the known names, if one is near enough: at most a third of its letters are wrong.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name: Vec<char> = name.chars().take(LONGEST + 1).collect();
    if name.is_empty() || name.len() > LONGEST {
        return None;
    }
    let scored = known.into_iter().filter_map(|candidate| {
        let letters: Vec<char> = candidate.chars().take(LONGEST + 1).collect();
        let most = (letters.len().max(name.len()) / 3).clamp(1, 3);
        let near = letters.len().abs_diff(name.len()) <= most;
        let distance = if near {
            distance(&name, &letters)
        } else {
            usize::MAX
        };
        (distance <= most && distance < letters.len()).then_some((distance, candidate))
    });
    scored
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many letters must be put in, taken out, changed or swapped with their neighbour; case does not count.
fn distance(left: &[char], right: &[char]) -> usize {
    let same = |a: char, b: char| a.eq_ignore_ascii_case(&b);
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (row, &letter) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, &other) in right.iter().enumerate() {
            let change = above[column] + usize::from(!same(letter, other));
            let mut best = change.min(above[column + 1] + 1).min(current[column] + 1);
            let swapped = row > 0
                && column > 0
                && same(letter, right[column - 1])
                && same(left[row - 1], other);
            if swapped {
                best = best.min(before[column - 1] + 1);
            }
            current.push(best);
        }
        before = std::mem::replace(&mut above, current);
    }
    above[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found() {
        let known = ["FROM", "RUN", "COPY", "ENTRYPOINT", "ENV"];
        let cases = [
            ("FORM", Some("FROM")),
            ("COPPY", Some("COPY")),
            ("cpoy", Some("COPY")),
            ("ENTRYPONT", Some("ENTRYPOINT")),
            ("RUN", Some("RUN")),
            ("apt-get", None),
            ("X", None),
            ("", None),
        ];
        for (name, expected) in cases {
            assert_eq!(nearest(name, known), expected, "{name}");
        }
        assert_eq!(nearest(&"R".repeat(1 << 20), known), None);
    }
}
