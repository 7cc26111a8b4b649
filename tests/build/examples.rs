//! The Dockerfiles of `examples/build`: real servers of Debian's packages, built by each user, started, and used.
//!
//! They are built in the network of the machine, where packages come from, and serve in one of their own.

use crate::namespaces::on_a_host;
use crate::support::life::until;
use crate::support::{Outcome, Store, User, debian, store};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/build");
const README: &str = include_str!("../../README.md");
/// By which the way to packages is told to programs, and to a build by an argument of the same name.
const PROXIES: [&str; 4] = ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"];

/// A directory of `examples/build`, and how its server is started and used.
struct Example {
    name: &'static str,
    /// Options of `build`.
    build: &'static [&'static str],
    /// Options of `run`.
    run: &'static [&'static str],
    uses: fn(&Store),
}

const REDIS: Example = Example {
    name: "redis",
    build: &[],
    run: &["-p", "6379:6379"],
    uses: |_| {
        let answer = || ask(6379, "SET jar onggi\r\nGET jar\r\nQUIT\r\n");
        until("redis answers", || answer().is_ok());
        assert_eq!(answer().unwrap(), "+OK\r\n$5\r\nonggi\r\n+OK\r\n");
    },
};
const NGINX: Example = Example {
    name: "nginx",
    build: &["--build-arg", "TITLE=A title"],
    run: &["-p", "8080:80"],
    uses: |_| {
        let page = page(8080, "/");
        assert!(page.contains("<h1>A title</h1>"), "{page}");
    },
};
const POSTGRESQL: Example = Example {
    name: "postgresql",
    build: &[],
    run: &["-p", "5432:5432", "-e", "POSTGRES_PASSWORD=secret"],
    uses: |store| {
        let address = "postgresql://postgres:secret@127.0.0.1/postgres";
        let client = ["run", "--rm", "--network", "host", "postgresql", "psql"];
        let query = [address, "-Atc", "select 6 * 7"];
        let answer = || store.onggi(client.iter().chain(&query)).run();
        until("PostgreSQL answers", || answer().succeeded());
        answer().code(0).stdout("42\n");
    },
};
const PYTHON: Example = Example {
    name: "python",
    build: &[],
    run: &["-p", "8000:8000"],
    uses: |_| assert!(page(8000, "/you").ends_with("\r\n\r\nhello you\n")),
};
const NODEJS: Example = Example {
    name: "nodejs",
    build: &["--build-arg", "VERSION=1.2"],
    run: &["-p", "3000:3000"],
    uses: |store| {
        let page = page(3000, "/");
        assert!(page.contains("version 1.2\n"), "{page}");
        let template = "{{index .Config.Labels \"org.opencontainers.image.version\"}}";
        assert_eq!(store.field("nodejs", template), "1.2");
    },
};

#[test]
fn of_root() {
    built_and_used(User::Root, &[REDIS, NGINX, POSTGRESQL, PYTHON, NODEJS]);
}

#[test]
fn of_a_user_with_subordinate_ids() {
    built_and_used(
        User::Subuid,
        &[REDIS, NGINX, POSTGRESQL, PYTHON, NODEJS, SHOWN],
    );
}

#[test]
fn of_a_user_with_a_single_id() {
    built_and_used(User::Single, &[REDIS]);
}

/// What the README shows, in the network that containers and steps have when nothing is said.
const SHOWN: Example = Example {
    name: "",
    build: &[],
    run: &[],
    uses: |_| {
        let page = page(8080, "/");
        assert!(page.contains("<h1>Served by nginx</h1>"), "{page}");
    },
};

/// All of them one after the other: they share what is downloaded.
fn built_and_used(user: User, examples: &'static [Example]) {
    let Some(store) = store(user).filter(|store| debian::import_bare(store, "debian")) else {
        return;
    };
    for example in examples {
        let built = match example.name {
            "" => shown_lines("onggi build ", &store),
            name => build(&store, name, example.build),
        };
        built.code(0);
    }
    store.assert_no_process_is_left();
    if user == User::Single {
        owners_are_real(&store);
    }
    // A network process belongs to the network namespace where it was started.
    on_a_host(move || {
        for example in examples {
            let started = match example.name {
                "" => shown_lines("onggi run ", &store),
                name => {
                    let run = ["run", "-d", "--name", name];
                    let words = [&run[..], example.run, &[name]].concat();
                    store.onggi(words).without("ONGGI_NETWORK").run()
                }
            };
            started.code(0);
            (example.uses)(&store);
            let name = match example.name {
                "" => "web",
                name => name,
            };
            until(&format!("{name} is healthy"), || {
                store.field(name, "{{.State.Health.Status}}") == "healthy"
            });
            store.onggi(["stop", "-t", "20", name]).run().code(0);
            let code = store.field(name, "{{.State.ExitCode}}");
            assert_eq!(code, "0", "{name} ends when it is asked to");
            store.onggi(["rm", "-v", name]).run().code(0);
        }
    });
}

