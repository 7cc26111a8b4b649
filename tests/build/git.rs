//! Private repositories: who asks for them is a secret, told to their server and to nobody else.

use crate::support::{Need, Store, everyone_with_alpine, requires};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const BACKEND: &str = "/usr/lib/git-core/git-http-backend";
/// `x-access-token:hush-hush` by base64.
const BASIC: &str = "basic eC1hY2Nlc3MtdG9rZW46aHVzaC1odXNo";

/// Serves the repositories in a directory to whoever says `wanted`, with git-http-backend(1), as long as the test lives.
fn serve(root: PathBuf, wanted: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.unwrap(), &root, wanted);
        }
    });
    port
}

fn answer(mut stream: TcpStream, root: &Path, wanted: &str) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let header = |name: &str| {
        let found = lines.iter().filter_map(|line| line.split_once(": "));
        let mut found = found.filter(|(known, _)| known.eq_ignore_ascii_case(name));
        found
            .next()
            .map_or(String::new(), |(_, value)| value.to_owned())
    };
    let length = header("content-length").parse().unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    if header("authorization") != wanted {
        let refusal = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        stream.write_all(refusal.as_bytes()).unwrap();
        return;
    }
    let mut request = lines[0].split(' ');
    let (method, target) = (request.next().unwrap(), request.next().unwrap());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut backend = Command::new(BACKEND)
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .env("REQUEST_METHOD", method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", header("content-type"))
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    backend.stdin.take().unwrap().write_all(&body).unwrap();
    let output = backend.wait_with_output().unwrap().stdout;
    let head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n";
    stream.write_all(&[&head[..], &output].concat()).unwrap();
}

/// A `git` before the real one on the way, which notes its arguments and its environment.
fn spy(store: &Store) -> String {
    let notes = store.home().join("notes");
    let script = format!(
        "#!/bin/sh\n{{ echo \"$@\"; env; }} >> {}\nexec /usr/bin/git \"$@\"\n",
        notes.display()
    );
    let path = store.file("bin/git", script);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    format!(
        "{}:/usr/sbin:/usr/bin:/sbin:/bin",
        path.parent().unwrap().display()
    )
}

#[test]
fn a_private_repository_is_fetched_with_a_token() {
    if !requires(&[Need::Program("git"), Need::Program(BACKEND)]) {
        return;
    }
    for store in everyone_with_alpine() {
        let script = "mkdir -p all/r.git; cd all/r.git; git init -q -b main; echo private > file; \
                      printf 'FROM alpine:3.20\\nCOPY file /file\\n' > Dockerfile; git add .; \
                      git -c user.name=x -c user.email=x@y commit -qm one";
        store.script(script).run().code(0);
        let port = serve(store.home().join("all"), BASIC);
        let url = format!("http://127.0.0.1:{port}/r.git");
        let path = spy(&store);
        let build = |words: &[&str], token: &str| {
            let call = store
                .onggi(["build", "--progress=plain", "-t", "app"])
                .args(words);
            call.env("PATH", &path).env("GIT_AUTH_TOKEN", token).run()
        };
        let secret = "--secret=id=GIT_AUTH_TOKEN";
        let without = build(&[&url], "hush-hush");
        without.code(1).stderr_has("--secret id=GIT_AUTH_TOKEN");
        build(&[secret, &url], "wrong-word")
            .code(1)
            .stderr_lacks("wrong-word");
        let mut told = build(&[secret, &url], "hush-hush").code(0).stderr_text();
        assert_eq!(
            store.ok(["run", "--rm", "app", "cat", "/file"]),
            "private\n"
        );
        store.file("token", "hush-hush\n");
        let of_host = "--secret=id=GIT_AUTH_TOKEN.127.0.0.1,src=token";
        let text = format!("FROM alpine:3.20\nADD {url} /r\nRUN env > /env\n");
        store.file("context/Dockerfile", text);
        told += &build(&[of_host, "context"], "").code(0).stderr_text();
        assert_eq!(
            store.ok(["run", "--rm", "app", "cat", "/r/file"]),
            "private\n"
        );
        store.file("header", format!("{BASIC}\n"));
        let of_header = "--secret=id=GIT_AUTH_HEADER,src=header";
        let named = format!("--build-context=named={url}");
        store.file(
            "context/Dockerfile",
            "FROM alpine:3.20\nCOPY --from=named file /named\n",
        );
        told += &build(&[of_header, &named, "context"], "")
            .code(0)
            .stderr_text();
        assert_eq!(
            store.ok(["run", "--rm", "app", "cat", "/named"]),
            "private\n"
        );
        // Neither what is told, nor what git is called with, nor anything in the store has it.
        told += &std::fs::read_to_string(store.home().join("notes")).unwrap();
        assert!(told.contains("GIT_CONFIG_GLOBAL=/proc/self/fd/"), "{told}");
        let base64 = BASIC.trim_start_matches("basic ");
        assert!(
            !told.contains("hush-hush") && !told.contains(base64),
            "{told}"
        );
        let store_has = |word: &str| {
            let found = Command::new("grep")
                .args(["-rlaF", word])
                .arg(store.data())
                .output();
            String::from_utf8(found.unwrap().stdout).unwrap()
        };
        assert_eq!(store_has("hush-hush") + &store_has(base64), "");
        store.file("token", "hush\nX-Other: header\n");
        let split = build(&["--no-cache", of_host, &url], "");
        split
            .code(1)
            .stderr_has("the secret GIT_AUTH_TOKEN.127.0.0.1 is no line of text");
        store.assert_no_process_is_left();
    }
}
