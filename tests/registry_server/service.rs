//! The registry as a service: where it listens, what it is handed over, what it says, and how it ends.

use crate::support::store::program;
use crate::support::{Call, Need, Outcome, User, everyone, image, requires, store};
use crate::{Answer, Served, digest_of};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn refused(arguments: &[&str]) -> Outcome {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let mut command = Command::new(program());
    command
        .args(["registry", "serve", "--storage"])
        .arg(directory.path());
    Call::new(command).args(arguments).run()
}

#[test]
fn mistakes_are_told_before_anything_listens() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (arguments, code, part) in [
        (
            &["--listen", "5000"][..],
            125,
            "`5000` is no address to listen at",
        ),
        (
            &["--listen", "registry.example:5000"],
            125,
            "is no address to listen at",
        ),
        (
            &["--listen", "unix:relative"],
            125,
            "names no absolute path",
        ),
        (
            &["--listen", &taken],
            1,
            &format!("listen at {taken}: Address already in use"),
        ),
        (
            &["--listen", &format!("unix:/{}", "x".repeat(107))],
            125,
            "has 108 bytes, and a socket is called by 107 at most",
        ),
        (
            &["--listen", &taken],
            1,
            &format!("process {}, listens there", std::process::id()),
        ),
        (
            &["--listen", "192.0.2.1:0"],
            1,
            "no interface of this machine has that address",
        ),
        (
            &["--listen", "unix:/nonexistent/socket"],
            1,
            "No such file or directory",
        ),
        (
            &["--tls-cert", "x"],
            1,
            "--tls-cert and --tls-key belong together",
        ),
        (
            &["--tls-cert", "/nonexistent", "--tls-key", "/nonexistent"],
            1,
            "read `/nonexistent`",
        ),
        (
            &["--tls-cert", "/dev/null", "--tls-key", "/dev/null"],
            1,
            "`/dev/null` has no certificate",
        ),
        (
            &["--read-only", "--listen", "127.0.0.1:0"],
            1,
            "there is no registry in",
        ),
        (&["image"], 125, "accepts no arguments"),
    ] {
        refused(arguments).code(code).stderr_has(part);
    }
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let serve = |place: &Path, listen: &str| {
        let mut command = Command::new(program());
        command.args(["registry", "serve", "--listen", listen, "--storage"]);
        Call::new(command).args([place]).run()
    };
    let new = directory.path().join("new");
    serve(&new, &taken).code(1);
    assert!(!new.exists(), "nothing is made where nobody could come");
    std::fs::write(directory.path().join("precious"), b"").unwrap();
    serve(directory.path(), "127.0.0.1:0")
        .code(1)
        .stderr_has("has files, and is no registry's");
    std::fs::remove_file(directory.path().join("precious")).unwrap();
    std::fs::write(directory.path().join("registry.json"), br#"{"version":9}"#).unwrap();
    serve(directory.path(), "127.0.0.1:0")
        .code(1)
        .stderr_has("has version 9, not 1");
}

#[test]
fn who_may_not_have_a_port_is_told_from_which_on_he_may() {
    let limit = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    if limit.trim().parse::<u16>().unwrap() <= 80 {
        return crate::support::skip("all ports are for everybody");
    }
    for store in everyone().filter(|store| store.user != User::Root) {
        let words = ["registry", "serve", "--listen", "127.0.0.1:80"];
        let hint = format!("ports below {} are root's", limit.trim());
        store
            .onggi(words)
            .run()
            .code(1)
            .stderr_has("listen at 127.0.0.1:80: Permission denied")
            .stderr_has(&hint);
    }
}

#[test]
fn everyone_has_a_folder_of_his_own() {
    for store in everyone() {
        let words = ["registry", "serve", "--listen", "127.0.0.1:0"];
        let mut served = Served::by(store.onggi(words).into_command());
        let manifest = served.client().image("jar", "v1", "clay");
        assert!(store.data().join("registry/registry.json").exists());
        served.signal(libc::SIGINT);
        assert_eq!(served.ended().code(), Some(0));
        let again = Served::by(store.onggi(words).into_command());
        assert_eq!(
            again.client().get("/v2/jar/manifests/v1").status(200).body,
            manifest
        );
        let pruned = store.onggi(["registry", "prune", "-f"]).run();
        pruned.code(0).stdout("Total reclaimed space: 0B\n");
        // The store itself does not mind.
        store.onggi(["system", "check"]).run().code(0);
    }
}

