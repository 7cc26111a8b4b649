//! What Docker's command line has and this one has not, with the reason, as data.
//!
//! Three fates: *not yet* and *never* end with exit code 125 and one line; what scripts carry around although
//! it does nothing any more is accepted, with a warning where it asks for something. A flag that a command
//! declares itself wins over this table, so a row here never hides something that works.

use crate::error::{Error, Kind};
use clap::ArgMatches;

/// What happens to a command or flag that is not here.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    /// It will come; the text says what is missing.
    NotYet(&'static str),
    /// It will not come; the text says why.
    Never(&'static str),
    /// Taken without a word: it changes nothing here or in Docker.
    Ignored,
    /// Taken with a warning: it has no effect; the text says why.
    Warned(&'static str),
    /// Only this value, which is what happens anyway; others will come.
    Only(&'static str, &'static str),
}

/// One flag of the table.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Long name without dashes.
    pub name: &'static str,
    /// One letter, where Docker has one.
    pub short: Option<char>,
    /// Takes a value.
    pub value: bool,
    /// What happens to it.
    pub fate: Fate,
}

const CREATE: &[&str] = &["container run", "container create"];
const SWARM_NETWORKS: Fate = Fate::Never("it is of networks of a cluster only");
const CLUSTER_VOLUMES: Fate = Fate::Never("it is of volumes of a cluster only");
const WINDOWS: Fate = Fate::Never("it exists on Windows only");
const CGROUP_V1: Fate = Fate::Warned("it exists in cgroup version 1 only");
const CHECKPOINT: Fate = Fate::NotYet("there are no checkpoints");
const SWARM: Fate = Fate::Never(
    "a cluster needs managers that run all the time; for one host there will be compose and systemd units",
);
const TRUST: Fate = Fate::Never(
    "Docker Content Trust is being retired; `onggi trust add` says whose signatures by cosign count",
);
const PLUGIN: Fate = Fate::Never("plugins live in a daemon, and there is none");
const BUILD: Fate =
    Fate::NotYet("the builder builds Dockerfiles one at a time, and keeps no history");
const COMPOSE: Fate = Fate::NotYet("there is no compose");

/// Flags by command. `name/s=`: long name, letter, and `=` where a value follows.
const FLAGS: &[(&[&str], &str, Fate)] = &[
    (
        CREATE,
        "use-api-socket",
        Fate::NotYet("there is no API socket"),
    ),
    (
        CREATE,
        "cpu-count= cpu-percent= io-maxbandwidth= io-maxiops=",
        WINDOWS,
    ),
    (
        &["container run", "container create", "container update"],
        "cpu-rt-period= cpu-rt-runtime=",
        CGROUP_V1,
    ),
    (CREATE, "disable-content-trust", Fate::Ignored),
    (
        &["image pull", "image push"],
        "disable-content-trust",
        Fate::Ignored,
    ),
    (
        CREATE,
        "kernel-memory=",
        Fate::Warned("the kernel has no such limit any more"),
    ),
    (
        CREATE,
        "isolation=",
        Fate::Only("default", "it exists on Windows only"),
    ),
    (
        CREATE,
        "runtime=",
        Fate::Only("onggi", "no other runtime can be used"),
    ),
    (
        &["image build"],
        "squash squash-all",
        Fate::NotYet("layers are kept as the steps have made them"),
    ),
    // Podman's, with what Docker's command line has for it.
    (
        &["image build"],
        "all-platforms manifest=",
        Fate::Never("`-t NAME --platform linux/amd64,linux/arm64` makes one list of both"),
    ),
    (
        &["image build"],
        "from=",
        Fate::Never(
            "`--build-context NAME=docker-image://OTHER` takes the place of `FROM NAME`, `--build-arg` that of `FROM $NAME`",
        ),
    ),
    (
        &["image build"],
        "volume/v=",
        Fate::Never(
            "`RUN --mount=type=bind,from=NAME` shows what `--build-context NAME=DIRECTORY` names, `type=cache` keeps files",
        ),
    ),
    (
        &["image build"],
        "dns= dns-search= dns-option=",
        Fate::Never("names are resolved as in the network of a step; `--add-host` adds some"),
    ),
    (
        &["image build"],
        "userns= userns-uid-map= userns-gid-map=",
        Fate::Never("steps run in the user namespace of the store"),
    ),
    (
        &["image build"],
        "ignorefile=",
        Fate::Never(
            "`DOCKERFILE.dockerignore` beside the Dockerfile is taken before `.dockerignore`",
        ),
    ),
    (
        &["image build"],
        "creds=",
        Fate::Never("`onggi login` remembers them, `--authfile` names another file of them"),
    ),
    (
        &["image build"],
        "cap-add= cap-drop=",
        Fate::Never(
            "`--allow security.insecure` and `RUN --security=insecure` give a step all of them",
        ),
    ),
    (
        &["image build"],
        "device=",
        Fate::Never("`RUN --device=NAME` gives a step one"),
    ),
    (
        &["image build"],
        "env= unsetenv=",
        Fate::Never(
            "`ENV` in the Dockerfile sets variables of the image, `--build-arg` those of its steps",
        ),
    ),
    (
        &["image build"],
        "unsetlabel= identity-label=",
        Fate::Never("an image has the labels of its base, its Dockerfile and `--label`"),
    ),
    (
        &["image build"],
        "debug/D rm force-rm compress disable-content-trust layers rewrite-timestamp omit-history= skip-unused-stages",
        Fate::Ignored,
    ),
    (
        &["image build"],
        "isolation=",
        Fate::Only("default", "steps are isolated as containers are"),
    ),
    (
        &[
            "builder prune",
            "buildx du",
            "buildx inspect",
            "buildx ls",
            "buildx create",
            "buildx use",
            "buildx stop",
            "buildx rm",
            "buildx version",
        ],
        "debug/D",
        Fate::Ignored,
    ),
    (&["buildx version"], "builder=", Fate::Ignored),
    (
        &["container start"],
        "checkpoint= checkpoint-dir=",
        CHECKPOINT,
    ),
    (
        &["container update"],
        "kernel-memory=",
        Fate::Warned("the kernel has no such limit any more"),
    ),
    (
        &["network create"],
        "config-from= config-only ingress scope=",
        SWARM_NETWORKS,
    ),
    (
        &["volume create"],
        "availability= group= limit-bytes= required-bytes= scope= secret= sharing= topology-preferred= \
         topology-required= type=",
        CLUSTER_VOLUMES,
    ),
    (&["volume ls"], "cluster", CLUSTER_VOLUMES),
    (
        &["image ls"],
        "tree",
        Fate::NotYet("images are shown as a table only"),
    ),
];

/// Commands, by first word or by noun and verb; the longer one wins.
const COMMANDS: &[(&str, Fate)] = &[
    ("buildx", BUILD),
    (
        "buildx.imagetools",
        Fate::NotYet(
            "`manifest inspect`, `manifest create` with `manifest push`, and `image copy` do what it does",
        ),
    ),
    ("volume.update", CLUSTER_VOLUMES),
    ("checkpoint", CHECKPOINT),
    (
        "context system.dial-stdio",
        Fate::NotYet("containers run on this machine only"),
    ),
    ("secret", Fate::NotYet("there are no secrets")),
    ("compose", COMPOSE),
    ("config node service stack swarm", SWARM),
    ("plugin", PLUGIN),
    (
        "trust.inspect trust.key trust.revoke trust.sign trust.signer",
        TRUST,
    ),
    (
        "buildx.dial-stdio",
        Fate::Never("there is no builder daemon to speak to"),
    ),
    (
        "compose.bridge",
        Fate::Never("what it converts to can be written from the compose file itself"),
    ),
];

/// The flags of one command (noun and verb).
fn flags(command: &str) -> impl Iterator<Item = Flag> {
    FLAGS
        .iter()
        .filter(move |(commands, ..)| commands.contains(&command))
        .flat_map(|(_, names, fate)| {
            names.split(' ').map(|word| {
                let (name, value) = word
                    .strip_suffix('=')
                    .map_or((word, false), |name| (name, true));
                let (name, short) = name
                    .split_once('/')
                    .map_or((name, None), |(name, short)| (name, short.chars().next()));
                Flag {
                    name,
                    short,
                    value,
                    fate: *fate,
                }
            })
        })
}

/// The flags of a command that are taken although they do nothing.
pub fn accepted(command: &str) -> impl Iterator<Item = Flag> {
    flags(command)
        .filter(|flag| matches!(flag.fate, Fate::Ignored | Fate::Warned(_) | Fate::Only(..)))
}

/// The refusal of a flag, written `--name` or `-n`; `None` when Docker does not have it either.
pub fn flag(command: &str, written: &str) -> Option<Error> {
    let found = match written.strip_prefix("--") {
        Some(name) => flags(command).find(|flag| flag.name == name),
        None => {
            flags(command).find(|flag| flag.short.is_some() && flag.short == written.chars().nth(1))
        }
    }?;
    refusal(&format!("--{}", found.name), found.fate)
}

/// The refusal of a command; `None` when Docker does not have it either.
pub fn command(program: &str, words: &[String]) -> Option<Error> {
    let verb = words.get(..2).map(|pair| pair.join("."));
    let noun = words.first().cloned();
    [verb, noun].into_iter().flatten().find_map(|wanted| {
        let (_, fate) = COMMANDS
            .iter()
            .find(|(names, _)| names.split(' ').any(|name| name == wanted))?;
        refusal(&format!("'{program} {}'", wanted.replace('.', " ")), *fate)
    })
}

/// Looks at the accepted flags that were given: warnings to print, or the refusal of a value.
pub fn check(command: &str, matches: &ArgMatches) -> Result<Vec<String>, Error> {
    let mut warnings = Vec::new();
    for flag in accepted(command) {
        let values = matches
            .try_get_raw(flag.name)
            .ok()
            .flatten()
            .into_iter()
            .flatten();
        let given = matches.value_source(flag.name) == Some(clap::parser::ValueSource::CommandLine);
        match flag.fate {
            Fate::Warned(why) if given => {
                warnings.push(format!("--{} has no effect: {why}", flag.name))
            }
            Fate::Only(value, why) => {
                if let Some(other) = values
                    .filter_map(|value| value.to_str())
                    .find(|given| !["", value].contains(given))
                {
                    let subject = format!("--{} {other}", flag.name);
                    return Err(not_yet(&subject, why));
                }
            }
            _ => {}
        }
    }
    Ok(warnings)
}

/// The one line that says so.
fn refusal(subject: &str, fate: Fate) -> Option<Error> {
    match fate {
        Fate::NotYet(why) => Some(not_yet(subject, why)),
        Fate::Never(why) => Some(Error::new(
            Kind::Unsupported,
            format!("{subject} is not supported: {why}"),
        )),
        Fate::Ignored | Fate::Warned(_) | Fate::Only(..) => None,
    }
}

/// The refusal of something that will come.
pub fn not_yet(subject: &str, why: &str) -> Error {
    let message = format!("{subject} is not supported yet: {why} (see README, \"Not there yet\")");
    Error::new(Kind::Unsupported, message)
}
