//! Instructions that alter the config alone.

use super::draft::Draft;
use super::scope::{Globals, Lexis, Scope};
use crate::build::dockerfile::instruction::{Argument, Command, Healthcheck, Instruction};
use crate::duration;
use crate::error::bad_input;
use crate::image::change::ports;
use crate::image::config::{self, Execution};
use crate::sys::process::signal_number;
use anyhow::Result;
use std::fmt::Write as _;

/// What the shell form of a command is given to unless `SHELL` says otherwise.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// Applies an instruction; `false` for one that makes files.
pub fn apply(
    draft: &mut Draft,
    globals: &Globals,
    lexis: Lexis<'_>,
    instruction: &Instruction,
) -> Result<bool> {
    let scope = lexis.scope(&draft.variables);
    match instruction {
        Instruction::Arg(arguments) => argument(draft, globals, lexis, arguments)?,
        Instruction::Cmd(command) => {
            let words = words(&draft.config.config, command);
            draft.note(format!("CMD {}", quoted(&words)));
            draft.config.config.cmd = Some(words);
            draft.has_cmd = true;
        }
        Instruction::Entrypoint(command) => {
            let words = words(&draft.config.config, command);
            draft.note(format!("ENTRYPOINT {}", quoted(&words)));
            draft.config.config.entrypoint = Some(words);
            // The command that came with the old one is not meant for the new one.
            if !draft.has_cmd {
                draft.config.config.cmd = None;
            }
        }
        Instruction::Env(pairs) => environment(draft, lexis, pairs)?,
        Instruction::Label(pairs) => label(draft, lexis, pairs)?,
        Instruction::Expose(words) => expose(draft, lexis, words)?,
        Instruction::Healthcheck(check) => {
            let check = health(check)?;
            draft.note(format!("HEALTHCHECK {}", shown(&check)));
            draft.config.config.healthcheck = Some(check);
        }
        Instruction::Maintainer(name) => {
            name.clone_into(&mut draft.config.author);
            draft.note(format!("MAINTAINER {name}"));
        }
        // As BuildKit has it, that stands in no history.
        Instruction::OnBuild(text) => draft.config.config.on_build.push(text.clone()),
        Instruction::Shell(words) => {
            draft.note(format!("SHELL [{}]", words.join(" ")));
            draft.config.config.shell = words.clone();
        }
        Instruction::StopSignal(word) => {
            stop_signal(draft, scope.expand(word)?)?;
        }
        Instruction::User(word) => {
            let user = scope.expand(word)?;
            draft.note(format!("USER {user}"));
            draft.config.config.user = user;
        }
        Instruction::Volume(words) => {
            let expanded = words.iter().map(|word| scope.expand(word));
            volumes(draft, expanded.collect::<Result<_>>()?)?;
        }
        Instruction::Add(_)
        | Instruction::Copy(_)
        | Instruction::Run(_)
        | Instruction::Workdir(_) => {
            return Ok(false);
        }
    }
    Ok(true)
}

fn stop_signal(draft: &mut Draft, signal: String) -> Result<()> {
    if signal_number(&signal).is_none() {
        let error = bad_input(format!("invalid signal: {signal}"));
        return Err(error.hint("as in SIGTERM, or a number from 1 to 64").into());
    }
    draft.note(format!("STOPSIGNAL {signal}"));
    draft.config.config.stop_signal = signal;
    Ok(())
}

fn volumes(draft: &mut Draft, volumes: Vec<String>) -> Result<()> {
    if volumes.iter().any(|volume| volume.trim().is_empty()) {
        return Err(bad_input("VOLUME specified can not be an empty string").into());
    }
    draft.note(format!("VOLUME [{}]", volumes.join(" ")));
    draft.config.config.volumes.extend(volumes);
    Ok(())
}

fn argument(
    draft: &mut Draft,
    globals: &Globals,
    lexis: Lexis<'_>,
    arguments: &[Argument],
) -> Result<()> {
    let mut shown = Vec::new();
    for argument in arguments {
        let default = argument.default.as_deref();
        // One of an `ARG` may name those before it.
        let scope = lexis.scope(&draft.variables);
        let default = default.map(|default| scope.expand(default)).transpose()?;
        let name = &argument.name;
        let value = globals.argument(name, default);
        shown.push(match &value {
            Some(value) => format!("{name}={value}"),
            None => name.clone(),
        });
        if let Some(value) = &value {
            draft.variables.set(name, value);
        }
        draft.arguments.retain(|(known, _)| known != name);
        draft.arguments.push((name.clone(), value));
    }
    draft.note(format!("ARG {}", shown.join(" ")));
    Ok(())
}

/// Names and values, all with what was set before.
fn expanded(
    scope: &Scope<'_>,
    verb: &str,
    pairs: &[(String, String)],
) -> Result<Vec<(String, String)>> {
    let expand = |(name, value): &(String, String)| match scope.expand(name)? {
        name if name.is_empty() => Err(bad_input(format!("{verb} names can not be blank")).into()),
        name => Ok((name, scope.expand(value)?)),
    };
    pairs.iter().map(expand).collect()
}

