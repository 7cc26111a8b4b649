//! `COPY` and `ADD` with all their flags, what is left out of a context, archives, servers and repositories.

use crate::support::{Need, Store, User, everyone_with_alpine, requires};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Builds that file and runs `find` in the image: a line for each file below these places, with mode and owner.
#[track_caller]
fn listed(store: &Store, file: &str, places: &str) -> String {
    store.file("context/Dockerfile", file);
    store
        .onggi(["build", "-q", "-t", "app", "context"])
        .run()
        .code(0);
    listing(store, places)
}

#[track_caller]
fn listing(store: &Store, places: &str) -> String {
    let look = format!("find {places} | sort | xargs stat -c '%n %a %u:%g'");
    store.ok(["run", "--rm", "app", "sh", "-c", &look])
}

/// An owner as this user's containers see it.
fn owner(store: &Store, owner: &str) -> String {
    if store.user == User::Single {
        "0:0"
    } else {
        owner
    }
    .to_owned()
}

#[test]
fn copies_have_owners_and_modes() {
    for store in everyone_with_alpine() {
        store.file("context/d/run.sh", "#!");
        store.file("context/d/text", "t");
        let base = "FROM alpine:3.20\nRUN echo app:x:333:334::/:/bin/sh >> /etc/passwd; echo team:x:335: >> /etc/group\n";
        let file = format!(
            "{base}COPY --chown=app d/text /a\nCOPY --chown=app:team --chmod=0750 d /b\nCOPY --chown=7 --chmod=u=rw,g=r,o= d/text /c\n\
             COPY --chmod=go-r,+X d /e\nADD --chown=0:team d/text /f\nCOPY --chown=0:8 d/run.sh /g\n"
        );
        let of = |text: &str| owner(&store, text);
        // As with Docker, a directory that is made for what is copied has the usual mode.
        let expected = format!(
            "/a 644 {}\n/b 755 {}\n/b/run.sh 750 {}\n/b/text 750 {}\n/c 640 {}\n/e 755 0:0\n/e/run.sh 600 0:0\n/e/text 600 0:0\n/f 644 {}\n/g 644 {}\n",
            of("333:334"),
            of("333:335"),
            of("333:335"),
            of("333:335"),
            of("7:7"),
            of("0:335"),
            of("0:8"),
        );
        assert_eq!(listed(&store, &file, "/a /b /c /e /f /g"), expected);
        for (flag, part) in [
            ("--chown=nobody-here", "nobody-here"),
            ("--chown=app:nobody-here", "nobody-here"),
            ("--chown=:team", "it names no user"),
            ("--chmod=9", "9"),
            ("--chmod=u=z", "u=z"),
        ] {
            store.file("context/Dockerfile", format!("{base}COPY {flag} d /x\n"));
            let wrong = store.onggi(["build", "context"]).run();
            wrong.code(1).stderr_has(part).stderr_has("Dockerfile:3");
        }
    }
}

#[test]
fn parents_and_what_is_excluded() {
    for store in everyone_with_alpine().take(1) {
        for name in [
            "x/a/one.txt",
            "x/a/two.md",
            "x/b/three.txt",
            "y/four.txt",
            "top.md",
        ] {
            store.file(&format!("context/{name}"), name);
        }
        let file = "FROM alpine:3.20\nCOPY --parents x/a/one.txt y /1/\nCOPY --parents ./x/./*/*.txt /2/\n\
                    COPY --parents **/*.txt /3/\nCOPY --exclude=**/*.md --exclude=b x /4/\n\
                    COPY --parents --exclude=x/b . /5/\nADD --exclude=*.txt x/a /6/\n";
        let found = listed(&store, file, "/1 /2 /3 /4 /5 /6 -type f");
        let names: Vec<&str> = found
            .lines()
            .map(|line| line.split(' ').next().unwrap())
            .collect();
        let expected = [
            "/1/x/a/one.txt",
            "/1/y/four.txt",
            "/2/a/one.txt",
            "/2/b/three.txt",
            "/3/x/a/one.txt",
            "/3/x/b/three.txt",
            "/3/y/four.txt",
            "/4/a/one.txt",
            "/5/Dockerfile",
            "/5/top.md",
            "/5/x/a/one.txt",
            "/5/x/a/two.md",
            "/5/y/four.txt",
            "/6/two.md",
        ];
        assert_eq!(names, expected);
    }
}

