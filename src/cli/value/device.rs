//! Devices: `--device`, `--device-cgroup-rule`, `--gpus`. Nothing of the host is looked at.

use super::comma_separated::fields;
use super::mount_point::cleaned;
use crate::container::cdi;
use crate::container::options::{DeviceMapping, DeviceRequest};
use std::collections::{BTreeMap, BTreeSet};

/// What `--device` may name.
#[derive(Clone, Debug)]
pub enum Device {
    /// `host[:container[:rwm]]`.
    Mapping(DeviceMapping),
    /// `vendor.com/class=name`.
    Qualified(String),
}

/// One `--device`.
pub fn device(text: &str) -> Result<Device, String> {
    if cdi::is_qualified(text) {
        return Ok(Device::Qualified(text.to_owned()));
    }
    let bad_format = || format!("bad format for path: {text}");
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, access) = match parts[..] {
        ["", ..] => return Err(bad_format()),
        [host] => (host, host, "rwm"),
        [host, access] if is_access(access) => (host, host, access),
        [host, container] => (host, container, "rwm"),
        [_, _, access] if !is_access(access) => {
            return Err(format!("bad mode specified: {access}"));
        }
        [host, container, access] => (host, container, access),
        _ => return Err(bad_format()),
    };
    if !container.starts_with('/') {
        return Err(format!("{container} is not an absolute path"));
    }
    Ok(Device::Mapping(DeviceMapping {
        host: host.into(),
        container: cleaned(container).into(),
        access: access.to_owned(),
    }))
}

/// Some of `rwm`, none twice.
fn is_access(text: &str) -> bool {
    let letters: BTreeSet<char> = text.chars().collect();
    !text.is_empty()
        && letters.len() == text.len()
        && letters.iter().all(|letter| "rwm".contains(*letter))
}

