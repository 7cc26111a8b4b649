//! `--change`: instructions in the words of a Dockerfile that alter how an image's program is started
//! (Dockerfile reference; `docker import --change`, `docker commit --change`).
//!
//! Only the eleven instructions that Docker takes here. Nothing is run.

use super::config::{Execution, Healthcheck};
use crate::error::{Error, bad_input};
use anyhow::{Context, Result};
use jiff::SignedDuration;
use std::collections::BTreeMap;

/// Applies instructions in their order.
pub fn apply(execution: &mut Execution, changes: &[String]) -> Result<()> {
    let mut has_cmd = false;
    for change in changes {
        let text = change.trim();
        let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let name = name.to_ascii_uppercase();
        one(execution, &name, rest.trim(), &mut has_cmd)
            .with_context(|| format!("apply the change `{text}`"))?;
    }
    Ok(())
}

fn one(execution: &mut Execution, name: &str, rest: &str, has_cmd: &mut bool) -> Result<()> {
    let valid = [
        "CMD",
        "ENTRYPOINT",
        "ENV",
        "EXPOSE",
        "HEALTHCHECK",
        "LABEL",
        "ONBUILD",
        "STOPSIGNAL",
        "USER",
        "VOLUME",
        "WORKDIR",
    ];
    if !valid.contains(&name) {
        return Err(bad_input(format!(
            "{} is not a valid change command",
            name.to_lowercase()
        ))
        .into());
    }
    if rest.is_empty() && !["CMD", "ENTRYPOINT"].contains(&name) {
        return Err(bad_input(format!("{name} requires at least one argument")).into());
    }
    let words = |execution: &Execution| words(rest, &variables(execution));
    match name {
        "CMD" => {
            execution.cmd = Some(command(rest));
            *has_cmd = true;
        }
        "ENTRYPOINT" => {
            execution.entrypoint = Some(command(rest));
            // The command that came with the old entrypoint is not meant for the new one.
            if !*has_cmd {
                execution.cmd = None;
            }
        }
        "ENV" => {
            for (key, value) in pairs(rest, &variables(execution))? {
                execution
                    .env
                    .retain(|entry| entry.split('=').next() != Some(&key));
                execution.env.push(format!("{key}={value}"));
            }
        }
        "LABEL" => execution.labels.extend(pairs(rest, &variables(execution))?),
        "EXPOSE" => {
            for word in words(execution)? {
                execution.exposed_ports.extend(ports(&word)?);
            }
        }
        "VOLUME" => match json_list(rest) {
            Some(list) => execution.volumes.extend(list),
            None => execution.volumes.extend(words(execution)?),
        },
        "USER" => execution.user = only(words(execution)?, name)?,
        "STOPSIGNAL" => execution.stop_signal = only(words(execution)?, name)?,
        "WORKDIR" => {
            let directory = only(words(execution)?, name)?;
            execution.working_dir = absolute(&execution.working_dir, &directory);
        }
        "HEALTHCHECK" => execution.healthcheck = Some(health_check(rest)?),
        _ => {
            let inner = rest
                .split_whitespace()
                .next()
                .unwrap_or_default()
                .to_ascii_uppercase();
            if ["ONBUILD", "FROM", "MAINTAINER"].contains(&inner.as_str()) {
                return Err(
                    bad_input(format!("{inner} isn't allowed as an ONBUILD trigger")).into(),
                );
            }
            execution.on_build.push(rest.to_owned());
        }
    }
    Ok(())
}

/// `["a", "b"]` as it is, anything else for the shell.
fn command(text: &str) -> Vec<String> {
    match json_list(text) {
        Some(list) => list,
        None if text.is_empty() => Vec::new(),
        None => vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()],
    }
}

fn json_list(text: &str) -> Option<Vec<String>> {
    text.starts_with('[')
        .then(|| serde_json::from_str(text).ok())
        .flatten()
}

fn only(words: Vec<String>, name: &str) -> Result<String, Error> {
    match <[String; 1]>::try_from(words) {
        Ok([word]) if !word.is_empty() => Ok(word),
        _ => Err(bad_input(format!("{name} requires exactly one argument"))),
    }
}

