//! What has to be brought before a step's key is known: contexts, files of theirs, and what an `ADD` names in the net.

use super::gather::Lane;
use super::selected::Selected;
use super::{FromNet, Part, Place};
use crate::build::context::address::{Address, Remote};
use crate::build::context::definition::Definition;
use crate::build::context::{Context as BuildContext, Host, Watch};
use crate::build::copy::plan::Selector;
use crate::error::bad_input;
use anyhow::{Context, Result};
use std::sync::Arc;

/// One thing, however many steps want it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// A context by its name, open; the main one is the empty string.
    Context(String),
    /// Files of a context that is open.
    Files(String, Selector),
    /// Files from the net.
    Net(FromNet),
    /// The Dockerfile, by its address.
    Definition(String),
}

/// That, here.
pub enum Brought {
    /// A context.
    Context(Arc<BuildContext>),
    /// Files.
    Files(Selected),
    /// A Dockerfile.
    Definition(Definition),
}

impl Wanted {
    /// What a part of a `COPY` or an `ADD` needs; nothing if it is in the Dockerfile or a stage.
    pub fn of(part: &Part) -> Option<Self> {
        match part {
            Part::Files {
                place: Place::Context(name),
                selector,
                ..
            } => Some(Self::Files(name.clone(), selector.clone())),
            Part::Remote(remote) => Some(Self::Net(remote.clone())),
            Part::Files { .. } | Part::Text { .. } => None,
        }
    }

    /// What it takes time for.
    pub fn lane(&self) -> Lane {
        match self {
            Self::Files(..) => Lane::Files,
            Self::Context(_) | Self::Net(_) | Self::Definition(_) => Lane::Net,
        }
    }
}

/// What progress calls the opening of a context, where that takes long.
pub fn opening(name: &str, address: &Address) -> Option<String> {
    let Address::Remote(address) = address else {
        return None;
    };
    let shown = address.shown();
    Some(match (name, address) {
        ("", Remote::Git(_)) => format!("[internal] load git source {shown}"),
        ("", Remote::Url(_)) => format!("[internal] load remote build context {shown}"),
        (name, _) => format!("[context {name}] load {shown}"),
    })
}

/// Opens a context.
pub fn open(
    name: &str,
    address: &Address,
    host: &Host,
    watch: Watch<'_>,
) -> Result<Arc<BuildContext>> {
    let opened = BuildContext::open(address, host, watch);
    if name.is_empty() {
        return opened.map(Arc::new);
    }
    let mut opened = opened.with_context(|| format!("open the context {name}"))?;
    if opened.is_definition() {
        return Err(bad_input(format!("the context {name} is no archive")).into());
    }
    opened.read_ignored()?;
    Ok(Arc::new(opened))
}
