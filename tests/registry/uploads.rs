//! A registry in memory that takes uploads, remembers how far they came, and can be told to misbehave.

use crate::server::{Reply, Request, answer, error};
use onggi::image::digest::Digest;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// What it has; clones share it.
#[derive(Clone, Default)]
pub struct Uploads(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// By their address, without the query.
    blobs: BTreeMap<String, Vec<u8>>,
    /// By the number of the upload.
    open: BTreeMap<usize, Vec<u8>>,
    manifests: BTreeMap<String, Vec<u8>>,
    begun: usize,
    received: usize,
}

impl Uploads {
    /// All bytes that came in bodies of uploads.
    pub fn received(&self) -> usize {
        self.0.lock().unwrap().received
    }

    /// Bytes of all blobs.
    pub fn stored(&self) -> usize {
        self.0.lock().unwrap().blobs.values().map(Vec::len).sum()
    }

    /// How many uploads were begun.
    pub fn begun(&self) -> usize {
        self.0.lock().unwrap().begun
    }

    /// Whether a tag leads to an image all of whose blobs are here.
    pub fn is_whole(&self, tag: &str) -> bool {
        let state = self.0.lock().unwrap();
        let Some(manifest) = state.manifests.get(tag) else {
            return false;
        };
        let manifest: serde_json::Value = serde_json::from_slice(manifest).unwrap();
        let layers = manifest["layers"].as_array().unwrap().iter();
        let mut blobs = layers.chain([&manifest["config"]]);
        blobs.all(|blob| {
            let digest = blob["digest"].as_str().unwrap();
            let found = state.blobs.iter().find(|(key, _)| key.ends_with(digest));
            found.is_some_and(|(_, bytes)| bytes.len() as u64 == blob["size"].as_u64().unwrap())
        })
    }

    /// Forgets what was begun.
    pub fn forget(&self) {
        self.0.lock().unwrap().open.clear();
    }

    /// What a registry does.
    pub fn answer(&self, request: &Request) -> Reply {
        if request.waits {
            return Reply::Take;
        }
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let last = path.rsplit('/').next().unwrap();
        let mut state = self.0.lock().unwrap();
        match request.method.as_str() {
            "GET" if path == "/v2/" => answer("200 OK", &[], "{}"),
            "HEAD" => match state.blobs.contains_key(path) {
                true => answer("200 OK", &[], ""),
                false => answer("404 Not Found", &[], ""),
            },
            "POST" if path.ends_with("/blobs/uploads/") => {
                state.begun += 1;
                let number = state.begun;
                state.open.insert(number, Vec::new());
                accepted(path, number, 0, "202 Accepted")
            }
            "PUT" if path.contains("/manifests/") => {
                let digest = Digest::of(&request.body);
                state
                    .manifests
                    .insert(last.to_owned(), request.body.clone());
                stored(&digest.to_string())
            }
            method if path.contains("/blobs/uploads/") => {
                let folder = &path[..path.len() - last.len()];
                let number = last.parse().unwrap_or_default();
                state.upload(request, method, folder, number, query)
            }
            _ => error("404 Not Found", "UNSUPPORTED"),
        }
    }
}

impl State {
    fn upload(
        &mut self,
        request: &Request,
        method: &str,
        folder: &str,
        number: usize,
        query: &str,
    ) -> Reply {
        let Some(bytes) = self.open.get_mut(&number) else {
            return error("404 Not Found", "BLOB_UPLOAD_UNKNOWN");
        };
        if method == "GET" {
            return accepted(folder, number, bytes.len(), "204 No Content");
        }
        let range = request.header("content-range");
        if !range.is_empty() && range.split('-').next() != Some(&bytes.len().to_string()) {
            return error("416 Range Not Satisfiable", "BLOB_UPLOAD_INVALID");
        }
        self.received += request.body.len();
        bytes.extend_from_slice(&request.body);
        if method == "PATCH" {
            return accepted(folder, number, bytes.len(), "202 Accepted");
        }
        if request.cut {
            return Reply::Take;
        }
        let bytes = self.open.remove(&number).unwrap();
        let digest = Digest::of(&bytes).to_string();
        if query
            .split('&')
            .all(|field| field != format!("digest={digest}"))
        {
            return error("400 Bad Request", "DIGEST_INVALID");
        }
        let repository = folder.trim_end_matches("uploads/");
        self.blobs.insert(format!("{repository}{digest}"), bytes);
        stored(&digest)
    }
}

fn accepted(folder: &str, number: usize, length: usize, status: &str) -> Reply {
    let location = format!("Location: {folder}{number}?state={length}");
    let range = format!("Range: 0-{}", length.saturating_sub(1));
    answer(status, &[&location, &range], "")
}

fn stored(digest: &str) -> Reply {
    let digest = format!("Docker-Content-Digest: {digest}");
    answer("201 Created", &["Location: /x", &digest], "")
}
