//! `info`: what this program has, and what its host allows it.
//!
//! The keys are those of Docker's `/info`; tools read `CgroupVersion`, `SecurityOptions` and the limits from
//! it. Nothing is guessed: what is not there yet is `false`.

use super::version;
use crate::cgroup::placement::Manager;
use crate::cli::command::Verb;
use crate::cli::output::{inspect, size};
use crate::cli::{Context, Globals};
use crate::container::engine::Engine;
use crate::container::record::Status;
use crate::container::{cdi, cgroup, list, walls};
use crate::id_mapping::{Mapping, Tier};
use crate::image;
use anyhow::Result;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::PathBuf;

/// What Docker may have and this program has not.
const NOT_YET: [&str; 3] = ["OomKillDisable", "IPv4Forwarding", "Debug"];

/// Docker's names of limits, and the controllers they need.
const LIMITS: [(&str, &str); 7] = [
    ("MemoryLimit", "memory"),
    ("SwapLimit", "memory"),
    ("CpuCfsPeriod", "cpu"),
    ("CpuCfsQuota", "cpu"),
    ("CPUShares", "cpu"),
    ("CPUSet", "cpuset"),
    ("PidsLimit", "pids"),
];

/// Options of `info`.
#[derive(clap::Args)]
pub struct Info {
    /// Print "json", or by a Go template
    #[arg(short, long)]
    format: Option<String>,
}

impl Verb for Info {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let engine = context.engine()?;
        let facts = facts(
            &engine,
            &Host::look(|path| std::fs::read_to_string(path).ok()),
            &context.program,
            &context.globals,
        )?;
        match self.format.as_deref().map(str::trim) {
            None | Some("") => context.output.write(blocks(&facts).as_bytes())?,
            Some("json") => context.output.line(&facts)?,
            template => inspect::render_inspect(&mut context.output, template, &[facts])?,
        }
        Ok(0)
    }
}

/// What the host says about itself.
struct Host {
    name: String,
    system: String,
    system_version: String,
    cgroup_version: &'static str,
    memory: u64,
    processors: usize,
    apparmor: bool,
}

impl Host {
    /// `read` gives the text of a file, if it is there.
    fn look(read: impl Fn(&str) -> Option<String>) -> Self {
        let release = ["/etc/os-release", "/usr/lib/os-release"]
            .into_iter()
            .find_map(&read)
            .unwrap_or_default();
        let field = |name: &str| {
            let value = release
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            value.unwrap_or_default().trim_matches('"').to_owned()
        };
        let memory = read("/proc/meminfo").unwrap_or_default();
        let kibibytes = memory
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
        Self {
            name: read("/proc/sys/kernel/hostname")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            system: field("PRETTY_NAME"),
            system_version: field("VERSION_ID"),
            // Only a pure version 2 hierarchy has this file at the top (cgroups(7)).
            cgroup_version: if read("/sys/fs/cgroup/cgroup.controllers").is_some() {
                "2"
            } else {
                "1"
            },
            memory: kibibytes
                .and_then(|text| text.parse::<u64>().ok())
                .unwrap_or_default()
                * 1024,
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            apparmor: read("/sys/module/apparmor/parameters/enabled")
                .is_some_and(|text| text.starts_with('Y')),
        }
    }
}

/// One word and one sentence for the tier of ids.
fn tier(mapping: &Mapping) -> (&'static str, String) {
    match mapping.tier {
        Tier::Root => ("root", "all ids, as root".to_owned()),
        Tier::Single => (
            "single",
            format!(
                "one id, {}; changes of owner to others are no-ops",
                mapping.uid
            ),
        ),
        Tier::Subordinate => {
            let count: u64 = mapping.uids.iter().map(|range| u64::from(range.size)).sum();
            (
                "subuid",
                format!("{count} ids by /etc/subuid, 0 is {}", mapping.uid),
            )
        }
    }
}

