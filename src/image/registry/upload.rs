//! How a blob gets into a registry (distribution-spec, "Pushing Blobs"): whole, or in pieces where the registry wants
//! them, and on from where it broke.
//!
//! ```text
//! POST uploads/ ─▶ Location ─▶ PUT ?digest  all of it                          ─▶ 201
//!                    │ 413, or that fails in another way
//!                    ├───────▶ PATCH piece ─▶ Location, Range ─▶ … ─▶ PUT ?digest ─▶ 201
//!                    │ the connection breaks, 429, 5xx
//!                    └─ wait ─▶ GET ─▶ Location, Range: on from there │ unknown: from the start
//! ```
//!
//! Invariants. Who we are is told to the registry's origin only, wherever a Location leads; none leads from TLS to
//! plain HTTP. A blob counts as sent when the registry says that it is stored, under the digest it should have.

use super::content::Content;
use super::failure::{Failure, Reason};
use super::source::{Answer, Source, announced_digest};
use super::transport::{self, Call, Opener, Payload, is_https, lock};
use crate::error::{Error, bad_input};
use crate::image::digest::Digest;
use crate::image::manifest::Descriptor;
use crate::progress::{Progress, Step};
use anyhow::Result;
use std::time::Duration;
use ureq::Body;
use ureq::http::{Method, Response, Uri, header};

/// Failures in a row without the registry having got further.
const TRIES: u32 = 6;
/// As often the registry may forget what it began, or refuse what came.
const LOST: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The first piece where pieces are wanted, and the smallest that is tried.
const PIECE: u64 = 32 << 20;
const SMALLEST: u64 = 256 << 10;
/// The kind of all uploads.
const BYTES: &str = "application/octet-stream";

/// An upload that the registry has begun.
#[derive(Clone)]
struct Session {
    url: Uri,
    /// How many bytes it has.
    offset: u64,
    /// The least that a piece other than the last must have.
    least: u64,
}

/// Why an upload did not come to its end.
enum Trouble {
    /// Another try will not help.
    Final(Answer),
    /// The body was too long for the server.
    TooLong(Answer),
    /// What the registry began is of no use any more, or never was: it says why.
    Lost(Answer),
    /// It may be better after a while, or after as long as the server asks for.
    Passing(Option<Duration>, Answer),
}

impl From<Answer> for Trouble {
    fn from(answer: Answer) -> Self {
        Self::Final(answer)
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        let reason = failure.reason;
        let answer = Answer::from(failure);
        match reason {
            // It was there a moment ago.
            Reason::Passing | Reason::Refused => Self::Passing(None, answer),
            Reason::NoTls | Reason::Final => Self::Final(answer),
        }
    }
}

/// A blob on its way.
struct Upload<'a, 'o> {
    source: &'a Source,
    blob: &'a Descriptor,
    name: &'a str,
    progress: &'a dyn Progress,
    content: Content<'a, 'o>,
    session: Option<Session>,
    /// How long pieces are; `None` while it is tried whole.
    piece: Option<u64>,
}

impl Source {
    /// Sends a blob. `name` is what `progress` is told that it is called.
    pub(super) fn upload_blob(
        &self,
        blob: &Descriptor,
        name: &str,
        open: &Opener,
        progress: &dyn Progress,
    ) -> Result<(), Answer> {
        let begun = lock(&self.begun).remove(&blob.digest);
        let mut upload = Upload {
            source: self,
            blob,
            name,
            progress,
            content: Content::new(open),
            session: begun.map(|url| Session {
                url,
                offset: 0,
                least: 0,
            }),
            piece: None,
        };
        upload.run()
    }

    /// Begins an upload.
    fn begin(&self) -> Result<Session, Trouble> {
        let path = format!("{}/blobs/uploads/", self.place.repository);
        let call = Call::new(Method::POST, self.url(&path)?, Payload::Bytes(b""));
        let response = self.send(&call)?;
        let status = response.status().as_u16();
        if status != 202 {
            let judged = self.judge(&call, response);
            return Err(match judged {
                Err(Trouble::Lost(answer) | Trouble::TooLong(answer)) => Trouble::Final(answer),
                Err(trouble) => trouble,
                Ok(_) => {
                    let host = &self.place.host;
                    let message = format!("`{host}` answers {status} where an upload begins");
                    Trouble::Final(bad_input(message).into())
                }
            });
        }
        let url = self.location(&call.url, &response).map_err(Answer::from)?;
        let least = response.headers().get("oci-chunk-min-length");
        let least = least.and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(Session {
            url,
            offset: 0,
            least: least.unwrap_or(0),
        })
    }

