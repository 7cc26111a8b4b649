//! `--build-context`: images in OCI layouts, and directories, repositories and archives as roots.

use crate::support::{Store, User, everyone_with_alpine, store};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;

/// A layout of an image of two layers, which says `text`, called `tag`.
fn give_layout(store: &Store, tag: &str, text: &str) {
    let file =
        format!("FROM alpine:3.20\nRUN echo {text} > /text\nENV TEXT={text}\nCMD cat /text\n");
    store.file("made/Dockerfile", file);
    let destination = format!("type=oci,dest=layout,tar=false,name={tag}");
    store.ok(["build", "-q", "-o", &destination, "made"]);
}

/// The digest that the layout has under a name.
fn digest(store: &Store, tag: &str) -> String {
    let index = std::fs::read(store.home().join("layout/index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    let entries = index["manifests"].as_array().unwrap();
    let name = "org.opencontainers.image.ref.name";
    let entry = entries
        .iter()
        .find(|entry| entry["annotations"][name] == tag);
    entry.unwrap()["digest"].as_str().unwrap().to_owned()
}

/// Builds a Dockerfile with a context, and runs it.
fn built(store: &Store, file: &str, context: &str) -> String {
    store.file("context/Dockerfile", file);
    store.ok([
        "build",
        "-q",
        "-t",
        "app",
        "--build-context",
        context,
        "context",
    ]);
    store.ok(["run", "--rm", "app"])
}

#[test]
fn a_directory_that_is_not_there_is_told_whether_a_step_wants_it_or_not() {
    for store in everyone_with_alpine().take(1) {
        let file = store.file("context/Dockerfile", "FROM alpine:3.20\n");
        let file = file.display();
        for (place, why) in [
            (
                "/nothing".to_owned(),
                "No such file or directory".to_owned(),
            ),
            (file.to_string(), format!("`{file}` is no directory")),
        ] {
            let context = format!("x={place}");
            let refused = store
                .onggi(["build", "--build-context", &context, "context"])
                .run();
            let what = "failed to get build context x: ";
            refused.code(1).stderr_has(what).stderr_has(&why);
        }
    }
}

#[test]
fn an_image_in_a_layout_is_a_base_and_a_source_of_files() {
    for store in everyone_with_alpine() {
        give_layout(&store, "x:one", "1");
        let images = store.ok(["images", "-aq"]);
        let from = "FROM base\nRUN echo $TEXT >> /text\n";
        assert_eq!(built(&store, from, "base=oci-layout://layout"), "1\n1\n");
        store.ok(["rmi", "app"]);
        give_layout(&store, "x:two", "2");
        let by_tag = "base=oci-layout://layout:two";
        assert_eq!(built(&store, from, by_tag), "2\n2\n");
        let by_digest = format!("base=oci-layout://layout:two@{}", digest(&store, "one"));
        assert_eq!(built(&store, from, &by_digest), "1\n1\n");
        let copy = "FROM alpine:3.20\nCOPY --from=base /text /copied\nRUN --mount=from=base,target=/m cat /m/text >> /copied\n\
                    CMD cat /copied\n";
        assert_eq!(built(&store, copy, by_tag), "2\n2\n");
        // It is no image of the store, and the cache may give it up.
        store.ok(["rmi", "app"]);
        store.ok(["image", "prune", "-f"]);
        assert_eq!(store.ok(["images", "-aq"]), images);
        store.ok(["builder", "prune", "-af"]);
        let check = store.ok(["system", "check"]);
        assert_eq!(check, "The store is consistent\n");
        assert_eq!(built(&store, copy, by_tag), "2\n2\n");
    }
}

#[test]
fn a_context_takes_the_place_of_an_image_or_a_stage() {
    for store in everyone_with_alpine().take(1) {
        give_layout(&store, "x:one", "1");
        for (name, file) in [
            ("no-such-image", "FROM no-such-image:latest\n"),
            (
                "no-such-image:latest",
                "FROM docker.io/library/no-such-image\n",
            ),
            ("docker.io/library/no-such:7", "FROM no-such:7\n"),
            ("base", "FROM alpine:3.20 AS Base\nRUN exit 1\nFROM base\n"),
            (
                "base",
                "FROM alpine:3.20 AS base\nRUN exit 1\nFROM alpine:3.20\nCOPY --from=0 /text /text\nCMD cat /text\n",
            ),
        ] {
            let context = format!("{name}=oci-layout://layout");
            assert_eq!(built(&store, file, &context), "1\n", "{name}: {file}");
        }
    }
}

#[test]
fn a_layout_that_is_none_is_refused() {
    let Some(store) = store(User::Root).filter(Store::alpine) else {
        return;
    };
    give_layout(&store, "x:one", "1");
    store.file("context/Dockerfile", "FROM base\n");
    let build = |place: &str| {
        let context = format!("base=oci-layout://{place}");
        let words = ["build", "--build-context", &context, "context"];
        store.onggi(words).run()
    };
    let before = store.ok(["images", "-aq"]);
    let refused = |place: &str, told: &str| {
        build(place)
            .code(1)
            .stderr_has(told)
            .stderr_lacks("panicked");
    };
    refused("nowhere", "`nowhere` is no directory");
    refused("context", "`index.json` is missing");
    refused("layout:two", "no image in it is called `two`");
    refused("layout@sha256:00", "invalid build context");
    let zeros = format!("layout@sha256:{}", "0".repeat(64));
    refused(&zeros, "is missing");
    let home = store.home();
    let manifest = digest(&store, "one");
    let blob = |digest: &str| -> PathBuf {
        home.join("layout/blobs/sha256")
            .join(digest.trim_start_matches("sha256:"))
    };
    let bytes = std::fs::read(blob(&manifest)).unwrap();
    let parsed: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let layers = parsed["layers"].as_array().unwrap();
    let layer = blob(layers.last().unwrap()["digest"].as_str().unwrap());
    // What is in the store already is not looked at again.
    store.ok(["builder", "prune", "-af"]);
    let whole = std::fs::read(&layer).unwrap();
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(&layer, &damaged).unwrap();
    refused("layout", "layer sha256:");
    std::fs::write(&layer, &whole[..middle]).unwrap();
    refused("layout", "layer sha256:");
    // A link out of the directory is not followed, even to the right bytes.
    std::fs::write(home.join("outside"), &whole).unwrap();
    std::fs::remove_file(&layer).unwrap();
    std::os::unix::fs::symlink(home.join("outside"), &layer).unwrap();
    refused("layout", "leads out of the directory");
    std::fs::remove_file(&layer).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &layer, rustix::fs::Mode::RUSR).unwrap();
    refused("layout", "is no regular file");
    std::fs::remove_file(&layer).unwrap();
    std::fs::write(&layer, &whole).unwrap();
    std::fs::write(blob(&manifest), b"{\"schemaVersion\":2}").unwrap();
    refused("layout", "read `");
    std::fs::write(blob(&manifest), &bytes).unwrap();
    build("layout").code(0);
    store.ok(["image", "prune", "-f"]);
    assert_eq!(store.ok(["images", "-aq"]), before);
    store.assert_no_process_is_left();
}

/// Modes, owners and names of what a stage holds.
fn listed(store: &Store, stage: &str) -> Vec<String> {
    let target = format!("--target={stage}");
    let words = [
        "build",
        "-o=type=tar,dest=out.tar",
        &target,
        "--build-context=root=root",
        "context",
    ];
    store.ok(words);
    let listed = store
        .script("tar --numeric-owner -tvf out.tar | awk '{$3=$4=$5=\"\"; $0=$0; $1=$1; print}'")
        .run();
    listed
        .code(0)
        .stdout_text()
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn files_of_a_context_are_a_root() {
    for store in everyone_with_alpine() {
        store.file("root/etc/passwd", "someone:x:7:8::/:/x\n");
        store.file("root/left/out", "out\n");
        store.file("root/.dockerignore", "left\n.dockerignore\n");
        store
            .script("mkdir root/bin; chmod 1777 root/etc; ln -s /etc/passwd root/link")
            .run()
            .code(0);
        // Nothing but what the directory holds, and it may be built on, copied from and run.
        let file = "FROM root AS one\nCOPY --chown=someone Dockerfile /file\nFROM root AS two\n\
                    FROM alpine:3.20\nCOPY --from=one / /one\nCOPY --from=two / /two\nCMD cat /one/etc/passwd\n";
        assert_eq!(built(&store, file, "root=root"), "someone:x:7:8::/:/x\n");
        // A user with a single id sees his own in the container, and the right ones in the image.
        let owners = [
            "drwxr-xr-x 0/0 bin/",
            "drwxrwxrwt 0/0 etc/",
            "-rw-r--r-- 0/0 etc/passwd",
            "-rw-r--r-- 7/8 file",
            "lrwxrwxrwx 0/0 link -> /etc/passwd",
        ];
        assert_eq!(listed(&store, "one"), owners);
        let untouched: Vec<_> = owners
            .into_iter()
            .filter(|line| !line.ends_with(" file"))
            .collect();
        assert_eq!(listed(&store, "two"), untouched);
        store.file("context/Dockerfile", "FROM root\nCMD [\"x\"]\n");
        let words = ["build", "-t", "app", "--build-context=root=root", "context"];
        let again = store.onggi(words).run();
        again
            .code(0)
            .stderr_has("[1/1] FROM root")
            .stderr_has("CACHED");
        let format = "{{len .RootFS.Layers}} {{.Config.Cmd}} {{.Config.Env}}";
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        assert_eq!(store.field("app", format), format!("1 [x] [{path}]"));
        store.file("root/etc/passwd", "other:x:9:9::/:/x\n");
        store.onggi(words).run().code(0).stderr_lacks("CACHED");
        store.assert_no_process_is_left();
    }
}

#[test]
fn a_repository_or_an_archive_is_a_root() {
    for store in everyone_with_alpine() {
        let script = "mkdir -p r.git/etc; echo git > r.git/etc/text; cd r.git; git init -q -b main; git add .; \
                      git -c user.name=x -c user.email=x@y commit -qm one; cd ..; mkdir -p t/etc; echo tar > t/etc/text; \
                      tar -C t -czf t.tar.gz .";
        store.script(script).run().code(0);
        let archive = std::fs::read(store.home().join("t.tar.gz")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            for body in [&archive[..], b"no archive"] {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 4096]).unwrap();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
            }
        });
        let file = "FROM root AS root-only\nFROM alpine:3.20\nCOPY --from=root-only / /got\nCMD cat /got/etc/text; ls -A /got\n";
        let git = format!("root=file://{}/r.git", store.home().display());
        assert_eq!(built(&store, file, &git), "git\netc\n");
        let tar = format!("root=http://127.0.0.1:{port}/t.tar.gz");
        assert_eq!(built(&store, file, &tar), "tar\netc\n");
        let none = format!("root=http://127.0.0.1:{port}/none");
        let words = ["build", "--build-context", &none, "context"];
        let refused = store.onggi(words).run();
        refused.code(1).stderr_has("the context root is no archive");
        server.join().unwrap();
    }
}

