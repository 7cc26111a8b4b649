//! Annotations that make the runtime do something: those of crun (crun(1), "EXTENSIONS"), and runc's properties of a systemd
//! scope. What does not begin as these do is only kept (config.md, "Annotations").
//!
//! | annotation | what comes of it |
//! |---|---|
//! | `org.systemd.property.NAME` | a property of the scope |
//! | `run.oci.hooks.stdout`, `run.oci.hooks.stderr` | hooks append to that file |
//! | `run.oci.keep_original_groups` | the program keeps the groups of the caller |
//! | `run.oci.mount_context_type` | which of the contexts of a mount `mountLabel` is |
//! | `run.oci.pidfd_receiver` | a pidfd of the first process goes to that socket |
//! | `run.oci.seccomp.receiver` | `listenerPath` where there is none |
//! | `run.oci.seccomp_fail_unknown_syscall` | system calls without a number are an error |
//! | `run.oci.systemd.subgroup` | the name of the group in the scope |
//! | `run.oci.timens_offset` | offsets of a new time namespace |
//! | [`REFUSED`] | refused |
//! | others that begin with `run.oci.` | kept, with a warning: the specification forbids an error |

use crate::cgroup::systemd::Property;
use crate::error::{Error, Kind, bad_input};
use std::collections::HashMap;
use std::path::PathBuf;

/// How those begin that do something.
pub const ACTING: [&str; 2] = [OF_SYSTEMD, OF_CRUN];
const OF_SYSTEMD: &str = "org.systemd.property.";
const OF_CRUN: &str = "run.oci.";

/// Of crun, and not done.
const REFUSED: [(&str, &str); 5] = [
    (
        "delegate-cgroup",
        "give the container its control group by a cgroup namespace",
    ),
    (
        "handler",
        "leave it out: programs are executed by the kernel",
    ),
    (
        "seccomp.plugins",
        "name an agent by `linux.seccomp.listenerPath`",
    ),
    ("seccomp_bpf_data", "write the filter as `linux.seccomp`"),
    (
        "systemd.force_cgroup_v1",
        "there are control groups of version 2 only",
    ),
];

/// What is asked for.
#[derive(Debug, Default, PartialEq)]
pub struct Annotations {
    /// Hooks append what they print to these files: standard output, standard error.
    pub hooks: [Option<PathBuf>; 2],
    /// The program has the groups of whoever creates the container, and no others.
    pub keeps_groups: bool,
    /// The mount option that takes the SELinux context of a mount, where it is not `context`.
    pub label_option: Option<&'static str>,
    /// Who gets a pidfd of the first process.
    pub pidfd_receiver: Option<PathBuf>,
    /// The seccomp agent where the configuration names none.
    pub agent: Option<PathBuf>,
    /// A policy may name no system call that no kernel has.
    pub knows_calls: bool,
    /// The control group in the scope.
    pub subgroup: Option<String>,
    /// Lines of `timens_offsets`.
    pub time_offsets: String,
    /// Of the scope.
    pub properties: Vec<Property>,
    /// What is kept and changes nothing.
    pub warnings: Vec<String>,
}

impl Annotations {
    /// Those of a configuration.
    pub fn of(all: &Option<HashMap<String, String>>) -> Result<Self, Error> {
        let mut found = Self::default();
        let mut sorted: Vec<_> = all.iter().flatten().collect();
        sorted.sort();
        for (key, value) in sorted {
            if let Some(name) = key.strip_prefix(OF_SYSTEMD) {
                let property = Property::parse(name, value);
                let property =
                    property.map_err(|why| bad_input(format!("annotation `{key}`: {why:#}")))?;
                found.properties.push(property);
            } else if let Some(name) = key.strip_prefix(OF_CRUN) {
                found.take(key, name, value)?;
            }
        }
        Ok(found)
    }

    /// What is to be said where there is no scope, for want of `what`.
    pub fn of_scopes(&self, what: &str) -> Vec<String> {
        let subgroup = self.subgroup.iter();
        let subgroup = subgroup.map(|_| without(&format!("{OF_CRUN}systemd.subgroup"), what));
        self.of_properties(what).chain(subgroup).collect()
    }

    /// The same of properties alone.
    pub fn of_properties(&self, what: &str) -> impl Iterator<Item = String> {
        let properties = self.properties.iter();
        properties.map(move |property| without(&format!("{OF_SYSTEMD}{}", property.name()), what))
    }

