//! What `pull`, `run` and `create` do with a registry that behaves.

use crate::Server;
use crate::behind;
use crate::made::{Layer, Made};
use crate::real::{DIGEST, IMAGE, Options, Registry};
use crate::server::{Reply, answer};
use crate::support::{everyone, everyone_in_memory};

#[test]
fn everyone_pulls_as_with_docker() {
    let Some(registry) = Registry::start(&Options::default()) else {
        return;
    };
    let (name, layers) = (registry.name(IMAGE), registry.layers());
    for store in everyone() {
        let pull = |arguments: &[&str]| store.onggi(["pull"].iter().chain(arguments)).run();
        let first = pull(&[&name]);
        first.code(0).stderr("");
        let lines: Vec<String> = first.stdout_text().lines().map(str::to_owned).collect();
        assert_eq!(lines[0], "multi: Pulling from image");
        for (digest, _) in &layers {
            let id = &digest[7..19];
            for step in ["Pulling fs layer", "Download complete", "Pull complete"] {
                let line = format!("{id}: {step}");
                assert_eq!(
                    lines.iter().filter(|other| **other == line).count(),
                    1,
                    "{line}: {lines:?}"
                );
            }
        }
        let end = [
            format!("Digest: {DIGEST}"),
            format!("Status: Downloaded newer image for {name}"),
            name.clone(),
        ];
        assert_eq!(lines[lines.len() - 3..], end);
        assert_eq!(lines.len(), 4 + 3 * layers.len());
        let downloads = store.data().join("downloads");
        assert_eq!(std::fs::read_dir(downloads).unwrap().count(), 0);
        let again = pull(&[&name]);
        let text = format!(
            "multi: Pulling from image\nDigest: {DIGEST}\nStatus: Image is up to date for {name}\n{name}\n"
        );
        again.code(0).stdout(&text);
        pull(&["-q", &name]).code(0).stdout(&format!("{DIGEST}\n"));
        let inspected = store.onggi(["image", "inspect", &name]).run().json();
        let by_digest = format!("{}@{DIGEST}", registry.name("image"));
        assert_eq!(inspected[0]["RepoDigests"], serde_json::json!([by_digest]));
        assert_eq!(inspected[0]["RepoTags"], serde_json::json!([name]));
        store.onggi(["system", "check", "--deep"]).run().code(0);
    }
}

#[test]
fn digests_are_names_and_need_no_registry_a_second_time() {
    let Some((registry, server, store)) = behind(|_| Reply::Forward) else {
        return;
    };
    let by_digest = server.name(&format!("image@{DIGEST}"));
    let both = server.name(&format!("{IMAGE}@{DIGEST}"));
    let pulled = store.onggi(["pull", &both]).run();
    pulled.code(0).stdout_has(&format!(
        "Status: Downloaded newer image for {both}\n{both}\n"
    ));
    drop(registry);
    store
        .onggi(["pull", &by_digest])
        .run()
        .code(0)
        .stdout_has("Image is up to date");
    store.onggi(["image", "inspect", &by_digest]).run().code(0);
    let listed = store
        .onggi([
            "images",
            "--digests",
            "--format",
            "{{.Repository}} {{.Tag}} {{.Digest}}",
        ])
        .run();
    listed
        .code(0)
        .stdout(&format!("{} <none> {DIGEST}\n", server.name("image")));
    let wrong = by_digest.replace("b5637b", "b5637c");
    store.onggi(["pull", &wrong]).run().code(1);
}

#[test]
fn create_and_run_pull_what_is_missing() {
    let Some(registry) = Registry::start(&Options::default()) else {
        return;
    };
    let server = Server::start(Some(registry.port), |_| Reply::Forward);
    let (name, missing) = (server.name(IMAGE), server.name("image:missing"));
    let manifests = || {
        server
            .seen()
            .iter()
            .filter(|request| request.is_manifest())
            .count()
    };
    for store in everyone() {
        let create = |options: &[&str]| {
            store
                .onggi([&["create"], options, &[name.as_str(), "x"]].concat())
                .run()
        };
        let before = manifests();
        create(&["--pull=never"])
            .code(125)
            .stderr_has(&format!("No such image: {name}"));
        assert_eq!(manifests(), before);
        let created = create(&[]);
        created
            .code(0)
            .stderr_has(&format!(
                "Unable to find image '{name}' locally\nmulti: Pulling from image\n"
            ))
            .stderr_has(&format!("Status: Downloaded newer image for {name}\n"));
        assert_eq!(created.stdout_text().trim().len(), 64);
        let before = manifests();
        create(&[]).code(0).stderr_lacks("Pulling");
        assert_eq!(manifests(), before);
        for policy in ["always", "newer"] {
            let text = format!("Status: Image is up to date for {name}\n");
            create(&["--pull", policy]).code(0).stderr_has(&text);
        }
        create(&["--pull", "always", "-q"])
            .code(0)
            .stderr_lacks("Status");
        let refused = store.onggi(["run", "--rm", &missing]).run();
        let words = format!("onggi: manifest for {missing} not found: manifest unknown");
        refused.code(125).stdout("").stderr_has(&words);
    }
}

