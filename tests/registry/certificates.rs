//! TLS: authorities of one's own, names that do not fit, clients that show a certificate.

use crate::real::{IMAGE, Options, Registry};
use crate::server::answer;
use crate::support::{Need, requires};
use crate::{Server, Store, somebody};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn openssl(directory: &Path, arguments: &[&str]) {
    let status = Command::new("openssl")
        .args(arguments)
        .current_dir(directory)
        .stderr(Stdio::null())
        .status();
    assert!(status.unwrap().success(), "openssl {arguments:?}");
}

/// An authority, a server's certificate for `name`, and a client's.
pub fn certificates(name: &str) -> Option<tempfile::TempDir> {
    if !requires(&[Need::Program("openssl")]) {
        return None;
    }
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let path = directory.path();
    let key = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ];
    openssl(
        path,
        &[
            &[
                "req", "-x509", "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=kiln",
            ],
            &key[..],
        ]
        .concat(),
    );
    for (who, extension) in [
        ("server", format!("subjectAltName={name}")),
        ("client", "extendedKeyUsage=clientAuth".to_owned()),
    ] {
        let (own_key, request, certificate) = (
            format!("{who}.key"),
            format!("{who}.csr"),
            format!("{who}.crt"),
        );
        let made = [
            "req", "-keyout", &own_key, "-out", &request, "-subj", "/CN=jar",
        ];
        openssl(path, &[&made[..], &key[..5]].concat());
        std::fs::write(path.join("extension"), extension).unwrap();
        openssl(
            path,
            &[
                "x509",
                "-req",
                "-in",
                &request,
                "-CA",
                "ca.crt",
                "-CAkey",
                "ca.key",
                "-CAcreateserial",
                "-days",
                "2",
                "-extfile",
                "extension",
                "-out",
                &certificate,
            ],
        );
    }
    Some(directory)
}

