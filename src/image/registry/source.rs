//! One place of a repository: the requests of the OCI distribution-spec that read ("Pull", "Content Discovery"), and
//! what its answers mean.

use super::auth::Authorizer;
use super::configuration::Place;
use super::credentials::Credential;
use super::failure::Reason;
use super::pace::{self, Paced};
use super::transport::{self, Call, Policy, Transport};
use super::{Fetched, Options};
use crate::error::{Error, Kind, bad_input};
use crate::image::digest::Digest;
use crate::image::manifest::{self, Descriptor, Document};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Mutex;
use ureq::Body;
use ureq::http::{Method, Response, StatusCode, Uri, header};

/// The longest manifest (distribution-spec, "Pushing Manifests").
const MANIFEST: u64 = 4 << 20;
/// The longest explanation.
const EXPLANATION: u64 = 64 << 10;

/// A place.
#[derive(Debug)]
pub struct Source {
    pub(super) place: Place,
    pub(super) transport: Transport,
    pub(super) authorizer: Authorizer,
    /// What is asked for in tokens.
    actions: &'static str,
    /// Uploads that were begun where a blob should have been mounted.
    pub(super) begun: Mutex<BTreeMap<Digest, Uri>>,
    may_be_plain: bool,
    /// Scheme and host, once it is known whether there is TLS.
    base: Mutex<Option<String>>,
}