/// A linked copy does not depend on what lies below it: it is cached where that changes, and follows no link of it.
#[test]
fn linked_copies_stand_alone() {
    for store in everyone_with_alpine() {
        store.file("context/f", "f");
        let file = |below: &str| {
            format!(
                "FROM alpine:3.20\nRUN mkdir /real && ln -s /real /link && echo {below} > /below\nCOPY --link f /link/f\nCOPY f /real/g\n"
            )
        };
        let found = listed(&store, &file("one"), "/link /real");
        assert_eq!(
            found,
            "/link 755 0:0\n/link/f 644 0:0\n/real 755 0:0\n/real/g 644 0:0\n"
        );
        store.file("context/Dockerfile", file("two"));
        let again = store.onggi(["build", "--progress=plain", "context"]).run();
        let text = again.code(0).stderr_text();
        let cached = |step: &str| {
            let (_, rest) = text.split_once(step).unwrap();
            rest.lines().nth(1).unwrap().ends_with("CACHED")
        };
        again.expect(cached("COPY --link f /link/f"), "the linked copy cached");
        again.expect(!cached("COPY f /real/g"), "the other one not");
    }
}

#[test]
fn copies_come_from_stages_images_and_contexts() {
    for store in everyone_with_alpine() {
        store.file("context/f", "main");
        store.file("other/f", "other");
        let file = "FROM alpine:3.20 AS made\nRUN echo made > /f && chown 5:6 /f\nFROM alpine:3.20\nCOPY f /main\n\
                    COPY --from=made /f /stage\nCOPY --from=0 /f /number\nCOPY --from=alpine:3.20 /etc/alpine-release /image\n\
                    COPY --from=named f /context\nCOPY --from=replaced f /replaced\n";
        store.file("context/Dockerfile", file);
        let words = [
            "build",
            "-q",
            "-t=app",
            "--build-context=named=other",
            "--build-context=replaced=docker-image://made-image",
            "context",
        ];
        store.onggi(words).run().code(1).stderr_has("made-image");
        store.file("image/Dockerfile", "FROM scratch\nCOPY Dockerfile /f\n");
        store.ok(["build", "-q", "-t=made-image", "image"]);
        store.onggi(words).run().code(0);
        let all = "cat /main /context; cat /stage /number /image; head -n1 /replaced; stat -c %u:%g /stage";
        let told = store.ok(["run", "--rm", "app", "sh", "-c", all]);
        let owner = owner(&store, "5:6");
        assert_eq!(
            told,
            format!("mainothermade\nmade\n3.20.3\nFROM scratch\n{owner}\n")
        );
    }
}

#[test]
fn archives_are_unpacked_by_add_and_by_whoever_asks() {
    for store in everyone_with_alpine() {
        let make = "mkdir -p context a/d; echo in > a/d/f; for z in gzip:gz bzip2:bz2 xz:xz zstd:zst; do
                    tar c -C a d | ${z%:*} > context/a.tar.${z#*:}; done; tar cf context/plain -C a d";
        store.script(make).run().code(0);
        let file = "FROM alpine:3.20\nADD a.tar.gz /gz/\nADD a.tar.bz2 /bz2/\nADD a.tar.xz /xz/\nADD a.tar.zst /zst/\nADD plain /plain/\n\
                    ADD --unpack=false plain /kept\nCOPY plain /copied\nADD --unpack=true plain /asked/\n";
        let found = listed(
            &store,
            file,
            "/gz /bz2 /xz /zst /plain /kept /copied /asked -type f",
        );
        let names: Vec<&str> = found
            .lines()
            .map(|line| line.split(' ').next().unwrap())
            .collect();
        let expected = [
            "/asked/d/f",
            "/bz2/d/f",
            "/copied",
            "/gz/d/f",
            "/kept",
            "/plain/d/f",
            "/xz/d/f",
            "/zst/d/f",
        ];
        assert_eq!(names, expected);
    }
}

/// Serves the files of a directory until the test ends: the begin of their address.
fn serve(directory: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let directory = directory.clone();
            std::thread::spawn(move || answer(stream.unwrap(), &directory));
        }
    });
    address
}

fn answer(mut stream: TcpStream, directory: &Path) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let first = lines.next().and_then(Result::ok).unwrap_or_default();
    let path = first
        .split(' ')
        .nth(1)
        .unwrap_or("/")
        .split('?')
        .next()
        .unwrap();
    while lines
        .next()
        .and_then(Result::ok)
        .is_some_and(|line| !line.is_empty())
    {}
    let (status, body) = match std::fs::read(directory.join(path.trim_start_matches('/'))) {
        Ok(body) => ("200 OK", body),
        Err(_) => ("404 Not Found", Vec::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(&body));
}

