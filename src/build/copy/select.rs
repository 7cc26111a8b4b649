//! From the sources of a `COPY` to the files that they mean.

use super::filter::{self, Filter, Verdict};
use super::glob::{is_wild, plain};
use super::resolve::{Resolved, components, resolve};
use super::selection::{Item, Selection};
use super::stat_cache::StatCache;
use super::tree::{Tree, shown};
use super::walk::Walk;
use super::{content, plan::Selector};
use crate::build::dockerfile::nearest::nearest;
use crate::build::ignore::Ignore;
use crate::build::pattern::Pattern;
use crate::error::{Error, Kind as ErrorKind, bad_input, not_found};
use crate::store::tree::names;
use anyhow::Result;
use rustix::fs::{FileType, OFlags, Stat};
use std::os::fd::AsFd;
use std::time::SystemTime;

/// Finds the files and takes the digests of their contents, from `cache` if they are there.
pub fn select(tree: &Tree<'_>, selector: &Selector, cache: &mut StatCache) -> Result<Selection> {
    let known = (!tree.is_layers()).then_some(&*cache);
    let mut selection = find(tree, selector, known)?;
    let begun = SystemTime::now();
    if content::take(tree, &mut selection)? || cache.is_old() {
        cache.remember(selection.entries(), begun);
    }
    Ok(selection)
}

/// Finds the files, and those of their digests that are known.
pub fn find(tree: &Tree<'_>, selector: &Selector, known: Option<&StatCache>) -> Result<Selection> {
    let excluded = excluded(&selector.excludes)?;
    let excluded = excluded.as_ref().map(filter::of);
    let mut selection = Selection::default();
    for source in &selector.sources {
        let mut search = Search {
            tree,
            known,
            excluded: excluded.as_deref(),
            source,
            selection: &mut selection,
        };
        match selector.parents {
            true => search.parents()?,
            false => search.source()?,
        }
    }
    Ok(selection)
}

/// Takes the files of one source.
struct Search<'a, 'b> {
    tree: &'a Tree<'a>,
    known: Option<&'a StatCache>,
    excluded: Option<&'a Filter<'a>>,
    source: &'a str,
    selection: &'b mut Selection,
}

