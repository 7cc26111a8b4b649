//! Labels of Linux security modules: AppArmor profiles (aa_change_onexec(2)) and SELinux contexts (selinux(8));
//! runtime-spec config.md, "apparmorProfile", "selinuxLabel", "mountLabel". Profiles and policies are not loaded here:
//! that takes their own tools.

use crate::error::{Error, Kind, bad_input};
use crate::sys::procfs::Processes;
use anyhow::{Context, Result};
use oci_spec::runtime::Process;
use rustix::fs::{OFlags, statfs};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::path::Path;

/// The profile that containers get where it is loaded and nothing else is asked for.
pub const DEFAULT_PROFILE: &str = "onggi-default";

/// Whether this kernel enforces AppArmor profiles.
pub fn has_apparmor() -> bool {
    std::fs::read_to_string("/sys/module/apparmor/parameters/enabled")
        .is_ok_and(|text| text.starts_with('Y'))
}

/// Whether a profile is loaded; false where the list of them may not be read.
pub fn is_loaded(profile: &str) -> bool {
    let list = std::fs::read_to_string("/sys/kernel/security/apparmor/profiles");
    // `name (mode)`, one a line.
    let name = |line: &str| line.rsplit_once(" (").map(|(name, _)| name == profile);
    list.is_ok_and(|list| list.lines().filter_map(name).any(|is_it| is_it))
}

/// Whether this kernel enforces SELinux contexts.
pub fn has_selinux() -> bool {
    const SELINUX_MAGIC: u32 = 0xf97c_ff8c;
    statfs("/sys/fs/selinux").is_ok_and(|found| found.f_type as u32 == SELINUX_MAGIC)
}

/// What a program is labelled with from its execve(2) on.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Labels {
    apparmor: Option<String>,
    selinux: Option<String>,
}

impl Labels {
    /// As `config.json` has them.
    ///
    /// Errors: a label of a module that this kernel does not have.
    pub fn from_oci(process: &Process) -> Result<Self, Error> {
        let given = |label: &Option<String>| label.clone().filter(|label| !label.is_empty());
        let labels = Self {
            apparmor: given(process.apparmor_profile()),
            selinux: given(process.selinux_label()),
        };
        let confines = |profile: &String| profile != "unconfined";
        if labels.apparmor.as_ref().is_some_and(confines) && !has_apparmor() {
            let message =
                "an AppArmor profile is specified, but AppArmor is disabled or not supported";
            return Err(Error::new(Kind::Unsupported, message));
        }
        require_selinux(labels.selinux.as_deref())?;
        Ok(labels)
    }

    /// Lets the next execve(2) of this process, or of one forked from it, apply them.
    pub fn apply(&self, processes: &Processes) -> Result<()> {
        if let Some(profile) = self.apparmor.as_ref().filter(|_| has_apparmor()) {
            apply_profile(processes, profile)
                .with_context(|| format!("apply the AppArmor profile `{profile}`"))?;
        }
        if let Some(label) = &self.selinux {
            let say = || format!("apply the SELinux label `{label}`");
            // The keys of the container are its own, too.
            for file in ["exec", "keycreate"] {
                let path = format!("self/attr/{file}");
                processes.write(&path, label).with_context(say)?;
            }
        }
        Ok(())
    }
}

/// Refuses a label where SELinux is not there to enforce it, in runc's words.
pub fn require_selinux(label: Option<&str>) -> Result<(), Error> {
    match label {
        Some(label) if !label.is_empty() && !has_selinux() => Err(Error::new(
            Kind::Unsupported,
            "selinux label is specified in config, but selinux is disabled or not supported",
        )),
        _ => Ok(()),
    }
}

fn apply_profile(processes: &Processes, profile: &str) -> Result<()> {
    let missing = |error: &anyhow::Error| error.root_cause().downcast_ref() == Some(&Errno::NOENT);
    // A directory of its own since Linux 5.1; before that the only module had the files above it.
    let file = match processes.open_file("self/attr/apparmor/exec", OFlags::WRONLY) {
        Err(error) if missing(&error) => processes.open_file("self/attr/exec", OFlags::WRONLY)?,
        opened => opened?,
    };
    match rustix::io::write(&file, format!("exec {profile}").as_bytes()) {
        Ok(_) => Ok(()),
        Err(Errno::NOENT) => Err(Error::new(Kind::NotFound, "it is not loaded")
            .hint("`sudo apparmor_parser -r FILE` loads a profile, `sudo aa-status` lists what is loaded")
            .into()),
        Err(error) => Err(error).context("write `/proc/self/attr/apparmor/exec`"),
    }
}

/// The SELinux contexts of a container.
#[derive(Debug, PartialEq, Eq)]
pub struct Contexts {
    /// Of its processes.
    pub process: String,
    /// Of its files.
    pub mount: String,
}