    /// Sends a blob whose digest and length `end` tells when all of it is made. What a server does not take in this way
    /// is sent again when it is whole.
    pub(super) fn upload_growing(
        &self,
        name: &str,
        open: &Opener,
        end: &dyn Fn() -> Result<Descriptor>,
        progress: &dyn Progress,
    ) -> Result<Descriptor, Answer> {
        let session = match self.send_growing(name, open, progress) {
            Err(Trouble::Final(answer)) => return Err(answer),
            sent => sent.ok(),
        };
        let blob = end()?;
        let mut upload = Upload {
            source: self,
            blob: &blob,
            name,
            progress,
            content: Content::new(open),
            session: session.map(|(url, received)| Session {
                url,
                offset: received.unwrap_or(blob.size).min(blob.size),
                least: 0,
            }),
            piece: None,
        };
        upload.run()?;
        Ok(blob)
    }

    /// Gives where the upload goes on, and how much of it the registry has if it says so.
    fn send_growing(
        &self,
        name: &str,
        open: &Opener,
        progress: &dyn Progress,
    ) -> Result<(Uri, Option<u64>), Trouble> {
        let session = self.begin()?;
        let content = Content::new(open);
        let tell = |position| progress.tell(name, Step::Uploading(position, None));
        let open = || content.from(0, &tell);
        let body = Payload::Stream {
            length: None,
            open: &open,
        };
        let call =
            Call::new(Method::PATCH, session.url.clone(), body).with(header::CONTENT_TYPE, BYTES);
        let response = self.judge(&call, self.send(&call)?)?;
        let url = match response.headers().contains_key(header::LOCATION) {
            true => self
                .location(&session.url, &response)
                .map_err(Answer::from)?,
            false => session.url,
        };
        Ok((url, received(&response)))
    }

    /// Keeps the upload that was begun where something should have been mounted.
    pub(super) fn keep_upload(&self, digest: &Digest, asked: &Uri, response: &Response<Body>) {
        if let Ok(url) = self.location(asked, response) {
            lock(&self.begun).insert(digest.clone(), url);
        }
    }

    /// Where an upload goes on, as seen from where the answer came from, which a redirect may have led to.
    fn location(&self, asked: &Uri, response: &Response<Body>) -> Result<Uri, Error> {
        use ureq::ResponseExt;
        let host = &self.place.host;
        let header = response.headers().get(header::LOCATION);
        let location = header.and_then(|value| value.to_str().ok());
        let Some(location) = location.filter(|location| !location.is_empty()) else {
            return Err(bad_input(format!(
                "`{host}` begins an upload and does not say where"
            )));
        };
        let url = transport::relative(response.get_uri(), location).ok_or_else(|| {
            bad_input(format!(
                "`{host}` begins an upload at no address: {location}"
            ))
        })?;
        if is_https(asked) && !is_https(&url) && self.transport.verifies() {
            let message = format!(
                "`{host}` wants an upload without TLS, at {}",
                transport::shown(&url)
            );
            return Err(bad_input(message).hint(
                "a proxy before the registry must tell it of TLS (X-Forwarded-Proto); --tls-verify=false sends it all the same",
            ));
        }
        Ok(url)
    }

    /// Makes a request to wherever a Location has led; only the registry itself is told who we are.
    fn send(&self, call: &Call) -> Result<Response<Body>, Trouble> {
        let own = transport::origin(&self.url("")?).map_err(Answer::from)?;
        let there = transport::origin(&call.url).map_err(Answer::from)?;
        Ok(match own == there {
            true => self.authorizer.send(&self.transport, call, &self.scope())?,
            false => self.transport.follow(call)?,
        })
    }

    /// Whether somebody else than the registry has answered.
    pub(super) fn is_elsewhere(&self, response: &Response<Body>) -> Result<bool, Answer> {
        use ureq::ResponseExt;
        Ok(transport::origin(response.get_uri())? != transport::origin(&self.url("")?)?)
    }

