//! Connections that break, processes that are killed, bytes that are wrong: nothing is downloaded twice but what must be,
//! and nothing wrong comes in.

use crate::behind;
use crate::real::IMAGE;
use crate::server::Reply;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const PIECE: usize = 300_000;

fn downloads(store: &crate::Store) -> BTreeMap<PathBuf, u64> {
    let entries = std::fs::read_dir(store.data().join("downloads"))
        .into_iter()
        .flatten();
    entries
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.path(), entry.metadata().unwrap().len()))
        .collect()
}

#[test]
fn what_breaks_goes_on_where_it_broke() {
    let Some((registry, server, store)) = behind(|request| match request.is_blob() {
        true => Reply::Cut(PIECE),
        false => Reply::Forward,
    }) else {
        return;
    };
    let total: u64 = registry.layers().iter().map(|(_, size)| size).sum();
    store
        .onggi(["pull", &server.name(IMAGE)])
        .run()
        .code(0)
        .stdout_has("Retrying");
    let ranges = server
        .seen()
        .iter()
        .filter(|request| !request.header("range").is_empty())
        .count();
    assert!(ranges > 3, "{ranges} ranges");
    // The config comes by the same way.
    let most = total + 20_000;
    assert!(
        server.sent() <= most,
        "{} bytes were sent for {total}",
        server.sent()
    );
    store.onggi(["system", "check", "--deep"]).run().code(0);
}

#[test]
fn a_registry_without_ranges_sends_all_of_it_again() {
    let Some((registry, server, store)) = behind(|request| match request.is_blob() {
        true if request.earlier == 0 => Reply::Cut(PIECE),
        true => Reply::Whole,
        false => Reply::Forward,
    }) else {
        return;
    };
    store.onggi(["pull", &server.name(IMAGE)]).run().code(0);
    assert!(server.sent() > registry.layers().iter().map(|(_, size)| size).sum());
    store.onggi(["system", "check", "--deep"]).run().code(0);
}

