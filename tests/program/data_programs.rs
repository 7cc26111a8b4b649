//! Real programs keep what they were told: PostgreSQL and Redis in volumes, nginx with files of the host, across `rm` and
//! `run`, as root and as both kinds of ordinary user.

use crate::support::life::until;
use crate::support::{Outcome, Store, User, debian, store};

#[test]
fn as_root() {
    programs(User::Root);
}

#[test]
fn with_subordinate_ids() {
    programs(User::Subuid);
}

#[test]
fn with_a_single_id() {
    programs(User::Single);
}

fn programs(user: User) {
    let Some(store) = store(user) else {
        return;
    };
    if !debian::import(&store, &[], "debian") {
        return;
    }
    store.ok(["create", "--name", "plain", "debian", "true"]);
    postgresql(&store);
    redis(&store);
    nginx(&store);
}

/// An image of that Debian with this configuration.
fn image(store: &Store, name: &str, changes: &[&str]) {
    let changes = changes.iter().flat_map(|change| ["--change", change]);
    let words: Vec<&str> = ["commit"].into_iter().chain(changes).collect();
    store.onggi(words).args(["plain", name]).run().code(0);
}

/// Starts a program and waits until it answers; `ask` is run in the container.
fn start(store: &Store, name: &str, options: &[&str], image: &[&str], ask: &[&str]) {
    let run = ["run", "-d", "--name", name];
    let words = run.iter().chain(options).chain(image);
    store.onggi(words).run().code(0);
    answers(store, name, ask);
}

fn answers(store: &Store, name: &str, ask: &[&str]) {
    until(&format!("{name} answers"), || {
        let words = ["exec", name].into_iter().chain(ask.iter().copied());
        let answer = store.onggi(words).run();
        if answer.succeeded() {
            return true;
        }
        let status = store.status(name);
        let log = || store.onggi(["logs", name]).run().stderr_text();
        assert!(status.starts_with("running"), "{status}: {}", log());
        false
    });
}

