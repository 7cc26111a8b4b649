//! `manifest inspect`: a manifest, or a list of them, as it is in a registry or will be.

use super::{options, parse, parse_manifest};
use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::image::registry::RegistryFlags;
use crate::error::{self, Kind};
use crate::image::copy::registry::Registry;
use crate::image::copy::{Source, small_blob};
use crate::image::manifest::{Descriptor, Document, OCI_MANIFEST};
use crate::image::manifest_list::{self, Entry, ManifestList, indented, platform};
use crate::image::reference::Reference;
use crate::image::registry::Fetched;
use anyhow::{Context as _, Result};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

/// Go's indent of JSON, and the one that Docker gives to lists.
const STEP: &[u8] = b"\t";
const LIST_STEP: &[u8] = b"   ";

/// Options of `manifest inspect`.
#[derive(clap::Args)]
pub struct Inspect {
    /// Speak to registries without TLS, or whatever their certificates
    #[arg(long)]
    insecure: bool,
    /// Show each manifest with its platform
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    registry: RegistryFlags,
    #[arg(value_name = "name", num_args = 1..=2, required = true)]
    names: Vec<String>,
}

impl Verb for Inspect {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let paths = context.engine()?.paths;
        let text = match self.names.as_slice() {
            [list, manifest] => {
                let list = parse(list, "manifest list")?;
                let manifest = parse_manifest(manifest)?;
                let found = ManifestList::find(&paths, &list)?;
                let found = found.ok_or_else(|| manifest_list::no_such(&list))?;
                let entry = found.entry(&manifest);
                let entry = entry.ok_or_else(|| manifest_list::no_such(&manifest))?;
                match self.verbose {
                    true => indented(&described(entry)?, STEP),
                    false => indented(&serde_json::from_str(&entry.manifest)?, STEP),
                }
            }
            names => {
                let typed = names.first().map_or("", String::as_str);
                let typed = typed.strip_prefix("docker://").unwrap_or(typed);
                let name = parse(typed, "manifest")?;
                match ManifestList::find(&paths, &name)? {
                    Some(list) if self.verbose => {
                        let all = list.entries.iter().map(described);
                        indented(&all.collect::<Result<Value>>()?, STEP)
                    }
                    Some(list) => list.document(),
                    None => {
                        let options = options(self.registry, self.insecure, context)?;
                        let registry = Registry::open(&name, typed, &options)?;
                        remote(&registry, &name, self.verbose)?
                    }
                }
            }
        };
        context.output.write(&text)?;
        context.output.line("")?;
        Ok(0)
    }
}

fn remote(registry: &Registry, name: &Reference, verbose: bool) -> Result<Vec<u8>> {
    let top = registry.top().map_err(|error| match error::kind(&error) {
        Some(Kind::NotFound) => error.context(format!("no such manifest: {}", name.canonical())),
        _ => error,
    })?;
    let value: Value = serde_json::from_slice(&top.bytes)?;
    Ok(match (&top.document, verbose) {
        (Document::Index(_), false) => indented(&value, LIST_STEP),
        (Document::Manifest(_), false) => indented(&value, STEP),
        (Document::Manifest(_), true) => {
            indented(&remote_entry(registry, &top, None, name.canonical())?, STEP)
        }
        (Document::Index(index), true) => {
            let one = |descriptor: &Descriptor| {
                let fetched = registry.document(descriptor)?;
                let reference = match name.tag() {
                    Some(tag) => format!(
                        "{}:{tag}@{}",
                        name.untagged().canonical(),
                        descriptor.digest
                    ),
                    None => name.with_digest(descriptor.digest.clone()).canonical(),
                };
                remote_entry(registry, &fetched, Some(descriptor), reference)
            };
            indented(
                &index.manifests.iter().map(one).collect::<Result<Value>>()?,
                STEP,
            )
        }
    })
}

/// A manifest of a registry; what it is for is told by the index that led to it, or by its config.
fn remote_entry(
    registry: &Registry,
    fetched: &Fetched,
    listed: Option<&Descriptor>,
    reference: String,
) -> Result<Value> {
    let mut descriptor = fetched.descriptor.clone();
    descriptor.platform = match (
        listed.and_then(|listed| listed.platform.clone()),
        &fetched.document,
    ) {
        (None, Document::Manifest(manifest)) if manifest.artifact().is_none() => {
            let config = small_blob(registry, &manifest.config)?;
            Some(platform(&config).context("read the config of the image")?)
        }
        (platform, _) => platform,
    };
    let manifest = String::from_utf8_lossy(&fetched.bytes).into_owned();
    described(&Entry {
        reference,
        image: None,
        descriptor,
        manifest,
    })
}

fn described(entry: &Entry) -> Result<Value> {
    let kind = match entry.descriptor.media_type == OCI_MANIFEST {
        true => "OCIManifest",
        false => "SchemaV2Manifest",
    };
    let manifest: Value = serde_json::from_str(&entry.manifest)?;
    Ok(json!({
        "Ref": entry.reference,
        "Descriptor": entry.descriptor,
        "Raw": BASE64_STANDARD.encode(&entry.manifest),
        kind: manifest,
    }))
}
