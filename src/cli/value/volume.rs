//! `-v [SRC:]DST[:OPTIONS]` and `--volumes-from`, with the checks and words of Docker's command line and engine.
//!
//! A source with a colon cannot be written here: that takes `--mount`.

use super::mount_point::{self, absolute};
use crate::cli::unsupported;
use crate::container::mount_point::request::{
    Idmap, Kind, Propagation, Recursion, Relabel, Request,
};
use crate::error::{Error, bad_input};

/// One `-v`; `driver` is that of `--volume-driver`.
pub fn volume(text: &str, driver: &str) -> Result<Request, Error> {
    let (source, target, mode) = sections(text)?;
    let mode = Mode::parse(mode)?;
    if mode.overlay {
        let why = "changes of a bind mount cannot be thrown away";
        return Err(unsupported::not_yet(&format!("--volume {text}"), why));
    }
    let source = absolute(source)?;
    let mut request = Request {
        kind: if source.starts_with('/') {
            Kind::Bind
        } else {
            Kind::Volume
        },
        target: target.to_owned(),
        written: Some(match text.split_once(':') {
            None => text.to_owned(),
            Some((_, rest)) => format!("{source}:{rest}"),
        }),
        source,
        ..mode.request
    };
    match request.kind {
        Kind::Bind => request.create_source = true,
        _ => driver.clone_into(&mut request.driver),
    }
    let wrong = match request.kind {
        Kind::Bind if request.no_copy => Some("field VolumeOptions must not be specified"),
        Kind::Volume if request.propagation.is_some() || mode.recursion_given => {
            Some("field BindOptions must not be specified")
        }
        _ => None,
    };
    let checked = match wrong {
        Some(why) => Err(mount_point::invalid(request.kind, why)),
        None => mount_point::check(&mut request),
    };
    checked.map_err(|error| Error {
        message: match error.message.strip_prefix("create ") {
            Some(_) => error.message,
            None => format!("invalid volume specification: '{text}': {}", error.message),
        },
        ..error
    })?;
    Ok(request)
}

/// Source, target and options; the first and the last may be empty.
fn sections(text: &str) -> Result<(&str, &str, &str), Error> {
    let parts: Vec<&str> = text.split(':').collect();
    if text.is_empty() {
        return Err(bad_input("invalid empty volume spec").hint(GRAMMAR));
    }
    if parts.iter().any(|part| part.is_empty()) {
        return Err(bad_input(format!(
            "invalid spec: {text}: empty section between colons"
        ))
        .hint(GRAMMAR));
    }
    match parts[..] {
        [target] if !target.starts_with('/') => {
            let why = format!("invalid mount path: '{target}' mount path must be absolute");
            let error = mount_point::invalid(Kind::Volume, &why);
            let hint = format!("-v {target}:/path/in/the/container");
            Err(bad_input(format!(
                "invalid volume specification: '{text}': {}",
                error.message
            ))
            .hint(hint))
        }
        [target] => Ok(("", target, "")),
        [_, mode] if !mode.starts_with('/') && Mode::parse(mode).is_ok() => {
            let message = format!("invalid volume specification: '{text}'");
            Err(bad_input(message).hint(format!(
                "the path in the container is missing: -v SRC:DST:{mode}"
            )))
        }
        [source, target] => Ok((source, target, "")),
        [source, target, mode] if !mode.starts_with('/') => Ok((source, target, mode)),
        _ => {
            let hint = format!("a path with a colon takes --mount {}", as_mount(&parts));
            let why = match parts.last() {
                Some(last) if parts.len() == 3 => format!("invalid mode: {last}"),
                _ => format!("invalid spec: {text}: too many colons"),
            };
            Err(bad_input(why).hint(hint))
        }
    }
}

/// What was most likely meant: the last path is that in the container.
fn as_mount(parts: &[&str]) -> String {
    let target = parts.iter().rposition(|part| part.starts_with('/'));
    let plain = |part: &&str| !part.contains([',', '"', '\'']);
    match target {
        Some(place @ 1..) if parts.iter().all(plain) => {
            let read_only = match parts[place + 1..] {
                ["ro"] => ",readonly",
                _ => "",
            };
            let source = parts[..place].join(":");
            format!(
                "type=bind,source={source},target={}{read_only}",
                parts[place]
            )
        }
        _ => "type=bind,source=...,target=...".to_owned(),
    }
}

const GRAMMAR: &str =
    "-v [SRC:]DST[:OPTIONS], where SRC is a path of the host or the name of a volume";

/// The last part of a `-v`.
#[derive(Default)]
struct Mode {
    /// What it says of a mount.
    request: Request,
    /// `bind`, `rbind` or `rro` is there.
    recursion_given: bool,
    /// `O`.
    overlay: bool,
}

