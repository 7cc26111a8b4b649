//! Names of containers: which are allowed, and those made up for containers that were given none.
//!
//! A made-up name is an adjective and the name of somebody who found or built something, as in
//! `quiet_turing`. Whether it is taken is for the caller to say, who holds the lock.

use crate::error::{Error, bad_input};
use anyhow::{Context, Result};
use rustix::rand::{GetRandomFlags, getrandom};

#[rustfmt::skip]
const ADJECTIVES: &[&str] = &[
    "able", "agile", "airy", "alert", "ample", "apt", "ardent", "astute", "avid", "balmy", "bold", "brave",
    "bright", "brisk", "calm", "candid", "careful", "cheerful", "civil", "clear", "clever", "cosy", "crisp",
    "curious", "daring", "dapper", "deft", "diligent", "direct", "discreet", "eager", "earnest", "easy",
    "exact", "fair", "famous", "fearless", "fine", "firm", "fluent", "fond", "frank", "free", "fresh",
    "friendly", "frugal", "gallant", "generous", "gentle", "glad", "golden", "graceful", "grand", "happy",
    "hardy", "hearty", "helpful", "honest", "humble", "ideal", "jolly", "jovial", "joyful", "keen", "kind",
    "lasting", "lively", "loyal", "lucid", "lucky", "mellow", "merry", "mild", "modest", "neat", "nimble",
    "noble", "open", "patient", "placid", "pleasant", "plucky", "polite", "precise", "proud", "prudent",
    "quick", "quiet", "radiant", "ready", "robust", "rosy", "secure", "sensible", "serene", "sharp",
    "silent", "sincere", "sleek", "smart", "smooth", "snug", "sober", "solid", "spry", "stable", "steady",
    "stoic", "sturdy", "subtle", "sunny", "supple", "swift", "tactful", "tender", "thrifty", "tidy",
    "tranquil", "true", "upright", "vivid", "warm", "watchful", "willing", "wise", "witty", "worthy",
    "zesty",
];

#[rustfmt::skip]
const SURNAMES: &[&str] = &[
    // Korea, from the maker of the rain gauge and the compiler of the medicine book to our time.
    "jangyeongsil", "heojun", "choemuseon", "sejong", "jeongyakyong", "wujangchun", "leewhiso",
    "choisoondal", "kimsoonkwon", "yicheon", "hongdaeyong", "leehowang", "hyunsinkyu", "kimnarry",
    "huhjune", "reerimhak", "leetaikyue", "seokjoomyung", "yisunji", "kimdam", "kahng",
    // Everywhere else, in the order of the alphabet.
    "abel", "agnesi", "ampere", "anning", "archimedes", "aryabhata", "avogadro", "ayrton", "babbage",
    "backus", "banach", "banneker", "bardeen", "bartik", "becquerel", "bell", "benz", "bernoulli", "bessel",
    "bhaskara", "bohr", "boltzmann", "boole", "borg", "bose", "boyle", "brahmagupta", "brunel", "burnell",
    "cannon", "cantor", "carnot", "carson", "cartwright", "cauchy", "cavendish", "celsius", "cerf",
    "chandrasekhar", "chatelet", "chebyshev", "chern", "church", "clarke", "codd", "copernicus", "coulomb",
    "cray", "crick", "curie", "daimler", "dalton", "darwin", "davy", "descartes", "diesel", "diffie",
    "dijkstra", "dirac", "doppler", "earhart", "edison", "ehrlich", "eiffel", "einstein", "elion",
    "engelbart", "eratosthenes", "erdos", "euclid", "euler", "faraday", "fermat", "fermi", "feynman",
    "fibonacci", "fleming", "fourier", "franklin", "fresnel", "galileo", "galois", "galvani", "gauss",
    "germain", "gibbs", "goldberg", "goodall", "gutenberg", "haibt", "hamilton", "hamming", "harvey",
    "heaviside", "heisenberg", "hellman", "helmholtz", "henry", "hermite", "herschel", "hertz", "hilbert",
    "hipparchus", "hodgkin", "hooke", "hopper", "hubble", "humboldt", "huygens", "hypatia", "jacobi",
    "jacquard", "jennings", "joliot", "joule", "kahn", "kalam", "kapitsa", "kelvin", "kepler", "khayyam",
    "khorana", "kilby", "kirch", "knuth", "kolmogorov", "kovalevskaya", "lagrange", "lamarr", "lamport",
    "landau", "laplace", "lavoisier", "leavitt", "leeuwenhoek", "legendre", "leibniz", "linnaeus", "liskov",
    "lorentz", "lovelace", "lumiere", "mach", "marconi", "markov", "maxwell", "mayer", "mccarthy",
    "mcclintock", "meitner", "mendel", "mendeleev", "mercator", "minkowski", "mirzakhani", "moore", "morse",
    "napier", "newcomen", "newton", "nightingale", "nobel", "noether", "noyce", "oersted", "ohm", "olbers",
    "oppenheimer", "pascal", "pasteur", "pauli", "pauling", "payne", "pike", "planck", "poincare",
    "poisson", "ptolemy", "pythagoras", "raman", "ramanujan", "rayleigh", "riemann", "ritchie", "rivest",
    "roentgen", "rubin", "rutherford", "sabin", "salk", "sammet", "sanger", "schrodinger", "shamir",
    "shannon", "shaw", "sinoussi", "snow", "somerville", "stephenson", "stevin", "stonebraker", "swartz",
    "swirles", "tarski", "tesla", "thales", "thompson", "torricelli", "torvalds", "turing", "vaughan",
    "vavilov", "volta", "watt", "weber", "wegener", "wiener", "wilkes", "wing", "wirth", "wright", "wu",
    "yalow", "yonath", "yukawa", "zeno", "zhang", "zuse",
];

