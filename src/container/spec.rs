//! From a record to an OCI configuration (runtime-spec, config.md): Docker's defaults and what the options change.
//! Makes nothing and touches nothing.

use super::confinement;
use super::create::hostname;
use super::engine::Engine;
use super::mount_point;
use super::network;
use super::options::{Namespace, NetworkMode, Options, Seccomp, Ulimit};
use super::record::{Directory, Record};
use super::user_namespace::nested;
use crate::error::bad_input;
use crate::id_mapping::{Range, Tier, outside};
use crate::runtime::capabilities::{self, CapabilitySet, ProcessCapabilities};
use crate::runtime::lsm;
use crate::runtime::seccomp::{self, Circumstances, Filter, Identity, KernelVersion};
use anyhow::Result;
use oci_spec::runtime::{
    BoxBuilder, ContainerState, Linux, LinuxIdMapping, LinuxIdMappingBuilder, LinuxNamespace,
    LinuxNamespaceType, Mount, PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Process, Root,
    Spec, State, User,
};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

pub(super) const DEFAULT_SHM_SIZE: u64 = 64 << 20;
/// Where `--init` puts itself: in the fresh `/dev`, so that it leaves no trace in the image, or beside other programs
/// where `/dev` is something that was mounted.
pub const INIT_PATHS: [&str; 2] = ["/dev/init", "/sbin/onggi-init"];

/// The configuration of a container, without the devices of the host ([`super::device::add`]).
pub fn build(record: &Record, engine: &Engine) -> Result<Spec> {
    let options = &record.options;
    let mut linux = Linux::default();
    linux.set_namespaces(Some(namespaces(options, engine)));
    if let Some(nested) = nested(options, engine) {
        linux.set_uid_mappings(Some(id_mappings(&nested.maps.uids)?));
        linux.set_gid_mappings(Some(id_mappings(&nested.maps.gids)?));
    }
    linux.set_resources(options.resources.to_oci()?);
    linux.set_sysctl(Some(options.sysctls.clone().into_iter().collect()));
    let contexts = confinement::contexts(record)?;
    linux.set_mount_label(contexts.map(|contexts| contexts.mount));
    let (masked, read_only) = confinement::guarded_paths(options).unzip();
    linux.set_masked_paths(masked);
    linux.set_readonly_paths(read_only);
    let mut root = Root::default();
    root.set_readonly(Some(options.read_only));
    let mut spec = Spec::default();
    spec.set_root(Some(root));
    let own_names = options.uts == Namespace::Private;
    if !own_names && (options.hostname.is_some() || options.domainname.is_some()) {
        return Err(bad_input("conflicting options: hostname and the UTS mode").into());
    }
    spec.set_hostname(own_names.then(|| hostname(record)));
    spec.set_domainname(options.domainname.clone());
    spec.set_mounts(Some(mounts(record, engine)?));
    spec.set_process(Some(process(record, engine)?));
    spec.set_annotations(Some(options.annotations.clone().into_iter().collect()));
    spec.set_linux(Some(linux));
    Ok(spec)
}

/// The capabilities that the options leave.
pub fn capabilities(options: &Options, engine: &Engine) -> Result<CapabilitySet> {
    let available = match engine.mapping.tier {
        Tier::Root if nested(options, engine).is_none() => CapabilitySet::bounding(),
        // Root of a user namespace of its own has all there are, whatever its maker has.
        _ => CapabilitySet::known(),
    };
    capabilities::tweak(
        CapabilitySet::DOCKER_DEFAULT,
        &options.cap_add,
        &options.cap_drop,
        options.privileged,
        available,
    )
}

fn id_mappings(ranges: &[Range]) -> Result<Vec<LinuxIdMapping>> {
    let mapping = |range: &Range| {
        let builder = LinuxIdMappingBuilder::default();
        builder
            .container_id(range.inside)
            .host_id(range.outside)
            .size(range.size)
            .build()
    };
    Ok(ranges.iter().map(mapping).collect::<Result<_, _>>()?)
}

fn namespaces(options: &Options, engine: &Engine) -> Vec<LinuxNamespace> {
    use LinuxNamespaceType as T;
    let own = |typ| {
        let mut namespace = LinuxNamespace::default();
        namespace.set_typ(typ);
        namespace
    };
    let optional = [
        (T::Uts, options.uts),
        (T::Ipc, options.ipc),
        (T::Pid, options.pid),
        (T::Cgroup, options.cgroupns),
    ];
    let chosen = optional
        .into_iter()
        .filter(|(_, namespace)| *namespace != Namespace::Host);
    let user = nested(options, engine).map(|_| T::User);
    let network = options.network.is_own().then_some(T::Network);
    [T::Mount]
        .into_iter()
        .chain(user)
        .chain(network)
        .chain(chosen.map(|(typ, _)| typ))
        .map(own)
        .collect()
}

