//! Making a container: its name is taken, its directory filled, and its record written last, which is what makes
//! it exist. A guard takes everything back unless that was reached.

use super::engine::Engine;
use super::health;
use super::mount_point::{self, volumes::New};
use super::name;
use super::naming;
use super::network;
use super::options::{Namespace, NetworkMode, Options, UserNamespace};
use super::quota;
use super::record::{Directory, Program, Record, VERSION, now};
use super::resources::{Host, Resources};
use super::spec;
use super::user_namespace;
use crate::cgroup::resources;
use crate::error::{Error, Kind, bad_input};
use crate::id_mapping::Tier;
use crate::image::config::Execution;
use crate::image::limit::note_use;
use crate::image::store::Image;
use crate::settings::Settings;
use crate::store::atomic::Durability;
use crate::store::damage;
use crate::store::id::random_hex;
use crate::store::lock::Lock;
use crate::store::tree;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const NAME_ATTEMPTS: usize = 20;

/// A container that exists, still locked for its maker.
#[derive(Debug)]
pub struct Created {
    /// Its record.
    pub record: Record,
    /// Held until somebody else may change the container.
    pub lock: Lock,
    /// What will be otherwise than was asked for.
    pub warnings: Vec<String>,
}

impl Created {
    /// Takes it back, since something that belongs to its making has failed. What cannot be removed is noted.
    pub fn discard(&self, engine: &Engine) {
        if let Err(error) = super::remove::remove_locked(engine, &self.record.id, &self.lock, true)
        {
            damage::note(format_args!("container {} stays", self.record.id), &error);
        }
    }
}

/// Makes a container from an image that is here.
pub fn create(engine: &Engine, mut options: Options, image: &Image) -> Result<Created> {
    super::remove::sweep(engine)?;
    if options.resources != Resources::default() {
        options.resources.validate(&Host::detect()?, false)?;
    }
    let discarded = options.resources.discard();
    options.resources.complete();
    if !(-1000..=1000).contains(&options.oom_score_adj) {
        return Err(bad_input(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            options.oom_score_adj
        ))
        .into());
    }
    network::check(&options)?;
    let settings = Settings::load()?;
    options.log = super::log::config::complete(&options.log, &settings)?;
    network::choose(engine, &mut options, &settings)?;
    let exposed = image.config.config.exposed_ports.iter();
    options.exposed.extend(exposed.cloned());
    // Held until the record says which ids it has.
    let _ids = user_namespace::choose(engine, &mut options, image)?;
    network::check_egress(engine, &options, spec::capabilities(&options, engine)?)?;
    let record = Record {
        version: VERSION,
        id: random_hex(64)?,
        name: String::new(),
        created: now(),
        image: image.id.clone(),
        image_name: options.image.clone(),
        layers: image.layers.clone(),
        program: program(&options, engine, &image.config.config)?,
        labels: image
            .config
            .config
            .labels
            .clone()
            .into_iter()
            .chain(options.labels.clone())
            .collect(),
        healthcheck: health::merge(
            options.healthcheck.as_ref(),
            image.config.config.healthcheck.as_ref(),
        ),
        shell: image.config.config.shell.clone(),
        mounts: mount_point::resolve(engine, &options, image)?,
        options,
    };
    health::validate(&record)?;
    mount_point::check_count(&record.mounts)?;
    // Whatever the plan would refuse is refused now, while nothing has been made.
    let mut spec = super::spec::build(&record, engine)?;
    if let Some(asked) = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.resources().as_ref())
    {
        resources::settings(asked)?;
    }
    let rest = super::device::add(&mut spec, &record.options, engine.mapping.tier)?;
    if let Some(cidfile) = &record.options.cidfile
        && cidfile.exists()
    {
        return Err(bad_input(format!(
            "container ID file found, make sure the other container isn't running or delete {}",
            cidfile.display()
        ))
        .into());
    }
    // Shared with other creations: until the record names the image and the networks, nobody may remove one as unused.
    let _unremoved = Lock::shared(&engine.paths.lock())?;
    crate::image::store::find(&engine.paths, &image.id.to_string())?;
    network::look_again(engine, &record.options)?;
    note_use(&engine.paths, &image.id);
    let mut undo = Undo {
        paths: Vec::new(),
        limited: None,
        volumes: New::none(engine),
    };
    let mut created = make(engine, record, &mut undo)?;
    created.warnings.extend(rest.warnings);
    undo.paths.clear();
    undo.limited = None;
    undo.volumes.keep();
    created.warnings.splice(0..0, discarded);
    super::event::container(engine, &created.record, "create", &[]);
    Ok(created)
}