/// One `--device-cgroup-rule`: `TYPE MAJOR:MINOR ACCESS`.
pub fn rule(text: &str) -> Result<String, String> {
    let is_number = |number: &str| {
        number == "*" || !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    let fits = match text.split(' ').collect::<Vec<_>>()[..] {
        [kind, numbers, access] => {
            let numbers = numbers.split_once(':');
            ["a", "b", "c"].contains(&kind)
                && numbers.is_some_and(|(major, minor)| is_number(major) && is_number(minor))
                && (1..=3).contains(&access.len())
                && access.chars().all(|letter| "rwm".contains(letter))
        }
        _ => false,
    };
    fits.then(|| text.to_owned())
        .ok_or_else(|| format!("invalid device cgroup format '{text}'"))
}

/// One `--gpus`: `all`, a number, or `key=value,…`.
pub fn gpus(text: &str) -> Result<DeviceRequest, String> {
    let mut request = DeviceRequest::default();
    let mut seen = BTreeSet::new();
    for field in fields(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (field.as_str(), None),
        };
        if !seen.insert(key.to_owned()) {
            return Err(format!(
                "gpu request key '{key}' can be specified only once"
            ));
        }
        let words = |value: &str| value.split(',').map(str::to_owned).collect::<Vec<_>>();
        match (key, value) {
            (count, None) | ("count", Some(count)) => {
                seen.insert("count".to_owned());
                request.count = gpu_count(count)?;
            }
            ("driver", Some(value)) => value.clone_into(&mut request.driver),
            ("device", Some(value)) => request.device_ids = words(value),
            ("capabilities", Some(value)) => {
                let mut set = words(value);
                set.push("gpu".to_owned());
                request.capabilities = vec![set];
            }
            ("options", Some(value)) => request.options = options(value)?,
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    if !seen.contains("count") && request.device_ids.is_empty() {
        request.count = 1;
    }
    if request.capabilities.is_empty() {
        request.capabilities = vec![vec!["gpu".to_owned()]];
    }
    Ok(request)
}

fn options(text: &str) -> Result<BTreeMap<String, String>, String> {
    let option = |field: &String| {
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        (key.to_owned(), value.to_owned())
    };
    Ok(fields(text)?.iter().map(option).collect())
}

fn gpu_count(text: &str) -> Result<i64, String> {
    if text == "all" {
        return Ok(-1);
    }
    super::integer(text).map_err(|error| {
        let why = error.rsplit(": ").next().unwrap_or_default();
        format!("invalid count ({text}): value must be either \"all\" or an integer: {why}")
    })
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::*;

    #[test]
    fn devices() {
        let shown = |text: &str| {
            device(text).map(|found| match found {
                Device::Mapping(mapping) => format!(
                    "{} {} {}",
                    mapping.host.display(),
                    mapping.container.display(),
                    mapping.access
                ),
                Device::Qualified(name) => name,
            })
        };
        check(
            shown,
            &[
                ("/dev/fuse", r#""/dev/fuse /dev/fuse rwm""#),
                ("/dev/fuse:r", r#""/dev/fuse /dev/fuse r""#),
                ("/dev/fuse:/dev/x/../y", r#""/dev/fuse /dev/y rwm""#),
                ("/dev/fuse:/dev/y:rw", r#""/dev/fuse /dev/y rw""#),
                ("/dev/a=b", r#""/dev/a=b /dev/a=b rwm""#),
                ("vendor.com/class=name", r#""vendor.com/class=name""#),
                ("vendor.com/class=a:b", r#""vendor.com/class=a:b""#),
                ("", "! bad format for path: "),
                (":/dev/x", "! bad format for path: :/dev/x"),
                ("/a:/b:r:w", "! bad format for path: /a:/b:r:w"),
                ("/a:/b:x", "! bad mode specified: x"),
                ("/a:/b:rr", "! bad mode specified: rr"),
                ("/a:/b:", "! bad mode specified: "),
                ("/a:b", "! b is not an absolute path"),
                ("dev/fuse", "! dev/fuse is not an absolute path"),
            ],
        );
    }

    #[test]
    fn rules() {
        check(
            rule,
            &[
                ("c 10:200 rwm", r#""c 10:200 rwm""#),
                ("a *:* m", r#""a *:* m""#),
                ("b 8:* rr", r#""b 8:* rr""#),
                ("d 1:3 r", "! invalid device cgroup format 'd 1:3 r'"),
                ("c 1:3", "! invalid device cgroup format 'c 1:3'"),
                ("c 1 r", "! invalid device cgroup format 'c 1 r'"),
                ("c -1:3 r", "! invalid device cgroup format 'c -1:3 r'"),
                ("c 1:3 rwmr", "! invalid device cgroup format 'c 1:3 rwmr'"),
                ("c 1:3 x", "! invalid device cgroup format 'c 1:3 x'"),
                ("", "! invalid device cgroup format ''"),
            ],
        );
    }

    #[test]
    fn gpu_requests() {
        let shown = |text: &str| {
            gpus(text).map(|request| {
                format!(
                    "{} {} {:?} {:?} {:?}",
                    request.driver,
                    request.count,
                    request.device_ids,
                    request.capabilities,
                    request.options
                )
            })
        };
        for (text, expected) in [
            ("all", r#" -1 [] [["gpu"]] {}"#),
            ("2", r#" 2 [] [["gpu"]] {}"#),
            ("driver=amd", r#"amd 1 [] [["gpu"]] {}"#),
            ("\"device=0,GPU-1\"", r#" 0 ["0", "GPU-1"] [["gpu"]] {}"#),
            (
                "all,\"capabilities=utility,compute\"",
                r#" -1 [] [["utility", "compute", "gpu"]] {}"#,
            ),
            ("count=all,options=a=b", r#" -1 [] [["gpu"]] {"a": "b"}"#),
        ] {
            assert_eq!(shown(text).unwrap(), expected, "{text}");
        }
        for (text, message) in [
            (
                "many",
                "invalid count (many): value must be either \"all\" or an integer: invalid syntax",
            ),
            (
                "driver=a,driver=b",
                "gpu request key 'driver' can be specified only once",
            ),
            ("x=1", "unexpected key 'x' in 'x=1'"),
            ("device=\"0\"", "bare \" in non-quoted field: device=\"0\""),
        ] {
            assert_eq!(shown(text).unwrap_err(), message, "{text}");
        }
    }
}
