//! Inspected objects: an array of JSON, or a template for each.
//!
//! Docker's client runs a template against its own types first and, if that fails, against the plain JSON
//! with missing keys as errors. The types are why `index .Config.Labels "x"` is empty text, `.State.X` an
//! error, and a number of a template that says `.Id` none that can be compared with. What Docker's program
//! itself knows (`version`, `info`) has no second run.

mod types;

use super::Output;
use super::template::{Datum, OnMissing, Template};
use crate::error::{Error, Kind};
use anyhow::{Context, Result};
use serde_json::Value;

/// Shows `values`: indented, on one line (`json`), or as the template says, one line each.
pub fn render_inspect(output: &mut Output, format: Option<&str>, values: &[Value]) -> Result<()> {
    let text = match format.unwrap_or_default() {
        "" if values.is_empty() => "[]".to_string(),
        "" => indented(values)?,
        "json" => serde_json::to_string(values).context("write as JSON")?,
        template => {
            let template = Template::parse(template).map_err(|error| Error {
                kind: Kind::Template,
                ..error
            })?;
            let lines = values
                .iter()
                .map(|value| render(&template, value))
                .collect::<Result<Vec<_>, _>>()?;
            lines.join("\n")
        }
    };
    output.line(text)
}

fn render(template: &Template, value: &Value) -> Result<String, Error> {
    let untyped = || template.execute(&Datum::untyped(value), OnMissing::Fail);
    let Some(kind) = types::of(value) else {
        return untyped();
    };
    let result = template.execute(&types::typed(kind, Some(value)), OnMissing::NoValue);
    match kind.starts_with("system.") {
        true => result,
        false => result.or_else(|_| untyped()),
    }
}

