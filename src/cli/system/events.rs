//! `events`: what has happened and what happens, a line each, until somebody ends it or `--until` has passed.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::filter::{self, Filters};
use crate::cli::output::template::{Datum, Map, Object, OnMissing, Template};
use crate::cli::output::visible;
use crate::cli::value::time::time;
use crate::container::event::{self, Event};
use crate::error::{Error, Kind, bad_input};
use crate::store::ring::Waited;
use anyhow::Result;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Options of `events`.
#[derive(clap::Args)]
pub struct Events {
    /// Show only what fits (key=value)
    #[arg(short, long, value_name = "filter", value_parser = filter::parse)]
    filter: Vec<(String, String)>,
    /// Print "json", or by a Go template
    #[arg(long)]
    format: Option<String>,
    /// Begin with what happened since then ("10m", "2026-01-02T15:04:05", seconds since 1970)
    #[arg(long)]
    since: Option<String>,
    /// End then
    #[arg(long)]
    until: Option<String>,
}

/// Docker's exit code for a template that cannot be used.
const BAD_FORMAT: u8 = 64;

const FILTERS: &[&str] = &[
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

impl Verb for Events {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let filters = Filters::new(self.filter, FILTERS)?;
        let format = match Format::parse(self.format.as_deref().unwrap_or_default()) {
            Ok(format) => format,
            Err(error) => {
                context.output.error(&error.into());
                return Ok(BAD_FORMAT);
            }
        };
        let (now, clock) = (Timestamp::now(), Instant::now());
        let at = |text: Option<&str>| match text {
            None | Some("") => Ok(None),
            Some(text) => time(text, now).map(Some),
        };
        let (since, until) = (at(self.since.as_deref())?, at(self.until.as_deref())?);
        if let (Some(from), Some(to)) = (since, until)
            && to < from
        {
            let text = |text: Option<String>| text.unwrap_or_default();
            return Err(bad_input(format!(
                "since time ({}) is after until time ({})",
                text(self.since),
                text(self.until)
            ))
            .into());
        }
        // Without either, only what is still to come.
        let first = match (since, until) {
            (None, None) => now.as_nanosecond(),
            (since, _) => since.map_or(0, Timestamp::as_nanosecond),
        };
        let last = until.map_or(i128::MAX, Timestamp::as_nanosecond);
        let left = until.map(|until| Duration::try_from(until.duration_since(now)));
        let deadline = left.map(|left| clock + left.unwrap_or_default());
        let mut reader = event::read(&context.engine()?)?;
        loop {
            let lines = reader.lines()?;
            let mut events: Vec<Event> = lines.iter().filter_map(|l| Event::parse(l)).collect();
            // Two that happen at once may be written down in either order.
            events.sort_by_key(|event| event.time_nano);
            for event in events {
                let wanted = (first..=last).contains(&event.time_nano.into());
                if wanted && fits(&filters, &event) {
                    context.output.line(format.show(event)?)?;
                }
            }
            let output = rustix::stdio::stdout();
            if context.output.is_closed() || reader.wait(deadline, output)? != Waited::More {
                return Ok(0);
            }
        }
    }
}

/// Docker's rules: names and ids by their beginnings, everything else whole.
fn fits(filters: &Filters, event: &Event) -> bool {
    let attribute = |key: &str| event.actor.attributes.get(key).map_or("", String::as_str);
    let begins = |kind: &str| {
        let texts = [&event.actor.id, attribute("name")];
        filters.any(kind, |wanted| {
            texts.iter().any(|text| text.starts_with(wanted))
        })
    };
    let fuzzy = |wanted: &str| ["health_status", "exec_create", "exec_start"].contains(&wanted);
    let fuzzy = filters.of("event").any(fuzzy);
    let image = attribute(if event.kind == "container" {
        "image"
    } else {
        "name"
    });
    let images = [
        &event.actor.id,
        image,
        without_tag(&event.actor.id),
        without_tag(image),
    ];
    let kinds = [
        "container",
        "plugin",
        "volume",
        "network",
        "node",
        "service",
        "secret",
        "config",
        "daemon",
    ];
    filters.any("event", |wanted| match fuzzy {
        true => event.action.starts_with(wanted),
        false => event.action == wanted,
    }) && filters.any("type", |wanted| event.kind == wanted)
        && filters.any("scope", |wanted| event.scope == wanted)
        && filters.any("image", |wanted| images.contains(&wanted))
        && kinds.iter().all(|kind| begins(kind))
        && filters.labels(&event.actor.attributes)
}

