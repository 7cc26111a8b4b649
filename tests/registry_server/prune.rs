//! `registry prune` and `registry check`: what nothing names goes, what is young stays, and what is needed stays whole
//! or is told.

use crate::client::{OCI_INDEX, OCI_MANIFEST, json};
use crate::support::store::program;
use crate::support::{Call, Outcome};
use crate::{Served, digest_of, files};
use std::path::Path;
use std::process::Command;

fn registry(verb: &str, folder: &Path, options: &[&str]) -> Outcome {
    let mut command = Command::new(program());
    command.args(["registry", verb, "--storage"]).arg(folder);
    Call::new(command).args(options).run()
}

fn prune(folder: &Path, options: &[&str]) -> Outcome {
    registry("prune", folder, &[&["-f"], options].concat())
}

fn check(folder: &Path, options: &[&str]) -> Outcome {
    registry("check", folder, options)
}

/// Whatever is there is old enough.
const NOW: [&str; 2] = ["--filter", "until=1ns"];

#[test]
fn blobs_that_nothing_names_go() {
    let served = Served::start();
    let (client, folder) = (served.client(), served.folder());
    let kept = client.image("jar", "v1", "clay");
    let gone = client.image("jar", "v2", "sand");
    client.image("bowl", "v1", "sand");
    let stray = client.blob("cup", b"stray clay");
    client
        .ask("DELETE", &format!("/v2/jar/manifests/{}", digest_of(&gone)))
        .status(202);
    let before = files(&folder);
    prune(&folder, &[])
        .code(0)
        .stdout("Total reclaimed space: 0B\n");
    assert_eq!(files(&folder), before, "young ones stay");
    let outcome = prune(&folder, &NOW);
    outcome
        .code(0)
        .stdout(&format!("deleted: {stray}\nTotal reclaimed space: 10B\n"));
    assert_eq!(client.get("/v2/jar/manifests/v1").status(200).body, kept);
    client
        .get(&format!("/v2/jar/blobs/{}", digest_of(b"clay")))
        .status(200);
    client
        .get(&format!("/v2/jar/blobs/{}", digest_of(b"sand")))
        .status(404);
    client
        .get(&format!("/v2/bowl/blobs/{}", digest_of(b"sand")))
        .status(200);
    assert!(!folder.join("repositories/cup").exists());
    client
        .ask(
            "DELETE",
            &format!("/v2/bowl/manifests/{}", digest_of(&gone)),
        )
        .status(202);
    prune(&folder, &NOW)
        .code(0)
        .stdout_has(&format!("deleted: {}\n", digest_of(b"sand")));
    let blobs = files(&folder.join("blobs"));
    assert_eq!(
        blobs.len(),
        3,
        "a manifest, a config and a layer: {blobs:?}"
    );
    prune(&folder, &NOW)
        .code(0)
        .stdout("Total reclaimed space: 0B\n");
}

#[test]
fn manifests_without_a_tag_go_with_all() {
    let served = Served::start();
    let (client, folder) = (served.client(), served.folder());
    let descriptor = |bytes: &[u8]| json!({"mediaType": OCI_MANIFEST, "digest": digest_of(bytes), "size": bytes.len()});
    let child = client.image("jar", "child", "clay");
    let index = json!({"schemaVersion": 2, "manifests": [descriptor(&child)]}).to_string();
    client
        .put("jar", "index", OCI_INDEX, index.as_bytes())
        .status(201);
    client.ask("DELETE", "/v2/jar/manifests/child").status(202);
    let referrer =
        json!({"schemaVersion": 2, "manifests": [], "subject": descriptor(&child)}).to_string();
    client
        .put(
            "jar",
            &digest_of(referrer.as_bytes()),
            OCI_INDEX,
            referrer.as_bytes(),
        )
        .status(201);
    let first = client.image("jar", "moved", "first");
    client.image("jar", "moved", "second");
    prune(&folder, &NOW)
        .code(0)
        .stdout("Total reclaimed space: 0B\n");
    let outcome = prune(&folder, &[&NOW[..], &["--all"]].concat());
    outcome
        .code(0)
        .stdout_has(&format!("untagged: jar@{}\n", digest_of(&first)));
    outcome.stdout_has(&format!("deleted: {}\n", digest_of(b"first")));
    client
        .get(&format!("/v2/jar/manifests/{}", digest_of(&first)))
        .status(404);
    for bytes in [&child[..], index.as_bytes(), referrer.as_bytes()] {
        client
            .get(&format!("/v2/jar/manifests/{}", digest_of(bytes)))
            .status(200);
    }
    client
        .get(&format!("/v2/jar/blobs/{}", digest_of(b"clay")))
        .status(200);
}

#[test]
fn what_killed_servers_left_goes_and_uploads_go_on() {
    let served = Served::start();
    let (client, folder) = (served.client(), served.folder());
    let digest = client.blob("jar", b"clay");
    let place = client.begin("jar");
    client.send("PATCH", &place, &[], b"cl").status(202);
    let (_, hex) = digest.split_once(':').unwrap();
    let half = folder.join(format!(
        "repositories/jar/_blobs/sha256/{hex}.new-0123456789"
    ));
    std::fs::write(&half, b"").unwrap();
    let old = folder
        .join("repositories/jar/_uploads")
        .join("0".repeat(32));
    std::fs::write(&old, b"forgotten").unwrap();
    let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
    std::fs::File::open(&old)
        .unwrap()
        .set_modified(long_ago)
        .unwrap();
    prune(&folder, &[])
        .code(0)
        .stdout("Total reclaimed space: 9B\n");
    assert!(!half.exists() && !old.exists());
    client
        .send("PUT", &format!("{place}?digest={digest}"), &[], b"ay")
        .status(201);
}

