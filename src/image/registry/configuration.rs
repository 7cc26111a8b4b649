//! Where images come from: `registries.conf` of version 2 with its drop-ins (containers-registries.conf(5)). Read:
//! `[[registry]]` with prefix, location, insecure, blocked and mirrors; `[aliases]`.
//!
//! A short name is always Docker's: an alias only says where it is fetched from, never what it is called here, and
//! nothing asks. `unqualified-search-registries` is therefore without a meaning.

use super::proxy::is_local;
use crate::error::{Error, Kind, bad_input};
use crate::image::reference::Reference;
use crate::paths;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

/// What Docker calls its registry.
pub const DOCKER: &str = crate::image::reference::DEFAULT_DOMAIN;
/// Where that is, and where its search is.
const DOCKER_HOST: &str = "registry-1.docker.io";
const DOCKER_INDEX: &str = "index.docker.io";

/// All files together.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Configuration {
    registry: Vec<Registry>,
    aliases: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Registry {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirror: Vec<Mirror>,
    mirror_by_digest_only: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Mirror {
    location: String,
    insecure: bool,
    pull_from_mirror: String,
}

impl Registry {
    fn refuse_blocked(&self) -> Result<(), Error> {
        let message = || format!("registry {} is blocked in registries.conf", self.prefix);
        match self.blocked {
            true => Err(Error::new(Kind::Denied, message())),
            false => Ok(()),
        }
    }
}

/// A place where a repository may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The host, with its port if it is not the usual one.
    pub host: String,
    /// The repository there.
    pub repository: String,
    /// Neither TLS nor its certificates are insisted on.
    pub insecure: bool,
    /// The host that credentials are filed under: itself, whatever name has led there.
    pub account: String,
}

impl Place {
    /// Whether plain HTTP is good enough: within this machine, or where somebody says so.
    pub fn may_be_plain(&self) -> bool {
        self.insecure || is_local(host_of(&self.host))
    }
}

/// A host without its port.
fn host_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

impl Configuration {
    /// Reads the caller's files, or else the system's, and all drop-ins.
    pub fn load() -> Result<Self> {
        let mut whole = Self::default();
        for file in paths::registries_configuration()? {
            let text = match std::fs::read_to_string(&file) {
                Err(error)
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
                {
                    continue;
                }
                text => text.with_context(|| format!("read `{}`", file.display()))?,
            };
            whole.add(Self::parse(&file, &text)?);
        }
        Ok(whole)
    }

    fn parse(file: &Path, text: &str) -> Result<Self> {
        let bad = |error: toml::de::Error| {
            let line = error.span().map_or(0, |span| {
                text[..span.start.min(text.len())].lines().count().max(1)
            });
            let why = error.message().to_owned();
            bad_input(format!("`{}` line {line}: {why}", file.display()))
        };
        let mut read: Self = toml::from_str(text).map_err(bad)?;
        for registry in &mut read.registry {
            if registry.prefix.is_empty() {
                registry.prefix.clone_from(&registry.location);
            }
            if registry.prefix.is_empty() {
                return Err(bad_input(format!(
                    "`{}`: a registry has neither prefix nor location",
                    file.display()
                ))
                .into());
            }
        }
        Ok(read)
    }

    /// A later file replaces what an earlier one says of the same prefix or name; an empty alias undoes one.
    fn add(&mut self, later: Self) {
        self.registry
            .retain(|old| !later.registry.iter().any(|new| new.prefix == old.prefix));
        self.registry.extend(later.registry);
        self.aliases.extend(later.aliases);
    }

    /// What an alias makes of a name that is written `typed`; any other is itself.
    pub fn target(&self, reference: &Reference, typed: &str) -> Result<Reference> {
        let short = typed
            .split('@')
            .next()
            .unwrap_or(typed)
            .split(':')
            .next()
            .unwrap_or(typed);
        match self.aliases.get(short).filter(|alias| !alias.is_empty()) {
            Some(alias) => {
                let target: Reference = alias
                    .parse()
                    .with_context(|| format!("follow the alias of `{short}` to `{alias}`"))?;
                Ok(reference.in_repository_of(&target))
            }
            None => Ok(reference.clone()),
        }
    }