/// Where this store's user keeps certificates for the registry.
pub fn certs_d(store: &Store, registry: &Registry) -> std::path::PathBuf {
    let directory = store.home().join(format!(
        ".config/containers/certs.d/127.0.0.1:{}",
        registry.port
    ));
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

#[test]
fn an_authority_of_ones_own_is_trusted_for_its_host() {
    let Some(made) = certificates("IP:127.0.0.1") else {
        return;
    };
    let options = Options {
        tls: Some(made.path()),
        ..Options::default()
    };
    let (Some(registry), Some(store)) = (Registry::start(&options), somebody()) else {
        return;
    };
    let name = registry.name(IMAGE);
    let unknown = store.onggi(["pull", &name]).run();
    unknown
        .code(1)
        .stderr_has("its certificate is signed by an unknown authority")
        .stderr_has("certs.d/127.0.0.1:");
    store
        .onggi(["pull", "--tls-verify=false", &name])
        .run()
        .code(0);
    let directory = certs_d(&store, &registry);
    std::fs::copy(made.path().join("ca.crt"), directory.join("ca.crt")).unwrap();
    store
        .onggi(["pull", &name])
        .run()
        .code(0)
        .stdout_has("Image is up to date");
    let directory = made.path().to_str().unwrap();
    let other = somebody().unwrap();
    other
        .onggi(["pull", "--cert-dir", directory, "--tls-verify", &name])
        .run()
        .code(0);
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let Some(made) = certificates("DNS:elsewhere.example") else {
        return;
    };
    let options = Options {
        tls: Some(made.path()),
        ..Options::default()
    };
    let (Some(registry), Some(store)) = (Registry::start(&options), somebody()) else {
        return;
    };
    std::fs::copy(
        made.path().join("ca.crt"),
        certs_d(&store, &registry).join("ca.crt"),
    )
    .unwrap();
    store
        .onggi(["pull", &registry.name(IMAGE)])
        .run()
        .code(1)
        .stderr_has("its certificate is for another name: `elsewhere.example`\n");
}

#[test]
fn one_that_signs_itself_is_trusted_unless_it_is_an_authoritys() {
    for (constraint, refusal) in [
        ("basicConstraints=critical,CA:FALSE", None),
        (
            "basicConstraints=critical,CA:TRUE",
            Some(
                "its certificate is that of an authority, used as a server's own\ntry: make one with `openssl req",
            ),
        ),
    ] {
        let Some(made) = certificates("IP:127.0.0.1") else {
            return;
        };
        let path = made.path();
        let files = ["-keyout", "server.key", "-out", "server.crt"];
        let key = [
            "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=jar",
        ];
        let name = [
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            constraint,
        ];
        openssl(path, &[&["req", "-x509"][..], &files, &key, &name].concat());
        let options = Options {
            tls: Some(path),
            ..Options::default()
        };
        let (Some(registry), Some(store)) = (Registry::start(&options), somebody()) else {
            return;
        };
        let trusted = certs_d(&store, &registry).join("ca.crt");
        std::fs::copy(path.join("server.crt"), trusted).unwrap();
        let pulled = store.onggi(["pull", &registry.name(IMAGE)]).run();
        match refusal {
            None => pulled.code(0),
            Some(why) => pulled.code(1).stderr_has(why),
        };
    }
}

#[test]
fn clients_show_certificates() {
    let Some(made) = certificates("IP:127.0.0.1") else {
        return;
    };
    let options = Options {
        tls: Some(made.path()),
        client_certificates: true,
        ..Options::default()
    };
    let (Some(registry), Some(store)) = (Registry::start(&options), somebody()) else {
        return;
    };
    let name = registry.name(IMAGE);
    let directory = certs_d(&store, &registry);
    let copy =
        |from: &str, to: &str| std::fs::copy(made.path().join(from), directory.join(to)).unwrap();
    copy("ca.crt", "ca.crt");
    store
        .onggi(["pull", &name])
        .run()
        .code(1)
        .stderr_has("it asks for a client certificate");
    copy("client.crt", "client.cert");
    store
        .onggi(["pull", &name])
        .run()
        .code(1)
        .stderr_has("client.key` is missing");
    copy("server.key", "client.key");
    store
        .onggi(["pull", &name])
        .run()
        .code(1)
        .stderr_has("it does not go with its key");
    copy("client.key", "client.key");
    store.onggi(["pull", &name]).run().code(0);
    std::fs::write(directory.join("ca.crt"), "nonsense").unwrap();
    store
        .onggi(["pull", &name])
        .run()
        .code(1)
        .stderr_has("ca.crt` holds no certificate");
}

#[test]
fn without_tls_nobody_but_this_machine_is_spoken_to() {
    let Some(registry) = Registry::start(&Options::default()) else {
        return;
    };
    let Some(store) = somebody() else {
        return;
    };
    let name = registry.name(IMAGE);
    store
        .onggi(["pull", "--tls-verify=true", &name])
        .run()
        .code(1)
        .stderr_has("it does not speak TLS");
    store.onggi(["pull", &name]).run().code(0);
}

/// `s_server -HTTP` sends files as they are, so they can be whole answers.
#[test]
fn who_was_asked_with_tls_sends_nobody_where_there_is_none() {
    let (Some(made), Some(store)) = (certificates("IP:127.0.0.1"), somebody()) else {
        return;
    };
    let plain = Server::start(None, |_| answer("404 Not Found", &[], ""));
    let folder = made.path().join("v2/image/manifests");
    std::fs::create_dir_all(&folder).unwrap();
    let target = format!("Location: http://127.0.0.1:{}/elsewhere", plain.port);
    let head = format!("HTTP/1.1 302 Found\r\n{target}\r\nContent-Length: 0\r\n\r\n");
    std::fs::write(folder.join("multi"), head).unwrap();
    let port = crate::real::free_port();
    let mut server = Command::new("openssl")
        .args([
            "s_server",
            "-HTTP",
            "-quiet",
            "-cert",
            "server.crt",
            "-key",
            "server.key",
        ])
        .args(["-accept", &format!("127.0.0.1:{port}")])
        .current_dir(made.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    while crate::real::connect(port).is_err() {
        assert!(Instant::now() < end, "openssl does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    let directory = made.path().to_str().unwrap();
    let name = format!("127.0.0.1:{port}/{IMAGE}");
    let outcome = store
        .onggi(["pull", "--tls-verify", "--cert-dir", directory, &name])
        .run();
    server.kill().unwrap();
    server.wait().unwrap();
    outcome
        .code(1)
        .stderr_has("redirects to an address without TLS: http://127.0.0.1:");
    assert!(plain.seen().is_empty());
}