    /// What an answer to a part of an upload means.
    fn judge(&self, call: &Call, response: Response<Body>) -> Result<Response<Body>, Trouble> {
        let status = response.status().as_u16();
        if (200..300).contains(&status) {
            return Ok(response);
        }
        if let Some(wait) = transport::patience(&response, &call.url) {
            let wait = wait.map_err(Answer::from)?;
            return Err(Trouble::Passing(wait, self.refusal(response)));
        }
        let refusal = self.refusal(response);
        Err(match status {
            401 | 403 => Trouble::Final(refusal),
            413 => Trouble::TooLong(refusal),
            400 | 404 | 405 | 409..=411 | 415..=417 | 501 => Trouble::Lost(refusal),
            _ => Trouble::Final(refusal),
        })
    }
}

impl Upload<'_, '_> {
    fn run(&mut self) -> Result<(), Answer> {
        let (mut breaks, mut lost, mut furthest) = (0, 0, 0);
        loop {
            let (wait, answer) = match self.attempt() {
                Ok(()) => return Ok(()),
                Err(Trouble::Final(answer)) => return Err(answer),
                Err(Trouble::TooLong(answer)) => match self.smaller() {
                    true => continue,
                    false => return Err(answer),
                },
                Err(Trouble::Passing(wait, answer)) => {
                    self.look();
                    (wait, answer)
                }
                Err(Trouble::Lost(answer)) => {
                    // A registry that takes no whole blobs may say so in many ways.
                    if self.piece.is_none() {
                        self.piece = Some(PIECE);
                    }
                    self.session = None;
                    lost += 1;
                    (None, answer)
                }
            };
            // It may have arrived, and only the word of it was lost.
            if matches!(self.has_arrived(), Ok(true)) {
                return Ok(());
            }
            let offset = self.session.as_ref().map_or(0, |session| session.offset);
            breaks = if offset > furthest { 0 } else { breaks + 1 };
            furthest = furthest.max(offset);
            if breaks == TRIES || lost == LOST || self.source.is_cancelled() {
                return Err(answer);
            }
            self.progress.tell(self.name, Step::Broken(told(&answer)));
            self.source
                .pause(wait.unwrap_or(FIRST_PAUSE * 2u32.pow(breaks)));
        }
    }

    /// From where it is to its end.
    fn attempt(&mut self) -> Result<(), Trouble> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => self.source.begin()?,
        };
        if session.offset == 0 && self.piece.is_none() {
            return self.finish(session, true);
        }
        while session.offset < self.blob.size {
            session = self.send_piece(session)?;
        }
        self.finish(session, false)
    }

    /// One piece; gives where the next one goes.
    fn send_piece(&mut self, session: Session) -> Result<Session, Trouble> {
        let piece = self.piece.unwrap_or(u64::MAX).max(session.least);
        let length = piece.min(self.blob.size - session.offset);
        let end = session.offset + length;
        let (name, progress, size) = (self.name, self.progress, self.blob.size);
        let tell = |position| progress.tell(name, Step::Uploading(position, Some(size)));
        let open = || self.content.from(session.offset, &tell);
        let body = Payload::Stream {
            length: Some(length),
            open: &open,
        };
        let call = Call::new(Method::PATCH, session.url.clone(), body)
            .with(header::CONTENT_TYPE, BYTES)
            .with(
                header::CONTENT_RANGE,
                format!("{}-{}", session.offset, end - 1),
            );
        // If it fails, what the registry has of it is asked for.
        self.session = Some(session.clone());
        let response = self.source.send(&call)?;
        let response = self.source.judge(&call, response)?;
        self.session = None;
        let next = match response.headers().contains_key(header::LOCATION) {
            true => self
                .source
                .location(&session.url, &response)
                .map_err(Answer::from)?,
            false => session.url,
        };
        // One byte and none are said in the same way.
        let offset = received(&response).filter(|offset| *offset > 0 || end > 1);
        let offset = offset.unwrap_or(end);
        if offset > end || offset <= session.offset {
            let host = &self.source.place.host;
            let message =
                format!("`{host}` says that it has {offset} bytes of {end} that were sent");
            return Err(Trouble::Lost(bad_input(message).into()));
        }
        Ok(Session {
            url: next,
            offset,
            least: session.least,
        })
    }

    /// Says that it was all, and which digest it has; with all of it if `whole`.
    fn finish(&mut self, session: Session, whole: bool) -> Result<(), Trouble> {
        let url = with_digest(&session.url, &self.blob.digest)?;
        let (name, progress, size) = (self.name, self.progress, self.blob.size);
        let tell = |position| progress.tell(name, Step::Uploading(position, Some(size)));
        let open = || self.content.from(0, &tell);
        let body = match whole {
            true => Payload::Stream {
                length: Some(size),
                open: &open,
            },
            false => Payload::Bytes(b""),
        };
        let call = Call::new(Method::PUT, url, body).with(header::CONTENT_TYPE, BYTES);
        self.session = Some(session);
        let response = self.source.send(&call)?;
        let response = self.source.judge(&call, response)?;
        let wrong = |why: String| {
            let host = &self.source.place.host;
            Trouble::Final(bad_input(format!("`{host}` {why}: it was changed on its way")).into())
        };
        let digest = &self.blob.digest;
        match announced_digest(&response) {
            Some(stored) if stored != *digest => Err(wrong(format!("stored {digest} as {stored}"))),
            None if response.status().as_u16() != 201 && !self.has_arrived()? => {
                Err(wrong(format!("did not store {digest}")))
            }
            _ => Ok(()),
        }
    }

    /// Whether the registry has all of it.
    fn has_arrived(&self) -> Result<bool, Answer> {
        let url = self.source.url(&format!(
            "{}/blobs/{}",
            self.source.place.repository, self.blob.digest
        ))?;
        let call = Call::new(Method::HEAD, url, Payload::Nothing);
        match self.source.send(&call) {
            Ok(response) => Ok(response.status().is_success()),
            Err(_) => Ok(false),
        }
    }

    /// After a break: how far the registry says it came. Where it does not, it is begun again.
    fn look(&mut self) {
        let Some(session) = self.session.take() else {
            return;
        };
        let call = Call::get(session.url.clone());
        let Ok(response) = self.source.send(&call) else {
            return;
        };
        if !response.status().is_success() {
            return;
        }
        let Some(offset) = received(&response).filter(|offset| *offset <= self.blob.size) else {
            return;
        };
        let url = match response.headers().contains_key(header::LOCATION) {
            true => self.source.location(&session.url, &response).ok(),
            false => Some(session.url),
        };
        self.session = url.map(|url| Session {
            url,
            offset,
            least: session.least,
        });
    }

    /// Pieces that may not be too long; false where they are as small as it gets.
    fn smaller(&mut self) -> bool {
        let least = self.session.as_ref().map_or(0, |session| session.least);
        let next = match self.piece {
            None => PIECE.min(self.blob.size.div_ceil(2)),
            Some(piece) => piece / 2,
        };
        self.piece = Some(next);
        next >= SMALLEST.max(least)
    }
}

