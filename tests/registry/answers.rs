//! What registries answer that is not what was asked for: each has a message of its own, an exit code, and an end.

use crate::real::{IMAGE, Options, Registry};
use crate::server::{Reply, Request, answer, error};
use crate::{Server, behind, somebody};
use std::time::Duration;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A pull from a server of these answers to requests for manifests fails with these words.
#[track_caller]
fn refused(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static, words: &[&str]) {
    let Some(store) = somebody() else {
        return;
    };
    let server = Server::start(None, move |request| match request.path.as_str() {
        "/v2/" => answer("200 OK", &[], ""),
        _ => handler(request),
    });
    let outcome = store
        .onggi(["pull", &server.name(IMAGE)])
        .env("ONGGI_REGISTRY_TIMEOUT", "1")
        .run();
    outcome.code(1);
    for words in words {
        outcome.stderr_has(words);
    }
    let lines = outcome.stderr_text().lines().count();
    outcome.expect(lines <= 2, "one line and a hint");
    assert_eq!(store.onggi(["images", "-q"]).run().stdout_text(), "");
}

#[test]
fn refusals_have_the_words_of_docker() {
    refused(
        |_| error("404 Not Found", "MANIFEST_UNKNOWN"),
        &["image:multi not found: manifest unknown: as you see"],
    );
    refused(
        |_| answer("404 Not Found", &[], ""),
        &["image:multi not found: 404 Not Found"],
    );
    for status in ["401 Unauthorized", "403 Forbidden"] {
        refused(
            move |_| error(status, "DENIED"),
            &[
                "pull access denied for 127.0.0.1:",
                "may require 'onggi login'",
                "denied: as you see",
                "no credentials for it were found",
            ],
        );
    }
    refused(
        |_| error("400 Bad Request", "NAME_INVALID"),
        &["answers 400 Bad Request: name invalid: as you see"],
    );
}

#[test]
fn servers_in_trouble_are_asked_again_and_given_up() {
    refused(
        |_| error("500 Internal Server Error", "UNKNOWN"),
        &["answers 500 Internal Server Error: unknown: as you see"],
    );
    refused(
        |_| answer("429 Too Many Requests", &["Retry-After: 3600"], ""),
        &["429 Too Many Requests", "in 3600 seconds", "onggi login"],
    );
    refused(
        |_| Reply::Silence(Duration::from_secs(3)),
        &["it does not answer in time"],
    );
    for status in [
        "429 Too Many Requests\r\nRetry-After: 0",
        "503 Service Unavailable",
        "500 Internal Server Error",
    ] {
        let Some((_registry, server, store)) = behind(move |request| match request.earlier {
            0 if request.path != "/v2/" => answer(status, &[], ""),
            _ => Reply::Forward,
        }) else {
            return;
        };
        store.onggi(["pull", &server.name(IMAGE)]).run().code(0);
    }
}

#[test]
fn documents_that_are_none() {
    let page = || {
        answer(
            "200 OK",
            &["Content-Type: text/html; charset=utf-8"],
            "<html>Sign in</html>",
        )
    };
    refused(
        move |_| page(),
        &["answers with a page for people, not as a registry"],
    );
    refused(
        |_| answer("404 Not Found", &["Content-Type: text/html"], "<html>"),
        &["a page for people"],
    );
    refused(
        |_| answer("200 OK", &[&format!("Content-Type: {MANIFEST}")], "<html>"),
        &["it is no valid JSON"],
    );
    refused(
        |_| Reply::Endless("HTTP/1.1 200 OK".to_owned()),
        &["it is longer than 4194304 bytes"],
    );
    refused(
        |_| {
            answer(
                "200 OK",
                &[
                    "Content-Length: 100000000",
                    &format!("Content-Type: {MANIFEST}"),
                ],
                vec![b' '; 8 << 20],
            )
        },
        &["it is longer than 4194304 bytes"],
    );
    refused(
        |_| {
            answer(
                "200 OK",
                &[],
                r#"{"schemaVersion":1,"name":"x","fsLayers":[]}"#,
            )
        },
        &["it is of schema 1, which is not supported"],
    );
    let wrong = format!("Docker-Content-Digest: sha256:{}", "0".repeat(64));
    refused(
        move |_| {
            answer(
                "200 OK",
                &[&wrong, &format!("Content-Type: {INDEX}")],
                r#"{"schemaVersion":2,"manifests":[]}"#,
            )
        },
        &["its digest should be sha256:0000", "and is sha256:"],
    );
    refused(
        |_| {
            answer(
                "200 OK",
                &[&format!("Content-Type: {INDEX}")],
                r#"{"schemaVersion":2,"manifests":[]}"#,
            )
        },
        &["no matching manifest for linux/", "it has no image at all"],
    );
}

