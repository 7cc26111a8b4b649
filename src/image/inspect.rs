//! An image as Docker's API shows it (`GET /images/{name}/json`, version 1.51).

use super::config::{Config, Execution};
use super::reference::Reference;
use super::store::{Image, overlay_order};
use crate::paths::Paths;
use anyhow::Result;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Go's zero time, which Docker shows for "never".
const NEVER: &str = "0001-01-01T00:00:00Z";

/// All that is known of an image.
pub fn inspect(paths: &Paths, image: &Image) -> Result<Value> {
    let Config {
        author,
        comment,
        docker_version,
        architecture,
        os,
        variant,
        ..
    } = &image.config;
    let names = |names: Vec<&Reference>| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let tagged = image
        .last_tagged
        .as_ref()
        .map_or(NEVER.to_owned(), Timestamp::to_string);
    let mut fields = json!({
        "Id": image.id,
        "RepoTags": names(image.tags().collect()),
        "RepoDigests": names(image.digests().collect()),
        "Parent": "",
        "Comment": comment,
        "Created": image.config.created.as_deref().unwrap_or(NEVER),
        "DockerVersion": docker_version,
        "Author": author,
        "Config": execution(&image.config.config)?,
        "Architecture": architecture,
        "Variant": variant,
        "Os": os,
        "Size": image.size,
        "GraphDriver": {"Data": layers(paths, &image.layers), "Name": "overlay2"},
        "RootFS": {"Type": "layers", "Layers": image.config.rootfs.diff_ids},
        "Metadata": {"LastTagTime": tagged},
    });
    if let Some(fields) = fields.as_object_mut().filter(|_| variant.is_empty()) {
        fields.shift_remove("Variant");
    }
    Ok(fields)
}

/// The topmost layer and those below it, uppermost first, as overlayfs takes them.
fn layers(paths: &Paths, layers: &[String]) -> Value {
    let trees: Vec<String> = overlay_order(layers)
        .into_iter()
        .map(|name| paths.layer_tree(name).display().to_string())
        .collect();
    match &trees[..] {
        [] => Value::Null,
        [top] => json!({"UpperDir": top}),
        [top, below @ ..] => json!({"LowerDir": below.join(":"), "UpperDir": top}),
    }
}

/// The execution parameters, with the fields that Docker shows even when they are empty.
fn execution(execution: &Execution) -> Result<Value> {
    let mut fields: Map<String, Value> = [
        ("Cmd", Value::Null),
        ("Entrypoint", Value::Null),
        ("Env", Value::Null),
        ("Labels", Value::Null),
    ]
    .into_iter()
    .chain([
        ("OnBuild", Value::Null),
        ("User", json!("")),
        ("Volumes", Value::Null),
        ("WorkingDir", json!("")),
    ])
    .map(|(key, value)| (key.to_owned(), value))
    .collect();
    if let Value::Object(set) = serde_json::to_value(execution)? {
        fields.extend(set);
    }
    fields.sort_keys();
    Ok(Value::Object(fields))
}
