//! Lists in the forms of `--format`: the default table, a table of one's own, JSON or a template.
//!
//! A list knows all its columns; a table shows some of them, JSON all of them in alphabetical order, one
//! object per line. Nothing is shown when a template fails for one of the rows.

use super::template::{Datum, Method, Object, OnMissing, Template};
use super::{Output, tabwriter, visible};
use crate::error::Error;
use anyhow::Result;
use serde_json::Value;
use std::collections::BTreeMap;
use std::rc::Rc;

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

    /// The fields of these columns, as JSON.
    pub fn object(&self, columns: &[Column]) -> Value {
        let fields = columns.iter().map(|column| {
            let value = self.fields.get(column.name).cloned();
            (column.name.to_owned(), value.unwrap_or_else(|| "".into()))
        });
        Value::Object(fields.collect())
    }

    /// With nothing in its texts that would break the lines of a table.
    fn visible(&self) -> Row {
        let fields = self.fields.iter().map(|(name, value)| match value {
            Value::String(text) => (*name, visible(text).into()),
            other => (*name, other.clone()),
        });
        let labels = self
            .labels
            .iter()
            .map(|(key, value)| (key.clone(), visible(value)));
        Row {
            fields: fields.collect(),
            labels: labels.collect(),
        }
    }

    fn cell(&self, name: &str) -> String {
        match self.fields.get(name) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => visible(text),
            Some(other) => visible(&other.to_string()),
        }
    }
}

