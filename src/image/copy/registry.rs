//! An image in a registry, to copy from or to.

use super::{Name, Source, Stream, Target};
use crate::error::{self, Kind, bad_input};
use crate::image::digest::Digest;
use crate::image::manifest::Descriptor;
use crate::image::reference::Reference;
use crate::image::registry::transport::Opener;
use crate::image::registry::{Fetched, Options, Repository};
use crate::progress::{Progress, Step};
use anyhow::{Context, Result};
use std::io::{self, ErrorKind, Read};
use std::time::Duration;

/// Breaks in a row without a single byte between them.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(250);

/// A name in a registry.
pub struct Registry {
    repository: Repository,
    name: Reference,
}

impl Registry {
    /// To read from; `typed` is the name as it was written.
    pub fn open(name: &Reference, typed: &str, options: &Options) -> Result<Self> {
        Ok(Self {
            repository: Repository::open(name, typed, options)?,
            name: name.clone(),
        })
    }

    /// To write to.
    pub fn open_to_push(name: &Reference, typed: &str, options: &Options) -> Result<Self> {
        Ok(Self {
            repository: Repository::open_to_push(name, typed, options)?,
            name: name.clone(),
        })
    }

    /// Likewise under the digest of what will be put, which then has no other name.
    pub fn by_digest(self, digest: &Digest) -> Self {
        Self {
            name: self.name.untagged().with_digest(digest.clone()),
            ..self
        }
    }

    /// Where it is read from.
    pub fn client(&self) -> &Repository {
        &self.repository
    }

    fn tagged(&self, tag: &str) -> Result<Option<Fetched>> {
        match self.repository.manifest(tag) {
            Err(error) if error::kind(&error) == Some(Kind::NotFound) => Ok(None),
            fetched => fetched.map(Some),
        }
    }
}

impl Source for Registry {
    fn top(&self) -> Result<Fetched> {
        self.repository.manifest(&self.name.digest_or_tag())
    }

    fn document(&self, descriptor: &Descriptor) -> Result<Fetched> {
        let fetched = self.repository.manifest(&descriptor.digest.to_string())?;
        descriptor.check_size(fetched.bytes.len())?;
        Ok(fetched)
    }

    fn blob(&self, blob: &Descriptor) -> Result<Stream<'_>> {
        let mut stream = Resuming {
            repository: &self.repository,
            blob: blob.clone(),
            body: None,
            position: 0,
            begun: 0,
            left: TRIES,
        };
        // What is wrong with the first request is told as it is.
        stream.body = Some(stream.open()?);
        Ok(Box::new(stream))
    }

    fn tagged(&self, tag: &str) -> Result<Option<Fetched>> {
        self.tagged(tag)
    }

    fn referrers(&self, digest: &Digest) -> Result<Vec<Descriptor>> {
        self.repository.referrers(digest)
    }

    fn name(&self) -> Option<&Reference> {
        Some(&self.name)
    }

    fn repository(&self) -> Option<&Reference> {
        Some(&self.name)
    }

    fn cancel(&self) {
        self.repository.cancel();
    }
}

impl Target for Registry {
    fn has_document(&self, digest: &Digest) -> Result<bool> {
        let found = self.repository.digest_of(&digest.to_string())?;
        Ok(found.as_ref() == Some(digest))
    }

    fn has_blob(&self, blob: &Descriptor) -> Result<bool> {
        self.repository.has_blob(&blob.digest)
    }

    fn mount(&self, blob: &Descriptor, from: &Reference) -> Result<bool> {
        self.repository.mount_blob(&blob.digest, from)
    }

    fn put_blob(&self, blob: &Descriptor, open: &Opener, progress: &dyn Progress) -> Result<()> {
        self.repository.upload_blob(blob, open, progress)
    }

    fn put_document(&self, document: &Fetched, name: Name) -> Result<()> {
        let digest = &document.descriptor.digest;
        let what = match name {
            Name::None => digest.to_string(),
            Name::Own => self.name.digest_or_tag(),
            Name::Tag(tag) => tag.to_owned(),
        };
        if let (Name::Own, Some(wanted)) = (name, self.name.digest())
            && wanted != digest
        {
            let message =
                format!("the image has the digest {digest}, and is to be put as {wanted}");
            return Err(bad_input(message).hint("name a tag").into());
        }
        let kind = match document.descriptor.media_type.as_str() {
            "" => document.document.media_type(),
            kind => kind,
        };
        self.repository.put_manifest(&what, kind, &document.bytes)?;
        Ok(())
    }

    fn tagged(&self, tag: &str) -> Result<Option<Fetched>> {
        self.tagged(tag)
    }

    fn lists_referrers(&self, digest: &Digest) -> Result<bool> {
        self.repository.lists_referrers(digest)
    }

    fn takes_several(&self) -> bool {
        true
    }

    fn arrival(&self) -> Step {
        Step::Uploaded
    }

    fn cancel(&self) {
        self.repository.cancel();
    }
}

/// A blob that is asked for again from where it broke.
struct Resuming<'a> {
    repository: &'a Repository,
    blob: Descriptor,
    body: Option<Box<dyn Read + Send>>,
    position: u64,
    /// The position when it last broke.
    begun: u64,
    left: u32,
}

impl Resuming<'_> {
    fn open(&self) -> Result<Box<dyn Read + Send>> {
        let mut answer = self.repository.blob(&self.blob.digest, self.position)?;
        // A registry without ranges sends all of it again.
        let again = self.position - answer.from;
        let skipped = io::copy(&mut answer.body.by_ref().take(again), &mut io::sink());
        skipped.with_context(|| format!("fetch {}", self.blob.digest))?;
        Ok(answer.body)
    }
}

impl Read for Resuming<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let broken = match self.body.as_mut() {
                None => match self.open() {
                    Ok(body) => {
                        self.body = Some(body);
                        continue;
                    }
                    Err(error) => io::Error::other(format!("{error:#}")),
                },
                Some(body) => match body.read(buffer) {
                    Ok(0) if self.position < self.blob.size && !buffer.is_empty() => {
                        io::Error::from(ErrorKind::UnexpectedEof)
                    }
                    Ok(got) => {
                        self.position += got as u64;
                        return Ok(got);
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(error) => error,
                },
            };
            self.body = None;
            let came = self.position > self.begun;
            self.left = match left(self.left, came, &broken) {
                Some(left) if !self.repository.is_cancelled() => left,
                _ => return Err(broken),
            };
            self.begun = self.position;
            self.repository.pause(PAUSE);
        }
    }
}

/// How many more tries there are after a break, of so many before it; `came`: some bytes before it broke. Who drips gets no
/// further for all that comes.
fn left(before: u32, came: bool, broken: &io::Error) -> Option<u32> {
    let is_slow = broken.kind() == ErrorKind::TimedOut;
    let before = if came && !is_slow { TRIES } else { before };
    before.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gets_further_is_tried_again_and_what_drips_has_an_end() {
        let tries = |came, kind: ErrorKind| {
            let all =
                std::iter::successors(Some(TRIES), |before| left(*before, came, &kind.into()));
            all.take(100).count()
        };
        assert_eq!(tries(true, ErrorKind::UnexpectedEof), 100);
        assert_eq!(tries(false, ErrorKind::UnexpectedEof), 6);
        assert_eq!(tries(true, ErrorKind::TimedOut), 6);
    }
}
