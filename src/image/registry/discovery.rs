//! What a registry has: its tags, its repositories, what refers to an image (distribution-spec, "Content Discovery" and
//! "Listing Referrers"), and the search of Docker's first protocol.
//!
//! Invariant: a list ends, whatever a registry answers, and no page of it is asked for elsewhere.

use super::source::{Answer, Source};
use super::transport::{self, Call};
use crate::error::{Error, bad_input};
use crate::image::digest::Digest;
use crate::image::manifest::Descriptor;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::Body;
use ureq::http::{Response, StatusCode, Uri, header};

/// The longest page of a list.
const LIST: u64 = 16 << 20;
/// Pages of a list, and how many things are asked for on each.
const PAGES: usize = 10_000;
const PAGE: &str = "1000";
/// The most memory that all tags of a repository may take, in bytes.
const TAGS: u64 = 32 << 20;
/// The most that may refer to one manifest.
const REFERRERS: usize = 10_000;

/// Something that a search has found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Hit {
    /// The repository.
    pub name: String,
    /// What its owner says of it.
    #[serde(deserialize_with = "or_empty")]
    pub description: String,
    /// How many like it.
    #[serde(rename = "star_count")]
    pub stars: u64,
    /// Whether Docker answers for it.
    #[serde(rename = "is_official")]
    pub official: bool,
}

/// Registries write `null` for no text.
fn or_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Source {
    /// All tags.
    pub fn tags(&self) -> Result<Vec<String>, Answer> {
        #[derive(Deserialize)]
        struct Tags {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let (mut tags, mut size) = (Vec::new(), 0);
        let path = format!("{}/tags/list?n={PAGE}", self.place.repository);
        let what = format!("the list of tags of {}", self.shown());
        self.pages(&path, &self.scope(), &what, |page: Tags| {
            let page = page.tags.unwrap_or_default();
            let of_tag = |tag: &String| (tag.len() + size_of::<String>()) as u64;
            size += page.iter().map(of_tag).sum::<u64>();
            tags.extend(page);
            size <= TAGS
        })?;
        match size <= TAGS {
            true => Ok(tags),
            false => Err(bad_input(format!("{what} has more than {} tags", tags.len())).into()),
        }
    }

    /// Hands over the names of all repositories, until `take` has enough (distribution's `_catalog`).
    pub fn repositories(&self, mut take: impl FnMut(String) -> bool) -> Result<(), Answer> {
        #[derive(Deserialize)]
        struct Catalogue {
            #[serde(default)]
            repositories: Option<Vec<String>>,
        }
        let path = format!("_catalog?n={PAGE}");
        let what = format!("the list of repositories of {}", self.place.host);
        self.pages(&path, "registry:catalog:*", &what, |page: Catalogue| {
            let names = page.repositories.unwrap_or_default();
            names.into_iter().all(&mut take)
        })
    }

    /// What refers to a manifest; `None` where the registry has no such lists (distribution-spec, "Listing Referrers").
    pub fn referrers(&self, digest: &Digest) -> Result<Option<Vec<Descriptor>>, Answer> {
        #[derive(Deserialize)]
        struct Referrers {
            #[serde(default)]
            manifests: Option<Vec<Descriptor>>,
        }
        let what = format!("the list of what refers to {digest} of {}", self.shown());
        let mut referrers = Vec::new();
        let mut next = Some(self.url(&format!("{}/referrers/{digest}", self.place.repository))?);
        while let Some(url) = next.take() {
            let response =
                self.authorizer
                    .fetch(&self.transport, &Call::get(url.clone()), &self.scope())?;
            match response.status() {
                status if status.is_success() => {}
                // What does not know the path answers in many ways, some of them with a page for people.
                StatusCode::NOT_FOUND
                | StatusCode::BAD_REQUEST
                | StatusCode::METHOD_NOT_ALLOWED
                | StatusCode::NOT_IMPLEMENTED => return Ok(None),
                _ => return Err(self.refusal(response)),
            }
            let (page, following) = read_page::<Referrers>(&url, response, &what)?;
            let page = page.manifests.unwrap_or_default();
            // A page without entries is the last, lest there be no end.
            next = following.filter(|_| !page.is_empty());
            referrers.extend(page);
            if referrers.len() > REFERRERS {
                return Err(bad_input(format!("{what} is longer than {REFERRERS} entries")).into());
            }
        }
        Ok(Some(referrers))
    }

    /// Docker's search (`/v1/search`); `None` where there is no such thing.
    pub fn search(&self, term: &str, limit: usize) -> Result<Option<Vec<Hit>>, Answer> {
        #[derive(Deserialize)]
        struct Page {
            results: Vec<Hit>,
        }
        let term = super::auth::escaped(term);
        let call = Call::get(self.address(&format!("v1/search?q={term}&n={limit}"))?);
        let response = self.authorizer.fetch(&self.transport, &call, "")?;
        if matches!(response.status().as_u16(), 429 | 500..) {
            return Err(self.refusal(response));
        }
        if !response.status().is_success() {
            return Ok(None);
        }
        // Registries with pages for people show one at any address.
        let bytes = read(
            response,
            &format!("what `{}` answers to a search", self.place.host),
        )?;
        Ok(serde_json::from_slice(&bytes)
            .ok()
            .map(|page: Page| page.results))
    }

    /// Hands over a list page by page, until `take` has enough.
    fn pages<T: DeserializeOwned>(
        &self,
        path: &str,
        scope: &str,
        what: &str,
        mut take: impl FnMut(T) -> bool,
    ) -> Result<(), Answer> {
        let mut url = self.url(path)?;
        for _ in 0..PAGES {
            let call = Call::get(url.clone());
            let response = self.authorizer.fetch(&self.transport, &call, scope)?;
            if !response.status().is_success() {
                return Err(self.refusal(response));
            }
            let (page, next) = read_page(&url, response, what)?;
            let more = take(page);
            match next.filter(|_| more) {
                Some(next) => url = next,
                None => return Ok(()),
            }
        }
        Err(bad_input(format!("{what} has no end")).into())
    }
}

/// `Link: <…>; rel="next"` (RFC 8288).
fn next_page(url: &Uri, response: &Response<Body>) -> Option<Uri> {
    let value = response.headers().get(header::LINK)?.to_str().ok()?;
    let (target, parameters) = value.trim().strip_prefix('<')?.split_once('>')?;
    parameters
        .contains("next")
        .then(|| transport::relative(url, target))?
}

/// One page of a list, and where the next is.
fn read_page<T: DeserializeOwned>(
    url: &Uri,
    response: Response<Body>,
    what: &str,
) -> Result<(T, Option<Uri>), Answer> {
    let next = match next_page(url, &response) {
        // Credentials go with it, so it must be of the same origin.
        Some(next) if transport::origin(&next)? == transport::origin(url)? && next != *url => {
            Some(next)
        }
        _ => None,
    };
    let page = serde_json::from_slice(&read(response, what)?)
        .map_err(|error| bad_input(format!("{what}: it is no valid JSON: {error}")))?;
    Ok((page, next))
}

fn read(response: Response<Body>, what: &str) -> Result<Vec<u8>, Error> {
    let wrong = |why: &str| bad_input(format!("{what}: {why}"));
    transport::read_document(response, LIST)
        .map_err(|error| wrong(&error.to_string()))?
        .ok_or_else(|| wrong("it is too long"))
}
