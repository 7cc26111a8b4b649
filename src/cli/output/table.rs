//! Lists and inspected objects in the forms of `--format`: table, JSON or a Go template.
//!
//! A list knows all its columns; a table shows some of them, JSON all of them in alphabetical order, one
//! object per line. An inspected object is a JSON value already.

use super::{Output, tabwriter, visible};
use crate::error::{Error, Kind};
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeMap;

/// Something that can stand in a column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// The name in templates and JSON, as in `ID`.
    pub name: &'static str,
    /// The heading in tables, as in `CONTAINER ID`.
    pub header: &'static str,
}

/// One thing in a list.
#[derive(Clone, Debug, Default)]
pub struct Row {
    fields: BTreeMap<&'static str, Value>,
    labels: BTreeMap<String, String>,
}

impl Row {
    /// A row without fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the column called `name`; text as a rule, since Docker shows even numbers as text.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.fields.insert(name, value.into());
        self
    }

    /// Sets the column `Labels` to `key=value,…` and answers `.Label "key"`.
    #[must_use]
    pub fn with_labels(mut self, labels: &BTreeMap<String, String>) -> Self {
        let pairs: Vec<String> = labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        self.labels = labels.clone();
        self.with("Labels", pairs.join(","))
    }

    fn cell(&self, name: &str) -> String {
        match self.fields.get(name) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => visible(text),
            Some(other) => visible(&other.to_string()),
        }
    }
}

/// How a list is shown.
#[derive(Clone, Copy, Debug)]
pub struct Listing<'a> {
    /// What `--format` says; none is the default table.
    pub format: Option<&'a str>,
    /// All columns that a row has.
    pub columns: &'a [Column],
    /// The columns of the default table, by name.
    pub table: &'a [&'a str],
    /// `--quiet`: the only column to show, without a heading, unless `format` asks for something else.
    pub quiet: Option<&'a str>,
}

impl Listing<'_> {
    /// Shows `rows` in their order.
    pub fn render(&self, output: &mut Output, rows: &[Row]) -> Result<()> {
        let text = match (self.format.map(str::trim).unwrap_or_default(), self.quiet) {
            ("" | "table", Some(name)) => rows.iter().map(|row| row.cell(name) + "\n").collect(),
            ("" | "table", None) => self.default_table(rows),
            ("json", _) => rows.iter().map(row_json).collect::<Result<String>>()?,
            (format, _) => return Err(unsupported(format).into()),
        };
        output.write(text.as_bytes())
    }

    fn default_table(&self, rows: &[Row]) -> String {
        let headers = self
            .table
            .iter()
            .map(|name| self.header(name))
            .collect::<Vec<_>>()
            .join("\t");
        let cells = |row: &Row| {
            self.table
                .iter()
                .map(|name| row.cell(name))
                .collect::<Vec<_>>()
                .join("\t")
        };
        let lines: String = rows.iter().map(|row| cells(row) + "\n").collect();
        tabwriter::align(&format!("{headers}\n{lines}"))
    }

    fn header<'b>(&'b self, name: &'b str) -> &'b str {
        self.columns
            .iter()
            .find(|column| column.name == name)
            .map_or(name, |column| column.header)
    }
}

/// One line; `<`, `>` and `&` are escaped as Docker does for lists (and does not for inspected objects).
fn row_json(row: &Row) -> Result<String> {
    let json = serde_json::to_string(&row.fields).context("write a row as JSON")?;
    Ok(json
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        + "\n")
}

/// Shows inspected objects: an indented array, a compact array (`json`), or a template for each.
pub fn render_inspect(output: &mut Output, format: Option<&str>, values: &[Value]) -> Result<()> {
    let text = match format.unwrap_or_default() {
        "" if values.is_empty() => "[]".to_string(),
        "" => indented(values)?,
        "json" => serde_json::to_string(values).context("write as JSON")?,
        template => return Err(unsupported(template).into()),
    };
    output.line(text)
}

fn indented(values: &[Value]) -> Result<String> {
    let mut json = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut json, formatter);
    serde::Serialize::serialize(values, &mut serializer).context("write as JSON")?;
    String::from_utf8(json).context("write as JSON")
}

fn unsupported(format: &str) -> Error {
    Error::new(
        Kind::Unsupported,
        format!("template {format:?}: templates are not there yet"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::tests::Capture;
    use serde_json::json;

    const COLUMNS: [Column; 3] = [
        Column {
            name: "ID",
            header: "CONTAINER ID",
        },
        Column {
            name: "Names",
            header: "NAMES",
        },
        Column {
            name: "Ports",
            header: "PORTS",
        },
    ];

    fn show(format: Option<&str>, quiet: bool, rows: &[Row]) -> String {
        let (mut output, data, _) = Capture::output();
        let quiet = quiet.then_some("ID");
        Listing {
            format,
            columns: &COLUMNS,
            table: &["ID", "Ports", "Names"],
            quiet,
        }
        .render(&mut output, rows)
        .unwrap();
        data.take()
    }

    fn rows() -> Vec<Row> {
        let labels = BTreeMap::from([
            ("b".to_string(), "2".to_string()),
            ("a".to_string(), "1".to_string()),
        ]);
        vec![
            Row::new()
                .with("ID", "8dfafdbc3a40")
                .with("Names", "boring_feynman")
                .with("Ports", "8080->80/tcp"),
            Row::new()
                .with("ID", "9cd87474be90")
                .with("Names", "a\nb")
                .with("Ports", "")
                .with_labels(&labels),
        ]
    }

    #[test]
    fn the_default_table_keeps_one_line_per_row() {
        let table = "CONTAINER ID   PORTS          NAMES\n\
                     8dfafdbc3a40   8080->80/tcp   boring_feynman\n\
                     9cd87474be90                  a\\nb\n";
        for format in [None, Some(""), Some("table"), Some("table ")] {
            assert_eq!(show(format, false, &rows()), table);
        }
        assert_eq!(show(None, false, &[]), "CONTAINER ID   PORTS     NAMES\n");
        assert_eq!(show(None, true, &rows()), "8dfafdbc3a40\n9cd87474be90\n");
    }

    #[test]
    fn json_is_one_object_per_line() {
        assert_eq!(
            show(Some("json"), false, &rows()),
            "{\"ID\":\"8dfafdbc3a40\",\"Names\":\"boring_feynman\",\"Ports\":\"8080-\\u003e80/tcp\"}\n\
             {\"ID\":\"9cd87474be90\",\"Labels\":\"a=1,b=2\",\"Names\":\"a\\nb\",\"Ports\":\"\"}\n"
        );
    }

    #[test]
    fn inspected_objects_are_an_array() {
        let (mut output, data, _) = Capture::output();
        render_inspect(
            &mut output,
            None,
            &[json!({"Id": "x", "Args": ["a < b"], "Mounts": []})],
        )
        .unwrap();
        assert_eq!(
            data.take(),
            "[\n    {\n        \"Id\": \"x\",\n        \"Args\": [\n            \"a < b\"\n        ],\n        \
             \"Mounts\": []\n    }\n]\n"
        );
        render_inspect(&mut output, Some("json"), &[json!({"Id": "x"}), json!(1)]).unwrap();
        assert_eq!(data.take(), "[{\"Id\":\"x\"},1]\n");
        render_inspect(&mut output, None, &[]).unwrap();
        assert_eq!(data.take(), "[]\n");
    }
}