impl Mode {
    /// Each kind of word may be there once.
    fn parse(text: &str) -> Result<Self, Error> {
        let mut mode = Self::default();
        let mut seen = Vec::new();
        for word in text.split(',').filter(|_| !text.is_empty()) {
            let invalid = |why: &str| bad_input(format!("invalid mode: {text}")).hint(why);
            let family = mode
                .set(word)
                .map_err(|why| invalid(&why))?
                .ok_or_else(|| {
                    invalid(&match word {
                        "" => "there is a comma too many".to_owned(),
                        word => format!("leave out {word:?}: there are {MODES}"),
                    })
                })?;
            if let Some((_, other)) = seen.iter().find(|(known, _)| *known == family) {
                return Err(invalid(&match *other == word {
                    true => format!("write {word:?} once"),
                    false => format!("keep one of {other:?} and {word:?}"),
                }));
            }
            seen.push((family, word));
        }
        Ok(mode)
    }

    /// Takes one word; the answer is its family, of which there can be but one, or `None` where it is unknown.
    fn set(&mut self, word: &str) -> Result<Option<&'static str>, String> {
        let request = &mut self.request;
        if let Some(propagation) = propagation(word) {
            request.propagation = Some(propagation);
            return Ok(Some("propagation"));
        }
        if let Some(family) = flag(word) {
            request.flags.push(word.to_owned());
            return Ok(Some(family));
        }
        let (key, value) = word
            .split_once('=')
            .map_or((word, None), |(key, value)| (key, Some(value)));
        Ok(Some(match (key, value) {
            ("rw", None) => "write",
            ("ro", None) => {
                request.read_only = true;
                "write"
            }
            ("rro", None) => {
                (request.read_only, request.recursion) = (true, Recursion::Readonly);
                self.recursion_given = true;
                "write"
            }
            ("z" | "Z", None) => {
                request.relabel = Some(if word == "z" {
                    Relabel::Shared
                } else {
                    Relabel::Private
                });
                "label"
            }
            ("U", None) => {
                request.chown = true;
                "owner"
            }
            ("nocopy", None) => {
                request.no_copy = true;
                "copy"
            }
            ("consistent" | "cached" | "delegated" | "default", None) => "consistency",
            ("rbind" | "bind", None) => {
                if word == "bind" {
                    request.recursion = Recursion::Disabled;
                }
                self.recursion_given = true;
                "recursion"
            }
            ("idmap", value) => {
                request.idmap = Some(idmap(value.unwrap_or_default())?);
                "idmap"
            }
            ("O", None) => {
                self.overlay = true;
                "overlay"
            }
            _ => return Ok(None),
        }))
    }
}

const MODES: &str = "ro, rw, rro, z, Z, U, nocopy, rbind, bind, [r]shared, [r]slave, [r]private, idmap[=...], [no]exec, \
                     [no]suid, [no]dev";

/// A word of mount_namespaces(7).
pub fn propagation(word: &str) -> Option<Propagation> {
    Some(match word {
        "rprivate" => Propagation::Rprivate,
        "private" => Propagation::Private,
        "rshared" => Propagation::Rshared,
        "shared" => Propagation::Shared,
        "rslave" => Propagation::Rslave,
        "slave" => Propagation::Slave,
        _ => return None,
    })
}

/// Of a flag of mount(8) that a mount may have, or of its opposite: what it says or denies.
pub fn flag(word: &str) -> Option<&'static str> {
    let affirmed = word.strip_prefix("no").unwrap_or(word);
    let mut flags = ["exec", "suid", "dev"].into_iter();
    flags.find(|flag| *flag == affirmed)
}

/// `uids=DISK-INSIDE-SIZE#…;gids=…` as podman writes it, each triplet with an `@` before it or not; empty: owners are
/// taken as they are on the disk.
pub fn idmap(text: &str) -> Result<Idmap, String> {
    let mut map = Idmap::default();
    for part in text.split(';').filter(|_| !text.is_empty()) {
        let (list, triplets) = match part.split_once('=') {
            Some(("uids", triplets)) => (&mut map.uids, triplets),
            Some(("gids", triplets)) => (&mut map.gids, triplets),
            _ => {
                return Err(format!("write {part:?} in idmap as uids=... or gids=..."));
            }
        };
        if !list.is_empty() {
            return Err(format!(
                "write {part:?} in idmap once, with # between its parts"
            ));
        }
        for triplet in triplets.split('#') {
            let numbers: Option<Vec<u32>> = triplet
                .strip_prefix('@')
                .unwrap_or(triplet)
                .split('-')
                .map(|number| number.parse().ok())
                .collect();
            let fits = |first: u32, size: u32| size > 0 && first.checked_add(size - 1).is_some();
            match numbers.as_deref() {
                Some(&[disk, inside, size]) if fits(disk, size) && fits(inside, size) => {
                    list.push(format!("{inside}:{disk}:{size}"));
                }
                _ => {
                    return Err(format!(
                        "write {triplet:?} in idmap as DISK-INSIDE-SIZE, as in uids=1000-0-1"
                    ));
                }
            }
        }
    }
    Ok(map)
}

