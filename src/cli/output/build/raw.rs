//! `--progress=rawjson`: a line of JSON for each thing, in the words of BuildKit's `SolveStatus`.
//! <https://pkg.go.dev/github.com/moby/buildkit/client#SolveStatus>

use super::clean;
use crate::build::report::Event;
use crate::cli::output::Output;
use crate::image::digest::Digest;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What was told of each step, which is told as a whole each time.
#[derive(Default)]
pub struct Raw {
    vertices: BTreeMap<usize, Value>,
}

impl Raw {
    /// Writes an event.
    pub fn tell(&mut self, output: &mut Output, vertex: usize, event: Event<'_>) {
        let now = Timestamp::now().to_string();
        if let Event::Planned { name, inputs } = &event {
            let inputs: Vec<Value> = inputs.iter().map(|input| self.digest(*input)).collect();
            let digest = Digest::of(format!("{vertex} {name}").as_bytes());
            let mut told = json!({"digest": digest, "name": name});
            if !inputs.is_empty() {
                told["inputs"] = json!(inputs);
            }
            self.vertices.insert(vertex, told);
        }
        let digest = self.digest(vertex);
        let Some(told) = self.vertices.get_mut(&vertex) else {
            return;
        };
        let line = match event {
            Event::Progress {
                item,
                current,
                total,
                done,
            } => {
                let mut status = json!({
                    "id": item, "vertex": digest, "current": current, "timestamp": now, "started": now,
                });
                if let Some(total) = total {
                    status["total"] = json!(total);
                }
                if done {
                    status["completed"] = json!(now);
                }
                json!({"statuses": [status]})
            }
            Event::Output { error, bytes } => {
                let stream = if error { 2 } else { 1 };
                let data = BASE64_STANDARD.encode(bytes);
                json!({"logs": [{"vertex": digest, "stream": stream, "data": data, "timestamp": now}]})
            }
            Event::Warning(text) => {
                let short = BASE64_STANDARD.encode(text.as_bytes());
                json!({"warnings": [{"vertex": digest, "level": 1, "short": short}]})
            }
            Event::Check(found) => {
                let rule = found.rule.map_or(String::new(), |rule| format!("{rule}: "));
                let short = format!("{rule}{} (line {})", found.message, found.span.start.line);
                let detail = found
                    .hint
                    .iter()
                    .map(|hint| BASE64_STANDARD.encode(hint.as_bytes()));
                let place = |at: crate::build::source::Position| json!({"line": at.line, "character": at.column.saturating_sub(1)});
                let span = found.span;
                json!({"warnings": [{
                    "vertex": digest, "level": 1, "short": BASE64_STANDARD.encode(short.as_bytes()),
                    "detail": detail.collect::<Vec<_>>(),
                    "sourceInfo": {"filename": clean::line(found.file.as_bytes())},
                    "range": [{"start": place(span.start), "end": place(span.end)}],
                }]})
            }
            Event::Planned { .. } => json!({"vertexes": [told]}),
            Event::Started => {
                told["started"] = json!(now);
                // What was cached may turn out to have to be done.
                if let Some(fields) = told.as_object_mut() {
                    fields.retain(|name, _| name != "completed" && name != "cached");
                }
                json!({"vertexes": [told]})
            }
            Event::Cached => {
                told["completed"] = json!(now);
                told["cached"] = json!(true);
                json!({"vertexes": [told]})
            }
            Event::Done(_) => {
                told["completed"] = json!(now);
                json!({"vertexes": [told]})
            }
            Event::Failed(why) => {
                told["completed"] = json!(now);
                told["error"] = json!(why);
                json!({"vertexes": [told]})
            }
            Event::Canceled => {
                told["completed"] = json!(now);
                told["error"] = json!("context canceled");
                json!({"vertexes": [told]})
            }
        };
        output.usage(&format!("{line}\n"));
    }

    fn digest(&self, vertex: usize) -> Value {
        let told = self.vertices.get(&vertex);
        told.map_or(Value::Null, |told| told["digest"].clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::tests::Capture;
    use std::time::Duration;

    #[test]
    fn each_line_is_a_status_of_buildkits() {
        let (mut output, _, notes) = Capture::output();
        let mut raw = Raw::default();
        let (name, inputs) = ("a", &[][..]);
        raw.tell(&mut output, 0, Event::Planned { name, inputs });
        let (name, inputs) = ("b", &[0][..]);
        raw.tell(&mut output, 1, Event::Planned { name, inputs });
        raw.tell(&mut output, 1, Event::Started);
        let (error, bytes) = (true, &b"\xff\n"[..]);
        raw.tell(&mut output, 1, Event::Output { error, bytes });
        raw.tell(&mut output, 1, Event::Done(Duration::ZERO));
        let text = notes.take();
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 5);
        let first = &lines[0]["vertexes"][0];
        assert_eq!(lines[1]["vertexes"][0]["inputs"][0], first["digest"]);
        assert!(lines[2]["vertexes"][0]["started"].is_string());
        assert_eq!(lines[3]["logs"][0]["data"], "/wo=");
        assert_eq!(lines[3]["logs"][0]["stream"], 2);
        assert!(lines[4]["vertexes"][0]["completed"].is_string());
    }
}
