//! Manifests and blobs on their way out (distribution-spec, "Pull").

use super::digest::AnyDigest;
use super::http::request::Request;
use super::http::response::Response;
use super::name::{Name, Reference};
use super::refusal::Refusal;
use super::storage::Storage;
use std::ops::Range;

/// A manifest by tag or digest.
pub fn manifest(storage: &dyn Storage, name: &Name, reference: &str) -> Result<Response, Refusal> {
    let unknown = || Refusal::manifest_unknown(reference);
    let parsed = match Reference::parse(reference) {
        Ok(parsed) => parsed,
        // Nothing can be called by what is no tag.
        Err(refusal) if refusal.code == "TAG_INVALID" => return Err(unknown()),
        Err(refusal) => return Err(refusal),
    };
    let manifest = storage.manifest(name, &parsed)?.ok_or_else(unknown)?;
    Ok(Response::new(200)
        .field("Content-Type", &manifest.media_type)
        .field("Docker-Content-Digest", &manifest.digest)
        .field("ETag", format!("\"{}\"", manifest.digest))
        .bytes(manifest.bytes))
}

/// A blob, or a part of it.
pub fn blob(
    storage: &dyn Storage,
    request: &Request,
    name: &Name,
    digest: &str,
) -> Result<Response, Refusal> {
    let digest = AnyDigest::parse(digest)?;
    let blob = storage.blob(name, &digest)?;
    let blob = blob.ok_or_else(|| Refusal::blob_unknown(&digest.to_string()))?;
    let size = blob.size;
    let (response, part) = match request.field("range").map(|field| part(field, size)) {
        None | Some(Part::Whole) => (Response::new(200), 0..size),
        Some(Part::Some(part)) => {
            let range = format!("bytes {}-{}/{size}", part.start, part.end - 1);
            (Response::new(206).field("Content-Range", range), part)
        }
        Some(Part::Nothing) => {
            return Err(Refusal::new(416, "UNKNOWN", "the blob has no such bytes")
                .field("Content-Range", format!("bytes */{size}")));
        }
    };
    Ok(response
        .field("Content-Type", "application/octet-stream")
        .field("Docker-Content-Digest", &digest)
        .field("ETag", format!("\"{digest}\""))
        .field("Accept-Ranges", "bytes")
        .stream(part.end - part.start, move |out| {
            blob.source.write(part, out)
        }))
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Some(Range<u64>),
    Nothing,
}

/// What the field `Range` asks for (RFC 9110, section 14). Several ranges, and what is none, ask for all.
fn part(field: &str, size: u64) -> Part {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // A number that is too large is beyond any end.
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let Some((first, last)) = field
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'))
    else {
        return Part::Whole;
    };
    let range = match (number(first), number(last)) {
        (Some(first), None) if last.is_empty() => first..size,
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(size),
        (None, Some(length)) if first.is_empty() => size.saturating_sub(length)..size,
        _ => return Part::Whole,
    };
    match range.is_empty() {
        true => Part::Nothing,
        false => Part::Some(range),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_within_the_blob() {
        for (field, expected) in [
            ("bytes=0-0", Part::Some(0..1)),
            ("bytes=2-", Part::Some(2..10)),
            ("bytes=2-99", Part::Some(2..10)),
            ("bytes=-3", Part::Some(7..10)),
            ("bytes=-99", Part::Some(0..10)),
            ("bytes=9-9", Part::Some(9..10)),
            ("bytes=0-99999999999999999999999", Part::Some(0..10)),
            ("bytes=10-", Part::Nothing),
            ("bytes=10-12", Part::Nothing),
            ("bytes=-0", Part::Nothing),
            ("bytes=99999999999999999999999-", Part::Nothing),
            ("bytes=3-2", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("lines=1-2", Part::Whole),
        ] {
            assert_eq!(part(field, 10), expected, "{field}");
        }
        assert_eq!(part("bytes=0-", 0), Part::Nothing);
    }
}