    /// Where a repository may be, in the order in which to ask. `typed` is the name as somebody wrote it.
    pub fn places(&self, reference: &Reference, typed: &str) -> Result<Vec<Place>> {
        let target = self.target(reference, typed)?;
        let name = format!("{}/{}", target.domain(), target.path());
        // Another spelling is no way around what is blocked.
        if let Some(registry) = self.find(&target.usual().untagged().canonical()) {
            registry.refuse_blocked()?;
        }
        let Some(registry) = self.find(&name) else {
            return Ok(vec![place(&name, false)?]);
        };
        registry.refuse_blocked()?;
        let mut places = Vec::new();
        for mirror in &registry.mirror {
            let wanted = match mirror.pull_from_mirror.as_str() {
                "digest-only" => reference.digest().is_some(),
                "tag-only" => reference.digest().is_none(),
                _ => !registry.mirror_by_digest_only || reference.digest().is_some(),
            };
            if wanted {
                let at = moved(&name, &registry.prefix, &mirror.location);
                places.push(place(&at, mirror.insecure)?);
            }
        }
        let at = moved(&name, &registry.prefix, &registry.location);
        places.push(place(&at, registry.insecure)?);
        Ok(places)
    }

    /// Where a registry as a whole is, then its mirrors; each repository of it begins with that of the place.
    pub fn registries(&self, domain: &str) -> Result<Vec<Place>> {
        let whole = |at: &str, insecure| {
            let (domain, repository) = at.split_once('/').unwrap_or((at, ""));
            let mut place = host(domain, insecure);
            if place.host == DOCKER_HOST {
                place.host = DOCKER_INDEX.to_owned();
            }
            place.repository = repository.to_owned();
            place
        };
        let Some(registry) = self.find(domain) else {
            return Ok(vec![whole(domain, false)]);
        };
        registry.refuse_blocked()?;
        let at = moved(domain, &registry.prefix, &registry.location);
        let mirrors = registry.mirror.iter().map(|mirror| {
            let at = moved(domain, &registry.prefix, &mirror.location);
            whole(&at, mirror.insecure)
        });
        Ok(std::iter::once(whole(&at, registry.insecure))
            .chain(mirrors)
            .collect())
    }

    /// Whether a host is one that need not have TLS.
    pub fn is_insecure(&self, domain: &str) -> bool {
        self.find(domain).is_some_and(|registry| registry.insecure)
    }

    /// The entry with the longest prefix of a name.
    fn find(&self, name: &str) -> Option<&Registry> {
        let fits = |registry: &&Registry| prefix_length(&registry.prefix, name).is_some();
        self.registry
            .iter()
            .filter(fits)
            .max_by_key(|registry| registry.prefix.len())
    }
}

/// How much of a name a prefix covers: whole components, or all hosts of a domain (`*.example.com`).
fn prefix_length(prefix: &str, name: &str) -> Option<usize> {
    if let Some(domain) = prefix.strip_prefix('*') {
        let end = name.find('/').unwrap_or(name.len());
        return host_of(&name[..end]).ends_with(domain).then_some(end);
    }
    let rest = name.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with('/') || (!prefix.contains('/') && rest.starts_with(':')))
        .then_some(prefix.len())
}

/// The name with another beginning.
fn moved(name: &str, prefix: &str, location: &str) -> String {
    match prefix_length(prefix, name).filter(|_| !location.is_empty()) {
        Some(length) => format!("{location}{}", &name[length..]),
        None => name.to_owned(),
    }
}

fn place(at: &str, insecure: bool) -> Result<Place> {
    let (domain, repository) = at
        .split_once('/')
        .ok_or_else(|| bad_input(format!("`{at}` in registries.conf names no repository")))?;
    let repository = match is_docker(domain) && !repository.contains('/') {
        true => format!("library/{repository}"),
        false => repository.to_owned(),
    };
    Ok(Place {
        repository,
        ..host(domain, insecure)
    })
}

/// Whether a host is Docker's registry by name.
pub fn is_docker(host: &str) -> bool {
    [DOCKER, DOCKER_INDEX].contains(&host)
}

