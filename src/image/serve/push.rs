//! Blobs and manifests on their way in, and out for good (distribution-spec, "Push" and "Content Management").

use super::digest::AnyDigest;
use super::folder::{Folder, LARGEST_MANIFEST};
use super::http::body::Body;
use super::http::request::{Framing, Request};
use super::http::response::Response;
use super::name::{Name, Reference};
use super::refusal::Refusal;
use std::io::Read;

/// Begins an upload: in any number of requests, in this one (`?digest=`), or without any bytes at all (`?mount=`).
pub fn begin(
    folder: &Folder,
    request: &Request,
    body: &mut Body,
    name: &Name,
) -> Result<Response, Refusal> {
    if let Some(mount) = request.parameter("mount") {
        let digest = AnyDigest::parse(mount)?;
        let from = request.parameter("from").map(Name::parse).transpose()?;
        if let Some(from) = from
            && folder.mount(name, &digest, &from)?
        {
            return Ok(created_blob(name, &digest));
        }
    }
    let digest = request
        .parameter("digest")
        .map(AnyDigest::parse)
        .transpose()?;
    let id = folder.begin_upload(name)?;
    match digest {
        None => Ok(accepted(202, name, &id, 0)),
        Some(digest) => {
            let finished = complete(folder, body, name, &id, &digest, None);
            if finished.is_err() {
                // Nobody was told its id.
                let _ = folder.cancel_upload(name, &id);
            }
            finished
        }
    }
}

/// How far an upload is.
pub fn status(folder: &Folder, name: &Name, id: &str) -> Result<Response, Refusal> {
    Ok(accepted(204, name, id, folder.upload_size(name, id)?))
}

/// Adds to an upload.
pub fn patch(
    folder: &Folder,
    request: &Request,
    body: &mut Body,
    name: &Name,
    id: &str,
) -> Result<Response, Refusal> {
    let mut upload = folder.upload(name, id)?;
    let length = checked_range(request, name, id, upload.size())?;
    upload.append(body, length)?;
    Ok(accepted(202, name, id, upload.size()))
}

/// Ends an upload, with its last bytes if some are missing: it becomes a blob.
pub fn finish(
    folder: &Folder,
    request: &Request,
    body: &mut Body,
    name: &Name,
    id: &str,
) -> Result<Response, Refusal> {
    let missing = || Refusal::digest_invalid("an upload is ended with `?digest=`");
    let digest = AnyDigest::parse(request.parameter("digest").ok_or_else(missing)?)?;
    complete(folder, body, name, id, &digest, Some(request))
}

fn complete(
    folder: &Folder,
    body: &mut Body,
    name: &Name,
    id: &str,
    digest: &AnyDigest,
    request: Option<&Request>,
) -> Result<Response, Refusal> {
    let mut upload = folder.upload(name, id)?;
    let length = match request {
        Some(request) => checked_range(request, name, id, upload.size())?,
        None => None,
    };
    upload.append(body, length)?;
    upload.finish(digest)?;
    Ok(created_blob(name, digest))
}

/// Ends an upload without a blob.
pub fn cancel(folder: &Folder, name: &Name, id: &str) -> Result<Response, Refusal> {
    folder.cancel_upload(name, id)?;
    Ok(Response::new(204))
}

/// The length that the field `Content-Range` (`FIRST-LAST`) promises; it must go on where the upload ends.
fn checked_range(
    request: &Request,
    name: &Name,
    id: &str,
    size: u64,
) -> Result<Option<u64>, Refusal> {
    let Some(field) = request.field("content-range") else {
        return Ok(None);
    };
    let out_of_order = || {
        Refusal::new(
            416,
            "BLOB_UPLOAD_INVALID",
            format!("the upload goes on at byte {size}"),
        )
        .field("Location", upload_location(name, id))
        .field("Range", received(size))
    };
    // Some clients write it as HTTP has it.
    let range = field.strip_prefix("bytes ").unwrap_or(field);
    let range = range.split_once('/').map_or(range, |(range, _)| range);
    let (first, last) = range.split_once('-').ok_or_else(out_of_order)?;
    let (Ok(first), Ok(last)) = (first.trim().parse::<u64>(), last.trim().parse::<u64>()) else {
        return Err(out_of_order());
    };
    if first != size || last < first || last == u64::MAX {
        return Err(out_of_order());
    }
    let length = last - first + 1;
    match request.framing {
        Framing::Length(other) if other != length => Err(Refusal::new(
            400,
            "SIZE_INVALID",
            "the body has not the length of its range",
        )),
        _ => Ok(Some(length)),
    }
}

fn upload_location(name: &Name, id: &str) -> String {
    format!("/v2/{name}/blobs/uploads/{id}")
}

/// The field `Range` of an upload: its last byte is named, and where there is none, byte 0 as all registries do.
fn received(size: u64) -> String {
    format!("0-{}", size.saturating_sub(1))
}

fn accepted(status: u16, name: &Name, id: &str, size: u64) -> Response {
    Response::new(status)
        .field("Location", upload_location(name, id))
        .field("Range", received(size))
        .field("Docker-Upload-UUID", id)
}

fn created_blob(name: &Name, digest: &AnyDigest) -> Response {
    Response::new(201)
        .field("Location", format!("/v2/{name}/blobs/{digest}"))
        .field("Docker-Content-Digest", digest)
}

/// Takes a manifest in.
pub fn put_manifest(
    folder: &Folder,
    request: &Request,
    body: &mut Body,
    name: &Name,
    reference: &str,
) -> Result<Response, Refusal> {
    let reference = Reference::parse(reference)?;
    let too_large = || {
        let message = format!("a manifest has at most {LARGEST_MANIFEST} bytes");
        Refusal::new(413, "MANIFEST_INVALID", message)
    };
    if matches!(request.framing, Framing::Length(length) if length > LARGEST_MANIFEST) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    let mut limited = body.take(LARGEST_MANIFEST + 1);
    limited
        .read_to_end(&mut bytes)
        .map_err(|error| Refusal::body(&error))?;
    if bytes.len() as u64 > LARGEST_MANIFEST {
        return Err(too_large());
    }
    let accepted = folder.put_manifest(name, &reference, request.field("content-type"), &bytes)?;
    let digest = accepted.digest;
    let response = Response::new(201)
        .field("Location", format!("/v2/{name}/manifests/{digest}"))
        .field("Docker-Content-Digest", digest);
    Ok(match accepted.subject {
        Some(subject) => response.field("OCI-Subject", subject),
        None => response,
    })
}

/// Takes a tag away, or a manifest with all its tags.
pub fn delete_manifest(folder: &Folder, name: &Name, reference: &str) -> Result<Response, Refusal> {
    let found = match Reference::parse(reference)? {
        Reference::Tag(tag) => folder.delete_tag(name, &tag)?,
        Reference::Digest(digest) => folder.delete_manifest(name, &digest)?,
    };
    match found {
        true => Ok(Response::new(202)),
        false => Err(Refusal::manifest_unknown(reference)),
    }
}

/// Takes a blob away.
pub fn delete_blob(folder: &Folder, name: &Name, digest: &str) -> Result<Response, Refusal> {
    let digest = AnyDigest::parse(digest)?;
    match folder.delete_blob(name, &digest)? {
        true => Ok(Response::new(202)),
        false => Err(Refusal::blob_unknown(&digest.to_string())),
    }
}
