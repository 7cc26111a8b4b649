//! What a container sees of an image is what other tools make of it: names, types, modes, owners, links, extended
//! attributes, device numbers, times and contents. The oracles are umoci for OCI layouts (docker archives are
//! copied into one by skopeo) and GNU tar for a plain root file system.
//!
//! Left out of the comparison, since the other side has it otherwise:
//! - times of directories: unpacking a later layer into the same tree changes them, an overlay's layers keep theirs;
//! - link counts of directories, which an overlay gives as 1, and of files as a number: of two names in one layer a
//!   later layer may hide one. Which names are one file is compared instead.

mod support;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{lgetxattr, llistxattr};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Need, Store, User, image, requires, store};

/// Everything that is compared of one file.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    mode: u32,
    owner: (u32, u32),
    device: u64,
    size: u64,
    modified: Option<(i64, i64)>,
    link: Option<PathBuf>,
    attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    content: Option<String>,
    /// The first name of the same file.
    same_as: PathBuf,
}

type Tree = BTreeMap<PathBuf, Seen>;

fn look(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut first_names = BTreeMap::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(relative) = waiting.pop() {
        let path = root.join(&relative);
        let metadata = fs::symlink_metadata(&path).unwrap();
        let kind = metadata.file_type();
        if kind.is_dir() {
            let entries = fs::read_dir(&path).unwrap();
            waiting.extend(entries.map(|entry| relative.join(entry.unwrap().file_name())));
        }
        let seen = Seen {
            mode: metadata.mode(),
            owner: (metadata.uid(), metadata.gid()),
            device: metadata.rdev(),
            size: if kind.is_file() { metadata.size() } else { 0 },
            modified: (!kind.is_dir()).then(|| (metadata.mtime(), metadata.mtime_nsec())),
            link: kind.is_symlink().then(|| fs::read_link(&path).unwrap()),
            attributes: attributes(&path),
            content: kind.is_file().then(|| digest(&path)),
            same_as: PathBuf::new(),
        };
        if !kind.is_dir() {
            first_names
                .entry(metadata.ino())
                .or_insert_with(Vec::new)
                .push(relative.clone());
        }
        tree.insert(relative, seen);
    }
    for mut names in first_names.into_values() {
        names.sort();
        for name in &names {
            tree.get_mut(name).unwrap().same_as = names[0].clone();
        }
    }
    tree
}