/// An index whose only entry is an index, and so on; each has a right digest, so they are made from the end.
#[test]
fn indexes_without_an_end_are_given_up() {
    let mut documents: Vec<(String, String)> = Vec::new();
    let mut inner = r#"{"schemaVersion":2,"manifests":[]}"#.to_owned();
    for _ in 0..40 {
        let digest = onggi::image::digest::Digest::of(inner.as_bytes()).to_string();
        let entry = format!(
            r#"{{"mediaType":"{INDEX}","digest":"{digest}","size":{}}}"#,
            inner.len()
        );
        documents.push((digest, inner));
        inner = format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#);
    }
    refused(
        move |request| {
            let found = documents
                .iter()
                .find(|(digest, _)| request.path.ends_with(digest));
            let text = found.map_or(&inner, |(_, text)| text);
            answer(
                "200 OK",
                &[&format!("Content-Type: {INDEX}")],
                text.as_bytes(),
            )
        },
        &["its indexes lead to more and more indexes"],
    );
}

#[test]
fn layers_that_lie_elsewhere_or_are_no_layers() {
    for (layer, words) in [
        (
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            "lie elsewhere and cannot be taken in",
        ),
        (
            "application/vnd.oci.image.layer.v1.tar+brotli",
            "unknown media type",
        ),
    ] {
        let digest = format!("sha256:{}", "1".repeat(64));
        let config = format!(
            r#"{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":2}}"#
        );
        let layer = format!(r#"{{"mediaType":"{layer}","digest":"{digest}","size":2}}"#);
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{config},"layers":[{layer}]}}"#
        );
        refused(
            move |_| {
                answer(
                    "200 OK",
                    &[&format!("Content-Type: {MANIFEST}")],
                    text.clone(),
                )
            },
            &[words],
        );
    }
}

/// A registry that wants a password and has its blobs elsewhere.
fn redirecting(registry: &Registry, elsewhere: &Server) -> Server {
    let port = elsewhere.port;
    Server::start(Some(registry.port), move |request| {
        match request.header("authorization") {
            "" => answer(
                "401 Unauthorized",
                &["WWW-Authenticate: Basic realm=\"x\""],
                "",
            ),
            _ if request.is_blob() => {
                let target = format!(
                    "Location: http://localhost:{port}{}?signature=s3cret",
                    request.path
                );
                answer("307 Temporary Redirect", &[&target], "")
            }
            _ => Reply::Forward,
        }
    })
}

