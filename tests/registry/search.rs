//! `search`: by Docker's protocol, by a registry's list of repositories, by a mirror.

use crate::real::{IMAGE, Options, Registry};
use crate::server::{Reply, answer};
use crate::support::{Outcome, Store};
use crate::{Server, behind, somebody};

const ANSWER: &str = r#"{"num_results":3,"query":"pot","results":[
    {"name":"pot","description":"Official build of a pot, with a lid, and with a very long description of it","star_count":20000,"is_official":true,"is_automated":false},
    {"name":"potter/wheel","description":"turns\nand turns","star_count":3,"is_official":false},
    {"name":"potter/kiln","description":null,"star_count":0,"is_official":false}]}"#;

/// A server with Docker's search.
fn index() -> Server {
    Server::start(None, |request| {
        match request.path.split('?').next().unwrap() {
            "/v1/search" => answer("200 OK", &["Content-Type: application/json"], ANSWER),
            _ => answer("404 Not Found", &[], ""),
        }
    })
}

/// What a search of docker.io finds where that has moved to a server of ours.
fn search(store: &Store, server: &Server, arguments: &[&str]) -> Outcome {
    let file = store.home().join("registries.conf");
    let text = format!(
        "[[registry]]\nprefix = \"docker.io\"\nlocation = \"127.0.0.1:{}\"\n",
        server.port
    );
    std::fs::write(&file, text).unwrap();
    let call = store.onggi(["search"].iter().chain(arguments));
    call.env("CONTAINERS_REGISTRIES_CONF", &file).run()
}

/// The expected texts are those of Docker's client 28.2.2 for the same answer.
#[test]
fn dockers_search_is_shown_as_by_docker() {
    let Some(store) = somebody() else { return };
    let server = index();
    for (arguments, expected) in [
        (
            &["pot"][..],
            "NAME           DESCRIPTION                                     STARS     OFFICIAL\n\
             pot            Official build of a pot, with a lid, and wit…   20000     [OK]\n\
             potter/wheel   turns and turns                                 3         \n\
             potter/kiln                                                    0         \n",
        ),
        (
            &[
                "-f",
                "stars=3",
                "-f",
                "is-official=false",
                "--format",
                "{{.Name}} {{.StarCount}}",
                "pot",
            ],
            "potter/wheel 3\n",
        ),
        (
            &[
                "--no-trunc",
                "--filter",
                "is-official=true",
                "--format",
                "json",
                "pot",
            ],
            "{\"Description\":\"Official build of a pot, with a lid, and with a very long description of it\",\
             \"IsOfficial\":\"true\",\"Name\":\"pot\",\"StarCount\":\"20000\"}\n",
        ),
        (
            &[
                "--limit",
                "1",
                "--format",
                "table {{.Name}}\\t{{.IsOfficial}}",
                "pot",
            ],
            "NAME      OFFICIAL\npot       [OK]\n",
        ),
        (
            &["-f", "is-automated=true", "--format", "{{.Name}}", "pot"],
            "",
        ),
    ] {
        search(&store, &server, arguments).code(0).stdout(expected);
    }
    let asked: Vec<String> = server
        .seen()
        .into_iter()
        .map(|request| request.path)
        .collect();
    assert!(
        asked.iter().any(|path| path == "/v1/search?q=pot&n=25"),
        "{asked:?}"
    );
    assert!(
        asked.iter().any(|path| path == "/v1/search?q=pot&n=1"),
        "{asked:?}"
    );
    search(&store, &server, &["a b&c"]).code(0);
    let last = server.seen().pop().unwrap().path;
    assert_eq!(last, "/v1/search?q=a%20b%26c&n=25");
}

