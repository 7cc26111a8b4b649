//! `COPY` and `ADD`, expanded. <https://docs.docker.com/reference/dockerfile/#copy>

use super::draft::Draft;
use super::scope::Scope;
use super::{Copy, FromNet, Part, Place};
use crate::build::context::address::Remote;
use crate::build::copy::plan::Selector;
use crate::build::dockerfile::instruction;
use crate::error::bad_input;
use crate::image::change::absolute;
use anyhow::Result;

/// The words of one, expanded.
struct Words {
    is_add: bool,
    sources: Vec<String>,
    excludes: Vec<String>,
    owner: Option<String>,
    mode: Option<String>,
    checksum: Option<String>,
    destination: String,
}

/// Expands a `COPY` (or an `ADD`); `find` tells what a `--from` means, the main context where there is none. Beside it, how
/// the history tells it.
pub fn copy(
    draft: &Draft,
    scope: &Scope<'_>,
    copy: &instruction::Copy,
    is_add: bool,
    find: &mut dyn FnMut(Option<&str>) -> Result<Place>,
) -> Result<(Copy, String)> {
    let words = Words::expand(copy, is_add, scope)?;
    let (remote, local) = words.parts(copy)?;
    let mut parts = remote;
    if !local.is_empty() {
        parts.push(Part::Files {
            place: find(copy.from.as_deref())?,
            selector: Selector {
                sources: local,
                excludes: words.excludes.clone(),
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
    let history = words.history(copy);
    let destination = destination(&draft.config.config.working_dir, &words.destination);
    if words.sources.len() + copy.heredocs.len() > 1 && !destination.ends_with('/') {
        let message = format!(
            "When using {} with more than one source file, the destination must be a directory and end with a /",
            words.instruction()
        );
        return Err(bad_input(message).into());
    }
    let expanded = Copy {
        link: copy.link,
        parts,
        destination,
        owner: words.owner,
        mode: words.mode,
    };
    Ok((expanded, history))
}

impl Words {
    fn expand(copy: &instruction::Copy, is_add: bool, scope: &Scope<'_>) -> Result<Self> {
        let all = |words: &[String]| {
            let expanded = words.iter().map(|word| scope.expand(word));
            expanded.collect::<Result<Vec<String>>>()
        };
        let one = |word: &Option<String>| {
            let word = word.as_deref().map(|word| scope.expand(word)).transpose();
            word.map(|word| word.filter(|word| !word.is_empty()))
        };
        Ok(Self {
            is_add,
            sources: all(&copy.sources)?,
            excludes: all(&copy.excludes)?,
            owner: one(&copy.owner)?,
            mode: one(&copy.mode)?,
            checksum: one(&copy.checksum)?,
            destination: scope.expand(&copy.destination)?,
        })
    }

    fn instruction(&self) -> &'static str {
        if self.is_add { "ADD" } else { "COPY" }
    }

    /// What of the sources is in the net, and which of them are files.
    fn parts(&self, copy: &instruction::Copy) -> Result<(Vec<Part>, Vec<String>)> {
        let (mut parts, mut local) = (Vec::new(), Vec::new());
        for source in &self.sources {
            let remote = if self.is_add { remote(source)? } else { None };
            match remote {
                Some(address) => parts.push(Part::Remote(FromNet {
                    address,
                    checksum: self.checksum.clone(),
                    keep_git_directory: copy.keep_git_directory,
                    unpack: copy.unpack,
                })),
                None => local.push(source.clone()),
            }
        }
        if self.checksum.is_some() && !local.is_empty() {
            let message = "checksum can't be specified for a file of the context";
            return Err(bad_input(message).into());
        }
        Ok((parts, local))
    }

    fn history(&self, copy: &instruction::Copy) -> String {
        let mut text = self.instruction().to_owned();
        if copy.parents {
            text.push_str(" --parents");
        }
        for (name, value) in [("chown", &self.owner), ("chmod", &self.mode)] {
            if let Some(value) = value {
                text.push_str(&format!(" --{name}={value}"));
            }
        }
        for exclude in &self.excludes {
            text.push_str(&format!(" --exclude={exclude}"));
        }
        for source in &self.sources {
            text.push_str(&format!(" {source}"));
        }
        for heredoc in &copy.heredocs {
            text.push_str(&format!(" <<{}", heredoc.name));
        }
        text.push_str(&format!(" {} # buildkit", self.destination));
        text
    }
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

/// What a source of an `ADD` is in the net. Without a scheme, `github.com/…` may be a directory of the context.
fn remote(source: &str) -> Result<Option<Remote>> {
    let is_path = source.starts_with("github.com/");
    match Remote::parse(source).map_err(anyhow::Error::from)? {
        Some(_) if is_path => Ok(None),
        Some(Remote::Git(repository)) if repository.is_local() => {
            let message = format!("ADD takes no files of this machine: {source}");
            Err(bad_input(message)
                .hint("make it a context: --build-context NAME=DIRECTORY, and COPY --from=NAME")
                .into())
        }
        remote => Ok(remote),
    }
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

    #[test]
    fn what_is_in_the_net_is_told_by_its_address() {
        for (source, is_remote) in [
            ("https://h/x", true),
            ("HTTP://h/x", true),
            ("ssh://h/x", true),
            ("git@h:x/y", true),
            ("me@h:x/y.git", true),
            ("github.com/a/b", false),
            ("github.com/a/b.git", false),
            ("https", false),
            ("a:b", false),
        ] {
            assert_eq!(remote(source).unwrap().is_some(), is_remote, "{source}");
        }
        assert!(remote("file:///x.git").is_err());
    }
}