#[test]
fn a_signal_lets_it_finish_its_answers() {
    let mut served = Served::start();
    let client = served.client();
    let bytes = vec![7; 1 << 20];
    let digest = digest_of(&bytes);
    let path = format!("/v2/jar/blobs/uploads/?digest={digest}");
    let mut pushing = client.connect();
    pushing
        .write_all(client.head("POST", &path, &[], bytes.len()).as_bytes())
        .unwrap();
    pushing.write_all(&bytes[..1000]).unwrap();
    let mut idle = client.connect();
    idle.write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut answer = [0; 12];
    idle.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    let uploads = served.folder().join("repositories/jar/_uploads");
    let has_begun =
        || std::fs::read_dir(&uploads).is_ok_and(|mut entries| entries.next().is_some());
    crate::support::life::until("the upload has begun", has_begun);
    served.signal(libc::SIGTERM);
    // Who waits for nothing is let go, whoever comes is not taken, and what has begun goes on.
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).unwrap();
    let is_closed = || std::net::TcpStream::connect(client.address()).is_err();
    crate::support::life::until("nobody listens", is_closed);
    pushing.write_all(&bytes[1000..]).unwrap();
    let mut answer = Vec::new();
    pushing.read_to_end(&mut answer).unwrap();
    let answer = Answer::parse(&answer).status(201);
    assert_eq!(answer.field("connection"), Some("close"));
    assert_eq!(served.ended().code(), Some(0));
    let again = Served::of(&served.folder(), &[]);
    assert!(
        again
            .client()
            .get(&format!("/v2/jar/blobs/{digest}"))
            .status(200)
            .body
            == bytes
    );
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut served = Served::start();
    let client = served.client();
    let place = client.begin("jar");
    let _stream = client.half(&place);
    client.await_range(&place, "0-3");
    served.signal(libc::SIGTERM);
    let is_closed = || std::net::TcpStream::connect(client.address()).is_err();
    crate::support::life::until("nobody listens", is_closed);
    served.signal(libc::SIGTERM);
    assert_eq!(served.ended().code(), Some(0));
    let again = Served::of(&served.folder(), &[]);
    assert_eq!(
        again.client().get(&place).status(204).field("range"),
        Some("0-3")
    );
}

#[test]
fn it_ends_when_nobody_comes() {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let mut served = Served::of(directory.path(), &["--time", "1"]);
    served.client().get("/v2/").status(200);
    assert_eq!(served.ended().code(), Some(0));
}

#[test]
fn a_unix_socket_comes_and_goes() {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let socket = directory.path().join("socket");
    let option = format!("unix:{}", socket.display());
    // That of a server that was killed is in nobody's way.
    drop(UnixListener::bind(&socket).unwrap());
    let mut served = Served::of(&directory.path().join("storage"), &["--listen", &option]);
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream
        .write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    Answer::parse(&answer).status(200);
    refused(&["--listen", &option])
        .code(1)
        .stderr_has("Address already in use");
    served.signal(libc::SIGTERM);
    assert_eq!(served.ended().code(), Some(0));
    assert!(!socket.exists());
}

#[test]
fn sockets_are_handed_over_and_readiness_is_told() {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let notices = UnixDatagram::bind(directory.path().join("notify")).unwrap();
    notices
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let heard = || {
        let mut text = [0; 100];
        let length = notices.recv(&mut text).unwrap();
        String::from_utf8(text[..length].to_vec()).unwrap()
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let script = "exec env LISTEN_PID=$$ LISTEN_FDS=1 \"$1\" registry serve --storage \"$2\" 3<&0";
    let mut command = Command::new("sh");
    command
        .args(["-c", script, "sh"])
        .arg(program())
        .arg(directory.path().join("storage"));
    let mut child = command
        .env("NOTIFY_SOCKET", directory.path().join("notify"))
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    assert_eq!(heard(), "READY=1");
    crate::Client::new(&address).image("jar", "v1", "clay");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(heard(), "STOPPING=1");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    // What does not listen is refused by what would.
    let script =
        "exec env LISTEN_PID=$$ LISTEN_FDS=1 \"$1\" registry serve --storage \"$2\" 3</dev/null";
    let mut command = Command::new("sh");
    command
        .args(["-c", script, "sh"])
        .arg(program())
        .arg(directory.path().join("storage"));
    let outcome = Call::new(command).run();
    outcome
        .code(1)
        .stderr_has("does not wait for connections")
        .stderr_has("Accept=no");
}

/// The value of a key of a unit.
fn value<'a>(unit: &'a str, key: &str) -> &'a str {
    let mut lines = unit.lines();
    let found = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no {key}"))
}

