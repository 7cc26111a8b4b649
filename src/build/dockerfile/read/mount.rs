//! `RUN --mount=type=…,key=value,…`: comma separated as in CSV.
//! <https://docs.docker.com/reference/dockerfile/#run---mount>
//!
//! Words with variables stay as they are; what decides the form of a mount (its type, its sharing, a switch) cannot be one.

use super::super::instruction::{Mount, MountKind, Sharing};
use super::super::nearest::nearest;
use super::super::part::Fault;
use std::ops::Range;

const TYPES: [(&str, MountKind); 5] = [
    ("bind", MountKind::Bind),
    ("cache", MountKind::Cache),
    ("tmpfs", MountKind::Tmpfs),
    ("secret", MountKind::Secret),
    ("ssh", MountKind::Ssh),
];
const SHARING: [(&str, Sharing); 3] = [
    ("shared", Sharing::Shared),
    ("private", Sharing::Private),
    ("locked", Sharing::Locked),
];
const KEYS: [&str; 18] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "required",
    "id",
    "sharing",
    "size",
    "mode",
    "uid",
    "gid",
];

/// What is known of a mount while its keys are read.
struct Reading {
    mount: Mount,
    sharing: bool,
    range: Range<usize>,
}

/// Reads the value of a `--mount` that stands at `range`.
pub fn mount(text: &str, range: Range<usize>) -> Result<Mount, Fault> {
    let mut reading = Reading {
        mount: Mount::default(),
        sharing: false,
        range,
    };
    let fields = fields(text).ok_or_else(|| {
        reading.fault(
            "a quote in --mount is left open",
            "expected the same quote again",
        )
    })?;
    for field in &fields {
        reading.field(field)?;
    }
    reading.check()?;
    Ok(reading.mount)
}

impl Reading {
    fn fault(&self, message: impl Into<String>, hint: impl Into<String>) -> Fault {
        Fault {
            range: self.range.clone(),
            message: message.into(),
            hint: hint.into(),
        }
    }

