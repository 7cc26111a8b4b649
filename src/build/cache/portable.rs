//! Records as they leave this machine: beside the list of layers in the config of an image, or of a manifest that holds
//! nothing else ([`CONFIG`]). In both the layers of the manifest are those of `rootfs`, in that order, so that one reader
//! reads both.
//!
//! ```json
//! {"rootfs": {"type": "layers", "diff_ids": ["sha256:…"]},
//!  "onggi.build.cache.v1": [{"keys": ["sha256:…"], "epoch": 1700000000, "layer": "sha256:…"}]}
//! ```
//!
//! A layer of a record may be missing in the manifest: then it is known what the step has come to, which is all that keys of
//! later steps need, but whoever needs the files does the step again.
//!
//! Invariant: nothing in it is of this moment or of this machine, so that the same build gives the same bytes.

use super::import::Imports;
use crate::build::graph::schedule::Progress;
use crate::build::graph::{Graph, NodeId};
use crate::error::bad_input;
use crate::image::config::RootFs;
use crate::image::digest::Digest;
use anyhow::Result;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The media type of a config that holds nothing else.
pub const CONFIG: &str = "application/vnd.onggi.build.cache.v1+json";
/// Where records stand in a config.
pub const FIELD: &str = "onggi.build.cache.v1";
/// Where BuildKit's stand in the config of an image, and the media type of its own.
const BUILDKIT: [&str; 2] = [
    "moby.buildkit.cache.v0",
    "application/vnd.buildkit.cacheconfig.v0",
];

/// What a step has come to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Portable {
    /// Under what it is found.
    pub keys: Vec<Digest>,
    /// Seconds since 1970 that its files, and its entry in the history, are at most old.
    pub epoch: i64,
    /// The digest of its tar; `None`: it has changed nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<Digest>,
}

/// What all steps have come to that the files of these nodes need; `start` is the time of the Dockerfile and the key under
/// which it is found.
pub fn records(
    graph: &Graph,
    progress: &Progress,
    tops: &[NodeId],
    start: Option<&(Digest, i64)>,
) -> Vec<Portable> {
    let of_steps = graph.needed(tops).into_iter().filter_map(|id| {
        let made = progress.made(id)?;
        let portable = Portable {
            keys: made.keys.clone(),
            epoch: made.epoch,
            layer: made.layers.diff_ids.first().cloned(),
        };
        (!graph.nodes[id].is_image()).then_some(portable)
    });
    let start = start.map(|(key, epoch)| Portable {
        keys: vec![key.clone()],
        epoch: *epoch,
        layer: None,
    });
    // Two stages may have the same step.
    let all: BTreeSet<Portable> = start.into_iter().chain(of_steps).collect();
    all.into_iter().collect()
}

/// What the steps of a build have come to, and where their layers are.
#[derive(Debug)]
pub struct Steps {
    /// For all of them.
    pub records: Vec<Portable>,
    /// Each once.
    pub layers: Vec<StepLayer>,
    /// Where those are that are not here.
    pub imports: Imports,
}

/// The layer of a step.
#[derive(Debug)]
pub struct StepLayer {
    /// The digest of its tar.
    pub diff_id: Digest,
    /// Its name in the store, if it is here.
    pub name: Option<String>,
    /// An image that was built has it.
    pub in_image: bool,
}

impl Steps {
    /// Of everything that `tops` need.
    pub fn new(
        graph: &Graph,
        progress: &Progress,
        tops: &[NodeId],
        start: Option<&(Digest, i64)>,
        imports: Imports,
    ) -> Self {
        let stacks = tops.iter().flat_map(|&top| graph.stack(Some(top)));
        let in_images: BTreeSet<NodeId> = stacks.collect();
        let mut layers: Vec<StepLayer> = Vec::new();
        for id in graph.needed(tops) {
            let made = progress.made(id).filter(|_| !graph.nodes[id].is_image());
            let Some(diff_id) = made.and_then(|made| made.layers.diff_ids.first()) else {
                continue;
            };
            let in_image = in_images.contains(&id);
            match layers.iter_mut().find(|layer| layer.diff_id == *diff_id) {
                Some(known) => known.in_image |= in_image,
                None => layers.push(StepLayer {
                    diff_id: diff_id.clone(),
                    name: made.and_then(|made| made.layers.names.first().cloned()),
                    in_image,
                }),
            }
        }
        Self {
            records: records(graph, progress, tops, start),
            layers,
            imports,
        }
    }
}

