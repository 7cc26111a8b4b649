//! From one tool to the next and back: what podman builds and pushes is pulled, pushed on and copied by us, and read by
//! skopeo and podman as what it was.

use crate::real::{Options, Registry};
use crate::support::{Need, everyone, image, requires};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// It mounts its store on itself and leaves that mounted, and wants control groups of version 2: in a namespace.
fn podman(directory: &Path, arguments: &[&str]) -> String {
    let script = "mount -t cgroup2 cgroup2 /sys/fs/cgroup; exec podman --storage-driver vfs \"$@\"";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh", "--root"])
        .arg(directory.join("data"))
        .arg("--runroot")
        .arg(directory.join("run"))
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A document of a registry: its digest, and what it says.
fn skopeo(arguments: &[&str], name: &str) -> (String, Value) {
    let output = Command::new("skopeo")
        .args(["inspect", "--tls-verify=false", "--raw"])
        .args(arguments)
        .arg(format!("docker://{name}"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let digest = onggi::image::digest::Digest::of(&output.stdout).to_string();
    (digest, serde_json::from_slice(&output.stdout).unwrap())
}

/// Builds an image of the real Alpine with a few layers more; gives its id.
fn build(directory: &Path, alpine: &Path, tag: &str) -> String {
    let context = directory.join("context");
    std::fs::create_dir_all(context.join("etc")).unwrap();
    std::fs::write(context.join("etc/motd"), "fired\n").unwrap();
    std::fs::write(context.join("jar"), b"clay ".repeat(50_000)).unwrap();
    let file = "FROM base\nCOPY jar /srv/jar\nCOPY etc/ /etc/\nENV GLAZE=celadon\nCMD [\"cat\", \"/etc/motd\"]\n";
    std::fs::write(context.join("Containerfile"), file).unwrap();
    podman(
        directory,
        &["import", "-q", alpine.to_str().unwrap(), "base"],
    );
    let place = context.to_str().unwrap();
    let built = ["build", "-q", "--layers", "--pull-never", "-t", tag, place];
    podman(directory, &built).lines().last().unwrap().to_owned()
}

#[test]
fn built_and_pushed_by_podman_pulled_and_pushed_by_us_read_by_skopeo_and_podman() {
    let programs = [Need::Program("podman"), Need::Program("skopeo"), Need::Root];
    let file = format!(
        "alpine-3.20.3-rootfs/alpine-minirootfs-3.20.3-{}.tar.gz",
        std::env::consts::ARCH
    );
    if !requires(&programs) {
        return;
    }
    let start = || Registry::start(&Options::default());
    let (Some(alpine), Some(first), Some(second)) = (image(&file), start(), start()) else {
        return;
    };
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let built = first.name("built:1");
    let id = format!("sha256:{}", build(directory.path(), &alpine, &built));
    podman(
        directory.path(),
        &["push", "-q", "--tls-verify=false", &built],
    );
    let (digest, manifest) = skopeo(&[], &built);
    let (config, document) = skopeo(&["--config"], &built);
    assert_eq!(
        (&config, &manifest["config"]["digest"]),
        (&id, &Value::from(id.as_str()))
    );
    for (index, store) in everyone().enumerate() {
        store.onggi(["pull", "-q", &built]).run().code(0);
        let shown = store.onggi(["image", "inspect", &built]).run().json();
        assert_eq!(shown[0]["Id"], id.as_str());
        assert_eq!(shown[0]["RootFS"]["Layers"], document["rootfs"]["diff_ids"]);
        let ran = store.onggi(["run", "--rm", "--net", "none", &built]).run();
        ran.code(0).stdout("fired\n");
        let pushed = second.name(&format!("pushed:{index}"));
        store.onggi(["tag", &built, &pushed]).run().code(0);
        store.onggi(["push", "-q", &pushed]).run().code(0);
        let copied = second.name(&format!("copied:{index}"));
        let (from, to) = (format!("docker://{built}"), format!("docker://{copied}"));
        store.onggi(["image", "copy", &from, &to]).run().code(0);
        // The blobs of the first pull were not kept, those of this one are.
        let kept = second.name(&format!("kept:{index}"));
        let keeping = |arguments: &[&str]| {
            let call = store
                .onggi(arguments)
                .env("ONGGI_STORAGE_KEEP_BLOBS", "true");
            call.run().code(0);
        };
        store.onggi(["rmi", "-f", &id]).run().code(0);
        keeping(&["pull", "-q", &built]);
        keeping(&["tag", &built, &kept]);
        keeping(&["push", "-q", &kept]);
        for (name, has_equal_manifest) in [(&pushed, false), (&copied, true), (&kept, true)] {
            let layout = format!("oci:{}:x", store.path().join("layout").display());
            let taken = Command::new("skopeo")
                .args(["--insecure-policy", "copy", "-q", "--src-tls-verify=false"])
                .args([&format!("docker://{name}"), &layout])
                .status();
            assert!(taken.unwrap().success());
            let (other, _) = skopeo(&[], name);
            assert!(
                !has_equal_manifest || other == digest,
                "{name}: {other}, {digest}"
            );
            assert_eq!(skopeo(&["--config"], name), (id.clone(), document.clone()));
            podman(
                directory.path(),
                &["pull", "-q", "--tls-verify=false", name],
            );
            let format = ["image", "inspect", "--format", "sha256:{{.Id}}", name];
            assert_eq!(podman(directory.path(), &format), id);
        }
        store.onggi(["system", "check", "--deep"]).run().code(0);
    }
}
