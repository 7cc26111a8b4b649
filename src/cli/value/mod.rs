//! Values of options: what is allowed, and Docker's words for what is not.
//!
//! Functions from text to plain values. Those that clap calls answer with a message without subject, since the
//! option is named around it. Files are read here (`--env-file`, `--label-file`, `seccomp=FILE`); nothing else
//! of the host is touched.

pub mod comma_separated;
pub mod device;
pub mod egress;
pub mod environment;
pub mod mount;
pub mod mount_point;
pub mod network;
pub mod network_request;
pub mod publish;
pub mod resources;
pub mod security;
pub mod time;
pub mod tmpfs;
pub mod volume;

use super::output::size;
use crate::cgroup::placement::Manager;
use crate::container::options::RestartPolicy;
use crate::error::bad_input;
use crate::sys::process::signal_number;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

/// A whole number as Go reads it.
pub fn integer(text: &str) -> Result<i64, String> {
    i64::from_str(text.strip_prefix('+').unwrap_or(text)).map_err(|error| {
        let out_of_range = matches!(
            error.kind(),
            std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow
        );
        let why = if out_of_range {
            "value out of range"
        } else {
            "invalid syntax"
        };
        format!("strconv.ParseInt: parsing {text:?}: {why}")
    })
}

/// `30s`, `1m30s`: nanoseconds.
pub fn duration(text: &str) -> Result<i64, String> {
    crate::duration::parse(text).map_err(|error| error.message)
}

/// `64m`, `1.5g`: bytes, none negative.
pub fn bytes(text: &str) -> Result<u64, String> {
    let bytes = size::parse_binary(text).map_err(|error| error.message)?;
    u64::try_from(bytes).map_err(|_| format!("invalid size: '{text}'"))
}

/// A signal by name, with or without `SIG`, or by number.
pub fn signal(text: &str) -> Result<String, String> {
    match signal_number(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err(format!("invalid signal: {text}")),
    }
}

/// A stream that `--attach` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard input.
    In,
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// `stdin`, `stdout`, `stderr`, in any case.
pub fn stream(text: &str) -> Result<Stream, String> {
    match text.to_ascii_lowercase().as_str() {
        "stdin" => Ok(Stream::In),
        "stdout" => Ok(Stream::Out),
        "stderr" => Ok(Stream::Err),
        _ => Err("valid streams are STDIN, STDOUT and STDERR".to_owned()),
    }
}

/// `systemd`, `cgroupfs`.
pub fn cgroup_manager(text: &str) -> Result<Manager, String> {
    Manager::from_word(text)
        .ok_or_else(|| format!("'{text}' is neither \"systemd\" nor \"cgroupfs\""))
}

/// `enabled`, `disabled`: whether there is to be a control group.
pub fn cgroups(text: &str) -> Result<bool, String> {
    match text {
        "enabled" => Ok(true),
        "disabled" => Ok(false),
        _ => Err(format!("'{text}' is neither \"enabled\" nor \"disabled\"")),
    }
}

/// When to look for an image elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pull {
    /// Even when there is one here.
    Always,
    /// When there is none here.
    #[default]
    Missing,
    /// Never.
    Never,
    /// When there is another one elsewhere.
    Newer,
}

/// `always`, `missing`, `newer`, `never`.
pub fn pull(text: &str) -> Result<Pull, String> {
    match text {
        "always" => Ok(Pull::Always),
        "missing" | "" => Ok(Pull::Missing),
        "never" => Ok(Pull::Never),
        "newer" => Ok(Pull::Newer),
        _ => Err(format!(
            "invalid pull option: '{text}': must be one of \"always\", \"missing\", \"newer\" or \"never\""
        )),
    }
}

