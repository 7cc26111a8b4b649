//! Debian's docker-registry, serving a copy of a real registry's storage.
#![allow(dead_code, reason = "tests and benches each use a part of it")]

use crate::support::{Need, image, requires};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The image that it has.
pub const IMAGE: &str = "image:multi";
/// The digest of that, an index of three platforms.
pub const DIGEST: &str = "sha256:b5637b59b0aa8443f38e49ff3149487241ee0c6f75a955cbd2be0cc21cab4395";
/// Who may come in where a password is asked for.
pub const USER: (&str, &str) = ("potter", "clay and fire");

/// What kind of registry.
#[derive(Default)]
pub struct Options<'a> {
    /// Directory with `server.crt` and `server.key`.
    pub tls: Option<&'a Path>,
    /// Only with a certificate of the authority `ca.crt` there.
    pub client_certificates: bool,
    /// Only [`USER`].
    pub password: bool,
}

/// A running registry; ends with the value.
pub struct Registry {
    pub port: u16,
    child: Child,
    directory: tempfile::TempDir,
}

impl Registry {
    /// `None`, and a skip, where this host has none.
    pub fn start(options: &Options) -> Option<Self> {
        if !requires(&[Need::Program("docker-registry")]) {
            return None;
        }
        let storage = image("registry-storage-multiarch")?;
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        let copied = Command::new("cp")
            .arg("-r")
            .arg(&storage)
            .arg(directory.path().join("storage"))
            .status();
        assert!(copied.unwrap().success());
        let port = free_port();
        let configuration = configuration(directory.path(), port, options)?;
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let registry = Self {
            port,
            child,
            directory,
        };
        let end = Instant::now() + Duration::from_secs(30);
        while connect(port).is_err() {
            assert!(Instant::now() < end, "docker-registry does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(registry)
    }

    /// From now on it has nothing.
    pub fn empty(&self) {
        let storage = self.directory.path().join("storage");
        std::fs::remove_dir_all(&storage).unwrap();
        std::fs::create_dir(&storage).unwrap();
    }

    /// The name of an image there.
    pub fn name(&self, image: &str) -> String {
        format!("127.0.0.1:{}/{image}", self.port)
    }

    /// A document of it.
    pub fn get(&self, path: &str) -> serde_json::Value {
        let mut stream = connect(self.port).unwrap();
        let accept = "application/vnd.docker.distribution.manifest.list.v2+json, \
                      application/vnd.docker.distribution.manifest.v2+json";
        write!(
            stream,
            "GET {path} HTTP/1.0\r\nHost: x\r\nAccept: {accept}\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// Digest and length of each layer of the image for this machine.
    pub fn layers(&self) -> Vec<(String, u64)> {
        let index = self.get("/v2/image/manifests/multi");
        let architecture = onggi::image::platform::Platform::host().architecture;
        let manifests = index["manifests"].as_array().unwrap();
        let own = manifests
            .iter()
            .find(|one| one["platform"]["architecture"] == architecture.as_str());
        let digest = own.unwrap()["digest"].as_str().unwrap().to_owned();
        let manifest = self.get(&format!("/v2/image/manifests/{digest}"));
        let layers = manifest["layers"].as_array().unwrap().iter();
        layers
            .map(|layer| {
                (
                    layer["digest"].as_str().unwrap().to_owned(),
                    layer["size"].as_u64().unwrap(),
                )
            })
            .collect()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection to a port of this machine.
pub fn connect(port: u16) -> std::io::Result<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, Duration::from_secs(30))
}

/// A port that nobody listens at.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn configuration(directory: &Path, port: u16, options: &Options) -> Option<PathBuf> {
    let storage = directory.join("storage");
    let mut text = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
         http:\n  addr: 127.0.0.1:{port}\n",
        storage.display()
    );
    if let Some(tls) = options.tls {
        let tls = tls.display();
        text += &format!("  tls:\n    certificate: {tls}/server.crt\n    key: {tls}/server.key\n");
        if options.client_certificates {
            text += &format!("    clientcas: [{tls}/ca.crt]\n");
        }
    }
    if options.password {
        if !requires(&[Need::Program("htpasswd")]) {
            return None;
        }
        let passwords = Command::new("htpasswd")
            .args(["-nbB", USER.0, USER.1])
            .output()
            .unwrap();
        let file = directory.join("htpasswd");
        std::fs::write(&file, passwords.stdout).unwrap();
        text += &format!(
            "auth: {{htpasswd: {{realm: test, path: {}}}}}\n",
            file.display()
        );
    }
    let path = directory.join("configuration.yml");
    std::fs::write(&path, text).unwrap();
    Some(path)
}