#[test]
fn the_units_of_the_examples_work() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let read = |name: &str| std::fs::read_to_string(examples.join(name)).unwrap();
    let (socket, service) = (
        read("onggi-registry.socket"),
        read("onggi-registry.service"),
    );
    if requires(&[Need::Program("systemd-analyze")]) {
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        let place = |name: &str, text: &str| {
            let path = directory.path().join(name);
            let text = text.replace("/usr/local/bin/onggi", program().to_str().unwrap());
            std::fs::write(&path, text).unwrap();
            path
        };
        let units = [
            place("onggi-registry.socket", &socket),
            place("onggi-registry.service", &service),
        ];
        let verified = Command::new("systemd-analyze")
            .args(["--man=no", "verify"])
            .args(units)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&verified.stderr);
        let about_ours = told.lines().find(|line| line.contains("onggi-registry"));
        assert_eq!(about_ours, None, "{told}");
    }
    if !requires(&[Need::Program("systemd-socket-activate")]) {
        return;
    }
    assert_eq!(value(&service, "Type"), "notify");
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let address = value(&socket, "ListenStream").replace("5000", &free.port().to_string());
    let state = format!("/var/lib/{}", value(&service, "StateDirectory"));
    let line = value(&service, "ExecStart");
    let line = line.replace("/usr/local/bin/onggi", program().to_str().unwrap());
    let line = line
        .replace(&state, directory.path().to_str().unwrap())
        .replace("--time 300", "--time 1");
    assert!(
        line.contains("--storage") && line.contains("--time 1"),
        "{line}"
    );
    let mut activated = Command::new("systemd-socket-activate")
        .args(["-l", &address])
        .args(line.split(' '))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let is_open = || std::net::TcpStream::connect(&address).is_ok();
    crate::support::life::until("the port is open", is_open);
    crate::Client::new(&address).image("jar", "v1", "clay");
    let end = Instant::now() + Duration::from_secs(60);
    let code = loop {
        if let Some(status) = activated.try_wait().unwrap() {
            break status.code();
        }
        assert!(Instant::now() < end, "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(code, Some(0));
}

#[test]
fn tls_with_a_certificate_of_ones_own() {
    if !requires(&[Need::Program("openssl"), Need::Program("skopeo")]) {
        return;
    }
    let Some(layout) = image("alpine-caps-opaque-oci") else {
        return;
    };
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    std::fs::create_dir(path("trusted")).unwrap();
    let (certificate, key) = (path("trusted/server.crt"), path("server.key"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args([
            "-subj",
            "/CN=kiln",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-keyout",
            &key,
            "-out",
            &certificate,
        ])
        .stderr(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    refused(&["--tls-cert", &key, "--tls-key", &key])
        .code(1)
        .stderr_has("has no certificate");
    refused(&["--tls-cert", &certificate, "--tls-key", &certificate])
        .code(1)
        .stderr_has("is no private key");
    let options = ["--tls-cert", &certificate, "--tls-key", &key];
    let served = Served::of(&directory.path().join("storage"), &options);
    let name = served.name("kiln/jar:1");
    let (source, target) = (
        format!("oci:{}:v1", layout.display()),
        format!("docker://{name}"),
    );
    let copied = Command::new("skopeo")
        .args([
            "--insecure-policy",
            "copy",
            "-q",
            "--dest-cert-dir",
            &path("trusted"),
            &source,
            &target,
        ])
        .output()
        .unwrap();
    assert!(copied.status.success(), "{copied:?}");
    let Some(store) = store(User::Root).or_else(|| everyone().next()) else {
        return;
    };
    let pull = store
        .onggi([
            "pull",
            "--tls-verify",
            "--cert-dir",
            &path("trusted"),
            &name,
        ])
        .run();
    pull.code(0);
    let tags = store
        .onggi([
            "pull",
            "-aq",
            "--tls-verify=false",
            &served.name("kiln/jar"),
        ])
        .run();
    tags.code(0);
    // Who does not speak TLS gets no answer, and keeps nobody waiting.
    let plain = served.client().raw(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(!plain.starts_with(b"HTTP"), "{plain:?}");
}

#[test]
fn who_opens_it_to_others_is_warned() {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let run = |options: &[&str]| {
        let mut command = Command::new(program());
        command
            .args(["registry", "serve", "--time", "1", "--storage"])
            .arg(directory.path());
        Call::new(command).args(options).run()
    };
    let open = run(&["--listen", ":0"]);
    open.code(0)
        .stdout_has("Listening on http://")
        .stderr_has("whoever reaches this address may push and delete");
    run(&["--listen", ":0", "--read-only"]).code(0).stderr("");
    let loopback: &[&str] = match TcpListener::bind("[::1]:0") {
        Ok(_) => &["--listen", "[::1]:0", "--listen", "localhost:0"],
        Err(_) => &["--listen", "localhost:0"],
    };
    run(loopback)
        .code(0)
        .stderr("")
        .stdout_has("http://127.0.0.1:");
}