fn make(engine: &Engine, mut record: Record, undo: &mut Undo<'_>) -> Result<Created> {
    let directory = Directory::of(engine, &record.id);
    let mark = engine.paths.mark(&record.id);
    // Held until the directory has its own lock: no sweeper takes the mark of what is not there yet for a leftover.
    let beginning = undo.mark(&mark)?;
    undo.directory(directory.path())?;
    let lock = Lock::directory(directory.path())?;
    drop(beginning);
    let durability = if record.options.auto_remove {
        Durability::Volatile
    } else {
        Durability::Durable
    };
    // A copy is made when its owners are at hand ([`super::root::fill`]).
    let parts: &[&str] = match engine.copies() {
        None => &["upper", "work"],
        Some(_) => &[],
    };
    for name in parts {
        let path = directory.file(name);
        std::fs::create_dir(&path).with_context(|| format!("create `{}`", path.display()))?;
    }
    record.name = take_name(engine, &record, undo)?;
    if let Some(bytes) = record.options.storage_size {
        quota::limit(engine, &record, bytes)?;
        undo.limited = Some((Directory::of(engine, &record.id), record.clone()));
    }
    // Held until the record names them: nobody may remove them before.
    let _volumes = mount_point::volumes::make(engine, &mut record, &mut undo.volumes)?;
    if let Some(cidfile) = &record.options.cidfile {
        undo.file(cidfile, record.id.as_bytes())?;
    }
    directory.write_record(&record, durability)?;
    if durability == Durability::Durable {
        for parent in [engine.paths.containers(), engine.paths.names()] {
            crate::store::atomic::sync_directory(&parent)?;
        }
        super::settle::unmark(engine, &record.id)?;
    }
    let warnings = warnings(engine, &record);
    Ok(Created {
        record,
        lock,
        warnings,
    })
}

fn warnings(engine: &Engine, record: &Record) -> Vec<String> {
    let user = user_warning(engine, record, &record.program.user);
    user.into_iter()
        .chain(network_warning(&record.options))
        .chain(ports_warning(&record.options))
        .collect()
}

/// Ports of the host lead into networks only.
fn ports_warning(options: &Options) -> Option<String> {
    let mode = match options.network {
        NetworkMode::Host => "host",
        NetworkMode::None => "none",
        NetworkMode::Path(_) => "ns",
        _ => return None,
    };
    let published = options.publish_all || !options.ports.is_empty();
    published.then(|| format!("Published ports are discarded when using {mode} network mode"))
}