/// One `--volumes-from`: `ID[:MODE]`, where a mode has nothing that the mounts have from where they come.
pub fn volumes_from(text: &str) -> Result<String, String> {
    let (id, mode) = text.split_once(':').unwrap_or((text, ""));
    if id.is_empty() {
        return Err("volumes-from specification cannot be an empty string".to_owned());
    }
    let parsed = Mode::parse(mode).map_err(|error| error.message)?;
    let known = Request {
        read_only: parsed.request.read_only,
        relabel: parsed.request.relabel,
        recursion: parsed.request.recursion,
        ..Request::default()
    };
    match parsed.request == known && !parsed.recursion_given && !parsed.overlay {
        true => Ok(text.to_owned()),
        false => Err(format!("invalid mode: {mode}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::*;

    /// What differs from a mount that nobody has said anything of.
    fn shown(text: &str) -> Result<String, String> {
        volume(text, "")
            .map(|request| summary(&request))
            .map_err(|error| error.message)
    }

    /// The parts of a request that were asked for.
    fn summary(request: &Request) -> String {
        let given = serde_json::to_value(request).unwrap();
        let plain = serde_json::to_value(Request::default()).unwrap();
        let differs = |(key, value): &(&String, &serde_json::Value)| {
            plain[key.as_str()] != **value && *key != "written"
        };
        let parts = given.as_object().unwrap().iter().filter(differs);
        parts
            .map(|(key, value)| format!("{key}={value}"))
            .collect::<Vec<_>>()
            .join(" ")
            .replace('"', "'")
    }

    #[test]
    fn places() {
        let here = std::env::current_dir().unwrap();
        let above = here.parent().unwrap();
        let bind = |source: &str, rest: &str| {
            format!("\"kind='bind' source='{source}' target='/x' {rest}create_source=true\"")
        };
        check(
            shown,
            &[
                ("/x", r#""target='/x'""#),
                ("data:/x", r#""source='data' target='/x'""#),
                ("data:/x//a/../b/", r#""source='data' target='/x/b'""#),
                ("/a//b/../c/:/x", &bind("/a/c", "")),
                ("/한 글,b:/x:ro", &bind("/한 글,b", "read_only=true ")),
                ("./a:/x", &bind(&format!("{}/a", here.display()), "")),
                (".:/x", &bind(&here.display().to_string(), "")),
                ("../a:/x", &bind(&format!("{}/a", above.display()), "")),
                (
                    "data:/x:nocopy,z,ro,cached",
                    r#""source='data' target='/x' read_only=true no_copy=true relabel='shared'""#,
                ),
            ],
        );
    }

    #[test]
    fn modes() {
        let modes = |text: &str| {
            Mode::parse(text)
                .map(|mode| summary(&mode.request))
                .map_err(|error| format!("{} ({})", error.message, error.hint.unwrap_or_default()))
        };
        let unknown = |mode: &str, word: &str| {
            format!("! invalid mode: {mode} (leave out {word:?}: there are {MODES})")
        };
        let both = |mode: &str, one: &str, other: &str| {
            format!("! invalid mode: {mode} (keep one of {one:?} and {other:?})")
        };
        check(
            modes,
            &[
                ("", r#""""#),
                ("rw", r#""""#),
                ("rro", r#""read_only=true recursion='readonly'""#),
                ("Z,U", r#""relabel='private' chown=true""#),
                (
                    "rslave,bind",
                    r#""recursion='disabled' propagation='rslave'""#,
                ),
                (
                    "noexec,nosuid,nodev",
                    r#""flags=['noexec','nosuid','nodev']""#,
                ),
                ("idmap", r#""idmap={'uids':[],'gids':[]}""#),
                (
                    "idmap=uids=0-1-10#@10-11-10;gids=5-0-1,ro",
                    r#""read_only=true idmap={'uids':['1:0:10','11:10:10'],'gids':['0:5:1']}""#,
                ),
                ("y", &unknown("y", "y")),
                ("ro,", "! invalid mode: ro, (there is a comma too many)"),
                ("RO", &unknown("RO", "RO")),
                ("ro=true", &unknown("ro=true", "ro=true")),
                ("ro,rw", &both("ro,rw", "ro", "rw")),
                ("ro,ro", "! invalid mode: ro,ro (write \"ro\" once)"),
                ("z,Z", &both("z,Z", "z", "Z")),
                ("shared,rslave", &both("shared,rslave", "shared", "rslave")),
                ("exec,noexec", &both("exec,noexec", "exec", "noexec")),
                (
                    "idmap=uids=1-2",
                    "! invalid mode: idmap=uids=1-2 (write \"1-2\" in idmap as DISK-INSIDE-SIZE, as in uids=1000-0-1)",
                ),
                (
                    "idmap=users=1-2-3",
                    "! invalid mode: idmap=users=1-2-3 (write \"users=1-2-3\" in idmap as uids=... or gids=...)",
                ),
                (
                    "idmap=uids=4294967295-0-2",
                    "! invalid mode: idmap=uids=4294967295-0-2 (write \"4294967295-0-2\" in idmap as DISK-INSIDE-SIZE, \
                     as in uids=1000-0-1)",
                ),
            ],
        );
    }

    #[test]
    fn refusals() {
        let wrong = |text: &str, kind: &str, why: &str| {
            format!(
                "! invalid volume specification: '{text}': invalid mount config for type \"{kind}\": {why}"
            )
        };
        let letters = "includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are \
                       allowed. If you intended to pass a host directory, use absolute path";
        let root = "invalid specification: destination can't be '/'";
        check(
            shown,
            &[
                ("", "! invalid empty volume spec"),
                (":/x", "! invalid spec: :/x: empty section between colons"),
                ("/a:", "! invalid spec: /a:: empty section between colons"),
                (
                    "/a:/b:",
                    "! invalid spec: /a:/b:: empty section between colons",
                ),
                ("/a:/b:ro:z", "! invalid spec: /a:/b:ro:z: too many colons"),
                ("./a:b:/x", "! invalid mode: /x"),
                ("/a:ro", "! invalid volume specification: '/a:ro'"),
                ("/a:/b:y", "! invalid mode: y"),
                ("/a:/", &wrong("/a:/", "bind", root)),
                ("aa:/../.", &wrong("aa:/../.", "volume", root)),
                ("/", &wrong("/", "volume", root)),
                (
                    "/a:b",
                    &wrong(
                        "/a:b",
                        "bind",
                        "invalid mount path: 'b' mount path must be absolute",
                    ),
                ),
                (
                    "b",
                    &wrong(
                        "b",
                        "volume",
                        "invalid mount path: 'b' mount path must be absolute",
                    ),
                ),
                (
                    "aa:/x:rslave",
                    &wrong(
                        "aa:/x:rslave",
                        "volume",
                        "field BindOptions must not be specified",
                    ),
                ),
                (
                    "/a:/x:nocopy",
                    &wrong(
                        "/a:/x:nocopy",
                        "bind",
                        "field VolumeOptions must not be specified",
                    ),
                ),
                (
                    "a:/x",
                    "! create a: volume name is too short, names should be at least two alphanumeric characters",
                ),
                ("a/b:/x", &format!("! create a/b: \"a/b\" {letters}")),
                ("~/b:/x", &format!("! create ~/b: \"~/b\" {letters}")),
                ("한글:/x", &format!("! create 한글: \"한글\" {letters}")),
                (
                    "/a:/b:O",
                    "! --volume /a:/b:O is not supported yet: changes of a bind mount cannot be thrown away \
                     (see README, \"Not there yet\")",
                ),
            ],
        );
        check(
            volumes_from,
            &[
                ("web", r#""web""#),
                ("web:ro,z", r#""web:ro,z""#),
                (
                    ":ro",
                    "! volumes-from specification cannot be an empty string",
                ),
                ("web:nocopy", "! invalid mode: nocopy"),
                ("web:rslave", "! invalid mode: rslave"),
                ("web:y", "! invalid mode: y"),
            ],
        );
    }

    #[test]
    fn what_was_written() {
        let here = std::env::current_dir().unwrap();
        for (text, written) in [
            ("/x", "/x".to_owned()),
            ("aa:/x/:ro", "aa:/x/:ro".to_owned()),
            ("./a:/x:z", format!("{}/a:/x:z", here.display())),
        ] {
            assert_eq!(volume(text, "").unwrap().written.unwrap(), written);
        }
        assert_eq!(volume("aa:/x", "nfs").unwrap().driver, "nfs");
    }

    proptest::proptest! {
        #[test]
        fn nothing_written_panics(text in "[/.:a,=~Zz0-9#;@\\-\\PC]{0,24}") {
            let parsed = [volume(&text, ""), volume(&format!("/a:/b:{text}"), ""), volume(&format!("/a:/b:idmap={text}"), "")];
            for request in parsed.into_iter().flatten() {
                proptest::prop_assert!(request.target.starts_with('/') && request.target != "/");
            }
        }
    }
}