impl Contexts {
    /// What `label=` options make of the contexts that the host's policy has for containers; `None` where none are to
    /// be set: without options, or with `disable`. Without a level of its own a container gets two categories that
    /// follow from its id, which keep it from the files of others.
    pub fn of_container(options: &[String], id: &str) -> Result<Option<Self>> {
        if options.is_empty() || options.iter().any(|option| option == "disable") {
            return Ok(None);
        }
        let config = std::fs::read_to_string("/etc/selinux/config").unwrap_or_default();
        let policy = config
            .lines()
            .find_map(|line| line.strip_prefix("SELINUXTYPE="));
        let policy = policy.unwrap_or("targeted").trim();
        let path = format!("/etc/selinux/{policy}/contexts/lxc_contexts");
        let defaults = std::fs::read_to_string(Path::new(&path))
            .with_context(|| format!("read `{path}`, which has the contexts of containers"))?;
        Self::made_of(options, id, &defaults).map(Some)
    }

    fn made_of(options: &[String], id: &str, defaults: &str) -> Result<Self> {
        let default = |key: &str| {
            let value = defaults.lines().find_map(|line| {
                let (name, value) = line.split_once('=')?;
                (name.trim() == key).then(|| value.trim().trim_matches('"').to_owned())
            });
            value
                .with_context(|| format!("the host's policy has no context `{key}` for containers"))
        };
        let mut process = Parts::parse(&default("process")?)?;
        let mut file = Parts::parse(&default("file")?)?;
        process.level = format!("s0:{}", categories(id));
        for option in options {
            let (key, value) = option.split_once(':').unwrap_or((option, ""));
            match key {
                "user" => value.clone_into(&mut process.user),
                "role" => value.clone_into(&mut process.role),
                "type" => value.clone_into(&mut process.kind),
                "level" => value.clone_into(&mut process.level),
                "filetype" => value.clone_into(&mut file.kind),
                _ => {}
            }
        }
        file.level.clone_from(&process.level);
        Ok(Self {
            process: process.text(),
            mount: file.text(),
        })
    }
}

/// `user:role:type:level`; the level has colons of its own.
struct Parts {
    user: String,
    role: String,
    kind: String,
    level: String,
}

impl Parts {
    fn parse(context: &str) -> Result<Self> {
        let mut parts = context.splitn(4, ':').map(str::to_owned);
        let mut next = || parts.next();
        match (next(), next(), next(), next()) {
            (Some(user), Some(role), Some(kind), level) => Ok(Self {
                user,
                role,
                kind,
                level: level.unwrap_or_else(|| "s0".to_owned()),
            }),
            _ => Err(bad_input(format!("`{context}` is not an SELinux context")).into()),
        }
    }

    fn text(&self) -> String {
        let Self {
            user,
            role,
            kind,
            level,
        } = self;
        format!("{user}:{role}:{kind}:{level}")
    }
}

/// Two different ones of 1024, the lower first.
fn categories(id: &str) -> String {
    let digest = Sha256::digest(id);
    let number = |at: usize| u16::from_be_bytes([digest[at], digest[at + 1]]) % 1024;
    let (first, second) = (number(0), number(2));
    let second = if first == second {
        (second + 1) % 1024
    } else {
        second
    };
    format!("c{},c{}", first.min(second), first.max(second))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: &str = "process = \"system_u:system_r:container_t:s0\"\ncontent = \"x\"\n\
                            file = \"system_u:object_r:container_file_t:s0\"\n";

    fn made(options: &[&str]) -> Contexts {
        let options: Vec<String> = options.iter().map(ToString::to_string).collect();
        Contexts::made_of(&options, "0123", DEFAULTS).unwrap()
    }

    #[test]
    fn options_change_parts_of_the_contexts() {
        let contexts = made(&["type:svirt_t", "level:s0:c1,c7", "filetype:usr_t"]);
        assert_eq!(contexts.process, "system_u:system_r:svirt_t:s0:c1,c7");
        assert_eq!(contexts.mount, "system_u:object_r:usr_t:s0:c1,c7");
        let contexts = made(&["user:u", "role:r"]);
        assert!(contexts.process.starts_with("u:r:container_t:s0:c"));
        let level = |context: &str| context.splitn(4, ':').nth(3).map(str::to_owned);
        assert_eq!(level(&contexts.process), level(&contexts.mount));
    }

    #[test]
    fn categories_differ() {
        for id in 0..3000 {
            let text = categories(&id.to_string());
            let (first, second) = text.split_once(',').unwrap();
            let number = |text: &str| text[1..].parse::<u16>().unwrap();
            assert!(
                number(first) < number(second) && number(second) < 1024,
                "{text}"
            );
        }
    }

    #[test]
    fn nothing_is_set_without_being_asked_for() {
        assert_eq!(Contexts::of_container(&[], "0").unwrap(), None);
        let options = ["type:x".to_owned(), "disable".to_owned()];
        assert_eq!(Contexts::of_container(&options, "0").unwrap(), None);
    }

    #[test]
    fn a_label_without_its_module_is_refused() {
        let mut process = Process::default();
        process.set_selinux_label(Some("a:b:c:s0".into()));
        if !has_selinux() {
            let error = Labels::from_oci(&process).unwrap_err().to_string();
            assert!(
                error.contains("selinux is disabled or not supported"),
                "{error}"
            );
        }
        process.set_selinux_label(Some(String::new()));
        process.set_apparmor_profile(Some("unconfined".into()));
        assert!(Labels::from_oci(&process).is_ok());
    }
}
