//! `--filter` of `ps`: which containers are meant. Docker's keys, with Docker's idea of each: `id`, `name` and
//! `status` are expressions, everything else is compared whole.

use crate::cli::filter::{Filters, expression_fits};
use crate::container::engine::Engine;
use crate::container::health;
use crate::container::list::{self, Container};
use crate::container::network_settings;
use crate::container::options::Options;
use crate::container::record::Status;
use crate::error::{Error, bad_input};
use crate::image::store::{self, Image};
use crate::network::endpoint::Protocol;
use anyhow::Result;
use jiff::Timestamp;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// The keys.
pub const FILTERS: &[&str] = &[
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];

const STATUSES: [&str; 7] = [
    "created",
    "restarting",
    "running",
    "removing",
    "paused",
    "exited",
    "dead",
];
const HEALTHS: [&str; 4] = ["none", "starting", "healthy", "unhealthy"];

/// The images that containers name, each read once.
#[derive(Default)]
pub struct Images(RefCell<BTreeMap<String, Option<Rc<Image>>>>);

impl Images {
    /// The image that is called so now.
    pub fn find(&self, engine: &Engine, name: &str) -> Option<Rc<Image>> {
        let mut known = self.0.borrow_mut();
        known
            .entry(name.to_owned())
            .or_insert_with(|| store::find(&engine.paths, name).ok().map(Rc::new))
            .clone()
    }
}

/// The filters, with the containers that they name looked up.
pub struct Selection<'a> {
    filters: &'a Filters,
    before: Option<Timestamp>,
    since: Option<Timestamp>,
    exited: Vec<i64>,
    exposed: Vec<Ports>,
    published: Vec<Ports>,
}

impl<'a> Selection<'a> {
    /// Refuses values that can mean nothing.
    pub fn new(engine: &Engine, filters: &'a Filters) -> Result<Self> {
        let made = |key: &str| -> Result<Option<Timestamp>> {
            let last = filters.of(key).last();
            last.map(|name| Ok(created(&list::find(engine, name)?)))
                .transpose()
        };
        for (key, known) in [
            ("status", &STATUSES[..]),
            ("health", &HEALTHS),
            ("is-task", &["true", "false", "1", "0"]),
        ] {
            if let Some(value) = filters.of(key).find(|value| !known.contains(value)) {
                return Err(invalid(key, value).into());
            }
        }
        let code = |text: &str| text.parse().map_err(|_| invalid("exited", text));
        let ports = |key: &'static str| filters.of(key).map(move |text| Ports::parse(key, text));
        Ok(Self {
            filters,
            before: made("before")?,
            since: made("since")?,
            exited: filters.of("exited").map(code).collect::<Result<_, _>>()?,
            exposed: ports("expose").collect::<Result<_, _>>()?,
            published: ports("publish").collect::<Result<_, _>>()?,
        })
    }

    /// Whether containers that do not run are meant too.
    pub fn wants_ended(&self) -> bool {
        self.filters.of("status").next().is_some()
    }

