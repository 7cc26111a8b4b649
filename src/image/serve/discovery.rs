//! What there is: tags, repositories, and what refers to a manifest (distribution-spec, "Content Discovery"; Docker's
//! catalog), a page at a time.

use super::digest::AnyDigest;
use super::http::request::Request;
use super::http::response::Response;
use super::name::Name;
use super::refusal::Refusal;
use super::storage::Storage;
use crate::image::manifest::OCI_INDEX;
use serde_json::{Value, json};

/// The longest page of repositories.
const LONGEST_PAGE: usize = 1000;
/// The longest page of referrers in bytes, as for any other index.
const LARGEST_PAGE: usize = 4 << 20;

/// The tags of a repository, all of them unless fewer are asked for.
pub fn tags(storage: &dyn Storage, request: &Request, name: &Name) -> Result<Response, Refusal> {
    let tags = storage
        .tags(name)?
        .ok_or_else(|| Refusal::name_unknown(name.as_str()))?;
    let (page, next) = page(tags, request, usize::MAX)?;
    let response = Response::json(200, &json!({"name": name.as_str(), "tags": page}));
    Ok(linked(response, &format!("/v2/{name}/tags/list"), next))
}

/// All repositories with something to pull.
pub fn catalog(storage: &dyn Storage, request: &Request) -> Result<Response, Refusal> {
    let (page, next) = page(storage.repositories()?, request, LONGEST_PAGE)?;
    let response = Response::json(200, &json!({"repositories": page}));
    Ok(linked(response, "/v2/_catalog", next))
}

/// How the next page is asked for.
struct Next {
    number: usize,
    last: String,
}

/// The entries after `last`, at most `n`.
fn page(
    mut all: Vec<String>,
    request: &Request,
    longest: usize,
) -> Result<(Vec<String>, Option<Next>), Refusal> {
    let number = match request.parameter("n").map(str::parse::<usize>) {
        None => longest,
        Some(Ok(number)) => number.min(longest),
        Some(Err(_)) => {
            let message = "n is the number of entries of a page";
            return Err(Refusal::new(400, "PAGINATION_NUMBER_INVALID", message));
        }
    };
    if let Some(last) = request.parameter("last") {
        all.retain(|entry| entry.as_str() > last);
    }
    let is_cut = all.len() > number;
    all.truncate(number);
    let last = all.last().filter(|_| is_cut).cloned();
    Ok((all, last.map(|last| Next { number, last })))
}

fn linked(response: Response, path: &str, next: Option<Next>) -> Response {
    match next {
        // Tags and names of repositories have nothing that a query would have to escape.
        Some(Next { number, last }) => response.field(
            "Link",
            format!("<{path}?n={number}&last={last}>; rel=\"next\""),
        ),
        None => response,
    }
}

/// What refers to a manifest, which need not be there.
pub fn referrers(
    storage: &dyn Storage,
    request: &Request,
    name: &Name,
    digest: &str,
) -> Result<Response, Refusal> {
    let subject = AnyDigest::parse(digest)?;
    let kind = request
        .parameter("artifactType")
        .filter(|kind| !kind.is_empty());
    let mut page = Page::default();
    storage.referrers(
        name,
        &subject,
        request.parameter("last"),
        &mut |descriptor| {
            kind.is_some_and(|kind| descriptor["artifactType"] != kind) || page.add(descriptor)
        },
    )?;
    let next = page.last();
    let page = page.descriptors;
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": page});
    let mut response = Response::new(200)
        .field("Content-Type", OCI_INDEX)
        .bytes(index.to_string().into_bytes());
    if kind.is_some() {
        response = response.field("OCI-Filters-Applied", "artifactType");
    }
    Ok(match next {
        Some(last) => {
            let kind = kind.map(|kind| format!("&artifactType={}", escaped(kind)));
            let query = format!("last={last}{}", kind.unwrap_or_default());
            let path = format!("/v2/{name}/referrers/{subject}");
            response.field("Link", format!("<{path}?{query}>; rel=\"next\""))
        }
        None => response,
    })
}

/// As many descriptors as a page takes, at least one.
#[derive(Default)]
struct Page {
    descriptors: Vec<Value>,
    size: usize,
    is_cut: bool,
}

impl Page {
    /// Whether further ones may follow.
    fn add(&mut self, descriptor: Value) -> bool {
        self.size += descriptor.to_string().len() + 1;
        self.is_cut = !self.descriptors.is_empty() && self.size > LARGEST_PAGE - 256;
        if !self.is_cut {
            self.descriptors.push(descriptor);
        }
        !self.is_cut
    }

    /// The digest of the last one, where some are left.
    fn last(&self) -> Option<String> {
        let last = self.descriptors.last().filter(|_| self.is_cut)?;
        last["digest"].as_str().map(str::to_owned)
    }
}

/// A value as it stands in a query (RFC 3986, section 2.3).
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let escaped = text.bytes().map(|byte| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    escaped.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_referrers_are_no_larger_than_a_manifest() {
        let descriptor = |number: usize| json!({"digest": format!("sha256:{number}"), "annotations": {"a": "x".repeat(1 << 20)}});
        let page = |descriptors: &[Value]| {
            let mut page = Page::default();
            let mut given = descriptors.iter();
            while given.next().is_some_and(|one| page.add(one.clone())) {}
            (page.descriptors.len(), page.last())
        };
        let all: Vec<Value> = (0..6).map(descriptor).collect();
        assert_eq!(page(&all), (3, Some("sha256:2".to_owned())));
        assert_eq!(page(&all[3..5]), (2, None));
        let huge = json!({"digest": "sha256:9", "annotations": {"a": "x".repeat(5 << 20)}});
        assert_eq!(page(std::slice::from_ref(&huge)), (1, None));
        assert_eq!(
            page(&[huge.clone(), huge]),
            (1, Some("sha256:9".to_owned()))
        );
        assert_eq!(page(&[]), (0, None));
        assert_eq!(
            escaped("a/b+json;x=\"1\"\r\n"),
            "a/b%2Bjson%3Bx%3D%221%22%0D%0A"
        );
    }
}