fn attributes(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut list = vec![0; 1 << 16];
    let length = llistxattr(path, &mut list).unwrap_or(0);
    let names = list[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    let of_the_overlay =
        |name: &[u8]| name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.");
    names
        .filter(|name| !of_the_overlay(name))
        .map(|name| {
            let mut value = vec![0; 1 << 16];
            let length = lgetxattr(path, name, &mut value).unwrap();
            (name.to_vec(), value[..length].to_vec())
        })
        .collect()
}

fn digest(path: &Path) -> String {
    onggi::image::digest::Digest::of(&fs::read(path).unwrap()).to_string()
}

fn assert_same(name: &str, ours: &Tree, theirs: &Tree) {
    let mut differences = Vec::new();
    for path in ours
        .keys()
        .chain(theirs.keys().filter(|path| !ours.contains_key(*path)))
    {
        if ours.get(path) != theirs.get(path) {
            differences.push(format!(
                "{}\n  ours   {:?}\n  theirs {:?}",
                path.display(),
                ours.get(path),
                theirs.get(path)
            ));
        }
    }
    let shown = &differences[..differences.len().min(10)];
    assert!(
        differences.is_empty(),
        "{name}: {} differences\n{}",
        differences.len(),
        shown.join("\n")
    );
    assert!(!ours.is_empty(), "{name} is empty");
}

/// The merged tree of an image in a store, mounted where only this thread sees it.
fn merged(store: &Store, id: &str) -> Tree {
    let inspected = store.onggi(["image", "inspect", id]).run().code(0).json();
    let data = &inspected[0]["GraphDriver"]["Data"];
    let upper = data["UpperDir"].as_str().unwrap().to_owned();
    let lower = data["LowerDir"].as_str().unwrap_or_default().to_owned();
    let layers: Vec<PathBuf> = std::iter::once(upper.as_str())
        .chain(lower.split(':'))
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .collect();
    let [only] = layers.as_slice() else {
        let place = store.path().join("merged");
        fs::create_dir_all(&place).unwrap();
        return std::thread::spawn(move || look_at_overlay(&layers, &place))
            .join()
            .unwrap();
    };
    look(only)
}

fn look_at_overlay(layers: &[PathBuf], place: &Path) -> Tree {
    // A thread with a mount namespace has a current directory of its own, too.
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )
    .unwrap();
    // Short names, since mount(2) takes one page of options.
    let names = place.with_extension("layers");
    fs::create_dir_all(&names).unwrap();
    for (number, layer) in layers.iter().enumerate() {
        std::os::unix::fs::symlink(layer, names.join(number.to_string())).unwrap();
    }
    rustix::process::chdir(&names).unwrap();
    let numbers: Vec<String> = (0..layers.len()).map(|number| number.to_string()).collect();
    let options = format!("lowerdir={}", numbers.join(":"));
    mount(
        Some("overlay"),
        place,
        Some("overlay"),
        MsFlags::MS_RDONLY,
        Some(options.as_str()),
    )
    .unwrap();
    look(place)
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A copy of an OCI layout whose only image is called `it`, as umoci wants it.
fn named_layout(layout: &Path, to: &Path) {
    run(
        "cp",
        &["-r", layout.to_str().unwrap(), to.to_str().unwrap()],
    );
    let path = to.join("index.json");
    let mut index: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let manifest = &mut index["manifests"][0];
    manifest["annotations"] = serde_json::json!({ "org.opencontainers.image.ref.name": "it" });
    fs::remove_file(&path).unwrap();
    fs::write(&path, index.to_string()).unwrap();
}

/// The same with OCI's media types, the only ones that umoci knows. skopeo does not take Docker's in a layout, but in
/// a plain directory of blobs.
fn converted(store: &Store, layout: &Path) -> PathBuf {
    let (blobs, to) = (store.path().join("blobs"), store.path().join("converted"));
    run(
        "cp",
        &[
            "-r",
            layout.join("blobs/sha256").to_str().unwrap(),
            blobs.to_str().unwrap(),
        ],
    );
    let index: serde_json::Value =
        serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let manifest = index["manifests"][0]["digest"]
        .as_str()
        .unwrap()
        .replace("sha256:", "");
    fs::rename(blobs.join(manifest), blobs.join("manifest.json")).unwrap();
    fs::write(blobs.join("version"), "Directory Transport Version: 1.1\n").unwrap();
    let (from, oci) = (
        format!("dir:{}", blobs.display()),
        format!("oci:{}:it", to.display()),
    );
    run(
        "skopeo",
        &["copy", "--insecure-policy", "--format", "oci", &from, &oci],
    );
    to
}

fn unpacked_by_umoci(store: &Store, layout: &Path) -> Tree {
    let rootfs = store.path().join("rootfs");
    // Without a bundle around it, which images without an operating system in their config do not get.
    let image = format!("{}:it", layout.display());
    run(
        "umoci",
        &["raw", "unpack", "--image", &image, rootfs.to_str().unwrap()],
    );
    look(&rootfs)
}

fn compare_layout(name: &str) {
    let Some(store) = store(User::Root) else {
        return;
    };
    let Some(path) = image(name) else { return };
    if !requires(&[Need::Program("umoci"), Need::Program("skopeo")]) {
        return;
    }
    let Some(id) = store.load(name) else { return };
    let layout = store.path().join("layout");
    named_layout(&path, &layout);
    let index = fs::read_to_string(layout.join("index.json")).unwrap();
    let layout = if index.contains("application/vnd.docker") {
        converted(&store, &layout)
    } else {
        layout
    };
    assert_same(
        name,
        &merged(&store, &id),
        &unpacked_by_umoci(&store, &layout),
    );
}

fn compare_docker_archive(name: &str) {
    let Some(store) = store(User::Root) else {
        return;
    };
    let Some(path) = image(name) else { return };
    if !requires(&[Need::Program("umoci"), Need::Program("skopeo")]) {
        return;
    }
    let Some(id) = store.load(name) else { return };
    let layout = store.path().join("layout");
    run(
        "skopeo",
        &[
            "copy",
            "--insecure-policy",
            &format!("docker-archive:{}", path.display()),
            &format!("oci:{}:it", layout.display()),
        ],
    );
    assert_same(
        name,
        &merged(&store, &id),
        &unpacked_by_umoci(&store, &layout),
    );
}

#[test]
fn thirty_two_layers() {
    compare_layout("grootfs/garden-rootfs");
}

#[test]
fn capabilities_opaque_directories_and_odd_names() {
    compare_layout("alpine-caps-opaque-oci");
}

#[test]
fn the_same_image_as_a_docker_archive() {
    compare_docker_archive("archives/alpine-caps-opaque.docker.tar");
}

#[test]
fn a_docker_archive_with_whiteouts() {
    compare_docker_archive("archives/test-docker-image.tar");
}

#[test]
fn whiteouts_and_hard_links_across_layers() {
    compare_layout("oci-tools/whiteout-opaque");
    compare_layout("oci-tools/hard-link-1");
}

#[test]
fn a_root_file_system() {
    let Some(store) = store(User::Root) else {
        return;
    };
    let Some(path) = image("alpine-3.20.3-rootfs/alpine-minirootfs-3.20.3-x86_64.tar.gz") else {
        return;
    };
    let outcome = store.onggi(["import", path.to_str().unwrap()]).run();
    let id = outcome.code(0).stdout_text();
    let rootfs = store.path().join("rootfs");
    fs::create_dir(&rootfs).unwrap();
    run(
        "tar",
        &[
            "-C",
            rootfs.to_str().unwrap(),
            "--xattrs",
            "--xattrs-include=*",
            "-xpzf",
            path.to_str().unwrap(),
        ],
    );
    assert_same("alpine", &merged(&store, id.trim()), &look(&rootfs));
}
