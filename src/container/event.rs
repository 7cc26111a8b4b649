//! What has happened to containers, images and volumes, as Docker's events: written by whoever did it, kept in a ring on
//! disk, read by `events`. Not a record of anything: an event that cannot be written down, since the disk is full
//! for example, is lost, and what it tells of has happened all the same.
//!
//! Actions and attributes are Docker's (`GET /events`). Of containers: attach, commit, copy, create, destroy, detach,
//! die (`exitCode`, `execDuration`), `exec_create: WORDS`, `exec_start: WORDS`, exec_detach and exec_die (`execID`,
//! `exitCode`), export, `health_status: STATUS`, kill (`signal`), oom, pause, prune (`reclaimed`), rename
//! (`oldName`), resize (`height`, `width`), restart, start, stop, top, unpause, update. Of images: delete, import,
//! load, prune, pull, push, save, tag, untag. Of volumes: create, destroy,
//! mount (`container`, `destination`, `propagation`, `read/write`), prune, unmount (`container`); each with `driver`.
//! Those that a start mounts and an end unmounts are told together with that of the container, in one write.

use super::engine::Engine;
use super::mount_point::MountPoint;
use super::record::Record;
use super::step::is_step;
use crate::image::digest::Digest;
use crate::image::remove::Removal;
use crate::image::store;
use crate::network::record::Network;
use crate::store::ring::{LINE_LIMIT, Reader, Ring};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One event, with Docker's names of its fields.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Event {
    /// The action again, of containers and images: older programs read this.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// The object's id again, likewise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The image of a container, likewise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// What kind of object: `container`, `image`, `volume`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// What happened to it.
    #[serde(rename = "Action")]
    pub action: String,
    /// The object.
    #[serde(rename = "Actor")]
    pub actor: Actor,
    /// Always `local`: there is no cluster.
    pub scope: String,
    /// Seconds since 1970.
    pub time: i64,
    /// Nanoseconds since 1970.
    #[serde(rename = "timeNano")]
    pub time_nano: i64,
}

/// What an event is about.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Actor {
    /// Its whole id; empty for what is about many.
    #[serde(rename = "ID")]
    pub id: String,
    /// Labels, names, and what the action brings with it.
    #[serde(rename = "Attributes")]
    pub attributes: BTreeMap<String, String>,
}

/// Tells that something happened to a container; `attributes` are those that the action brings with it.
pub fn container(engine: &Engine, record: &Record, action: &str, attributes: &[(&str, &str)]) {
    write(
        engine,
        vec![Event::of_container(record, action, attributes)],
    );
}

/// Tells that a container's program has started, and what volumes it has for that.
pub fn started(engine: &Engine, record: &Record) {
    let mut events: Vec<Event> = record
        .mounts
        .iter()
        .filter_map(|point| {
            let (name, request) = (point.volume()?, &point.request);
            let own = [
                ("container", record.id.as_str()),
                ("destination", &request.target),
                // A volume takes no part in later mounts.
                ("propagation", ""),
                (
                    "read/write",
                    if request.read_only { "false" } else { "true" },
                ),
            ];
            Some(Event::of_volume(name, "mount", &own))
        })
        .collect();
    events.push(Event::of_container(record, "start", &[]));
    write(engine, events);
}

/// Tells that it has ended, and that it needs its volumes no more; `attributes` are those of its end.
pub fn ended(engine: &Engine, record: &Record, attributes: &[(&str, &str)]) {
    let own = [("container", record.id.as_str())];
    let volumes = record.mounts.iter().filter_map(MountPoint::volume);
    let unmounts = volumes.map(|name| Event::of_volume(name, "unmount", &own));
    let die = Event::of_container(record, "die", attributes);
    write(engine, [die].into_iter().chain(unmounts).collect());
}

/// Tells that something happened to an image; `name` is what it was called thereby, its id where it was not. The
/// labels of an image that is gone are unknown.
pub fn image(engine: &Engine, id: &Digest, name: &str, action: &str) {
    let id = id.to_string();
    let labels = store::find(&engine.paths, &id).map(|image| image.config.config.labels);
    let labels = labels.unwrap_or_default();
    let event = Event::new("image", action, &id, &labels, &[("name", name)]);
    write(engine, vec![event]);
}

/// Tells that something happened to a volume; `attributes` are those that the action brings with it.
pub fn volume(engine: &Engine, name: &str, action: &str, attributes: &[(&str, &str)]) {
    write(engine, vec![Event::of_volume(name, action, attributes)]);
}

/// Tells that something happened to a network, or to a container in it.
pub fn network(engine: &Engine, network: &Network, action: &str, container: Option<&str>) {
    if container.is_some_and(is_step) {
        return;
    }
    let mut attributes = vec![("name", &*network.name), ("type", network.driver.word())];
    attributes.extend(container.map(|id| ("container", id)));
    let event = Event::new(
        "network",
        action,
        &network.id,
        &BTreeMap::new(),
        &attributes,
    );
    write(engine, vec![event]);
}

