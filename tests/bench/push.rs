//! How long a push takes to a registry on this machine, beside podman and docker.
//!
//! `cargo bench --bench push`. Two images ([`images`]) that were pulled from one registry go to another, which is emptied
//! before each round, outside of the time. Nobody has kept the layers as they came, so that all pack them anew; onggi also
//! where it has kept them (`storage.keep-blobs`). Then how much memory it takes. `-- one` and `-- ten` measure one of them
//! alone. Docker takes part where `dockerd` and `docker` are in `PATH`.
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
use std::path::PathBuf;
use std::process::{Command, Stdio};
use stores::Stores;
use support::life::peak_memory;
use support::{Need, requires};

fn main() {
    if !requires(&[Need::Root, Need::Program("skopeo")]) {
        return;
    }
    let images = match images::images() {
        Ok(images) => images,
        Err(reason) => return eprintln!("left out: no Debian: {reason}"),
    };
    let start = || Registry::start(&Options::default());
    let (Some(from), Some(to)) = (start(), start()) else {
        return;
    };
    let place = std::env::var_os("ONGGI_TEST_TMP").map_or_else(|| "/var/tmp".into(), PathBuf::from);
    let directory = tempfile::Builder::new()
        .prefix("onggi-bench-")
        .tempdir_in(place)
        .unwrap();
    let stores = Stores::new(directory.path());
    for image in &images {
        if asked(image.name, &["one", "ten"]) {
            push(&stores, image, &from, &to);
        }
    }
}

/// It must do what it does.
fn run(mut command: Command) {
    let ran = command.stdout(Stdio::null()).status();
    assert!(ran.unwrap().success(), "{command:?}");
}

fn push(stores: &Stores, image: &Image, from: &Registry, to: &Registry) {
    stores::fill(from, image);
    let (source, target) = (from.name(image.name), to.name(image.name));
    for name in ["onggi", "kept"] {
        stores.fresh(name);
        let mut pull = stores.onggi(name, &["pull", "-q", &source]);
        pull.env("ONGGI_STORAGE_KEEP_BLOBS", (name == "kept").to_string());
        run(pull);
        run(stores.onggi(name, &["tag", &source, &target]));
    }
    let emptied = |command: Command| {
        to.empty();
        rustix::fs::sync();
        command
    };
    let mut contenders = vec![
        Contender::new("onggi push", || {
            emptied(stores.onggi("onggi", &["push", "-q", &target]))
        }),
        Contender::new("onggi push, layers kept", || {
            emptied(stores.onggi("kept", &["push", "-q", &target]))
        }),
    ];
    if support::host::has_program("podman") {
        stores.fresh("podman");
        run(stores.podman(&["pull", "-q", "--tls-verify=false", &source]));
        run(stores.podman(&["tag", &source, &target]));
        let push = ["push", "-q", "--tls-verify=false", &target];
        contenders.push(Contender::new("podman push", move || {
            emptied(stores.podman(&push))
        }));
    }
    if let Some(dockerd) = &stores.dockerd {
        run(dockerd.client(["pull", "-q", &source]));
        run(dockerd.client(["tag", &source, &target]));
        let command = || emptied(dockerd.client(["push", "-q", &target]));
        contenders.push(Contender::new("docker push", command).served_by(|| dockerd.cpu()));
    }
    let title = format!(
        "{} layers to a registry that has none",
        image.layers().len()
    );
    race(&title, rounds(3), contenders);
    let mut child = emptied(stores.onggi("onggi", &["push", "-q", &target]))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let most = peak_memory(&mut child);
    assert!(child.wait().unwrap().success());
    println!("  memory {:.1} MB", most as f64 / 1e6);
}