/// The directory that a path means that begins in `base`, without `.` and `..`.
pub fn absolute(base: &str, directory: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let base = if directory.starts_with('/') { "" } else { base };
    for part in base.split('/').chain(directory.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn variables(execution: &Execution) -> BTreeMap<String, String> {
    let pair = |entry: &String| {
        entry
            .split_once('=')
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
    };
    execution.env.iter().filter_map(pair).collect()
}

/// `KEY=VALUE …`, or `KEY the rest of the line`.
fn pairs(text: &str, variables: &BTreeMap<String, String>) -> Result<Vec<(String, String)>> {
    let first = text.split_whitespace().next().unwrap_or_default();
    if !first.contains('=') {
        let Some((key, value)) = text.split_once(char::is_whitespace) else {
            return Err(bad_input(format!("`{text}` has no value: expected KEY=VALUE")).into());
        };
        let value = raw_words(value.trim(), variables, false)?
            .pop()
            .unwrap_or_default();
        return Ok(vec![(key.to_owned(), value)]);
    }
    let split = |word: String| match word.split_once('=') {
        Some(("", _)) | None => {
            Err(bad_input(format!("`{word}` is not in the form KEY=VALUE")).into())
        }
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
    };
    words(text, variables)?.into_iter().map(split).collect()
}

fn words(text: &str, variables: &BTreeMap<String, String>) -> Result<Vec<String>> {
    raw_words(text, variables, true)
}

/// Words as the Dockerfile's lexer makes them: quotes group, a backslash takes the next character as it is,
/// `$NAME` and `${NAME}` stand for values except between single quotes. Without `split` it is one word.
pub fn raw_words(
    text: &str,
    variables: &BTreeMap<String, String>,
    split: bool,
) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        match (quote, character) {
            (None, space) if split && space.is_whitespace() => words.extend(word.take()),
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (Some(open), close) if open == close => quote = None,
            (None | Some('"'), '\\') => {
                let next = rest.next();
                let keeps = quote.is_some() && !matches!(next, Some('"' | '$' | '\\'));
                word.get_or_insert_default()
                    .extend(keeps.then_some('\\').into_iter().chain(next));
            }
            (None | Some('"'), '$') => {
                let value = variable(&mut rest, variables)?;
                word.get_or_insert_default().push_str(&value);
            }
            (_, character) => word.get_or_insert_default().push(character),
        }
    }
    if quote.is_some() {
        return Err(bad_input("a quote is not closed").into());
    }
    words.extend(word);
    Ok(words)
}

/// What follows a dollar sign: `NAME`, `{NAME}`, `{NAME:-default}`, `{NAME:+alternative}`.
fn variable(
    rest: &mut std::iter::Peekable<std::str::Chars>,
    variables: &BTreeMap<String, String>,
) -> Result<String> {
    let in_name = |character: &char| character.is_ascii_alphanumeric() || *character == '_';
    if rest.next_if_eq(&'{').is_none() {
        let name: String = std::iter::from_fn(|| rest.next_if(in_name)).collect();
        return Ok(if name.is_empty() {
            "$".to_owned()
        } else {
            variables.get(&name).cloned().unwrap_or_default()
        });
    }
    let inside: String = rest
        .by_ref()
        .take_while(|&character| character != '}')
        .collect();
    let name: String = inside.chars().take_while(in_name).collect();
    let value = variables.get(&name).filter(|value| !value.is_empty());
    match &inside[name.len()..] {
        "" => Ok(value.cloned().unwrap_or_default()),
        modifier => match (modifier.get(..2), value) {
            (Some(":-"), Some(value)) => Ok(value.clone()),
            (Some(":-"), None) | (Some(":+"), Some(_)) => Ok(modifier[2..].to_owned()),
            (Some(":+"), None) => Ok(String::new()),
            _ => Err(bad_input(format!("`${{{inside}}}` is no variable")).into()),
        },
    }
}

/// `80`, `80/udp`, `8000-8002/tcp`: one entry for each port.
pub fn ports(text: &str) -> Result<Vec<String>, Error> {
    let wrong = || bad_input(format!("invalid containerPort: {text}"));
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_lowercase();
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let first: u16 = first.parse().map_err(|_| wrong())?;
    let last: u16 = last.parse().map_err(|_| wrong())?;
    if first > last || !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(wrong());
    }
    Ok((first..=last)
        .map(|port| format!("{port}/{protocol}"))
        .collect())
}

fn health_check(text: &str) -> Result<Healthcheck> {
    let mut check = Healthcheck::default();
    let mut rest = text;
    while let Some(option) = rest.strip_prefix("--") {
        let (word, more) = option
            .split_once(char::is_whitespace)
            .unwrap_or((option, ""));
        let (name, value) = word
            .split_once('=')
            .ok_or_else(|| bad_input(format!("`--{word}` has no value")))?;
        let target = match name {
            "interval" => &mut check.interval,
            "timeout" => &mut check.timeout,
            "start-period" => &mut check.start_period,
            "start-interval" => &mut check.start_interval,
            "retries" => &mut check.retries,
            _ => return Err(bad_input(format!("unknown flag: --{name}")).into()),
        };
        *target = if name == "retries" {
            count(value)?
        } else {
            duration(name, value)?
        };
        rest = more.trim_start();
    }
    let (kind, arguments) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let arguments = arguments.trim();
    check.test = match (kind.to_ascii_uppercase().as_str(), arguments) {
        ("NONE", "") => vec!["NONE".to_owned()],
        ("CMD", "") => return Err(bad_input("missing command after HEALTHCHECK CMD").into()),
        ("CMD", arguments) => match json_list(arguments) {
            Some(list) => std::iter::once("CMD".to_owned()).chain(list).collect(),
            None => vec!["CMD-SHELL".to_owned(), arguments.to_owned()],
        },
        _ => {
            return Err(
                bad_input(format!("unknown type `{kind}` in HEALTHCHECK (try CMD)")).into(),
            );
        }
    };
    Ok(check)
}

