//! Registries: a client of the OCI distribution-spec. What is in them, not what becomes of it here.
//!
//! - `configuration`: which places a name leads to · `credentials`: who we are there, which a `keychain` may keep
//! - `transport`: one request and its answer, or the `failure` to get one; below it `resolver`, `proxy`, `certificates`
//! - `pace`: how slow an answer may come
//! - `auth`: what a registry demands · `source`: one place, spoken to · `selection`: one image of many platforms
//! - `discovery`: what a place has · `search`: what of it somebody looks for
//! - `referrers`: what refers to an image · `push`, `upload`: what is written to a registry; `content`: its bytes
//!
//! Nothing of all this happens, and no file of it is read, before a [`Repository`] is opened.
//!
//! Invariant: whatever a registry says is hostile: it is read up to a limit, and believed when its digest is right.

pub mod auth;
pub mod certificates;
pub mod configuration;
mod content;
pub mod credentials;
pub mod discovery;
mod failure;
mod keychain;
mod pace;
mod proxy;
mod push;
pub mod referrers;
mod resolver;
pub mod search;
pub mod selection;
pub mod source;
pub mod transport;
mod upload;

use super::digest::Digest;
use super::manifest::{Descriptor, Document};
use super::reference::Reference;
use crate::error::{Error, Kind, bad_input};
use anyhow::Result;
use configuration::Configuration;
use credentials::{Credential, Files, Secret};
use source::{Answer, Blob, Source};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What a command says about registries.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where credentials are.
    pub files: Files,
    /// `--tls-verify`; `None`: as the configuration says.
    pub tls_verify: Option<bool>,
    /// `--cert-dir`.
    pub certificates: Option<PathBuf>,
    /// The setting `registry-timeout`.
    pub silence: Duration,
}

/// A repository, and all places where it may be.
#[derive(Debug)]
pub struct Repository {
    name: Reference,
    /// The name that an alias makes of it.
    target: Reference,
    sources: Vec<Source>,
    /// The place that answered last.
    current: AtomicUsize,
}

/// What the list of tags is called in messages.
const TAGS: &str = "tags";

/// A manifest or an index, and what it was.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Media type, digest and length.
    pub descriptor: Descriptor,
    /// As it came.
    pub bytes: Vec<u8>,
    /// Read.
    pub document: Document,
}

impl Repository {
    /// Finds out where `name` is and who we are there; asks nobody yet. `typed` is the name as it was written.
    pub fn open(name: &Reference, typed: &str, options: &Options) -> Result<Self> {
        let mut sources = Vec::new();
        let configuration = Configuration::load()?;
        let target = configuration.target(name, typed)?;
        for place in configuration.places(name, typed)? {
            let account = format!("{}/{}", place.account, place.repository);
            let credential = options.files.find(&account)?;
            sources.push(Source::new(place, credential, options));
        }
        Ok(Self {
            name: name.clone(),
            target,
            sources,
            current: AtomicUsize::new(0),
        })
    }

    /// What it is called.
    pub fn name(&self) -> &Reference {
        &self.name
    }

    /// What a name of this repository is in its registry: where an alias leads elsewhere, the name there.
    pub fn target(&self, name: &Reference) -> Reference {
        name.in_repository_of(&self.target)
    }

    /// The place that answered last, as messages call it.
    pub fn place(&self) -> String {
        let source = self.sources.get(self.current.load(Ordering::Relaxed));
        source.map_or_else(|| self.name.repository(), Source::shown)
    }

    /// Ends all requests that other threads are in.
    pub fn cancel(&self) {
        self.sources.iter().for_each(Source::cancel);
    }

    /// Waits, unless it is cancelled meanwhile.
    pub fn pause(&self, time: Duration) {
        if let Some(source) = self.sources.first() {
            source.pause(time);
        }
    }

