//! The language against Go's own answers, and against nonsense.

use super::*;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;
use std::rc::Rc;

/// One line of `cases.jsonl`: what Go's text/template made of it, with Docker's functions; the last ones, and
/// all that have no data, as the client of Docker 28.2.2 has it, which knows loops over numbers.
#[derive(Deserialize)]
struct Case {
    template: String,
    /// `row` is the object below; anything else is JSON.
    data: Value,
    #[serde(default)]
    fail_on_missing: bool,
    output: Option<String>,
    error: Option<String>,
}

#[derive(Debug)]
struct Row;

impl Object for Row {
    fn kind(&self) -> &str {
        "main.Row"
    }
    fn field(&self, name: &str) -> Option<Datum> {
        self.fields()
            .into_iter()
            .find(|(field, _)| field == name)
            .map(|(_, value)| value)
    }
    fn fields(&self) -> Vec<(String, Datum)> {
        let fields = [
            ("ID", Datum::text("8dfafdbc3a40")),
            ("Names", Datum::text("web")),
            ("Count", Datum::Integer(3)),
            ("Running", Datum::Bool(true)),
        ];
        fields
            .map(|(name, value)| (name.to_string(), value))
            .to_vec()
    }
    fn method(&self, name: &str) -> Option<Method<'_>> {
        (name == "Label").then(|| -> Method<'_> { Box::new(|key| Datum::text(format!("<{key}>"))) })
    }
}

fn data(value: &Value) -> Datum {
    if value == "row" {
        Datum::Object(Rc::new(Row))
    } else {
        Datum::from_json(value)
    }
}

fn render(template: &str, data: &Datum, on_missing: OnMissing) -> Result<String, String> {
    Template::parse(template)
        .and_then(|template| template.execute(data, on_missing))
        .map_err(|error| error.message)
}

