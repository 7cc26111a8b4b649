//! Whose images are taken in: the policy, and signatures that keep it. Everything is decided from what the policy, the
//! key and the registry say, offline: no certificates, no logs, no time stamps, no GPG.
//!
//! - `policy`: what must be true of which images, read from `policy.json`; `requirement`: one such thing; `node` reads
//!   JSON that must be understood
//! - `key`: who may sign · `identity`: for which name
//! - `evidence`: the signatures that a registry has · `signature`, `bundle`: what they are worth
//! - `edit`: `trust add` and `trust rm` · `words`: what it all means
//!
//! ```text
//! name ─▶ rule ─▶ demands ─▶ the manifest or index that the name leads to ─▶ signatures of its digest ─┬▶ kept
//!                              └▶ the manifest for the platform ─▶ signatures of that digest ──────────┴▶ or refused
//! ```
//!
//! Invariant: what was verified is a digest, and all that is taken in then is reached from it by digests. A signature of
//! an index is one of all that it leads to, as with `cosign`; where the index has none, the manifest that was chosen from
//! it may have one of its own, as with podman.

pub mod bundle;
pub mod edit;
pub mod evidence;
pub mod identity;
pub mod key;
pub mod node;
pub mod policy;
pub mod requirement;
pub mod signature;
pub mod words;

use super::reference::Reference;
use super::registry::{Fetched, Repository};
use crate::error::{Error, Kind};
use anyhow::{Context, Result};
use evidence::Evidence;
use identity::Identity;
use key::Key;
use policy::Policy;
use requirement::{KeySource, Requirement};
use signature::{Candidate, Reason, Wanted};
use std::path::Path;

/// What a command wants beside the policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Asked {
    /// Nothing.
    #[default]
    Nothing,
    /// `--verify`: that the policy wants a signature.
    Signature,
    /// `--verify=FILE`: a signature by this key.
    Key(Key),
}

/// What must be true of images.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    policy: Policy,
    asked: Asked,
}

/// Signatures that are still wanted for an image.
#[derive(Debug)]
pub struct Demands {
    name: Reference,
    open: Vec<Demand>,
}

#[derive(Debug)]
struct Demand {
    /// Who wants it, as in "`--verify`".
    by: String,
    keys: Vec<Key>,
    identity: Identity,
    /// How near the signatures that were found came.
    reason: Reason,
}

impl Trust {
    /// Reads the policy.
    pub fn load(asked: Asked) -> Result<Self> {
        Ok(Self {
            policy: Policy::load()?,
            asked,
        })
    }

    /// What an image must have to be taken in. `name` has a tag or a digest. What can never be is refused here.
    pub fn demands(&self, name: &Reference) -> Result<Demands> {
        let name = match name.digest() {
            Some(digest) => name.with_digest(digest.clone()),
            None => name.clone(),
        };
        let rule = self.policy.rule(&name);
        let by = format!("{} for `{}`", self.policy.shown(), shown_scope(rule.scope));
        let mut open = Vec::new();
        for requirement in rule.requirements {
            match requirement {
                Requirement::Accept => {}
                Requirement::Reject => {
                    let message = format!("image {name} is refused: {by} accepts none");
                    return Err(refused(message).hint(allow(&name)).into());
                }
                Requirement::Unsupported(what) => {
                    let message = format!(
                        "image {name} is refused: {by} wants {what}, which is not supported"
                    );
                    let hint = format!(
                        "a key of cosign is: `onggi trust add {} --key FILE`",
                        name.repository()
                    );
                    return Err(refused(message).hint(hint).into());
                }
                Requirement::Signed(signed) => {
                    let keys = signed.keys.iter().map(KeySource::key);
                    let keys = keys.collect::<Result<_>>();
                    open.push(Demand {
                        by: by.clone(),
                        keys: keys.with_context(|| format!("check image {name} as {by} has it"))?,
                        identity: signed.identity.clone(),
                        reason: Reason::Missing,
                    });
                }
            }
        }
        match &self.asked {
            Asked::Nothing => {}
            Asked::Signature if open.is_empty() => {
                let message = format!(
                    "image {name} is refused: `--verify` wants a signature, and {by} names no key"
                );
                return Err(refused(message)
                    .hint(format!(
                        "`onggi trust add {} --key FILE` says whose signature it must have, `--verify=FILE` does so once",
                        name.repository()
                    ))
                    .into());
            }
            Asked::Signature => {}
            Asked::Key(key) => open.push(Demand {
                by: "`--verify`".to_owned(),
                keys: vec![key.clone()],
                identity: Identity::MatchRepository,
                reason: Reason::Missing,
            }),
        }
        Ok(Demands { name, open })
    }

