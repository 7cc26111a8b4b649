//! How long a pull takes from a registry on this machine, beside podman, docker, and `gzip -dc | tar x` of the same layers.
//!
//! `cargo bench --bench pull`. Two images ([`images`]), into a disk (`ONGGI_TEST_TMP`, else `/var/tmp`) and into memory
//! (`/dev/shm`), each time into an empty store; then how much memory it takes, how much disk is used afterwards, and
//! how long a pull of what is there already takes. What was written before is removed and on the disk before each round,
//! outside of the time. `-- disk`, `-- memory`, `-- one`, `-- ten`, `-- again` measure only that, `-- tar` leaves podman and docker
//! out. Docker takes part where `dockerd` and `docker` are in `PATH`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench prints its figures"
)]
// Every address here is a number.
#![allow(clippy::disallowed_methods)]

#[path = "registry/dockerd.rs"]
mod dockerd;
#[path = "registry/images.rs"]
mod images;
#[path = "measure.rs"]
mod measure;
#[path = "../registry/real.rs"]
mod real;
#[path = "registry/stores.rs"]
mod stores;
#[path = "../support/mod.rs"]
mod support;

use images::Image;
use measure::{Contender, asked, race, rounds};
use real::{Options, Registry};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use stores::Stores;
use support::life::peak_memory;
use support::{Need, requires};

const PLACES: [&str; 2] = ["disk", "memory"];
const PARTS: [&str; 3] = ["one", "ten", "again"];

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
        stores::fill(&registry, image);
    }
    let disk = std::env::var_os("ONGGI_TEST_TMP").map_or_else(|| "/var/tmp".into(), PathBuf::from);
    for (place, parent) in PLACES.into_iter().zip([disk, "/dev/shm".into()]) {
        if !asked(place, &PLACES) {
            continue;
        }
        let directory = tempfile::Builder::new()
            .prefix("onggi-bench-")
            .tempdir_in(parent)
            .unwrap();
        let stores = Stores::new(directory.path());
        for image in &images {
            if asked(image.name, &PARTS) {
                pull(&stores, &registry, image, place);
                sizes(&stores, &registry, image);
            }
        }
        if asked("again", &PARTS) {
            again(&stores, &registry, &images[1], place);
        }
    }
}

fn pull(stores: &Stores, registry: &Registry, image: &Image, place: &str) {
    let (name, layers) = (registry.name(image.name), image.layers());
    let mut contenders = vec![
        Contender::new("onggi pull", || {
            stores.fresh("onggi");
            stores.onggi("onggi", &["pull", "-q", &name])
        }),
        Contender::new("gzip -dc | tar x of each layer", || {
            let mut command = Command::new("sh");
            let script = "cd \"$0\" && for layer; do gzip -dc \"$layer\" | tar -x || exit; done";
            command
                .args(["-c", script])
                .arg(stores.fresh("tar"))
                .args(&layers);
            command
        }),
        Contender::new("podman pull", || {
            stores.fresh("podman");
            stores.podman(&["pull", "-q", "--tls-verify=false", &name])
        }),
    ];
    if !asked("podman", &["tar"]) {
        contenders.truncate(2);
    } else if let Some(dockerd) = &stores.dockerd {
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
fn sizes(stores: &Stores, registry: &Registry, image: &Image) {
    stores.fresh("onggi");
    let mut command = stores.onggi("onggi", &["pull", "-q", &registry.name(image.name)]);
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let most = peak_memory(&mut child);
    assert!(child.wait().unwrap().success());
    let (store, unpacked) = (
        usage(&stores.directory.join("onggi/data")),
        usage(&stores.directory.join("tar")),
    );
    println!(
        "  memory {:.1} MB; disk {:.1} MB, tar's {:.1} MB, by a factor of {:.3}",
        most as f64 / 1e6,
        store as f64 / 1e6,
        unpacked as f64 / 1e6,
        store as f64 / unpacked as f64
    );
}

fn again(stores: &Stores, registry: &Registry, image: &Image, place: &str) {
    let name = registry.name(image.name);
    let mut contenders = vec![
        Contender::new("onggi pull", || {
            stores.onggi("onggi", &["pull", "-q", &name])
        }),
        Contender::new("podman pull", || {
            stores.podman(&["pull", "-q", "--tls-verify=false", &name])
        }),
    ];
    if let Some(dockerd) = &stores.dockerd {
        let command = || dockerd.client(["pull", "-q", &name]);
        contenders.push(Contender::new("docker pull", command).served_by(|| dockerd.cpu()));
    }
    race(
        &format!("what is there already, in {place}"),
        rounds(15),
        contenders,
    );
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