/// Tells what a removal of images has done.
pub fn removal(engine: &Engine, removal: &Removal) {
    for (id, action) in &removal.events {
        image(engine, id, &id.to_string(), action);
    }
}

/// Tells that all unneeded objects of a kind (`container`, `image`, `network`, `volume`) were removed, and how many bytes came free.
pub fn prune(engine: &Engine, kind: &str, reclaimed: u64) {
    let reclaimed = reclaimed.to_string();
    let attributes = [("reclaimed", reclaimed.as_str())];
    let event = Event::new(kind, "prune", "", &BTreeMap::new(), &attributes);
    write(engine, vec![event]);
}

/// A reader of events, which begins with the oldest one known.
pub fn read(engine: &Engine) -> Result<Reader> {
    Ring::new(engine.paths.events()).read()
}

impl Event {
    fn of_container(record: &Record, action: &str, attributes: &[(&str, &str)]) -> Self {
        let own = [
            ("image", record.image_name.as_str()),
            ("name", &record.name),
        ];
        let own: Vec<_> = own.into_iter().chain(attributes.iter().copied()).collect();
        Self::new("container", action, &record.id, &record.labels, &own)
    }

    fn of_volume(name: &str, action: &str, attributes: &[(&str, &str)]) -> Self {
        let own = [("driver", crate::volume::LOCAL)];
        let own: Vec<_> = own.into_iter().chain(attributes.iter().copied()).collect();
        Self::new("volume", action, name, &BTreeMap::new(), &own)
    }

    fn new(
        kind: &str,
        action: &str,
        id: &str,
        labels: &BTreeMap<String, String>,
        attributes: &[(&str, &str)],
    ) -> Self {
        let now = jiff::Timestamp::now();
        let attributes = attributes
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let attributes: BTreeMap<_, _> = labels.clone().into_iter().chain(attributes).collect();
        let of = |kinds: &[&str], text: &str| match kinds.contains(&kind) {
            true => text.to_owned(),
            false => String::new(),
        };
        Self {
            status: of(&["container", "image"], action),
            id: of(&["container", "image"], id),
            from: match attributes.get("image") {
                Some(image) => of(&["container"], image),
                None => String::new(),
            },
            kind: kind.to_owned(),
            action: action.to_owned(),
            actor: Actor {
                id: id.to_owned(),
                attributes,
            },
            scope: "local".to_owned(),
            time: now.as_second(),
            time_nano: i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX),
        }
    }

    /// What a line of the ring says; `None` for one that a crash has torn.
    pub fn parse(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// Its line in the ring. Labels come from images and may be of any length: too long ones are left out.
    fn line(mut self) -> Option<Vec<u8>> {
        const KEPT: [&str; 11] = [
            "image",
            "name",
            "exitCode",
            "execDuration",
            "execID",
            "signal",
            "oldName",
            "height",
            "width",
            "reclaimed",
            "comment",
        ];
        let line = serde_json::to_vec(&self).ok()?;
        if line.len() <= LINE_LIMIT {
            return Some(line);
        }
        let attributes = &mut self.actor.attributes;
        attributes.retain(|key, value| KEPT.contains(&key.as_str()) && value.len() < 4096);
        if self.action.len() > 4096 {
            self.action = self.action.chars().take(1024).collect();
            self.status.clone_from(&self.action);
        }
        let line = serde_json::to_vec(&self).ok()?;
        (line.len() <= LINE_LIMIT).then_some(line)
    }
}

fn write(engine: &Engine, events: Vec<Event>) {
    let lines: Vec<_> = events.into_iter().filter_map(Event::line).collect();
    let _ = Ring::new(engine.paths.events()).append(&lines);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_dockers_fields() {
        let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let own = [("image", "alpine"), ("name", "web"), ("exitCode", "3")];
        let mut event = Event::new("container", "die", "1234", &labels, &own);
        (event.time, event.time_nano) = (1, 1_000_000_002);
        let line = String::from_utf8(event.clone().line().unwrap()).unwrap();
        assert_eq!(
            line,
            r#"{"status":"die","id":"1234","from":"alpine","Type":"container","Action":"die","Actor":{"ID":"1234","Attributes":{"a":"b","exitCode":"3","image":"alpine","name":"web"}},"scope":"local","time":1,"timeNano":1000000002}"#
        );
        assert_eq!(Event::parse(line.as_bytes()), Some(event));
        assert_eq!(Event::parse(&line.as_bytes()[..50]), None);
    }

    #[test]
    fn labels_of_any_length_do_not_hide_what_happened() {
        let labels = BTreeMap::from([("a".to_owned(), "b".repeat(LINE_LIMIT))]);
        let event = Event::new("container", "die", "1234", &labels, &[("exitCode", "3")]);
        let event = Event::parse(&event.line().unwrap()).unwrap();
        assert_eq!(event.actor.attributes.len(), 1);
        assert_eq!(event.actor.attributes["exitCode"], "3");
        let long = format!("exec_create: {}", "x".repeat(LINE_LIMIT));
        let event = Event::new("container", &long, "1234", &BTreeMap::new(), &[]);
        assert!(event.line().is_some());
    }
}
