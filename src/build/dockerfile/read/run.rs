//! `RUN` and `HEALTHCHECK`: commands with flags.

use super::super::flag::{Flags, Kind};
use super::super::instruction::{Healthcheck, Run};
use super::super::nearest::nearest;
use super::super::part::Fault;
use super::{Input, mount, usage};
use crate::duration;

/// In nanoseconds.
const MILLISECOND: i64 = 1_000_000;

/// `RUN`.
pub fn run(input: &mut Input<'_>) -> Result<Run, Fault> {
    let flags = input.flags(&[
        ("mount", Kind::List),
        ("network", Kind::Text),
        ("security", Kind::Text),
        ("device", Kind::List),
    ])?;
    let mut mounts = Vec::new();
    for (text, range) in flags.list("mount") {
        mounts.push(mount::mount(text, range)?);
    }
    Ok(Run {
        mounts,
        network: choice(&flags, "network", &["default", "none", "host"])?,
        security: choice(&flags, "security", &["sandbox", "insecure"])?,
        devices: flags
            .list("device")
            .map(|(value, _)| value.to_owned())
            .collect(),
        command: input.command()?,
        heredocs: input.heredocs.to_vec(),
    })
}

/// A flag that takes one of a few words.
fn choice(flags: &Flags, name: &str, known: &[&'static str]) -> Result<Option<String>, Fault> {
    let Some((value, range)) = flags.located(name) else {
        return Ok(None);
    };
    if known.contains(&value) {
        return Ok(Some(value.to_owned()));
    }
    let near = nearest(value, known.iter().copied());
    let near = near
        .map(|near| format!(" (did you mean {near}?)"))
        .unwrap_or_default();
    Err(Fault {
        range,
        message: format!("{name} \"{value}\" is not supported{near}"),
        hint: format!("expected one of {}", known.join(", ")),
    })
}

/// `HEALTHCHECK`.
pub fn healthcheck(input: &mut Input<'_>) -> Result<Healthcheck, Fault> {
    const TIMES: [&str; 4] = ["interval", "timeout", "start-period", "start-interval"];
    let mut known: Vec<(&'static str, Kind)> = TIMES.map(|name| (name, Kind::Text)).to_vec();
    known.push(("retries", Kind::Text));
    let flags = input.flags(&known)?;
    for name in TIMES {
        time(&flags, name)?;
    }
    retries(&flags)?;
    let (kind, rest) = input.at_least_one()?.first_word();
    match kind.text.to_ascii_uppercase().as_str() {
        "NONE" if !rest.text.is_empty() => Err(rest.fault(
            "HEALTHCHECK NONE takes no arguments",
            "expected nothing behind NONE",
        )),
        "NONE" => Ok(Healthcheck::None),
        "CMD" => {
            if rest.text.is_empty() {
                return Err(kind.fault(
                    "Missing command after HEALTHCHECK CMD",
                    format!("expected {}", usage("HEALTHCHECK")),
                ));
            }
            input.rest = rest;
            Ok(Healthcheck::Check {
                command: input.command()?,
                interval: flags.text("interval"),
                timeout: flags.text("timeout"),
                start_period: flags.text("start-period"),
                start_interval: flags.text("start-interval"),
                retries: flags.text("retries"),
            })
        }
        _ => Err(kind.fault(
            format!("Unknown type \"{}\" in HEALTHCHECK (try CMD)", kind.text),
            format!("expected {}", usage("HEALTHCHECK")),
        )),
    }
}

/// A time is none, or at least a millisecond.
fn time(flags: &Flags, name: &str) -> Result<(), Fault> {
    let Some((value, range)) = flags.located(name) else {
        return Ok(());
    };
    let fault = |message: String| Fault {
        range: range.clone(),
        message,
        hint: "expected a duration, as 30s, 1m30s or 500ms".to_owned(),
    };
    if value.is_empty() {
        return Ok(());
    }
    match duration::parse(value) {
        Err(_) => Err(fault(format!("invalid duration \"{value}\" of --{name}"))),
        Ok(time) if time != 0 && time < MILLISECOND => Err(fault(format!(
            "Interval \"{name}\" cannot be less than 1ms"
        ))),
        Ok(_) => Ok(()),
    }
}

fn retries(flags: &Flags) -> Result<(), Fault> {
    match flags.located("retries") {
        Some((value, range))
            if !value.is_empty() && value.parse::<i32>().map_or(true, |number| number < 0) =>
        {
            Err(Fault {
                range,
                message: format!("--retries must be a number that is at least 0 (not {value})"),
                hint: "expected --retries=3, for example".to_owned(),
            })
        }
        _ => Ok(()),
    }
}
