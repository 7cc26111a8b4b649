//! Where a build goes beside the store: files, archives, layouts, a registry.

use crate::support::everyone;
use serde_json::Value;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

const FILE: &str = "FROM scratch\nCOPY a /dir/a\nCOPY --chmod=755 tool /tool\nLABEL x=y\n";

fn context(store: &crate::support::Store) {
    store.file("c/Dockerfile", FILE);
    store.file("c/a", "text");
    store.file("c/tool", "#!/bin/sh\n");
}

/// The names in an archive, and the content of one of them.
fn archive(bytes: &[u8], wanted: &str) -> (Vec<String>, Vec<u8>) {
    let (mut names, mut content) = (Vec::new(), Vec::new());
    for entry in tar::Archive::new(bytes).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        if name == wanted {
            entry.read_to_end(&mut content).unwrap();
        }
        names.push(name);
    }
    (names, content)
}

fn json(bytes: &[u8], name: &str) -> Value {
    serde_json::from_slice(&archive(bytes, name).1).unwrap()
}

#[test]
fn files_are_the_callers_own_and_no_link_leads_away() {
    for store in everyone() {
        context(&store);
        let outside = store.file("outside/kept", "kept");
        let out = store.home().join("out");
        store
            .script("mkdir -p out && ln -s ../outside/kept out/tool")
            .run()
            .code(0);
        store.onggi(["build", "-o", "out", "c"]).run().code(0);
        assert_eq!(std::fs::read(out.join("dir/a")).unwrap(), b"text");
        let tool = std::fs::symlink_metadata(out.join("tool")).unwrap();
        let home = std::fs::metadata(&out).unwrap();
        assert!(tool.is_file() && tool.permissions().mode() & 0o777 == 0o755);
        assert_eq!((tool.uid(), tool.gid()), (home.uid(), home.gid()));
        assert_eq!(std::fs::read(outside).unwrap(), b"kept");
        store
            .script("rm -r out && mkdir out && ln -s ../outside out/dir")
            .run()
            .code(0);
        let refused = store.onggi(["build", "-o", "out", "c"]).run();
        refused
            .code(1)
            .stderr_has("`dir` is there and no directory");
        assert!(!store.home().join("outside/a").exists());
    }
}

#[test]
fn archives_are_the_same_each_time() {
    for store in everyone() {
        context(&store);
        let build = |output: &str| {
            let words = ["build", "-t", "a:1", "-t", "b:2", "-o", output, "c"];
            store.onggi(words).run().code(0);
            std::fs::read(store.home().join("x")).unwrap()
        };
        for kind in [
            "type=oci,dest=x",
            "type=docker,dest=x",
            "type=tar,dest=x",
            "type=oci,dest=x,compression=zstd,compression-level=9",
            "type=oci,dest=x,compression=uncompressed",
        ] {
            assert!(build(kind) == build(kind), "{kind}");
        }
        let oci = build("type=oci,dest=x");
        let index = json(&oci, "index.json");
        let entries = index["manifests"].as_array().unwrap();
        let name = |entry: &Value| entry["annotations"]["io.containerd.image.name"].clone();
        let names: Vec<Value> = entries.iter().map(name).collect();
        assert_eq!(names, ["docker.io/library/a:1", "docker.io/library/b:2"]);
        let docker = build("type=docker,dest=x");
        let manifest = json(&docker, "manifest.json");
        assert_eq!(manifest[0]["RepoTags"], serde_json::json!(["a:1", "b:2"]));
        store.onggi(["load", "-i", "x"]).run().code(0);
        store.onggi(["image", "inspect", "b:2"]).run().code(0);
        let (names, content) = archive(&build("type=tar,dest=x"), "dir/a");
        assert_eq!(names, ["dir/", "dir/a", "tool"]);
        assert_eq!(content, b"text");
        let stdout = store.onggi(["build", "-o", "-", "c"]).run();
        assert_eq!(archive(stdout.stdout_bytes(), "dir/a").1, b"text");
        let quiet = store.onggi(["build", "-q", "-o", "-", "c"]).run();
        assert_eq!(quiet.stdout_bytes(), stdout.stdout_bytes());
    }
}

#[test]
fn manifests_have_the_types_that_were_asked_for() {
    for store in everyone() {
        context(&store);
        for (format, types) in [
            ("oci", "application/vnd.oci.image."),
            ("docker", "application/vnd.docker."),
        ] {
            let format = format!("--format={format}");
            let words = ["build", &format, "-o=type=oci,dest=x,tar=false", "c"];
            store.onggi(words).run().code(0);
            let read = |path: &str| -> Value {
                let bytes = std::fs::read(store.home().join("x").join(path)).unwrap();
                serde_json::from_slice(&bytes).unwrap()
            };
            let manifest = &read("index.json")["manifests"][0];
            let digest = manifest["digest"].as_str().unwrap().replace(':', "/");
            let content = read(&format!("blobs/{digest}"));
            for descriptor in [manifest, &content["config"]] {
                let told = descriptor["mediaType"].as_str().unwrap();
                assert!(told.starts_with(types), "{format}: {told}");
            }
            std::fs::remove_dir_all(store.home().join("x")).unwrap();
        }
        let refused = store.onggi(["build", "--format=rar", "c"]).run();
        refused
            .code(1)
            .stderr_has("unrecognized image type \"rar\"")
            .stderr_has("--format oci or docker");
    }
}

