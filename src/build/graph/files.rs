//! `COPY` and `ADD`, expanded. <https://docs.docker.com/reference/dockerfile/#copy>

use super::draft::Draft;
use super::scope::Scope;
use super::{Copy, Part, Place};
use crate::build::copy::plan::Selector;
use crate::build::dockerfile::instruction;
use crate::error::bad_input;
use crate::image::change::absolute;
use anyhow::Result;

/// Expands a `COPY` (or an `ADD`); `find` tells what a `--from` means, the main context where there is none. Beside it, how
/// the history tells it.
pub fn copy(
    draft: &Draft,
    scope: &Scope<'_>,
    copy: &instruction::Copy,
    is_add: bool,
    find: &mut dyn FnMut(Option<&str>) -> Result<Place>,
) -> Result<(Copy, String)> {
    let expand_all = |words: &[String]| {
        let expanded = words.iter().map(|word| scope.expand(word));
        expanded.collect::<Result<Vec<String>>>()
    };
    let expand = |word: &Option<String>| {
        let word = word.as_deref().map(|word| scope.expand(word)).transpose();
        word.map(|word| word.filter(|word| !word.is_empty()))
    };
    let sources = expand_all(&copy.sources)?;
    let excludes = expand_all(&copy.excludes)?;
    let (owner, mode, checksum) = (
        expand(&copy.owner)?,
        expand(&copy.mode)?,
        expand(&copy.checksum)?,
    );
    let written = scope.expand(&copy.destination)?;
    let mut parts = Vec::new();
    let mut local = Vec::new();
    for source in &sources {
        match is_add && is_address(source) {
            true => parts.push(Part::Remote {
                address: source.clone(),
                checksum: checksum.clone(),
                keep_git_directory: copy.keep_git_directory,
                unpack: copy.unpack,
            }),
            false => local.push(source.clone()),
        }
    }
    if checksum.is_some() && !local.is_empty() {
        return Err(bad_input("checksum can't be specified for a file of the context").into());
    }
    if !local.is_empty() {
        parts.push(Part::Files {
            place: find(copy.from.as_deref())?,
            selector: Selector {
                sources: local,
                excludes: excludes.clone(),
                parents: copy.parents,
            },
            unpack: copy.unpack.unwrap_or(is_add),
        });
    }
    for heredoc in &copy.heredocs {
        parts.push(Part::Text {
            name: heredoc.name.clone(),
            content: match heredoc.expand {
                true => scope.expand_text(&heredoc.content)?,
                false => heredoc.content.clone(),
            },
        });
    }
    let mut text = if is_add { "ADD" } else { "COPY" }.to_owned();
    let flags = [("chown", &owner), ("chmod", &mode)];
    if copy.parents {
        text.push_str(" --parents");
    }
    for (name, value) in flags {
        if let Some(value) = value {
            text.push_str(&format!(" --{name}={value}"));
        }
    }
    for exclude in &excludes {
        text.push_str(&format!(" --exclude={exclude}"));
    }
    for source in &sources {
        text.push_str(&format!(" {source}"));
    }
    for heredoc in &copy.heredocs {
        text.push_str(&format!(" <<{}", heredoc.name));
    }
    text.push_str(&format!(" {written} # buildkit"));
    let destination = destination(&draft.config.config.working_dir, &written);
    if sources.len() + copy.heredocs.len() > 1 && !destination.ends_with('/') {
        let name = if is_add { "ADD" } else { "COPY" };
        let message = format!(
            "When using {name} with more than one source file, the destination must be a directory and end with a /"
        );
        return Err(bad_input(message).into());
    }
    let expanded = Copy {
        link: copy.link,
        parts,
        destination,
        owner,
        mode,
    };
    Ok((expanded, text))
}

/// Absolute, with a slash at its end if it must be a directory.
fn destination(working_directory: &str, written: &str) -> String {
    let mut path = absolute(working_directory, written);
    let is_directory =
        matches!(written, "" | ".") || written.ends_with('/') || written.ends_with("/.");
    if is_directory && !path.ends_with('/') {
        path.push('/');
    }
    path
}

/// Whether a source of an `ADD` is something in the net.
fn is_address(source: &str) -> bool {
    let schemes = ["http://", "https://", "git://", "ssh://", "git@"];
    schemes.iter().any(|scheme| source.starts_with(scheme))
        || (source.starts_with("github.com/") && source.ends_with(".git"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_begin_in_the_working_directory() {
        for (written, expected) in [
            (".", "/app/"),
            ("", "/app/"),
            ("./", "/app/"),
            ("x", "/app/x"),
            ("x/", "/app/x/"),
            ("../x", "/x"),
            ("/", "/"),
            ("/x/../y", "/y"),
        ] {
            assert_eq!(destination("/app", written), expected, "{written}");
        }
    }
}