#[test]
fn mistakes_are_told() {
    let Some(store) = somebody() else { return };
    for (arguments, words) in [
        (
            &["--limit", "101", "x"][..],
            "limit 101 is outside the range of [1, 100]",
        ),
        (&["-f", "colour=red", "x"], "invalid filter 'colour'"),
        (&["-f", "stars=many", "x"], "invalid filter 'stars=many'"),
        (
            &["-f", "is-official=perhaps", "x"],
            "invalid filter 'is-official=perhaps'",
        ),
        (&[""], "a search needs a term"),
        (&["--list-tags", "a:b"], "`a:b` has a tag"),
    ] {
        let outcome = store.onggi(["search"].iter().chain(arguments)).run();
        outcome.code(1).stderr_has(words);
    }
}

#[test]
fn a_registry_without_a_search_is_looked_through() {
    let (Some(registry), Some(store)) = (Registry::start(&Options::default()), somebody()) else {
        return;
    };
    let host = registry.name("");
    for (term, found) in [("", true), ("MAG", true), ("nothing", false)] {
        let outcome = store
            .onggi(["search", "--format", "{{.Name}}", &format!("{host}{term}")])
            .run();
        let expected = match found {
            true => format!("{host}image\n"),
            false => String::new(),
        };
        outcome
            .code(0)
            .stdout(&expected)
            .stderr_has("has no search");
    }
    // Some answer everything with a page for people.
    let server = Server::start(Some(registry.port), |request| {
        match request.path.starts_with("/v1/") {
            true => answer("200 OK", &["Content-Type: text/html"], "<html>"),
            false => Reply::Forward,
        }
    });
    let outcome = store
        .onggi(["search", "--format", "{{.Name}}", &server.name("im")])
        .run();
    outcome.code(0).stdout(&(server.name("image") + "\n"));
}

#[test]
fn a_mirror_is_asked_where_the_registry_is_not_there() {
    let (Some(registry), Some(store)) = (Registry::start(&Options::default()), somebody()) else {
        return;
    };
    let nobody = crate::real::free_port();
    let file = store.home().join("registries.conf");
    let text = format!(
        "[[registry]]\nprefix = \"pots.example\"\nlocation = \"127.0.0.1:{nobody}\"\n\
         [[registry.mirror]]\nlocation = \"127.0.0.1:{}\"\n\
         [[registry]]\nprefix = \"bad.example\"\nblocked = true\n",
        registry.port
    );
    std::fs::write(&file, text).unwrap();
    let search = |term: &str| {
        let call = store.onggi(["search", "--format", "{{.Name}}", term]);
        call.env("CONTAINERS_REGISTRIES_CONF", &file).run()
    };
    let outcome = search("pots.example/image");
    outcome.code(0).stdout("pots.example/image\n");
    outcome
        .stderr_has("a mirror was asked instead")
        .stderr_has("connection refused");
    search("bad.example/x")
        .code(1)
        .stderr_has("blocked in registries.conf");
}

#[test]
fn tags_are_listed() {
    let Some((registry, server, store)) = behind(|request| match request.path.as_str() {
        "/v2/many/tags/list?n=1000" => answer(
            "200 OK",
            &["Link: </v2/many/tags/list?n=1000&last=b>; rel=\"next\""],
            r#"{"name":"many","tags":["a","b"]}"#,
        ),
        "/v2/many/tags/list?n=1000&last=b" => answer("200 OK", &[], r#"{"tags":["c"]}"#),
        _ => Reply::Forward,
    }) else {
        return;
    };
    let tags = |arguments: &[&str]| {
        store
            .onggi(["search", "--list-tags"].iter().chain(arguments))
            .run()
    };
    let name = registry.name("image");
    let width = name.len();
    let expected = format!("{:width$}   TAG\n{name}   multi\n", "NAME");
    assert!(IMAGE.ends_with(":multi"));
    tags(&[&name]).code(0).stdout(&expected);
    let many = server.name("many");
    tags(&["--format", "{{.Tag}}", &many])
        .code(0)
        .stdout("a\nb\nc\n");
    tags(&["--format", "{{.Tag}}", "--limit", "1", &many])
        .code(0)
        .stdout("a\n");
    tags(&[&registry.name("nothing")])
        .code(1)
        .stderr_has("not found");
}
