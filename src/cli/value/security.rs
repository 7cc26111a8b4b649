//! What a container may do: capabilities, `--security-opt`, resource limits, kernel parameters.

use super::integer;
use crate::container::options::{Seccomp, Security, Ulimit};
use crate::error::bad_input;
use crate::runtime::namespaces::IPC_PARAMETERS;
use anyhow::Result;
use std::path::Path;
use std::str::FromStr;

/// Names of resource limits without `RLIMIT_` (getrlimit(2)).
const LIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// `CAP_NET_ADMIN` for `net_admin`, `NET_ADMIN` or `CAP_NET_ADMIN`; `ALL` stays.
pub fn capability(text: &str) -> Result<String, String> {
    let upper = text.to_ascii_uppercase();
    if upper == "ALL" {
        return Ok(upper);
    }
    let name = if upper.starts_with("CAP_") {
        upper
    } else {
        format!("CAP_{upper}")
    };
    match caps::Capability::from_str(&name) {
        Ok(_) => Ok(name),
        Err(_) => Err(format!("unknown capability: {text:?}")),
    }
}

/// `name=soft[:hard]`; -1 is unlimited.
pub fn ulimit(text: &str) -> Result<Ulimit, String> {
    let (name, values) = text
        .split_once('=')
        .ok_or_else(|| format!("invalid ulimit argument: {text}"))?;
    if !LIMITS.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let (soft, hard) = match values.split(':').collect::<Vec<_>>()[..] {
        [both] => (integer(both)?, integer(both)?),
        [soft, hard] => (integer(soft)?, integer(hard)?),
        _ => {
            let limit = "can only have up to two, `soft[:hard]`";
            return Err(format!(
                "too many limit value arguments - {values}, {limit}"
            ));
        }
    };
    let order = "ulimit soft limit must be less than or equal to hard limit";
    match (soft, hard) {
        (..=-2, _) | (_, ..=-2) => Err(format!("invalid ulimit argument: {text}")),
        (-1, 0..) => Err(format!("{order}: soft: -1 (unlimited), hard: {hard}")),
        (_, 0..) if soft > hard => Err(format!("{order}: {soft} > {hard}")),
        _ => Ok(Ulimit {
            name: name.to_owned(),
            soft,
            hard,
        }),
    }
}

/// `name=value` for a kernel parameter that has a namespace.
pub fn kernel_parameter(text: &str) -> Result<(String, String), String> {
    let refused = || format!("sysctl '{text}' is not allowed");
    let (name, value) = text.split_once('=').ok_or_else(refused)?;
    let namespaced = IPC_PARAMETERS.contains(&name)
        || name.starts_with("net.")
        || name.starts_with("fs.mqueue.");
    let safe = !name.contains("..") && !name.contains(char::is_whitespace);
    (namespaced && safe)
        .then(|| (name.to_owned(), value.to_owned()))
        .ok_or_else(refused)
}

/// All `--security-opt` values together.
pub fn security(values: &[String]) -> Result<Security> {
    let mut security = Security::default();
    for value in values {
        let (key, setting) = value
            .split_once('=')
            .or_else(|| value.split_once(':'))
            .unwrap_or((value, ""));
        let invalid = || bad_input(format!("invalid --security-opt: {value:?}"));
        match (key, setting) {
            ("no-new-privileges", "" | "true") => security.no_new_privileges = true,
            ("no-new-privileges", "false") => security.no_new_privileges = false,
            ("seccomp", "unconfined") => security.seccomp = Seccomp::Unconfined,
            ("seccomp", "builtin") => security.seccomp = Seccomp::Default,
            ("seccomp", file) if !file.is_empty() => {
                security.seccomp = Seccomp::Policy(policy(Path::new(file))?)
            }
            ("apparmor", profile) if !profile.is_empty() => {
                security.apparmor = Some(profile.to_owned())
            }
            ("label", label) if !label.is_empty() => security.label.push(selinux_option(label)?),
            ("systempaths", "unconfined") => security.system_paths_unconfined = true,
            ("mask", paths) if !paths.is_empty() => security.mask.extend(mask_paths(paths)?),
            ("unmask", paths) if !paths.is_empty() => {
                security.unmask.extend(paths.split(':').map(str::to_owned))
            }
            _ => {
                let known = "no-new-privileges, seccomp=FILE|builtin|unconfined, apparmor=PROFILE, label=…, \
                             systempaths=unconfined, mask=PATH:…, unmask=ALL|PATH:…";
                return Err(invalid().hint(known).into());
            }
        }
    }
    Ok(security)
}

