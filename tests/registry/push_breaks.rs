//! Registries and networks that make it hard to push: nothing half-made passes for whole, nothing goes where it should not,
//! and what can be gone on with is.

use crate::server::{Reply, Request, Server, answer, error};
use crate::somebody;
use crate::support::{Outcome, Store};
use crate::uploads::Uploads;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Where uploads break.
const PIECE: usize = 300_000;

/// A push to a registry before which `handler` stands; `known`: the layer was packed before, so that its digest is known.
struct Attempt {
    outcome: Outcome,
    uploads: Uploads,
    server: Server,
    _store: Store,
}

impl Attempt {
    fn made(
        known: bool,
        handler: impl Fn(&Request, &Uploads) -> Reply + Send + Sync + 'static,
    ) -> Option<Self> {
        let store = somebody().filter(Store::alpine)?;
        if known {
            let good = Uploads::default();
            let first = Server::start(None, move |request| good.answer(request));
            let name = first.name("pot:0");
            store.onggi(["tag", "alpine:3.20", &name]).run().code(0);
            store.onggi(["push", "-q", &name]).run().code(0);
        }
        let uploads = Uploads::default();
        let shared = uploads.clone();
        let server = Server::start(None, move |request| handler(request, &shared));
        let name = server.name("pot:1");
        store.onggi(["tag", "alpine:3.20", &name]).run().code(0);
        let outcome = store.onggi(["push", &name]).run();
        Some(Self {
            outcome,
            uploads,
            server,
            _store: store,
        })
    }

    /// It has all arrived.
    #[track_caller]
    fn succeeded(&self) {
        self.outcome.code(0).stdout_has("1: digest: sha256:");
        assert!(self.uploads.is_whole("1"));
    }

    /// Nothing that could be taken for it has.
    #[track_caller]
    fn failed(&self, words: &str) {
        self.outcome.code(1).stderr_has(words);
        assert!(!self.uploads.is_whole("1"));
    }

    fn requests(&self, method: &str) -> Vec<Request> {
        let seen = self.server.seen().into_iter();
        seen.filter(|request| request.method == method).collect()
    }
}

/// Part of the upload of the layer, which is larger than the config.
fn is_layer(request: &Request, method: &str) -> bool {
    let length = request
        .header("content-length")
        .parse()
        .unwrap_or(usize::MAX);
    request.method == method && request.path.contains("/uploads/") && length > 100_000
}

#[test]
fn what_breaks_goes_on_where_the_registry_says() {
    for known in [true, false] {
        let first = AtomicUsize::new(0);
        let method = if known { "PUT" } else { "PATCH" };
        let Some(attempt) = Attempt::made(known, move |request, uploads| {
            if request.cut {
                return uploads.answer(request);
            }
            match is_layer(request, method) && first.fetch_add(1, Ordering::SeqCst) == 0 {
                true => Reply::Swallow(PIECE),
                false => uploads.answer(request),
            }
        }) else {
            return;
        };
        attempt.succeeded();
        if known {
            attempt.outcome.stdout_has("Retrying");
            let ranges = attempt.requests("PATCH");
            assert!(
                ranges[0]
                    .header("content-range")
                    .starts_with(&format!("{PIECE}-")),
                "{ranges:?}"
            );
            assert_eq!(attempt.uploads.received(), attempt.uploads.stored());
        }
    }
}

/// Where an upload goes on is said as seen from where the answer came from.
#[test]
fn an_upload_that_was_redirected_goes_on_from_there() {
    const MOVED: &str = "/v2/pot/moved/blobs/uploads/";
    let Some(attempt) = Attempt::made(true, |request, uploads| match request.method.as_str() {
        "POST" if !request.path.starts_with(MOVED) => answer(
            "307 Temporary Redirect",
            &[&format!("Location: {MOVED}")],
            "",
        ),
        "POST" => match uploads.answer(request) {
            Reply::Answer(head, body) => {
                assert!(head.contains(MOVED), "{head}");
                Reply::Answer(head.replace(MOVED, ""), body)
            }
            other => other,
        },
        _ => uploads.answer(request),
    }) else {
        return;
    };
    attempt.succeeded();
    let went = attempt.requests("PUT");
    let uploads = went.iter().filter(|request| !request.is_manifest());
    let paths: Vec<&str> = uploads.map(|request| request.path.as_str()).collect();
    assert!(!paths.is_empty());
    for path in paths {
        assert!(path.starts_with(MOVED), "{path}");
    }
}

