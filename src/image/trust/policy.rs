//! `policy.json` (containers-policy.json(5)): what must be true of an image before it is taken in. The caller's file
//! counts, or else the machine's; where there is neither, everything is accepted.
//!
//! Invariant: what is not understood is refused. A key, a type or a name that is unknown makes the whole file
//! unreadable; what is known and not supported (GPG, keyless signatures) refuses the images that it is about.

use super::node::Node;
use super::requirement::{Requirement, Requirements, requirements};
use crate::error::{Error, bad_input};
use crate::image::reference::{Reference, usual_domain};
use crate::paths;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The transport of images of registries.
pub const DOCKER: &str = "docker";
/// The scope of all names that no other is about.
pub const DEFAULT: &str = "default";

/// All that is to be true of which images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Where it was read.
    pub file: Option<PathBuf>,
    /// Of everything else.
    pub default: Requirements,
    /// By transport, then by scope.
    pub transports: BTreeMap<String, BTreeMap<String, Requirements>>,
}

/// The part of a policy that an image falls under.
#[derive(Clone, Copy, Debug)]
pub struct Rule<'a> {
    /// The scope as written; `default`, or nothing for all of a transport.
    pub scope: &'a str,
    /// All of them must be kept.
    pub requirements: &'a [Requirement],
}

impl Default for Policy {
    /// What counts where no file says anything: everything is accepted.
    fn default() -> Self {
        Self {
            file: None,
            default: vec![Requirement::Accept],
            transports: BTreeMap::new(),
        }
    }
}

impl Policy {
    /// Reads the file that counts.
    pub fn load() -> Result<Self> {
        for file in paths::policy_files() {
            match std::fs::read_to_string(&file) {
                Err(error)
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
                text => {
                    let text = text.with_context(|| format!("read `{}`", file.display()))?;
                    return Ok(Self::parse(&file, &text)?);
                }
            }
        }
        Ok(Self::default())
    }

    /// Reads the text of a file.
    pub fn parse(file: &Path, text: &str) -> Result<Self, Error> {
        let read = || {
            let value = super::node::parse(text)?;
            let top = Node::top(&value);
            let fields = top.object(&["default", "transports"])?;
            let Some(default) = fields.get("default") else {
                return Err(top.wrong("`default` is missing"));
            };
            let mut transports = BTreeMap::new();
            if let Some(given) = fields.get("transports") {
                for (transport, scopes) in given.members()? {
                    let mut read = BTreeMap::new();
                    for (scope, list) in scopes.members()? {
                        read.insert(scope.to_owned(), requirements(&list)?);
                    }
                    if transport == DOCKER {
                        refuse_contradiction(&scopes, &read)?;
                    }
                    transports.insert(transport.to_owned(), read);
                }
            }
            Ok((requirements(default)?, transports))
        };
        let (default, transports) = read().map_err(|error: Error| {
            let message = format!("the policy `{}`: {}", file.display(), error.message);
            let hint = error.hint.unwrap_or_else(|| {
                "containers-policy.json(5) describes the file; until it is mended no image is taken in".to_owned()
            });
            bad_input(message).hint(hint)
        })?;
        Ok(Self {
            file: Some(file.to_owned()),
            default,
            transports,
        })
    }

    /// What counts for an image of a registry: the scope that is nearest to its name.
    pub fn rule(&self, name: &Reference) -> Rule<'_> {
        let scopes = scopes(&name.usual());
        self.nearest(DOCKER, scopes.iter().map(String::as_str), usual_scope)
    }

    /// What counts for an image that is no registry's: of a file or directory, by the transport that podman has for it.
    pub fn rule_of_file(&self, transport: &str, path: &Path) -> Rule<'_> {
        let scopes = path.ancestors().filter_map(Path::to_str);
        self.nearest(transport, scopes, str::to_owned)
    }

    /// `usual` is what the scopes of the file are compared as.
    fn nearest<'a>(
        &self,
        transport: &str,
        mut scopes: impl Iterator<Item = &'a str>,
        usual: fn(&str) -> String,
    ) -> Rule<'_> {
        let of_transport = self.transports.get(transport);
        let found = of_transport.and_then(|of| {
            scopes
                .find_map(|scope| of.iter().find(|(written, _)| usual(written) == scope))
                .or_else(|| of.get_key_value(""))
        });
        match found {
            Some((scope, requirements)) => Rule {
                scope,
                requirements,
            },
            None => Rule {
                scope: DEFAULT,
                requirements: &self.default,
            },
        }
    }

    /// Whether images that no scope names are taken in as they are.
    pub fn is_open(&self) -> bool {
        let open = |requirements: &Requirements| {
            requirements.iter().all(|one| *one == Requirement::Accept)
        };
        let of_registries = self.transports.get(DOCKER).and_then(|of| of.get(""));
        open(of_registries.unwrap_or(&self.default))
    }

    /// How messages call it.
    pub fn shown(&self) -> String {
        match &self.file {
            Some(file) => format!("the policy `{}`", file.display()),
            None => "the policy".to_owned(),
        }
    }
}