/// A config that holds these records and nothing else.
pub fn config(records: &[Portable], diff_ids: &[Digest]) -> Result<Vec<u8>> {
    let rootfs = RootFs {
        diff_ids: diff_ids.to_vec(),
        ..RootFs::default()
    };
    Ok(serde_json::to_vec(
        &json!({"rootfs": rootfs, FIELD: records}),
    )?)
}

/// Puts records into the config of an image.
pub fn within(config: &mut Value, records: &[Portable]) {
    config[FIELD] = json!(records);
}

/// What somebody's config holds.
#[derive(Debug, Default)]
pub struct Held {
    /// The layers of its manifest.
    pub diff_ids: Vec<Digest>,
    /// Its records.
    pub records: Vec<Portable>,
}

/// Reads a config that may come from anybody; one without records is no error.
pub fn read(kind: &str, bytes: &[u8]) -> Result<Held> {
    #[derive(Deserialize)]
    struct Document {
        #[serde(default)]
        rootfs: RootFs,
        #[serde(rename = "onggi.build.cache.v1", default)]
        records: Vec<Portable>,
        #[serde(rename = "moby.buildkit.cache.v0", default)]
        buildkit: Option<serde::de::IgnoredAny>,
    }
    if kind == BUILDKIT[1] {
        return Err(foreign());
    }
    let wrong = |error| bad_input(format!("its config cannot be read: {error}"));
    let document: Document = serde_json::from_slice(bytes).map_err(wrong)?;
    if document.records.is_empty() && document.buildkit.is_some() {
        return Err(foreign());
    }
    let is_time = |record: &Portable| Timestamp::from_second(record.epoch).is_ok();
    Ok(Held {
        diff_ids: document.rootfs.diff_ids,
        records: document.records.into_iter().filter(is_time).collect(),
    })
}

/// Whether something in an index can only be BuildKit's, whose old form lists blobs there.
pub fn refuse_foreign(kind: &str) -> Result<()> {
    match kind == BUILDKIT[1] {
        true => Err(foreign()),
        false => Ok(()),
    }
}

fn foreign() -> anyhow::Error {
    let hint = "its keys are made otherwise; `--cache-to` writes one that can be used";
    bad_input("it is a cache of BuildKit's").hint(hint).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_what_is_not_ours_is_told() {
        let digest = Digest::of(b"x");
        let record = |epoch| Portable {
            keys: vec![digest.clone()],
            epoch,
            layer: Some(digest.clone()),
        };
        let written = config(
            &[record(7), record(i64::MAX)],
            std::slice::from_ref(&digest),
        )
        .unwrap();
        let held = read(CONFIG, &written).unwrap();
        // No such time can be written into a config.
        assert_eq!(
            (held.records, held.diff_ids),
            (vec![record(7)], vec![digest])
        );
        let none = read("", br#"{"rootfs":{"type":"layers"},"os":"linux"}"#).unwrap();
        assert!(none.records.is_empty());
        for (kind, bytes, part) in [
            (BUILDKIT[1], &b"{}"[..], "BuildKit's"),
            ("", br#"{"moby.buildkit.cache.v0":"e30="}"#, "BuildKit's"),
            ("", b"[", "cannot be read"),
            (
                "",
                br#"{"onggi.build.cache.v1":[{"keys":["x"],"epoch":1}]}"#,
                "cannot be read",
            ),
        ] {
            let error = read(kind, bytes).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
