//! Where a service manager may listen, best place first. It only names places; whether somebody is there is for
//! [`super::connection`] to find out.

use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Made at boot where systemd is the first process, and nowhere else (sd_booted(3)).
pub const BOOTED: &str = "/run/systemd/system";

const MANAGER: &str = "/run/systemd/private";
const BUS: &str = "/run/dbus/system_bus_socket";

/// The name of a socket (unix(7)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// In the file system.
    Path(PathBuf),
    /// In the abstract name space.
    Abstract(Vec<u8>),
}

/// A place to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Its socket.
    pub name: Name,
    /// There is a bus between us and the manager.
    pub bus: bool,
}

/// The places of the system's manager, or of that of the user with this uid.
pub fn candidates(user: Option<u32>) -> Vec<Address> {
    match user {
        None => vec![manager(MANAGER), bus(BUS)],
        Some(uid) => {
            let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
            let session = variable("DBUS_SESSION_BUS_ADDRESS").map(OsStringExt::into_vec);
            of_user(uid, variable("XDG_RUNTIME_DIR").map(PathBuf::from), session)
        }
    }
}

fn of_user(uid: u32, runtime: Option<PathBuf>, session: Option<Vec<u8>>) -> Vec<Address> {
    let mut directories = vec![PathBuf::from(format!("/run/user/{uid}"))];
    // The variable may be missing, and after su(1) be another user's; logind's place comes after it.
    if let Some(runtime) =
        runtime.filter(|runtime| runtime.is_absolute() && *runtime != directories[0])
    {
        directories.insert(0, runtime);
    }
    let managers = directories
        .iter()
        .map(|directory| manager(directory.join("systemd/private")));
    let mut found: Vec<Address> = managers.collect();
    let names = session.iter().flat_map(|session| session_names(session));
    found.extend(names.map(|name| Address { name, bus: true }));
    for directory in &directories {
        let bus = bus(directory.join("bus"));
        if !found.contains(&bus) {
            found.push(bus);
        }
    }
    found
}

fn manager(path: impl AsRef<Path>) -> Address {
    let name = Name::Path(path.as_ref().to_owned());
    Address { name, bus: false }
}

fn bus(path: impl AsRef<Path>) -> Address {
    let name = Name::Path(path.as_ref().to_owned());
    Address { name, bus: true }
}

/// The unix sockets in a list of server addresses (D-Bus Specification, "Server Addresses").
fn session_names(list: &[u8]) -> Vec<Name> {
    let mut names = Vec::new();
    for address in list.split(|byte| *byte == b';') {
        let Some(pairs) = address.strip_prefix(b"unix:") else {
            continue;
        };
        for pair in pairs.split(|byte| *byte == b',') {
            if let Some(path) = pair.strip_prefix(b"path=").and_then(unescape) {
                let path = PathBuf::from(std::ffi::OsString::from_vec(path));
                names.push(Name::Path(path));
            } else if let Some(name) = pair.strip_prefix(b"abstract=").and_then(unescape) {
                names.push(Name::Abstract(name));
            }
        }
    }
    names
}

/// `%2f` is a slash; `None` where two hexadecimal digits do not follow.
fn unescape(mut text: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(text.len());
    while let Some((&first, rest)) = text.split_first() {
        text = rest;
        if first != b'%' {
            plain.push(first);
            continue;
        }
        let (digits, rest) = rest.split_at_checked(2)?;
        let digit = |at: usize| char::from(digits[at]).to_digit(16);
        plain.push(u8::try_from(digit(0)? * 16 + digit(1)?).ok()?);
        text = rest;
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_looked_for_where_the_variables_say_and_where_logind_puts_it() {
        let plain = of_user(7, None, None);
        assert_eq!(
            plain,
            [
                manager("/run/user/7/systemd/private"),
                bus("/run/user/7/bus")
            ]
        );
        let usual = of_user(
            7,
            Some("/run/user/7".into()),
            Some(b"unix:path=/run/user/7/bus".into()),
        );
        assert_eq!(usual, plain);
        let other = of_user(
            7,
            Some("/x".into()),
            Some(b"unix:abstract=/tmp/dbus-1,guid=00".into()),
        );
        let name = Name::Abstract(b"/tmp/dbus-1".into());
        let expected = [
            manager("/x/systemd/private"),
            manager("/run/user/7/systemd/private"),
            Address { name, bus: true },
            bus("/x/bus"),
            bus("/run/user/7/bus"),
        ];
        assert_eq!(other, expected);
        assert_eq!(of_user(7, Some("relative".into()), None), plain);
    }

    #[test]
    fn server_addresses_are_lists_with_escapes() {
        let path = |path: &str| Name::Path(path.into());
        for (list, expected) in [
            (&b""[..], vec![]),
            (b"tcp:host=x,port=1", vec![]),
            (b"unix:tmpdir=/tmp", vec![]),
            (
                b"unix:path=/a%20b;unix:guid=1,path=/c",
                vec![path("/a b"), path("/c")],
            ),
            (b"unix:path=/a%2", vec![]),
            (b"unix:path=/a%zz", vec![]),
        ] {
            assert_eq!(session_names(list), expected, "{}", list.escape_ascii());
        }
    }
}