/// What goes with `Range: 0-99`, that is 100 bytes; `0-0` is said of none as well, and is taken for it.
fn received(response: &Response<Body>) -> Option<u64> {
    let value = response.headers().get(header::RANGE)?.to_str().ok()?.trim();
    let range = value.strip_prefix("bytes=").unwrap_or(value);
    let (first, last) = range.split_once('-')?;
    match (first.parse::<u64>().ok()?, last.parse::<u64>().ok()?) {
        (0, 0) => Some(0),
        (0, last) => last.checked_add(1),
        _ => None,
    }
}

fn with_digest(url: &Uri, digest: &Digest) -> Result<Uri, Answer> {
    let mark = if url.query().is_some() { '&' } else { '?' };
    let text = format!("{url}{mark}digest={digest}");
    text.parse()
        .map_err(|_| bad_input(format!("`{text}` is no address")).into())
}

fn told(answer: &Answer) -> String {
    match answer {
        Answer::NotFound(why) => why.clone(),
        Answer::Denied(error) => error.message.clone(),
        Answer::Failed(error) => format!("{error:#}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_registry_has_is_read() {
        for (text, expected) in [
            ("0-99", Some(100)),
            ("bytes=0-99", Some(100)),
            ("0-0", Some(0)),
            ("5-9", None),
            ("0-18446744073709551615", None),
            ("x", None),
        ] {
            let response = Response::builder().header(header::RANGE, text);
            let response = response.body(Body::builder().data("")).unwrap();
            assert_eq!(received(&response), expected, "{text}");
        }
    }

    #[test]
    fn the_digest_is_added_to_what_the_address_has() {
        let digest = Digest::of(b"");
        for (url, expected) in [
            ("https://a/u", format!("https://a/u?digest={digest}")),
            (
                "https://a/u?s=1",
                format!("https://a/u?s=1&digest={digest}"),
            ),
        ] {
            let found = with_digest(&url.parse().unwrap(), &digest).unwrap();
            assert_eq!(found.to_string(), expected);
        }
    }
}
