//! `RUN`: the program with its arguments, its environment, and what it sees beside the layers below.
//! <https://docs.docker.com/reference/dockerfile/#run>

use super::draft::Draft;
use super::instruct;
use super::scope::Scope;
use super::{CacheSource, Mount, MountSource, Run, Shown};
use crate::build::dockerfile::instruction::{self, Command, MountKind, Program};
use crate::build::worker::order::{Access, Network};
use crate::error::bad_input;
use crate::image::change::absolute;
use anyhow::Result;

/// Where a script with an interpreter of its own is seen.
const SCRIPTS: &str = "/dev/pipes";

/// Tells what a mount shows of what a `from` means, the main context where there is none, at an absolute path.
pub type Show<'a> = &'a mut dyn FnMut(Option<&str>, String) -> Result<Shown>;

/// Expands a `RUN`.
pub fn run(
    draft: &Draft,
    scope: &Scope<'_>,
    proxies: &[(String, String)],
    run: &instruction::Run,
    show: Show<'_>,
) -> Result<Run> {
    let execution = &draft.config.config;
    let working_directory = absolute("/", &execution.working_dir);
    let (words, script) = words(draft, run);
    let mut mounts = Vec::new();
    let mut environment: Vec<(String, String)> = draft.variables.pairs().to_vec();
    for mount in &run.mounts {
        let agents = mounts
            .iter()
            .filter(|mount: &&Mount| matches!(mount.source, MountSource::Agent { .. }));
        let agents = agents.count();
        let mount = expanded(scope, &working_directory, agents, mount, show)?;
        if matches!(mount.source, MountSource::Agent { .. })
            && !environment.iter().any(|(name, _)| name == "SSH_AUTH_SOCK")
        {
            environment.push(("SSH_AUTH_SOCK".to_owned(), mount.target.clone()));
        }
        mounts.push(mount);
    }
    let is_set = |name: &str| environment.iter().any(|(known, _)| known == name);
    let proxies = proxies.iter().filter(|(name, _)| !is_set(name));
    let entry = |(name, value): &(String, String)| format!("{name}={value}");
    Ok(Run {
        words,
        script,
        proxies: proxies.map(entry).collect(),
        environment: environment.iter().map(entry).collect(),
        working_directory,
        user: execution.user.clone(),
        mounts,
        network: network(run.network.as_deref())?,
        insecure: match run.security.as_deref() {
            None | Some("" | "sandbox") => false,
            Some("insecure") => true,
            Some(other) => {
                let message = format!("security mode `{other}` is not known");
                return Err(bad_input(message).hint("sandbox, insecure").into());
            }
        },
        devices: run.devices.clone(),
    })
}

fn network(word: Option<&str>) -> Result<Option<Network>> {
    match word {
        None | Some("" | "default") => Ok(None),
        Some("none") => Ok(Some(Network::None)),
        Some("host") => Ok(Some(Network::Host)),
        Some(other) => {
            let message = format!("unsupported network mode `{other}`");
            Err(bad_input(message).hint("default, none, host").into())
        }
    }
}

/// The words, and a script that they name: a heredoc that is the whole command and names its interpreter.
fn words(draft: &Draft, run: &instruction::Run) -> (Vec<String>, Option<(String, String)>) {
    let shell = |line: String| instruct::words(&draft.config.config, &Command::Shell(line));
    match run.program() {
        Program::Exec(words) => (words.to_vec(), None),
        Program::Shell(text) => (shell(text), None),
        Program::Script(script) => {
            let path = format!("{SCRIPTS}/{}", script.name);
            (shell(path.clone()), Some((path, script.content.clone())))
        }
    }
}

fn expanded(
    scope: &Scope<'_>,
    working_directory: &str,
    agents: usize,
    mount: &instruction::Mount,
    show: Show<'_>,
) -> Result<Mount> {
    let words = Words { scope, mount };
    let mut target = scope.expand(&mount.target)?;
    let read_only = |usual: bool| mount.read_only.unwrap_or(usual);
    let mut from = |path: &str| {
        let source = scope.expand(path)?;
        show(mount.from.as_deref(), absolute("/", &source))
    };
    let (source, read_only) = match mount.kind {
        MountKind::Bind => (MountSource::Bind(from(&mount.source)?), read_only(true)),
        MountKind::Cache => {
            let seed = mount.from.as_ref().map(|_| from(&mount.source));
            let source = words.cache(seed.transpose()?)?;
            (MountSource::Cache(source), read_only(false))
        }
        MountKind::Tmpfs => {
            let size = mount
                .size
                .as_deref()
                .map(|size| words.size(size))
                .transpose()?;
            (MountSource::Tmpfs { size }, false)
        }
        MountKind::Secret => (words.secret(&mut target)?, true),
        MountKind::Ssh => {
            if target.is_empty() {
                target = format!("/run/buildkit/ssh_agent.{agents}");
            }
            let source = MountSource::Agent {
                id: scope.expand(mount.identifier())?,
                required: mount.required,
                access: words.access(0o600)?,
            };
            (source, true)
        }
    };
    let target = absolute(working_directory, &target);
    if target == "/" {
        let message = format!("invalid mount target \"{}\"", mount.target);
        return Err(bad_input(message).hint("a directory of its own").into());
    }
    Ok(Mount {
        target,
        source,
        read_only,
    })
}