/// A question that was not answered.
#[derive(Debug)]
pub enum Answer {
    /// There is no such thing, in the registry's words.
    NotFound(String),
    /// Not for us.
    Denied(Error),
    /// Anything else.
    Failed(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Answer {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// A blob on its way.
pub struct Blob {
    /// The bytes.
    pub body: Box<dyn Read + Send>,
    /// The place of the first of them.
    pub from: u64,
    /// How many the registry announces, from there to the end.
    pub length: Option<u64>,
}

impl Source {
    /// A place to ask as somebody.
    pub fn new(place: Place, credential: Option<Credential>, options: &Options) -> Self {
        let verify = options.tls_verify.unwrap_or(!place.insecure);
        let may_be_plain = match options.tls_verify {
            Some(verify) => !verify,
            None => place.may_be_plain(),
        };
        let policy = Policy {
            verify,
            certificates: options.certificates.clone(),
            silence: options.silence,
        };
        Self {
            place,
            transport: Transport::new(policy),
            authorizer: Authorizer::new(credential),
            actions: "pull",
            begun: Mutex::default(),
            may_be_plain,
            base: Mutex::default(),
        }
    }

    /// The same, to push to it as well.
    #[must_use]
    pub fn to_push(mut self) -> Self {
        self.actions = "pull,push";
        self
    }

    /// The same, to log in there.
    #[must_use]
    pub fn to_log_in(mut self) -> Self {
        self.authorizer = self.authorizer.to_log_in();
        self
    }

    /// See [`super::Repository::cancel`].
    pub fn cancel(&self) {
        self.transport.cancel();
    }

    /// Waits, unless it is cancelled meanwhile.
    pub fn pause(&self, time: std::time::Duration) {
        self.transport.pause(time);
    }

    /// Whether it was.
    pub fn is_cancelled(&self) -> bool {
        self.transport.is_cancelled()
    }

    /// Asks whether there is a registry that knows us.
    pub fn ping(&self) -> Result<(), Answer> {
        let call = Call::get(self.url("")?);
        let response = self.authorizer.fetch(&self.transport, &call, "")?;
        match response.status().is_success() {
            true if media_type(&response) == "text/html" => Err(self.is_no_registry().into()),
            true => Ok(()),
            false => Err(self.refusal(response)),
        }
    }

    /// The digest behind a tag.
    pub fn head(&self, tag: &str) -> Result<Option<Digest>, Answer> {
        let mut call = self.manifest_call(tag)?;
        call.method = Method::HEAD;
        let response = self
            .authorizer
            .fetch(&self.transport, &call, &self.scope())?;
        match response.status().is_success() {
            true => Ok(announced_digest(&response)),
            // Why, only the answer to a GET can tell.
            false => Ok(None),
        }
    }

    /// A manifest or an index.
    pub fn manifest(&self, tag_or_digest: &str) -> Result<Fetched, Answer> {
        let call = self.manifest_call(tag_or_digest)?;
        let response = self
            .authorizer
            .fetch(&self.transport, &call, &self.scope())?;
        if !response.status().is_success() {
            return Err(self.refusal(response));
        }
        let what = format!("the manifest `{tag_or_digest}` of {}", self.shown());
        let wrong = |why: String| bad_input(format!("{what}: {why}"));
        let kind = media_type(&response);
        let announced = announced_digest(&response);
        if kind == "text/html" {
            return Err(self.is_no_registry().into());
        }
        let bytes = transport::read_document(response, MANIFEST)
            .map_err(|error| wrong(error.to_string()))?
            .ok_or_else(|| wrong(format!("it is longer than {MANIFEST} bytes")))?;
        let digest = Digest::of(&bytes);
        let expected = tag_or_digest.parse::<Digest>().ok().or(announced);
        if let Some(expected) = expected.filter(|expected| *expected != digest) {
            return Err(wrong(format!("its digest should be {expected} and is {digest}")).into());
        }
        read_manifest(&kind, bytes, digest).map_err(|error| wrong(format!("{error:#}")).into())
    }

    /// A small blob.
    pub fn document(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, Answer> {
        let what = format!("{} of {}", descriptor.digest, self.shown());
        let wrong = |why: String| bad_input(format!("{what}: {why}"));
        if descriptor.size > limit {
            return Err(wrong(format!(
                "it is {} bytes long, {limit} at most",
                descriptor.size
            ))
            .into());
        }
        let mut bytes = Vec::new();
        let body = self.blob(&descriptor.digest, 0)?.body;
        let body = Paced::new(body, Some(pace::DOCUMENT));
        body.take(descriptor.size + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| wrong(error.to_string()))?;
        let (size, got) = (descriptor.size, bytes.len() as u64);
        if size != got {
            let more = if got > size { "more" } else { "less" };
            return Err(wrong(format!("it should be {size} bytes long and is {more}")).into());
        }
        match Digest::of(&bytes) {
            digest if digest == descriptor.digest => Ok(bytes),
            digest => Err(wrong(format!("its digest is {digest}")).into()),
        }
    }

    /// A blob from a byte on.
    pub fn blob(&self, digest: &Digest, from: u64) -> Result<Blob, Answer> {
        let mut call = Call::get(self.url(&format!("{}/blobs/{digest}", self.place.repository))?);
        if from > 0 {
            call = call.with(header::RANGE, format!("bytes={from}-"));
        }
        let response = self
            .authorizer
            .fetch(&self.transport, &call, &self.scope())?;
        let from = match response.status() {
            StatusCode::PARTIAL_CONTENT => range_start(&response).filter(|start| *start <= from),
            StatusCode::OK => Some(0),
            // What is here is as much as there is, or more.
            StatusCode::RANGE_NOT_SATISFIABLE if from > 0 => return self.blob(digest, 0),
            _ => return Err(self.refusal(response)),
        };
        let Some(from) = from else {
            return Err(bad_input(format!(
                "{} answers with another range than was asked for",
                self.shown()
            ))
            .into());
        };
        let length = response.headers().get(header::CONTENT_LENGTH);
        let length = length
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.parse().ok());
        let body = Box::new(Paced::new(response.into_body().into_reader(), None));
        Ok(Blob { body, from, length })
    }

    fn manifest_call(&self, tag_or_digest: &str) -> Result<Call<'static>, Answer> {
        let url = self.url(&format!(
            "{}/manifests/{tag_or_digest}",
            self.place.repository
        ))?;
        Ok(Call::get(url).with(header::ACCEPT, manifest::KINDS.join(", ")))
    }

    pub(super) fn scope(&self) -> String {
        format!("repository:{}:{}", self.place.repository, self.actions)
    }

    pub(super) fn shown(&self) -> String {
        format!("{}/{}", self.place.host, self.place.repository)
    }

    pub(super) fn url(&self, path: &str) -> Result<Uri, Answer> {
        self.address(&format!("v2/{path}"))
    }

    /// The address of something that is not of the distribution-spec.
    pub(super) fn address(&self, path: &str) -> Result<Uri, Answer> {
        let base = {
            // Of several threads one finds out, for all.
            let mut known = transport::lock(&self.base);
            match known.as_ref() {
                Some(base) => base.clone(),
                None => known.insert(self.find_base()?).clone(),
            }
        };
        let url = format!("{base}/{path}");
        url.parse()
            .map_err(|_| bad_input(format!("`{url}` is no address")).into())
    }

    /// With TLS, unless that may be missing and is.
    fn find_base(&self) -> Result<String, Answer> {
        let host = &self.place.host;
        let (secure, plain) = (format!("https://{host}"), format!("http://{host}"));
        if !self.may_be_plain {
            return Ok(secure);
        }
        let ask = |base: &str| {
            let url = format!("{base}/v2/");
            let url = url
                .parse()
                .map_err(|_| bad_input(format!("`{url}` is no address")))?;
            self.transport.follow(&Call::get(url)).map(drop)
        };
        let failure = match ask(&secure) {
            Ok(()) => return Ok(secure),
            // A certificate that is not accepted is no reason to go without any.
            Err(failure) if failure.reason == Reason::Final => return Err(failure.into()),
            Err(failure) => failure,
        };
        match ask(&plain) {
            Ok(()) => Ok(plain),
            Err(other) if failure.reason == Reason::NoTls => Err(other.into()),
            Err(_) => Err(failure.into()),
        }
    }

    fn is_no_registry(&self) -> Error {
        let message = format!(
            "`{}` answers with a page for people, not as a registry",
            self.place.host
        );
        bad_input(message).hint("is there a login page or a proxy between?")
    }

    /// What an answer without success means.
    pub(super) fn refusal(&self, response: Response<Body>) -> Answer {
        let status = response.status();
        let kind = media_type(&response);
        let text = transport::read_document(response, EXPLANATION)
            .ok()
            .flatten()
            .unwrap_or_default();
        let said = explanation(&text);
        match status.as_u16() {
            401 | 403 => {
                let what = said.unwrap_or_else(|| status.to_string());
                Answer::Denied(
                    self.authorizer
                        .refused(&format!("`{}` says: {what}", self.place.host)),
                )
            }
            404 if kind == "text/html" => Answer::Failed(self.is_no_registry().into()),
            404 => Answer::NotFound(said.unwrap_or_else(|| status.to_string())),
            429 => {
                let what = said.unwrap_or_else(|| "too many requests".to_owned());
                let error = Error::new(Kind::Denied, format!("`{}` says: {what}", self.place.host));
                Answer::Failed(
                    error
                        .hint(
                            "`onggi login` raises the limit of many registries; or try again later",
                        )
                        .into(),
                )
            }
            _ => {
                let what = said.map(|said| format!(": {said}")).unwrap_or_default();
                Answer::Failed(
                    bad_input(format!("`{}` answers {status}{what}", self.place.host)).into(),
                )
            }
        }
    }
}

/// What a registry says of an error (distribution-spec, "Error Codes"): `manifest unknown: manifest unknown`.
fn explanation(text: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<One>,
    }
    #[derive(Deserialize)]
    struct One {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let errors: Errors = serde_json::from_slice(text).ok()?;
    let said = |one: &One| match one.message.as_str() {
        "" => one.code.to_lowercase().replace('_', " "),
        message => format!("{}: {message}", one.code.to_lowercase().replace('_', " ")),
    };
    let all: Vec<String> = errors.errors.iter().map(said).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

fn media_type(response: &Response<Body>) -> String {
    let value = response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let kind = value
        .and_then(|text| text.split(';').next())
        .unwrap_or_default();
    kind.trim().to_ascii_lowercase()
}

pub(super) fn announced_digest(response: &Response<Body>) -> Option<Digest> {
    let value = response.headers().get("docker-content-digest")?;
    value.to_str().ok()?.parse().ok()
}

/// `bytes 10-99/100` begins at 10.
fn range_start(response: &Response<Body>) -> Option<u64> {
    let value = response
        .headers()
        .get(header::CONTENT_RANGE)?
        .to_str()
        .ok()?;
    value
        .trim()
        .strip_prefix("bytes")?
        .trim_start()
        .split('-')
        .next()?
        .parse()
        .ok()
}

/// Where the header names no kind of manifest, the document itself does; where both do, they must agree.
fn read_manifest(kind: &str, bytes: Vec<u8>, digest: Digest) -> anyhow::Result<Fetched> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Header {
        #[serde(default)]
        schema_version: u32,
        #[serde(default)]
        media_type: String,
    }
    let header: Header = serde_json::from_slice(&bytes)
        .map_err(|error| bad_input(format!("it is no valid JSON: {error}")))?;
    if header.schema_version == 1 || kind.contains("docker.distribution.manifest.v1") {
        let hint = "it must be pushed anew by a program of this decade";
        return Err(bad_input("it is of schema 1, which is not supported")
            .hint(hint)
            .into());
    }
    let known = !kind.is_empty() && manifest::is_known(kind);
    if known && !header.media_type.is_empty() && header.media_type != kind {
        let own = header.media_type;
        return Err(bad_input(format!(
            "it is announced as `{kind}` and says that it is `{own}`"
        ))
        .into());
    }
    let media_type = match known {
        true => kind.to_owned(),
        false => header.media_type,
    };
    let mut descriptor = Descriptor::of(&media_type, &bytes);
    descriptor.digest = digest;
    let document = Document::parse(&descriptor, &bytes)?;
    Ok(Fetched {
        descriptor,
        bytes,
        document,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explanations_are_read() {
        let text = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{}},{"code":"DENIED"}]}"#;
        assert_eq!(
            explanation(text).unwrap(),
            "manifest unknown: manifest unknown, denied"
        );
        for text in [&b"<html>"[..], b"{}", b"", br#"{"errors":[]}"#] {
            assert!(explanation(text).is_none());
        }
    }

    #[test]
    fn manifests_are_what_they_are_announced_as() {
        let index = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
        let read = |kind: &str, text: &str| {
            read_manifest(kind, text.as_bytes().to_vec(), Digest::of(text.as_bytes()))
        };
        assert!(read("application/json", index).is_ok());
        assert!(read(manifest::OCI_INDEX, index).is_ok());
        for (kind, text, part) in [
            (manifest::OCI_MANIFEST, index, "announced as"),
            ("", "<html>", "no valid JSON"),
            ("", r#"{"schemaVersion":1,"fsLayers":[]}"#, "schema 1"),
            (
                "application/vnd.docker.distribution.manifest.v1+prettyjws",
                r#"{"x":1}"#,
                "schema 1",
            ),
        ] {
            let error = format!("{:#}", read(kind, text).unwrap_err());
            assert!(error.contains(part), "{error}");
        }
    }
}
