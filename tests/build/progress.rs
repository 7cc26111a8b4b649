//! How a build is shown: plain, as JSON, quietly, on a terminal.

use crate::support::everyone;
use crate::support::terminal::Terminal;
use serde_json::Value;

const FILE: &str = "FROM scratch AS one\nCOPY Dockerfile /a\nFROM scratch\nCOPY --from=one /a /b\n";

#[test]
fn each_way_of_showing_it() {
    for store in everyone() {
        store.file("c/Dockerfile", FILE);
        let plain = store
            .onggi(["build", "--progress=plain", "-t", "x", "c"])
            .run();
        plain
            .code(0)
            .stdout("")
            .stderr_has("#1 [internal] load build definition from Dockerfile\n")
            .stderr_has("[one 1/1] COPY Dockerfile /a\n")
            .stderr_has("naming to docker.io/library/x:latest done\n");
        let again = store
            .onggi(["build", "c"])
            .env("BUILDKIT_PROGRESS", "plain")
            .run();
        again.code(0).stderr_has("CACHED");
        let quiet = store.onggi(["build", "-q", "c"]).run();
        quiet.code(0).stderr("");
        let id = quiet.stdout_text();
        assert!(id.starts_with("sha256:") && id.lines().count() == 1, "{id}");
        let raw = store.onggi(["build", "--progress=rawjson", "c"]).run();
        raw.code(0);
        let text = raw.stderr_text();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let lines: Vec<Value> = lines.collect();
        let named = |line: &Value| line["vertexes"][0]["name"] == "[one 1/1] COPY Dockerfile /a";
        assert!(
            lines
                .iter()
                .any(|line| named(line) && line["vertexes"][0]["cached"] == true)
        );
    }
}

#[test]
fn on_a_terminal_it_is_drawn() {
    for store in everyone() {
        store.file("c/Dockerfile", FILE);
        let mut session = Terminal::start(&store, ["build", "c"], 24, 80);
        session.shows("FINISHED");
        session.shows("exporting to image");
        assert_eq!(session.code(), Some(0));
    }
}

/// A registry that takes its time.
#[test]
fn time_passes_on_a_terminal_while_a_base_image_is_pulled() {
    let Some(store) = everyone().next() else {
        return;
    };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let first = listener.accept();
        std::thread::sleep(std::time::Duration::from_secs(3));
        drop((first, listener));
    });
    store.file("c/Dockerfile", format!("FROM 127.0.0.1:{port}/x:1\n"));
    let mut session = Terminal::start(&store, ["build", "c"], 24, 80);
    session.shows(&format!("pull 127.0.0.1:{port}/x:1"));
    session.shows("Building 1.");
    session.shows("ERROR");
    assert_eq!(session.code(), Some(1));
}
