//! What `-v`, `--mount` and `--tmpfs` have in common: paths, the checks of Docker's engine, and what they come to
//! together.
//!
//! Nothing of the host is looked at but the current directory, which `./data` is meant from.

use super::volume;
use crate::container::mount_point::request::{Kind, Request};
use crate::error::{Error, bad_input};
use crate::paths;
use crate::volume::name;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Component, Path};

/// All mounts that are asked for, in order. Volumes without names, and the same `-v` twice, give way to others, as in
/// Docker; that there are several for one place is found when the container is made.
pub fn all<'a>(
    volumes: &[String],
    mounts: Vec<Request>,
    tmpfs: impl Iterator<Item = &'a str>,
    driver: &str,
) -> Result<Vec<Request>, Error> {
    let mut taken: BTreeSet<String> = tmpfs.map(str::to_owned).collect();
    let mut written = BTreeSet::new();
    let (mut requests, mut anonymous) = (Vec::new(), Vec::new());
    for text in volumes.iter().filter(|text| written.insert(text.as_str())) {
        let request = volume::volume(text, driver)?;
        match request.source.is_empty() {
            true => anonymous.push(request),
            false => requests.push(request),
        }
    }
    for mut request in mounts {
        check(&mut request)?;
        requests.push(request);
    }
    taken.extend(requests.iter().map(|request| request.target.clone()));
    requests.extend(
        anonymous
            .into_iter()
            .filter(|request| taken.insert(request.target.clone())),
    );
    Ok(requests)
}

/// Cleans the paths of a request, and refuses what cannot be mounted whatever the host has.
pub fn check(request: &mut Request) -> Result<(), Error> {
    let kind = request.kind;
    let wrong = |why: &str| invalid(kind, why);
    request.target = target_path(&request.target).map_err(|error| Error {
        message: wrong(&error.message).message,
        ..error
    })?;
    if request.source.contains('\0') {
        return Err(wrong("a source cannot hold a NUL byte"));
    }
    match kind {
        Kind::Bind => match request.source.as_str() {
            "" => {
                return Err(
                    wrong("field Source must not be empty").hint("source=/path/of/the/host")
                );
            }
            path if !path.starts_with('/') => {
                let why = format!("invalid mount path: '{path}' mount path must be absolute");
                return Err(wrong(&why).hint(format!(
                    "source=./{path} is meant from the current directory"
                )));
            }
            path => request.source = cleaned(path),
        },
        Kind::Volume => check_volume(request)?,
        Kind::Tmpfs if !request.source.is_empty() => {
            return Err(wrong("field Source must not be specified"));
        }
        Kind::Image if request.source.is_empty() => {
            return Err(wrong("field Source must not be empty").hint("source=IMAGE"));
        }
        Kind::Tmpfs | Kind::Image => {}
    }
    match &request.subpath {
        Some(path) if !is_local(path) => {
            let message = format!(
                "subpath {path:?} must be a relative path within the {}",
                word(kind)
            );
            Err(wrong(&message))
        }
        _ => Ok(()),
    }
}

fn check_volume(request: &Request) -> Result<(), Error> {
    let name = &request.source;
    let wrong = |why: &str| invalid(Kind::Volume, why);
    if name.is_empty() {
        return match (request.read_only, &request.subpath) {
            (true, _) => Err(wrong(
                "must not set ReadOnly mode when using anonymous volumes",
            )),
            (_, Some(_)) => Err(wrong("must not set Subpath when using anonymous volumes")),
            _ => Ok(()),
        };
    }
    name::check(name).map_err(|error| {
        let error = bad_input(format!("create {name}: {}", error.message));
        match name.as_str() {
            path if path.starts_with('/') => error.hint(format!("type=bind,source={path}")),
            path if path.starts_with('~') => {
                error.hint("$HOME stands for it wherever it is written")
            }
            path if path.contains('/') => {
                error.hint(format!("./{path} is meant from the current directory"))
            }
            _ => error,
        }
    })
}

/// One `--storage-opt`.
pub fn storage_option(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some(("size", value)) => {
            super::bytes(value)?;
            Ok(("size".to_owned(), value.to_owned()))
        }
        Some((key, _)) => Err(format!("Unknown option {key}: there is only size=BYTES")),
        None => Err(format!(
            "invalid storage option: '{text}' is not size=BYTES"
        )),
    }
}

/// Bytes of the last `size`, which is the one that counts.
pub fn storage_size(options: &[(String, String)]) -> Result<Option<u64>, Error> {
    let size = options.iter().rev().find(|(key, _)| key == "size");
    size.map(|(_, value)| super::bytes(value).map_err(bad_input))
        .transpose()
}

/// Docker's sentence for a mount that cannot be.
pub fn invalid(kind: Kind, why: &str) -> Error {
    bad_input(format!(
        "invalid mount config for type \"{}\": {why}",
        word(kind)
    ))
}

/// What `type=` says.
pub fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Bind => "bind",
        Kind::Volume => "volume",
        Kind::Tmpfs => "tmpfs",
        Kind::Image => "image",
    }
}

/// Where a mount is to be: absolute, clean, not the root.
pub fn target_path(text: &str) -> Result<String, Error> {
    if text.is_empty() {
        return Err(bad_input("field Target must not be empty"));
    }
    if !text.starts_with('/') || text.contains('\0') {
        return Err(bad_input(
            format!("invalid mount path: {text:?} mount path must be absolute").replace('"', "'"),
        ));
    }
    match cleaned(text) {
        root if root == "/" => Err(bad_input("invalid specification: destination can't be '/'")),
        path => Ok(path),
    }
}

