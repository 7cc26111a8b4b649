//! `--mount KEY=VALUE,…`: one line of comma-separated values with the keys of Docker and podman, and the checks of
//! Docker's command line. Those of its engine follow in [`super::mount_point`].

use super::comma_separated::fields;
use super::mount_point::{absolute, word};
use super::tmpfs::{check_option, exclude_each_other};
use super::{bytes, volume};
use crate::cli::unsupported::not_yet;
use crate::container::mount_point::request::{Kind, Propagation, Recursion, Relabel, Request};
use std::collections::BTreeMap;

/// One `--mount`.
pub fn mount(text: &str) -> Result<Request, String> {
    if text.trim().is_empty() {
        return Err("value is empty".to_owned());
    }
    let mut draft = Draft::default();
    for field in fields(text)? {
        draft.take(&field)?;
    }
    draft.finish()
}

/// A mount, and which keys have made it.
#[derive(Default)]
struct Draft {
    request: Request,
    /// Keys that only some types have, with those types.
    keys: Vec<(String, &'static [Kind])>,
    /// `ro`, `exec` and the like as words, of which some exclude others.
    words: Vec<String>,
}

const BIND: &[Kind] = &[Kind::Bind];
const VOLUME: &[Kind] = &[Kind::Volume];
const TMPFS: &[Kind] = &[Kind::Tmpfs];
const IMAGE: &[Kind] = &[Kind::Image];
const FILES: &[Kind] = &[Kind::Bind, Kind::Volume];
const STORED: &[Kind] = &[Kind::Volume, Kind::Image];
const FLAGGED: &[Kind] = &[Kind::Bind, Kind::Volume, Kind::Tmpfs];

impl Draft {
    fn take(&mut self, field: &str) -> Result<(), String> {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (field, None),
        };
        if key.is_empty() {
            return Err(format!("invalid field '{field}' must be a key=value pair"));
        }
        if key.trim() != key {
            return Err(format!(
                "invalid option '{key}' in '{field}': option should not have whitespace"
            ));
        }
        // Docker takes keys in any case; podman's `U` is one that has but one.
        let lower = key.to_ascii_lowercase();
        match value {
            Some("") if lower != "volume-nocopy" => {
                Err(format!("invalid value for '{lower}': value is empty"))
            }
            _ if self.take_switch(&lower, value)? || self.take_flag(&lower, value)? => Ok(()),
            None if lower == "idmap" => self.take_value(&lower, "", field),
            None => Err(format!("invalid field '{field}' must be a key=value pair")),
            Some(value) => self.take_value(&lower, value, field),
        }
    }

    /// A key that may stand alone, or with a truth value.
    fn take_switch(&mut self, key: &str, value: Option<&str>) -> Result<bool, String> {
        let types: &[Kind] = match key {
            "readonly" | "ro" | "rw" | "readwrite" => &[],
            "volume-nocopy" | "nocopy" => VOLUME,
            "bind-nonrecursive" | "bind-create-src" | "create-mountpoint" => BIND,
            "u" | "chown" => FILES,
            "tmpcopyup" | "notmpcopyup" => TMPFS,
            _ => return Ok(false),
        };
        let on = truth(key, value)?;
        self.belongs(key, types);
        let request = &mut self.request;
        match key {
            "readonly" | "ro" => self.words.push(if on { "ro" } else { "rw" }.to_owned()),
            "rw" | "readwrite" => self.words.push(if on { "rw" } else { "ro" }.to_owned()),
            "volume-nocopy" | "nocopy" => request.no_copy = on,
            "bind-nonrecursive" if on => request.recursion = Recursion::Disabled,
            "bind-create-src" | "create-mountpoint" => request.create_source = on,
            "u" | "chown" => request.chown = on,
            "tmpcopyup" if on => {
                return Err(not_yet(
                    "'tmpcopyup'",
                    "what the image has at the target is not copied",
                )
                .message);
            }
            _ => {}
        }
        Ok(true)
    }

    /// `exec`, `nosuid` and the like.
    fn take_flag(&mut self, key: &str, value: Option<&str>) -> Result<bool, String> {
        let Some(family) = volume::flag(key) else {
            return Ok(false);
        };
        let negative = key != family;
        let flag = match truth(key, value)? == negative {
            true => format!("no{family}"),
            false => family.to_owned(),
        };
        self.belongs(key, FLAGGED);
        self.words.push(flag);
        Ok(true)
    }

