//! Names and link targets of a layer, judged as text, before anything is looked up.
//!
//! Invariant: a [`Name`] has only real components: none is empty, `.` or `..`, and it is relative.

use super::Rules;
use crate::error::{Error, bad_input};

/// What the name of a whiteout begins with.
pub const WHITEOUT: &[u8] = b".wh.";
/// What makes its directory opaque.
pub const OPAQUE: &[u8] = b".wh..wh..opq";
/// The directory in which aufs kept files that had been deleted but for their hard links.
pub const AUFS_LINKS: &[u8] = b".wh..wh.plnk";

/// A name below the root of the layer; empty for the root itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(Vec<u8>);

/// What the name of a member asks for (OCI image-spec, layer.md "Representing Changes").
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// The member itself.
    Member(Name),
    /// That the lower layers' entry of this name vanishes.
    Whiteout(Name),
    /// That all that the lower layers have in this directory vanishes.
    Opaque(Name),
    /// Nothing: a bookkeeping file of aufs.
    Ignored,
}

impl Name {
    /// The whole name.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The directory it lies in and its last component; `None` for the root.
    pub fn split(&self) -> Option<(&[u8], &[u8])> {
        split(&self.0)
    }

    /// Reads the name of a member or the target of a hard link.
    fn parse(name: &[u8], rules: &Rules) -> Result<Self, Error> {
        if name.starts_with(b"/") && !rules.absolute_names {
            return Err(refused_name(name, "is absolute"));
        }
        let mut parsed = Vec::with_capacity(name.len());
        for component in name.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." => return Err(refused_name(name, "has a `..`")),
                _ => {
                    if !parsed.is_empty() {
                        parsed.push(b'/');
                    }
                    parsed.extend_from_slice(component);
                }
            }
        }
        Ok(Self(parsed))
    }
}

/// Splits a canonical path into directory and last component; `None` for the root.
pub fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    Some(match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    })
}

/// Appends a component to a canonical path.
pub fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() {
        name.to_vec()
    } else {
        [directory, name].join(&b'/')
    }
}

/// What a member's name asks for.
pub fn request(name: &[u8], rules: &Rules) -> Result<Request, Error> {
    let parsed = Name::parse(name, rules)?;
    let Some((directory, last)) = parsed.split() else {
        return Ok(Request::Member(parsed));
    };
    if parsed.0 == AUFS_LINKS || directory == AUFS_LINKS {
        return Ok(Request::Member(parsed));
    }
    if directory
        .split(|byte| *byte == b'/')
        .any(|component| component.starts_with(WHITEOUT))
    {
        let aufs = directory
            .split(|byte| *byte == b'/')
            .any(|component| component.starts_with(b".wh..wh."));
        return if aufs {
            Ok(Request::Ignored)
        } else {
            Err(refused_name(name, "lies below a whiteout"))
        };
    }
    let hidden = match last.strip_prefix(WHITEOUT) {
        None => return Ok(Request::Member(parsed)),
        Some(b".wh..opq") => return Ok(Request::Opaque(Name(directory.to_vec()))),
        Some(hidden) if hidden.starts_with(WHITEOUT) => return Ok(Request::Ignored),
        Some(b"" | b"." | b"..") => return Err(refused_name(name, "is a whiteout of nothing")),
        Some(hidden) => hidden,
    };
    Ok(Request::Whiteout(Name(join(directory, hidden))))
}

/// The target of a hard link, which is a name of the archive; it may go up as long as it stays inside.
pub fn hard_link_target(name: &[u8], target: &[u8], rules: &Rules) -> Result<Name, Error> {
    if target.starts_with(b"/") && !rules.absolute_names {
        return Err(refused_link(name, target, "is absolute"));
    }
    let mut components = Vec::new();
    if !climb(&mut components, target) {
        return Err(refused_link(name, target, "leads outside"));
    }
    Ok(Name(components.join(&b'/')))
}

/// Goes along a path from where `components` are; `false` if it leads above the root.
fn climb<'a>(components: &mut Vec<&'a [u8]>, path: &'a [u8]) -> bool {
    path.split(|byte| *byte == b'/')
        .all(|component| match component {
            b"" | b"." => true,
            b".." => components.pop().is_some(),
            _ => {
                components.push(component);
                true
            }
        })
}

fn refused_name(name: &[u8], why: &str) -> Error {
    let error = bad_input(format!("layer entry `{}` {why}", super::shown(name)));
    if why == "is absolute" {
        error.hint("names in a layer are relative to its root")
    } else {
        error
    }
}

fn refused_link(name: &[u8], target: &[u8], why: &str) -> Error {
    super::refused(
        name,
        &format!("its link target `{}` {why}", super::shown(target)),
    )
}

#[cfg(test)]
mod tests {
    use super::super::{Devices, Owners, XattrPrefix};
    use super::*;

    fn rules(absolute_names: bool) -> Rules {
        Rules {
            owners: Owners::Real,
            xattrs: XattrPrefix::Trusted,
            devices: Devices::Make,
            absolute_names,
            max_bytes: 1 << 30,
            keep_blobs: false,
        }
    }

    #[test]
    fn requests() {
        let name = |text: &str| Name(text.into());
        let cases = [
            ("./a//b/", Some(Request::Member(name("a/b")))),
            ("./", Some(Request::Member(name("")))),
            ("", Some(Request::Member(name("")))),
            ("a/.wh.b", Some(Request::Whiteout(name("a/b")))),
            (".wh.b", Some(Request::Whiteout(name("b")))),
            ("a/.wh..b", Some(Request::Whiteout(name("a/.b")))),
            ("a/.wh..wh..opq", Some(Request::Opaque(name("a")))),
            (".wh..wh..opq", Some(Request::Opaque(name("")))),
            (".wh..wh.aufs", Some(Request::Ignored)),
            (".wh..wh.orph/x", Some(Request::Ignored)),
            (
                ".wh..wh.plnk/1.2",
                Some(Request::Member(name(".wh..wh.plnk/1.2"))),
            ),
            ("a/.wh.", None),
            ("a/.wh..", None),
            ("a/.wh...", None),
            (".wh.a/b", None),
            ("../a", None),
            ("a/..", None),
            ("/a", None),
        ];
        for (text, expected) in cases {
            assert_eq!(
                request(text.as_bytes(), &rules(false)).ok(),
                expected,
                "{text}"
            );
        }
        assert_eq!(
            request(b"/a", &rules(true)).unwrap(),
            Request::Member(name("a"))
        );
        assert!(request(b"/../a", &rules(true)).is_err());
    }

    #[test]
    fn hard_link_targets() {
        for (target, expected) in [
            ("a/../b", Some("b")),
            ("../b", None),
            ("/b", None),
            ("./b/", Some("b")),
        ] {
            let parsed = hard_link_target(b"x", target.as_bytes(), &rules(false)).ok();
            assert_eq!(parsed, expected.map(|text| Name(text.into())), "{target}");
        }
    }
}
