//! `--cache-from` and `--cache-to`: caches that other machines have written, or are to read.
//! <https://docs.docker.com/build/cache/backends/>

use super::flags::Build;
use crate::build::order::CacheSource;
use crate::build::output::blob::Packing;
use crate::build::output::cache::{CacheOutput, Destination};
use crate::cli::flag::boolean;
use crate::cli::unsupported;
use crate::cli::value::comma_separated;
use crate::error::{Error, bad_input};
use crate::image::digest::Digest;
use crate::image::reference::Reference;
use crate::image::registry::Options;
use anyhow::Result;
use std::path::PathBuf;

/// What a cache in a directory is called where nobody says.
const TAG: &str = "latest";

/// All of `--cache-to`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct CacheTo {
    /// Those that go elsewhere.
    pub outputs: Vec<CacheOutput>,
    /// The image holds one.
    pub inline: bool,
    /// And is asked to hold more than it can.
    pub inline_all: bool,
}

impl Build {
    /// Where the cache goes.
    pub(super) fn cache_to(&self) -> Result<CacheTo> {
        let mut to = CacheTo::default();
        for text in &self.cache_to {
            for entry in entries(text, "--cache-to")? {
                match entry.kind.as_str() {
                    "inline" => {
                        to.inline = true;
                        to.inline_all |= inline(&entry)?;
                    }
                    _ => to.outputs.push(output(&entry)?),
                }
            }
        }
        Ok(to)
    }

    /// Where caches come from.
    pub(super) fn cache_from(&self, options: &Options) -> Result<Vec<CacheSource>> {
        let mut from = Vec::new();
        for text in &self.cache_from {
            for entry in entries(text, "--cache-from")? {
                from.push(source(&entry, options)?);
            }
        }
        Ok(from)
    }
}

/// One of them: its type, and the rest of its fields.
struct Entry {
    kind: String,
    fields: Vec<(String, String)>,
    flag: &'static str,
}

impl Entry {
    fn unknown(&self, key: &str) -> Error {
        let Self { kind, flag, .. } = self;
        bad_input(format!("unexpected key '{key}' for {flag} type={kind}"))
    }

    fn required(&self, value: Option<String>, key: &str) -> Result<String, Error> {
        let role = self.role();
        let message = || bad_input(format!("{} cache {role} requires {key}", self.kind));
        let value = value.filter(|value| !value.is_empty());
        value.ok_or_else(|| message().hint(format!("{} type={},{key}=…", self.flag, self.kind)))
    }

    fn role(&self) -> &'static str {
        match self.flag {
            "--cache-to" => "exporter",
            _ => "importer",
        }
    }
}

/// `type=KIND,key=value…`, or names alone, which are of a registry.
fn entries(text: &str, flag: &'static str) -> Result<Vec<Entry>, Error> {
    let fields = comma_separated::fields(text).map_err(bad_input)?;
    if fields.iter().all(|field| !field.contains('=')) {
        let name = |name: String| Entry {
            kind: "registry".to_owned(),
            fields: vec![("ref".to_owned(), name)],
            flag,
        };
        return Ok(fields.into_iter().map(name).collect());
    }
    let (mut kind, mut rest) = (None, Vec::new());
    for field in fields {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| bad_input(format!("invalid value {field}")).hint("KEY=VALUE"))?;
        match key.trim().to_lowercase() {
            key if key == "type" => kind = Some(value.to_owned()),
            key => rest.push((key, value.to_owned())),
        }
    }
    let kind = kind.ok_or_else(|| {
        bad_input(format!("type is required for {flag} {text}")).hint("type=registry or local")
    })?;
    let entry = Entry {
        kind,
        fields: rest,
        flag,
    };
    match (entry.kind.as_str(), flag) {
        ("registry" | "local", _) | ("inline", "--cache-to") => Ok(vec![entry]),
        ("gha" | "s3" | "azblob", _) => {
            let why = "a cache goes into a registry, a directory or the image";
            Err(unsupported::not_yet(
                &format!("{flag} type={}", entry.kind),
                why,
            ))
        }
        (other, _) => {
            let message = format!("unknown cache {}: {other:?}", entry.role());
            let hint = match flag {
                "--cache-to" => "type=registry, local or inline",
                _ => "type=registry or local; an image with an inline cache is type=registry",
            };
            Err(bad_input(message).hint(hint))
        }
    }
}

fn yes(key: &str, value: &str) -> Result<bool, Error> {
    boolean(value).map_err(|why| bad_input(format!("non-bool value for {key}: {why}")))
}

fn mode(value: &str) -> Result<bool, Error> {
    match value {
        "min" => Ok(false),
        "max" => Ok(true),
        other => Err(bad_input(format!("invalid cache mode {other:?}")).hint("mode=min or max")),
    }
}

/// Whether more is wanted than is in an image.
fn inline(entry: &Entry) -> Result<bool, Error> {
    let mut all = false;
    for (key, value) in &entry.fields {
        match key.as_str() {
            "mode" => all = mode(value)?,
            key => return Err(entry.unknown(key)),
        }
    }
    Ok(all)
}