impl Search<'_, '_> {
    fn source(&mut self) -> Result<()> {
        let names = components(self.source);
        let wild = names.iter().position(|name| is_wild(name));
        let Some(wild) = wild else {
            let path = plain(&names.join("/"));
            return self.take(path.as_bytes());
        };
        let directory = plain(&names[..wild].join("/"));
        let Resolved::Found(directory, found) = self.resolve(directory.as_bytes())? else {
            // As in BuildKit: a pattern may fit nothing.
            return Ok(());
        };
        if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
            return Ok(());
        }
        let mut found = Vec::new();
        self.expand(&directory, &names[wild..], &mut found)?;
        found.iter().try_for_each(|path| self.take(path))
    }

    /// What fits a pattern below a directory, by name; links are not followed.
    fn expand(&self, directory: &[u8], pattern: &[&str], found: &mut Vec<Vec<u8>>) -> Result<()> {
        let [first, rest @ ..] = pattern else {
            return Ok(());
        };
        let failed = |errno| self.tree.failed("read", directory, errno);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let held = self.tree.open(directory, flags).map_err(failed)?;
        let first = pattern_of(Pattern::plain(first), first)?;
        let mut inside = names(held.as_fd()).map_err(failed)?;
        inside.sort_unstable();
        for name in inside {
            if !first.matches(&String::from_utf8_lossy(&name)) {
                continue;
            }
            let path = match directory {
                b"" => name,
                _ => [directory, &name].join(&b'/'),
            };
            let opened = self.tree.open(&path, OFlags::PATH);
            let opened = opened.map_err(|errno| self.tree.failed("open", &path, errno))?;
            let kind = rustix::fs::fstat(&opened).map_err(failed)?;
            let is_directory = FileType::from_raw_mode(kind.st_mode) == FileType::Directory;
            match self.tree.verdict(&path, is_directory) {
                Verdict::Pruned => {}
                Verdict::Left if !is_directory => {}
                _ if rest.is_empty() => found.push(path),
                _ if is_directory => self.expand(&path, rest, found)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes what a path stands for: a file, or what is in a directory.
    fn take(&mut self, path: &[u8]) -> Result<()> {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let (path, found) = match self.resolve(path)? {
            Resolved::Found(path, found) => (path, found),
            Resolved::Missing(leaves) => return Err(self.missing(leaves).into()),
        };
        let is_directory = self.is_visible(&path, &found)?;
        let mut walk = Walk::new(self.tree, self.excluded, self.known);
        match is_directory {
            true => walk.content(&path)?,
            false
                if self
                    .excluded
                    .is_some_and(|excluded| excluded(name, false) != Verdict::Taken) => {}
            false => walk.file(&path, &found)?,
        }
        self.add(name, is_directory, walk);
        Ok(())
    }

    /// `--parents`: what fits the source, with the directories on the way to it.
    fn parents(&mut self) -> Result<()> {
        let (pivot, pattern) = self.source.split_once("/./").unwrap_or(("", self.source));
        let pivot = plain(&components(pivot).join("/"));
        let (directory, found) = match self.resolve(pivot.as_bytes())? {
            Resolved::Found(path, found) => (path, found),
            Resolved::Missing(leaves) => return Err(self.missing(leaves).into()),
        };
        if !self.is_visible(&directory, &found)? {
            let message = format!("\"/{pivot}\": not a directory");
            return Err(bad_input(message).into());
        }
        let pattern = components(pattern);
        let is_wild = pattern.iter().any(|name| is_wild(name));
        let mut walk = Walk::new(self.tree, self.excluded, self.known);
        let pattern = pattern.join("/");
        if !pattern.is_empty() {
            walk.included = Some(pattern_of(Pattern::new(&pattern), &pattern)?);
        }
        walk.content(&directory)?;
        if walk.entries.is_empty() && !is_wild && walk.included.is_some() {
            return Err(self.missing(None).into());
        }
        self.add(b"", true, walk);
        Ok(())
    }

    fn add(&mut self, name: &[u8], is_directory: bool, walk: Walk<'_>) {
        self.selection.warnings.extend(walk.warnings);
        if is_directory || !walk.entries.is_empty() {
            self.selection.items.push(Item {
                name: name.to_vec(),
                is_directory,
                entries: walk.entries,
            });
        }
    }

    fn resolve(&self, path: &[u8]) -> Result<Resolved> {
        let resolved = resolve(self.tree.root, path);
        resolved.map_err(|errno| self.tree.unresolved(path, errno))
    }

    /// Whether something is a directory; an error if it is left out of the context, or something above it with all that
    /// is in it.
    fn is_visible(&self, path: &[u8], found: &Stat) -> Result<bool> {
        let is_directory = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let above = slashes.map(|(at, _)| (&path[..at], true));
        for (part, is_directory) in above.chain([(path, is_directory)]) {
            let verdict = match part {
                b"" => Verdict::Taken,
                part => self.tree.verdict(part, is_directory),
            };
            if verdict == Verdict::Pruned || (verdict == Verdict::Left && !is_directory) {
                let hint = format!(
                    "`{}` is there, but the context's ignore file leaves it out: take it back with a line `!{}`",
                    shown(path),
                    shown(path)
                );
                return Err(self.not_found().hint(hint).into());
            }
        }
        Ok(is_directory)
    }

    fn not_found(&self) -> Error {
        let path = components(self.source).join("/");
        not_found(match self.tree.is_layers() {
            true => format!("\"/{path}\": not found"),
            false => format!("\"/{path}\": not found in the build context"),
        })
    }

    /// A source that is not there; `leaves` is what a link on the way to it says that leads out of the root.
    fn missing(&self, leaves: Option<Vec<u8>>) -> Error {
        if let (Some(target), false) = (leaves, self.tree.is_layers()) {
            let message = format!(
                "forbidden path outside the build context: {} leads to {}",
                self.source,
                shown(&target)
            );
            let hint = "copy the file into the context, or name its directory with --build-context NAME=DIRECTORY and copy --from=NAME";
            return Error::new(ErrorKind::BadInput, message).hint(hint);
        }
        match self.nearest() {
            Some(path) => self.not_found().hint(format!("did you mean `{path}`?")),
            None => self.not_found(),
        }
    }

    /// The source with the first name that is not there replaced by one that is and looks like it.
    fn nearest(&self) -> Option<String> {
        let source = components(self.source);
        let mut here = Vec::new();
        for (at, name) in source.iter().enumerate() {
            let path = plain(&source[..=at].join("/"));
            match resolve(self.tree.root, path.as_bytes()).ok()? {
                Resolved::Found(path, _) => here = path,
                Resolved::Missing(_) => {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                    let inside = names(self.tree.open(&here, flags).ok()?.as_fd()).ok()?;
                    let inside: Vec<String> = inside
                        .into_iter()
                        .filter_map(|name| String::from_utf8(name).ok())
                        .collect();
                    let near = nearest(name, inside.iter().map(String::as_str))?;
                    return Some(
                        [&source[..at], &[near], &source[at + 1..]]
                            .concat()
                            .join("/"),
                    );
                }
            }
        }
        None
    }
}

/// A pattern that can be read.
fn pattern_of(parsed: Result<Pattern, &'static str>, text: &str) -> Result<Pattern, Error> {
    parsed.map_err(|why| {
        bad_input(format!("syntax error in pattern '{text}': {why}"))
            .hint("a character that is meant itself needs a \\ before it")
    })
}

/// What `--exclude` says.
fn excluded(patterns: &[String]) -> Result<Option<Ignore>, Error> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let ignore = Ignore::from_patterns(patterns.iter().map(String::as_str));
    ignore.map(Some).map_err(bad_input)
}