/// What the root file systems of containers are made of.
fn roots(engine: &Engine) -> String {
    match engine.copies() {
        None => "overlays of layers".to_owned(),
        Some(why) => format!("copies of all files of the image ({why})"),
    }
}

/// The keys of `/info`.
fn facts(engine: &Engine, host: &Host, program: &str, globals: &Globals) -> Result<Value> {
    let images = image::store::list(&engine.paths)?.len();
    let containers = list::list(engine)?;
    let running = containers
        .iter()
        .filter(|container| container.status() == Status::Running)
        .count();
    let (word, sentence) = tier(&engine.mapping);
    let outlook = cgroup::outlook(engine, globals.cgroup_manager)?;
    let devices = match &globals.cdi_spec_dir[..] {
        [] => cdi::DIRECTORIES.map(PathBuf::from).to_vec(),
        given => given.to_vec(),
    };
    let mut security = vec![
        "name=seccomp,profile=builtin".to_owned(),
        "name=cgroupns".to_owned(),
    ];
    if host.apparmor {
        security.insert(0, "name=apparmor".to_owned());
    }
    if engine.mapping.needs_user_namespace() {
        security.push("name=rootless".to_owned());
    }
    let mut facts = json!({
        "ID": "",
        "Containers": containers.len(),
        "ContainersRunning": running,
        "ContainersPaused": 0,
        "ContainersStopped": containers.len() - running,
        "Images": images,
        "Driver": if engine.copies().is_some() { "vfs" } else { "overlay2" },
        "DriverStatus": [["Id mapping", word], ["Ids", sentence], ["Roots of containers", roots(engine)]],
        "LoggingDriver": crate::settings::Settings::load()?.log_driver,
        "CgroupDriver": outlook.manager.map_or("none", Manager::word),
        "CgroupControllers": outlook.controllers,
        "Walls": walls::in_force(engine, &outlook)?,
        "CgroupVersion": host.cgroup_version,
        "KernelVersion": version::kernel(),
        "OperatingSystem": host.system,
        "OSVersion": host.system_version,
        "OSType": "linux",
        "Architecture": std::env::consts::ARCH,
        "NCPU": host.processors,
        "MemTotal": host.memory,
        "DockerRootDir": engine.paths.data(),
        "Name": host.name,
        "ServerVersion": version::of(program),
        "Runtimes": {"onggi": {"path": "onggi"}},
        "DefaultRuntime": "onggi",
        "CDISpecDirs": devices,
        "Swarm": {"LocalNodeState": "inactive"},
        "LiveRestoreEnabled": false,
        "Isolation": "",
        "InitBinary": "onggi",
        "SecurityOptions": security,
        "Warnings": [],
        "ClientInfo": {
            "Debug": false,
            "Version": version::of(program),
            "Os": "linux",
            "Arch": version::architecture(),
            "Context": "default",
            "Plugins": [],
            "Warnings": [],
        },
    });
    for (key, controller) in LIMITS {
        facts[key] = json!(outlook.controllers.iter().any(|known| known == controller));
    }
    for key in NOT_YET {
        facts[key] = json!(false);
    }
    Ok(facts)
}