/// The place of a registry itself, to log in to.
pub fn host(domain: &str, insecure: bool) -> Place {
    let is_docker = is_docker(domain) || domain == DOCKER_HOST;
    Place {
        host: if is_docker {
            DOCKER_HOST.to_owned()
        } else {
            domain.to_owned()
        },
        repository: String::new(),
        insecure,
        account: if is_docker {
            DOCKER.to_owned()
        } else {
            domain.to_owned()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
unqualified-search-registries = ["x.org"]
short-name-mode = "enforcing"
[[registry]]
location = "docker.io"
[[registry.mirror]]
location = "mirror.org:5000/hub"
insecure = true
[[registry.mirror]]
location = "digests.org"
pull-from-mirror = "digest-only"
[[registry]]
prefix = "docker.io/evil"
blocked = true
[[registry]]
prefix = "*.example.com"
location = "real.org/x"
[[registry]]
prefix = "plain.org"
insecure = true
[aliases]
"fedora" = "registry.example.org/fedora"
"#;

    fn places(name: &str) -> Result<Vec<(String, bool)>> {
        let configuration = Configuration::parse(Path::new("f"), TEXT)?;
        let reference: Reference = name.parse()?;
        let places = configuration.places(&reference.or_latest(), name)?;
        let shown = |place: Place| {
            (
                format!("{}/{}", place.host, place.repository),
                place.insecure,
            )
        };
        Ok(places.into_iter().map(shown).collect())
    }

    #[test]
    fn names_lead_to_places() {
        let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let at = |place: &str, insecure| (place.to_owned(), insecure);
        for (name, expected) in [
            (
                "alpine".to_owned(),
                vec![
                    at("mirror.org:5000/hub/library/alpine", true),
                    at("registry-1.docker.io/library/alpine", false),
                ],
            ),
            (
                format!("alpine@{digest}"),
                vec![
                    at("mirror.org:5000/hub/library/alpine", true),
                    at("digests.org/library/alpine", false),
                    at("registry-1.docker.io/library/alpine", false),
                ],
            ),
            (
                "fedora:40".to_owned(),
                vec![at("registry.example.org/fedora", false)],
            ),
            (
                "a.example.com/b".to_owned(),
                vec![at("real.org/x/b", false)],
            ),
            ("plain.org/b".to_owned(), vec![at("plain.org/b", true)]),
            (
                "plain.org:5000/b".to_owned(),
                vec![at("plain.org:5000/b", true)],
            ),
            ("plain.organ/b".to_owned(), vec![at("plain.organ/b", false)]),
        ] {
            assert_eq!(places(&name).unwrap(), expected, "{name}");
        }
        for name in [
            "evil/x",
            "registry-1.docker.io:443/evil/x",
            "Index.docker.io/evil/x",
        ] {
            let error = places(name).unwrap_err().to_string();
            assert!(error.contains("blocked"), "{name}: {error}");
        }
    }

    #[test]
    fn nobody_gets_the_credentials_of_another() {
        let configuration = Configuration::parse(Path::new("f"), TEXT).unwrap();
        let accounts = |name: &str| {
            let places = configuration.places(&name.parse().unwrap(), name).unwrap();
            let accounts = places.into_iter().map(|place| place.account);
            accounts.collect::<Vec<_>>()
        };
        assert_eq!(accounts("alpine:3"), ["mirror.org:5000", "docker.io"]);
        assert_eq!(accounts("a.example.com/b:1"), ["real.org"]);
        let moved = configuration.registries("a.example.com").unwrap();
        assert_eq!(moved[0].account, "real.org");
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        for (text, part) in [
            ("\n[[registry]]\nprefix = 3\n", "`f` line 3"),
            (
                "[[registry]]\ninsecure = true\n",
                "neither prefix nor location",
            ),
            ("[[registry", "`f` line 1"),
        ] {
            let error = Configuration::parse(Path::new("f"), text)
                .unwrap_err()
                .to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn only_this_machine_may_be_plain() {
        for (domain, plain) in [
            ("localhost:5000", true),
            ("[::1]:5000", true),
            ("127.0.0.1", true),
            ("a.org:80", false),
        ] {
            assert_eq!(host(domain, false).may_be_plain(), plain, "{domain}");
        }
        assert_eq!(host("docker.io", false).host, "registry-1.docker.io");
    }
}
