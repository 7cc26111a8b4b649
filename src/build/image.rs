//! The config of a finished image: deterministic, so that two builds of the same give the same id.
//! <https://github.com/opencontainers/image-spec/blob/main/config.md>

use super::cache::portable::{self, Portable};
use super::graph::draft::{Draft, Entry};
use super::graph::schedule::Progress;
use super::graph::{Graph, NodeId};
use super::order::Built;
use crate::image::config::{Config, History};
use crate::image::platform::Platform;
use anyhow::{Context, Result};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Makes it of what a stage has come to.
pub fn finish(
    draft: Draft,
    graph: &Graph,
    progress: &Progress,
    labels: &BTreeMap<String, String>,
    given: Option<i64>,
    platform: &Platform,
) -> Result<Built> {
    let layers = progress.layers(graph, draft.top);
    let made = |id: NodeId| {
        progress
            .made(id)
            .is_some_and(|made| !made.layers.names.is_empty())
    };
    let epoch = |top: Option<NodeId>| given.unwrap_or_else(|| progress.epoch(graph, top));
    let history = history(&draft, graph, &epoch, &made)?;
    let epoch = epoch(draft.top);
    let mut config = Config {
        created: Some(written(epoch)?),
        history,
        ..draft.config
    };
    config.config.labels.extend(labels.clone());
    config.rootfs.diff_ids.clone_from(&layers.diff_ids);
    Ok(Built {
        platform: platform.clone(),
        bytes: serde_json::to_vec(&config)?,
        layers,
        config,
        epoch,
        materials: Vec::new(),
    })
}

/// The same image, whose config says what its steps have come to.
pub fn with_records(built: Built, records: &[Portable]) -> Result<Built> {
    let mut config = serde_json::to_value(&built.config)?;
    portable::within(&mut config, records);
    Ok(Built {
        bytes: serde_json::to_vec(&config)?,
        ..built
    })
}

/// Each entry is as late as the newest step up to it.
fn history(
    draft: &Draft,
    graph: &Graph,
    epoch: &dyn Fn(Option<NodeId>) -> i64,
    made: &dyn Fn(NodeId) -> bool,
) -> Result<Vec<History>> {
    let first = draft.top.map(|top| graph.stack(Some(top))[0]);
    let base = |id: &NodeId| graph.nodes[*id].is_image();
    let mut top = first.filter(base);
    let mut history = Vec::new();
    for entry in &draft.history {
        if let Entry::New {
            node: Some(node), ..
        } = entry
        {
            top = Some(*node);
        }
        let time = written(epoch(top))?;
        history.push(entry.written(made, &time));
    }
    Ok(history)
}

fn written(epoch: i64) -> Result<String> {
    let time = Timestamp::from_second(epoch).with_context(|| format!("read the time {epoch}"))?;
    Ok(time.to_string())
}