#[test]
fn what_the_registry_forgot_is_sent_again() {
    let first = AtomicUsize::new(0);
    let Some(attempt) = Attempt::made(true, move |request, uploads| {
        if request.cut {
            uploads.forget();
            return Reply::Take;
        }
        match is_layer(request, "PUT") && first.fetch_add(1, Ordering::SeqCst) == 0 {
            true => Reply::Swallow(PIECE),
            false => uploads.answer(request),
        }
    }) else {
        return;
    };
    attempt.succeeded();
    assert_eq!(attempt.uploads.begun(), 3);
}

#[test]
fn servers_that_take_pieces_only_get_pieces() {
    for (known, most, status) in [
        (true, 1 << 20, "413 Request Entity Too Large"),
        (false, 1 << 20, "413 Request Entity Too Large"),
        (true, usize::MAX, "405 Method Not Allowed"),
        (true, usize::MAX, "400 Bad Request"),
    ] {
        let Some(attempt) = Attempt::made(known, move |request, uploads| {
            let length = request
                .header("content-length")
                .parse()
                .unwrap_or(usize::MAX);
            let is_whole = most == usize::MAX && is_layer(request, "PUT");
            match request.path.contains("/uploads/") && (length > most || is_whole) {
                true => error(status, "SIZE_INVALID"),
                false => uploads.answer(request),
            }
        }) else {
            return;
        };
        attempt.succeeded();
        // Nobody sends what is not wanted, and hears so before.
        assert_eq!(attempt.uploads.received(), attempt.uploads.stored());
        assert!(!attempt.requests("PATCH").is_empty());
    }
}

#[test]
fn pieces_are_as_long_as_the_registry_wants_them() {
    const LEAST: usize = 1_500_000;
    let Some(attempt) = Attempt::made(true, |request, uploads| {
        let length = request.header("content-length").parse().unwrap_or(0);
        if is_layer(request, "PUT") || length > 2 * LEAST {
            return error("413 Request Entity Too Large", "SIZE_INVALID");
        }
        match (request.method.as_str(), uploads.answer(request)) {
            ("POST", Reply::Answer(head, body)) => {
                Reply::Answer(format!("{head}\r\nOCI-Chunk-Min-Length: {LEAST}"), body)
            }
            (_, reply) => reply,
        }
    }) else {
        return;
    };
    attempt.succeeded();
    let mut lengths: Vec<usize> = attempt
        .requests("PATCH")
        .iter()
        .map(|request| request.header("content-length").parse().unwrap())
        .filter(|length| *length <= 2 * LEAST)
        .collect();
    lengths.pop();
    assert!(
        !lengths.is_empty() && lengths.iter().all(|length| *length >= LEAST),
        "{lengths:?}"
    );
}

#[test]
fn busy_and_broken_servers_are_asked_again() {
    for status in [
        "429 Too Many Requests",
        "500 Internal Server Error",
        "502 Bad Gateway",
        "503 Service Unavailable",
    ] {
        // Once for each request of an upload and for the manifest.
        let asked = AtomicUsize::new(0);
        let Some(attempt) = Attempt::made(true, move |request, uploads| {
            let writes = ["POST", "PUT", "PATCH"].contains(&request.method.as_str());
            let is_first = request.waits || request.header("expect").is_empty();
            let counts = writes && is_first;
            match counts && asked.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
                true => answer(status, &["Retry-After: 0"], "{}"),
                false => uploads.answer(request),
            }
        }) else {
            return;
        };
        attempt.succeeded();
        assert_eq!(attempt.uploads.received(), attempt.uploads.stored());
    }
}