/// A scope with its registry in the usual spelling, since a rule is about a registry however it is written.
pub(super) fn usual_scope(scope: &str) -> String {
    match scope.split_once('/') {
        Some((domain, path)) => format!("{}/{path}", usual_domain(domain)),
        None => usual_domain(scope),
    }
}

/// Two spellings of the same registry that say different things are a mistake, and nobody knows which of them counts.
fn refuse_contradiction(node: &Node, read: &BTreeMap<String, Requirements>) -> Result<(), Error> {
    let mut known: BTreeMap<String, (&String, &Requirements)> = BTreeMap::new();
    for (scope, requirements) in read {
        let before = known.insert(usual_scope(scope), (scope, requirements));
        if let Some((before, _)) = before.filter(|(_, before)| *before != requirements) {
            return Err(node.wrong(&format!(
                "`{before}` and `{scope}` are the same, and it says different things of them"
            )));
        }
    }
    Ok(())
}

/// All scopes that a name is in, the nearest first: itself, its repository, what that is below, its host, and the domains
/// of that.
fn scopes(name: &Reference) -> Vec<String> {
    let mut scopes = vec![name.canonical()];
    let repository = format!("{}/{}", name.domain(), name.path());
    let mut rest = repository.as_str();
    loop {
        scopes.push(rest.to_owned());
        match rest.rsplit_once('/') {
            Some((above, _)) => rest = above,
            None => break,
        }
    }
    let mut domain = rest.split(':').next().unwrap_or(rest);
    while let Some((_, above)) = domain.split_once('.') {
        scopes.push(format!("*.{above}"));
        domain = above;
    }
    scopes
}