    fn take_value(&mut self, key: &str, value: &str, field: &str) -> Result<(), String> {
        let types: &[Kind] = match key {
            "type" | "source" | "src" | "target" | "destination" | "dst" | "consistency" => &[],
            _ if key.starts_with("bind-") => BIND,
            _ if key.starts_with("volume-") => VOLUME,
            _ if key.starts_with("image-") => IMAGE,
            _ if key.starts_with("tmpfs-") => TMPFS,
            "relabel" | "idmap" => FILES,
            "subpath" => STORED,
            _ => &[],
        };
        self.belongs(key, types);
        let invalid = || format!("invalid value for {key}: {value}");
        let request = &mut self.request;
        match key {
            "type" => request.kind = kind(value)?,
            "source" | "src" => request.source = absolute(value).map_err(|error| error.message)?,
            "target" | "destination" | "dst" => value.clone_into(&mut request.target),
            "consistency" => match value.to_ascii_lowercase().as_str() {
                "default" | "consistent" | "cached" | "delegated" => {}
                _ => return Err(invalid()),
            },
            "bind-propagation" => {
                let propagation = volume::propagation(&value.to_ascii_lowercase());
                request.propagation = Some(propagation.ok_or_else(invalid)?);
            }
            "bind-recursive" => request.recursion = recursion(value)?,
            "volume-driver" => value.clone_into(&mut request.driver),
            "volume-label" => insert(&mut request.labels, key, value)?,
            "volume-opt" => insert(&mut request.driver_options, key, value)?,
            "volume-subpath" | "image-subpath" | "subpath" => {
                request.subpath = Some(value.to_owned())
            }
            "tmpfs-size" => request.tmpfs_size = Some(bytes(value).map_err(|_| invalid())?),
            "tmpfs-mode" => {
                let mode = u32::from_str_radix(value, 8)
                    .ok()
                    .filter(|mode| *mode <= 0o7777);
                request.tmpfs_mode = Some(mode.ok_or_else(invalid)?);
            }
            "tmpfs-options" => {
                for option in value.split(',') {
                    check_option(option)?;
                    self.words.push(option.to_owned());
                }
            }
            "relabel" => {
                request.relabel = Some(match value {
                    "shared" => Relabel::Shared,
                    "private" => Relabel::Private,
                    _ => return Err(format!("{} (must be \"shared\" or \"private\")", invalid())),
                });
            }
            "idmap" => request.idmap = Some(volume::idmap(value)?),
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
        Ok(())
    }

    fn belongs(&mut self, key: &str, types: &'static [Kind]) {
        if !types.is_empty() {
            self.keys.push((key.to_owned(), types));
        }
    }

    fn finish(mut self) -> Result<Request, String> {
        let kind = self.request.kind;
        if let Some((key, types)) = self.keys.iter().find(|(_, types)| !types.contains(&kind)) {
            let prefix = word(types[0]);
            let what = match key
                .strip_prefix(prefix)
                .is_some_and(|rest| rest.starts_with('-'))
            {
                true => format!("'{prefix}-*' options"),
                false => format!("'{key}'"),
            };
            return Err(format!(
                "cannot mix {what} with mount type '{}'",
                word(kind)
            ));
        }
        if self.request.target.is_empty() {
            return Err("target is required".to_owned());
        }
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        exclude_each_other(&words)?;
        if kind == Kind::Image && words.contains(&"rw") {
            return Err(not_yet(
                "'rw' with mount type 'image'",
                "files of an image are read-only",
            )
            .message);
        }
        let request = &mut self.request;
        request.read_only = words.contains(&"ro");
        for word in words
            .into_iter()
            .filter(|word| !["ro", "rw"].contains(word))
        {
            if !request.flags.iter().any(|known| known == word) {
                request.flags.push(word.to_owned());
            }
        }
        let requires = |recursion, what| {
            Err(format!(
                "option 'bind-recursive={recursion}' requires '{what}' to be specified in conjunction"
            ))
        };
        let private = request.propagation == Some(Propagation::Rprivate);
        match request.recursion {
            Recursion::Writable if !request.read_only => requires("writable", "readonly"),
            Recursion::Readonly if !request.read_only => requires("readonly", "readonly"),
            Recursion::Readonly if !private => requires("readonly", "bind-propagation=rprivate"),
            _ => Ok(self.request),
        }
    }
}

fn truth(key: &str, value: Option<&str>) -> Result<bool, String> {
    match value {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(other) => Err(format!("invalid value for {key}: {other}")),
    }
}

fn kind(text: &str) -> Result<Kind, String> {
    match text.to_ascii_lowercase().as_str() {
        "bind" => Ok(Kind::Bind),
        "volume" => Ok(Kind::Volume),
        "tmpfs" => Ok(Kind::Tmpfs),
        "image" => Ok(Kind::Image),
        "glob" | "ramfs" | "devpts" | "artifact" => {
            let why = "there are the types bind, volume, tmpfs and image";
            Err(not_yet(&format!("'type={text}'"), why).message)
        }
        "npipe" => Err("'type=npipe' is not supported: it exists on Windows only".to_owned()),
        "cluster" => Err("'type=cluster' is not supported: there is no cluster".to_owned()),
        _ => Err(format!(
            "mount type unknown: '{text}' (must be \"bind\", \"volume\", \"tmpfs\" or \"image\")"
        )),
    }
}

fn recursion(text: &str) -> Result<Recursion, String> {
    match text {
        "enabled" => Ok(Recursion::Enabled),
        "disabled" => Ok(Recursion::Disabled),
        "writable" => Ok(Recursion::Writable),
        "readonly" => Ok(Recursion::Readonly),
        _ => Err(format!(
            "invalid value for bind-recursive: {text} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"
        )),
    }
}

fn insert(map: &mut BTreeMap<String, String>, flag: &str, text: &str) -> Result<(), String> {
    match text.split_once('=').unwrap_or((text, "")) {
        ("", _) => Err(format!("invalid value for {flag}: {text}")),
        (key, value) => {
            map.insert(key.to_owned(), value.to_owned());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::*;

    fn shown(text: &str) -> Result<String, String> {
        let given = serde_json::to_value(mount(text)?).unwrap();
        let plain = serde_json::to_value(Request::default()).unwrap();
        let parts = given
            .as_object()
            .unwrap()
            .iter()
            .filter(|(key, value)| plain[key.as_str()] != **value);
        let parts: Vec<_> = parts.map(|(key, value)| format!("{key}={value}")).collect();
        Ok(parts.join(" ").replace('"', "'"))
    }

    #[test]
    fn what_is_taken() {
        check(
            shown,
            &[
                ("dst=/x", r#""target='/x'""#),
                (
                    "type=volume,src=data,destination=/x,ro",
                    r#""source='data' target='/x' read_only=true""#,
                ),
                (
                    "TYPE=Bind,Source=/a,target=/x,readonly=0",
                    r#""kind='bind' source='/a' target='/x'""#,
                ),
                (
                    r#"type=bind,"src=/한, ""글"" a:b",dst=/x"#,
                    r#""kind='bind' source='/한, \\'글\\' a:b' target='/x'""#,
                ),
                (
                    "type=bind,src=/a,dst=/x,bind-propagation=rslave,bind-recursive=disabled,consistency=cached",
                    r#""kind='bind' source='/a' target='/x' recursion='disabled' propagation='rslave'""#,
                ),
                (
                    "type=bind,src=/a,dst=/x,ro,bind-recursive=readonly,bind-propagation=rprivate",
                    r#""kind='bind' source='/a' target='/x' read_only=true recursion='readonly' propagation='rprivate'""#,
                ),
                (
                    "type=bind,src=/a,dst=/x,bind-create-src,relabel=private,U,idmap=uids=1000-0-1,noexec,suid=false",
                    r#""kind='bind' source='/a' target='/x' create_source=true flags=['noexec','nosuid'] relabel='private' chown=true idmap={'uids':['0:1000:1'],'gids':[]}""#,
                ),
                (
                    r#"src=d,dst=/x,volume-nocopy,volume-driver=local,volume-label=a=b,volume-opt=type=nfs,"volume-opt=o=addr=h,rw",volume-subpath=a/b"#,
                    r#""source='d' target='/x' no_copy=true subpath='a/b' driver='local' driver_options={'o':'addr=h,rw','type':'nfs'} labels={'a':'b'}""#,
                ),
                (
                    r#"type=tmpfs,dst=/x,tmpfs-size=64m,tmpfs-mode=1770,"tmpfs-options=exec,uid=7",notmpcopyup"#,
                    r#""kind='tmpfs' target='/x' tmpfs_size=67108864 tmpfs_mode=1016 flags=['exec','uid=7']""#,
                ),
                (
                    "type=image,src=alpine,dst=/x,subpath=etc",
                    r#""kind='image' source='alpine' target='/x' subpath='etc'""#,
                ),
            ],
        );
    }

    #[test]
    fn what_is_refused() {
        check(
            shown,
            &[
                ("", "! value is empty"),
                ("type=bind,src=/a", "! target is required"),
                (
                    "src=/a,foo,dst=/x",
                    "! invalid field 'foo' must be a key=value pair",
                ),
                ("=a,dst=/x", "! invalid field '=a' must be a key=value pair"),
                ("dst=/x,", "! invalid field '' must be a key=value pair"),
                (
                    "dst = /x",
                    "! invalid option 'dst ' in 'dst = /x': option should not have whitespace",
                ),
                ("dst=", "! invalid value for 'dst': value is empty"),
                ("dst=/x,x=y", "! unexpected key 'x' in 'x=y'"),
                ("dst=/x,bind-x=y", "! unexpected key 'bind-x' in 'bind-x=y'"),
                ("dst=/x,ro=maybe", "! invalid value for ro: maybe"),
                ("dst=/x,ro,rw", "! 'ro' and 'rw' exclude each other"),
                (
                    "dst=/x,exec,noexec",
                    "! 'exec' and 'noexec' exclude each other",
                ),
                (
                    "type=foo,dst=/x",
                    "! mount type unknown: 'foo' (must be \"bind\", \"volume\", \"tmpfs\" or \"image\")",
                ),
                (
                    "type=glob,dst=/x",
                    "! 'type=glob' is not supported yet: there are the types bind, volume, tmpfs and image (see README, \
                     \"Not there yet\")",
                ),
                (
                    "type=npipe,dst=/x",
                    "! 'type=npipe' is not supported: it exists on Windows only",
                ),
            ],
        );
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        check(
            shown,
            &[
                (
                    "type=bind,src=/a,dst=/x,volume-nocopy",
                    "! cannot mix 'volume-*' options with mount type 'bind'",
                ),
                (
                    "dst=/x,bind-propagation=slave",
                    "! cannot mix 'bind-*' options with mount type 'volume'",
                ),
                (
                    "dst=/x,tmpfs-size=1",
                    "! cannot mix 'tmpfs-*' options with mount type 'volume'",
                ),
                (
                    "dst=/x,image-subpath=a",
                    "! cannot mix 'image-*' options with mount type 'volume'",
                ),
                (
                    "type=tmpfs,dst=/x,U",
                    "! cannot mix 'u' with mount type 'tmpfs'",
                ),
                (
                    "type=tmpfs,dst=/x,tmpfs-size=x",
                    "! invalid value for tmpfs-size: x",
                ),
                (
                    "type=tmpfs,dst=/x,tmpfs-mode=9",
                    "! invalid value for tmpfs-mode: 9",
                ),
                (
                    "type=tmpfs,dst=/x,tmpfs-options=foo",
                    "! invalid tmpfs option [\"foo\"]",
                ),
                (
                    "type=bind,src=/a,dst=/x,bind-propagation=up",
                    "! invalid value for bind-propagation: up",
                ),
                (
                    "type=bind,src=/a,dst=/x,bind-recursive=on",
                    "! invalid value for bind-recursive: on (must be \"enabled\", \"disabled\", \"writable\", or \
                     \"readonly\")",
                ),
                (
                    "type=bind,src=/a,dst=/x,bind-recursive=writable",
                    "! option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction",
                ),
                (
                    "type=bind,src=/a,dst=/x,ro,bind-recursive=readonly",
                    "! option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in \
                     conjunction",
                ),
                (
                    "dst=/x,volume-label==a",
                    "! invalid value for volume-label: =a",
                ),
                (
                    "type=image,src=a,dst=/x,relabel=shared",
                    "! cannot mix 'relabel' with mount type 'image'",
                ),
                (
                    "dst=/x,\"a",
                    "! extraneous or missing \" in quoted field: dst=/x,\"a",
                ),
            ],
        );
    }

    proptest::proptest! {
        #[test]
        fn nothing_written_panics(text in "((type|src|dst|ro|volume-opt|tmpfs-size|idmap|relabel)?[=,\"a/\\PC]{0,4}){0,6}") {
            let _ = mount(&text);
        }
    }
}