/// The blocks that people read.
fn blocks(facts: &Value) -> String {
    let word = |key: &str| match &facts[key] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let row = |(name, key): (&str, &str)| format!(" {name}: {}\n", word(key));
    let rows = |keys: &[(&str, &str)]| keys.iter().copied().map(row).collect::<String>();
    let list = |key: &str| facts[key].as_array().cloned().unwrap_or_default();
    let mut text = format!(
        "Client:\n Version:    {}\n Context:    default\n Debug Mode: false\n\nServer:\n",
        version::ONGGI
    );
    text += &rows(&[
        ("Containers", "Containers"),
        (" Running", "ContainersRunning"),
        (" Paused", "ContainersPaused"),
        (" Stopped", "ContainersStopped"),
        ("Images", "Images"),
        ("Server Version", "ServerVersion"),
        ("Storage Driver", "Driver"),
    ]);
    for pair in list("DriverStatus") {
        let _ = writeln!(
            text,
            "  {}: {}",
            pair[0].as_str().unwrap_or_default(),
            pair[1].as_str().unwrap_or_default()
        );
    }
    text += &rows(&[
        ("Logging Driver", "LoggingDriver"),
        ("Cgroup Driver", "CgroupDriver"),
        ("Cgroup Version", "CgroupVersion"),
    ]);
    text += " Walls:\n";
    for wall in list("Walls") {
        let word = |at: usize| wall[at].as_str().unwrap_or_default();
        let _ = writeln!(text, "  {}: {}", word(0), word(1));
    }
    text += " CDI spec directories:\n";
    for directory in list("CDISpecDirs") {
        let _ = writeln!(text, "  {}", directory.as_str().unwrap_or_default());
    }
    text += " Swarm: inactive\n Runtimes: onggi\n";
    text += &rows(&[
        ("Default Runtime", "DefaultRuntime"),
        ("Init Binary", "InitBinary"),
    ]);
    text += " Security Options:\n";
    for option in list("SecurityOptions") {
        for part in option.as_str().unwrap_or_default().split(',') {
            match part.strip_prefix("profile=") {
                Some(profile) => text += &format!("   Profile: {profile}\n"),
                None => text += &format!("  {}\n", part.trim_start_matches("name=")),
            }
        }
    }
    text += &rows(&[
        ("Kernel Version", "KernelVersion"),
        ("Operating System", "OperatingSystem"),
        ("OSType", "OSType"),
        ("Architecture", "Architecture"),
        ("CPUs", "NCPU"),
    ]);
    let memory = facts["MemTotal"].as_u64().unwrap_or_default();
    text += &format!(" Total Memory: {}\n", size::binary(memory));
    text + &rows(&[
        ("Name", "Name"),
        ("Docker Root Dir", "DockerRootDir"),
        ("Debug Mode", "Debug"),
        ("Live Restore Enabled", "LiveRestoreEnabled"),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::Paths;

    #[test]
    fn the_host_is_read_from_its_files() {
        let host = Host::look(|path| {
            let text = match path {
                "/usr/lib/os-release" => "PRETTY_NAME=\"Debian 12\"\nVERSION_ID=\"12\"\n",
                "/proc/meminfo" => "MemTotal:       1000 kB\n",
                "/proc/sys/kernel/hostname" => "box\n",
                "/sys/fs/cgroup/cgroup.controllers" => "",
                _ => return None,
            };
            Some(text.to_owned())
        });
        assert_eq!(
            (host.system.as_str(), host.system_version.as_str()),
            ("Debian 12", "12")
        );
        assert_eq!(
            (host.memory, host.cgroup_version, host.name.as_str()),
            (1_024_000, "2", "box")
        );
        let mapping = Mapping {
            tier: Tier::Single,
            uid: 1000,
            gid: 1000,
            uids: Vec::new(),
            gids: Vec::new(),
            entered: false,
            refused: None,
        };
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(Paths::new(directory.path(), directory.path()).containers()).unwrap();
        let engine = Engine {
            paths: Paths::new(directory.path(), directory.path()),
            mapping,
            file_system: None,
            news: Vec::new(),
        };
        let facts = facts(&engine, &host, "docker", &Globals::default()).unwrap();
        assert_eq!(
            facts["SecurityOptions"],
            json!([
                "name=seccomp,profile=builtin",
                "name=cgroupns",
                "name=rootless"
            ])
        );
        assert_eq!(facts["ServerVersion"], version::DOCKER);
        let text = blocks(&facts);
        for line in [
            "  Id mapping: single",
            "  seccomp\n   Profile: builtin",
            " CDI spec directories:\n  /etc/cdi\n  /var/run/cdi\n",
            " CPUs: ",
            " Total Memory: 1000KiB",
        ] {
            assert!(text.contains(line), "{line:?} is missing in\n{text}");
        }
    }
}
