//! What is written to a registry, as others call it (distribution-spec, "Push" and "Content Management"): blobs,
//! manifests, and taking manifests away. How a blob gets there is in [`super::upload`].

use super::configuration::Configuration;
use super::source::{Answer, Source, announced_digest};
use super::transport::{Call, Opener, Payload};
use super::{Options, Repository};
use crate::error::{Error, Kind, bad_input};
use crate::image::digest::Digest;
use crate::image::manifest::Descriptor;
use crate::image::reference::Reference;
use crate::progress::Progress;
use anyhow::Result;
use std::sync::atomic::AtomicUsize;
use ureq::http::{Method, header};

impl Repository {
    /// Like [`Repository::open`], at the registry itself and at no mirror, with the right to push.
    pub fn open_to_push(name: &Reference, typed: &str, options: &Options) -> Result<Self> {
        let configuration = Configuration::load()?;
        let mut places = configuration.places(name, typed)?;
        let place = places
            .pop()
            .ok_or_else(|| bad_input(format!("`{name}` has no place to be pushed to")))?;
        let account = format!("{}/{}", place.account, place.repository);
        let credential = options.files.find(&account)?;
        Ok(Self {
            name: name.clone(),
            target: configuration.target(name, typed)?,
            sources: vec![Source::new(place, credential, options).to_push()],
            current: AtomicUsize::new(0),
        })
    }

    /// Whether a blob is in the repository.
    pub fn has_blob(&self, digest: &Digest) -> Result<bool> {
        self.write("ask", |source| source.has_blob(digest))
    }

    /// Takes a blob over from another repository of the same registry, which costs nothing; false where it cannot be
    /// had, for whatever reason.
    pub fn mount_blob(&self, digest: &Digest, from: &Reference) -> Result<bool> {
        let places = Configuration::load()?.places(from, &from.to_string());
        let Some(there) = places.ok().and_then(|mut places| places.pop()) else {
            return Ok(false);
        };
        self.write("mount a blob in", |source| {
            let here = &source.place;
            match there.host == here.host && there.repository != here.repository {
                true => source.mount_blob(digest, &there.repository),
                false => Ok(false),
            }
        })
    }

    /// Sends a blob, again and again where it breaks, from where it broke if the registry knows where that was. `open`
    /// gives its bytes and is called for each try; `progress` is told of the blob by its digest.
    pub fn upload_blob(
        &self,
        blob: &Descriptor,
        open: &Opener,
        progress: &dyn Progress,
    ) -> Result<()> {
        self.upload_blob_as(blob.digest.short(), blob, open, progress)
    }

    /// Likewise; `progress` is told of it by another name.
    pub fn upload_blob_as(
        &self,
        name: &str,
        blob: &Descriptor,
        open: &Opener,
        progress: &dyn Progress,
    ) -> Result<()> {
        self.write(&format!("upload {} to", blob.digest), |source| {
            source.upload_blob(blob, name, open, progress)
        })
    }

    /// Sends a blob while it is made. `open` gives its bytes as they come, and `end` what it has become, once it has.
    pub fn upload_growing(
        &self,
        name: &str,
        open: &Opener,
        end: &dyn Fn() -> Result<Descriptor>,
        progress: &dyn Progress,
    ) -> Result<Descriptor> {
        self.write("upload a layer to", |source| {
            source.upload_growing(name, open, end, progress)
        })
    }

    /// Stores a manifest or an index under a tag or its digest. What it names must be there already.
    pub fn put_manifest(&self, tag_or_digest: &str, kind: &str, bytes: &[u8]) -> Result<Digest> {
        self.write(
            &format!("upload the manifest `{tag_or_digest}` to"),
            |source| source.put_manifest(tag_or_digest, kind, bytes),
        )
    }

    /// Removes a manifest with all its tags.
    pub fn delete_manifest(&self, digest: &Digest) -> Result<()> {
        self.write("delete a manifest of", |source| {
            source.delete_manifest(digest)
        })
    }

