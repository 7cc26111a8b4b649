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

/// A layer over [`base`], and what is to be seen then. `a/` is a directory, `a=b` a hard link to `b`, `a*` the
/// device 0:0, all else a file.
const CASES: &[(&str, &str)] = &[
    // Whiteouts.
    ("a/.wh.1", "a a/2 a/sub a/sub/3 b"),
    ("a/.wh.sub", "a a/1 a/2 b"),
    (".wh.a", "b"),
    (".wh.b .wh.b .wh.a", ""),
    ("b* a*", ""),
    // Opaque directories, whatever comes first.
    ("a/ a/.wh..wh..opq", "a b"),
    ("a/.wh..wh..opq a/new", "a a/new b"),
    ("a/new a/.wh..wh..opq", "a a/new b"),
    ("a/sub/.wh..wh..opq", "a a/1 a/2 a/sub b"),
    (".wh..wh..opq new", "new"),
    ("a/new .wh..wh..opq", "a a/new"),
    // Entries of the same layer win.
    ("b .wh.b", "a a/1 a/2 a/sub a/sub/3 b"),
    (".wh.b b", "a a/1 a/2 a/sub a/sub/3 b"),
    ("a/ .wh.a a/new", "a a/new b"),
    (".wh.a a/ a/new", "a a/new b"),
    (".wh.a a/new", "a a/new b"),
    // One kind in place of another.
    ("a", "a b"),
    ("b/", "a a/1 a/2 a/sub a/sub/3 b"),
    ("a a/", "a b"),
    // Whiteouts in directories that are not merged.
    ("a/.wh.1 a/.wh..wh..opq a/new", "a a/new b"),
    ("a/sub/.wh.3 a/.wh..wh..opq", "a a/sub b"),
    ("x/.wh.y .wh.a", "b x"),
    // What aufs kept for itself.
    (
        ".wh..wh.plnk/ .wh..wh.plnk/1.2 .wh..wh.aufs n=.wh..wh.plnk/1.2 .wh.a",
        "b n",
    ),
];

fn layer(members: &str) -> Tar {
    members.split(' ').fold(Tar::new(), |tar, member| {
        if let Some(name) = member.strip_suffix('*') {
            tar.device(name, b'3', 0, 0)
        } else if let Some((name, target)) = member.split_once('=') {
            tar.hard_link(name, target)
        } else if member.ends_with('/') {
            tar.directory(member, 0o755)
        } else {
            tar.file(member, "content")
        }
    })
}

#[test]
fn overlays_show_what_the_layers_say() {
    if !as_root() {
        return;
    }
    for xattrs in [XattrPrefix::Trusted, XattrPrefix::User] {
        for (members, expected) in CASES {
            let mut layers = Layers::with(Rules { xattrs, ..RULES });
            layers.add(&base());
            layers.add(&layer(members));
            assert_eq!(layers.merged_names(), *expected, "{members}, {xattrs:?}");
        }
    }
}

#[test]
fn where_no_device_node_can_be_made() {
    if !as_root() {
        return;
    }
    for xattrs in [XattrPrefix::Trusted, XattrPrefix::User] {
        for (members, expected) in CASES {
            let mut layers = Layers::with(Rules { xattrs, ..RULES });
            layers.add(&base());
            let add = || layers.add(&layer(members));
            with_failing(&[libc::SYS_mknodat], libc::EPERM, add);
            let tree = describe(layers.top());
            assert!(!tree.values().any(|what| what.contains("character")));
            assert_eq!(layers.merged_names(), *expected, "{members}, {xattrs:?}");
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
    let inside = Tar::new().file("a/.wh..wh..opq", "").file("a/.wh.1", "");
    assert!(!layers.add(&inside).depends_on_parents);
    assert_eq!(
        attributes(&layers.top().join("a")),
        ["trusted.overlay.opaque=y"]
    );
}