    fn field(&mut self, field: &str) -> Result<(), Fault> {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (field, None),
        };
        let key = key.to_ascii_lowercase();
        match key.as_str() {
            "readonly" | "ro" => {
                self.mount.read_only = Some(self.switch(&key, value)?);
                return Ok(());
            }
            "readwrite" | "rw" => {
                self.mount.read_only = Some(!self.switch(&key, value)?);
                return Ok(());
            }
            "required" => {
                self.mount.required = self.switch(&key, value)?;
                return Ok(());
            }
            _ => {}
        }
        let Some(value) = value else {
            return Err(self.unknown(
                &key,
                &format!("invalid field '{field}' must be a key=value pair"),
            ));
        };
        let text = value.to_owned();
        match key.as_str() {
            "type" => self.mount.kind = self.word("mount type", value, &TYPES)?,
            "from" if value.contains('$') => {
                return Err(self.fault(
                    "'from' doesn't support variable expansion, define alias stage instead",
                    "FROM ${NAME} AS alias, and then from=alias",
                ));
            }
            "from" => self.mount.from = Some(text),
            "source" | "src" => self.mount.source = text,
            "target" | "dst" | "destination" => self.mount.target = text,
            "id" => self.mount.id = text,
            "sharing" => {
                self.mount.sharing = self.word("sharing value", value, &SHARING)?;
                self.sharing = true;
            }
            "size" => self.mount.size = Some(text),
            "mode" => self.mount.mode = Some(self.number("mode", value, 8)?),
            "uid" => self.mount.uid = Some(self.number("uid", value, 10)?),
            "gid" => self.mount.gid = Some(self.number("gid", value, 10)?),
            "env" => self.mount.variable = Some(text),
            _ => return Err(self.unknown(&key, &format!("unexpected key '{key}' in '{field}'"))),
        }
        Ok(())
    }

    fn unknown(&self, key: &str, message: &str) -> Fault {
        let near = nearest(key, KEYS.into_iter().chain(["env"])).filter(|near| *near != key);
        let near = near
            .map(|near| format!(" (did you mean {near}?)"))
            .unwrap_or_default();
        self.fault(
            format!("{message}{near}"),
            "keys are type, target, source, from, readonly, readwrite, required, id, sharing, size, mode, uid, gid, env",
        )
    }

    /// A switch without a value is on.
    fn switch(&self, key: &str, value: Option<&str>) -> Result<bool, Fault> {
        match value.map(str::to_ascii_lowercase).as_deref() {
            None | Some("true" | "t" | "1") => Ok(true),
            Some("false" | "f" | "0") => Ok(false),
            Some(value) => Err(self.fault(
                format!("invalid value for {key}: {value}"),
                format!("expected {key}, {key}=true or {key}=false"),
            )),
        }
    }

    fn word<T: Copy>(
        &self,
        what: &str,
        value: &str,
        known: &[(&'static str, T)],
    ) -> Result<T, Fault> {
        let value = value.to_ascii_lowercase();
        if let Some((_, found)) = known.iter().find(|(name, _)| *name == value) {
            return Ok(*found);
        }
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        let near = nearest(&value, names.iter().copied());
        let near = near
            .map(|near| format!(" (did you mean {near}?)"))
            .unwrap_or_default();
        Err(self.fault(
            format!("unsupported {what} \"{value}\"{near}"),
            format!("expected one of {}", names.join(", ")),
        ))
    }

    /// A number, or something that becomes one.
    fn number(&self, key: &str, value: &str, radix: u32) -> Result<String, Fault> {
        if value.contains('$') || u32::from_str_radix(value.trim_start_matches("0o"), radix).is_ok()
        {
            return Ok(value.to_owned());
        }
        Err(self.fault(
            format!("invalid value {value} for {key}"),
            if radix == 8 {
                "expected an octal mode, as 0755"
            } else {
                "expected a number"
            },
        ))
    }

    /// What belongs together.
    fn check(&self) -> Result<(), Fault> {
        let mount = &self.mount;
        let kind = TYPES
            .iter()
            .find(|(_, kind)| *kind == mount.kind)
            .map_or("", |(name, _)| name);
        let owned = matches!(
            mount.kind,
            MountKind::Cache | MountKind::Secret | MountKind::Ssh
        );
        for (key, value) in [
            ("mode", &mount.mode),
            ("uid", &mount.uid),
            ("gid", &mount.gid),
        ] {
            if value.is_some() && !owned {
                return Err(self.fault(
                    format!("{key} not allowed for \"{kind}\" type mounts"),
                    "it is for cache, secret and ssh",
                ));
            }
        }
        let is = |wanted| mount.kind == wanted;
        let wrong = if self.sharing && !is(MountKind::Cache) {
            Some(("sharing", "it is for cache"))
        } else if mount.size.is_some() && !is(MountKind::Tmpfs) {
            Some(("size", "it is for tmpfs"))
        } else if mount.variable.is_some() && !is(MountKind::Secret) {
            Some(("env", "it is for secret"))
        } else if mount.required && !is(MountKind::Secret) && !is(MountKind::Ssh) {
            Some(("required", "it is for secret and ssh"))
        } else if mount.from.is_some() && !is(MountKind::Bind) && !is(MountKind::Cache) {
            Some(("from", "it is for bind and cache"))
        } else {
            None
        };
        if let Some((key, hint)) = wrong {
            return Err(self.fault(
                format!("{key} not allowed for \"{kind}\" type mounts"),
                hint,
            ));
        }
        if is(MountKind::Secret) && !mount.source.is_empty() && !mount.id.is_empty() {
            return Err(self.fault("both source and id can't be set", "keep id"));
        }
        match mount.kind {
            MountKind::Secret
                if mount.source.is_empty() && mount.target.is_empty() && mount.id.is_empty() =>
            {
                Err(self.fault(
                    "invalid secret mount. one of source, target required",
                    "expected id=NAME",
                ))
            }
            MountKind::Secret | MountKind::Ssh => Ok(()),
            _ if mount.target.is_empty() => Err(self.fault(
                format!("the {kind} mount has no target"),
                "expected target=PATH",
            )),
            _ => Ok(()),
        }
    }
}

/// Fields of a line of CSV; one in double quotes may hold commas, and two of them stand for one. None: a quote is left open.
fn fields(text: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            other => field.push(other),
        }
    }
    fields.push(field);
    (!quoted).then_some(fields)
}