    /// Asks for something that only those may who may push.
    pub(super) fn write<T>(
        &self,
        what: &str,
        demand: impl FnOnce(&Source) -> Result<T, Answer>,
    ) -> Result<T> {
        let source = self
            .sources
            .last()
            .ok_or_else(|| bad_input("there is no place to ask"))?;
        let repository = self.name.repository();
        demand(source).map_err(|answer| match answer {
            Answer::Failed(error) => error.context(format!("{what} {repository}")),
            Answer::NotFound(why) => {
                Error::new(Kind::NotFound, format!("{what} {repository}: {why}")).into()
            }
            Answer::Denied(mut error) => {
                error.message = format!(
                    "push access denied for {repository}, repository does not exist or may require 'onggi login': {}",
                    error.message
                );
                error.into()
            }
        })
    }
}

impl Source {
    fn has_blob(&self, digest: &Digest) -> Result<bool, Answer> {
        let url = self.url(&format!("{}/blobs/{digest}", self.place.repository))?;
        let call = Call::new(Method::HEAD, url, Payload::Nothing);
        let response = self
            .authorizer
            .fetch(&self.transport, &call, &self.scope())?;
        match response.status().as_u16() {
            200..300 => Ok(true),
            404 => Ok(false),
            // Where it was redirected to, somebody may answer GET only; to send it again does no harm.
            _ if self.is_elsewhere(&response)? => Ok(false),
            _ => Err(self.refusal(response)),
        }
    }

    fn mount_blob(&self, digest: &Digest, from: &str) -> Result<bool, Answer> {
        let path = format!(
            "{}/blobs/uploads/?mount={digest}&from={from}",
            self.place.repository
        );
        let call = Call::new(Method::POST, self.url(&path)?, Payload::Bytes(b""));
        let scope = format!("repository:{from}:pull {}", self.scope());
        // A token for both may be refused where one for ours alone is given.
        let Ok(response) = self.authorizer.send(&self.transport, &call, &scope) else {
            return Ok(false);
        };
        match response.status().as_u16() {
            201 => Ok(announced_digest(&response).is_none_or(|stored| stored == *digest)),
            202 => {
                self.keep_upload(digest, &call.url, &response);
                Ok(false)
            }
            _ => Ok(false),
        }
    }

    fn put_manifest(&self, what: &str, kind: &str, bytes: &[u8]) -> Result<Digest, Answer> {
        let url = self.url(&format!("{}/manifests/{what}", self.place.repository))?;
        let call =
            Call::new(Method::PUT, url, Payload::Bytes(bytes)).with(header::CONTENT_TYPE, kind);
        let response = self
            .authorizer
            .fetch(&self.transport, &call, &self.scope())?;
        if !response.status().is_success() {
            return Err(self.refusal(response));
        }
        let digest = Digest::of(bytes);
        match announced_digest(&response) {
            Some(stored) if stored != digest => {
                let message = format!(
                    "`{}` stored it as {stored} and not as {digest}: it was changed on its way",
                    self.place.host
                );
                Err(bad_input(message).into())
            }
            _ => Ok(digest),
        }
    }

    fn delete_manifest(&self, digest: &Digest) -> Result<(), Answer> {
        let url = self.url(&format!("{}/manifests/{digest}", self.place.repository))?;
        let call = Call::new(Method::DELETE, url, Payload::Nothing);
        let response = self
            .authorizer
            .fetch(&self.transport, &call, &self.delete_scope())?;
        match response.status().as_u16() {
            200..300 => Ok(()),
            405 => {
                let message = format!("`{}` does not allow to delete anything", self.place.host);
                Err(Error::new(Kind::Denied, message).into())
            }
            _ => Err(self.refusal(response)),
        }
    }

    fn delete_scope(&self) -> String {
        format!("repository:{}:pull,push,delete", self.place.repository)
    }
}
