//! What a volume may be called: what Docker allows. A name is one component of a path, so nothing else is safe.

use crate::error::{Error, bad_input};

/// Longer ones are no names of directories (`NAME_MAX`).
const LONGEST: usize = 255;

/// Docker's refusal of what is no name.
pub fn check(name: &str) -> Result<(), Error> {
    if name.len() == 1 {
        return Err(bad_input(
            "volume name is too short, names should be at least two alphanumeric characters",
        ));
    }
    if name.len() > LONGEST {
        return Err(bad_input(format!(
            "volume name is too long, names have at most {LONGEST} characters"
        )));
    }
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let is_name =
        name.bytes().all(is_inner) && name.starts_with(|first: char| first.is_ascii_alphanumeric());
    match is_name {
        true => Ok(()),
        false => Err(bad_input(format!(
            "{name:?} includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are \
             allowed. If you intended to pass a host directory, use absolute path"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dockers_names() {
        for good in ["db", "a1", "A_.-", "0x", &"a".repeat(255)] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "a",
            "_a",
            ".a",
            "-a",
            "a/b",
            "a b",
            "자료",
            "a:b",
            "a,b",
            "a\n",
            "..",
            &"a".repeat(256),
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
        let said = check("자료").unwrap_err().to_string();
        assert!(
            said.starts_with("\"자료\" includes invalid characters for a local volume name, only "),
            "{said}"
        );
    }
}
