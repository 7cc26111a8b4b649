//! `manifest`: lists are what Docker's client makes of the same images, byte for byte, and go where they are pushed.

use crate::real::{IMAGE, Options, Registry};
use crate::somebody;
use crate::support::{Need, Outcome, Store, image, requires};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

/// Two manifests of that image.
const AMD64: &str = "image@sha256:2dac842a777320f6b76bd1d6a5305795b1daf0f5b329b6b19fb2c7198a4da188";
const ARM64: &str = "image@sha256:ec82a074d971186e5c47080b7eb35275e61f7c3be8303d1f891923d0109f239f";

fn manifest(store: &Store, arguments: &[&str]) -> Outcome {
    store.onggi(["manifest"].iter().chain(arguments)).run()
}

/// Docker's client, which keeps its lists in a directory of its own.
fn docker(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new("docker");
    command
        .env("DOCKER_CONFIG", directory)
        .arg("manifest")
        .args(arguments);
    command.output().unwrap()
}

/// A registry with an image of OCI's kind beside that of Docker's.
fn with_both(store: &Store) -> Option<(Registry, String)> {
    let registry = Registry::start(&Options::default())?;
    let layout = image("alpine-caps-opaque-oci")?;
    let name = registry.name("alpine:oci");
    let copied = store
        .onggi([
            "image",
            "copy",
            "-q",
            &format!("oci:{}", layout.display()),
            &format!("docker://{name}"),
        ])
        .run();
    copied.code(0);
    Some((registry, name))
}

#[test]
fn a_list_is_made_annotated_and_pushed_as_by_docker() {
    if !requires(&[Need::Program("docker")]) {
        return;
    }
    let Some(store) = somebody() else { return };
    let Some((registry, alpine)) = with_both(&store) else {
        return;
    };
    let config = store.home().join("docker");
    std::fs::create_dir(&config).unwrap();
    let (amd, arm) = (registry.name(AMD64), registry.name(ARM64));
    let list = registry.name("list:1");
    let (ours, theirs) = (registry.name("ours:1"), registry.name("theirs:1"));
    let insecure = "--insecure";
    for arguments in [
        &["create", insecure, &list, &amd, &arm][..],
        &["create", insecure, &list, &amd],
        &["create", insecure, "-a", &list, &alpine],
        &["create", insecure, &list, &registry.name(IMAGE)],
        &[
            "create",
            insecure,
            &registry.name("other"),
            &registry.name(IMAGE),
        ],
        &["create", insecure, &registry.name("LIST"), &amd],
        &["inspect", &list],
        &["inspect", "-v", &list],
        &["inspect", &list, &alpine],
        &["inspect", "-v", &list, &amd],
        &["inspect", &list, &registry.name("none:1")],
        &[
            "annotate",
            "--arch",
            "arm",
            "--variant",
            "v7",
            "--os-features",
            "a,b",
            "--os-version",
            "1",
            &list,
            &amd,
        ],
        &["annotate", "--os-features", "b,c", &list, &amd],
        &[
            "annotate", "--os", "linux", "--arch", "fish", &list, &alpine,
        ],
        &["annotate", "--arch", "arm", &list, &registry.name("none:1")],
        &["annotate", "--arch", "arm", &registry.name("nolist"), &amd],
        &["inspect", &list],
        &["push", insecure, &list],
        &["push", insecure, "-p", &list],
        &["push", insecure, &list],
        &["rm", &list],
        &["create", insecure, &theirs, &alpine],
        &["create", insecure, &ours, &amd],
        &["rm", &ours, &registry.name("none:1"), &theirs],
        &["inspect", insecure, &registry.name(IMAGE)],
        &["inspect", insecure, "-v", &registry.name(IMAGE)],
        &["inspect", insecure, "-v", &alpine],
        &["inspect", insecure, &registry.name("none:x")],
    ] {
        let expected = docker(&config, arguments);
        let found = manifest(&store, arguments);
        let said = String::from_utf8(expected.stdout).unwrap();
        let failed = String::from_utf8(expected.stderr).unwrap();
        let code = expected.status.code().unwrap();
        found.code(code);
        for line in failed.lines() {
            found.stderr_has(line.trim());
        }
        match serde_json::from_str::<Value>(&said) {
            // The order of keys in what registries have is theirs; Docker has one of its own for it.
            Ok(value) => assert_eq!(found.json(), value, "{arguments:?}"),
            Err(_) => assert_eq!(found.stdout_text(), said, "{arguments:?}"),
        }
    }
}

#[test]
fn images_of_other_registries_and_of_here_are_pushed_with_their_list() {
    let Some(store) = somebody() else { return };
    let Some((registry, alpine)) = with_both(&store) else {
        return;
    };
    let Some(other) = Registry::start(&Options::default()) else {
        return;
    };
    store
        .onggi([
            "image",
            "copy",
            "-q",
            &format!("docker://{alpine}"),
            "mine:1",
        ])
        .run()
        .code(0);
    let list = other.name("list:1");
    manifest(
        &store,
        &["create", &list, &registry.name(ARM64), "store:mine:1"],
    )
    .code(0);
    manifest(
        &store,
        &["annotate", "--arch", "riscv64", &list, "store:mine:1"],
    )
    .code(0);
    let pushed = manifest(&store, &["push", &list]);
    pushed.code(0);
    let lines: Vec<String> = pushed.stdout_text().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(
        lines[0].starts_with(&format!("Pushed ref {}@sha256:", other.name("list"))),
        "{lines:?}"
    );
    drop(registry);
    for (platform, architecture) in [("linux/arm64", "arm64"), ("linux/riscv64", "amd64")] {
        let format = "{{.Architecture}}";
        let inspected = store
            .onggi([
                "image",
                "inspect",
                "--remote",
                "--format",
                format,
                "--platform",
                platform,
                &list,
            ])
            .run();
        match platform {
            "linux/arm64" => inspected.code(0).stdout(&format!("{architecture}\n")),
            // The list says something else than the image itself.
            _ => inspected
                .code(1)
                .stderr_has("the image is for linux/amd64, not for linux/riscv64"),
        };
    }
    // One that is here and was never pushed is found without a word of where it is, and that is said.
    let nowhere = other.name("nowhere:1");
    store.onggi(["tag", "mine:1", &nowhere]).run().code(0);
    let created = manifest(&store, &["create", &other.name("list:2"), &nowhere]);
    created.code(0).stderr_has("of this machine is taken");
    manifest(&store, &["push", "-p", &other.name("list:2")]).code(0);
    manifest(&store, &["rm", &other.name("list:2")])
        .code(1)
        .stderr_has("No such manifest");
}