/// A host, or a host with the beginning of repositories on it, whole components.
pub fn is_prefix(text: &str) -> bool {
    // A repository below it must be called so as it is written.
    let below = format!("{text}/x/x");
    let name: Result<Reference, _> = below.parse();
    name.is_ok_and(|name| name.canonical() == below)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn policy(text: &str) -> Result<Policy, Error> {
        Policy::parse(Path::new("/p/policy.json"), text)
    }

    fn signed(identity: &serde_json::Value) -> serde_json::Value {
        json!([{"type": "sigstoreSigned", "keyPath": "/k", "signedIdentity": identity}])
    }

    #[test]
    fn the_nearest_scope_counts() {
        let accept = json!([{"type": "insecureAcceptAnything"}]);
        let scopes = [
            "",
            "a.org",
            "a.org:5000",
            "a.org/team",
            "a.org/team/app",
            "a.org/team/app:1",
            "*.b.org",
            "c.b.org",
            "*.org",
            "docker.io/library/alpine",
        ];
        let scopes: serde_json::Map<String, serde_json::Value> = scopes
            .iter()
            .map(|scope| ((*scope).to_owned(), accept.clone()))
            .collect();
        let text = json!({"default": [{"type": "reject"}], "transports": {"docker": scopes, "dir": {"/a": accept}}});
        let policy = policy(&text.to_string()).unwrap();
        for (name, scope) in [
            ("a.org/x:1", "a.org"),
            ("a.org/teams/x:1", "a.org"),
            ("a.org/team/x:1", "a.org/team"),
            ("a.org/team/app:1", "a.org/team/app:1"),
            ("a.org/team/app:11", "a.org/team/app"),
            ("a.org:5000/team/app:1", "a.org:5000"),
            ("a.org:5001/team/app:1", "*.org"),
            ("x.b.org/y:1", "*.b.org"),
            ("x.y.b.org:443/y:1", "*.b.org"),
            ("c.b.org/y:1", "c.b.org"),
            ("b.org/y:1", "*.org"),
            ("alpine:3", "docker.io/library/alpine"),
            ("debian:3", ""),
        ] {
            let name: Reference = name.parse().unwrap();
            assert_eq!(policy.rule(&name).scope, scope, "{name}");
        }
        assert!(policy.is_open());
        for (transport, path, scope) in [
            ("dir", "/a/b", "/a"),
            ("dir", "/b", DEFAULT),
            ("oci", "/a", DEFAULT),
        ] {
            assert_eq!(policy.rule_of_file(transport, Path::new(path)).scope, scope);
        }
    }

    #[test]
    fn another_spelling_of_a_registry_is_no_way_around_a_rule() {
        let reject = json!([{"type": "reject"}]);
        let scopes = json!({"a.org": reject, "B.org:443/team": reject, "docker.io/evil": reject, "*.C.org": reject});
        let open = json!([{"type": "insecureAcceptAnything"}]);
        let policy =
            policy(&json!({"default": open, "transports": {"docker": scopes}}).to_string());
        let policy = policy.unwrap();
        for (name, scope) in [
            ("a.org:443/x:1", "a.org"),
            ("A.ORG/x:1", "a.org"),
            ("a.org:0443/x:1", "a.org"),
            ("a.org:80/x:1", "a.org"),
            ("a.org:5000/x:1", DEFAULT),
            ("b.org/team/x:1", "B.org:443/team"),
            ("b.org/teams/x:1", DEFAULT),
            ("registry-1.docker.io/evil/x:1", "docker.io/evil"),
            ("index.docker.io:443/evil/x:1", "docker.io/evil"),
            ("evil/x:1", "docker.io/evil"),
            ("X.c.org/x:1", "*.C.org"),
        ] {
            let name: Reference = name.parse().unwrap();
            assert_eq!(policy.rule(&name).scope, scope, "{name}");
        }
    }

    #[test]
    fn what_is_unknown_makes_a_policy_unreadable() {
        let list = |requirement: serde_json::Value| json!({"default": [requirement]}).to_string();
        let of = |identity: serde_json::Value| json!({"default": signed(&identity)}).to_string();
        for (text, part) in [
            ("{".to_owned(), "no valid JSON"),
            ("{}".to_owned(), "`default` is missing"),
            ("[]".to_owned(), "should be an object"),
            (r#"{"default":[]}"#.to_owned(), "default: it is empty"),
            (r#"{"default":[{"type":"reject"}],"defualt":[]}"#.to_owned(), "the key `defualt` is unknown"),
            (
                r#"{"default":[{"type":"reject"}],"default":[{"type":"insecureAcceptAnything"}]}"#.to_owned(),
                "the key `default` stands there twice",
            ),
            (list(json!({"type": "accept"})), "default[0]: the type `accept` is unknown"),
            (list(json!({"type": "reject", "x": 1})), "default[0]: the key `x` is unknown"),
            (list(json!({"keyPath": "/k"})), "`type` is missing"),
            (list(json!({"type": "sigstoreSigned"})), "and has 0"),
            (list(json!({"type": "sigstoreSigned", "keyPath": "/k", "keyData": ""})), "and has 2"),
            (list(json!({"type": "sigstoreSigned", "keyPath": "/k", "fulcio": {}})), "and has 2"),
            (list(json!({"type": "sigstoreSigned", "keyPaths": []})), "it has no key"),
            (list(json!({"type": "sigstoreSigned", "keyPath": 1})), "default[0].keyPath: it should be a text"),
            (list(json!({"type": "sigstoreSigned", "keyData": "%"})), "default[0].keyData: it is no base64"),
            (list(json!({"type": "signedBy", "keyring": "/k"})), "the key `keyring` is unknown"),
            (of(json!({"type": "matchAll"})), "default[0].signedIdentity: the type `matchAll` is unknown"),
            (of(json!({"type": "matchExact", "x": 1})), "the key `x` is unknown"),
            (of(json!({"type": "exactReference"})), "`dockerReference` is missing"),
            (of(json!({"type": "exactReference", "dockerReference": "a.org/x"})), "neither tag nor digest"),
            (of(json!({"type": "exactRepository", "dockerRepository": "a.org/x:1"})), "is no repository"),
            (of(json!({"type": "exactRepository", "dockerRepository": "A B"})), "invalid reference format"),
            (of(json!({"type": "remapIdentity", "prefix": "a.org"})), "`signedPrefix` is missing"),
            (of(json!({"type": "remapIdentity", "prefix": "alpine", "signedPrefix": "a.org"})), "neither a host"),
            (of(json!({"type": "remapIdentity", "prefix": "a.org/x:1", "signedPrefix": "a.org"})), "neither a host"),
            (
                r#"{"default":[{"type":"reject"}],"transports":{"docker":{"a.org/x":[{"type":"reject"}],"A.org:443/x":[{"type":"insecureAcceptAnything"}]}}}"#.to_owned(),
                "`A.org:443/x` and `a.org/x` are the same",
            ),
            (
                r#"{"default":[{"type":"reject"}],"transports":{"docker":{"a.org/x":[{"type":"x"}]}}}"#.to_owned(),
                "transports.docker[\"a.org/x\"][0]: the type `x`",
            ),
        ] {
            let error = policy(&text).expect_err(&text).message;
            assert!(error.starts_with("the policy `/p/policy.json`: ") && error.contains(part), "{text}: {error}");
        }
    }
}