/// What `label=` may say (docker run, "Security configuration"; podman has `nested` and `filetype` too).
fn selinux_option(text: &str) -> Result<String> {
    const KEYS: [&str; 5] = ["user", "role", "type", "level", "filetype"];
    let pair = text.split_once(':');
    let known = |(key, value): (&str, &str)| KEYS.contains(&key) && !value.is_empty();
    match ["disable", "nested"].contains(&text) || pair.is_some_and(known) {
        true => Ok(text.to_owned()),
        false => Err(bad_input(format!(
            "bad label option {text:?}, valid options 'disable, nested' or 'user, role, level, type, filetype' \
             followed by ':' and a value"
        ))
        .into()),
    }
}

fn mask_paths(text: &str) -> Result<Vec<String>> {
    let paths: Vec<String> = text.split(':').map(str::to_owned).collect();
    match paths.iter().find(|path| !path.starts_with('/')) {
        None => Ok(paths),
        Some(path) => Err(bad_input(format!(
            "--security-opt mask: {path:?} is not an absolute path"
        ))
        .into()),
    }
}

/// A seccomp policy from a file; what it means is checked where it is compiled. The messages begin as Docker's.
fn policy(path: &Path) -> Result<String> {
    let name = path.display();
    let content = super::read_file(path).map_err(|error| {
        bad_input(format!(
            "opening seccomp profile ({name}) failed: {error:#}"
        ))
        .hint("seccomp=builtin is the default policy, seccomp=unconfined none")
    })?;
    let failed = |error: &dyn std::fmt::Display| {
        bad_input(format!("decoding seccomp profile ({name}) failed: {error}"))
    };
    let text = String::from_utf8(content).map_err(|error| failed(&error))?;
    serde_json::from_str::<serde::de::IgnoredAny>(&text).map_err(|error| failed(&error))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::*;

    #[test]
    fn limits() {
        check(
            |text| ulimit(text).map(|limit| (limit.name, limit.soft, limit.hard)),
            &[
                ("nofile=1024:2048", r#"("nofile", 1024, 2048)"#),
                ("core=0", r#"("core", 0, 0)"#),
                ("memlock=-1:-1", r#"("memlock", -1, -1)"#),
                ("memlock=5:-1", r#"("memlock", 5, -1)"#),
                ("nofile", "! invalid ulimit argument: nofile"),
                ("=5", "! invalid ulimit type: "),
                ("files=5", "! invalid ulimit type: files"),
                (
                    "nofile=",
                    r#"! strconv.ParseInt: parsing "": invalid syntax"#,
                ),
                (
                    "nofile=5:3",
                    "! ulimit soft limit must be less than or equal to hard limit: 5 > 3",
                ),
                (
                    "nofile=-1:5",
                    "! ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), hard: 5",
                ),
                (
                    "nofile=1:2:3",
                    "! too many limit value arguments - 1:2:3, can only have up to two, `soft[:hard]`",
                ),
                ("nofile=-7", "! invalid ulimit argument: nofile=-7"),
            ],
        );
    }

    #[test]
    fn security_options() {
        let parse =
            |values: &[&str]| security(&values.iter().map(ToString::to_string).collect::<Vec<_>>());
        let found = parse(&[
            "no-new-privileges",
            "seccomp=unconfined",
            "label:disable",
            "systempaths=unconfined",
            "mask=/a:/b",
            "unmask=ALL",
            "label=type:x_t",
        ])
        .unwrap();
        assert!(found.no_new_privileges && found.system_paths_unconfined);
        assert!(matches!(found.seccomp, Seccomp::Unconfined));
        assert_eq!(found.label, ["disable", "type:x_t"]);
        assert_eq!(
            (found.mask, found.unmask),
            (vec!["/a".into(), "/b".into()], vec!["ALL".into()])
        );
        for (value, message) in [
            ("foo", "invalid --security-opt: \"foo\""),
            ("seccomp", "invalid --security-opt: \"seccomp\""),
            (
                "label=colour:red",
                "bad label option \"colour:red\", valid options 'disable, nested' or 'user, role, level, type, \
                 filetype' followed by ':' and a value",
            ),
            (
                "mask=proc",
                "--security-opt mask: \"proc\" is not an absolute path",
            ),
            (
                "seccomp=/nonexistent",
                "opening seccomp profile (/nonexistent) failed: open `/nonexistent`: No such file or directory (os error 2)",
            ),
            (
                "seccomp=/proc/self/status",
                "decoding seccomp profile (/proc/self/status) failed: expected value at line 1 column 1",
            ),
        ] {
            assert_eq!(parse(&[value]).unwrap_err().to_string(), message);
        }
    }
}