fn output(entry: &Entry) -> Result<CacheOutput> {
    let is_local = entry.kind == "local";
    let (mut place, mut tag, mut insecure) = (None, TAG.to_owned(), None);
    let mut output = CacheOutput {
        destination: Destination::Local(PathBuf::new(), String::new()),
        all: false,
        packing: Packing::default(),
        docker_types: false,
        index: false,
        ignore_error: false,
    };
    for (key, value) in &entry.fields {
        match key.as_str() {
            "dest" if is_local => place = Some(value.clone()),
            "tag" if is_local => tag.clone_from(value),
            "ref" if !is_local => place = Some(value.clone()),
            "registry.insecure" if !is_local => insecure = yes(key, value)?.then_some(false),
            "mode" => output.all = mode(value)?,
            "compression" => output.packing.compression = Packing::parse(value)?,
            "compression-level" => {
                let wrong =
                    |_| bad_input(format!("non-integer value {value} for compression-level"));
                output.packing.level = Some(value.parse().map_err(wrong)?);
            }
            // Layers are always packed anew.
            "force-compression" => drop(yes(key, value)?),
            "oci-mediatypes" => output.docker_types = !yes(key, value)?,
            "image-manifest" => output.index = !yes(key, value)?,
            "ignore-error" => output.ignore_error = yes(key, value)?,
            key => return Err(entry.unknown(key).into()),
        }
    }
    output.destination = match is_local {
        true => Destination::Local(PathBuf::from(entry.required(place, "dest")?), tag),
        false => {
            let name: Reference = entry.required(place, "ref")?.parse()?;
            if name.digest().is_some() {
                let message = format!("a cache cannot go to {name}: it has a digest");
                return Err(bad_input(message).hint("ref=NAME:TAG").into());
            }
            Destination::Registry {
                name: name.or_latest(),
                tls_verify: insecure,
            }
        }
    };
    Ok(output)
}

fn source(entry: &Entry, options: &Options) -> Result<CacheSource> {
    let is_local = entry.kind == "local";
    let (mut place, mut tag, mut digest) = (None, TAG.to_owned(), None);
    let mut options = options.clone();
    for (key, value) in &entry.fields {
        match key.as_str() {
            "src" if is_local => place = Some(value.clone()),
            "tag" if is_local => tag.clone_from(value),
            "digest" if is_local => digest = Some(value.parse::<Digest>()?),
            "ref" if !is_local => place = Some(value.clone()),
            "registry.insecure" if !is_local => {
                if yes(key, value)? {
                    options.tls_verify = Some(false);
                }
            }
            key => return Err(entry.unknown(key).into()),
        }
    }
    if is_local {
        return Ok(CacheSource::Local {
            path: PathBuf::from(entry.required(place, "src")?),
            tag,
            digest,
        });
    }
    let typed = entry.required(place, "ref")?;
    let name: Reference = typed.parse()?;
    Ok(CacheSource::Registry {
        name: name.or_latest(),
        typed,
        options: Box::new(options),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(text: &str) -> Result<CacheOutput> {
        output(&entries(text, "--cache-to")?.remove(0))
    }

    fn from(text: &str) -> Result<Vec<CacheSource>> {
        let options = Options {
            files: Default::default(),
            tls_verify: None,
            certificates: None,
            silence: std::time::Duration::from_secs(1),
        };
        let entries = entries(text, "--cache-from")?;
        entries
            .iter()
            .map(|entry| source(entry, &options))
            .collect()
    }

    #[test]
    fn spellings_of_caches() {
        let output = to("type=local,dest=d,tag=t,mode=max,compression=zstd").unwrap();
        let local = Destination::Local(PathBuf::from("d"), "t".to_owned());
        assert_eq!((output.destination, output.all), (local, true));
        let output = to(
            "type=registry,ref=h:1/x,registry.insecure=true,image-manifest=false,oci-mediatypes=false,ignore-error=1",
        )
        .unwrap();
        let registry = Destination::Registry {
            name: "h:1/x:latest".parse().unwrap(),
            tls_verify: Some(false),
        };
        assert_eq!(output.destination, registry);
        assert!(output.index && output.docker_types && output.ignore_error && !output.all);
        let names: Vec<String> = [
            from("h:1/x,h:1/y:2").unwrap(),
            from("type=local,src=d").unwrap(),
        ]
        .concat()
        .iter()
        .map(CacheSource::to_string)
        .collect();
        assert_eq!(names, ["h:1/x:latest", "h:1/y:2", "local:d"]);
    }

    #[test]
    fn what_cannot_be_is_told() {
        for (text, part) in [
            ("type=local", "local cache exporter requires dest"),
            (
                "type=registry,mode=max",
                "registry cache exporter requires ref",
            ),
            ("type=local,dest=d,ref=x", "unexpected key 'ref'"),
            ("type=local,dest=d,mode=all", "invalid cache mode \"all\""),
            (
                "type=registry,ref=x,ignore-error=maybe",
                "non-bool value for ignore-error",
            ),
            ("type=registry,ref=UPPER", "must be lowercase"),
            (
                "type=registry,ref=x@sha256:0000000000000000000000000000000000000000000000000000000000000000",
                "it has a digest",
            ),
            ("type=tape,dest=d", "unknown cache exporter: \"tape\""),
            ("type=gha", "--cache-to type=gha is not supported yet"),
            ("dest=d", "type is required"),
            (
                "type=local,dest=d,compression=lzma",
                "unsupported layer compression type",
            ),
        ] {
            let error = format!("{:#}", to(text).unwrap_err());
            assert!(error.contains(part), "{text}: {error}");
        }
        for (text, part) in [
            ("type=local", "local cache importer requires src"),
            ("type=local,src=d,digest=x", "x"),
            ("type=inline", "unknown cache importer: \"inline\""),
            (
                "type=s3,bucket=x",
                "--cache-from type=s3 is not supported yet",
            ),
            ("type=registry,ref=x,dest=y", "unexpected key 'dest'"),
            ("", "importer requires ref"),
        ] {
            let error = format!("{:#}", from(text).unwrap_err());
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