#[test]
fn several_platforms_are_one_index_and_provenance_stands_beside_each() {
    for store in everyone() {
        context(&store);
        let words = [
            "build",
            "--platform=linux/amd64,linux/arm64",
            "--provenance=true",
            "--annotation=index:k=v",
            "-o=type=oci,dest=x,tar=false",
            "--metadata-file=m",
            "c",
        ];
        store.onggi(words).run().code(0);
        let read = |path: String| -> Value {
            let bytes = std::fs::read(store.home().join("x").join(path)).unwrap();
            serde_json::from_slice(&bytes).unwrap()
        };
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap();
            read(format!("blobs/{}", digest.replace(':', "/")))
        };
        let index = blob(&read("index.json".to_owned())["manifests"][0]);
        assert_eq!(index["annotations"]["k"], "v");
        let entries = index["manifests"].as_array().unwrap();
        let architecture = |entry: &Value| entry["platform"]["architecture"].clone();
        let architectures: Vec<Value> = entries.iter().map(architecture).collect();
        assert_eq!(architectures, ["amd64", "unknown", "arm64", "unknown"]);
        let about = &entries[1]["annotations"]["vnd.docker.reference.digest"];
        assert_eq!(about, &entries[0]["digest"]);
        let statement = blob(&blob(&entries[1])["layers"][0]);
        assert_eq!(
            statement["predicateType"],
            "https://slsa.dev/provenance/v0.2"
        );
        let metadata: Value =
            serde_json::from_slice(&std::fs::read(store.home().join("m")).unwrap()).unwrap();
        assert!(metadata["buildx.build.provenance/linux/arm64"].is_object());
        let words = [
            "build",
            "--platform=linux/amd64,linux/arm64",
            "-t",
            "both",
            "c",
        ];
        store.onggi(words).run().code(0);
        let list = store.onggi(["manifest", "inspect", "both"]).run().json();
        assert_eq!(list["manifests"].as_array().unwrap().len(), 2);
    }
}

#[test]
fn what_is_pushed_can_be_pulled() {
    for store in everyone() {
        context(&store);
        let script = "
            set +e
            timeout -s KILL 60 onggi registry serve --listen 127.0.0.1:0 --storage reg >log 2>&1 </dev/null &
            server=$!
            for i in $(seq 100); do grep -q '127.0.0.1:[0-9]' log && break; sleep 0.1; done
            at=$(grep -o '127.0.0.1:[0-9]*' log | head -1)
            onggi build --push -t $at/x/y:1 c &&
            onggi build --push --platform linux/amd64,linux/arm64 -t $at/x/z:1 c &&
            onggi rmi -f $at/x/y:1 $at/x/z:1 &&
            onggi pull -q $at/x/y:1 &&
            onggi pull -q --platform linux/arm64 $at/x/z:1
            code=$?
            kill $server
            exit $code";
        store.script(script).run().code(0);
    }
}

/// `rewrite-timestamp=true` promises that no file which the build has made is newer than `SOURCE_DATE_EPOCH`. That is so with
/// and without it: an output is the same.
#[test]
fn no_file_is_newer_than_the_epoch_whether_it_is_asked_for_or_not() {
    for store in crate::support::everyone_with_alpine() {
        let text = "FROM alpine:3.20\nCOPY a /dir/a\nRUN echo x > /made && mkdir /deep && touch /deep/er /etc/motd\nADD t.tar /\n";
        store.file("c/Dockerfile", text);
        store.file("c/a", "text");
        store
            .script("echo packed > packed && tar -cf c/t.tar packed")
            .run()
            .code(0);
        let base = store.ok([
            "image",
            "inspect",
            "-f",
            "{{len .RootFS.Layers}}",
            "alpine:3.20",
        ]);
        let base: usize = base.trim().parse().unwrap();
        let build = |output: &str| {
            let words = [
                "build",
                "-o",
                output,
                "--build-arg=SOURCE_DATE_EPOCH=1000000000",
                "c",
            ];
            store.onggi(words).run().code(0);
            std::fs::read(store.home().join("x")).unwrap()
        };
        for kind in ["oci", "docker"] {
            let plain = build(&format!("type={kind},dest=x,compression=uncompressed"));
            let option =
                format!("type={kind},dest=x,compression=uncompressed,rewrite-timestamp=true");
            assert!(build(&option) == plain, "{kind}");
            let manifest = match kind {
                "oci" => {
                    let index = json(&plain, "index.json");
                    let digest = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
                    json(&plain, &format!("blobs/{}", digest.replace(':', "/")))
                }
                _ => json(&plain, "manifest.json")[0].clone(),
            };
            let layers = manifest["layers"]
                .as_array()
                .or(manifest["Layers"].as_array());
            let layers = &layers.unwrap()[base..];
            assert_eq!(layers.len(), 3, "{manifest}");
            for layer in layers {
                let path = match layer["digest"].as_str() {
                    Some(digest) => format!("blobs/{}", digest.replace(':', "/")),
                    None => layer.as_str().unwrap().to_owned(),
                };
                let (_, bytes) = archive(&plain, &path);
                let times: Vec<u64> = tar::Archive::new(&bytes[..])
                    .entries()
                    .unwrap()
                    .map(|entry| entry.unwrap().header().mtime().unwrap())
                    .collect();
                assert!(times.len() > 1 || times == [1_000_000_000], "{times:?}");
                assert!(times.iter().all(|time| *time <= 1_000_000_000), "{times:?}");
            }
        }
    }
}