#[test]
fn servers_that_stay_broken_are_given_up() {
    for (status, words) in [
        (
            "500 Internal Server Error",
            "answers 500 Internal Server Error: unknown: as you see",
        ),
        ("429 Too Many Requests", "says: unknown: as you see"),
    ] {
        let Some(attempt) = Attempt::made(true, move |request, uploads| {
            match (
                is_layer(request, "PUT") || is_layer(request, "PATCH"),
                error(status, "UNKNOWN"),
            ) {
                (true, Reply::Answer(head, body)) => {
                    Reply::Answer(format!("{head}\r\nRetry-After: 0"), body)
                }
                _ => uploads.answer(request),
            }
        }) else {
            return;
        };
        attempt.failed(words);
    }
    let Some(attempt) = Attempt::made(true, |request, uploads| match is_layer(request, "PUT") {
        true => answer("429 Too Many Requests", &["Retry-After: 86400"], ""),
        false => uploads.answer(request),
    }) else {
        return;
    };
    attempt.failed("asks to come again in 86400 seconds");
}

#[test]
fn refusals_are_told_as_they_are() {
    for (method, status, code, words) in [
        (
            "POST",
            "403 Forbidden",
            "DENIED",
            "push access denied for 127.0.0.1:",
        ),
        (
            "POST",
            "405 Method Not Allowed",
            "UNSUPPORTED",
            "unsupported: as you see",
        ),
        (
            "POST",
            "404 Not Found",
            "NAME_UNKNOWN",
            "name unknown: as you see",
        ),
        ("PUT", "403 Forbidden", "DENIED", "denied: as you see"),
        (
            "PUT",
            "404 Not Found",
            "BLOB_UPLOAD_UNKNOWN",
            "blob upload unknown: as you see",
        ),
        (
            "PUT",
            "413 Request Entity Too Large",
            "SIZE_INVALID",
            "size invalid: as you see",
        ),
    ] {
        let Some(attempt) = Attempt::made(true, move |request, uploads| {
            let refused =
                request.method == method || (method == "PUT" && request.method == "PATCH");
            match refused && request.path.contains("/uploads/") {
                true => error(status, code),
                false => uploads.answer(request),
            }
        }) else {
            return;
        };
        attempt.failed(words);
    }
    let Some(attempt) = Attempt::made(true, |request, uploads| match request.is_manifest() {
        true => error("400 Bad Request", "MANIFEST_INVALID"),
        false => uploads.answer(request),
    }) else {
        return;
    };
    attempt.failed("upload the manifest `1` to 127.0.0.1:");
}

#[test]
fn what_was_changed_on_its_way_is_noticed() {
    // A bit falls over before the registry gets it.
    let Some(attempt) = Attempt::made(true, |request, uploads| {
        let mut changed = request.clone();
        if let Some(byte) = changed.body.get_mut(50_000) {
            *byte ^= 1;
        }
        uploads.answer(&changed)
    }) else {
        return;
    };
    attempt.failed("digest invalid");
    // The registry itself says that it has something else.
    let wrong = format!("sha256:{}", "0".repeat(64));
    let header = format!("Docker-Content-Digest: {wrong}");
    for is_manifest in [false, true] {
        let header = header.clone();
        let Some(attempt) = Attempt::made(true, move |request, uploads| {
            match request.method == "PUT" && !request.waits && request.is_manifest() == is_manifest
            {
                true => answer("201 Created", &["Location: /x", &header], ""),
                false => uploads.answer(request),
            }
        }) else {
            return;
        };
        attempt.failed(&wrong);
        attempt.outcome.stderr_has("it was changed on its way");
    }
}

#[test]
fn a_lost_answer_is_not_a_lost_blob() {
    // The connection ends after the registry has stored the layer.
    let first = AtomicUsize::new(0);
    let Some(attempt) = Attempt::made(true, move |request, uploads| {
        let reply = uploads.answer(request);
        let done = is_layer(request, "PUT") && !request.waits;
        match done && first.fetch_add(1, Ordering::SeqCst) == 0 {
            true => Reply::Silence(std::time::Duration::ZERO),
            false => reply,
        }
    }) else {
        return;
    };
    attempt.succeeded();
    assert_eq!(attempt.uploads.received(), attempt.uploads.stored());
}

#[test]
fn wrong_locations_are_refused() {
    for (location, words) in [
        ("X: y", "does not say where"),
        (
            "Location: ftp://a.example/x",
            "at no address: ftp://a.example/x",
        ),
        ("Location: ", "does not say where"),
    ] {
        let Some(attempt) = Attempt::made(true, move |request, uploads| {
            match request.method.as_str() {
                "POST" => answer("202 Accepted", &[location], ""),
                _ => uploads.answer(request),
            }
        }) else {
            return;
        };
        attempt.failed(words);
    }
}

