//! `--verify`: what two builds of the same have made, compared step by step, as the tars of their layers tell it.

use super::cache::Cache;
use super::graph::schedule::{Made, Progress};
use super::graph::{Graph, NodeId};
use crate::container::engine::Engine;
use crate::container::root;
use crate::image::digest::Digest;
use crate::image::hold::Hold;
use crate::image::layer::stream_tar;
use crate::image::remove;
use crate::paths::Paths;
use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufReader, Read, Write};
use tar::EntryType;

/// Builds once more by `run`, with a cache that knows nothing: the files that differ, and whether this process is root of
/// the store's user namespace since ([`enter`]).
pub fn again(
    engine: &Engine,
    graph: &Graph,
    first: &Progress,
    run: impl FnOnce(&Cache<'_>) -> Result<Progress>,
) -> Result<(Vec<Difference>, bool)> {
    let own = Hold::new(&engine.paths)?;
    let cache = Cache::forgetful(&engine.paths, &own)?;
    let second = run(&cache)?;
    let entered = enter(engine, first, &second)?;
    let differences = differences(&engine.paths, graph, first, &second)?;
    drop(cache);
    drop(own);
    drop_second(&engine.paths, first, &second)?;
    Ok((differences, entered))
}

/// A file that is not the same in both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The step that has made it, as progress calls it.
    pub step: String,
    /// Below the root of the image.
    pub path: String,
    /// In what they differ.
    pub what: Vec<What>,
}

/// In what two files differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Only the first build has it.
    Missing,
    /// Only the second build has it.
    Added,
    /// One is a file, the other a directory.
    Kind,
    /// What is in it, or where it leads.
    Content,
    /// Permission bits.
    Mode,
    /// Owner or group.
    Owner,
    /// When it was changed.
    Time,
    /// Extended attributes.
    Attributes,
}

impl What {
    /// A word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "only in the first build",
            Self::Added => "only in the second build",
            Self::Kind => "kind",
            Self::Content => "content",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Time => "time",
            Self::Attributes => "attributes",
        }
    }
}

/// An entry of a tar, as far as it is compared.
#[derive(PartialEq, Eq)]
struct Entry {
    kind: EntryType,
    content: Vec<u8>,
    mode: u32,
    owner: (u64, u64),
    time: u64,
    attributes: Vec<(String, Vec<u8>)>,
}

impl Entry {
    fn compare(&self, other: &Self) -> Vec<What> {
        let checks = [
            (What::Kind, self.kind == other.kind),
            (What::Content, self.content == other.content),
            (What::Mode, self.mode == other.mode),
            (What::Owner, self.owner == other.owner),
            (What::Time, self.time == other.time),
            (What::Attributes, self.attributes == other.attributes),
        ];
        let differing = checks.into_iter().filter(|(_, same)| !same);
        differing.map(|(what, _)| what).collect()
    }
}

/// Makes an ordinary user's process root of the store's user namespace if there is anything to be compared.
fn enter(engine: &Engine, first: &Progress, second: &Progress) -> Result<bool> {
    let is_needed = engine.mapping.needs_user_namespace() && !first.names().eq(second.names());
    if is_needed {
        root::enter(engine)?;
    }
    Ok(is_needed)
}

/// What the layers of the second build have otherwise than those of the first.
fn differences(
    paths: &Paths,
    graph: &Graph,
    first: &Progress,
    second: &Progress,
) -> Result<Vec<Difference>> {
    let mut differing = Vec::new();
    for (id, node) in graph.nodes.iter().enumerate() {
        if !node.is_image() && diff_ids(first, id) != diff_ids(second, id) {
            differing.push((id, &node.name));
        }
    }
    let mut found = Vec::new();
    for (id, step) in differing {
        let one = entries(paths, first.made(id))?;
        let other = entries(paths, second.made(id))?;
        let paths: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
        for path in paths {
            let what = match (one.get(path), other.get(path)) {
                (Some(one), Some(other)) => one.compare(other),
                (Some(_), None) => vec![What::Missing],
                (None, _) => vec![What::Added],
            };
            if !what.is_empty() {
                let (step, path) = (step.clone(), format!("/{path}"));
                found.push(Difference { step, path, what });
            }
        }
    }
    Ok(found)
}

fn diff_ids(progress: &Progress, id: NodeId) -> &[Digest] {
    progress.made(id).map_or(&[], |made| &made.layers.diff_ids)
}

/// The layers of the second build need not stay: those that nobody else has are given up.
fn drop_second(paths: &Paths, first: &Progress, second: &Progress) -> Result<()> {
    let kept: BTreeSet<&String> = first.names().collect();
    let lost: BTreeSet<&String> = second.names().filter(|name| !kept.contains(name)).collect();
    if lost.is_empty() {
        return Ok(());
    }
    let lost: BTreeSet<&str> = lost
        .into_iter()
        .map(|name| Paths::layer_key(name))
        .collect();
    remove::give_up_cached(paths, &|name| !lost.contains(name))?;
    Ok(())
}

/// What is in the layers of a step, by path; the last that was said of each.
fn entries(paths: &Paths, made: Option<&Made>) -> Result<BTreeMap<String, Entry>> {
    let mut found = BTreeMap::new();
    for name in made.iter().flat_map(|made| &made.layers.names) {
        let directory = paths.layer(name);
        let (reader, mut writer) = std::io::pipe().context("pipe")?;
        std::thread::scope(|scope| {
            let streaming = scope.spawn(move || {
                stream_tar(&directory, &mut writer)?;
                writer.flush().context("write the tar of a layer")
            });
            let read = read(reader, &mut found).context("read the tar of a layer");
            let streamed = streaming.join();
            read.and(streamed.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })?;
    }
    Ok(found)
}

fn read(input: impl Read, found: &mut BTreeMap<String, Entry>) -> Result<()> {
    let mut archive = tar::Archive::new(BufReader::with_capacity(128 << 10, input));
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let mut content = Sha256::new();
        let mut piece = [0; 32 << 10];
        loop {
            match entry.read(&mut piece)? {
                0 => break,
                length => content.update(&piece[..length]),
            }
        }
        content.update(entry.link_name_bytes().unwrap_or_default());
        let mut attributes = Vec::new();
        for extension in entry.pax_extensions()?.into_iter().flatten() {
            let extension = extension?;
            let key = String::from_utf8_lossy(extension.key_bytes()).into_owned();
            if key.starts_with("SCHILY.xattr.") {
                attributes.push((key, extension.value_bytes().to_vec()));
            }
        }
        let header = entry.header();
        let described = Entry {
            kind: header.entry_type(),
            content: content.finalize().to_vec(),
            mode: header.mode()?,
            owner: (header.uid()?, header.gid()?),
            time: header.mtime()?,
            attributes,
        };
        found.insert(path.trim_end_matches('/').to_owned(), described);
    }
    // The end of the archive is more than its last entry: whoever writes must not find the pipe closed.
    std::io::copy(&mut archive.into_inner(), &mut std::io::sink())?;
    Ok(())
}