    fn take(&mut self, key: &str, name: &str, value: &str) -> Result<(), Error> {
        if let Some((_, hint)) = REFUSED.iter().find(|(known, _)| *known == name) {
            let message = format!("the annotation `{key}` is not supported");
            return Err(Error::new(Kind::Unsupported, message).hint(*hint));
        }
        let wrong =
            |wanted: &str| bad_input(format!("annotation `{key}`: `{value}` is not {wanted}"));
        let path = || match value.starts_with('/') {
            true => Ok(Some(PathBuf::from(value))),
            false => Err(wrong("an absolute path")),
        };
        match name {
            "hooks.stdout" => self.hooks[0] = path()?,
            "hooks.stderr" => self.hooks[1] = path()?,
            "keep_original_groups" => self.keeps_groups = true,
            "mount_context_type" => {
                const OPTIONS: [&str; 4] = ["context", "fscontext", "defcontext", "rootcontext"];
                let option = OPTIONS.into_iter().find(|option| *option == value);
                self.label_option = Some(option.ok_or_else(|| wrong("a context of a mount"))?);
            }
            "pidfd_receiver" => self.pidfd_receiver = path()?,
            "seccomp.receiver" => self.agent = path()?,
            "seccomp_fail_unknown_syscall" => self.knows_calls = true,
            "systemd.subgroup" => {
                let is_name = !value.is_empty() && !value.contains('/') && !value.starts_with('.');
                if !is_name {
                    return Err(wrong("the name of a control group"));
                }
                self.subgroup = Some(value.to_owned());
            }
            "timens_offset" => {
                for line in value.lines() {
                    let line = offset(line).ok_or_else(|| wrong("`CLOCK SECONDS NANOSECONDS`"))?;
                    self.time_offsets.push_str(&line);
                }
            }
            _ => self.warnings.push(format!(
                "the annotation `{key}` is unknown, and changes nothing"
            )),
        }
        Ok(())
    }
}

fn without(key: &str, what: &str) -> String {
    format!("the annotation `{key}` needs {what}, and changes nothing")
}

/// A line of `timens_offsets` (time_namespaces(7)).
fn offset(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let clock = match words.next()? {
        "1" | "monotonic" => "monotonic",
        "7" | "boottime" => "boottime",
        _ => return None,
    };
    let seconds: i64 = words.next()?.parse().ok()?;
    let nanoseconds: u32 = words.next()?.parse().ok()?;
    let is_whole = words.next().is_none();
    is_whole.then(|| format!("{clock} {seconds} {nanoseconds}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(key: &str, value: &str) -> Result<Annotations, Error> {
        Annotations::of(&Some([(key.to_owned(), value.to_owned())].into()))
    }

    #[test]
    fn each_has_its_place() {
        let none = Annotations::default;
        for (key, value, expected) in [
            ("org.example", "x", none()),
            (
                "run.oci.hooks.stdout",
                "/a",
                Annotations {
                    hooks: [Some("/a".into()), None],
                    ..none()
                },
            ),
            (
                "run.oci.hooks.stderr",
                "/a",
                Annotations {
                    hooks: [None, Some("/a".into())],
                    ..none()
                },
            ),
            (
                "run.oci.keep_original_groups",
                "1",
                Annotations {
                    keeps_groups: true,
                    ..none()
                },
            ),
            (
                "run.oci.mount_context_type",
                "fscontext",
                Annotations {
                    label_option: Some("fscontext"),
                    ..none()
                },
            ),
            (
                "run.oci.pidfd_receiver",
                "/a",
                Annotations {
                    pidfd_receiver: Some("/a".into()),
                    ..none()
                },
            ),
            (
                "run.oci.seccomp.receiver",
                "/a",
                Annotations {
                    agent: Some("/a".into()),
                    ..none()
                },
            ),
            (
                "run.oci.seccomp_fail_unknown_syscall",
                "1",
                Annotations {
                    knows_calls: true,
                    ..none()
                },
            ),
            (
                "run.oci.systemd.subgroup",
                "main",
                Annotations {
                    subgroup: Some("main".into()),
                    ..none()
                },
            ),
            (
                "run.oci.timens_offset",
                "1 5 0\nboottime -3 7",
                Annotations {
                    time_offsets: "monotonic 5 0\nboottime -3 7\n".into(),
                    ..none()
                },
            ),
        ] {
            assert_eq!(of(key, value).unwrap(), expected, "{key}");
        }
        let unknown = of("run.oci.nothing", "x").unwrap();
        assert_eq!(
            unknown.warnings,
            ["the annotation `run.oci.nothing` is unknown, and changes nothing"]
        );
        assert_eq!(
            of("org.systemd.property.CPUWeight", "uint64 5")
                .unwrap()
                .properties
                .len(),
            1
        );
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (name, _) in REFUSED {
            let key = format!("{OF_CRUN}{name}");
            let error = of(&key, "x").unwrap_err();
            assert_eq!(error.kind, Kind::Unsupported);
            assert!(error.message.contains(&key), "{error}");
        }
        for (key, value) in [
            ("run.oci.hooks.stdout", "relative"),
            ("run.oci.mount_context_type", "none"),
            ("run.oci.systemd.subgroup", ""),
            ("run.oci.systemd.subgroup", "a/b"),
            ("run.oci.timens_offset", "realtime 1 2"),
            ("run.oci.timens_offset", "1 2"),
            ("org.systemd.property.CPUWeight", "uint64"),
            ("org.systemd.property.x/y", "1"),
        ] {
            assert_eq!(
                of(key, value).unwrap_err().kind,
                Kind::BadInput,
                "{key}={value}"
            );
        }
    }
}