/// `alpine` of `alpine:3.20`; the port of a registry is no tag.
fn without_tag(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

/// How an event is shown.
enum Format {
    Line,
    Template(Box<Template>),
}

impl Format {
    /// A template must make something of an event without anything in it.
    fn parse(text: &str) -> Result<Self, Error> {
        let text = match text {
            "" => return Ok(Self::Line),
            "json" => "{{json .}}",
            text => text,
        };
        let empty = Event {
            status: String::new(),
            id: String::new(),
            from: String::new(),
            kind: String::new(),
            action: String::new(),
            actor: event::Actor::default(),
            scope: String::new(),
            time: 0,
            time_nano: 0,
        };
        let template = Template::parse(text).and_then(|template| {
            template.execute(&Datum::Object(Rc::new(empty)), OnMissing::NoValue)?;
            Ok(template)
        });
        template
            .map(|template| Self::Template(Box::new(template)))
            .map_err(|error| {
                let why = error.message.replacen("template parsing error: ", "", 1);
                Error::new(Kind::Template, format!("Error parsing format: {why}"))
            })
    }

    fn show(&self, event: Event) -> Result<String> {
        match self {
            Self::Line => Ok(line(&event)),
            Self::Template(template) => {
                let event = Datum::Object(Rc::new(event));
                Ok(template.execute(&event, OnMissing::NoValue)?)
            }
        }
    }
}

/// `TIME TYPE ACTION ID (k=v, …)`, the time in the zone of the user.
fn line(event: &Event) -> String {
    let time = Timestamp::from_nanosecond(event.time_nano.into()).unwrap_or_default();
    let zoned = time.to_zoned(TimeZone::system());
    let offset = match zoned.offset().seconds() {
        0 => "Z".to_owned(),
        _ => zoned.strftime("%:z").to_string(),
    };
    let time = zoned.strftime("%Y-%m-%dT%H:%M:%S.%9f");
    let attributes = event.actor.attributes.iter();
    let attributes: Vec<_> = attributes
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let attributes = match attributes.is_empty() {
        true => String::new(),
        false => format!(" ({})", attributes.join(", ")),
    };
    let Event {
        kind,
        action,
        actor,
        ..
    } = event;
    visible(&format!(
        "{time}{offset} {kind} {action} {}{attributes}",
        actor.id
    ))
}

impl Object for Event {
    fn kind(&self) -> &str {
        "events.Message"
    }

    fn field(&self, name: &str) -> Option<Datum> {
        let fields = self.fields();
        let mut found = fields.into_iter().filter(|(field, _)| field == name);
        found.next().map(|(_, value)| value)
    }

    fn fields(&self) -> Vec<(String, Datum)> {
        let text = |text: &str| Datum::text(text);
        let fields = [
            ("Status", text(&self.status)),
            ("ID", text(&self.id)),
            ("From", text(&self.from)),
            ("Type", text(&self.kind)),
            ("Action", text(&self.action)),
            ("Actor", Datum::Object(Rc::new(self.actor.clone()))),
            ("Scope", text(&self.scope)),
            ("Time", Datum::Integer(self.time.into())),
            ("TimeNano", Datum::Integer(self.time_nano.into())),
        ];
        fields
            .map(|(name, value)| (name.to_owned(), value))
            .to_vec()
    }

    fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Object for event::Actor {
    fn kind(&self) -> &str {
        "events.Actor"
    }

    fn field(&self, name: &str) -> Option<Datum> {
        let fields = self.fields();
        let mut found = fields.into_iter().filter(|(field, _)| field == name);
        found.next().map(|(_, value)| value)
    }

    fn fields(&self) -> Vec<(String, Datum)> {
        let entries = self.attributes.iter();
        let attributes = Datum::Map(Rc::new(Map {
            entries: entries
                .map(|(key, value)| (key.clone(), Datum::text(value.as_str())))
                .collect(),
            closed: false,
            zero: Datum::text(""),
        }));
        vec![
            ("ID".to_owned(), Datum::text(self.id.as_str())),
            ("Attributes".to_owned(), attributes),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Event {
        let text = r#"{"status":"die","id":"abc","from":"alpine:3","Type":"container","Action":"die",
            "Actor":{"ID":"abc","Attributes":{"exitCode":"3","image":"alpine:3","name":"web"}},
            "scope":"local","time":1700000000,"timeNano":1700000000000000005}"#;
        Event::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn filters_are_dockers() {
        for (texts, expected) in [
            (&[][..], true),
            (&["type=container", "event=die"], true),
            (&["type=image"], false),
            (&["event=di"], false),
            (&["event=start", "event=die"], true),
            (&["event=health_status"], false),
            (&["container=we"], true),
            (&["container=ab"], true),
            (&["container=eb"], false),
            (&["image=alpine"], true),
            (&["image=alpine:3"], true),
            (&["image=alp"], false),
            (&["label=exitCode=3"], true),
            (&["label=exitCode=4"], false),
            (&["scope=swarm"], false),
        ] {
            let pairs = texts
                .iter()
                .map(|text| filter::parse(text).unwrap())
                .collect();
            let filters = Filters::new(pairs, FILTERS).unwrap();
            assert_eq!(fits(&filters, &sample()), expected, "{texts:?}");
        }
        let pairs = vec![filter::parse("event=health_status").unwrap()];
        let filters = Filters::new(pairs, FILTERS).unwrap();
        let action = "health_status: healthy".to_owned();
        assert!(fits(&filters, &Event { action, ..sample() }));
        assert_eq!(without_tag("host:5000/a"), "host:5000/a");
    }

    #[test]
    fn templates_have_gos_names_and_json_dockers() {
        let show = |format: &str| Format::parse(format)?.show(sample());
        let cases = [
            (
                "{{.Type}} {{.Action}} {{.Actor.ID}} {{.Time}}",
                "container die abc 1700000000",
            ),
            (
                "{{.Actor.Attributes.name}} {{index .Actor.Attributes \"x\"}}",
                "web ",
            ),
            (
                "{{json .Actor}}",
                r#"{"ID":"abc","Attributes":{"exitCode":"3","image":"alpine:3","name":"web"}}"#,
            ),
            (
                "json",
                r#"{"status":"die","id":"abc","from":"alpine:3","Type":"container","Action":"die","Actor":{"ID":"abc","Attributes":{"exitCode":"3","image":"alpine:3","name":"web"}},"scope":"local","time":1700000000,"timeNano":1700000000000000005}"#,
            ),
        ];
        for (format, expected) in cases {
            assert_eq!(show(format).unwrap(), expected, "{format}");
        }
        assert!(
            show("")
                .unwrap()
                .ends_with(" container die abc (exitCode=3, image=alpine:3, name=web)")
        );
        let error = Format::parse("{{.Nothing}}").map(drop).unwrap_err();
        assert!(
            error.message.starts_with("Error parsing format: "),
            "{}",
            error.message
        );
    }
}
