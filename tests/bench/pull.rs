//! How long a pull takes from a registry on this machine, beside podman, docker, and `gzip -dc | tar x` of the same layers.
//!
//! `cargo bench --bench pull`. Two images ([`images`]), into a disk (`ONGGI_TEST_TMP`, else `/var/tmp`) and into memory
//! (`/dev/shm`), each time into an empty store; then how much memory it takes, how much disk is used afterwards, and
//! how long a pull of what is there already takes. What was written before is removed and on the disk before each round,
//! outside of the time. `-- disk` and `-- memory` measure one of them alone. Docker takes part where `dockerd` and
//! `docker` are in `PATH`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench prints its figures"
)]
// Every address here is a number.
#![allow(clippy::disallowed_methods)]

#[path = "pull/dockerd.rs"]
mod dockerd;
#[path = "pull/images.rs"]
mod images;
#[path = "measure.rs"]
mod measure;
#[path = "../registry/real.rs"]
#[allow(dead_code, reason = "tests use more of it")]
mod real;
#[path = "../support/mod.rs"]
mod support;

use dockerd::Dockerd;
use images::Image;
use measure::{Contender, race, rounds};
use real::{Options, Registry};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{Need, requires};

fn main() {
    if !requires(&[Need::Root, Need::Program("skopeo")]) {
        return;
    }
    let images = match images::images() {
        Ok(images) => images,
        Err(reason) => return eprintln!("left out: no Debian: {reason}"),
    };
    let Some(registry) = Registry::start(&Options::default()) else {
        return;
    };
    for image in &images {
        push(image, &registry);
    }
    let disk = std::env::var_os("ONGGI_TEST_TMP").map_or_else(|| "/var/tmp".into(), PathBuf::from);
    let places = [("disk", disk), ("memory", "/dev/shm".into())];
    let asked: Vec<String> = std::env::args().collect();
    let is_asked = |place: &str| asked.iter().any(|argument| argument == place);
    let all = !places.iter().any(|(place, _)| is_asked(place));
    for (place, parent) in places {
        if !all && !is_asked(place) {
            continue;
        }
        let directory = tempfile::Builder::new()
            .prefix("onggi-bench-")
            .tempdir_in(parent)
            .unwrap();
        let stores = Stores::new(directory.path());
        for image in &images {
            stores.pull(&registry, image, place);
            stores.sizes(&registry, image);
        }
        stores.again(&registry, &images[1], place);
    }
}

fn push(image: &Image, registry: &Registry) {
    let copied = Command::new("skopeo")
        .args(["--insecure-policy", "copy", "-q", "--dest-tls-verify=false"])
        .arg(format!("oci:{}:v1", image.layout.display()))
        .arg(format!("docker://{}", registry.name(image.name)))
        .status();
    assert!(copied.unwrap().success());
}

/// The stores of all that take part, on one file system.
struct Stores<'a> {
    directory: &'a Path,
    dockerd: Option<Dockerd>,
}

impl<'a> Stores<'a> {
    fn new(directory: &'a Path) -> Self {
        let place = directory.join("docker");
        std::fs::create_dir(&place).unwrap();
        let dockerd = Dockerd::start(&place)
            .inspect_err(|reason| eprintln!("left out: docker: {reason}"))
            .ok();
        Self { directory, dockerd }
    }

    /// An empty directory, and nothing left to be written.
    fn fresh(&self, name: &str) -> PathBuf {
        let directory = self.directory.join(name);
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir(&directory).unwrap();
        rustix::fs::sync();
        directory
    }

    fn onggi(&self, arguments: &[&str]) -> Command {
        let root = self.directory.join("onggi");
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
    fn podman(&self, arguments: &[&str]) -> Command {
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

    fn pull(&self, registry: &Registry, image: &Image, place: &str) {
        let (name, layers) = (registry.name(image.name), image.layers());
        let mut contenders = vec![
            Contender::new("onggi pull", || {
                self.fresh("onggi");
                self.onggi(&["pull", "-q", &name])
            }),
            Contender::new("gzip -dc | tar x of each layer", || {
                let mut command = Command::new("sh");
                let script =
                    "cd \"$0\" && for layer; do gzip -dc \"$layer\" | tar -x || exit; done";
                command
                    .args(["-c", script])
                    .arg(self.fresh("tar"))
                    .args(&layers);
                command
            }),
            Contender::new("podman pull", || {
                self.fresh("podman");
                self.podman(&["pull", "-q", "--tls-verify=false", &name])
            }),
        ];
        if let Some(dockerd) = &self.dockerd {
            let command = || {
                let mut remove = dockerd.client(["rmi", &name]);
                let _ = remove.stdout(Stdio::null()).stderr(Stdio::null()).status();
                rustix::fs::sync();
                dockerd.client(["pull", "-q", &name])
            };
            contenders.push(Contender::new("docker pull", command).served_by(|| dockerd.cpu()));
        }
        let bytes: u64 = layers
            .iter()
            .map(|blob| blob.metadata().unwrap().len())
            .sum();
        let title = format!(
            "{} layers of {:.0} MB with gzip into {place}",
            layers.len(),
            bytes as f64 / 1e6
        );
        race(&title, rounds(5), contenders);
    }

    /// The most memory that a pull takes, and the disk afterwards beside what tar has left there.
    fn sizes(&self, registry: &Registry, image: &Image) {
        self.fresh("onggi");
        let mut command = self.onggi(&["pull", "-q", &registry.name(image.name)]);
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        let mut most = 0;
        while child.try_wait().unwrap().is_none() {
            most = most.max(peak(child.id()));
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let (store, unpacked) = (
            usage(&self.directory.join("onggi/data")),
            usage(&self.directory.join("tar")),
        );
        println!(
            "  memory {:.1} MB; disk {:.1} MB, tar's {:.1} MB, by a factor of {:.3}",
            most as f64 / 1e3,
            store as f64 / 1e6,
            unpacked as f64 / 1e6,
            store as f64 / unpacked as f64
        );
    }

    fn again(&self, registry: &Registry, image: &Image, place: &str) {
        let name = registry.name(image.name);
        let mut contenders = vec![
            Contender::new("onggi pull", || self.onggi(&["pull", "-q", &name])),
            Contender::new("podman pull", || {
                self.podman(&["pull", "-q", "--tls-verify=false", &name])
            }),
        ];
        if let Some(dockerd) = &self.dockerd {
            let command = || dockerd.client(["pull", "-q", &name]);
            contenders.push(Contender::new("docker pull", command).served_by(|| dockerd.cpu()));
        }
        race(
            &format!("what is there already, in {place}"),
            rounds(15),
            contenders,
        );
    }
}

/// `VmHWM` of proc_pid_status(5), in kB.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or(0)
}

/// What du(1) counts.
fn usage(directory: &Path) -> u64 {
    let counted = Command::new("du")
        .args(["-s", "-B1"])
        .arg(directory)
        .output()
        .unwrap();
    let text = String::from_utf8(counted.stdout).unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}