#[test]
fn all_tags_come_page_by_page() {
    let Some((registry, server, store)) = behind(|request| {
        let Some((_, query)) = request.path.split_once("/tags/list?") else {
            return Reply::Forward;
        };
        let (tag, link) = match query.contains("last") {
            false => (
                "multi",
                vec!["Link: </v2/image/tags/list?last=multi&n=1>; rel=\"next\""],
            ),
            true => ("missing", vec![]),
        };
        let body = format!(r#"{{"name":"image","tags":["{tag}"]}}"#);
        crate::server::answer("200 OK", &link, body)
    }) else {
        return;
    };
    let all = store.onggi(["pull", "-a", &server.name("image")]).run();
    all.code(1)
        .stdout_has("multi: Pulling from image")
        .stderr_has("image:missing not found");
    let real = registry.name("image");
    store
        .onggi(["pull", "-a", &real])
        .run()
        .code(0)
        .stdout_has(&format!("Status: Downloaded newer image for {real}\n"));
    let tagged = store.onggi(["pull", "-a", &server.name(IMAGE)]).run();
    tagged
        .code(1)
        .stderr("onggi: tag can't be used with --all-tags/-a\n");
}

/// As many as a project gathers in years, all of one image.
#[test]
fn two_thousand_tags_are_taken_in() {
    let made = Made::new(&[Layer::gzip(&[("pot", b"clay")])]);
    let server = Server::start(None, move |request| {
        let Some((_, query)) = request.path.split_once("/tags/list?") else {
            return made.reply(request);
        };
        let first = query.split("last=v").nth(1);
        let first: usize = first.map_or(0, |last| last.split('&').next().unwrap().parse().unwrap());
        let page = first + 1..=(first + 130).min(2000);
        let link = format!(
            "Link: </v2/pot/tags/list?last=v{}&n=130>; rel=\"next\"",
            page.end()
        );
        let tags: Vec<_> = page.clone().map(|tag| format!("v{tag}")).collect();
        let body = serde_json::json!({"name": "pot", "tags": tags}).to_string();
        match *page.end() {
            2000 => answer("200 OK", &[], body),
            _ => answer("200 OK", &[&link], body),
        }
    });
    // Each name is on the disk before the next.
    let Some(store) = everyone_in_memory().next() else {
        return;
    };
    store
        .onggi(["pull", "-aq", &server.name("pot")])
        .run()
        .code(0);
    let listed = store
        .onggi(["images", "--format", "{{.Tag}}", &server.name("pot")])
        .run();
    assert_eq!(listed.stdout_text().lines().count(), 2000);
    let blobs = server.seen().iter().filter(|one| one.is_blob()).count();
    assert!(blobs <= 2, "{blobs} blobs");
}

#[test]
fn platforms_are_chosen_and_those_offered_are_told() {
    let Some(registry) = Registry::start(&Options::default()) else {
        return;
    };
    let Some(store) = crate::somebody() else {
        return;
    };
    let name = registry.name(IMAGE);
    let refused = store
        .onggi(["pull", "--platform", "linux/s390x", &name])
        .run();
    refused.code(1).stderr_has(
        "no matching manifest for linux/s390x in the manifest list entries: \
         it is offered for linux/amd64, linux/arm64, linux/arm/v7",
    );
    for architecture in ["amd64", "arm64"] {
        store
            .onggi([
                "pull",
                "--platform",
                &format!("linux/{architecture}"),
                &name,
            ])
            .run()
            .code(0);
        let shown = store
            .onggi(["image", "inspect", "-f", "{{.Architecture}}", &name])
            .run();
        shown.code(0).stdout(&format!("{architecture}\n"));
    }
}

#[test]
fn the_configuration_names_mirrors_and_blocks() {
    let Some((registry, server, store)) = behind(|_| Reply::Forward) else {
        return;
    };
    let file = store.path().join("registries.conf");
    let text = format!(
        "[[registry]]\nlocation = \"somewhere.invalid\"\n[[registry.mirror]]\nlocation = \"127.0.0.1:1/none\"\n\
         [[registry.mirror]]\nlocation = \"127.0.0.1:{}\"\n[[registry]]\nprefix = \"evil.invalid\"\nblocked = true\n\
         [aliases]\n\"pot\" = \"127.0.0.1:{}/image\"\n",
        server.port, registry.port
    );
    std::fs::write(&file, text).unwrap();
    let pull = |name: &str| {
        store
            .onggi(["pull", name])
            .env("CONTAINERS_REGISTRIES_CONF", &file)
            .run()
    };
    let name = format!("somewhere.invalid/{IMAGE}");
    pull(&name)
        .code(0)
        .stdout_has(&format!("Status: Downloaded newer image for {name}\n"));
    assert!(server.seen().iter().any(crate::Request::is_blob));
    pull("pot:multi")
        .code(0)
        .stdout_has("Status: Downloaded newer image for pot:multi\ndocker.io/library/pot:multi\n");
    pull("evil.invalid/x")
        .code(1)
        .stderr_has("registry evil.invalid is blocked in registries.conf");
}

#[test]
fn a_layer_that_somebody_removed_by_hand_comes_again() {
    let Some((_registry, server, store)) = behind(|_| Reply::Forward) else {
        return;
    };
    let name = server.name(IMAGE);
    store.onggi(["pull", "-q", &name]).run().code(0);
    let first = std::fs::read_dir(store.data().join("layers"))
        .unwrap()
        .next();
    std::fs::remove_dir_all(first.unwrap().unwrap().path()).unwrap();
    let run = || store.onggi(["run", "--rm", &name, "true"]).run();
    run()
        .code(125)
        .stderr_has(&format!("use the image {name}: the layer `"))
        .stderr_has("is missing\ntry: `onggi pull` brings it again");
    store.onggi(["pull", "-q", &name]).run().code(0);
    store.onggi(["system", "check", "--deep"]).run().code(0);
}

#[test]
fn where_standard_output_goes_to_a_full_disk_that_is_said() {
    let Some((_registry, server, store)) = behind(|_| Reply::Forward) else {
        return;
    };
    let mut command = store.onggi(["pull", &server.name(IMAGE)]).into_command();
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let outcome = command.stdout(full).output().unwrap();
    let said = String::from_utf8(outcome.stderr).unwrap();
    assert!(
        said.contains("try: free some space where standard output goes"),
        "{said}"
    );
}