    /// Whether a container, which stands there, is meant.
    pub fn fits(
        &self,
        engine: &Engine,
        images: &Images,
        container: &Container,
        status: Status,
    ) -> bool {
        let (record, filters) = (&container.record, self.filters);
        let state = container.state.as_ref();
        let code = state
            .filter(|_| status == Status::Exited)
            .map(|state| i64::from(state.code()));
        let ancestor = |wanted: &str| {
            record.image_name == wanted
                || images.find(engine, wanted).is_some_and(|image| {
                    image.id == record.image
                        || (!image.layers.is_empty() && record.layers.starts_with(&image.layers))
                })
        };
        let requests = &record.options.ports;
        let publishes = |wanted: &Ports| {
            let mut requests = requests.iter();
            requests.any(|ports| wanted.meet(ports.container, ports.protocol))
        };
        let exposes = |wanted: &Ports| {
            let image = images.find(engine, &record.image.to_string());
            let image = image
                .iter()
                .flat_map(|image| &image.config.config.exposed_ports);
            let mut exposed = image
                .chain(&record.options.exposed)
                .filter_map(|text| network_settings::parse_ports(text));
            publishes(wanted)
                || exposed.any(|(first, last, protocol)| wanted.meet((first, last), protocol))
        };
        let health = |wanted: &str| {
            let health = status
                .is_up()
                .then(|| health::read(engine, record))
                .flatten();
            health.map_or(wanted == "none", |health| health.status == wanted)
        };
        filters.any("id", |wanted| expression_fits(wanted, &record.id))
            && filters.any("name", |wanted| named(wanted, &record.name))
            && filters.any("status", |wanted| wanted == status.word())
            && filters.any("is-task", |wanted| ["false", "0"].contains(&wanted))
            && filters.any("isolation", |wanted| expression_fits(wanted, ""))
            && filters.any("network", |wanted| is_in(&record.options, wanted))
            && filters.any("volume", |wanted| {
                record.mounts.iter().any(|mount| mount.is_called(wanted))
            })
            && (self.published.is_empty() || self.published.iter().any(publishes))
            && filters.labels(&record.labels)
            && (self.exited.is_empty() || code.is_some_and(|code| self.exited.contains(&code)))
            && self.before.is_none_or(|before| created(container) < before)
            && self.since.is_none_or(|since| created(container) > since)
            && filters.any("ancestor", ancestor)
            && filters.any("health", health)
            && (self.exposed.is_empty() || self.exposed.iter().any(exposes))
    }
}

/// A name with or without the slash that Docker's API puts before it.
fn named(wanted: &str, name: &str) -> bool {
    expression_fits(wanted, name) || expression_fits(wanted, &format!("/{name}"))
}

fn invalid(key: &str, value: &str) -> Error {
    bad_input(format!("invalid filter '{key}={value}'"))
}

/// When a container was made; one whose record tells no time is as old as can be.
pub fn created(container: &Container) -> Timestamp {
    time(&container.record.created)
}

/// A time of a record.
pub fn time(text: &str) -> Timestamp {
    text.parse().unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Whether a container is in a network that is called so, or whose id begins so.
fn is_in(options: &Options, wanted: &str) -> bool {
    network_settings::networks(options).contains(&wanted)
        || options
            .networks
            .iter()
            .any(|network| network.id.starts_with(wanted))
}

/// `80`, `80/udp`, `8000-8010/tcp`.
#[derive(Debug, PartialEq, Eq)]
struct Ports {
    first: u16,
    last: u16,
    protocol: Protocol,
}

impl Ports {
    fn parse(key: &str, text: &str) -> Result<Self, Error> {
        let (first, last, protocol) =
            network_settings::parse_ports(text).ok_or_else(|| invalid(key, text))?;
        Ok(Self {
            first,
            last,
            protocol,
        })
    }

    /// Whether they have some in common.
    fn meet(&self, (first, last): (u16, u16), protocol: Protocol) -> bool {
        protocol == self.protocol && first <= self.last && self.first <= last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_a_number_or_a_range() {
        for (wanted, port, expected) in [
            ("80", "80/tcp", true),
            ("80", "80", true),
            ("80/tcp", "80/udp", false),
            ("8000-8010", "8005/tcp", true),
            ("8000-8010/UDP", "8010/udp", true),
            ("8000-8010", "8011/tcp", false),
        ] {
            let ports = Ports::parse("expose", wanted).unwrap();
            let (first, last, protocol) = network_settings::parse_ports(port).unwrap();
            assert_eq!(
                ports.meet((first, last), protocol),
                expected,
                "{wanted} {port}"
            );
        }
        for text in ["", "x", "80/xyz", "2-1", "70000", "80/"] {
            let error = Ports::parse("publish", text).unwrap_err();
            assert_eq!(error.message, format!("invalid filter 'publish={text}'"));
        }
    }
}
