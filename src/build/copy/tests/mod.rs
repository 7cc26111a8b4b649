//! Whole copies: real files, the tar that comes of them.

mod layer;
mod select;

use super::filter::Filter;
use super::plan::{Part, Plan, Selector};
use super::selection::Selection;
use super::stat_cache::StatCache;
use super::{Tree, select as take, write_layer};
use crate::build::worker::order;
use crate::image::layer::{Archive, MemberKind};
use crate::sys::openat2::open_root;
use anyhow::Result;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use tempfile::TempDir;

/// Later than all files, so that no test depends on when it runs.
const EPOCH: i64 = 1_000_000_000;

/// Files by their lines: `path`, `path/`, `path=content`, `path->target`, each perhaps with ` mode` in octal.
fn files(lines: &[&str]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for line in lines {
        make(directory.path(), line);
    }
    directory
}

fn make(root: &Path, line: &str) {
    let (line, mode) = match line.split_once(' ') {
        Some((line, mode)) => (line, Some(u32::from_str_radix(mode, 8).unwrap())),
        None => (line, None),
    };
    let above = |path: &Path| std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let (path, default) = if let Some((path, target)) = line.split_once("->") {
        above(&root.join(path));
        symlink(target, root.join(path)).unwrap();
        return;
    } else if let Some(path) = line.strip_suffix('/') {
        std::fs::create_dir_all(root.join(path)).unwrap();
        (path, 0o755)
    } else {
        let (path, content) = line.split_once('=').unwrap_or((line, ""));
        above(&root.join(path));
        std::fs::write(root.join(path), content).unwrap();
        (path, 0o644)
    };
    let mode = std::fs::Permissions::from_mode(mode.unwrap_or(default));
    std::fs::set_permissions(root.join(path), mode).unwrap();
}

fn root(directory: &TempDir) -> OwnedFd {
    open_root(directory.path()).unwrap()
}

fn selector(sources: &[&str]) -> Selector {
    Selector {
        sources: sources.iter().map(ToString::to_string).collect(),
        ..Selector::default()
    }
}

fn selected(
    context: &TempDir,
    selector: &Selector,
    ignored: Option<&Filter<'_>>,
) -> Result<Selection> {
    let root = root(context);
    let tree = Tree::context(root.as_fd(), ignored);
    take(&tree, selector, &mut StatCache::default())
}

/// What a `COPY` of those sources to that destination writes, a line for each member.
struct Copy {
    plan: Plan,
    selector: Selector,
}

impl Copy {
    fn new(words: &[&str]) -> Self {
        let (destination, sources) = words.split_last().unwrap();
        let plan = Plan {
            destination: (*destination).to_owned(),
            ..Plan::default()
        };
        Self {
            plan,
            selector: selector(sources),
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// From a context.
    fn onto(self, context: &TempDir, below: Option<&TempDir>) -> Result<Vec<String>> {
        let selection = selected(context, &self.selector, None)?;
        let part = Part::Directory {
            descriptor: 0,
            selection: 1,
            unpack: false,
        };
        let descriptors = [root(context), selection.to_file()?];
        self.write(part, &descriptors, &[], below)
    }

    /// From layers.
    fn from(self, files: &TempDir, below: Option<&TempDir>) -> Result<Vec<String>> {
        let root = root(files);
        let part = Part::Layers {
            layers: order::Layers::default(),
            selector: self.selector.clone(),
        };
        let tree = Tree::layers(root.as_fd(), None);
        self.write(part, &[], &[tree], below)
    }

    fn write(
        mut self,
        part: Part,
        descriptors: &[OwnedFd],
        trees: &[Tree<'_>],
        below: Option<&TempDir>,
    ) -> Result<Vec<String>> {
        self.plan.parts.push(part);
        let order = order::Copy {
            base: None,
            epoch: EPOCH,
            plan: self.plan,
        };
        let below = below.map(root);
        let below = below.as_ref().map(|root| Tree::layers(root.as_fd(), None));
        let mut out = Vec::new();
        let written = write_layer(&order, descriptors, trees, below.as_ref(), &mut out)?;
        let lines = members(&out);
        assert_eq!(written.is_changed, !lines.is_empty());
        Ok(lines)
    }
}

/// `path mode owner:group`, with ` -> target`, ` == target` or `=content`.
fn members(tar: &[u8]) -> Vec<String> {
    let mut archive = Archive::new(tar);
    let mut lines = Vec::new();
    while let Some(member) = archive.next_member().unwrap() {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut content = Vec::new();
        loop {
            let piece = archive.data().unwrap().to_vec();
            archive.consume(piece.len());
            if piece.is_empty() {
                break;
            }
            content.extend(piece);
        }
        assert!(member.mtime.tv_sec <= EPOCH && member.mtime.tv_nsec == 0);
        let more = match member.kind {
            MemberKind::File if content.is_empty() => String::new(),
            MemberKind::File => format!(" ={}", text(&content)),
            MemberKind::SymbolicLink => format!(" -> {}", text(&member.link)),
            MemberKind::HardLink => format!(" == {}", text(&member.link)),
            MemberKind::Fifo => " fifo".to_owned(),
            _ => String::new(),
        };
        let owner = match (member.uid, member.gid) {
            (0, 0) => String::new(),
            (uid, gid) => format!(" {uid}:{gid}"),
        };
        let mode = match member.kind {
            MemberKind::SymbolicLink => String::new(),
            _ => format!(" {:o}", member.mode),
        };
        lines.push(format!("{}{mode}{owner}{more}", text(&member.name)));
    }
    lines
}

fn message(result: Result<impl std::fmt::Debug>) -> String {
    let error = result.unwrap_err();
    match crate::error::hint(&error) {
        Some(hint) => format!("{error:#} [{hint}]"),
        None => format!("{error:#}"),
    }
}
