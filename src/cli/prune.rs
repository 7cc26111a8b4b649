//! What the `prune` commands share: the question, the filters, and the lines about what went.

use super::Context;
use super::filter::Filters;
use super::output::size;
use super::value::time::time;
use crate::build::cache::{
    self,
    prune::{Entry, Space},
};
use crate::container::engine::Engine;
use crate::container::{event, list, membership, prune, user_namespace, volume};
use crate::error::{Error, Kind};
use crate::image::filter::{Filter, PRUNE};
use crate::image::remove::Removed;
use anyhow::Result;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// The filters of containers.
pub const FILTERS: &[&str] = &["label", "label!", "until"];

/// Asks whether to go on; a no is an error that names the command.
pub fn ask(context: &mut Context, force: bool, warning: &str, command: &str) -> Result<()> {
    let question = format!("{warning}Are you sure you want to continue?");
    match force || context.output.confirm(&question)? {
        true => Ok(()),
        false => Err(Error::new(Kind::Conflict, format!("{command} has been cancelled")).into()),
    }
}

/// Refuses times that mean nothing before anything is asked.
pub fn check(filters: &Filters) -> Result<Option<Timestamp>> {
    let now = Timestamp::now();
    let until = filters.of("until").map(|text| time(text, now));
    Ok(until.collect::<Result<Vec<_>, _>>()?.into_iter().min())
}

/// Removes the containers that do not run, and the copies of layers that none needs, and tells which containers went;
/// the answer is the bytes that came free, and whether all went that should.
pub fn containers(
    context: &mut Context,
    engine: &Engine,
    filters: &Filters,
) -> Result<(u64, bool)> {
    let until = check(filters)?;
    let fits = |container: &list::Container| {
        let created = container
            .record
            .created
            .parse()
            .unwrap_or(Timestamp::UNIX_EPOCH);
        filters.labels(&container.record.labels) && until.is_none_or(|until| created < until)
    };
    let pruned = prune::prune(engine, fits)?;
    let is_whole = tell(
        context,
        "Deleted Containers:",
        &pruned.ids,
        &pruned.failures,
    )?;
    let of_copies = user_namespace::sweep_copies(engine);
    Ok((pruned.reclaimed + of_copies, is_whole))
}

/// Removes images, the dangling ones or all that no container needs, and tells which; the answer is the bytes that
/// came free, and whether all went that should.
pub fn images(
    context: &mut Context,
    engine: &Engine,
    all: bool,
    filters: &[(String, String)],
) -> Result<(u64, bool)> {
    let filter = Filter::new(&engine.paths, PRUNE, filters)?;
    let users = |image: &_| list::users(engine, image);
    let removal = crate::image::prune::prune(&engine.paths, all, &filter, &users)?;
    event::removal(engine, &removal);
    event::prune(engine, "image", removal.reclaimed);
    let steps = removal.steps.iter().map(|step| match step {
        Removed::Untagged(name) => format!("untagged: {name}"),
        Removed::Deleted(digest) => format!("deleted: {digest}"),
    });
    let steps: Vec<String> = steps.collect();
    let is_whole = tell(context, "Deleted Images:", &steps, &removal.failures)?;
    Ok((removal.reclaimed, is_whole))
}

/// Removes volumes that no container uses, those that nobody has named or `all`, and tells which; the answer is the bytes
/// that came free, and whether all went that should.
pub fn volumes(
    context: &mut Context,
    engine: &Engine,
    all: bool,
    filters: &Filters,
) -> Result<(u64, bool)> {
    let until = check(filters)?;
    let fits = |volume: &crate::volume::Volume| {
        (all || volume.anonymous) && super::volume::fits(volume, filters, until)
    };
    let pruned = volume::prune(engine, fits)?;
    let is_whole = tell(context, "Deleted Volumes:", &pruned.names, &pruned.failures)?;
    Ok((pruned.reclaimed, is_whole))
}

/// Removes networks that no container belongs to, and tells which; the answer is whether all went that should.
pub fn networks(context: &mut Context, engine: &Engine, filters: &Filters) -> Result<bool> {
    let until = check(filters)?;
    let fits = |network: &crate::network::record::Network| {
        super::network::fits(network, filters, until).unwrap_or_default()
    };
    let pruned = membership::prune(engine, fits)?;
    tell(
        context,
        "Deleted Networks:",
        &pruned.names,
        &pruned.failures,
    )
}

/// Removes what builds have cached, all or what no image needs, and tells the ids; the answer is the bytes that came free,
/// and whether all went that should.
pub fn build_cache(
    context: &mut Context,
    engine: &Engine,
    all: bool,
    filters: &Filters,
) -> Result<(u64, bool)> {
    let until = check(filters)?.map(Timestamp::as_second);
    // What is in the cache has no labels.
    let fits = filters.labels(&BTreeMap::new());
    let is_meant = |entry: &Entry| {
        fits && (all || !entry.shared) && until.is_none_or(|until| entry.time() < until)
    };
    let (gone, freed, failures) =
        match cache::prune::prune(&engine.paths, Space::default(), &is_meant) {
            Ok((gone, freed)) => (gone, freed, Vec::new()),
            Err(error) => (Vec::new(), 0, vec![error]),
        };
    let ids: Vec<String> = gone.into_iter().map(|entry| entry.id).collect();
    let is_whole = tell(context, "Deleted build cache objects:", &ids, &failures)?;
    Ok((freed, is_whole))
}

/// What went, under its title, and why others stayed; the answer is whether all went that should.
fn tell(
    context: &mut Context,
    title: &str,
    gone: &[String],
    failures: &[anyhow::Error],
) -> Result<bool> {
    if !gone.is_empty() {
        context.output.line(title)?;
        for one in gone {
            context.output.line(one)?;
        }
        context.output.line("")?;
    }
    failures
        .iter()
        .for_each(|error| context.output.error(error));
    Ok(failures.is_empty())
}

/// The last line.
pub fn total(context: &mut Context, reclaimed: u64) -> Result<()> {
    let reclaimed = size::decimal_with(reclaimed, 4);
    context
        .output
        .line(format!("Total reclaimed space: {reclaimed}"))
}