#[test]
fn redirects_are_followed_without_what_is_secret() {
    let (Some(registry), Some(store)) = (Registry::start(&Options::default()), somebody()) else {
        return;
    };
    let kind = Server::start(Some(registry.port), |_| Reply::Forward);
    // It asks for the password.
    let thief = Server::start(Some(registry.port), |request| {
        let bearer = format!(
            "WWW-Authenticate: Bearer realm=\"http://{}/token\"",
            request.host
        );
        answer(
            "401 Unauthorized",
            &["WWW-Authenticate: Basic realm=\"x\"", &bearer],
            "",
        )
    });
    let file = store.path().join("auth.json");
    for (elsewhere, code) in [(&thief, 1), (&kind, 0)] {
        let server = redirecting(&registry, elsewhere);
        let entry = format!(
            r#""127.0.0.1:{}":{{"username":"u","password":"p"}}"#,
            server.port
        );
        std::fs::write(&file, format!(r#"{{"auths":{{{entry}}}}}"#)).unwrap();
        let pull = store
            .onggi(["pull", &server.name(IMAGE)])
            .env("REGISTRY_AUTH_FILE", &file);
        pull.run().code(code);
        let seen = elsewhere.seen();
        assert!(seen.iter().any(crate::Request::is_blob));
        let is_plain =
            |request: &Request| request.is_blob() && request.header("authorization").is_empty();
        assert!(seen.iter().all(is_plain), "{seen:?}");
    }
    refused(
        |request| answer("302 Found", &[&format!("Location: {}", request.path)], ""),
        &["redirects again and again"],
    );
    refused(
        |_| answer("302 Found", &["Location: file:///etc/passwd"], ""),
        &["redirects to no address"],
    );
}

#[test]
fn lengths_that_are_wrong() {
    let (Some(registry), Some(store)) = (Registry::start(&Options::default()), somebody()) else {
        return;
    };
    let layers = registry.layers();
    let (digest, size) = layers.last().unwrap().clone();
    for length in [size - 1, size + 1] {
        let digest = digest.clone();
        let server = Server::start(Some(registry.port), move |request| {
            match request.path.ends_with(&digest) {
                true => answer("200 OK", &[], vec![0; usize::try_from(length).unwrap()]),
                false => Reply::Forward,
            }
        });
        let outcome = store.onggi(["pull", &server.name(IMAGE)]).run();
        outcome
            .code(1)
            .stderr_has(&format!("announced with {length} bytes instead of {size}"));
        assert_eq!(store.onggi(["images", "-q"]).run().stdout_text(), "");
    }
    let endless = digest.clone();
    let server = Server::start(Some(registry.port), move |request| {
        match request.path.ends_with(&endless) {
            true => Reply::Endless("HTTP/1.1 200 OK".to_owned()),
            false => Reply::Forward,
        }
    });
    let outcome = store.onggi(["pull", &server.name(IMAGE)]).run();
    outcome.code(1).stderr_has(&format!(
        "it is longer than the {size} bytes it should have"
    ));
}

#[test]
fn nobody_and_nothing_there() {
    let Some(store) = somebody() else {
        return;
    };
    let port = crate::real::free_port();
    let pull = |name: &str| store.onggi(["pull", name]).run();
    pull(&format!("127.0.0.1:{port}/x"))
        .code(1)
        .stderr_has(&format!(
            "connect to `127.0.0.1:{port}`: connection refused"
        ));
    pull("Upper/case").code(1);
    pull("a/UPPER")
        .code(1)
        .stderr_has("repository name (a/UPPER) must be lowercase");
    pull("a b").code(1).stderr_has("invalid reference format");
}

#[test]
fn blobs_that_do_not_come() {
    let (Some(registry), Some(store)) = (Registry::start(&Options::default()), somebody()) else {
        return;
    };
    let layer = registry.layers().last().unwrap().0.clone();
    for (status, code, words) in [
        ("404 Not Found", "BLOB_UNKNOWN", "blob unknown: as you see"),
        ("403 Forbidden", "DENIED", "denied: as you see"),
        (
            "401 Unauthorized",
            "UNAUTHORIZED",
            "unauthorized: as you see",
        ),
        (
            "500 Internal Server Error",
            "UNKNOWN",
            "answers 500 Internal Server Error",
        ),
        (
            "503 Service Unavailable\r\nRetry-After: 0",
            "UNAVAILABLE",
            "answers 503 Service Unavailable",
        ),
        (
            "429 Too Many Requests\r\nRetry-After: 0",
            "TOOMANYREQUESTS",
            "toomanyrequests: as you see",
        ),
        (
            "416 Range Not Satisfiable",
            "UNKNOWN",
            "answers 416 Range Not Satisfiable",
        ),
    ] {
        let wanted = layer.clone();
        let server = Server::start(Some(registry.port), move |request| {
            match request.path.ends_with(&wanted) {
                true => error(status, code),
                false => Reply::Forward,
            }
        });
        let name = server.name(IMAGE);
        let outcome = store.onggi(["run", "--rm", &name]).run();
        outcome
            .code(125)
            .stderr_has("onggi: layer ")
            .stderr_has(&layer)
            .stderr_has(words);
        assert_eq!(store.onggi(["images", "-aq"]).run().stdout_text(), "");
        assert_eq!(store.onggi(["ps", "-aq"]).run().stdout_text(), "");
    }
}

/// The config is as long and as it is digested, or nothing comes in.
#[test]
fn configs_that_are_others() {
    let Some(store) = somebody() else {
        return;
    };
    let made = std::sync::Arc::new(crate::made::Made::new(&[crate::made::Layer::gzip(&[(
        "a", b"b",
    )])]));
    for (change, words) in [
        (
            (|text: String| text + " ") as fn(String) -> String,
            "bytes long and is more",
        ),
        (
            |text: String| text[1..].to_owned(),
            "bytes long and is less",
        ),
        (
            |text: String| text.replace("true", "eurt"),
            "its digest is sha256:",
        ),
        (|_: String| "<html>".to_owned(), "bytes long and is less"),
    ] {
        let image = made.clone();
        let server = Server::start(None, move |request| match image.reply(request) {
            Reply::Answer(head, body) if head.contains(crate::made::CONFIG) => {
                let text = change(String::from_utf8(body).unwrap());
                Reply::Answer(head, text.into_bytes())
            }
            reply => reply,
        });
        let name = server.name("pot:v1");
        store.onggi(["pull", &name]).run().code(1).stderr_has(words);
        store
            .onggi(["create", &name])
            .run()
            .code(125)
            .stderr_has(words);
        assert_eq!(store.onggi(["images", "-aq"]).run().stdout_text(), "");
    }
}
