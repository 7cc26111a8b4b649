//! `--filter` of `ps`: which containers are meant. Docker's keys, with Docker's idea of each: `id`, `name` and
//! `status` are expressions, everything else is compared whole.

use crate::cli::filter::{Filters, expression_fits};
use crate::container::engine::Engine;
use crate::container::health;
use crate::container::list::{self, Container};
use crate::container::options::NetworkMode;
use crate::container::record::Status;
use crate::error::{Error, bad_input};
use crate::image::store::{self, Image};
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
        // No port can be published, so that no container fits; what is asked for must be a port all the same.
        ports("publish").collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            filters,
            before: made("before")?,
            since: made("since")?,
            exited: filters.of("exited").map(code).collect::<Result<_, _>>()?,
            exposed: ports("expose").collect::<Result<_, _>>()?,
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
        let exposes = |wanted: &Ports| {
            let image = images.find(engine, &record.image.to_string());
            image.is_some_and(|image| {
                let mut ports = image.config.config.exposed_ports.iter();
                ports.any(|port| wanted.holds(port))
            })
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
            && filters.any("network", |wanted| {
                wanted == network(&record.options.network)
            })
            && filters.any("volume", |wanted| {
                record.mounts.iter().any(|mount| mount.is_called(wanted))
            })
            && filters.any("publish", |_| false)
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

/// The network that a container is in.
pub fn network(mode: &NetworkMode) -> &'static str {
    match mode {
        NetworkMode::Host => "host",
        _ => "none",
    }
}

/// `80`, `80/udp`, `8000-8010/tcp`.
#[derive(Debug, PartialEq, Eq)]
struct Ports {
    first: u16,
    last: u16,
    protocol: String,
}

impl Ports {
    fn parse(key: &str, text: &str) -> Result<Self, Error> {
        let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let protocol = protocol.to_lowercase();
        match (first.parse(), last.parse()) {
            (Ok(first), Ok(last))
                if first <= last && ["tcp", "udp", "sctp"].contains(&protocol.as_str()) =>
            {
                Ok(Self {
                    first,
                    last,
                    protocol,
                })
            }
            _ => Err(invalid(key, text)),
        }
    }

    /// Whether they meet those of an image, which are written the same way.
    fn holds(&self, port: &str) -> bool {
        Self::parse("expose", port).is_ok_and(|port| {
            port.protocol == self.protocol && port.first <= self.last && self.first <= port.last
        })
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
            assert_eq!(ports.holds(port), expected, "{wanted} {port}");
        }
        for text in ["", "x", "80/xyz", "2-1", "70000", "80/"] {
            let error = Ports::parse("publish", text).unwrap_err();
            assert_eq!(error.message, format!("invalid filter 'publish={text}'"));
        }
    }
}