#[test]
fn templates_do_what_they_do_in_go() {
    let mut wrong = Vec::new();
    let cases = include_str!("cases.jsonl");
    for line in cases.lines() {
        let case: Case = serde_json::from_str(line).unwrap();
        let on_missing = if case.fail_on_missing {
            OnMissing::Fail
        } else {
            OnMissing::NoValue
        };
        let expected = match (case.output, case.error) {
            (Some(output), None) => Ok(output),
            (None, Some(error)) => Err(format!("template parsing error: {error}")),
            _ => panic!("a case has an output or an error: {line}"),
        };
        let found = render(&case.template, &data(&case.data), on_missing);
        if found != expected {
            wrong.push(format!(
                "{:?}\n  found {found:?}\n     go {expected:?}",
                case.template
            ));
        }
    }
    assert!(cases.lines().count() > 200);
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn endless_work_ends() {
    for template in [
        "{{define \"x\"}}{{template \"x\" .}}{{end}}{{template \"x\" .}}",
        "{{range 1000000000000}}{{end}}",
        "{{$x := \"0123456789\"}}{{range 100}}{{$x = print $x $x}}{{end}}",
        "{{$x := \"0123456789\"}}{{range 100}}{{$x = printf \"%[1]s%[1]s\" $x}}{{end}}",
        "{{range 1000}}{{pad \"x\" 1000000 1000000}}{{end}}",
        "{{pad \"x\" 9223372036854775807 0}}",
    ] {
        render(template, &Datum::Null, OnMissing::NoValue).unwrap_err();
    }
    for (open, close) in [
        ("{{if 1}}", "{{end}}"),
        ("{{if 1}}{{else if 1}}", "{{end}}"),
    ] {
        render(
            &(open.repeat(10_000) + &close.repeat(10_000)),
            &Datum::Null,
            OnMissing::NoValue,
        )
        .unwrap_err();
    }
    render(
        &format!("{{{{{}1{}}}}}", "(".repeat(10_000), ")".repeat(10_000)),
        &Datum::Null,
        OnMissing::NoValue,
    )
    .unwrap_err();
}

#[test]
fn the_deepest_allowed_nesting_runs() {
    let nested = "{{if 1}}".repeat(90) + "x" + &"{{end}}".repeat(90);
    assert_eq!(
        render(&nested, &Datum::Null, OnMissing::NoValue).as_deref(),
        Ok("x")
    );
    let recursive = "{{define \"x\"}}{{if .}}{{template \"x\" (slice . 1)}}{{else}}y{{end}}{{end}}{{template \"x\" .}}";
    assert_eq!(
        render(recursive, &Datum::text("a".repeat(60)), OnMissing::NoValue).as_deref(),
        Ok("y")
    );
}

#[test]
fn headings_leave_text_alone_and_end_at_a_mistake() {
    let data = data(&serde_json::json!({"ID": "CONTAINER ID", "Names": "NAMES"}));
    for (template, output) in [
        (
            "{{.ID}}\t{{lower .Names}}{{truncate .ID 3}}{{title .ID}}{{json .ID}}",
            "CONTAINER ID\tNAMESCONTAINER IDCONTAINER IDCONTAINER ID",
        ),
        ("a{{json .}}b", "a"),
        ("{{.Foo}}", "<no value>"),
    ] {
        assert_eq!(Template::parse(template).unwrap().headings(&data), output);
    }
}

#[test]
fn a_template_knows_what_it_asks_for() {
    for (template, size) in [
        ("{{.Size}}", true),
        ("{{.ID}}", false),
        ("{{json .}}", true),
        ("{{range $x := .A}}{{end}}", true),
        ("Size {{\".Size\"}}", false),
    ] {
        assert_eq!(
            Template::parse(template).unwrap().mentions("Size"),
            size,
            "{template}"
        );
    }
}

/// Pieces that, put together at random, are often nearly a template.
fn template() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{{",
        "}}",
        "{{- ",
        " -}}",
        " ",
        "|",
        "(",
        ")",
        "$",
        "$x",
        ":=",
        "=",
        ",",
        ".",
        ".a",
        ".b.c",
        "if ",
        "else ",
        "else if ",
        "end",
        "range ",
        "with ",
        "define ",
        "template ",
        "block ",
        "break",
        "continue",
        "nil",
        "true",
        "1",
        "-7",
        "0x1F",
        "1e3",
        "'x'",
        "\"s\"",
        "`r`",
        "/*",
        "*/",
        "printf ",
        "\"%5.2f|%-8v|%[2]*d|%+q\" ",
        "index ",
        "slice ",
        "eq ",
        "lt ",
        "and ",
        "or ",
        "not ",
        "len ",
        "json ",
        "join ",
        "split ",
        "pad ",
        "truncate ",
        "html ",
        "urlquery ",
        "{{end}}",
        "{{range .a}}",
        "{{if .b}}",
        "{{else}}",
        "{{.}}",
        "옹기",
        "\n",
        "\\",
        "\u{0}",
    ]);
    prop::collection::vec(
        prop_oneof![9 => piece.prop_map(str::to_string), 1 => "\\PC{0,4}"],
        0..40,
    )
    .prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_template_panics(text in template()) {
        let data = data(&serde_json::json!({"a": [1, "x", null, 2.5, {"c": true}], "b": {"c": "옹기", "d": null}}));
        for on_missing in [OnMissing::NoValue, OnMissing::Fail] {
            let _ = render(&text, &data, on_missing);
        }
        let _ = Template::parse(&text).map(|template| template.headings(&data));
    }

    #[test]
    fn no_format_panics(format in "[%a-z0-9.*\\[\\]+# -]{0,12}", text in "\\PC{0,6}", number in any::<i64>(), float in any::<f64>()) {
        let values = [Datum::text(text), Datum::Integer(number.into()), Datum::Float(float), Datum::Null];
        let values = [values.to_vec(), vec![Datum::List(Rc::new(values.to_vec()))]].concat();
        let _ = verb::printf(&format, &values);
    }
}
