//! `--output`, `--push` and `--load`: where the result goes.
//! <https://docs.docker.com/build/exporters/>

use super::annotation;
use super::flags::Build;
use crate::build::output::blob::Packing;
use crate::build::output::{Annotation, Destination, Kind, Output};
use crate::cli::flag::boolean;
use crate::cli::output::Output as Printed;
use crate::cli::value::comma_separated;
use crate::error::{Error, Kind as ErrorKind, bad_input};
use crate::image::reference::Reference;
use anyhow::Result;
use std::path::{Path, PathBuf};

impl Build {
    /// All outputs, at least one.
    pub(super) fn outputs(&self, names: &[Reference]) -> Result<Vec<Output>> {
        let mut outputs = Vec::new();
        for text in &self.output {
            outputs.push(parse(text)?);
        }
        if self.push {
            let image = outputs.iter().position(|output| output.kind == Kind::Image);
            match image {
                Some(image) => outputs[image].push = true,
                None if outputs.is_empty() => outputs.push(Output {
                    push: true,
                    ..Output::new(Kind::Image)
                }),
                None => {
                    let message = "push and the outputs that were given exclude each other";
                    return Err(bad_input(message).hint("-o type=image,push=true").into());
                }
            }
        }
        let keeps = |output: &Output| output.kind == Kind::Image && output.store;
        if outputs.is_empty() || (self.load && !outputs.iter().any(keeps)) {
            outputs.push(Output::new(Kind::Image));
        }
        let docker_types = match self.format.as_deref() {
            None | Some("" | "oci") => false,
            Some("docker") => true,
            Some(other) => {
                return Err(bad_input(format!("unrecognized image type \"{other}\""))
                    .hint("--format oci or docker")
                    .into());
            }
        };
        let mut annotations = Vec::new();
        for text in &self.annotation {
            annotations.extend(annotation::parse(text)?);
        }
        for output in &mut outputs {
            output.docker_types |= docker_types;
            output.annotations.extend(annotations.iter().cloned());
            let own = std::mem::take(&mut output.names);
            output.names = names.to_vec();
            for name in own {
                if !output.names.contains(&name) {
                    output.names.push(name);
                }
            }
            if output.push && output.names.is_empty() {
                let message = "tag is needed when pushing to registry";
                return Err(bad_input(message).hint("--tag REGISTRY/NAME").into());
            }
        }
        let standard = |output: &&Output| output.destination == Some(Destination::Standard);
        if outputs.iter().filter(standard).count() > 1 {
            return Err(bad_input("only one output can go to standard output").into());
        }
        Ok(outputs)
    }
}

/// One `--output`.
fn parse(text: &str) -> Result<Output, Error> {
    let fields = comma_separated::fields(text).map_err(bad_input)?;
    if let [only] = &fields[..]
        && !only.contains('=')
    {
        let (kind, destination) = match only.as_str() {
            "-" => (Kind::Tar, standard("tar")?),
            path => (Kind::Local, Destination::Path(PathBuf::from(path))),
        };
        return Ok(Output {
            destination: Some(destination),
            ..Output::new(kind)
        });
    }
    let mut pairs = Vec::new();
    for field in &fields {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| bad_input(format!("invalid value {field}")))?;
        pairs.push((key.trim().to_lowercase(), key.trim(), value));
    }
    let kind = pairs.iter().find(|(key, ..)| key == "type");
    let word = kind.map(|(.., value)| *value);
    let word = word.ok_or_else(|| bad_input("type is required for output"))?;
    let mut output = Output::new(match word {
        "image" | "registry" => Kind::Image,
        "docker" => Kind::Docker,
        "oci" => Kind::Oci,
        "tar" => Kind::Tar,
        "local" => Kind::Local,
        "cacheonly" => {
            return Ok(Output {
                store: false,
                ..Output::new(Kind::Image)
            });
        }
        other => {
            return Err(bad_input(format!("unknown exporter \"{other}\""))
                .hint("type=image, registry, docker, oci, tar or local"));
        }
    });
    output.push = word == "registry";
    for (key, written, value) in pairs {
        set(&mut output, &key, written, value)?;
    }
    settle(output, word)
}

fn set(output: &mut Output, key: &str, written: &str, value: &str) -> Result<(), Error> {
    let yes = |value: &str| {
        boolean(value).map_err(|why| bad_input(format!("non-bool value for {key}: {why}")))
    };
    match key {
        "type" => {}
        "dest" | "destination" => {
            output.destination = Some(match value {
                "-" => Destination::Standard,
                path => Destination::Path(PathBuf::from(path)),
            });
        }
        "name" => {
            for name in value
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty())
            {
                let name: Reference = name.parse()?;
                output.names.push(name.or_latest());
            }
        }
        "push" => output.push = yes(value)?,
        "push-by-digest" => output.by_digest = yes(value)?,
        "store" => output.store = yes(value)?,
        "tar" => output.archive = yes(value)?,
        "platform-split" => output.platform_split = Some(yes(value)?),
        "oci-mediatypes" => output.docker_types = !yes(value)?,
        "compression" => output.packing.compression = Packing::parse(value)?,
        "compression-level" => {
            let level = value.parse();
            let wrong = |_| bad_input(format!("non-integer value {value} for compression-level"));
            output.packing.level = Some(level.map_err(wrong)?);
        }
        // Layers are always packed anew, times are never later than the epoch, and images are always unpacked here.
        "force-compression" | "rewrite-timestamp" | "unpack" => drop(yes(value)?),
        "name-canonical" | "dangling-name-prefix" | "buildinfo" | "context" => {}
        _ if key.starts_with("annotation") => output.annotations.push(attribute(written, value)?),
        _ => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("the output option {written}={value} is not supported"),
            ));
        }
    }
    Ok(())
}