fn volumes(store: &Store) -> Vec<String> {
    let entries = std::fs::read_dir(store.data().join("volumes")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn postgresql(store: &Store) {
    let programs = store.ok([
        "run",
        "--rm",
        "debian",
        "sh",
        "-c",
        "echo /usr/lib/postgresql/*/bin",
    ]);
    let path = format!(
        "ENV PATH={}:/usr/bin:/bin PGDATA=/var/lib/postgresql/data",
        programs.trim()
    );
    // The socket's usual directory is one that a unit of systemd makes.
    let start_up = r#"CMD ["sh","-c","test -s $PGDATA/PG_VERSION || initdb -A trust >&2; exec postgres -k /tmp"]"#;
    image(
        store,
        "postgres",
        &[
            "USER postgres",
            &path,
            "ENV PGHOST=/tmp",
            "VOLUME /var/lib/postgresql",
            "STOPSIGNAL SIGINT",
            start_up,
        ],
    );
    let ids =
        ["-u", "-g"].map(|which| store.ok(["run", "--rm", "debian", "id", which, "postgres"]));
    let keep_id = format!("keep-id:uid={},gid={}", ids[0].trim(), ids[1].trim());
    let mut options = vec!["-v", "database:/var/lib/postgresql"];
    if store.user == User::Single {
        // It refuses to be root, which the user is who has no other id; but that id may have any name.
        store
            .onggi(["run", "--rm", "postgres"])
            .run()
            .code(1)
            .stderr_has("not as `postgres`: this host gives you a single id, which --userns keep-id:uid=UID,gid=GID")
            .stderr_has("initdb: error: cannot be run as root");
        options.extend(["--userns", &keep_id]);
    }
    let sql = |name: &str, statement: &str| -> Outcome {
        let psql = ["exec", name, "psql", "-XAtqc", statement];
        store.onggi(psql).run()
    };
    let ready = ["psql", "-Atc", "select 1"];
    let begin = || start(store, "db", &options, &["postgres"], &ready);
    let everything = "select string_agg(word, ' ' order by word) from said";

    begin();
    sql(
        "db",
        "create table said (word text); insert into said values ('one')",
    )
    .code(0)
    .stdout("")
    .stderr("");
    store.ok(["rm", "-f", "db"]);

    begin();
    sql("db", everything).code(0).stdout("one\n");
    sql("db", "insert into said values ('three'), ('two')").code(0);
    store.ok(["stop", "db"]);
    assert_eq!(store.status("db"), "exited 0");
    let log = store.onggi(["logs", "db"]).run();
    log.expect(
        log.stderr_text().contains("database system is shut down"),
        "an orderly end",
    );
    store.ok(["rm", "-v", "db"]);
    assert_eq!(volumes(store), ["database"]);

    begin();
    let log = store.onggi(["logs", "db"]).run().stderr_text();
    assert!(!log.contains("not properly shut down"), "{log}");
    sql("db", "insert into said values ('zero')").code(0);
    store.ok(["kill", "db"]);
    store.ok(["wait", "db"]);
    assert_eq!(store.status("db"), "exited 137");
    store.ok(["start", "db"]);
    answers(store, "db", &ready);
    sql("db", everything).code(0).stdout("one three two zero\n");
    store.ok(["rm", "-f", "-v", "db"]);

    if store.user == User::Root {
        // A container with ids of its own finds its files in the same volume, and leaves them to the next.
        let own = store.own_user_namespace();
        let options: Vec<&str> = options.iter().copied().chain(own).collect();
        start(store, "db", &options, &["postgres"], &ready);
        sql("db", "delete from said where word = 'zero'").code(0);
        store.ok(["stop", "db"]);
        store.ok(["rm", "db"]);
        begin();
        sql("db", everything).code(0).stdout("one three two\n");
        store.ok(["rm", "-f", "db"]);
    }

    // Without a name, the volume of the image is a new one each time.
    let look = ["run", "--rm", "postgres", "ls", "-A", "/var/lib/postgresql"];
    store.onggi(look).run().code(0).stdout("");
    assert_eq!(volumes(store), ["database"]);
}

fn redis(store: &Store) {
    let server = r#"ENTRYPOINT ["redis-server","--dir","/var/lib/redis"]"#;
    image(
        store,
        "redis",
        &["USER redis", "VOLUME /var/lib/redis", server],
    );
    let begin = |volume: &str, options: &[&str]| {
        let words: Vec<&str> = ["redis"].iter().chain(options).copied().collect();
        let mount = format!("{volume}:/var/lib/redis");
        start(
            store,
            "cache",
            &["-v", &mount],
            &words,
            &["redis-cli", "ping"],
        );
    };
    let ask = |words: &[&str]| {
        let call = ["exec", "cache", "redis-cli"].iter().chain(words);
        store.onggi(call).run().code(0).stdout_text()
    };

    // Each change is appended to a file.
    let appending = ["--appendonly", "yes", "--save", ""];
    begin("appended", &appending);
    assert_eq!(ask(&["set", "greeting", "hello"]), "OK\n");
    store.ok(["rm", "-f", "cache"]);
    begin("appended", &appending);
    assert_eq!(ask(&["get", "greeting"]), "hello\n");
    store.ok(["rm", "-f", "-v", "cache"]);

    // All is written when it ends.
    let dumping = ["--appendonly", "no", "--save", "3600 1"];
    begin("dumped", &dumping);
    assert_eq!(ask(&["set", "greeting", "good day"]), "OK\n");
    store.ok(["stop", "cache"]);
    assert_eq!(store.status("cache"), "exited 0");
    store.ok(["rm", "-v", "cache"]);
    begin("dumped", &dumping);
    assert_eq!(ask(&["get", "greeting"]), "good day\n");
    store.ok(["rm", "-f", "cache"]);
    for volume in ["appended", "dumped"] {
        assert!(volumes(store).contains(&volume.to_owned()));
    }
}

fn nginx(store: &Store) {
    image(store, "nginx", &[r#"CMD ["nginx","-g","daemon off;"]"#]);
    let home = store.home();
    let site = home.join("site");
    let made = store.command("mkdir").arg(&site).status().unwrap();
    assert!(made.success());
    store.file("site/index.html", "first\n");
    let get = "exec 3<>/dev/tcp/127.0.0.1/80; printf 'GET %s HTTP/1.0\\r\\n\\r\\n' $0 >&3; cat <&3";
    let page =
        |path: &str| -> Outcome { store.onggi(["exec", "web", "bash", "-c", get, path]).run() };
    for mode in ["ro", "rw"] {
        let mount = format!("{}:/var/www/html:{mode}", site.display());
        start(
            store,
            "web",
            &["-v", &mount],
            &["nginx"],
            &["bash", "-c", get, "/"],
        );
        for text in ["first\n", "another\n"] {
            store.file("site/index.html", text);
            page("/")
                .code(0)
                .stdout_has("200 OK")
                .stdout_has(&format!("\r\n\r\n{text}"));
        }
        // What takes the place of a file is seen as well.
        store.file("site/new", "replaced\n");
        std::fs::rename(site.join("new"), site.join("index.html")).unwrap();
        page("/").code(0).stdout_has("\r\n\r\nreplaced\n");
        let write = [
            "exec",
            "web",
            "sh",
            "-c",
            "echo made inside >/var/www/html/made.html",
        ];
        let written = store.onggi(write).run();
        if mode == "ro" {
            written.code(2).stderr_has("Read-only file system");
            page("/made.html").stdout_has("404 Not Found");
        } else {
            use std::os::unix::fs::MetadataExt;
            written.code(0);
            page("/made.html").stdout_has("\r\n\r\nmade inside\n");
            let file = site.join("made.html").metadata().unwrap();
            assert_eq!(
                (file.uid(), file.gid()),
                (store.account.uid, store.account.gid)
            );
        }
        store.ok(["stop", "web"]);
        assert_eq!(store.status("web"), "exited 0");
        store.ok(["rm", "web"]);
    }
}