#[test]
fn files_are_added_from_servers() {
    for store in everyone_with_alpine() {
        let file = store.file("www/file.txt", "of a server");
        store
            .script("tar cf www/a.tar -C www file.txt")
            .run()
            .code(0);
        let at = serve(file.parent().unwrap().to_owned());
        let digest = onggi::image::digest::Digest::of(b"of a server");
        let text = format!(
            "FROM alpine:3.20\nADD {at}/file.txt /d/\nADD --checksum={digest} --chmod=644 --chown=7:8 {at}/file.txt /named\n\
             ADD {at}/a.tar /kept\nADD --unpack {at}/a.tar /unpacked/\n"
        );
        let found = listed(&store, &text, "/d/file.txt /named /kept /unpacked/file.txt");
        let owner = owner(&store, "7:8");
        let expected =
            format!("/d/file.txt 600 0:0\n/kept 600 0:0\n/named 644 {owner}\n/unpacked/file.txt ");
        assert!(found.starts_with(&expected), "{found}");
        let time = store.ok(["run", "--rm", "app", "stat", "-c", "%Y", "/d/file.txt"]);
        assert_eq!(time, "784111777\n");
        for (line, part) in [
            (
                format!("ADD --checksum=sha256:{} {at}/file.txt /", "0".repeat(64)),
                "checksum",
            ),
            (format!("ADD {at}/none /"), "404"),
            (format!("COPY {at}/file.txt /"), "not found"),
            ("ADD http://127.0.0.1:1/x /".to_owned(), "127.0.0.1:1"),
        ] {
            store.file("context/Dockerfile", format!("FROM alpine:3.20\n{line}\n"));
            let failed = store.onggi(["build", "context"]).run();
            failed.code(1).stderr_has(part).stderr_has("Dockerfile:2");
        }
    }
}

/// The same for the repositories of a directory, by git's own protocol.
fn serve_repositories(store: &Store, directory: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("git://{}", listener.local_addr().unwrap());
    let base = format!("--base-path={}", store.home().join(directory).display());
    let mut daemon = store.command("git");
    daemon.args(["daemon", "--inetd", "--export-all", &base]);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = OwnedFd::from(stream.unwrap());
            let both = (stream.try_clone().unwrap(), stream);
            daemon.stdin(both.0).stdout(both.1).stderr(Stdio::null());
            let _ = daemon.status();
            // Else this process would keep the connection open.
            daemon.stdin(Stdio::null()).stdout(Stdio::null());
        }
    });
    address
}

/// The time of a commit is that of what is built of it, and no part of what its steps are; a time that was asked for is.
#[test]
fn the_next_commit_finds_what_it_has_not_changed() {
    if !requires(&[Need::Program("git")]) {
        return;
    }
    for store in everyone_with_alpine().take(1) {
        store.file("www/x", "");
        let script = "
            git init -q -b main r; cd r; git config user.name x; git config user.email x@x; echo f > f
            printf 'FROM scratch\\nCOPY f /f\\n' > Dockerfile
            git add .; GIT_COMMITTER_DATE=@1000000000+0000 git commit -q -m one; git tag v1
            echo other > other; git add .; GIT_COMMITTER_DATE=@1000000100+0000 git commit -q -m two
            cd ..; git clone -q --bare r www/r.git";
        store.script(script).run().code(0);
        let at = format!("{}/r.git", serve_repositories(&store, "www"));
        let build = |revision: &str, options: &[&str]| {
            let address = format!("{at}#{revision}");
            let words = ["build", "-t=git", &address];
            let built = store.onggi(words.iter().chain(options)).run();
            built.code(0);
            let words = ["image", "inspect", "-f", "{{.Created}}", "git"];
            (built.stderr_text().contains(" CACHED"), store.ok(words))
        };
        let time = |text: &str| format!("{text}\n");
        assert_eq!(build("v1", &[]), (false, time("2001-09-09T01:46:40Z")));
        assert_eq!(build("main", &[]), (true, time("2001-09-09T01:48:20Z")));
        let asked = ["--build-arg=SOURCE_DATE_EPOCH=1000000200"];
        assert_eq!(build("main", &asked), (false, time("2001-09-09T01:50:00Z")));
    }
}

const REPOSITORY: &str = "
    git init -q -b main r; cd r; git config user.name x; git config user.email x@x
    mkdir sub; echo one > sub/f; printf 'FROM scratch\\nCOPY sub/f /f\\n' > Dockerfile
    git add .; GIT_COMMITTER_DATE=@1000000000+0000 git commit -q -m one; git tag v1
    echo two > sub/f; GIT_COMMITTER_DATE=@1000000100+0000 git commit -q -a -m two
    cd ..; git clone -q --bare r www/r.git; cd r; git rev-parse HEAD";