/// `annotation.KEY`, `annotation-index.KEY`, `annotation-manifest[linux/amd64].KEY`.
fn attribute(written: &str, value: &str) -> Result<Annotation, Error> {
    let invalid = || bad_input(format!("invalid annotation {written}={value}"));
    let (before, key) = written.split_once('.').ok_or_else(invalid)?;
    let word = match before.strip_prefix("annotation") {
        Some(rest) => match rest.strip_prefix('-') {
            Some(word) => word.to_owned(),
            None => format!("manifest{rest}"),
        },
        None => return Err(invalid()),
    };
    let (place, platform) = annotation::place(&word)?.ok_or_else(invalid)?;
    Ok(Annotation {
        place,
        platform,
        key: key.to_owned(),
        value: value.to_owned(),
    })
}

/// What is missing is set, and what does not go together is refused.
fn settle(mut output: Output, word: &str) -> Result<Output, Error> {
    match (output.kind, &output.destination) {
        (Kind::Image, Some(_)) => {
            let message = format!("dest is not supported for {word} output");
            return Err(bad_input(message).hint("type=oci,dest=FILE"));
        }
        (Kind::Local, None) => return Err(bad_input("dest is required for local output")),
        (Kind::Local, Some(Destination::Standard)) => {
            return Err(bad_input("dest cannot be stdout for local output").hint("type=tar"));
        }
        // As Docker's own builder: it becomes an image.
        (Kind::Docker, None) => {
            output.kind = Kind::Image;
            output.store = true;
        }
        (Kind::Oci | Kind::Docker, _) if !output.archive => match &output.destination {
            Some(Destination::Path(_)) if output.kind == Kind::Oci => {}
            _ => return Err(bad_input("dest is required for an output with tar=false")),
        },
        (Kind::Oci | Kind::Tar, None) => output.destination = Some(standard(word)?),
        (Kind::Oci | Kind::Tar | Kind::Docker, Some(Destination::Standard)) => {
            standard(word)?;
        }
        (Kind::Oci | Kind::Tar | Kind::Docker, Some(Destination::Path(path))) if path.is_dir() => {
            return Err(is_directory(path));
        }
        _ => {}
    }
    if output.push && output.kind != Kind::Image {
        return Err(bad_input(format!(
            "push is not supported for {word} output"
        )));
    }
    Ok(output)
}

fn is_directory(path: &Path) -> Error {
    let shown = path.display();
    bad_input(format!("destination `{shown}` is a directory"))
        .hint("name a file; an OCI layout in a directory is type=oci,tar=false,dest=DIRECTORY")
}

/// Standard output, unless somebody sits there.
fn standard(word: &str) -> Result<Destination, Error> {
    match Printed::is_terminal() {
        true => Err(bad_input(format!(
            "dest file is required for {word} exporter. refusing to write to console"
        ))),
        false => Ok(Destination::Standard),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::compression::Compression;

    #[test]
    fn spellings_of_outputs() {
        let path = |path: &str| Some(Destination::Path(PathBuf::from(path)));
        for (text, kind, destination) in [
            ("out", Kind::Local, path("out")),
            ("type=local,dest=out", Kind::Local, path("out")),
            ("type=oci,dest=x.tar", Kind::Oci, path("x.tar")),
            ("type=docker,dest=x.tar", Kind::Docker, path("x.tar")),
            ("type=docker", Kind::Image, None),
            ("type=tar,dest=x.tar", Kind::Tar, path("x.tar")),
            ("type=registry,name=a/b", Kind::Image, None),
            ("type=oci,tar=false,dest=/tmp", Kind::Oci, path("/tmp")),
        ] {
            let output = parse(text).unwrap();
            assert_eq!(
                (output.kind, &output.destination),
                (kind, &destination),
                "{text}"
            );
        }
        let output = parse(
            "type=image,\"name=a,b:1\",push=true,compression=zstd,compression-level=9,oci-mediatypes=false,annotation-index.k=v",
        )
        .unwrap();
        let names: Vec<String> = output.names.iter().map(|name| name.canonical()).collect();
        assert_eq!(
            names,
            ["docker.io/library/a:latest", "docker.io/library/b:1"]
        );
        assert!(output.push && output.docker_types);
        assert_eq!(output.packing.compression, Compression::Zstd);
        assert_eq!(output.packing.level, Some(9));
        assert_eq!(
            output.annotations[0].place,
            crate::build::output::Place::Index
        );
    }

    #[test]
    fn what_cannot_be_is_told() {
        for (text, part) in [
            ("dest=x,a=b", "type is required for output"),
            ("type=local,a=b", "not supported"),
            ("type=local", "dest is required for local output"),
            ("type=x", "unknown exporter \"x\""),
            ("type=tar,dest=/tmp", "is a directory"),
            ("type=image,push=maybe", "non-bool value for push"),
            (
                "type=oci,dest=x,compression=lzma",
                "unsupported layer compression type",
            ),
            ("type=image,dest=x", "dest is not supported"),
            ("type=tar,dest=x,push=true", "push is not supported"),
            ("type=tar,dest=x,y", "invalid value y"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.message.contains(part), "{text}: {}", error.message);
        }
    }
}