/// A random name. From the first clash on (`attempt` 1) it ends in a random digit.
pub fn candidate(attempt: usize) -> Result<String> {
    let mut random = [0u8; 9];
    getrandom(&mut random[..], GetRandomFlags::empty()).context("getrandom")?;
    let adjective = pick(ADJECTIVES, &random[..4]);
    let surname = pick(SURNAMES, &random[4..8]);
    Ok(match attempt {
        0 => format!("{adjective}_{surname}"),
        _ => format!("{adjective}_{surname}{}", random[8] % 10),
    })
}

fn pick(words: &[&'static str], random: &[u8]) -> &'static str {
    let number = random
        .iter()
        .fold(0usize, |number, byte| number << 8 | usize::from(*byte));
    words[number % words.len()]
}

/// The longest name, in bytes: it is the name of a file (NAME_MAX of limits.h).
const LONGEST: usize = 255;

/// Whether a container may be called so: two characters or more, the first a letter or a digit.
pub fn validate(name: &str) -> Result<(), Error> {
    if name.len() > LONGEST {
        let start: String = name.chars().take(20).collect();
        let message =
            format!("Invalid container name ({start}…): it has more than {LONGEST} characters");
        return Err(bad_input(message));
    }
    let mut bytes = name.bytes();
    let first = bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    if first
        && name.len() > 1
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
    {
        return Ok(());
    }
    Err(bad_input(format!(
        "Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_lists_are_long_plain_and_without_repetition() {
        for (words, least) in [(ADJECTIVES, 100), (SURNAMES, 150)] {
            assert!(words.len() >= least);
            assert_eq!(words.iter().collect::<BTreeSet<_>>().len(), words.len());
            for word in words {
                assert!(
                    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase()),
                    "{word}"
                );
            }
        }
    }

    #[test]
    fn candidates_are_valid_and_differ() {
        let names: Vec<String> = (0..100).map(|_| candidate(0).unwrap()).collect();
        for name in &names {
            validate(name).unwrap();
            assert!(!name.ends_with(|c: char| c.is_ascii_digit()), "{name}");
        }
        assert!(names.iter().collect::<BTreeSet<_>>().len() > 90);
        assert!(
            candidate(1)
                .unwrap()
                .ends_with(|c: char| c.is_ascii_digit())
        );
    }

    #[test]
    fn names_are_checked_in_dockers_words() {
        for name in ["ab", "a1", "0.", "web-1", "A_b.c-d"] {
            validate(name).unwrap();
        }
        validate(&"a".repeat(255)).unwrap();
        let long = validate(&"a".repeat(300)).unwrap_err().message;
        assert_eq!(
            long,
            "Invalid container name (aaaaaaaaaaaaaaaaaaaa…): it has more than 255 characters"
        );
        for name in [
            "", "a", "-a", ".a", "_a", "/web", "a b", "a/b", "옹기", "aé", "a\n",
        ] {
            let message = format!(
                "Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
            );
            assert_eq!(validate(name).unwrap_err().message, message);
        }
    }
}