fn count(value: &str) -> Result<i64, Error> {
    let wrong = || bad_input(format!("--retries must be at least 1 (not {value})"));
    value
        .parse::<i64>()
        .ok()
        .filter(|&count| count >= 1)
        .ok_or_else(wrong)
}

/// Nanoseconds; Docker takes nothing between zero and a millisecond.
fn duration(name: &str, value: &str) -> Result<i64, Error> {
    let wrong = || {
        bad_input(format!(
            "--{name} is `{value}`, expected a duration such as 30s, at least 1ms"
        ))
    };
    let duration: SignedDuration = value.parse().map_err(|_| wrong())?;
    match i64::try_from(duration.as_nanos()) {
        Ok(nanoseconds) if nanoseconds == 0 || nanoseconds >= 1_000_000 => Ok(nanoseconds),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn change(changes: &[&str]) -> Result<Value> {
        let mut execution = Execution::default();
        let changes: Vec<String> = changes.iter().map(|change| (*change).to_owned()).collect();
        apply(&mut execution, &changes)?;
        Ok(serde_json::to_value(&execution)?)
    }

    #[test]
    fn instructions_change_what_they_name() {
        for (changes, expected) in [
            (&[r#"CMD ["sh", "-l"]"#][..], json!({"Cmd": ["sh", "-l"]})),
            (
                &["cmd echo $HOME"],
                json!({"Cmd": ["/bin/sh", "-c", "echo $HOME"]}),
            ),
            (
                &["CMD x", "ENTRYPOINT [\"y\"]"],
                json!({"Entrypoint": ["y"], "Cmd": ["/bin/sh", "-c", "x"]}),
            ),
            (
                &["ENV A=1 B=\"two words\" C=x\\ y", "ENV A=${A}2 D='$A'"],
                json!({"Env": ["B=two words", "C=x y", "A=12", "D=$A"]}),
            ),
            (
                &["ENV PATH /bin:${X:-/usr}"],
                json!({"Env": ["PATH=/bin:/usr"]}),
            ),
            (
                &["ENV P=8080", "EXPOSE $P 53/udp 1-3"],
                json!({"Env": ["P=8080"], "ExposedPorts": {"1/tcp": {}, "2/tcp": {}, "3/tcp": {}, "53/udp": {}, "8080/tcp": {}}}),
            ),
            (
                &["LABEL a=b c=\"d e\"", "LABEL old style"],
                json!({"Labels": {"a": "b", "c": "d e", "old": "style"}}),
            ),
            (
                &[
                    "USER 1:2",
                    "WORKDIR /a",
                    "WORKDIR b/../c",
                    "STOPSIGNAL SIGINT",
                ],
                json!({"User": "1:2", "WorkingDir": "/a/c", "StopSignal": "SIGINT"}),
            ),
            (
                &["VOLUME /a /b", "VOLUME [\"/c d\"]"],
                json!({"Volumes": {"/a": {}, "/b": {}, "/c d": {}}}),
            ),
            (&["ONBUILD RUN make"], json!({"OnBuild": ["RUN make"]})),
            (
                &["HEALTHCHECK --interval=1m30s --retries=2 CMD curl localhost"],
                json!({"Healthcheck": {"Test": ["CMD-SHELL", "curl localhost"], "Interval": 90_000_000_000_i64, "Retries": 2}}),
            ),
            (
                &["HEALTHCHECK NONE"],
                json!({"Healthcheck": {"Test": ["NONE"]}}),
            ),
        ] {
            assert_eq!(change(changes).unwrap(), expected, "{changes:?}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for (text, part) in [
            ("RUN make", "run is not a valid change command"),
            ("ENV", "ENV requires at least one argument"),
            ("ENV A", "no value"),
            ("ENV A=\"x", "quote"),
            ("ENV A=${B?}", "no variable"),
            ("EXPOSE 99999", "invalid containerPort: 99999"),
            ("USER a b", "exactly one"),
            ("ONBUILD FROM x", "isn't allowed"),
            ("HEALTHCHECK --interval=1us CMD x", "at least 1ms"),
            ("HEALTHCHECK curl", "unknown type `curl`"),
        ] {
            let error = format!("{:#}", change(&[text]).unwrap_err());
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
