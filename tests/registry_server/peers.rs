//! What others push is pulled by others: skopeo, podman, docker where it has an engine, and onggi itself.

use crate::client::Value;
use crate::support::{Need, User, engine, image, requires, store};
use crate::{Served, digest_of};
use std::path::Path;
use std::process::{Command, Output};

fn skopeo(arguments: &[&str]) -> Output {
    let mut command = Command::new("skopeo");
    let output = command
        .arg("--insecure-policy")
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "skopeo {arguments:?}: {output:?}");
    output
}

#[test]
fn skopeo_pushes_and_pulls_every_form() {
    if !requires(&[Need::Program("skopeo")]) {
        return;
    }
    let served = Served::start();
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    for (tag, layout, options) in [
        ("gzip", "alpine-caps-opaque-oci", &[][..]),
        ("again", "alpine-caps-opaque-oci", &[]),
        ("docker", "alpine-caps-opaque-oci", &["--format", "v2s2"]),
        ("zstd", "alpine-caps-opaque-zstd-oci", &[]),
    ] {
        let Some(path) = image(layout) else { return };
        let source = format!("oci:{}:v1", path.display());
        let name = format!("docker://{}", served.name(&format!("kiln/alpine:{tag}")));
        let push = ["copy", "-q", "--dest-tls-verify=false"];
        skopeo(&[&push[..], options, &[&source, &name]].concat());
        let pushed = served
            .client()
            .get(&format!("/v2/kiln/alpine/manifests/{tag}"))
            .status(200);
        let target = format!("dir:{}", directory.path().join(tag).display());
        skopeo(&[
            "copy",
            "-q",
            "--preserve-digests",
            "--src-tls-verify=false",
            &name,
            &target,
        ]);
        let pulled = std::fs::read(directory.path().join(tag).join("manifest.json")).unwrap();
        assert_eq!(digest_of(&pulled), digest_of(&pushed.body));
    }
    let listed = skopeo(&[
        "list-tags",
        "--tls-verify=false",
        &format!("docker://{}", served.name("kiln/alpine")),
    ]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(
        listed["Tags"],
        serde_json::json!(["again", "docker", "gzip", "zstd"])
    );
    skopeo(&[
        "delete",
        "--tls-verify=false",
        &format!("docker://{}", served.name("kiln/alpine:zstd")),
    ]);
    served
        .client()
        .get("/v2/kiln/alpine/manifests/zstd")
        .status(404);
}

#[test]
fn skopeo_copies_an_index_with_all_its_images() {
    let Some(layout) =
        image("busybox-musl-multiarch-oci").filter(|_| requires(&[Need::Program("skopeo")]))
    else {
        return;
    };
    let served = Served::start();
    let tag: Value =
        serde_json::from_slice(&std::fs::read(layout.join("index.json")).unwrap()).unwrap();
    let tag = tag["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"].as_str();
    let source = match tag {
        Some(tag) => format!("oci:{}:{tag}", layout.display()),
        None => format!("oci:{}", layout.display()),
    };
    let name = |tag: &str| format!("docker://{}", served.name(tag));
    let all = [
        "copy",
        "-q",
        "--all",
        "--preserve-digests",
        "--dest-tls-verify=false",
        "--src-tls-verify=false",
    ];
    skopeo(&[&all[..], &[&source, &name("busybox:1")]].concat());
    // To another repository: the blobs are there already.
    skopeo(&[&all[..], &[&name("busybox:1"), &name("library/busybox:1")]].concat());
    let client = served.client();
    let index = client.get("/v2/busybox/manifests/1").status(200);
    assert_eq!(
        client
            .get("/v2/library/busybox/manifests/1")
            .status(200)
            .body,
        index.body
    );
    let manifests = index.json()["manifests"].as_array().unwrap().clone();
    assert!(manifests.len() > 1);
    for manifest in manifests {
        let digest = manifest["digest"].as_str().unwrap();
        let found = client
            .get(&format!("/v2/busybox/manifests/{digest}"))
            .status(200);
        assert_eq!(digest_of(&found.body), digest);
    }
}

/// podman with a store of its own, where it finds the control groups that it insists on.
fn podman(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new("unshare");
    let script = "mountpoint -q /sys/fs/cgroup/cgroup.controllers || mount -t cgroup2 none /sys/fs/cgroup; exec podman \"$@\"";
    command.args(["-m", "sh", "-c", script, "podman"]);
    for (flag, name) in [("--root", "podman"), ("--runroot", "podman-run")] {
        command.arg(flag).arg(directory.join(name));
    }
    let output = command
        .args(["--storage-driver", "vfs"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "podman {arguments:?}: {output:?}");
    output
}

#[test]
fn podman_pushes_and_pulls() {
    if !requires(&[Need::Root, Need::Program("podman")]) {
        return;
    }
    let (Some(layout), Some(store)) = (image("alpine-caps-opaque-oci"), store(User::Root)) else {
        return;
    };
    let served = Served::start();
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let podman = |arguments: &[&str]| {
        let output = podman(directory.path(), arguments);
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let layout = layout.canonicalize().unwrap();
    let source = format!("oci:{}:v1", layout.display());
    let id = podman(&["pull", "-q", &source]);
    for (tag, format) in [("oci", "oci"), ("docker", "v2s2")] {
        let name = served.name(&format!("kiln/jar:{tag}"));
        podman(&[
            "push",
            "-q",
            "--tls-verify=false",
            "--format",
            format,
            &id,
            &name,
        ]);
        // Nothing but the names is new the second time.
        podman(&[
            "push",
            "-q",
            "--tls-verify=false",
            "--format",
            format,
            &id,
            &name,
        ]);
        store.onggi(["pull", "-q", &name]).run().code(0);
        let ran = store.onggi(["run", "--rm", &name, "echo fired"]).run();
        ran.code(0).stdout("fired\n");
    }
    let name = served.name("kiln/jar:oci");
    podman(&["rmi", "--all", "--force"]);
    let pulled = podman(&["pull", "-q", "--tls-verify=false", &name]);
    assert_eq!(pulled, id);
    podman(&["rmi", "--all", "--force"]);
    served
        .client()
        .get("/v2/kiln/jar/manifests/oci")
        .status(200);
}

/// A Docker engine of its own in a mount namespace, told what to do, and ended.
const ENGINE: &str = r#"
set -e
mountpoint -q /sys/fs/cgroup || mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs tmpfs /run
mkdir "$2/config"
export DOCKER_HOST=unix:///run/docker.sock DOCKER_CONFIG="$2/config"
dockerd --iptables=false --ip6tables=false --bridge=none --storage-driver vfs --data-root "$2/data" \
    -H "$DOCKER_HOST" >"$2/log" 2>&1 &
engine=$!
trap 'kill $engine; wait $engine || true' EXIT
tries=0
until docker info >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ $tries -lt 300 ] && kill -0 $engine || { cat "$2/log"; exit 1; }
    sleep 0.1
done
docker load -q -i "$2/image.tar"
docker tag kiln/jar:1 "$1/kiln/jar:1"
docker push -q "$1/kiln/jar:1"
docker tag kiln/jar:1 "$1/kiln/bowl:1"
docker push "$1/kiln/bowl:1" | grep 'Mounted from kiln/jar'
docker rmi kiln/jar:1 "$1/kiln/jar:1" "$1/kiln/bowl:1" >/dev/null
docker pull -q "$1/kiln/bowl:1"
docker image inspect -f '{{.Id}}' "$1/kiln/bowl:1"
"#;

#[test]
fn docker_pushes_and_pulls() {
    let Some(path) = engine("dockerd") else {
        return;
    };
    if !requires(&[Need::Root, Need::Program("skopeo")]) {
        return;
    }
    let Some(layout) = image("alpine-caps-opaque-oci") else {
        return;
    };
    let served = Served::start();
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let source = format!("oci:{}:v1", layout.display());
    let archive = format!(
        "docker-archive:{}:kiln/jar:1",
        directory.path().join("image.tar").display()
    );
    skopeo(&["copy", "-q", &source, &archive]);
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-c", ENGINE, "sh", &served.address])
        .arg(directory.path());
    command.env("PATH", path);
    let output = command.output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{told}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let manifest = served.client().get("/v2/kiln/jar/manifests/1").status(200);
    assert_eq!(
        served
            .client()
            .get("/v2/kiln/bowl/manifests/1")
            .status(200)
            .body,
        manifest.body
    );
    let id = manifest.json()["config"]["digest"].clone();
    assert_eq!(told.lines().last(), id.as_str());
}

/// A server that skopeo has pushed an image to, and its name there.
fn with_busybox(options: &[&str]) -> Option<(Served, String)> {
    let layout = image("busybox-musl-multiarch-oci")?;
    let served = Served::start();
    let name = served.name("library/busybox:1");
    let source = format!("oci:{}", layout.display());
    let target = format!("docker://{name}");
    let ends = ["--dest-tls-verify=false", &source, &target];
    skopeo(&[&["copy", "-q"], options, &ends].concat());
    Some((served, name))
}

#[test]
fn onggi_pulls_and_runs() {
    if !requires(&[Need::Program("skopeo")]) {
        return;
    }
    let Some((served, name)) = with_busybox(&["--all"]) else {
        return;
    };
    for store in crate::support::everyone() {
        let ran = store.onggi(["run", "--rm", &name, "echo", "fired"]).run();
        ran.code(0).stdout("fired\n");
        let all = served.name("library/busybox");
        store.onggi(["pull", "-a", &all]).run().code(0);
    }
}

#[test]
fn onggi_pushes_what_it_has_pulled() {
    if !requires(&[Need::Program("skopeo")]) {
        return;
    }
    let Some((served, first)) = with_busybox(&[]) else {
        return;
    };
    let pushed = served
        .client()
        .get("/v2/library/busybox/manifests/1")
        .status(200);
    for store in crate::support::everyone() {
        let keep = |words: &[&str]| {
            store
                .onggi(words)
                .env("ONGGI_STORAGE_KEEP_BLOBS", "true")
                .run()
        };
        keep(&["pull", "-q", &first]).code(0);
        let name = format!("kiln/{:?}", store.user).to_lowercase();
        let second = served.name(&format!("{name}:2"));
        store.onggi(["tag", &first, &second]).run().code(0);
        keep(&["push", "-q", &second]).code(0);
        let again = served
            .client()
            .get(&format!("/v2/{name}/manifests/2"))
            .status(200);
        assert_eq!(again.body, pushed.body);
        // Out of the store it has the same manifest, too, and blobs in parts.
        let words = ["registry", "serve", "--images", "--listen", "127.0.0.1:0"];
        let images = Served::by(store.onggi(words).into_command());
        let client = images.client();
        let manifest = client.get(&format!("/v2/{name}/manifests/2")).status(200);
        assert_eq!(manifest.body, pushed.body);
        let layer = manifest.json()["layers"][0].clone();
        let path = format!("/v2/{name}/blobs/{}", layer["digest"].as_str().unwrap());
        let whole = client.get(&path).status(200);
        assert_eq!(digest_of(&whole.body), layer["digest"]);
        let part = client
            .send("GET", &path, &[("Range", "bytes=1000-1999")], b"")
            .status(206);
        assert_eq!(part.body, whole.body[1000..2000]);
    }
}
