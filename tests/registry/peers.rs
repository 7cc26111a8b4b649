//! What other programs push is pulled as what it was.

use crate::real::{Options, Registry};
use crate::somebody;
use crate::support::{Need, image, requires};
use std::process::Command;

/// Copies an image of a layout to the registry as it is, or with another compression.
fn push(from: &str, to: &str, options: &[&str]) {
    let copied = Command::new("skopeo")
        .args(["--insecure-policy", "copy", "-q", "--dest-tls-verify=false"])
        .args(options)
        .args([from, &format!("docker://{to}")])
        .output()
        .unwrap();
    assert!(copied.status.success(), "{copied:?}");
}

#[test]
fn skopeo_pushes_gzip_zstd_and_both_kinds_of_manifests() {
    if !requires(&[Need::Program("skopeo")]) {
        return;
    }
    let (Some(registry), Some(store)) = (Registry::start(&Options::default()), somebody()) else {
        return;
    };
    let mut ids = Vec::new();
    for (tag, layout, options) in [
        ("gzip", "alpine-caps-opaque-oci", &[][..]),
        ("docker", "alpine-caps-opaque-oci", &["--format", "v2s2"]),
        ("zstd", "alpine-caps-opaque-zstd-oci", &[]),
    ] {
        let Some(layout) = image(layout) else {
            return;
        };
        let name = registry.name(&format!("alpine:{tag}"));
        push(&format!("oci:{}:v1", layout.display()), &name, options);
        store.onggi(["pull", "-q", &name]).run().code(0);
        let inspected = store.onggi(["image", "inspect", &name]).run().json();
        ids.push(inspected[0]["RootFS"]["Layers"].clone());
        let ran = store.onggi(["run", "--rm", &name, "echo fired"]).run();
        ran.code(0).stdout("fired\n");
    }
    assert!(ids.iter().all(|layers| *layers == ids[0]));
    let all = store.onggi(["pull", "-a", &registry.name("alpine")]).run();
    all.code(0).stdout_has("Status: Image is up to date for");
    store.onggi(["system", "check", "--deep"]).run().code(0);
}
