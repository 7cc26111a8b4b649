//! What `docker save` wrote before Docker 1.10 (image-spec of Docker, v1): a directory for each layer, `ID/json`
//! with its parent and `ID/layer.tar`, and `repositories` with the names. There is no config; one is made of
//! the topmost `json` as Docker makes it, so that the image gets the id it has there.

use super::archive::{Archive, missing};
use super::config::History;
use super::digest::Digest;
use super::docker_archive;
use super::load::{Layer, Offered, Wanted};
use super::platform::Platform;
use super::reference::is_whole_id;
use crate::error::bad_input;
use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// More layers than Docker ever allowed.
const LONGEST_CHAIN: usize = 500;

/// `ID/json`, as far as it is used.
#[derive(Deserialize)]
struct LayerJson {
    parent: Option<String>,
    created: Option<String>,
    author: Option<String>,
    comment: Option<String>,
    container_config: Option<ContainerConfig>,
    architecture: Option<String>,
    os: Option<String>,
}

#[derive(Deserialize)]
struct ContainerConfig {
    #[serde(rename = "Cmd")]
    cmd: Option<Vec<String>>,
}

/// Whether the archive holds such directories.
pub fn is_here(archive: &Archive) -> Result<bool> {
    Ok(archive.file("repositories")?.is_some()
        || !archive.directories_with("layer.tar")?.is_empty())
}

/// The images of an archive, none of them foreign to what is wanted: those with a name, or where there are no
/// names at all, those that no other is built on.
pub fn images(archive: &Archive, wanted: &Wanted) -> Result<Vec<Offered>> {
    let mut tops: BTreeMap<String, Vec<String>> = BTreeMap::new();
    match archive.document("repositories")? {
        Some(bytes) => {
            let repositories: BTreeMap<String, BTreeMap<String, String>> =
                serde_json::from_slice(&bytes)
                    .map_err(|error| bad_input(format!("it is no table of names: {error}")))
                    .context("read `repositories`")?;
            for (repository, tags) in repositories {
                for (tag, id) in tags {
                    tops.entry(id)
                        .or_default()
                        .push(format!("{repository}:{tag}"));
                }
            }
        }
        None => tops.extend(topmost(archive)?.into_iter().map(|id| (id, Vec::new()))),
    }
    if tops.is_empty() {
        return Err(bad_input("there is no image in its `repositories`").into());
    }
    tops.into_iter()
        .map(|(id, names)| image(archive, wanted, &id, names))
        .collect()
}

fn topmost(archive: &Archive) -> Result<Vec<String>> {
    let ids = archive.directories_with("json")?;
    let mut parents = BTreeSet::new();
    for id in &ids {
        parents.extend(read(archive, id)?.1.parent);
    }
    Ok(ids.into_iter().filter(|id| !parents.contains(id)).collect())
}

fn image(archive: &Archive, wanted: &Wanted, top: &str, names: Vec<String>) -> Result<Offered> {
    let mut chain = Vec::new();
    let mut next = Some(top.to_owned());
    while let Some(id) = next {
        if chain.len() == LONGEST_CHAIN {
            return Err(bad_input(format!(
                "layer {top} has more than {LONGEST_CHAIN} ancestors"
            ))
            .into());
        }
        let (text, json) = read(archive, &id)?;
        next = json.parent.clone().filter(|parent| !parent.is_empty());
        chain.push((id, text, json));
    }
    let history = chain
        .iter()
        .rev()
        .map(|(_, _, json)| history(json))
        .collect();
    let layers = chain.iter().rev().map(|(id, ..)| Layer {
        file: format!("{id}/layer.tar"),
        blob: None,
        compression: None,
        descriptor: None,
    });
    let layers = layers.collect();
    let (_, text, json) = chain.swap_remove(0);
    let said = |field: &Option<String>| field.clone().unwrap_or_default();
    let platform = Platform::new(&said(&json.os), &said(&json.architecture), "");
    wanted.refuse_foreign(&[&platform])?;
    Ok(Offered::without_config(
        text,
        history,
        platform,
        layers,
        docker_archive::names(names)?,
    ))
}

fn read(archive: &Archive, id: &str) -> Result<(Map<String, Value>, LayerJson)> {
    if !is_whole_id(id) {
        return Err(bad_input(format!("`{id}` is no id of a layer: 64 hexadecimal digits")).into());
    }
    let file = format!("{id}/json");
    let bytes = archive.document(&file)?.ok_or_else(|| missing(&file))?;
    let wrong = |error: serde_json::Error| {
        bad_input(format!("`{file}` does not describe a layer: {error}"))
    };
    Ok((
        serde_json::from_slice(&bytes).map_err(wrong)?,
        serde_json::from_slice(&bytes).map_err(wrong)?,
    ))
}

fn history(json: &LayerJson) -> History {
    let cmd = json
        .container_config
        .as_ref()
        .and_then(|config| config.cmd.as_ref());
    History {
        created: json.created.clone(),
        created_by: cmd.map(|cmd| cmd.join(" ")).unwrap_or_default(),
        author: json.author.clone().unwrap_or_default(),
        comment: json.comment.clone().unwrap_or_default(),
        empty_layer: false,
    }
}

/// The config that Docker makes of a v1 image: what belonged to the layer goes, what belongs to the image comes,
/// keys in alphabetical order, written as Go's encoding/json does.
pub fn config(
    top: &Map<String, Value>,
    history: &[History],
    diff_ids: &[Digest],
) -> Result<Vec<u8>> {
    let mut fields: BTreeMap<&str, Value> = top
        .iter()
        .map(|(key, value)| (key.as_str(), value.clone()))
        .collect();
    for gone in ["id", "parent", "Size", "parent_id", "layer_id", "throwaway"] {
        fields.remove(gone);
    }
    fields.insert("rootfs", json!({"type": "layers", "diff_ids": diff_ids}));
    fields.insert("history", serde_json::to_value(history)?);
    let mut text = serde_json::to_string(&fields)?;
    for (character, escape) in [
        ("<", "\\u003c"),
        (">", "\\u003e"),
        ("&", "\\u0026"),
        ("\u{2028}", "\\u2028"),
        ("\u{2029}", "\\u2029"),
    ] {
        text = text.replace(character, escape);
    }
    Ok(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_is_written_as_docker_writes_it() {
        let top = r#"{"os":"linux","id":"12","parent":"34","Size":0,"config":{"Cmd":["a<b"],"Env":null},
            "architecture":"amd64","created":"2015-01-01T00:00:00Z"}"#;
        let history = [History {
            created_by: "x & y".to_owned(),
            ..History::default()
        }];
        let bytes = config(
            &serde_json::from_str(top).unwrap(),
            &history,
            &[Digest::of(b"")],
        )
        .unwrap();
        let expected = r#"{"architecture":"amd64","config":{"Cmd":["a\u003cb"],"Env":null},"created":"2015-01-01T00:00:00Z","history":[{"created_by":"x \u0026 y"}],"os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]}}"#;
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }
}