#[test]
fn a_killed_pull_is_gone_on_with_by_the_next_command() {
    let slow = Arc::new(AtomicBool::new(true));
    let shared = slow.clone();
    let Some((registry, server, store)) = behind(move |request| match request.is_blob() {
        true if shared.load(Ordering::SeqCst) => Reply::Slow(50_000, Duration::from_millis(100)),
        _ => Reply::Forward,
    }) else {
        return;
    };
    let name = server.name(IMAGE);
    let mut child = store.onggi(["pull", &name]).spawn();
    let end = Instant::now() + Duration::from_secs(60);
    while downloads(&store).values().sum::<u64>() < 200_000 {
        assert!(Instant::now() < end, "nothing comes");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let kept: u64 = downloads(&store).values().sum();
    slow.store(false, Ordering::SeqCst);
    let before = server.sent();
    store.onggi(["create", &name, "x"]).run().code(0);
    let total: u64 = registry.layers().iter().map(|(_, size)| size).sum();
    let second = server.sent() - before;
    // Without the slow server's last pieces, which it counts although nobody takes them.
    assert!(
        second <= total - kept + 400_000,
        "{second} bytes for {total} of which {kept} were here"
    );
    assert!(
        server
            .seen()
            .iter()
            .any(|request| !request.header("range").is_empty())
    );
    assert!(downloads(&store).is_empty());
    store.onggi(["system", "check", "--deep"]).run().code(0);
}

#[test]
fn two_processes_download_each_layer_once() {
    let Some((registry, server, store)) = behind(|request| match request.is_blob() {
        true => Reply::Slow(200_000, Duration::from_millis(20)),
        false => Reply::Forward,
    }) else {
        return;
    };
    let name = server.name(IMAGE);
    let children: Vec<_> = (0..3)
        .map(|_| store.onggi(["pull", &name]).spawn())
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    for (digest, _) in registry.layers() {
        let asked = server
            .seen()
            .iter()
            .filter(|request| request.path.ends_with(&digest))
            .count();
        assert_eq!(asked, 1, "{digest}");
    }
    assert!(downloads(&store).is_empty());
    store.onggi(["system", "check", "--deep"]).run().code(0);
}

#[test]
fn wrong_bytes_never_come_in() {
    let Some((_registry, server, store)) = behind(|request| match request.is_blob() {
        true => Reply::Corrupt(1000),
        false => Reply::Forward,
    }) else {
        return;
    };
    let refused = store.onggi(["pull", &server.name(IMAGE)]).run();
    refused.code(1).stderr_has("digest");
    assert_eq!(store.onggi(["images", "-q"]).run().stdout_text(), "");
    store.onggi(["system", "check", "--deep"]).run().code(0);
}

#[test]
fn a_wrong_layer_is_told_and_not_kept() {
    // The config is shorter than that.
    let Some((_registry, server, store)) = behind(|request| match request.is_blob() {
        true => Reply::Corrupt(100_000),
        false => Reply::Forward,
    }) else {
        return;
    };
    let refused = store.onggi(["pull", &server.name(IMAGE)]).run();
    let place = format!(" of 127.0.0.1:{}/image (sha256:", server.port);
    refused
        .code(1)
        .stderr_has("onggi: layer ")
        .stderr_has(&place);
    let said = refused.stderr_text();
    let (_, rest) = said.split_once("(sha256:").unwrap();
    assert!(
        !store.data().join("downloads").join(&rest[..64]).exists(),
        "{said}"
    );
    assert_eq!(store.onggi(["images", "-q"]).run().stdout_text(), "");
}

#[test]
fn a_blob_that_is_missing_is_told_with_its_registry() {
    let Some((_registry, server, store)) = behind(|request| match request.is_blob() {
        true => crate::server::error("404 Not Found", "BLOB_UNKNOWN"),
        false => Reply::Forward,
    }) else {
        return;
    };
    let refused = store.onggi(["pull", &server.name(IMAGE)]).run();
    let place = format!("127.0.0.1:{}/image does not have sha256:", server.port);
    refused
        .code(1)
        .stderr_has(&place)
        .stderr_lacks("manifest for");
}

#[test]
fn what_was_spoilt_before_is_fetched_anew() {
    let Some((registry, server, store)) = behind(|_| Reply::Forward) else {
        return;
    };
    let directory = store.data().join("downloads");
    store.onggi(["images"]).run().code(0);
    store.command("mkdir").arg(&directory).status().unwrap();
    for (digest, size) in registry.layers() {
        let file = directory.join(digest.split_once(':').unwrap().1);
        let wrong = vec![0u8; usize::try_from(size).unwrap() / 2];
        std::fs::write(&file, wrong).unwrap();
        std::os::unix::fs::chown(&file, Some(store.account.uid), Some(store.account.gid)).unwrap();
    }
    store.onggi(["pull", &server.name(IMAGE)]).run().code(0);
    assert!(downloads(&store).is_empty());
    store.onggi(["system", "check", "--deep"]).run().code(0);
}

/// Unmounted when dropped, also when the test fails.
struct Mounted(PathBuf);

impl Mounted {
    fn tmpfs(place: PathBuf, options: &str) -> Self {
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(&place)
            .status();
        assert!(mount.unwrap().success());
        Self(place)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_keeps_what_is_there_and_tells_what_is_missing() {
    let Some((registry, server, store)) = behind(|_| Reply::Forward) else {
        return;
    };
    if store.user != crate::User::Root {
        crate::support::skip("mounting needs root");
        return;
    }
    let total: u64 = registry.layers().iter().map(|(_, size)| size).sum();
    let _mounted = Mounted::tmpfs(store.data(), &format!("size={}", total / 2));
    let name = server.name(IMAGE);
    let full = store.onggi(["pull", &name]).run();
    full.code(1)
        .stderr_has("onggi: layer ")
        .stderr_has("disk full")
        .stderr_has("system prune");
    let said = full.stderr_text();
    let missing = said.split_once(" bytes of the image not yet unpacked");
    let (before, _) = missing.unwrap_or_else(|| panic!("{said}"));
    let missing: u64 = before.rsplit(' ').next().unwrap().parse().unwrap();
    assert!((1..=total).contains(&missing), "{said}");
    let kept: u64 = downloads(&store).values().sum();
    assert!(kept > 0);
    assert_eq!(store.onggi(["images", "-q"]).run().stdout_text(), "");
    let larger = std::process::Command::new("mount")
        .args(["-o", "remount,size=256m"])
        .arg(store.data())
        .status();
    assert!(larger.unwrap().success());
    let before = server.sent();
    store.onggi(["pull", &name]).run().code(0);
    let second = server.sent() - before;
    assert!(
        second < total,
        "{second} bytes of {total}, {kept} were here"
    );
    assert!(downloads(&store).is_empty());
}

#[test]
fn what_nobody_goes_on_with_is_counted_and_pruned() {
    let Some((_registry, server, store)) = behind(|request| match request.is_blob() {
        true if request.header("range").is_empty() => Reply::Cut(PIECE),
        true => crate::server::error("404 Not Found", "BLOB_UNKNOWN"),
        false => Reply::Forward,
    }) else {
        return;
    };
    store.onggi(["pull", &server.name(IMAGE)]).run().code(1);
    let kept: u64 = downloads(&store).values().sum();
    assert!(kept > 0);
    let disk = store.onggi(["system", "df", "--format", "json"]).run();
    disk.code(0);
    store
        .onggi(["system", "prune", "-f"])
        .run()
        .code(0)
        .stdout_has("Total reclaimed space:")
        .stdout_lacks(" 0B");
    assert!(downloads(&store).is_empty());
}
