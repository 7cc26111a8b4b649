//! Beside buildah, from Debian's packages: the same Dockerfile gives the same config and the same files.
//!
//! What differs by intent stands in [`CONFIG_DIFFERS`] and [`TREE_DIFFERS`], with the reason.

use crate::support::{ALPINE, Need, Store, User, requires, store};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;

/// All that both of them know.
const FILE: &str = r#"ARG TAG=3.20
FROM alpine:$TAG AS tools
RUN mkdir -p /out/bin && printf '#!/bin/sh\necho tool\n' > /out/bin/tool && chmod 4755 /out/bin/tool && \
    # a comment inside
    ln -s tool /out/bin/other && ln /out/bin/tool /out/bin/hard

FROM alpine:$TAG AS unneeded
RUN exit 1

FROM alpine:$TAG
MAINTAINER somebody@example.org
ARG WHO=world
ENV GREETING="hello ${WHO}" EMPTY= PATH=/opt/bin:$PATH DEFAULT=${NOTHING:-default}
ENV OLD form of it
LABEL a=b "with space"="c d"
LABEL more='single $quoted'
EXPOSE 80 53/udp 9000-9001
WORKDIR /srv
WORKDIR app
COPY one.txt two.txt ./
COPY --chown=7:8 --chmod=640 one.txt /owned/
COPY sub /sub/
COPY *.txt /globbed/
COPY ["with space", "/with space/"]
COPY --from=tools /out/ /opt/
ADD archive.tar /unpacked/
ADD --chown=daemon:adm one.txt /added
RUN echo "$GREETING" > greeting && touch -d 2001-02-03 old && rm /etc/motd && chown 12:34 greeting
RUN ["/bin/mkdir", "-m", "1777", "/exec form"]
SHELL ["/bin/ash", "-e", "-c"]
RUN --mount=type=bind,source=sub,target=/mnt cat /mnt/deep/file > /from-mount; mkfifo /fifo
RUN --mount=type=tmpfs,target=/scratch echo x > /scratch/x
RUN --mount=type=cache,target=/cache echo x > /cache/x
RUN --mount=type=secret,id=word cat /run/secrets/word > /told
RUN rm -rf /opt/bin/other /usr/share/apk; mkdir /usr/share/apk; echo new > /usr/share/apk/new
VOLUME ["/data", "/more data"]
USER 1000:100
STOPSIGNAL SIGQUIT
HEALTHCHECK --interval=5s --timeout=3s --start-period=1s --retries=4 CMD test -e /added
ONBUILD RUN echo trigger
ENTRYPOINT ["/opt/bin/tool"]
CMD one "two words"
"#;