    /// Whether [`Repository::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.sources.iter().any(Source::is_cancelled)
    }

    /// The digest that a tag has now, without fetching what it leads to; `None` where a registry does not tell.
    pub fn digest_of(&self, tag: &str) -> Result<Option<Digest>> {
        self.ask(|source| source.head(tag))
            .map_err(|refusal| self.refused(tag, refusal))
    }

    /// What a tag or a digest leads to.
    pub fn manifest(&self, tag_or_digest: &str) -> Result<Fetched> {
        self.ask(|source| source.manifest(tag_or_digest))
            .map_err(|refusal| self.refused(tag_or_digest, refusal))
    }

    /// A small blob, checked.
    pub fn document(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>> {
        self.ask(|source| source.document(descriptor, limit))
            .map_err(|refusal| self.refused_blob(&descriptor.digest, refusal))
    }

    /// A blob from a byte on; where the registry cannot do that, from its start.
    pub fn blob(&self, digest: &Digest, from: u64) -> Result<Blob> {
        self.ask(|source| source.blob(digest, from))
            .map_err(|refusal| self.refused_blob(digest, refusal))
    }

    /// All tags, as the registry orders them.
    pub fn tags(&self) -> Result<Vec<String>> {
        self.ask(Source::tags)
            .map_err(|refusal| self.refused(TAGS, refusal))
    }

    /// Asks the place that answered last, then those after it, then those before.
    fn ask<T>(&self, question: impl Fn(&Source) -> Result<T, Answer>) -> Result<T, Answer> {
        let first = self.current.load(Ordering::Relaxed);
        let count = self.sources.len();
        let mut failure = None;
        for index in (first..count).chain(0..first) {
            match question(&self.sources[index]) {
                Ok(answer) => {
                    self.current.store(index, Ordering::Relaxed);
                    return Ok(answer);
                }
                // The last place is the registry itself; what it says counts most.
                Err(answer) if index + 1 == count || failure.is_none() => failure = Some(answer),
                Err(_) => {}
            }
            if self.is_cancelled() {
                break;
            }
        }
        Err(failure.unwrap_or_else(|| Answer::Failed(bad_input("there is no place to ask").into())))
    }

    /// Likewise where a blob is meant, which has no tag.
    fn refused_blob(&self, digest: &Digest, answer: Answer) -> anyhow::Error {
        match answer {
            Answer::NotFound(why) => {
                let message = format!("{} does not have {digest}: {why}", self.place());
                Error::new(Kind::NotFound, message).into()
            }
            answer => self.refused(&digest.to_string(), answer),
        }
    }

    /// Docker's words for what a registry refuses.
    fn refused(&self, what: &str, answer: Answer) -> anyhow::Error {
        let repository = self.name.repository();
        match answer {
            Answer::Failed(error) => error.context(format!("fetch `{what}` of {repository}")),
            Answer::NotFound(why) if what == TAGS => Error::new(
                Kind::NotFound,
                format!("repository {repository} not found: {why}"),
            )
            .into(),
            Answer::NotFound(why) => {
                let mark = if what.contains(':') { '@' } else { ':' };
                let message = format!("manifest for {repository}{mark}{what} not found: {why}");
                Error::new(Kind::NotFound, message).into()
            }
            Answer::Denied(mut error) => {
                error.message = format!(
                    "pull access denied for {repository}, repository does not exist or may require 'onggi login': {}",
                    error.message
                );
                error.into()
            }
        }
    }
}

/// Asks a registry whether it knows somebody. The answer is what to keep: the identity token that it gave for the
/// password, else what it was asked with.
pub fn check_login(domain: &str, credential: Credential, options: &Options) -> Result<Secret> {
    let insecure = Configuration::load()?.is_insecure(domain);
    let secret = credential.secret.clone();
    let place = configuration::host(domain, insecure);
    let source = Source::new(place, Some(credential), options).to_log_in();
    source.ping().map_err(|answer| match answer {
        Answer::Failed(error) => error,
        Answer::Denied(mut error) => {
            error.hint = Some(
                "the user name or the password is wrong, or the registry wants an access token"
                    .to_owned(),
            );
            error.into()
        }
        Answer::NotFound(why) => bad_input(format!("`{domain}` is no registry: {why}")).into(),
    })?;
    Ok(source.authorizer.identity().map_or(secret, Secret::Refresh))
}
