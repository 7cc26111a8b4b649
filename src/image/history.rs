//! `history`: the steps that made an image, with the size of the layer that each of them made.

use super::config::parse_time;
use super::store::{self, Image};
use crate::error::bad_input;
use crate::paths::Paths;
use anyhow::Result;
use jiff::Timestamp;

/// One step.
#[derive(Debug)]
pub struct Step {
    /// When.
    pub created: Option<Timestamp>,
    /// The command.
    pub created_by: String,
    /// What its maker had to say.
    pub comment: String,
    /// Bytes of the files in its layer; 0 where it made none.
    pub size: u64,
}

/// The steps, the last one first.
pub fn steps(paths: &Paths, image: &Image) -> Result<Vec<Step>> {
    let mut layers = image.layers.iter();
    let mut steps = Vec::new();
    for entry in &image.config.history {
        let size = match entry.empty_layer {
            true => 0,
            false => {
                let name = layers.next();
                let name = name.ok_or_else(|| {
                    bad_input("the config's history has more layers than the image")
                })?;
                store::layer_record(&paths.layer(name))?.size
            }
        };
        steps.push(Step {
            created: parse_time(entry.created.as_deref())?,
            created_by: entry.created_by.clone(),
            comment: entry.comment.clone(),
            size,
        });
    }
    steps.reverse();
    Ok(steps)
}