/// Lines of cells in columns at least twenty wide, the first line being the headings (`top`).
pub fn aligned_wide(lines: &[Vec<String>]) -> String {
    let lines = lines.iter().map(|cells| {
        let cells: Vec<String> = cells.iter().map(|cell| visible(cell)).collect();
        cells.join("\t") + "\n"
    });
    tabwriter::align_at_least(20, &lines.collect::<String>())
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

/// What a format asks for.
enum Form<'a> {
    /// The default table, or with `--quiet` its only column.
    Default,
    /// `table TEMPLATE`
    Table(&'a str),
    Json,
    /// A template for each row.
    Template(&'a str),
}

impl Listing<'_> {
    /// Shows `rows` in their order.
    pub fn render(&self, output: &mut Output, rows: &[Row]) -> Result<()> {
        output.write(self.text(rows)?.as_bytes())
    }

    /// Shows `rows` in the place of what a terminal has shown before, from its upper left corner on.
    pub fn repaint(&self, output: &mut Output, rows: &[Row]) -> Result<()> {
        let text = self.text(rows)?.replace('\n', "\x1b[K\n");
        output.write(format!("\x1b[H{text}\x1b[J").as_bytes())
    }

    fn text(&self, rows: &[Row]) -> Result<String> {
        Ok(match self.form() {
            Form::Default => match self.quiet {
                Some(name) => rows.iter().map(|row| row.cell(name) + "\n").collect(),
                None => self.default_table(rows),
            },
            Form::Json => rows
                .iter()
                .map(|row| self.shown(row).json() + "\n")
                .collect(),
            Form::Table(template) => self.table(&unescape(template), rows)?,
            Form::Template(template) => {
                let template = Template::parse(&unescape(template))?;
                rows.iter()
                    .map(|row| self.line(&template, self.shown(row)))
                    .collect::<Result<String, _>>()?
            }
        })
    }

    /// Whether the column called `name` will be shown: what is costly need not be found out in vain.
    pub fn wants(&self, name: &str) -> bool {
        match self.form() {
            Form::Default => self
                .quiet
                .map_or_else(|| self.table.contains(&name), |quiet| quiet == name),
            Form::Json => true,
            Form::Table(template) | Form::Template(template) => {
                Template::parse(&unescape(template)).is_ok_and(|template| template.mentions(name))
            }
        }
    }

    /// Whether only the column of `--quiet` is shown.
    pub fn is_quiet(&self) -> bool {
        self.quiet.is_some() && matches!(self.form(), Form::Default)
    }

    fn form(&self) -> Form<'_> {
        match self.format.unwrap_or_default() {
            "json" => Form::Json,
            format => match format.strip_prefix("table").map(str::trim) {
                Some("") => Form::Default,
                Some(template) => Form::Table(template),
                None if format.trim().is_empty() => Form::Default,
                None => Form::Template(format),
            },
        }
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

    /// Docker aligns what the template makes of the rows, whatever tabs come from where.
    fn table(&self, template: &str, rows: &[Row]) -> Result<String, Error> {
        let template = Template::parse(template)?;
        let headings = Headings(
            self.columns
                .iter()
                .map(|column| (column.name, column.header))
                .collect(),
        );
        let mut text = template.headings(&Datum::Object(Rc::new(headings))) + "\n";
        for row in rows {
            text += &self.line(
                &template,
                Shown {
                    row: row.visible(),
                    ..self.shown(row)
                },
            )?;
        }
        Ok(tabwriter::align(&text))
    }

    fn line(&self, template: &Template, row: Shown) -> Result<String, Error> {
        let names: Vec<&str> = self.columns.iter().map(|column| column.name).collect();
        let line = template.execute(&Datum::Object(Rc::new(row)), OnMissing::NoValue);
        Ok(line.map_err(|error| error.hint(format!("fields are {}", names.join(", "))))? + "\n")
    }

    fn shown(&self, row: &Row) -> Shown {
        Shown {
            names: self.columns.iter().map(|column| column.name).collect(),
            row: row.clone(),
        }
    }
}

/// `\t` and `\n` as people type them in a shell.
fn unescape(format: &str) -> String {
    format.replace("\\t", "\t").replace("\\n", "\n")
}

/// A row as templates and JSON see it: a column that it does not set is empty.
#[derive(Debug)]
struct Shown {
    names: Vec<&'static str>,
    row: Row,
}

impl Object for Shown {
    fn kind(&self) -> &str {
        "row"
    }

    fn field(&self, name: &str) -> Option<Datum> {
        let known = self.names.contains(&name).then(|| Datum::text(""));
        self.row.fields.get(name).map(Datum::from_json).or(known)
    }

    fn fields(&self) -> Vec<(String, Datum)> {
        let mut names = self.names.clone();
        names.sort_unstable();
        names
            .into_iter()
            .filter_map(|name| Some((name.to_string(), self.field(name)?)))
            .collect()
    }

    /// `<`, `>` and `&` are escaped, as Docker does for lists and does not for inspected objects.
    fn json(&self) -> String {
        let fields: serde_json::Map<String, Value> = self
            .names
            .iter()
            .map(|name| {
                (
                    name.to_string(),
                    self.row
                        .fields
                        .get(name)
                        .cloned()
                        .unwrap_or_else(|| "".into()),
                )
            })
            .collect();
        let sorted: BTreeMap<String, Value> = fields.into_iter().collect();
        let json = serde_json::json!(sorted).to_string();
        json.replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('&', "\\u0026")
    }

    fn method(&self, name: &str) -> Option<Method<'_>> {
        let labelled = name == "Label" && self.names.contains(&"Labels");
        labelled.then(|| -> Method<'_> {
            Box::new(|key| Datum::text(self.row.labels.get(key).map_or("", String::as_str)))
        })
    }
}

/// The line of headings: any field may be asked for, and a label is headed by the last part of its name.
#[derive(Debug)]
struct Headings(BTreeMap<&'static str, &'static str>);

impl Object for Headings {
    fn kind(&self) -> &str {
        "headings"
    }

    fn field(&self, name: &str) -> Option<Datum> {
        Some(
            self.0
                .get(name)
                .map_or(Datum::Missing, |header| Datum::text(*header)),
        )
    }

    fn fields(&self) -> Vec<(String, Datum)> {
        self.0
            .iter()
            .map(|(name, header)| (name.to_string(), Datum::text(*header)))
            .collect()
    }