#[test]
fn who_begins_an_upload_clears_away_what_was_left_an_hour_ago() {
    let served = Served::start();
    let client = served.client();
    let uploads = served.folder().join("repositories/jar/_uploads");
    let (left, young) = (client.begin("jar"), client.begin("jar"));
    client.send("PATCH", &left, &[], b"clay").status(202);
    let path = uploads.join(left.rsplit('/').next().unwrap());
    let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3601);
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(hour_ago).unwrap();
    client.begin("jar");
    client.get(&left).refused(404, "BLOB_UPLOAD_UNKNOWN");
    client.get(&young).status(204);
    assert_eq!(files(&uploads).len(), 2);
}

#[test]
fn what_is_damaged_is_found_and_pushed_again() {
    let served = Served::start();
    let (client, folder) = (served.client(), served.folder());
    let manifest = client.image("jar", "v1", "clay");
    client.image("kiln/bowl", "v1", "clay");
    client.image("cup", "v1", "sand");
    check(&folder, &[])
        .code(0)
        .stdout("The registry is consistent\n");
    let (clay, digest) = (digest_of(b"clay"), digest_of(&manifest));
    let place = |digest: &str| folder.join("blobs").join(digest.replace(':', "/"));
    let blob = format!("/v2/jar/blobs/{clay}");
    std::fs::write(place(&clay), b"play").unwrap();
    std::fs::write(place(&digest), b"{").unwrap();
    let told = |problem: &str| {
        let mut lines = [
            format!("{problem}: {clay} (jar, kiln/bowl)\n"),
            format!("{problem}: {digest} (jar, kiln/bowl)\n"),
        ];
        lines.sort();
        format!("{}2 findings\n", lines.concat())
    };
    let before = files(&folder);
    check(&folder, &[]).code(1).stdout(&told("damaged"));
    assert_eq!(files(&folder), before, "looking changes nothing");
    client.ask("HEAD", &blob).status(200);
    check(&folder, &["--repair"])
        .code(1)
        .stdout(&told("removed"));
    check(&folder, &["--repair"])
        .code(1)
        .stdout(&told("missing"));
    // Whoever pushes is told that it is not there, and sends it.
    client.ask("HEAD", &blob).status(404);
    client.get("/v2/jar/manifests/v1").status(404);
    assert_eq!(client.image("jar", "v1", "clay"), manifest);
    check(&folder, &[]).code(0);
    for name in ["jar", "kiln/bowl"] {
        let got = client.get(&format!("/v2/{name}/manifests/v1")).status(200);
        assert_eq!(got.body, manifest);
        client.get(&format!("/v2/{name}/blobs/{clay}")).status(200);
    }
    check(Path::new("/nonexistent"), &[])
        .code(1)
        .stderr_has("there is no registry in `/nonexistent`");
}

/// What the disk does not give any more (EIO, as of the memory of a process at its beginning) is no end of the check.
#[test]
fn what_cannot_be_read_any_more_is_damaged() {
    let served = Served::start();
    let (client, folder) = (served.client(), served.folder());
    let digest = client.blob("jar", b"clay");
    client.blob("cup", b"sand");
    let place = folder.join("blobs").join(digest.replace(':', "/"));
    std::fs::remove_file(&place).unwrap();
    std::os::unix::fs::symlink("/proc/self/mem", &place).unwrap();
    let told = |problem: &str| format!("{problem}: {digest} (jar)\n1 finding\n");
    check(&folder, &[]).code(1).stdout(&told("damaged"));
    check(&folder, &["--repair"])
        .code(1)
        .stdout(&told("removed"));
    assert_eq!(client.blob("jar", b"clay"), digest);
    check(&folder, &[]).code(0);
}

#[test]
fn what_cannot_be_read_is_not_guessed_at() {
    let served = Served::start();
    let (client, folder) = (served.client(), served.folder());
    let manifest = client.image("jar", "v1", "clay");
    let digest = digest_of(&manifest);
    let path = folder.join("blobs").join(digest.replace(':', "/"));
    std::fs::write(&path, b"{").unwrap();
    let before = files(&folder);
    let outcome = prune(&folder, &NOW);
    outcome
        .code(1)
        .stderr_has(&format!("the manifest {digest} cannot be read"));
    assert_eq!(files(&folder), before);
    client.get("/v2/jar/manifests/v1").refused(500, "UNKNOWN");
    // Whoever pushes it again mends it.
    client.put("jar", "v1", OCI_MANIFEST, &manifest).status(201);
    prune(&folder, &NOW).code(0);
    client.get("/v2/jar/manifests/v1").status(200);
    prune(Path::new("/nonexistent"), &[])
        .code(1)
        .stderr_has("there is no registry in `/nonexistent`");
    prune(&folder, &["--filter", "until=soon"])
        .code(1)
        .stderr_has("failed to parse");
    prune(&folder, &["--filter", "label=x"])
        .code(1)
        .stderr_has("invalid filter 'label'");
}
