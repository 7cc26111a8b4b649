//! Who the program runs as: names and numbers looked up in the container's own `/etc/passwd` and `/etc/group`
//! (passwd(5), group(5)), read without the C library. The files are the image's, so any line may be odd; odd
//! lines are passed over, as the C library does.

use crate::error::{Error, Kind};
use crate::sys::openat2;
use rustix::fs::{FileType, Mode, OFlags, fstat};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

/// A resolved identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Home directory, `/` where the user is not known.
    pub home: String,
}

/// The two files; empty where they are missing.
#[derive(Debug, Default)]
pub struct Database {
    passwd: String,
    group: String,
}

struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// No sane file is larger, and a hostile one must not fill our memory.
const LIMIT: u64 = 16 << 20;

impl Database {
    /// Reads both files below the current root directory.
    pub fn read() -> Self {
        openat2::open_root(Path::new("/"))
            .map_or_else(|_| Self::default(), |root| Self::below(&root))
    }

    /// Reads both files below a root file system.
    pub fn below(root: &OwnedFd) -> Self {
        Self {
            passwd: read(root, "/etc/passwd"),
            group: read(root, "/etc/group"),
        }
    }

    /// `user[:group]` by name or number, and further groups by name or number, as docker run `--user` and
    /// `--group-add` have them.
    pub fn resolve(&self, spec: &str, additional: &[String]) -> Result<Identity, Error> {
        let (user, group) = match spec.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (spec, None),
        };
        let user = if user.is_empty() { "0" } else { user };
        let number = user.parse::<u32>().ok();
        // A name that consists of digits is still a name when there is such a user.
        let known = self
            .users()
            .find(|entry| entry.name == user)
            .or_else(|| self.users().find(|entry| Some(entry.uid) == number));
        let mut identity = match (&known, number) {
            (Some(known), _) => Identity {
                uid: known.uid,
                gid: known.gid,
                groups: Vec::new(),
                home: known.home.to_owned(),
            },
            (None, Some(uid)) => Identity {
                uid,
                ..Identity::default()
            },
            (None, None) => {
                return Err(Error::new(
                    Kind::BadInput,
                    format!("unable to find user {user}: no matching entries in passwd file"),
                ));
            }
        };
        match group.filter(|group| !group.is_empty()) {
            Some(group) => identity.gid = self.group_id(group)?,
            None => {
                if let Some(known) = &known {
                    identity.groups = self
                        .groups_with(known.name)
                        .filter(|gid| *gid != identity.gid)
                        .collect();
                }
            }
        }
        for group in additional {
            let gid = self.group_id(group)?;
            if !identity.groups.contains(&gid) {
                identity.groups.push(gid);
            }
        }
        // Beside the others, as initgroups(3) does it: a program must not lose it by becoming another group's
        // (CVE-2022-36109).
        if !identity.groups.contains(&identity.gid) {
            identity.groups.insert(0, identity.gid);
        }
        if identity.home.is_empty() {
            identity.home.push('/');
        }
        Ok(identity)
    }

    /// The home directory of a user by number, `/` where it is not known.
    pub fn home(&self, uid: u32) -> String {
        let known = self.users().find(|entry| entry.uid == uid);
        let home = known
            .map(|entry| entry.home)
            .filter(|home| !home.is_empty());
        home.unwrap_or("/").to_owned()
    }

    fn users(&self) -> impl Iterator<Item = User<'_>> {
        self.passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
            Some(User {
                name,
                uid,
                gid,
                home: fields.nth(1)?,
            })
        })
    }

    fn groups_with<'a>(&'a self, user: &'a str) -> impl Iterator<Item = u32> + 'a {
        self.group.lines().filter_map(move |line| {
            let mut fields = line.split(':');
            let gid = fields.nth(2)?.parse().ok()?;
            fields
                .next()?
                .split(',')
                .any(|member| member == user)
                .then_some(gid)
        })
    }

    fn group_id(&self, group: &str) -> Result<u32, Error> {
        let named = self.group.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next()? == group).then(|| fields.nth(1)?.parse().ok())?
        });
        named.or_else(|| group.parse().ok()).ok_or_else(|| {
            Error::new(
                Kind::BadInput,
                format!("unable to find group {group}: no matching entries in group file"),
            )
        })
    }
}

fn read(root: &OwnedFd, path: &str) -> String {
    let mut bytes = Vec::new();
    // A missing or unreadable file means that no name is known. Nor is it waited for a writer of a pipe in its place,
    // nor one of our own descriptors followed.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    if let Ok(file) = openat2::open_in_root(root, path.as_bytes(), flags, Mode::empty())
        && fstat(&file)
            .is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::RegularFile)
    {
        let _ = std::fs::File::from(file)
            .take(LIMIT)
            .read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> Database {
        Database {
            passwd: "root:x:0:0:root:/root:/bin/sh\nodd\nsvc:x:100:101::/srv:/bin/false\n1234:x:7:7::/seven:\n".into(),
            group: "root:x:0:\nsvc:x:101:\nwheel:x:10:root,svc\nodd\nextra:x:20:svc\n".into(),
        }
    }

    #[test]
    fn names_and_numbers() {
        type Expected = Result<(u32, u32, &'static [u32], &'static str), &'static str>;
        let cases: &[(&str, &[&str], Expected)] = &[
            ("", &[], Ok((0, 0, &[0, 10], "/root"))),
            ("svc", &[], Ok((100, 101, &[101, 10, 20], "/srv"))),
            ("100", &[], Ok((100, 101, &[101, 10, 20], "/srv"))),
            ("svc:wheel", &[], Ok((100, 10, &[10], "/srv"))),
            ("1234", &[], Ok((7, 7, &[7], "/seven"))),
            ("4000", &[], Ok((4000, 0, &[0], "/"))),
            (
                "4000:5000",
                &["wheel", "77"],
                Ok((4000, 5000, &[5000, 10, 77], "/")),
            ),
            ("nobody", &[], Err("unable to find user nobody")),
            ("0:none", &[], Err("unable to find group none")),
        ];
        for (spec, additional, expected) in cases {
            let additional: Vec<String> = additional.iter().map(|s| s.to_string()).collect();
            match (database().resolve(spec, &additional), expected) {
                (Ok(found), Ok((uid, gid, groups, home))) => {
                    assert_eq!(
                        (found.uid, found.gid, &found.groups[..], &found.home[..]),
                        (*uid, *gid, *groups, *home),
                        "{spec}"
                    );
                }
                (Err(error), Err(text)) => assert!(error.message.contains(text), "{error}"),
                (found, _) => panic!("{spec}: {found:?}"),
            }
        }
    }
}