fn environment(draft: &mut Draft, lexis: Lexis<'_>, pairs: &[(String, String)]) -> Result<()> {
    let mut text = "ENV".to_owned();
    for (name, value) in expanded(&lexis.scope(&draft.variables), "ENV", pairs)? {
        let _ = write!(text, " {name}={value}");
        draft.set_environment(&name, &value);
    }
    draft.note(text);
    Ok(())
}

fn label(draft: &mut Draft, lexis: Lexis<'_>, pairs: &[(String, String)]) -> Result<()> {
    let mut text = "LABEL".to_owned();
    for (name, value) in expanded(&lexis.scope(&draft.variables), "LABEL", pairs)? {
        let _ = write!(text, " {name}={value}");
        draft.config.config.labels.insert(name, value);
    }
    draft.note(text);
    Ok(())
}

fn expose(draft: &mut Draft, lexis: Lexis<'_>, words: &[String]) -> Result<()> {
    let scope = lexis.scope(&draft.variables);
    let mut found = std::collections::BTreeSet::new();
    for word in words {
        for port in scope.words(word)? {
            // An address and a port of the host before it are warned of, and have never meant anything.
            let container = port.rsplit_once(':').map_or(&*port, |(_, port)| port);
            found.extend(ports(container)?);
        }
    }
    let shown: Vec<String> = found.iter().map(|port| format!("{port}:{{}}")).collect();
    draft.note(format!("EXPOSE map[{}]", shown.join(" ")));
    draft.config.config.exposed_ports.extend(found);
    Ok(())
}

/// The words of a command; the shell form is given to the shell.
pub fn words(execution: &Execution, command: &Command) -> Vec<String> {
    match command {
        Command::Exec(words) => words.clone(),
        Command::Shell(line) => {
            let mut words = shell(execution);
            words.push(line.clone());
            words
        }
    }
}

fn shell(execution: &Execution) -> Vec<String> {
    match execution.shell.is_empty() {
        true => SHELL.map(str::to_owned).to_vec(),
        false => execution.shell.clone(),
    }
}

/// Words as Go's `%q` writes a list of them.
pub fn quoted(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| quote(word)).collect();
    format!("[{}]", quoted.join(" "))
}

fn quote(word: &str) -> String {
    let mut text = "\"".to_owned();
    for character in word.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\r' => text.push_str("\\r"),
            character if (character as u32) < 0x20 || character == '\u{7f}' => {
                let _ = write!(text, "\\x{:02x}", character as u32);
            }
            character => text.push(character),
        }
    }
    text.push('"');
    text
}

fn health(check: &Healthcheck) -> Result<config::Healthcheck> {
    let Healthcheck::Check {
        command,
        interval,
        timeout,
        start_period,
        start_interval,
        retries,
    } = check
    else {
        return Ok(config::Healthcheck {
            test: vec!["NONE".to_owned()],
            ..config::Healthcheck::default()
        });
    };
    let test = match command {
        Command::Exec(words) => std::iter::once("CMD".to_owned())
            .chain(words.clone())
            .collect(),
        Command::Shell(line) => vec!["CMD-SHELL".to_owned(), line.clone()],
    };
    let nanoseconds = |name: &str, text: &Option<String>| match text {
        Some(text) => time(name, text),
        None => Ok(0),
    };
    Ok(config::Healthcheck {
        test,
        interval: nanoseconds("interval", interval)?,
        timeout: nanoseconds("timeout", timeout)?,
        start_period: nanoseconds("start-period", start_period)?,
        start_interval: nanoseconds("start-interval", start_interval)?,
        retries: match retries {
            Some(text) => text
                .parse()
                .map_err(|_| bad_input(format!("--retries is `{text}`, expected a number")))?,
            None => 0,
        },
    })
}

fn time(name: &str, text: &str) -> Result<i64> {
    let wrong = || {
        bad_input(format!(
            "--{name} is `{text}`, expected a duration such as 30s, at least 1ms"
        ))
    };
    match duration::parse(text) {
        Ok(nanoseconds) if nanoseconds == 0 || nanoseconds >= 1_000_000 => Ok(nanoseconds),
        _ => Err(wrong().into()),
    }
}

/// As Go's `%q` writes the structure.
fn shown(check: &config::Healthcheck) -> String {
    let times = [
        check.interval,
        check.timeout,
        check.start_period,
        check.start_interval,
    ];
    let times: Vec<String> = times
        .iter()
        .map(|&time| format!("\"{}\"", duration::format(time)))
        .collect();
    let retries = u8::try_from(check.retries).unwrap_or(u8::MAX);
    let retries = match retries {
        0x20..0x7f => format!("'{}'", char::from(retries)),
        other => format!("'\\x{other:02x}'"),
    };
    format!("&{{{} {} {retries}}}", quoted(&check.test), times.join(" "))
}
