//! What a `COPY` or an `ADD` is to put where, as plain values: variables are expanded, contexts and stages are found.

use crate::build::worker::order::Layers;
use serde::{Deserialize, Serialize};

/// Which files of a root are meant.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selector {
    /// As they were written, expanded: with wildcards (Go's `filepath.Match`), relative to the root whether they begin
    /// with `/` or not.
    pub sources: Vec<String>,
    /// `--exclude`.
    pub excludes: Vec<String>,
    /// `--parents`: directories on the way to a file are made too, from `/./` on if that is in a source.
    pub parents: bool,
}

/// One `COPY` or `ADD`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Plan {
    /// What is copied, in this order: later ones replace earlier ones.
    pub parts: Vec<Part>,
    /// Where to: absolute; with a slash at its end, or several sources, it is a directory.
    pub destination: String,
    /// `--chown`: `user[:group]`, names or numbers.
    pub owner: Option<String>,
    /// `--chmod`: octal, or symbolic as of chmod(1).
    pub mode: Option<String>,
}

/// Files from one place.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub enum Part {
    /// Of a directory of the host, which was handed over: a context.
    Directory {
        /// The number of its descriptor.
        descriptor: usize,
        /// The number of the descriptor of what was selected, as `Selection::to_file` has made it.
        selection: usize,
        /// Archives among the sources are unpacked (`ADD`).
        unpack: bool,
    },
    /// Of layers, merged: a stage or an image.
    Layers {
        /// Which layers.
        layers: Layers,
        /// Which files.
        selector: Selector,
    },
    /// A file that stands in the Dockerfile.
    Text {
        /// What it is called where the destination is a directory.
        name: String,
        /// What is in it.
        content: String,
    },
    /// A file that was downloaded.
    Download {
        /// The number of its descriptor.
        descriptor: usize,
        /// What it is called where the destination is a directory.
        name: String,
        /// Seconds since 1970.
        modified: i64,
        /// An archive is unpacked.
        unpack: bool,
    },
}