/// A target as the id of a cache: as with BuildKit a relative one stays relative.
fn cleaned(target: &str) -> String {
    match target.starts_with('/') {
        true => absolute("/", target),
        false => absolute("/", target).split_off(1),
    }
}

/// The words of a mount.
struct Words<'a> {
    scope: &'a Scope<'a>,
    mount: &'a instruction::Mount,
}

impl Words<'_> {
    fn cache(&self, seed: Option<Shown>) -> Result<CacheSource> {
        let mount = self.mount;
        let id = self.scope.expand(mount.identifier())?;
        Ok(CacheSource {
            id: match mount.id.is_empty() {
                true => cleaned(&id),
                false => id,
            },
            sharing: mount.sharing,
            seed,
            mode: mount.mode.as_ref().map(|_| self.mode(0)).transpose()?,
            uid: self.given("uid", mount.uid.as_deref())?,
            gid: self.given("gid", mount.gid.as_deref())?,
        })
    }

    fn secret(&self, target: &mut String) -> Result<MountSource> {
        let id = self.scope.expand(self.mount.identifier())?;
        let variable = self.mount.variable.as_deref();
        let variable = variable.map(|name| self.scope.expand(name)).transpose()?;
        let file = !target.is_empty() || variable.is_none();
        if target.is_empty() {
            *target = format!("/run/secrets/{id}");
        }
        if id.is_empty() {
            return Err(bad_input("a secret needs an id or a target").into());
        }
        Ok(MountSource::Secret {
            id,
            variable,
            file,
            required: self.mount.required,
            access: self.access(0o400)?,
        })
    }

    fn access(&self, usual: u32) -> Result<Access> {
        let (uid, gid) = (self.mount.uid.as_deref(), self.mount.gid.as_deref());
        Ok(Access {
            mode: self.mode(usual)?,
            uid: self.given("uid", uid)?.unwrap_or(0),
            gid: self.given("gid", gid)?.unwrap_or(0),
        })
    }

    fn mode(&self, usual: u32) -> Result<u32> {
        let Some(mode) = &self.mount.mode else {
            return Ok(usual);
        };
        let text = self.scope.expand(mode)?;
        match u32::from_str_radix(text.trim_start_matches("0o"), 8) {
            Ok(mode) if mode <= 0o7777 => Ok(mode),
            _ => Err(bad_input(format!(
                "invalid value {text} for mode, expected octal digits"
            ))
            .into()),
        }
    }

    fn given(&self, name: &str, word: Option<&str>) -> Result<Option<u32>> {
        let Some(word) = word else {
            return Ok(None);
        };
        let text = self.scope.expand(word)?;
        let wrong = |_| {
            bad_input(format!(
                "invalid value {text} for {name}, expected a number"
            ))
        };
        Ok(Some(text.parse().map_err(wrong)?))
    }

    fn size(&self, word: &str) -> Result<u64> {
        let text = self.scope.expand(word)?;
        let lower = text.to_ascii_lowercase();
        let digits = lower.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let scale = match lower[digits.len()..]
            .trim_end_matches("ib")
            .trim_end_matches('b')
        {
            "" => Some(0),
            "k" => Some(10),
            "m" => Some(20),
            "g" => Some(30),
            "t" => Some(40),
            _ => None,
        };
        let number: Option<u64> = digits.parse().ok();
        let wrong = || {
            bad_input(format!(
                "invalid value {text} for size, expected bytes as in 64m"
            ))
        };
        let (number, scale) = number.zip(scale).ok_or_else(wrong)?;
        Ok(number.checked_mul(1 << scale).ok_or_else(wrong)?)
    }
}

/// How the history tells a `RUN`: arguments in scope, then the words.
pub fn history(draft: &Draft, words: &[String]) -> String {
    let value = |name: &String, value: &Option<String>| {
        let seen = draft.variables.get(name).or(value.as_deref());
        format!("{name}={}", seen.unwrap_or_default())
    };
    let arguments: Vec<String> = draft
        .arguments
        .iter()
        .map(|(name, word)| value(name, word))
        .collect();
    let mut text = "RUN".to_owned();
    if !arguments.is_empty() {
        text.push_str(&format!(" |{} {}", arguments.len(), arguments.join(" ")));
    }
    format!("{text} {} # buildkit", words.join(" "))
}