/// The program of a container and what it runs as.
pub fn process(record: &Record, engine: &Engine) -> Result<Process> {
    let (options, program) = (&record.options, &record.program);
    let mut user = User::default();
    user.set_username(Some(program.user.clone()));
    let mut words = program.words();
    if options.init {
        words.splice(0..0, [init_path(record).to_owned(), "--".to_owned()]);
    }
    let mut environment = program.environment.clone();
    if !environment
        .iter()
        .any(|entry| entry.starts_with("HOSTNAME="))
    {
        // After PATH, unless that was taken away.
        let place = environment.len().min(1);
        environment.insert(place, format!("HOSTNAME={}", hostname(record)));
    }
    let mut process = Process::default();
    process.set_terminal(Some(options.tty));
    process.set_console_size(console_size(options));
    process.set_user(user);
    process.set_args(Some(words));
    process.set_env(Some(environment));
    process.set_cwd(PathBuf::from(&program.working_directory));
    // The user is known only inside; init takes from it what a user other than root does not have.
    process.set_capabilities(Some(
        ProcessCapabilities::docker(capabilities(options, engine)?, 0).to_oci(),
    ));
    process.set_rlimits(Some(
        options.ulimits.iter().map(rlimit).collect::<Result<_>>()?,
    ));
    // Without a wish it stays what it is outside: an ordinary user could not even write 0 where that is less.
    process.set_oom_score_adj(match options.oom_score_adj {
        0 => None,
        adjustment => Some(i32::try_from(adjustment)?),
    });
    process.set_no_new_privileges(Some(options.security.no_new_privileges));
    process.set_apparmor_profile(confinement::apparmor_profile(options));
    let contexts = confinement::contexts(record)?;
    process.set_selinux_label(contexts.map(|contexts| contexts.process));
    Ok(process)
}

/// As `config.json` has it.
pub fn rlimit(ulimit: &Ulimit) -> Result<PosixRlimit> {
    use PosixRlimitType as T;
    let typ = match ulimit.name.as_str() {
        "as" => T::RlimitAs,
        "core" => T::RlimitCore,
        "cpu" => T::RlimitCpu,
        "data" => T::RlimitData,
        "fsize" => T::RlimitFsize,
        "locks" => T::RlimitLocks,
        "memlock" => T::RlimitMemlock,
        "msgqueue" => T::RlimitMsgqueue,
        "nice" => T::RlimitNice,
        "nofile" => T::RlimitNofile,
        "nproc" => T::RlimitNproc,
        "rss" => T::RlimitRss,
        "rtprio" => T::RlimitRtprio,
        "rttime" => T::RlimitRttime,
        "sigpending" => T::RlimitSigpending,
        "stack" => T::RlimitStack,
        other => return Err(bad_input(format!("invalid ulimit type: {other}")).into()),
    };
    // -1 is all bits set, which is how the kernel writes "unlimited".
    Ok(PosixRlimitBuilder::default()
        .typ(typ)
        .soft(ulimit.soft as u64)
        .hard(ulimit.hard as u64)
        .build()?)
}

fn mounts(record: &Record, engine: &Engine) -> Result<Vec<Mount>> {
    let options = &record.options;
    let access = if options.privileged { "rw" } else { "ro" };
    let mut devices = vec!["nosuid", "strictatime", "mode=755", "size=65536k"];
    if !options.privileged {
        // Of the nodes that a container may make, none is a way to the host's devices.
        devices.push("nodev");
    }
    let mut all = vec![
        filesystem("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        filesystem("/dev", "tmpfs", &devices),
        filesystem("/sys", "sysfs", &["nosuid", "noexec", "nodev", access]),
    ];
    all.push(terminals(options, engine));
    all.push(filesystem(
        "/sys/fs/cgroup",
        "cgroup2",
        &["nosuid", "noexec", "nodev", access],
    ));
    // The host's queues cannot be shown where the host itself does not show them.
    if options.ipc != Namespace::Host || std::path::Path::new("/dev/mqueue").is_dir() {
        all.push(filesystem(
            "/dev/mqueue",
            "mqueue",
            &["nosuid", "noexec", "nodev"],
        ));
    }
    if !options.tmpfs.contains_key("/dev/shm") {
        match options.ipc {
            Namespace::Private => {
                let size = format!("size={}", options.shm_size.unwrap_or(DEFAULT_SHM_SIZE));
                all.push(filesystem(
                    "/dev/shm",
                    "tmpfs",
                    &["nosuid", "noexec", "nodev", "mode=1777", &size],
                ));
            }
            Namespace::Host => all.push(bind(Path::new("/dev/shm"), "/dev/shm", &["rbind"])),
            Namespace::None => {}
        }
    }
    for (target, given) in &options.tmpfs {
        all.push(tmpfs(target, given));
    }
    // Who shares a network shares what says where names lead.
    let directory = match &options.network {
        NetworkMode::Container(id) => Directory::of(engine, &network::owner(engine, id)?),
        _ => Directory::of(engine, &record.id),
    };
    for (name, target) in mount_point::OWN_FILES {
        all.push(bind(
            &directory.file(name),
            target,
            if options.read_only {
                &["bind", "ro"]
            } else {
                &["bind"]
            },
        ));
    }
    let nested = |label: &String| label == confinement::NESTED;
    if options.security.label.iter().any(nested) && lsm::has_selinux() {
        let place = "/sys/fs/selinux";
        all.push(bind(Path::new(place), place, &["bind", "nosuid", "noexec"]));
    }
    if options.init {
        let program = super::spawn::own_path()?;
        all.push(bind(&program, init_path(record), &["bind", "ro", "nosuid"]));
    }
    let own = mount_point::mounts(record, engine)?;
    // What is asked for takes the place of what every container has, and all of `/dev` takes that of what lies there.
    let targets: BTreeSet<&OsStr> = own
        .iter()
        .map(|own| own.destination().as_os_str())
        .collect();
    let has_own_devices = has_own_devices(record);
    all.retain(|mount| {
        let target = mount.destination();
        !targets.contains(target.as_os_str())
            && (!has_own_devices || !target.starts_with("/dev") || is_asked(options, target))
    });
    all.extend(own);
    // A mount comes after the one that its place lies in.
    all.sort_by_cached_key(|mount| mount.destination().components().count());
    Ok(all)
}

fn terminals(options: &Options, engine: &Engine) -> Mount {
    let mut words = vec![
        "nosuid",
        "noexec",
        "newinstance",
        "ptmxmode=0666",
        "mode=0620",
    ];
    let has_group = match nested(options, engine) {
        Some(nested) => outside(&nested.maps.gids, 5).is_some(),
        None => engine.mapping.contains_gid(5),
    };
    if has_group {
        // The group `tty`, by Debian's and Docker's number.
        words.push("gid=5");
    }
    filesystem("/dev/pts", "devpts", &words)
}

fn console_size(options: &Options) -> Option<oci_spec::runtime::Box> {
    let (height, width) = options.console_size?;
    let size = BoxBuilder::default().height(height).width(width);
    size.build().ok()
}

fn is_asked(options: &Options, target: &Path) -> bool {
    options.tmpfs.keys().any(|asked| Path::new(asked) == target)
}

fn has_own_devices(record: &Record) -> bool {
    let mut targets = record
        .mounts
        .iter()
        .map(|point| point.request.target.as_str());
    targets.any(|target| target == "/dev")
}

fn init_path(record: &Record) -> &'static str {
    INIT_PATHS[usize::from(has_own_devices(record))]
}

