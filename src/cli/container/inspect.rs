//! `inspect`: all that is known of containers and images, as JSON.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::output::table;
use crate::cli::unsupported;
use crate::container::engine::Engine;
use crate::container::{inspect, list};
use crate::error::{self, Kind, bad_input};
use crate::image;
use anyhow::Result;
use serde_json::Value;

/// Options of `inspect`.
#[derive(clap::Args)]
pub struct Inspect {
    /// Print by a Go template, or "json" for one line
    #[arg(short, long)]
    format: Option<String>,
    /// Tell the sizes of containers
    #[arg(short, long)]
    size: bool,
    /// Look for these only: "container" or "image"
    #[arg(long = "type")]
    kind: Option<String>,
    #[arg(required = true)]
    names: Vec<String>,
}

/// Options of `container inspect`.
#[derive(clap::Args)]
pub struct InspectContainer {
    /// Print by a Go template, or "json" for one line
    #[arg(short, long)]
    format: Option<String>,
    /// Tell the sizes of containers
    #[arg(short, long)]
    size: bool,
    #[arg(required = true)]
    names: Vec<String>,
}