fn build(store: &Store, name: &str, options: &[&str]) -> Outcome {
    give(store, &Path::new(EXAMPLES).join(name), name);
    let arguments = PROXIES.iter().filter_map(|name| {
        let value = std::env::var(name).ok()?;
        Some(["--build-arg".to_owned(), format!("{name}={value}")])
    });
    let call = store.onggi(["build", "--network", "host", "-t", name]);
    let call = call.args(options).args(arguments.flatten());
    call.args([name]).run()
}

/// Runs the lines of the README's section "Build" that start like that.
fn shown_lines(start: &str, store: &Store) -> Outcome {
    let (_, section) = README.split_once("\n## Build\n").unwrap();
    let (_, block) = section.split_once("```sh\n").unwrap();
    let (block, _) = block.split_once("\n```").unwrap();
    let lines: Vec<&str> = block
        .lines()
        .filter(|line| line.starts_with(start))
        .collect();
    assert!(!lines.is_empty(), "no {start}");
    give(
        store,
        &Path::new(EXAMPLES).join("nginx"),
        "examples/build/nginx",
    );
    store
        .script(&lines.join("\n"))
        .without("ONGGI_NETWORK")
        .run()
}

/// Copies a directory to the user's home.
fn give(store: &Store, from: &Path, to: &str) {
    use std::os::unix::fs::PermissionsExt;
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        let to = format!("{to}/{name}");
        if path.is_dir() {
            give(store, &path, &to);
        } else {
            let file = store.file(&to, std::fs::read(&path).unwrap());
            let mode = path.metadata().unwrap().permissions().mode();
            std::fs::set_permissions(file, PermissionsExt::from_mode(mode)).unwrap();
        }
    }
}

/// What a server on loopback says to this until it ends the connection.
fn ask(port: u16, question: &str) -> std::io::Result<String> {
    let mut stream =
        TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(question.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.is_empty() {
        true => Err(std::io::ErrorKind::UnexpectedEof.into()),
        false => Ok(answer),
    }
}

/// A page with its head, as soon as it can be had.
fn page(port: u16, path: &str) -> String {
    let question = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    until("the page", || ask(port, &question).is_ok());
    let page = ask(port, &question).unwrap();
    assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
    page
}

/// Whoever has one id builds an image whose files have the owners that everybody else sees.
fn owners_are_real(store: &Store) {
    let passwd = store.ok(["run", "--rm", "--entrypoint", "cat", "redis", "/etc/passwd"]);
    let id = |name: &str| -> u64 {
        let mut lines = passwd
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>());
        let fields = lines.find(|fields| fields[0] == name).unwrap();
        fields[2].parse().unwrap()
    };
    let redis = id("redis");
    store.ok(["save", "-o", "redis.tar", "redis"]);
    let mut owners = std::collections::BTreeMap::new();
    let mut archive =
        tar::Archive::new(std::fs::File::open(store.home().join("redis.tar")).unwrap());
    for blob in archive.entries().unwrap().map(Result::unwrap) {
        // What is no layer has no entries.
        let mut layer = tar::Archive::new(blob);
        for entry in layer.entries().unwrap().map_while(Result::ok) {
            let path = entry
                .path()
                .unwrap()
                .to_string_lossy()
                .trim_end_matches('/')
                .to_owned();
            owners.insert(path, entry.header().uid().unwrap());
        }
    }
    for (path, owner) in [
        ("etc/redis/redis.conf", redis),
        ("var/lib/redis", redis),
        ("usr/bin/redis-cli", 0),
    ] {
        assert_eq!(owners.get(path), Some(&owner), "{path}");
    }
}