/// Credentials stay with the registry: neither a Location nor a redirect on another origin gets them.
#[test]
fn credentials_go_nowhere_else() {
    for redirect in [false, true] {
        let Some(store) = somebody().filter(Store::alpine) else {
            return;
        };
        let uploads = Uploads::default();
        let (own, elsewhere) = (uploads.clone(), uploads.clone());
        let other = Server::start(None, move |request| elsewhere.answer(request));
        let origin = format!("http://127.0.0.1:{}", other.port);
        let server = Server::start(None, move |request| {
            if request.header("authorization") != "Basic cG90dGVyOnA=" {
                return answer(
                    "401 Unauthorized",
                    &["WWW-Authenticate: Basic realm=\"x\""],
                    "{}",
                );
            }
            let is_upload = request.path.contains("/uploads/") && request.method != "POST";
            if redirect && is_upload {
                let location = format!("Location: {origin}{}", request.path);
                return answer("307 Temporary Redirect", &[&location], "");
            }
            match (request.method.as_str(), own.answer(request)) {
                ("POST", Reply::Answer(head, body)) if !redirect => Reply::Answer(
                    head.replace("Location: ", &format!("Location: {origin}")),
                    body,
                ),
                (_, reply) => reply,
            }
        });
        let text = format!(
            r#"{{"auths":{{"127.0.0.1:{}":{{"auth":"cG90dGVyOnA="}}}}}}"#,
            server.port
        );
        let file = store.file("auth.json", text);
        let name = server.name("pot:1");
        store.onggi(["tag", "alpine:3.20", &name]).run().code(0);
        let push = ["push", "--authfile", file.to_str().unwrap(), &name];
        store.onggi(push).run().code(0);
        assert!(uploads.is_whole("1"));
        let there = other.seen();
        assert!(there.iter().any(|request| request.method == "PUT"));
        assert!(
            there
                .iter()
                .all(|request| request.header("authorization").is_empty())
        );
    }
}

#[test]
fn tokens_that_end_in_the_middle_are_renewed_and_mounts_name_both_repositories() {
    let given = Arc::new(AtomicUsize::new(0));
    let used = AtomicUsize::new(0);
    let tokens = given.clone();
    let Some(attempt) = Attempt::made(true, move |request, uploads| {
        if request.path.starts_with("/token") {
            used.store(0, Ordering::SeqCst);
            let token = format!("t{}", tokens.fetch_add(1, Ordering::SeqCst));
            return answer(
                "200 OK",
                &[],
                format!(r#"{{"token":"{token}","expires_in":300}}"#),
            );
        }
        let newest = format!("Bearer t{}", tokens.load(Ordering::SeqCst).wrapping_sub(1));
        // Each is good for two requests.
        if request.header("authorization") == newest
            && (!request.waits && !request.body.is_empty()
                || used.fetch_add(1, Ordering::SeqCst) < 2)
        {
            return uploads.answer(request);
        }
        let challenge = format!(
            "WWW-Authenticate: Bearer realm=\"http://{}/token\"",
            request.host
        );
        answer("401 Unauthorized", &[&challenge], "{}")
    }) else {
        return;
    };
    attempt.succeeded();
    assert!(given.load(Ordering::SeqCst) > 1);
    assert_eq!(attempt.uploads.received(), attempt.uploads.stored());
    let asked = attempt.server.seen();
    let scope = "scope=repository:pot:pull,push";
    assert!(asked.iter().any(|request| request.path.contains(scope)));
    let (store, server) = (&attempt._store, &attempt.server);
    let other = server.name("jar:1");
    store.onggi(["tag", "alpine:3.20", &other]).run().code(0);
    store.onggi(["push", &other]).run().code(0);
    let both = |request: &Request| {
        request.path.contains("scope=repository:pot:pull&")
            && request.path.contains("scope=repository:jar:pull,push")
    };
    assert!(server.seen().iter().any(both), "{:?}", server.seen());
}
