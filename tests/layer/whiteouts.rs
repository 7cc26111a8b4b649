//! Whiteouts and opaque directories, judged by what an overlay of the layers shows.

use super::archive::Tar;
use super::{Layers, RULES, as_root, attributes, describe, with_failing};
use onggi::image::layer::{Rules, XattrPrefix};

fn base() -> Tar {
    Tar::new()
        .directory("a/", 0o755)
        .file("a/1", "1")
        .file("a/2", "2")
        .directory("a/sub/", 0o755)
        .file("a/sub/3", "3")
        .file("b", "b")
}

/// Layers over [`base`], and what is to be seen then.
fn cases() -> Vec<(&'static str, Tar, Vec<&'static str>)> {
    let tar = Tar::new;
    vec![
        (
            "file",
            tar().file("a/.wh.1", ""),
            vec!["a", "a/2", "a/sub", "a/sub/3", "b"],
        ),
        (
            "directory",
            tar().file("a/.wh.sub", ""),
            vec!["a", "a/1", "a/2", "b"],
        ),
        ("at the root", tar().file(".wh.a", ""), vec!["b"]),
        (
            "opaque",
            tar().directory("a/", 0o755).file("a/.wh..wh..opq", ""),
            vec!["a", "b"],
        ),
        (
            "opaque, implied",
            tar().file("a/.wh..wh..opq", "").file("a/new", ""),
            vec!["a", "a/new", "b"],
        ),
        (
            "opaque, late",
            tar().file("a/new", "").file("a/.wh..wh..opq", ""),
            vec!["a", "a/new", "b"],
        ),
        (
            "opaque, nested",
            tar().file("a/sub/.wh..wh..opq", ""),
            vec!["a", "a/1", "a/2", "a/sub", "b"],
        ),
        (
            "opaque root",
            tar().file(".wh..wh..opq", "").file("new", ""),
            vec!["new"],
        ),
        (
            "opaque root, kept directory",
            tar().file("a/new", "").file(".wh..wh..opq", ""),
            vec!["a", "a/new"],
        ),
        (
            "entry wins, first",
            tar().file("b", "new").file(".wh.b", ""),
            vec!["a", "a/1", "a/2", "a/sub", "a/sub/3", "b"],
        ),
        (
            "entry wins, last",
            tar().file(".wh.b", "").file("b", "new"),
            vec!["a", "a/1", "a/2", "a/sub", "a/sub/3", "b"],
        ),
        (
            "new directory, first",
            tar()
                .directory("a/", 0o755)
                .file(".wh.a", "")
                .file("a/n", ""),
            vec!["a", "a/n", "b"],
        ),
        (
            "new directory, last",
            tar()
                .file(".wh.a", "")
                .directory("a/", 0o755)
                .file("a/n", ""),
            vec!["a", "a/n", "b"],
        ),
        (
            "new directory, implied",
            tar().file(".wh.a", "").file("a/n", ""),
            vec!["a", "a/n", "b"],
        ),
        (
            "file for directory",
            tar().file("a", "file"),
            vec!["a", "b"],
        ),
        (
            "directory for file",
            tar().directory("b/", 0o755),
            vec!["a", "a/1", "a/2", "a/sub", "a/sub/3", "b"],
        ),
        (
            "file, then directory",
            tar().file("a", "").directory("a/", 0o755),
            vec!["a", "b"],
        ),
        (
            "in an opaque one",
            tar()
                .file("a/.wh.1", "")
                .file("a/.wh..wh..opq", "")
                .file("a/n", ""),
            vec!["a", "a/n", "b"],
        ),
        (
            "twice",
            tar().file(".wh.b", "").file(".wh.b", "").file(".wh.a", ""),
            vec![],
        ),
        (
            "with content",
            tar().file(".wh.b", "what is this").file(".wh.a", ""),
            vec![],
        ),
        (
            "a node that is one",
            tar().device("b", b'3', 0, 0).device("a", b'3', 0, 0),
            vec![],
        ),
        (
            "of nothing",
            tar().file("x/.wh.y", "").file(".wh.a", ""),
            vec!["b", "x"],
        ),
        (
            "of aufs",
            tar()
                .directory(".wh..wh.plnk/", 0o755)
                .file(".wh..wh.plnk/1.2", "linked")
                .file(".wh..wh.aufs", "")
                .hard_link("n", ".wh..wh.plnk/1.2")
                .file(".wh.a", ""),
            vec!["b", "n"],
        ),
    ]
}

#[test]
fn overlays_show_what_the_layers_say() {
    if !as_root() {
        return;
    }
    for xattrs in [XattrPrefix::Trusted, XattrPrefix::User] {
        for (name, tar, expected) in cases() {
            let mut layers = Layers::with(Rules { xattrs, ..RULES });
            layers.add(&base());
            layers.add(&tar);
            assert_eq!(layers.merged_names(), expected, "{name}, {xattrs:?}");
        }
    }
}

#[test]
fn where_no_device_node_can_be_made() {
    if !as_root() {
        return;
    }
    for xattrs in [XattrPrefix::Trusted, XattrPrefix::User] {
        for (name, tar, expected) in cases() {
            let mut layers = Layers::with(Rules { xattrs, ..RULES });
            layers.add(&base());
            with_failing(&[libc::SYS_mknodat], libc::EPERM, || layers.add(&tar));
            let nodes = describe(layers.top())
                .into_values()
                .filter(|what| what.contains("character"))
                .count();
            assert_eq!(
                (layers.merged_names(), nodes),
                (expected.iter().map(|name| (*name).to_owned()).collect(), 0),
                "{name}, {xattrs:?}"
            );
        }
    }
}

#[test]
fn a_third_layer_sees_through_both_forms() {
    if !as_root() {
        return;
    }
    let mut layers = Layers::new();
    layers.add(
        &Tar::new()
            .directory("a/", 0o700)
            .directory("b/", 0o700)
            .directory("c/", 0o700),
    );
    layers.add(&Tar::new().file(".wh.a", ""));
    with_failing(&[libc::SYS_mknodat], libc::EPERM, || {
        layers.add(&Tar::new().file(".wh.b", ""))
    });
    layers.add(
        &Tar::new()
            .directory("./", 0o755)
            .file("a/x", "")
            .file("b/x", "")
            .file("c/x", ""),
    );
    let tree = describe(layers.top());
    let modes: Vec<_> = ["a", "b", "c"]
        .iter()
        .map(|name| tree[*name].split(' ').next().unwrap())
        .collect();
    assert_eq!(modes, ["0755", "0755", "0700"]);
}

#[test]
fn a_spelled_out_root_depends_on_what_is_below() {
    if !as_root() {
        return;
    }
    let mut layers = Layers::new();
    layers.add(&base());
    assert!(
        layers
            .add(&Tar::new().file(".wh..wh..opq", ""))
            .depends_on_parents
    );
    assert!(
        !Layers::new()
            .add(&Tar::new().file(".wh..wh..opq", ""))
            .depends_on_parents
    );
    let mut layers = Layers::new();
    layers.add(&base());
    assert!(
        !layers
            .add(&Tar::new().directory("a/", 0o755).file("a/.wh..wh..opq", ""))
            .depends_on_parents
    );
    assert_eq!(
        attributes(&layers.top().join("a")),
        ["trusted.overlay.opaque=y"]
    );
}
