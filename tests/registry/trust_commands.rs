//! `trust add`, `ls`, `show` and `rm`: what they write, what they leave alone and what they say. And `--verify`.

use crate::real::{DIGEST, IMAGE, Options, Registry};
use crate::server::Reply;
use crate::signer::{Signer, data, layer, payload};
use crate::support::{Store, image};
use crate::trust::{is_empty, policy};
use crate::{behind, somebody};
use serde_json::{Value, json};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

fn read(store: &Store) -> Value {
    let path = store.home().join(".config/containers/policy.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn rules_are_added_shown_and_taken_back() {
    let Some(store) = somebody() else { return };
    let key = store.file("cosign.pub", std::fs::read(data("cosign.pub")).unwrap());
    let other = store.file("other.pub", Signer::ed25519().pem());
    let (key, other) = (key.display().to_string(), other.display().to_string());
    policy(
        &store,
        &json!({"default": [{"type": "insecureAcceptAnything"}]}),
    );
    let meaning = "taken in if signed by ECDSA P-256 key sha256:";
    let open = "onggi: warning: images of all other names are taken in without a signature: `onggi trust add default --reject` refuses them\n";
    let added = store.onggi(["trust", "add", "alpine", "--key", &key]).run();
    added
        .code(0)
        .stdout_has(&format!("Images of docker.io/library/alpine are {meaning}"))
        .stdout_has(" for its repository\n")
        .stderr(open);
    store
        .onggi(["trust", "add", "default", "--reject"])
        .run()
        .code(0)
        .stdout("Images of default are refused\n")
        .stderr("");
    let two = store
        .onggi([
            "trust",
            "add",
            "ghcr.io/acme/",
            "--key",
            &key,
            "--key",
            &other,
        ])
        .run();
    two.code(0).stdout_has(" or Ed25519 key sha256:").stderr("");
    store
        .onggi(["trust", "add", "oci:/srv", "--accept"])
        .run()
        .code(0)
        .stderr("");
    let written = read(&store);
    let rule = &written["transports"]["docker"]["docker.io/library/alpine"][0];
    assert_eq!(
        (&rule["type"], &rule["signedIdentity"]),
        (
            &json!("sigstoreSigned"),
            &json!({"type": "matchRepository"})
        )
    );
    assert!(rule["keyData"].is_string() && rule["keyPath"].is_null());
    assert_eq!(
        written["transports"]["docker"]["ghcr.io/acme"][0]["keyDatas"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let listed = store.onggi(["trust", "ls"]).run();
    let lines: Vec<String> = listed
        .code(0)
        .stdout_text()
        .lines()
        .map(str::to_owned)
        .collect();
    assert!(
        lines[0].starts_with("SCOPE ") && lines[0].ends_with(" IMAGES ARE"),
        "{lines:?}"
    );
    assert!(
        lines[1].starts_with("default ") && lines[1].ends_with(" refused"),
        "{lines:?}"
    );
    assert!(
        lines[2].starts_with("docker.io/library/alpine ") && lines[2].contains(meaning),
        "{lines:?}"
    );
    assert!(
        lines[4].starts_with("oci:/srv ") && lines[4].ends_with("taken in without a signature"),
        "{lines:?}"
    );
    store
        .onggi(["trust", "ls", "-q"])
        .run()
        .code(0)
        .stdout("default\ndocker.io/library/alpine\nghcr.io/acme\noci:/srv\n");
    let shown = store.onggi(["trust", "show", "ghcr.io/acme/app:1"]).run();
    shown
        .code(0)
        .stdout_has("Image:      ghcr.io/acme/app:1\n")
        .stdout_has("Scope:      ghcr.io/acme\n")
        .stdout_has(&format!("Images are: {meaning}"));
    store
        .onggi(["trust", "show", "alpine"])
        .run()
        .code(0)
        .stdout_has("Scope:      docker.io/library/alpine\n");
    store
        .onggi(["trust", "show", "quay.io/x"])
        .run()
        .code(0)
        .stdout_has("Scope:      default\nImages are: refused\n");
    store
        .onggi(["trust", "rm", "ghcr.io/acme"])
        .run()
        .code(0)
        .stdout("Nothing is said of ghcr.io/acme any more\n");
    store
        .onggi(["trust", "rm", "ghcr.io/acme"])
        .run()
        .code(1)
        .stderr_has("onggi: the policy says nothing of `ghcr.io/acme`\n");
    store
        .onggi(["trust", "rm", "default"])
        .run()
        .code(1)
        .stderr_has("a policy always says what becomes of all other images");
    for (arguments, part) in [
        (&["x"][..], "one of --key, --accept and --reject is needed"),
        (
            &["x", "--accept", "--reject"],
            "one of --key, --accept and --reject is needed",
        ),
        (
            &["x", "--key", "/nowhere"],
            "read the key `/nowhere`: No such file",
        ),
        (
            &["x", "--key", "/dev/null"],
            "read the key `/dev/null`: it is no key in PEM",
        ),
        (
            &["dir:", "--key", &key],
            "images of files and directories have no signatures",
        ),
        (&["a b", "--accept"], "`a b` is no scope"),
    ] {
        let before = read(&store);
        let refused = store.onggi([&["trust", "add"], arguments].concat()).run();
        refused.code(1).stderr_has(part);
        assert_eq!(read(&store), before);
    }
    for verb in ["inspect", "sign", "key", "revoke", "signer"] {
        store
            .onggi(["trust", verb])
            .run()
            .code(125)
            .stderr_has("`onggi trust add` says whose signatures by cosign count");
    }
}

#[test]
fn what_is_unknown_in_a_policy_stays() {
    let Some(store) = somebody() else { return };
    let before = json!({
        "future": {"x": [1]}, "default": [{"type": "reject"}],
        "transports": {"ostree": {"y": []}, "docker": {"z.org": [{"type": "later"}]}},
    });
    let real = store.file("real.json", before.to_string());
    std::fs::set_permissions(&real, PermissionsExt::from_mode(0o640)).unwrap();
    let owner = real.metadata().unwrap().uid();
    std::fs::create_dir_all(store.home().join(".config/containers")).unwrap();
    symlink(&real, store.home().join(".config/containers/policy.json")).unwrap();
    let added = store.onggi(["trust", "add", "a.org", "--reject"]).run();
    added
        .code(0)
        .stderr_has("no image will be taken in: the policy `")
        .stderr_has("the key `future` is unknown");
    let mut expected = before;
    expected["transports"]["docker"]["a.org"] = json!([{"type": "reject"}]);
    assert_eq!(read(&store), expected);
    let metadata = std::fs::symlink_metadata(&real).unwrap();
    assert!(metadata.is_file() && metadata.mode() & 0o7777 == 0o640 && metadata.uid() == owner);
    let names = std::fs::read_dir(store.home())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(!names.into_iter().any(|name| name.contains(".new-")));
    store
        .onggi(["pull", "a.org/x"])
        .run()
        .code(1)
        .stderr_has("the key `future` is unknown");
    std::fs::write(&real, r#"{"default":[],"default":[]}"#).unwrap();
    store
        .onggi(["trust", "add", "a.org", "--reject"])
        .run()
        .code(1)
        .stderr_has("stands there twice");
}

#[test]
fn many_change_a_policy_at_once() {
    let Some(store) = somebody() else { return };
    std::thread::scope(|scope| {
        for number in 0..12 {
            let store = &store;
            scope.spawn(move || {
                store
                    .onggi(["trust", "add", &format!("a{number}.org"), "--reject"])
                    .run()
                    .code(0);
            });
        }
    });
    let written = read(&store);
    for number in 0..12 {
        let scope = &written["transports"]["docker"][format!("a{number}.org")];
        assert_eq!(*scope, json!([{"type": "reject"}]), "{number}");
    }
}

#[test]
fn archives_have_no_signatures() {
    let (Some(store), Some(layout)) = (somebody(), image("busybox-musl-multiarch-oci")) else {
        return;
    };
    let layout = layout.canonicalize().unwrap().display().to_string();
    let load = || store.onggi(["load", "-i", &layout]).run();
    store
        .onggi(["trust", "add", "default", "--reject"])
        .run()
        .code(0);
    load()
        .code(1)
        .stderr_has("its images are refused: the policy `")
        .stderr_has("`onggi trust add oci: --accept`");
    is_empty(&store);
    store
        .onggi(["trust", "add", &format!("oci:{layout}"), "--accept"])
        .run()
        .code(0);
    load().code(0);
}

/// A rule about a place counts for what lies there, by whatever way it comes in; root file systems have one of their own.
#[test]
fn what_is_open_is_judged_and_not_its_name() {
    let Some(store) = somebody().filter(crate::support::Store::alpine) else {
        return;
    };
    let archive = store.home().join("saved.tar");
    let saved = ["save", "-o", archive.to_str().unwrap(), "alpine:3.20"];
    store.onggi(saved).run().code(0);
    let home = store.home().canonicalize().unwrap();
    for transport in ["oci-archive", "docker-archive"] {
        let scope = format!("{transport}:{}", home.display());
        store
            .onggi(["trust", "add", &scope, "--reject"])
            .run()
            .code(0);
    }
    let load = || {
        let mut command = store.onggi(["load"]).into_command();
        let file = std::fs::File::open(&archive).unwrap();
        command.stdin(file).output().unwrap()
    };
    let refused = load();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        !refused.status.success() && said.contains("are refused"),
        "{said}"
    );
    let elsewhere = tempfile::tempdir_in("/var/tmp").unwrap();
    let link = elsewhere.path().join("link.tar");
    std::os::unix::fs::symlink(&archive, &link).unwrap();
    std::fs::set_permissions(
        elsewhere.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let import = || store.onggi(["import", link.to_str().unwrap()]).run();
    store
        .onggi(["load", "-i", link.to_str().unwrap()])
        .run()
        .code(1)
        .stderr_has("are refused");
    import().code(0);
    store
        .onggi(["trust", "add", "tarball:", "--reject"])
        .run()
        .code(0);
    import()
        .code(1)
        .stderr_has("are refused")
        .stderr_has("`onggi trust add tarball: --accept`");
}

#[test]
fn who_insists_on_a_signature_has_it_looked_for() {
    let Some((registry, server, store)) = behind(|_| Reply::Forward) else {
        return;
    };
    let signer = Signer::p384();
    let key = store.file("key.pub", signer.pem()).display().to_string();
    let verify = format!("--verify={key}");
    let name = server.name(IMAGE);
    let create = |options: &[&str]| {
        store
            .onggi([&["create"], options, &[name.as_str(), "x"]].concat())
            .run()
    };
    let no_key = format!("image {name} is refused: `--verify` wants a signature, and the policy");
    create(&["--verify"]).code(125).stderr_has(&no_key);
    store
        .onggi(["pull", "--verify", &name])
        .run()
        .code(1)
        .stderr_has(&no_key);
    create(&[&verify])
        .code(125)
        .stderr_has("there is no signature");
    create(&["--verify=/nowhere"])
        .code(125)
        .stderr_has("read the key `/nowhere`");
    create(&["--verify", "--pull", "never"])
        .code(125)
        .stderr_has("conflicting options: --verify and --pull never");
    is_empty(&store);
    // Here, and not signed: that is found out, whatever the policy of pulling.
    create(&[]).code(0);
    for pull in ["missing", "newer", "always"] {
        create(&[&verify, "--pull", pull])
            .code(125)
            .stderr_has("there is no signature");
        let pulled = store
            .onggi(["pull", &verify, "--policy", pull, &name])
            .run();
        pulled.code(1).stderr_has("there is no signature");
    }
    registry.sign(
        "image",
        DIGEST,
        &[layer(&signer, payload(DIGEST, &server.name("image")))],
    );
    create(&[&verify]).code(0);
    let blobs = |server: &crate::Server| {
        server
            .seen()
            .iter()
            .filter(|request| request.is_blob())
            .count()
    };
    let before = blobs(&server);
    store
        .onggi(["pull", &verify, &name])
        .run()
        .code(0)
        .stdout_has("Status: Image is up to date");
    // What is signed and the config: no layer comes again.
    assert!(blobs(&server) <= before + 2);
    store
        .onggi(["trust", "add", &name, "--key", &key])
        .run()
        .code(0);
    create(&["--verify"]).code(0);
    store
        .onggi(["pull", "--verify", "-q", &name])
        .run()
        .code(0)
        .stdout(&format!("{DIGEST}\n"));
}

#[test]
fn no_policy_accepts_everything() {
    let (Some(registry), Some(store)) = (Registry::start(&Options::default()), somebody()) else {
        return;
    };
    policy(
        &store,
        &json!({"default": [{"type": "insecureAcceptAnything"}]}),
    );
    store
        .onggi(["pull", "-q", &registry.name(IMAGE)])
        .run()
        .code(0);
    let file = store.home().join(".config/containers/policy.json");
    std::fs::write(&file, "").unwrap();
    store
        .onggi(["pull", "-q", &registry.name(IMAGE)])
        .run()
        .code(1)
        .stderr_has("the policy `")
        .stderr_has("no valid JSON");
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    store
        .onggi(["pull", "-q", &registry.name(IMAGE)])
        .run()
        .code(1)
        .stderr_has(&format!("read `{}`", file.display()));
}

#[test]
fn what_is_refused_is_not_made_up_for_by_what_is_here() {
    let Some(registry) = Registry::start(&Options::default()) else {
        return;
    };
    let Some(store) = somebody() else { return };
    let name = registry.name(IMAGE);
    let newer = ["pull", "-q", "--policy", "newer", &name];
    store.onggi(newer).run().code(0);
    let rejects = ["trust", "add", "default", "--reject"];
    store.onggi(rejects).run().code(0);
    let why = "for `default` accepts none";
    store.onggi(newer).run().code(1).stdout("").stderr_has(why);
    let create = ["create", "--pull", "newer", &name, "true"];
    store
        .onggi(create)
        .run()
        .code(125)
        .stdout("")
        .stderr_has(why);
    // What is no refusal is made up for.
    drop(registry);
    let rejected = ["trust", "add", "default", "--accept"];
    store.onggi(rejected).run().code(0);
    store
        .onggi(newer)
        .run()
        .code(0)
        .stderr_has("the image that is here stays");
}