    /// Refuses what comes from an archive or a directory where the policy wants more of it than nothing: there are no
    /// signatures in those. `place` is where that lies which is open already, whatever it was called; nothing for a pipe.
    pub fn accept_file(&self, transport: &str, place: &Path) -> Result<(), Error> {
        let rule = self.policy.rule_of_file(transport, place);
        if rule
            .requirements
            .iter()
            .all(|one| *one == Requirement::Accept)
        {
            return Ok(());
        }
        let (policy, scope) = (self.policy.shown(), shown_scope(rule.scope));
        let message = format!(
            "its images are refused: {policy} for `{scope}` does not accept them as they are"
        );
        Err(refused(message).hint(format!(
            "`onggi trust add {transport}: --accept` lets in what comes this way"
        )))
    }
}

impl Demands {
    /// Whether nothing is wanted.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Looks for signatures of a manifest or an index. What they satisfy is no longer wanted.
    pub fn look(&mut self, repository: &Repository, fetched: &Fetched) -> Result<()> {
        let digest = &fetched.descriptor.digest;
        let evidence = Evidence::new(repository, digest);
        let name = self.name.clone();
        let mut open = Vec::new();
        for mut demand in std::mem::take(&mut self.open) {
            let wanted = Wanted {
                keys: &demand.keys,
                identity: &demand.identity,
                name: &name,
                digest,
                manifest: &fetched.bytes,
            };
            let nearest = |candidates: &[Candidate]| {
                let mut nearest = Reason::Missing;
                for candidate in candidates {
                    match candidate.check(&wanted) {
                        Ok(()) => return None,
                        Err(reason) => nearest = nearest.max(reason),
                    }
                }
                Some(nearest)
            };
            let fetch = || format!("look for signatures of {name}");
            let Some(tagged) = nearest(evidence.tagged().with_context(fetch)?) else {
                continue;
            };
            let Some(referring) = nearest(evidence.referring().with_context(fetch)?) else {
                continue;
            };
            demand.reason = demand.reason.max(tagged).max(referring);
            open.push(demand);
        }
        self.open = open;
        Ok(())
    }

    /// Refuses the image where something is still wanted.
    pub fn settle(self) -> Result<(), Error> {
        let Some(demand) = self.open.into_iter().next() else {
            return Ok(());
        };
        let name = self.name;
        let keys: Vec<String> = demand.keys.iter().map(Key::to_string).collect();
        let (by, keys, reason) = (demand.by, keys.join(" or "), demand.reason);
        let message =
            format!("image {name} is refused: {by} wants a signature by {keys}, and {reason}");
        let hint = match reason {
            Reason::OtherName(_) | Reason::NoName => format!("it must be for {}", demand.identity),
            _ => "`cosign sign --key` signs an image; `onggi trust ls` shows whose signatures are wanted".to_owned(),
        };
        Err(refused(message).hint(hint))
    }
}

fn shown_scope(scope: &str) -> &str {
    match scope {
        "" => "all names",
        scope => scope,
    }
}

fn refused(message: String) -> Error {
    Error::new(Kind::Refused, message)
}

fn allow(name: &Reference) -> String {
    let name = name.repository();
    format!(
        "`onggi trust add {name} --key FILE` takes it in where it is signed, `--accept` in any case"
    )
}