/// What the config of ours has, and why.
const CONFIG_DIFFERS: [(&str, &str); 3] = [
    // As with Docker; buildah 1.28 takes `/bin/sh -c` whatever SHELL says.
    ("Cmd", r#"["/bin/ash", "-e", "-c", "one \"two words\""]"#),
    // As with Docker, one entry for each port; buildah 1.28 keeps the range.
    (
        "ExposedPorts",
        r#"{"53/udp": {}, "80/tcp": {}, "9000/tcp": {}, "9001/tcp": {}}"#,
    ),
    // buildah adds one that names it.
    (
        "Labels",
        r#"{"a": "b", "more": "single $quoted", "with space": "c d"}"#,
    ),
];

/// Files that only one of them has, and why.
const TREE_DIFFERS: [&str; 3] = [
    // buildah leaves where it has mounted.
    "etc/resolv.conf",
    "run/secrets",
    // buildah removes where it has mounted, although the base image has it.
    "mnt",
];

#[test]
fn the_same_dockerfile_gives_the_same_image() {
    if !requires(&[Need::Root, Need::Program("buildah")]) {
        return;
    }
    let Some(store) = store(User::Root).filter(Store::alpine) else {
        return;
    };
    make_context(&store);
    let secret = ["--secret", "id=word,src=word"];
    store
        .onggi(["build", "-t", "ours"])
        .args(secret)
        .args(["context"])
        .run()
        .code(0);
    store.ok(["save", "-o", "alpine.tar", ALPINE]);
    bud(&store);
    store.ok(["load", "-i", "theirs.tar"]);
    let config = |name| -> Value {
        let inspect = store.onggi(["image", "inspect", "-f", "{{json .Config}}", name]);
        inspect.run().json()
    };
    let (ours, theirs) = (config("ours"), config("theirs"));
    let names = |config: &Value| {
        config
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(names(&ours), names(&theirs));
    for (name, value) in ours.as_object().unwrap() {
        match CONFIG_DIFFERS.iter().find(|(differs, _)| differs == name) {
            None => assert_eq!(*value, theirs[name], "{name}"),
            Some((_, expected)) => {
                assert_eq!(*value, serde_json::from_str::<Value>(expected).unwrap());
                assert_ne!(*value, theirs[name], "{name} is the same by now");
            }
        }
    }
    assert_eq!(
        ours["Healthcheck"]["Test"],
        json!(["CMD-SHELL", "test -e /added"])
    );
    let (ours, theirs) = (tree(&store, "ours"), tree(&store, "theirs"));
    assert_eq!(ours["fifo"].split(' ').next(), Some("Fifo"));
    let paths: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    for path in paths {
        if !TREE_DIFFERS.contains(&path.as_str()) {
            assert_eq!(ours.get(path), theirs.get(path), "{path}");
        }
    }
}

fn make_context(store: &Store) {
    store.file("word", "secret\n");
    for (name, content) in [
        ("Dockerfile", FILE),
        (".dockerignore", "*.log\nsub/ignored\n**/*.tmp\n!keep.tmp\n"),
        ("one.txt", "1\n"),
        ("two.txt", "2\n"),
        ("with space", "w\n"),
        ("x.log", "ignored\n"),
        ("sub/deep/file", "deep\n"),
        ("sub/deep/x.tmp", "ignored\n"),
        ("sub/ignored", "ignored\n"),
        ("sub/z.log", "kept\n"),
    ] {
        store.file(&format!("context/{name}"), content);
    }
    let made = store.script(
        "cd context; chmod 600 sub/deep/file; ln -s deep/file sub/link; ln -s /nowhere sub/dangling; ln two.txt sub/linked;
         mkdir -p ../archive/d; echo f > ../archive/d/f; chmod 751 ../archive/d/f; chown 5:6 ../archive/d/f
         tar cf archive.tar -C ../archive d",
    );
    made.run().code(0);
}

/// Builds by buildah, which wants a cgroup file system of version 2, in a mount namespace of its own.
fn bud(store: &Store) {
    let script = "mount -t cgroup2 none /sys/fs/cgroup
        onto=\"--root $HOME/buildah --runroot $HOME/buildah-run --storage-driver vfs\"
        buildah $onto pull docker-archive:alpine.tar
        buildah $onto bud --isolation chroot --network host --format docker --secret id=word,src=word -t theirs context
        buildah $onto push theirs docker-archive:theirs.tar:theirs:latest";
    let built = store.script(&format!("unshare -m sh -ec '{script}'")).run();
    built.code(0);
}

/// What a container of an image begins with: type, mode, owners, where links lead, contents of files.
fn tree(store: &Store, image: &str) -> BTreeMap<String, String> {
    let container = store.ok(["create", image]);
    let archive = format!("{image}.tree.tar");
    store.ok(["export", "-o", &archive, container.trim()]);
    let mut tree = BTreeMap::new();
    let mut archive = tar::Archive::new(File::open(store.home().join(archive)).unwrap());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let header = entry.header();
        let told = format!(
            "{:?} {:o} {}:{} {:?} {}",
            header.entry_type(),
            header.mode().unwrap(),
            header.uid().unwrap(),
            header.gid().unwrap(),
            entry.link_name().unwrap(),
            onggi::image::digest::Digest::of(&content),
        );
        let path = entry
            .path()
            .unwrap()
            .to_string_lossy()
            .trim_end_matches('/')
            .to_owned();
        tree.insert(path, told);
    }
    tree
}
