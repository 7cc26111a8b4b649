//! The manual pages in `man/` are those that the program's own definitions make. After a change of the command
//! line: `ONGGI_UPDATE=1 cargo test --test man`.

use onggi::cli::manual;
use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn pages_are_up_to_date() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("man");
    let pages = manual::pages();
    let made: BTreeSet<String> = pages.iter().map(|(name, _)| name.clone()).collect();
    let there = || -> BTreeSet<String> {
        let entries = std::fs::read_dir(&directory).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    if std::env::var_os("ONGGI_UPDATE").is_some() {
        std::fs::create_dir_all(&directory).unwrap();
        there()
            .difference(&made)
            .for_each(|name| std::fs::remove_file(directory.join(name)).unwrap());
        pages
            .iter()
            .for_each(|(name, text)| std::fs::write(directory.join(name), text).unwrap());
    }
    let advice = "make them anew: ONGGI_UPDATE=1 cargo test --test man";
    assert_eq!(there(), made, "{advice}");
    for (name, text) in pages {
        assert!(
            std::fs::read_to_string(directory.join(&name)).unwrap() == text,
            "{name} is out of date; {advice}"
        );
    }
}