/// `--tmpfs`, which Docker mounts hardened unless the options say otherwise.
fn tmpfs(target: &str, given: &str) -> Mount {
    let words = given.split(',').filter(|word| !word.is_empty());
    let options = mount_point::tmpfs_words(words);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    filesystem(target, "tmpfs", &options)
}

fn filesystem(target: &str, kind: &str, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount.set_destination(target.into());
    mount.set_typ(Some(kind.into()));
    mount.set_source(Some(kind.into()));
    mount.set_options(Some(
        options.iter().map(|option| (*option).to_owned()).collect(),
    ));
    mount
}

fn bind(source: &Path, target: &str, options: &[&str]) -> Mount {
    let mut mount = filesystem(target, "bind", options);
    mount.set_source(Some(source.to_owned()));
    mount
}

/// What others are told of a container whose process is in hand (runtime-spec, runtime.md, "State").
pub fn state(record: &Record, directory: &Directory, status: ContainerState) -> State {
    let mut state = State::default();
    state
        .set_version(Spec::default().version().clone())
        .set_id(record.id.clone())
        .set_status(status)
        .set_bundle(directory.path().to_owned())
        .set_annotations(Some(
            record.options.annotations.clone().into_iter().collect(),
        ));
    state
}

/// The same where only one id is mapped and the parent wants to know of changes of owners.
pub fn recording_seccomp(options: &Options, engine: &Engine) -> Result<Filter> {
    let circumstances = Circumstances {
        capabilities: capabilities(options, engine)?,
        kernel: KernelVersion::running(),
    };
    seccomp::recording_filter((!options.privileged).then_some(circumstances))
}

/// The policy for system calls, compiled; `None` for no filter at all.
pub fn seccomp(options: &Options, engine: &Engine) -> Result<Option<Filter>> {
    // With a single id, calls that would need another one pretend to have worked.
    let identity = match engine.mapping.tier {
        Tier::Single => Identity::Single,
        _ => Identity::Mapped,
    };
    let circumstances = || {
        Ok::<_, anyhow::Error>(Circumstances {
            capabilities: capabilities(options, engine)?,
            kernel: KernelVersion::running(),
        })
    };
    let unconfined = match identity {
        Identity::Single | Identity::Recorded => Some(seccomp::no_op_filter()?),
        Identity::Mapped => None,
    };
    let filter = match (&options.security.seccomp, options.privileged) {
        (Seccomp::Unconfined, _) | (Seccomp::Default, true) => unconfined,
        (Seccomp::Default, false) => Some(seccomp::default_filter(circumstances()?, identity)),
        (Seccomp::Policy(text), _) => Some(seccomp::compile(
            &seccomp::parse_policy(text, circumstances()?)?,
            identity,
        )?),
    };
    // Whoever is free of filters may leave his limit as well.
    match filter {
        Some(filter) if options.storage_size.is_some() => filter.keeping_projects().map(Some),
        filter => Ok(filter),
    }
}