    fn method(&self, name: &str) -> Option<Method<'_>> {
        (name == "Label").then(|| -> Method<'_> {
            Box::new(|key| {
                let last = key.rsplit('.').next().unwrap_or(key);
                Datum::text(last.replace(['-', '_'], " "))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::tests::Capture;

    const COLUMNS: [Column; 4] = [
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
        Column {
            name: "Labels",
            header: "LABELS",
        },
    ];

    fn listing(format: Option<&str>, quiet: bool) -> Listing<'_> {
        Listing {
            format,
            columns: &COLUMNS,
            table: &["ID", "Ports", "Names"],
            quiet: quiet.then_some("ID"),
        }
    }

    fn show(format: Option<&str>, quiet: bool, rows: &[Row]) -> Result<String, String> {
        let (mut output, data, _) = Capture::output();
        match listing(format, quiet).render(&mut output, rows) {
            Ok(()) => Ok(data.take()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn rows() -> Vec<Row> {
        let labels = [("com.example.my-app_x", "2"), ("a", "1")];
        let labels = labels
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .into();
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
            assert_eq!(show(format, false, &rows()).unwrap(), table);
        }
        assert_eq!(
            show(None, false, &[]).unwrap(),
            "CONTAINER ID   PORTS     NAMES\n"
        );
        assert_eq!(
            show(None, true, &rows()).unwrap(),
            "8dfafdbc3a40\n9cd87474be90\n"
        );
    }

    #[test]
    fn json_is_one_object_per_line() {
        let json = "{\"ID\":\"8dfafdbc3a40\",\"Labels\":\"\",\"Names\":\"boring_feynman\",\"Ports\":\"8080-\\u003e80/tcp\"}\n\
             {\"ID\":\"9cd87474be90\",\"Labels\":\"a=1,com.example.my-app_x=2\",\"Names\":\"a\\nb\",\"Ports\":\"\"}\n";
        assert_eq!(show(Some("json"), false, &rows()).unwrap(), json);
        assert_eq!(show(Some("{{json .}}"), true, &rows()).unwrap(), json);
    }

    /// What the client of Docker 28.2.2 printed for the same rows, except that it lets new lines through.
    #[test]
    fn templates_make_lines_and_tables() {
        for (format, shown) in [
            (
                "{{.Names}}\\t{{.ID}}\\n-",
                "boring_feynman\t8dfafdbc3a40\n-\na\nb\t9cd87474be90\n-\n",
            ),
            (
                "table {{.ID}}",
                "CONTAINER ID\n8dfafdbc3a40\n9cd87474be90\n",
            ),
            ("table{{.ID}}", "CONTAINER ID\n8dfafdbc3a40\n9cd87474be90\n"),
            (
                "table {{.ID}}\\t{{.Label \"com.example.my-app_x\"}}\\t{{upper .Names}}|{{pad .ID 2 2}}",
                "CONTAINER ID   my app x   NAMES|  CONTAINER ID  \n\
                 8dfafdbc3a40              BORING_FEYNMAN|  8dfafdbc3a40  \n\
                 9cd87474be90   2          A\\NB|  9cd87474be90  \n",
            ),
            (
                "{{.Labels}}|{{.Label \"a\"}}",
                "|\na=1,com.example.my-app_x=2|1\n",
            ),
            ("x", "x\nx\n"),
        ] {
            assert_eq!(
                show(Some(format), false, &rows()).as_deref(),
                Ok(shown),
                "{format}"
            );
        }
        assert_eq!(
            show(Some("table {{.Foo}}\\t{{.ID}}"), false, &[]).unwrap(),
            "<no value>   CONTAINER ID\n"
        );
        for (format, message) in [
            (
                "{{.Foo}}",
                ":1:2: executing \"\" at <.Foo>: can't evaluate field Foo in type row",
            ),
            (
                "table {{.Foo}}",
                ":1:2: executing \"\" at <.Foo>: can't evaluate field Foo in type row",
            ),
            ("{{.Foo", ":1: unclosed action"),
        ] {
            let message = format!("template parsing error: template: {message}");
            assert_eq!(show(Some(format), false, &rows()), Err(message));
        }
    }

    #[test]
    fn a_listing_knows_which_columns_it_shows() {
        for (format, quiet, ports, id) in [
            (None, false, true, true),
            (None, true, false, true),
            (Some("table"), false, true, true),
            (Some("json"), true, true, true),
            (Some("{{.ID}}"), false, false, true),
            (Some("table {{.Ports}}"), true, true, false),
            (Some("{{json .}}"), false, true, true),
        ] {
            let listing = listing(format, quiet);
            assert_eq!(
                (listing.wants("Ports"), listing.wants("ID")),
                (ports, id),
                "{format:?}"
            );
        }
    }
}