#[test]
fn provenance_names_what_an_image_was_made_of() {
    for store in everyone_with_alpine() {
        give_layout(&store, "x:one", "1");
        let script = "mkdir r.git; echo x > r.git/file; cd r.git; git init -q -b main; git add .; \
                      git -c user.name=x -c user.email=x@y commit -qm one; git rev-parse HEAD";
        let commit = store.script(script).run().stdout_text();
        let git = format!("file://{}/r.git", store.home().display());
        // What is not needed is not named; of what is cached the same is told.
        let text = "FROM base AS unneeded\nRUN exit 1\nFROM alpine:3.20 AS other\nRUN echo x > /x\nFROM base\n\
                    COPY --from=other /x /x\nCOPY --from=source file /file\n";
        store.file("context/Dockerfile", text);
        let build = |more: &[&str]| {
            let mut words = vec!["build", "-q", "--metadata-file=told", "--provenance=true"];
            let source = format!("--build-context=source={git}");
            words.extend(["--build-context=base=oci-layout://layout", &source]);
            words.extend(more);
            store.onggi(words).args(["context"]).run().code(0);
            let told = std::fs::read(store.home().join("told")).unwrap();
            let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
            let provenance = &told["buildx.build.provenance"];
            assert_eq!(provenance["metadata"]["completeness"]["materials"], false);
            provenance["materials"].clone()
        };
        let platform = store.field("alpine:3.20", "{{.Os}}%2F{{.Architecture}}");
        let alpine = store.field("alpine:3.20", "{{.Id}}");
        let hex = |digest: &str| digest.trim_start_matches("sha256:").to_owned();
        let expected = serde_json::json!([
            {"uri": git, "digest": {"sha1": commit.trim()}},
            {"uri": format!("pkg:docker/alpine@3.20?platform={platform}"), "digest": {"sha256": hex(&alpine)}},
            {"uri": format!("pkg:oci/layout@latest?platform={platform}"), "digest": {"sha256": hex(&digest(&store, "one"))}},
        ]);
        assert_eq!(build(&[]), expected);
        assert_eq!(build(&[]), expected);
        let of_other = build(&["--target=other"]);
        assert_eq!(of_other, serde_json::json!([expected[1]]));
    }
}