/// Who shares the host's network reaches those who listen at abstract addresses (unix(7)), whatever the file systems.
fn network_warning(options: &Options) -> Option<String> {
    if options.network != NetworkMode::Host || options.privileged {
        return None;
    }
    let sockets = std::fs::read("/proc/net/unix").unwrap_or_default();
    let listeners = listening_abstract_names(&String::from_utf8_lossy(&sockets));
    let first = listeners.first()?;
    let others = match listeners.len() {
        1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    Some(format!(
        "the container shares the host's network and so reaches programs of the host by their abstract sockets: \
         {first}{others} (CVE-2020-15257)"
    ))
}

/// The names, each once, that proc_net_unix(5) shows with the flag of a listening socket.
fn listening_abstract_names(sockets: &str) -> Vec<String> {
    const LISTENS: &str = "00010000";
    let mut names: Vec<String> = Vec::new();
    for line in sockets.lines() {
        let mut words = line.split_ascii_whitespace();
        let listens = words.nth(3) == Some(LISTENS);
        if let Some(name) = words.nth(3).filter(|name| listens && name.starts_with('@')) {
            let name: String = name
                .chars()
                .map(|c| if c.is_control() { '?' } else { c })
                .collect();
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

/// What is otherwise than asked for where a program cannot become somebody else.
pub fn user_warning(engine: &Engine, record: &Record, user: &str) -> Option<String> {
    if engine.mapping.tier != Tier::Single {
        return None;
    }
    let user = match user.split(':').next() {
        None | Some("") => "root",
        Some(user) => user,
    };
    let nested = user_namespace::nested(&record.options, engine);
    let only = nested.map_or(0, |nested| nested.maps.owner().0);
    is_another(user, only).then(|| {
        let only = match only {
            0 => "root of the container".to_owned(),
            only => format!("the user {only}"),
        };
        format!(
            "the program runs as {only} and not as `{user}`: this host gives you a single id, which \
             --userns keep-id:uid=UID,gid=GID makes that of another user (see README, \"Without root\")"
        )
    })
}

/// Whether a user is known to be another one than the only one there is. Which number a name has is the image's to say.
fn is_another(user: &str, only: u32) -> bool {
    match user {
        "root" => only != 0,
        user => user.parse().map_or(only == 0, |uid: u32| uid != only),
    }
}

/// Takes the name that was asked for, or makes one up that nobody has.
fn take_name(engine: &Engine, record: &Record, undo: &mut Undo<'_>) -> Result<String> {
    if let Some(wanted) = &record.options.name {
        name::validate(wanted)?;
        if try_name(engine, wanted, &record.id, undo)? {
            return Ok(wanted.clone());
        }
        return Err(naming::taken(engine, wanted)
            .hint(format!(
                "remove it with `onggi rm {wanted}`, or choose another --name"
            ))
            .into());
    }
    for attempt in 0..NAME_ATTEMPTS {
        let candidate = name::candidate(attempt)?;
        if try_name(engine, &candidate, &record.id, undo)? {
            return Ok(candidate);
        }
    }
    Err(Error::new(Kind::Conflict, "no free name was found")
        .hint("give one with --name")
        .into())
}

fn try_name(engine: &Engine, name: &str, id: &str, undo: &mut Undo<'_>) -> Result<bool> {
    let claimed = naming::claim(engine, name, id)?;
    if claimed {
        undo.paths.push(engine.paths.names().join(name));
    }
    Ok(claimed)
}

/// What to remove again if the container does not come to exist.
struct Undo<'a> {
    paths: Vec<PathBuf>,
    /// What it writes is limited.
    limited: Option<(Directory, Record)>,
    volumes: New<'a>,
}

impl Undo<'_> {
    fn mark(&mut self, path: &Path) -> Result<Lock> {
        self.paths.push(path.to_owned());
        loop {
            if let Some(lock) = Lock::try_make(path)? {
                return Ok(lock);
            }
            std::thread::yield_now();
        }
    }

    fn directory(&mut self, path: &Path) -> Result<()> {
        std::fs::create_dir(path).with_context(|| format!("create `{}`", path.display()))?;
        self.paths.push(path.to_owned());
        Ok(())
    }

    fn file(&mut self, path: &Path, content: &[u8]) -> Result<()> {
        let mut file =
            File::create_new(path).with_context(|| format!("create `{}`", path.display()))?;
        self.paths.push(path.to_owned());
        file.write_all(content)
            .with_context(|| format!("write `{}`", path.display()))
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if let Some((directory, record)) = &self.limited {
            quota::release(directory, record);
        }
        for path in self.paths.iter().rev() {
            let _ = if path.is_dir() && !path.is_symlink() {
                tree::remove(path)
            } else {
                std::fs::remove_file(path)
            };
        }
    }
}

/// Joins what the image says and what was asked for, as Docker does.
fn program(options: &Options, engine: &Engine, image: &Execution) -> Result<Program> {
    let entrypoint = match &options.entrypoint {
        None => image.entrypoint.clone().unwrap_or_default(),
        Some(word) if word.is_empty() => Vec::new(),
        Some(word) => vec![word.clone()],
    };
    // An entrypoint of the caller's own does not go with the image's arguments.
    let command = match (options.command.is_empty(), &options.entrypoint) {
        (true, None) => image.cmd.clone().unwrap_or_default(),
        _ => options.command.clone(),
    };
    if entrypoint.is_empty() && command.is_empty() {
        return Err(bad_input("no command specified")
            .hint("the image names no program: put one after the image")
            .into());
    }
    let mut environment = vec![format!("PATH={DEFAULT_PATH}")];
    if options.tty {
        environment.push("TERM=xterm".into());
    }
    for entry in image.env.iter().chain(&options.env) {
        set(&mut environment, entry);
    }
    let working_directory = match options.working_dir.as_deref().unwrap_or(&image.working_dir) {
        "" => "/".to_owned(),
        directory if directory.starts_with('/') => directory.to_owned(),
        directory => {
            return Err(bad_input(format!(
                "the working directory '{directory}' is invalid, it needs to be an absolute path"
            ))
            .into());
        }
    };
    let pick =
        |asked: &Option<String>, image: &str| asked.clone().unwrap_or_else(|| image.to_owned());
    // The point of keeping one's id is to be oneself.
    let user = match (&options.userns, &options.user) {
        (UserNamespace::KeepId { uid, gid, .. }, None) => {
            let mapping = &engine.mapping;
            let (uid, gid) = (uid.unwrap_or(mapping.uid), gid.unwrap_or(mapping.gid));
            format!("{uid}:{gid}")
        }
        _ => pick(&options.user, &image.user),
    };
    Ok(Program {
        entrypoint,
        command,
        environment,
        working_directory,
        user,
        stop_signal: pick(&options.stop_signal, &image.stop_signal),
    })
}

/// Replaces a variable or appends it; a bare name takes it away.
pub(super) fn set(environment: &mut Vec<String>, entry: &str) {
    let key = entry.split('=').next().unwrap_or(entry);
    let found = environment
        .iter()
        .position(|known| known.split('=').next() == Some(key));
    match (found, entry.contains('=')) {
        (Some(index), true) => environment[index] = entry.to_owned(),
        (Some(index), false) => drop(environment.remove(index)),
        (None, true) => environment.push(entry.to_owned()),
        (None, false) => {}
    }
}

/// The host name that the container will have.
pub fn hostname(record: &Record) -> String {
    match (&record.options.hostname, record.options.uts) {
        (Some(name), _) => name.clone(),
        (None, Namespace::Host) => host_name(),
        (None, _) if record.options.network == NetworkMode::Host => host_name(),
        (None, _) => record.id[..12].to_owned(),
    }
}

fn host_name() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_cannot_be_is_told_from_the_only_one() {
        for (user, only, expected) in [
            ("root", 0, false),
            ("0", 0, false),
            ("1000", 0, true),
            ("app", 0, true),
            ("1000", 2000, true),
            ("2000", 2000, false),
            ("root", 2000, true),
            ("app", 2000, false),
        ] {
            assert_eq!(is_another(user, only), expected, "{user:?} {only}");
        }
    }

    #[test]
    fn who_listens_at_an_abstract_address() {
        let sockets = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 1 /run/file\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 2 @listens\x1b\n\
            0000000000000000: 00000002 00000000 00010000 0005 01 2 @listens\x1b\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 3 @connected\n\
            0000000000000000: 00000002 00000000 00010000 0005 01 4 @/tmp/other\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 5\n";
        assert_eq!(
            listening_abstract_names(sockets),
            ["@listens?", "@/tmp/other"]
        );
        assert!(listening_abstract_names("").is_empty());
    }

    #[test]
    fn entrypoint_and_command_follow_docker() {
        let image = Execution {
            entrypoint: Some(vec!["/entry".into()]),
            cmd: Some(vec!["arg".into()]),
            env: vec!["A=1".into(), "B=2".into()],
            ..Execution::default()
        };
        let engine = Engine {
            paths: crate::paths::Paths::new("/nowhere", "/nowhere"),
            mapping: crate::id_mapping::Mapping::detect().unwrap(),
            file_system: None,
            news: Vec::new(),
        };
        let words = |entrypoint: Option<&str>, command: &[&str]| {
            let options = Options {
                entrypoint: entrypoint.map(str::to_owned),
                command: command.iter().map(|word| (*word).to_owned()).collect(),
                env: vec!["A=9".into(), "B".into()],
                ..Options::default()
            };
            program(&options, &engine, &image).map(|program| {
                (
                    program.words().join(" "),
                    program.environment[1..].join(","),
                )
            })
        };
        assert_eq!(
            words(None, &[]).unwrap(),
            ("/entry arg".into(), "A=9".into())
        );
        assert_eq!(words(None, &["x", "y"]).unwrap().0, "/entry x y");
        assert_eq!(words(Some("/other"), &[]).unwrap().0, "/other");
        assert_eq!(words(Some(""), &["x"]).unwrap().0, "x");
        assert!(words(Some(""), &[]).is_err());
    }
}
