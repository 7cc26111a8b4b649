//! `--iidfile` and `--metadata-file`: what has come of a build, for other programs.
//! <https://docs.docker.com/reference/cli/docker/buildx/build/#metadata-file>

use super::outputs::{Request, Written};
use crate::build::output::provenance::{Detail, predicate};
use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Writes both, as far as they were asked for.
pub fn write(
    iidfile: Option<&Path>,
    metadata: Option<&Path>,
    request: &Request<'_>,
    written: &Written,
) -> Result<()> {
    if let Some(path) = iidfile {
        let done = std::fs::write(path, id(request, written));
        done.with_context(|| format!("write `{}`", path.display()))?;
    }
    if let Some(path) = metadata {
        let mut text = serde_json::to_vec_pretty(&document(request, written))?;
        text.push(b'\n');
        let done = std::fs::write(path, text);
        done.with_context(|| format!("write `{}`", path.display()))?;
    }
    Ok(())
}

/// What the result is known by: the image in the store, or the manifest where it went elsewhere.
pub fn id(request: &Request<'_>, written: &Written) -> String {
    let pushed = written.descriptor.as_ref();
    let kept = written.kept.first();
    let built = || request.outcome.images.first().map(|built| built.id());
    match (kept, pushed) {
        (Some(id), _) => id.to_string(),
        (None, Some(descriptor)) => descriptor.digest.to_string(),
        (None, None) => built().map_or(String::new(), |id| id.to_string()),
    }
}

fn document(request: &Request<'_>, written: &Written) -> Value {
    let mut document = Map::new();
    let detail = request.attestations.provenance.unwrap_or(Detail::Least);
    let images = &request.outcome.images;
    for built in images {
        let key = match images.len() {
            1 => "buildx.build.provenance".to_owned(),
            _ => format!("buildx.build.provenance/{}", built.platform),
        };
        document.insert(key, predicate(request.order, built, detail));
    }
    if let [built] = &images[..] {
        let id = built.id();
        document.insert("containerimage.config.digest".to_owned(), json!(id));
    }
    if let Some(descriptor) = &written.descriptor {
        document.insert("containerimage.descriptor".to_owned(), json!(descriptor));
        document.insert("containerimage.digest".to_owned(), json!(descriptor.digest));
    } else if let Some(id) = written.kept.first() {
        document.insert("containerimage.digest".to_owned(), json!(id));
    }
    let mut names: Vec<String> = Vec::new();
    for output in request.outputs {
        for name in output.names.iter().map(|name| name.canonical()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    if !names.is_empty() {
        document.insert("image.name".to_owned(), json!(names.join(",")));
    }
    Value::Object(document)
}