/// `no`, `on-failure[:n]`, `always`, `unless-stopped`.
pub fn restart_policy(text: &str) -> Result<RestartPolicy, String> {
    let invalid = |why: &str| Err(format!("invalid restart policy: {why}"));
    let (name, maximum) = match text.split_once(':') {
        Some(("", _)) => return invalid("no policy provided before colon"),
        Some((name, maximum)) => match maximum.parse::<i64>() {
            Err(_) => return invalid("maximum retry count must be an integer"),
            Ok(..0) => return invalid("maximum retry count cannot be negative"),
            Ok(maximum) => (name, Some(u32::try_from(maximum).unwrap_or(u32::MAX))),
        },
        None => (text, None),
    };
    match (name, maximum) {
        ("on-failure", maximum) => Ok(RestartPolicy::OnFailure {
            maximum: maximum.unwrap_or(0),
        }),
        ("" | "no" | "always" | "unless-stopped", Some(1..)) => {
            invalid("maximum retry count can only be used with 'on-failure'")
        }
        ("" | "no", _) => Ok(RestartPolicy::No),
        ("always", _) => Ok(RestartPolicy::Always),
        ("unless-stopped", _) => Ok(RestartPolicy::UnlessStopped),
        _ => invalid(&format!(
            "unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )),
    }
}

/// The keys by which one leaves an attached container, as Docker's.
pub const DETACH_KEYS: &str = "ctrl-p,ctrl-q";

/// The bytes that leave an attached container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetachKeys(pub Vec<u8>);

/// Letters and `ctrl-X`, separated by commas; empty: no such keys.
pub fn detach_keys(text: &str) -> Result<DetachKeys, String> {
    let key = |word: &str| match word.strip_prefix("ctrl-").unwrap_or(word).as_bytes() {
        [letter @ (b'a'..=b'z' | b'@' | b'['..=b'_')] if word.len() > 1 => Ok(letter & 0x1f),
        [letter] if word.len() == 1 && letter.is_ascii() => Ok(*letter),
        _ => Err(format!(
            "invalid detach keys ({text}): unknown character: '{word}'"
        )),
    };
    let words = text.split(',').filter(|_| !text.is_empty());
    words.map(key).collect::<Result<_, _>>().map(DetachKeys)
}

/// A file that an option names. Nothing of the kind is larger than 8 MiB, and a device has no end.
pub fn read_file(path: &Path) -> Result<Vec<u8>> {
    const LIMIT: u64 = 8 << 20;
    let file = File::open(path).with_context(|| format!("open `{}`", path.display()))?;
    let mut content = Vec::new();
    file.take(LIMIT + 1)
        .read_to_end(&mut content)
        .with_context(|| format!("read `{}`", path.display()))?;
    match content.len() as u64 {
        ..=LIMIT => Ok(content),
        _ => Err(bad_input(format!("`{}` is larger than 8 MiB", path.display())).into()),
    }
}

/// Compares parsed values, or messages with `! ` before them, with what is expected.
#[cfg(test)]
fn check<T: std::fmt::Debug>(parse: fn(&str) -> Result<T, String>, cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        let answer = match parse(text) {
            Ok(value) => format!("{value:?}"),
            Err(message) => format!("! {message}"),
        };
        assert_eq!(answer, *expected, "{text:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::security::{capability, kernel_parameter};
    use super::*;

    #[test]
    fn restart_policies() {
        check(
            restart_policy,
            &[
                ("no", "No"),
                ("", "No"),
                ("always", "Always"),
                ("always:0", "Always"),
                ("unless-stopped", "UnlessStopped"),
                ("on-failure", "OnFailure { maximum: 0 }"),
                ("on-failure:3", "OnFailure { maximum: 3 }"),
                (
                    "on-failure:x",
                    "! invalid restart policy: maximum retry count must be an integer",
                ),
                (
                    "on-failure:-1",
                    "! invalid restart policy: maximum retry count cannot be negative",
                ),
                (
                    "always:2",
                    "! invalid restart policy: maximum retry count can only be used with 'on-failure'",
                ),
                (
                    ":2",
                    "! invalid restart policy: no policy provided before colon",
                ),
                (
                    "often",
                    "! invalid restart policy: unknown policy 'often'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
                ),
            ],
        );
    }

    #[test]
    fn numbers_and_names() {
        check(
            bytes,
            &[
                ("64m", "67108864"),
                ("1.5k", "1536"),
                ("-5", "! invalid size: '-5'"),
            ],
        );
        let range = "! strconv.ParseInt: parsing \"99999999999999999999\": value out of range";
        check(integer, &[("-1", "-1"), ("99999999999999999999", range)]);
        check(
            signal,
            &[
                ("TERM", r#""TERM""#),
                ("9", r#""9""#),
                ("SIGFOO", "! invalid signal: SIGFOO"),
            ],
        );
        check(
            capability,
            &[
                ("net_admin", r#""CAP_NET_ADMIN""#),
                ("CAP_CHOWN", r#""CAP_CHOWN""#),
                ("all", r#""ALL""#),
                ("foo", r#"! unknown capability: "foo""#),
            ],
        );
        check(
            kernel_parameter,
            &[
                ("net.ipv4.ip_forward=1", r#"("net.ipv4.ip_forward", "1")"#),
                ("kernel.msgmax=5", r#"("kernel.msgmax", "5")"#),
                ("kernel.panic=5", "! sysctl 'kernel.panic=5' is not allowed"),
                ("net.foo", "! sysctl 'net.foo' is not allowed"),
                (
                    "net.../../kernel.panic=1",
                    "! sysctl 'net.../../kernel.panic=1' is not allowed",
                ),
            ],
        );
    }
}
