//! Stores of all that take part, on one file system, and how each program is called on its own.

use crate::dockerd::Dockerd;
use crate::images::Image;
use crate::real::Registry;
use crate::support;
use std::path::{Path, PathBuf};
use std::process::Command;

/// They lie below a directory of somebody else.
pub struct Stores<'a> {
    pub directory: &'a Path,
    /// `None` where this host has none.
    pub dockerd: Option<Dockerd>,
}

impl<'a> Stores<'a> {
    /// Nothing but docker's is made yet.
    #[allow(clippy::print_stderr, reason = "a bench says what it leaves out")]
    pub fn new(directory: &'a Path) -> Self {
        let place = directory.join("docker");
        std::fs::create_dir(&place).unwrap();
        let dockerd = Dockerd::start(&place)
            .inspect_err(|reason| eprintln!("left out: docker: {reason}"))
            .ok();
        Self { directory, dockerd }
    }

    /// An empty directory, and nothing left to be written.
    pub fn fresh(&self, name: &str) -> PathBuf {
        let directory = self.directory.join(name);
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir(&directory).unwrap();
        rustix::fs::sync();
        directory
    }

    /// The store of that name.
    pub fn onggi(&self, name: &str, arguments: &[&str]) -> Command {
        let root = self.directory.join(name);
        let mut command = Command::new(support::store::program());
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", &root);
        command.arg("--root").arg(root.join("data"));
        command
            .arg("--runroot")
            .arg(root.join("run"))
            .args(arguments);
        command
    }

    /// It mounts its store on itself and leaves that mounted, and wants control groups of version 2: in a namespace.
    pub fn podman(&self, arguments: &[&str]) -> Command {
        let root = self.directory.join("podman");
        let mut command = Command::new("unshare");
        let script =
            "mount -t cgroup2 cgroup2 /sys/fs/cgroup; exec podman --storage-driver overlay \"$@\"";
        command
            .args(["--mount", "sh", "-c", script, "sh", "--root"])
            .arg(root.join("data"));
        command
            .arg("--runroot")
            .arg(root.join("run"))
            .args(arguments);
        command
    }
}

/// From now on the registry has the image, byte for byte.
pub fn fill(registry: &Registry, image: &Image) {
    let copied = Command::new("skopeo")
        .args(["--insecure-policy", "copy", "-q", "--dest-tls-verify=false"])
        .arg(format!("oci:{}:v1", image.layout.display()))
        .arg(format!("docker://{}", registry.name(image.name)))
        .status();
    assert!(copied.unwrap().success());
}
