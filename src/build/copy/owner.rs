//! `--chown`: `user[:group]`, where a number is itself and a name stands in the image's own files.

use crate::error::{Error, bad_input};
use crate::runtime::user::Database;
use std::os::fd::BorrowedFd;

/// User and group; of a number alone the group is the same, of a name that of the user.
pub fn parse(text: &str, root: Option<BorrowedFd<'_>>) -> Result<(u32, u32), Error> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    let number = |text: &str| text.parse::<u32>().ok().filter(|id| *id != u32::MAX);
    let refused = |why: &str| bad_input(format!("invalid chown parameter: '{text}': {why}"));
    if user.is_empty() {
        return Err(refused("it names no user"));
    }
    let numbers = match (number(user), group.map(number)) {
        (Some(uid), None) => Some((uid, uid)),
        (Some(uid), Some(Some(gid))) => Some((uid, gid)),
        _ => None,
    };
    if let Some(numbers) = numbers {
        return Ok(numbers);
    }
    let Some(root) = root else {
        let error = refused("names are not known without the files below");
        return Err(error.hint("with --link give numbers"));
    };
    let root = root
        .try_clone_to_owned()
        .map_err(|error| refused(&error.to_string()))?;
    let database = Database::below(&root);
    let user = number(user).map_or_else(|| user.to_owned(), |uid| uid.to_string());
    let spec = match group {
        Some(group) => format!("{user}:{group}"),
        None => user,
    };
    let identity = database
        .resolve(&spec, &[])
        .map_err(|error| refused(&error.message))?;
    if identity.uid == u32::MAX || identity.gid == u32::MAX {
        return Err(refused("4294967295 is nobody's number"));
    }
    Ok((identity.uid, identity.gid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::openat2::open_root;
    use std::os::fd::AsFd;

    #[test]
    fn names_are_those_of_the_image() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::fs::write(root.path().join("etc/passwd"), "www:x:33:34::/:/\n").unwrap();
        std::fs::write(root.path().join("etc/group"), "staff:x:50:\n").unwrap();
        let root = open_root(root.path()).unwrap();
        for (text, expected) in [
            ("55", Some((55, 55))),
            ("55:0", Some((55, 0))),
            ("www", Some((33, 34))),
            ("www:staff", Some((33, 50))),
            ("1:staff", Some((1, 50))),
            ("www:7", Some((33, 7))),
            ("nobody", None),
            ("www:none", None),
            ("", None),
            (":staff", None),
            ("4294967295", None),
        ] {
            assert_eq!(parse(text, Some(root.as_fd())).ok(), expected, "{text}");
        }
        assert_eq!(parse("1:2", None).unwrap(), (1, 2));
        assert!(parse("www", None).is_err());
    }
}