/// A source as it is meant from the current directory where it begins with a dot, as in Docker.
pub fn absolute(source: &str) -> Result<String, Error> {
    if !source.starts_with('.') {
        return Ok(source.to_owned());
    }
    let unknown = |why: &str| {
        bad_input(format!(
            "`{source}` is meant from the current directory, {why}"
        ))
    };
    let here = std::env::current_dir().map_err(|error| match error.kind() {
        ErrorKind::NotFound => unknown("which was removed").hint("cd to one that is there"),
        _ => unknown(&format!("which cannot be found: {error}")),
    })?;
    let here = here
        .to_str()
        .ok_or_else(|| unknown("whose name is no UTF-8"))?;
    Ok(cleaned(&format!("{here}/{source}")))
}

/// As [`paths::cleaned`] does it.
pub fn cleaned(path: &str) -> String {
    let cleaned = paths::cleaned(Path::new(path));
    cleaned.to_string_lossy().into_owned()
}

/// Whether it stays below where it begins, as Go's `filepath.IsLocal` says it.
fn is_local(path: &str) -> bool {
    let mut depth = 0_usize;
    for part in Path::new(path).components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            _ => return false,
        }
    }
    !path.is_empty() && !path.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::super::{check as compare, mount};
    use super::*;

    #[test]
    fn mounts_together() {
        let together = |volumes: &[&str], mounts: &[&str], memory: &[&str]| {
            let volumes: Vec<String> = volumes.iter().map(ToString::to_string).collect();
            let mounts = mounts
                .iter()
                .map(|text| mount::mount(text).unwrap())
                .collect();
            let found = all(&volumes, mounts, memory.iter().copied(), "");
            found.map_err(|error| error.message).map(|found| {
                let place = |request: &Request| format!("{}:{}", request.source, request.target);
                found.iter().map(place).collect::<Vec<_>>().join(" ")
            })
        };
        assert_eq!(
            together(&["/a:/x", "bb:/y"], &["dst=/z"], &["/t"]).unwrap(),
            "/a:/x bb:/y :/z"
        );
        // Which cannot be, as is said where the container is made.
        assert_eq!(
            together(&["/a:/x", "/b:/./x"], &["dst=/x"], &[]).unwrap(),
            "/a:/x /b:/x :/x"
        );
        assert_eq!(together(&["aa:/x", "aa:/x"], &[], &[]).unwrap(), "aa:/x");
        assert_eq!(
            together(&["/x", "aa:/x", "/x/", "/y"], &[], &[]).unwrap(),
            "aa:/x :/y"
        );
    }

    #[test]
    fn what_the_engine_refuses() {
        let checked = |text: &str| {
            let mut request = mount::mount(text)?;
            check(&mut request).map_err(|error| error.message)?;
            Ok(format!("{}:{}", request.source, request.target))
        };
        let wrong =
            |kind: &str, why: &str| format!("! invalid mount config for type \"{kind}\": {why}");
        compare(
            checked,
            &[
                ("type=bind,src=/a//b/../c,dst=/x/../y", r#""/a/c:/y""#),
                (
                    "type=bind,dst=/x",
                    &wrong("bind", "field Source must not be empty"),
                ),
                (
                    "type=bind,src=a,dst=/x",
                    &wrong(
                        "bind",
                        "invalid mount path: 'a' mount path must be absolute",
                    ),
                ),
                (
                    "type=tmpfs,src=a,dst=/x",
                    &wrong("tmpfs", "field Source must not be specified"),
                ),
                (
                    "type=image,dst=/x",
                    &wrong("image", "field Source must not be empty"),
                ),
                (
                    "dst=x",
                    &wrong(
                        "volume",
                        "invalid mount path: 'x' mount path must be absolute",
                    ),
                ),
                (
                    "dst=/",
                    &wrong("volume", "invalid specification: destination can't be '/'"),
                ),
                (
                    "dst=/x,ro",
                    &wrong(
                        "volume",
                        "must not set ReadOnly mode when using anonymous volumes",
                    ),
                ),
                (
                    "dst=/x,volume-subpath=a",
                    &wrong(
                        "volume",
                        "must not set Subpath when using anonymous volumes",
                    ),
                ),
                (
                    "src=dd,dst=/x,volume-subpath=a/../../b",
                    &wrong(
                        "volume",
                        "subpath \"a/../../b\" must be a relative path within the volume",
                    ),
                ),
                (
                    "type=image,src=d,dst=/x,subpath=/etc",
                    &wrong(
                        "image",
                        "subpath \"/etc\" must be a relative path within the image",
                    ),
                ),
                (
                    "type=bind,src=/a\0,dst=/x",
                    &wrong("bind", "a source cannot hold a NUL byte"),
                ),
            ],
        );
        compare(
            storage_option,
            &[
                ("size=10G", r#"("size", "10G")"#),
                ("size=x", "! invalid size: 'x'"),
                (
                    "inodes=1",
                    "! Unknown option inodes: there is only size=BYTES",
                ),
                ("size", "! invalid storage option: 'size' is not size=BYTES"),
            ],
        );
    }
}