#[test]
fn repositories_are_added_and_are_contexts() {
    if !requires(&[Need::Program("git")]) {
        return;
    }
    for store in everyone_with_alpine() {
        store.file("www/x", "");
        let head = store.script(REPOSITORY).run().code(0).stdout_text();
        let at = format!("{}/r.git", serve_repositories(&store, "www"));
        let text = format!(
            "FROM alpine:3.20\nADD {at} /main/\nADD {at}#v1:sub /tag/\nADD --keep-git-dir=true {at}#main /kept/\n\
             ADD --checksum={} {at} /checked/\n",
            head.trim()
        );
        store.file("context/Dockerfile", &text);
        store.ok(["build", "-q", "-t=app", "context"]);
        let look = "cat /main/sub/f /tag/f /kept/sub/f /checked/sub/f; ls -d /*/.git";
        let told = store.ok(["run", "--rm", "app", "sh", "-c", look]);
        assert_eq!(told, "two\none\ntwo\ntwo\n/kept/.git\n");
        // A repository is a context as well, whose time is that of its commit.
        let built = store
            .onggi(["build", "-q", "-t=git", &format!("{at}#v1")])
            .run();
        built.code(0);
        let made = store.ok(["image", "inspect", "-f", "{{.Created}}", "git"]);
        assert_eq!(made, "2001-09-09T01:46:40Z\n");
        let wrong = store.onggi(["build", &format!("{at}#nowhere")]).run();
        wrong.code(1).stderr_has("nowhere");
        let text = format!(
            "FROM alpine:3.20\nADD --checksum={} {at} /x\n",
            "0".repeat(40)
        );
        store.file("context/Dockerfile", text);
        store
            .onggi(["build", "context"])
            .run()
            .code(1)
            .stderr_has("checksum");
    }
}

#[test]
fn archives_and_servers_are_contexts() {
    for store in everyone_with_alpine().take(1) {
        store.file(
            "www/c/Dockerfile",
            "FROM alpine:3.20\nCOPY f /f\nCMD [\"cat\", \"/f\"]\n",
        );
        store.file("www/c/f", "f\n");
        store.file(
            "www/c/other",
            "FROM alpine:3.20\nCMD [\"echo\", \"other\"]\n",
        );
        store
            .script("tar czf www/c.tar.gz -C www/c .")
            .run()
            .code(0);
        let at = serve(store.home().join("www"));
        let archive = std::fs::read(store.home().join("www/c.tar.gz")).unwrap();
        let run = || store.ok(["run", "--rm", "app"]);
        let words = ["build", "-q", "-t=app"];
        store
            .onggi(words)
            .args(["-"])
            .stdin(archive.clone())
            .run()
            .code(0);
        assert_eq!(run(), "f\n");
        store
            .onggi(words)
            .args(["-f", "other", "-"])
            .stdin(archive)
            .run()
            .code(0);
        assert_eq!(run(), "other\n");
        store
            .onggi(words)
            .args([format!("{at}/c.tar.gz")])
            .run()
            .code(0);
        assert_eq!(run(), "f\n");
        // A Dockerfile from a server has an empty context.
        store
            .onggi(words)
            .args([format!("{at}/c/other")])
            .run()
            .code(0);
        assert_eq!(run(), "other\n");
        let file = std::fs::read(store.home().join("www/c/Dockerfile")).unwrap();
        let alone = store.onggi(words).args(["-"]).stdin(file.clone()).run();
        alone.code(1).stderr_has("\"/f\": not found");
        store
            .onggi(words)
            .args(["-f", "-", "www/c"])
            .stdin(file)
            .run()
            .code(0);
        assert_eq!(run(), "f\n");
    }
}

#[test]
fn what_is_ignored_is_said_by_the_file_that_belongs_to_the_dockerfile() {
    for store in everyone_with_alpine() {
        for (name, content) in [
            ("one", "FROM alpine:3.20\nCOPY . /c\n"),
            ("sub/two", "FROM alpine:3.20\nCOPY . /c\n"),
            (
                ".dockerignore",
                "*.log\n!keep.log\nsecret\n/sub/two*\none\n",
            ),
            ("sub/two.dockerignore", "*\n!a.log\n"),
            ("a.log", ""),
            ("keep.log", ""),
            ("deep/b.log", ""),
            ("secret/key", ""),
        ] {
            store.file(&format!("context/{name}"), content);
        }
        let files = |file: &str| {
            let words = ["build", "-q", "-t=app", "-f", file, "context"];
            store.onggi(words).run().code(0);
            store.ok([
                "run",
                "--rm",
                "app",
                "sh",
                "-c",
                "cd /c && find . -type f | sort | xargs echo",
            ])
        };
        assert_eq!(
            files("context/one"),
            "./.dockerignore ./deep/b.log ./keep.log\n"
        );
        assert_eq!(files("context/sub/two"), "./a.log\n");
        store.file(
            "context/Dockerfile",
            "FROM alpine:3.20\nCOPY secret/key /\n",
        );
        let hidden = store.onggi(["build", "context"]).run();
        hidden
            .code(1)
            .stderr_has("\"/secret/key\": not found")
            .stderr_has("!secret/key");
        store.file("context/.dockerignore", "[\n");
        let wrong = store.onggi(["build", "context"]).run();
        wrong
            .code(1)
            .stderr_has(".dockerignore:1:1: syntax error in pattern");
    }
}
