//! Steps without a program: `COPY`, `ADD` and `WORKDIR`, and layers that come from elsewhere. What steps write is a layer's tar from the start, and is unpacked
//! into the store while it is written.

use super::layer;
use super::layers::Files;
use super::order::{Answer, Copy, Layers, Select};
use super::serve::Hands;
use crate::build::copy::plan::Part;
use crate::build::copy::stat_cache::StatCache;
use crate::build::copy::{self, Tree, Written};
use crate::image::digest::Digest;
use crate::image::intake::{Expected, Intake};
use crate::sys::socket::Channel;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{self, BufWriter, PipeWriter, Write};
use std::os::fd::OwnedFd;

/// `COPY`, `ADD`.
pub fn copy(hands: &Hands, order: &Copy, descriptors: &[OwnedFd]) -> Result<Answer> {
    let parts = order.plan.parts.iter();
    let sources: Vec<&Layers> = parts
        .filter_map(|part| match part {
            Part::Layers { layers, .. } => Some(layers),
            _ => None,
        })
        .collect();
    with_layer(hands, order.base.as_ref(), &sources, |below, out| {
        let open = |layers: &&Layers| Files::open(&hands.engine, &layers.names);
        let sources = sources.iter().map(open).collect::<Result<Vec<_>>>()?;
        let owners: Vec<_> = sources
            .iter()
            .map(|files| |path: &[u8], found| files.owner(path, found))
            .collect();
        let trees: Vec<Tree<'_>> = sources
            .iter()
            .zip(&owners)
            .map(|(files, owner)| Tree::layers(files.root(), Some(owner)))
            .collect();
        copy::write_layer(order, descriptors, &trees, below, out)
    })
}

/// `WORKDIR`.
pub fn directory(
    hands: &Hands,
    base: &Layers,
    path: &str,
    owner: &str,
    epoch: i64,
) -> Result<Answer> {
    with_layer(hands, Some(base), &[], |below, out| {
        let below = below.context("nothing is below")?;
        copy::write_directory(path, owner, epoch, below, out)
    })
}

/// What a `COPY --from` means.
pub fn select(hands: &Hands, order: &Select) -> Result<Answer> {
    let rules = hands.engine.layer_rules()?;
    let mut intake = Intake::next(&hands.engine.paths, &rules)?;
    layer::hold(&mut intake, &order.layers)?;
    let files = Files::open(&hands.engine, &order.layers.names)?;
    let owner = |path: &[u8], found| files.owner(path, found);
    let tree = Tree::layers(files.root(), Some(&owner));
    // Layers have digests of their own, and nothing in them is remembered by its times.
    let selection = copy::select(&tree, &order.selector, &mut StatCache::default())?;
    Ok(Answer::Selected {
        digest: selection.digest(),
    })
}

/// A layer that another machine has made.
pub fn layer(
    hands: &Hands,
    base: &Layers,
    diff_id: Digest,
    blob: (Digest, u64),
    descriptors: Vec<OwnedFd>,
) -> Result<Answer> {
    let rules = hands.engine.layer_rules()?;
    let mut intake = Intake::next(&hands.engine.paths, &rules)?;
    intake.cache_layers();
    let mut chain = layer::hold(&mut intake, base)?;
    let before = chain.size();
    let expected = Expected {
        diff_id: Some(diff_id),
        blob: Some(blob),
        remembered: None,
    };
    let reader = descriptors.into_iter().next().map(File::from);
    let reader = reader.context("no descriptor came")?;
    intake.layer(&mut chain, &expected, || Ok(reader))?;
    let made = layer::uppermost(&chain, before);
    intake.commit_for_now()?;
    Ok(Answer::Done(made))
}

/// What is written goes on only while somebody waits for what comes of it.
struct Watched<'a> {
    out: PipeWriter,
    channel: &'a Channel,
}

impl Write for Watched<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.channel.is_closed()? {
            return Err(io::Error::other("the build was interrupted"));
        }
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Puts what `write` writes on top of the layers; `more` layers stay meanwhile.
fn with_layer(
    hands: &Hands,
    base: Option<&Layers>,
    more: &[&Layers],
    write: impl FnOnce(Option<&Tree<'_>>, &mut dyn Write) -> Result<Written>,
) -> Result<Answer> {
    let engine = &hands.engine;
    let rules = engine.layer_rules()?;
    let mut intake = Intake::next(&engine.paths, &rules)?;
    intake.cache_layers();
    for layers in more {
        layer::hold(&mut intake, layers)?;
    }
    let nothing = Layers::default();
    let mut chain = layer::hold(&mut intake, base.unwrap_or(&nothing))?;
    let below = base.map(|base| Files::open(engine, &base.names));
    let below = below.transpose()?;
    let before = chain.size();
    let (reader, writer) = std::io::pipe().context("pipe")?;
    let (written, taken) = std::thread::scope(|scope| {
        let (intake, chain) = (&mut intake, &mut chain);
        let taking = std::thread::Builder::new()
            .name("unpack".to_owned())
            .spawn_scoped(scope, move || {
                intake.layer(chain, &Expected::default(), || Ok(reader))
            })
            .context("start a thread")?;
        let owner = |path: &[u8], found| match &below {
            Some(files) => files.owner(path, found),
            None => found,
        };
        let tree = below
            .as_ref()
            .map(|files| Tree::layers(files.root(), Some(&owner)));
        let writer = Watched {
            out: writer,
            channel: &hands.channel,
        };
        let mut out = BufWriter::with_capacity(1 << 20, writer);
        let written = write(tree.as_ref(), &mut out)
            .and_then(|written| out.flush().context("write a layer").map(|()| written));
        drop(out);
        let taken = taking
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok::<_, anyhow::Error>((written, taken))
    })?;
    // When one side fails the other's complaint is a consequence: a pipe that breaks, a stream that is cut off.
    let written = match (written, taken) {
        (Ok(written), taken) => taken.map(|()| written)?,
        (Err(error), Err(taken)) if layer::is_broken_pipe(&error) => return Err(taken),
        (Err(error), _) => return Err(error),
    };
    for warning in written.warnings {
        hands.tell(Answer::Warning(warning))?;
    }
    if !written.is_changed {
        return Ok(Answer::Done(None));
    }
    let made = layer::uppermost(&chain, before);
    intake.commit_for_now()?;
    Ok(Answer::Done(made))
}
