//! An image as Docker's API shows it (`GET /images/{name}/json`, version 1.51).

use super::config::{Config, Execution};
use super::copy::{Order, Source, choose_of, small_blob};
use super::digest::Digest;
use super::manifest::Document;
use super::platform::Platform;
use super::reference::Reference;
use super::store::{Image, overlay_order};
use crate::error::bad_input;
use crate::paths::Paths;
use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Go's zero time, which Docker shows for "never".
const NEVER: &str = "0001-01-01T00:00:00Z";

/// All that is known of an image.
pub fn inspect(paths: &Paths, image: &Image) -> Result<Value> {
    let names = |names: Vec<&Reference>| names.iter().map(ToString::to_string).collect();
    let tagged = image.last_tagged.as_ref();
    fields(&Known {
        id: &image.id,
        config: &image.config,
        tags: names(image.tags().collect()),
        digests: names(image.digests().collect()),
        size: image.size,
        layers: layers(paths, &image.layers),
        tagged: tagged.map_or(NEVER.to_owned(), Timestamp::to_string),
    })
}

/// All that is known of an image that is elsewhere, beginning with its size as it is stored there, compressed or not.
pub fn inspect_elsewhere(source: &dyn Source, platform: Option<&Platform>) -> Result<Value> {
    let top = source.top()?;
    let order = Order {
        platform: platform.cloned(),
        ..Order::default()
    };
    let digest = top.descriptor.digest.clone();
    let chosen = choose_of(source, top, &order)?;
    let Document::Manifest(manifest) = &chosen.document else {
        return Err(bad_input("it is an index").into());
    };
    if let Some(kind) = manifest.artifact() {
        let message = format!("it is no image, but something of the media type `{kind}`");
        return Err(bad_input(message)
            .hint("`manifest inspect` shows any manifest")
            .into());
    }
    let config = small_blob(source, &manifest.config)?;
    let name = source.name();
    let tag = name.filter(|name| name.tag().is_some() && name.digest().is_none());
    let by_digest = name.map(|name| name.with_digest(digest));
    let size = manifest.layers.iter().map(|layer| layer.size);
    let mut value = fields(&Known {
        id: &manifest.config.digest,
        config: &Config::parse(&config).context("read the config of the image")?,
        tags: tag.iter().map(ToString::to_string).collect(),
        digests: by_digest.iter().map(ToString::to_string).collect(),
        size: size.fold(manifest.config.size, u64::saturating_add),
        layers: Value::Null,
        tagged: NEVER.to_owned(),
    })?;
    value["Descriptor"] = json!(chosen.descriptor);
    Ok(value)
}

/// What is shown beside the config.
struct Known<'a> {
    id: &'a Digest,
    config: &'a Config,
    tags: Vec<String>,
    digests: Vec<String>,
    size: u64,
    layers: Value,
    tagged: String,
}

fn fields(known: &Known) -> Result<Value> {
    let Config {
        author,
        comment,
        docker_version,
        architecture,
        os,
        variant,
        ..
    } = known.config;
    let mut fields = json!({
        "Id": known.id,
        "RepoTags": known.tags,
        "RepoDigests": known.digests,
        "Parent": "",
        "Comment": comment,
        "Created": known.config.created.as_deref().unwrap_or(NEVER),
        "DockerVersion": docker_version,
        "Author": author,
        "Config": execution(&known.config.config)?,
        "Architecture": architecture,
        "Variant": variant,
        "Os": os,
        "Size": known.size,
        "GraphDriver": {"Data": known.layers, "Name": "overlay2"},
        "RootFS": {"Type": "layers", "Layers": known.config.rootfs.diff_ids},
        "Metadata": {"LastTagTime": known.tagged},
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