fn indented(values: &[Value]) -> Result<String> {
    let mut json = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut json, formatter);
    serde::Serialize::serialize(values, &mut serializer).context("write as JSON")?;
    String::from_utf8(json).context("write as JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::tests::Capture;
    use serde_json::json;

    fn show(format: Option<&str>, values: &[Value]) -> Result<String, String> {
        let (mut output, data, _) = Capture::output();
        match render_inspect(&mut output, format, values) {
            Ok(()) => Ok(data.take()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn without_a_template_it_is_an_array() {
        let value = json!({"Id": "x", "Args": ["a < b"], "Mounts": []});
        assert_eq!(
            show(None, std::slice::from_ref(&value)).unwrap(),
            "[\n    {\n        \"Id\": \"x\",\n        \"Args\": [\n            \"a < b\"\n        ],\n        \
             \"Mounts\": []\n    }\n]\n"
        );
        assert_eq!(
            show(Some("json"), &[json!({"b": 1, "a": 2}), json!(1)]).unwrap(),
            "[{\"b\":1,\"a\":2},1]\n"
        );
        assert_eq!(show(None, &[]).unwrap(), "[]\n");
        assert_eq!(show(Some("json"), &[]).unwrap(), "[]\n");
        assert_eq!(show(Some("{{.Id}}"), &[]).unwrap(), "\n");
        assert_eq!(
            show(Some("{{.Id}}"), &[value.clone(), value]).unwrap(),
            "x\nx\n"
        );
    }

    /// Templates, and the text that the client of Docker 28.2.2 has for such fields.
    const SEEN: [(&str, &str); 21] = [
        (
            "{{.ID}} {{.HostConfig.CPUShares}} {{.HostConfig.StorageOpt}}",
            "8dfafdbc3a40 2 map[]",
        ),
        (
            "{{.Id}} {{.HostConfig.CpuShares}} {{printf \"%T\" .State.Pid}}",
            "8dfafdbc3a40 2 json.Number",
        ),
        (
            "{{index .Config.Labels \"q\"}}|{{.Config.Labels.q}}|{{.Config.Labels.a.b}}|",
            "|<no value>|<no value>|",
        ),
        (
            "{{index .Config.Labels \"a.b\"}} {{.Config.Labels}}",
            "x map[a.b:x z:y]",
        ),
        (
            "{{.State.Health}} {{.HostConfig.PidsLimit}} {{.HostConfig.Binds}}",
            "<nil> <nil> []",
        ),
        (
            "{{.State}}",
            "{running true false false false false 123 0    <nil>}",
        ),
        (
            "{{.NetworkSettings.Ports}}",
            "map[443/tcp:[] 80/tcp:[{0.0.0.0 8080}]]",
        ),
        (
            "{{json .NetworkSettings.Ports}}",
            r#"{"443/tcp":null,"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"}]}"#,
        ),
        (
            "{{json .HostConfig.RestartPolicy}}",
            r#"{"Name":"","MaximumRetryCount":0}"#,
        ),
        (
            "{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}",
            "8080",
        ),
        (
            "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}",
            "10.0.0.2 172.17.0.2 ",
        ),
        (
            "{{index .NetworkSettings.Networks \"x\"}} {{.NetworkSettings.Networks.x.IPAddress}}",
            "<nil> <no value>",
        ),
        ("{{index .NetworkSettings.Ports \"x\"}}", "<no value>"),
        (
            "{{range .HostConfig.Binds}}x{{else}}none{{end}}{{len .HostConfig.Binds}}",
            "none0",
        ),
        (
            "{{join .Config.Entrypoint \" \"}}|{{join .Args \" \"}}",
            "|-c a < b",
        ),
        (
            "{{.HostConfig.LogConfig.Config}} {{.HostConfig.LogConfig.Config.x}} {{.HostConfig.LogConfig}}",
            "map[] <no value> {json-file map[]}",
        ),
        ("{{json .Config.Volumes}}{{.Config.Volumes}}", "nullmap[]"),
        (
            "{{if .HostConfig.PidsLimit}}y{{else}}n{{end}} {{eq .State.Health nil}}",
            "n true",
        ),
        (
            "{{html .State.Health}} {{print .State.Health .HostConfig.Binds}}",
            "&lt;nil&gt; <nil> []",
        ),
        (
            "{{.HostConfig.Memory}} {{.HostConfig.RestartPolicy}}",
            "67108864 { 0}",
        ),
        ("a\\tb\\n", "a\\tb\\n"),
    ];

    #[test]
    fn templates_see_dockers_types() {
        let value = json!({
            "Id": "8dfafdbc3a40", "Path": "sh", "Args": ["-c", "a < b"],
            "State": {"Status": "running", "Running": true, "Pid": 123, "ExitCode": 0, "Health": null},
            "HostConfig": {
                "Memory": 67_108_864, "Binds": null, "PidsLimit": null, "CpuShares": 2,
                "RestartPolicy": {"Name": "", "MaximumRetryCount": 0},
                "LogConfig": {"Type": "json-file", "Config": {}},
            },
            "Config": {"Env": ["A=1", "B=2"], "Entrypoint": null, "Labels": {"z": "y", "a.b": "x"}, "Volumes": null},
            "NetworkSettings": {
                "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "443/tcp": null},
                "Networks": {"bridge": {"IPAddress": "172.17.0.2"}, "back": {"IPAddress": "10.0.0.2"}},
            },
        });
        for (template, shown) in SEEN {
            assert_eq!(
                show(Some(template), std::slice::from_ref(&value)),
                Ok(format!("{shown}\n")),
                "{template}"
            );
        }
        for (template, message) in [
            (
                "{{.Foo}}",
                ":1:2: executing \"\" at <.Foo>: map has no entry for key \"Foo\"",
            ),
            (
                "{{.State.Foo}}",
                ":1:8: executing \"\" at <.State.Foo>: map has no entry for key \"Foo\"",
            ),
            (
                "{{.Path.X}}",
                ":1:7: executing \"\" at <.Path.X>: can't evaluate field X in type interface {}",
            ),
            (
                "{{(index (index .NetworkSettings.Ports \"81/tcp\") 0).HostPort}}",
                ":1:3: executing \"\" at <index (index .NetworkSettings.Ports \"81/tcp\") 0>: error calling index: index of \
                 untyped nil",
            ),
            ("{{.Foo", ":1: unclosed action"),
        ] {
            let message = format!("template parsing error: template: {message}");
            assert_eq!(
                show(Some(template), std::slice::from_ref(&value)),
                Err(message)
            );
        }
    }
}
