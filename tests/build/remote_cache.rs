//! `--cache-to` and `--cache-from`: what one machine has built another need not build.

use crate::real::{Options, Registry};
use crate::support::{ALPINE, Outcome, Store, everyone, everyone_with_alpine, store};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// No step gives the same twice.
const FILE: &str = "FROM alpine:3.20 AS made
COPY src /src
RUN cat /proc/sys/kernel/random/uuid > /made; cp /src /more
FROM alpine:3.20
RUN cat /proc/sys/kernel/random/uuid > /id
COPY --from=made /made /made
WORKDIR /w
COPY top /top
CMD [\"cat\", \"/id\", \"/made\"]
";

/// The steps of that that make layers.
const STEPS: usize = 6;

fn context(store: &Store, file: &str) {
    store.file("c/Dockerfile", file);
    store.file("c/src", "source\n");
    store.file("c/top", "top\n");
}

/// Another machine of the same person, with the same base image and the same sources, at another time.
fn fresh(first: &Store) -> Store {
    let base = first.home().join("base.tar");
    if !base.exists() {
        let save = ["save", "-o", base.to_str().unwrap(), ALPINE];
        first.onggi(save).run().code(0);
    }
    let other = store(first.user).unwrap();
    let load = ["load", "-i", base.to_str().unwrap()];
    other.onggi(load).run().code(0);
    context(&other, FILE);
    other
}

/// The image that a build comes to, and what it said.
fn build(store: &Store, options: &[&str]) -> (String, Outcome) {
    let words = ["build", "--progress=plain", "--iidfile=id", "c"];
    let built = store.onggi(words).args(options).run();
    built.code(0);
    let id = std::fs::read_to_string(store.home().join("id")).unwrap();
    (id, built)
}

/// The steps of a Dockerfile that were done.
fn ran(built: &Outcome) -> Vec<String> {
    let text = built.stderr_text();
    let name = |number: &str| {
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(number));
        lines
            .find(|rest| rest.starts_with(" ["))
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let done = text.lines().filter_map(|line| line.split_once(" DONE "));
    let names = done.map(|(number, _)| name(number));
    names
        .filter(|name| !name.is_empty() && !name.starts_with("[internal]"))
        .collect()
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn blob(layout: &Path, descriptor: &Value) -> PathBuf {
    let digest = descriptor["digest"].as_str().unwrap();
    layout.join("blobs").join(digest.replace(':', "/"))
}

/// The manifest of a cache in a directory, and where it lies.
fn manifest(layout: &Path) -> (Value, PathBuf) {
    let index = read(&layout.join("index.json"));
    let path = blob(layout, &index["manifests"][0]);
    (read(&path), path)
}

fn layers(layout: &Path) -> BTreeSet<PathBuf> {
    let (manifest, _) = manifest(layout);
    let layers = manifest["layers"].as_array().unwrap();
    layers.iter().map(|layer| blob(layout, layer)).collect()
}

#[test]
fn a_machine_that_has_nothing_does_nothing_again() {
    let Some(registry) = Registry::start(&Options::default()) else {
        return;
    };
    registry.empty();
    for (number, first) in everyone_with_alpine().enumerate() {
        context(&first, FILE);
        let name = |what: &str| registry.name(&format!("cache/{number}:{what}"));
        let directory = first.home().join("cache");
        let local = |mode: &str| format!("{}-{mode}", directory.display());
        let mut to = Vec::new();
        for mode in ["min", "max"] {
            to.push(format!(
                "--cache-to=type=local,dest={},mode={mode}",
                local(mode)
            ));
            to.push(format!(
                "--cache-to=type=registry,ref={},mode={mode}",
                name(mode)
            ));
        }
        let more = "image-manifest=false,oci-mediatypes=false,compression=zstd";
        to.push(format!(
            "--cache-to=type=registry,ref={},{more}",
            name("index")
        ));
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        let (id, built) = build(&first, &to);
        assert_eq!(ran(&built).len(), STEPS);
        built
            .stderr_has("exporting cache to client directory")
            .stderr_has("exporting cache to registry")
            .stderr_has("writing cache image manifest sha256:");
        for from in [
            format!("type=local,src={}", local("max")),
            format!("type=local,src={}", local("min")),
            format!("type=registry,ref={}", name("max")),
            name("min"),
            name("index"),
        ] {
            let other = fresh(&first);
            let (found, built) = build(&other, &["-t=app", &format!("--cache-from={from}")]);
            assert_eq!((found, ran(&built)), (id.clone(), vec![]), "{from}");
            built.stderr_has("importing cache manifest from ");
            let ids = other.onggi(["run", "--rm", "app"]).run();
            ids.code(0);
            assert_eq!(ids.stdout_text().lines().count(), 2);
        }
    }
}

#[test]
fn an_image_that_was_pushed_is_a_cache() {
    let Some(registry) = Registry::start(&Options::default()) else {
        return;
    };
    registry.empty();
    for (number, first) in everyone_with_alpine().enumerate() {
        context(&first, FILE);
        let name = registry.name(&format!("image/{number}:1"));
        let tag = format!("-t={name}");
        let (id, built) = build(&first, &["--cache-to=type=inline", "--push", &tag]);
        assert_eq!(ran(&built).len(), STEPS);
        // Found here, it says the same.
        assert_eq!(build(&first, &["--cache-to=type=inline"]).0, id);
        let from = format!("--cache-from={name}");
        let (found, built) = build(&fresh(&first), &["--cache-to=type=inline", &from]);
        assert_eq!((found, ran(&built)), (id, vec![]));
        let warned = ["--cache-to=type=inline,mode=max", "--cache-to=type=inline"];
        build(&first, &warned)
            .1
            .stderr_has("--cache-to type=inline,mode=max has no effect");
        // An image without one is no cache, and no harm.
        let (_, plain) = build(&first, &["--push", &tag]);
        plain.stderr_lacks("onggi: warning");
        let (_, missed) = build(&fresh(&first), &[&from]);
        missed.stderr_lacks("not used");
        assert_eq!(ran(&missed).len(), STEPS);
    }
}

#[test]
fn only_layers_that_are_needed_are_read() {
    for first in everyone_with_alpine() {
        context(&first, FILE);
        let (all, own) = (first.home().join("all"), first.home().join("own"));
        let (id, _) = build(
            &first,
            &[
                "--cache-to=type=local,dest=all,mode=max",
                "--cache-to=type=local,dest=own",
            ],
        );
        let in_image: BTreeSet<_> = layers(&own)
            .iter()
            .map(|path| all.join(path.strip_prefix(&own).unwrap()))
            .collect();
        let others: Vec<PathBuf> = layers(&all).difference(&in_image).cloned().collect();
        assert_eq!((in_image.len(), others.len()), (4, 2));
        for path in &others {
            std::fs::remove_file(path).unwrap();
        }
        let from = format!("--cache-from=type=local,src={}", all.display());
        let other = fresh(&first);
        let (found, built) = build(&other, &[&from]);
        assert_eq!((found, ran(&built)), (id, vec![]));
        built.stderr_lacks("cannot be used");
        // Now one of the others is needed: what cannot be had is done again.
        let other = fresh(&first);
        let more = FILE.replace("WORKDIR", "COPY --from=made /more /more\nWORKDIR");
        other.file("c/Dockerfile", more);
        let (_, built) = build(&other, &[&from, "-t=app"]);
        built.stderr_has("cannot be used");
        let ran = ran(&built).join("\n");
        assert!(ran.contains("COPY --from=made /more"), "{ran}");
        assert!(!ran.contains("> /id"), "{ran}");
        let words = ["run", "--rm", "app", "cat", "/more", "/top"];
        other.onggi(words).run().code(0).stdout("source\ntop\n");
    }
}

#[test]
fn stages_that_are_not_in_the_image_are_done_again_only_if_they_are_needed() {
    for first in everyone_with_alpine() {
        context(&first, FILE);
        build(&first, &["--cache-to=type=local,dest=own,mode=min"]);
        let from = format!("--cache-from=type=local,src={}/own", first.home().display());
        let other = fresh(&first);
        other.file("c/Dockerfile", FILE.replace("top /top", "top /other"));
        let (_, built) = build(&other, &[&from]);
        assert_eq!(ran(&built), ["[stage-1 5/5] COPY top /other"]);
        let other = fresh(&first);
        other.file("c/Dockerfile", FILE.replace("/made /made", "/more /made"));
        let (_, built) = build(&other, &[&from, "-t=app"]);
        let done = ran(&built).join("\n");
        assert!(
            done.contains("[made 3/3] RUN") && !done.contains("> /id"),
            "{done}"
        );
        let words = ["run", "--rm", "app", "cat", "/made"];
        other.onggi(words).run().code(0).stdout("source\n");
        // Done once, it is known here.
        assert_eq!(ran(&build(&other, &[&from]).1).len(), 0);
    }
}

#[test]
fn what_came_from_elsewhere_serves_only_whoever_asks_for_it() {
    for first in everyone_with_alpine() {
        context(&first, FILE);
        let (id, _) = build(&first, &["--cache-to=type=local,dest=all,mode=max"]);
        let from = format!("--cache-from=type=local,src={}/all", first.home().display());
        let other = fresh(&first);
        assert_eq!(build(&other, &[&from]).0, id);
        let (own, built) = build(&other, &[]);
        assert_eq!(ran(&built).len(), STEPS);
        assert_ne!(own, id);
        // What is here counts more than what is elsewhere.
        assert_eq!(build(&other, &[&from]).0, own);
        let (_, built) = build(&other, &[&from, "--no-cache"]);
        assert_eq!(ran(&built).len(), STEPS);
        built.stderr_lacks("importing");
    }
}

#[test]
fn a_cache_goes_from_hand_to_hand() {
    for first in everyone_with_alpine() {
        context(&first, FILE);
        let (id, _) = build(&first, &["--cache-to=type=local,dest=all,mode=max"]);
        let place = |store: &Store| format!("{}/all", store.home().display());
        let from = |store: &Store| format!("--cache-from=type=local,src={}", place(store));
        let second = fresh(&first);
        let to = "--cache-to=type=local,dest=all,mode=max";
        assert_eq!(build(&second, &[&from(&first), to]).0, id);
        // Also what it has never unpacked.
        assert_eq!(
            layers(&first.home().join("all")).len(),
            layers(&second.home().join("all")).len()
        );
        let third = fresh(&first);
        let more = FILE.replace("WORKDIR", "COPY --from=made /more /more\nWORKDIR");
        third.file("c/Dockerfile", more);
        let nowhere = "--cache-from=type=local,src=nowhere";
        let (_, built) = build(&third, &[nowhere, &from(&second)]);
        let ran = ran(&built).join("\n");
        assert!(!ran.contains("RUN"), "{ran}");
        built.stderr_has("the cache local:nowhere is not used");
        // What it has taken in is seen, and goes.
        let used = third.onggi(["buildx", "du", "--verbose"]).run();
        used.code(0).stdout_has("[made 3/3] RUN");
        third.onggi(["builder", "prune", "-af"]).run().code(0);
        third
            .onggi([
                "rmi",
                "-f",
                &std::fs::read_to_string(third.home().join("id")).unwrap(),
            ])
            .run();
        let left = std::fs::read_dir(third.data().join("layers"))
            .unwrap()
            .count();
        assert!(left <= 1, "{left} layers are left");
    }
}

#[test]
fn several_platforms_have_one_cache() {
    for first in everyone() {
        let file = "FROM scratch\nCOPY src top /\nCOPY --link top /link/top\n";
        let platforms = "--platform=linux/amd64,linux/arm64";
        context(&first, file);
        let output = |store: &Store| format!("-o=type=oci,dest={}/x.tar", store.home().display());
        let build = |store: &Store, more: &[&str]| {
            let words = ["build", "--progress=plain", platforms, &output(store), "c"];
            let built = store.onggi(words).args(more).run();
            built.code(0);
            (
                std::fs::read(store.home().join("x.tar")).unwrap(),
                ran(&built).len(),
            )
        };
        let to = [
            "--cache-to=type=local,dest=all,tag=v1",
            "--cache-to=type=inline",
        ];
        let (image, done) = build(&first, &to);
        assert!(done > 0);
        let from = format!(
            "--cache-from=type=local,src={}/all,tag=v1",
            first.home().display()
        );
        let other = store(first.user).unwrap();
        context(&other, file);
        assert!(build(&other, &["--cache-to=type=inline", &from]) == (image.clone(), 0));
        // The index of images is one as well.
        let unpack = "mkdir layout && tar -xf x.tar -C layout";
        first.script(unpack).run().code(0);
        let digest =
            read(&first.home().join("layout/index.json"))["manifests"][0]["digest"].clone();
        let layout = format!("{}/layout", first.home().display());
        let from = format!(
            "--cache-from=type=local,src={layout},digest={}",
            digest.as_str().unwrap()
        );
        let other = store(first.user).unwrap();
        context(&other, file);
        assert!(build(&other, &["--cache-to=type=inline", &from]) == (image, 0));
    }
}

/// Writes another document in the place of one, with all that leads to it.
fn rewrite(layout: &Path, change: &dyn Fn(&mut Value, &mut Value)) {
    let put = |value: &Value| {
        let bytes = serde_json::to_vec(value).unwrap();
        let digest = onggi::image::digest::Digest::of(&bytes).to_string();
        std::fs::write(layout.join("blobs").join(digest.replace(':', "/")), &bytes).unwrap();
        (json!(digest), json!(bytes.len()))
    };
    let (mut manifest, _) = manifest(layout);
    let mut config = read(&blob(layout, &manifest["config"]));
    change(&mut manifest, &mut config);
    let (digest, size) = put(&config);
    (manifest["config"]["digest"], manifest["config"]["size"]) = (digest, size);
    let (digest, size) = put(&manifest);
    let mut index = read(&layout.join("index.json"));
    let entry = &mut index["manifests"][0];
    (entry["digest"], entry["size"]) = (digest, size);
    std::fs::write(layout.join("index.json"), index.to_string()).unwrap();
}

#[test]
fn a_cache_that_lies_is_not_believed() {
    for first in everyone_with_alpine() {
        context(&first, FILE);
        build(&first, &["--cache-to=type=local,dest=all,mode=max"]);
        let swap = |manifest: &mut Value, _: &mut Value| {
            manifest["layers"].as_array_mut().unwrap().reverse();
        };
        let many = |manifest: &mut Value, _: &mut Value| {
            let layers = manifest["layers"].as_array_mut().unwrap();
            layers.pop();
        };
        let late = |_: &mut Value, config: &mut Value| {
            for record in config["onggi.build.cache.v1"].as_array_mut().unwrap() {
                record["epoch"] = json!(i64::MAX);
            }
        };
        let buildkit = |manifest: &mut Value, _: &mut Value| {
            manifest["config"]["mediaType"] = json!("application/vnd.buildkit.cacheconfig.v0");
        };
        let wrong = |_: &mut Value, config: &mut Value| {
            config["onggi.build.cache.v1"] = json!("none");
        };
        type Change<'a> = &'a dyn Fn(&mut Value, &mut Value);
        for (change, said) in [
            (&swap as Change, "its diff id should be"),
            (
                &many,
                "is not used: its config and its manifest have different layers",
            ),
            (&late, ""),
            (&buildkit, "is not used: it is a cache of BuildKit's"),
            (&wrong, "is not used: its config cannot be read"),
        ] {
            let layout = first.home().join("bad");
            let script = "rm -rf bad && cp -r all bad && chmod -R go+rX bad";
            first.script(script).run().code(0);
            rewrite(&layout, change);
            let other = fresh(&first);
            let from = format!("--cache-from=type=local,src={}", layout.display());
            let (_, built) = build(&other, &[&from, "-t=app"]);
            built.stderr_has(said);
            assert!(!ran(&built).is_empty(), "{said}");
            let words = ["run", "--rm", "app", "cat", "/top"];
            other.onggi(words).run().code(0).stdout("top\n");
        }
    }
}

#[test]
fn what_is_damaged_is_done_again() {
    for first in everyone_with_alpine() {
        context(&first, FILE);
        build(&first, &["--cache-to=type=local,dest=all,mode=max"]);
        for path in layers(&first.home().join("all")) {
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }
        let from = format!("--cache-from=type=local,src={}/all", first.home().display());
        let other = fresh(&first);
        let (_, built) = build(&other, &[&from, "-t=app"]);
        built.stderr_has("cannot be used");
        let done: BTreeSet<String> = ran(&built).into_iter().collect();
        assert_eq!(done.len(), STEPS, "{done:?}");
        let ids = other.onggi(["run", "--rm", "app"]).run();
        ids.code(0);
        // The second time all of it is here.
        assert_eq!(ran(&build(&other, &[&from]).1).len(), 0);
        other.assert_no_process_is_left();
    }
}

#[test]
fn a_cache_that_is_not_there_costs_a_warning_and_one_that_cannot_be_written_the_build() {
    for first in everyone_with_alpine().take(1) {
        context(&first, FILE);
        let port = crate::real::free_port();
        let down = format!("127.0.0.1:{port}/cache");
        let digest = format!("sha256:{}", "0".repeat(64));
        first.file("rubbish/index.json", "rubbish");
        first.file("other/file", "x");
        build(&first, &["--cache-to=type=local,dest=good"]);
        for from in [
            format!("type=registry,ref={down}"),
            "type=local,src=nowhere".to_owned(),
            "type=local,src=rubbish".to_owned(),
            "type=local,src=good,tag=other".to_owned(),
            format!("type=local,src=good,digest={digest}"),
        ] {
            let (_, built) = build(&first, &[&format!("--cache-from={from}")]);
            built
                .stderr_has("#2 ERROR: ")
                .stderr_has("onggi: warning: the cache ")
                .stderr_has(" is not used: ");
        }
        for (to, said) in [
            (format!("type=registry,ref={down}"), "127.0.0.1"),
            (
                "type=local,dest=other".to_owned(),
                "is no OCI layout and not empty",
            ),
            ("type=local,dest=other/file".to_owned(), "other/file"),
        ] {
            let words = ["build", "c", &format!("--cache-to={to}")];
            first.onggi(words).run().code(1).stderr_has(said);
            let ignored = format!("--cache-to={to},ignore-error=true");
            let (_, built) = build(&first, &[&ignored]);
            built
                .stderr_has("onggi: warning: exporting cache to ")
                .stderr_has(said);
        }
    }
}
