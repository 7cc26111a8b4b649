//! Random archives: whatever is unpacked comes out again byte for byte, and what it leaves in the tree does not
//! depend on how the blob was compressed.

use super::archive::{Tar, gzip, zstd};
use super::{Layers, RULES, describe};
use crate::support::host::is_root;
use onggi::image::layer::{Devices, Owners, Rules, XattrPrefix, stream_tar};
use proptest::prelude::*;

/// Few names, so that members meet.
fn name() -> impl Strategy<Value = String> {
    let component = prop_oneof![8 => "[a-c]", 1 => "\\.wh\\.[a-c]", 1 => Just(".wh..wh..opq".to_owned()), 1 => Just(".".to_owned())];
    prop::collection::vec(component, 1..4).prop_map(|components| components.join("/"))
}

#[derive(Clone, Debug)]
enum Kind {
    File(Vec<u8>),
    Sparse(u64, Vec<u8>),
    Directory,
    Symlink(String),
    HardLink(String),
    Fifo,
    Device,
    Pax(Vec<u8>),
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..1500).prop_map(Kind::File),
        1 => (0u64..100_000, prop::collection::vec(any::<u8>(), 1..600)).prop_map(|(hole, data)| Kind::Sparse(hole, data)),
        4 => Just(Kind::Directory),
        2 => name().prop_map(Kind::Symlink),
        2 => name().prop_map(Kind::HardLink),
        1 => Just(Kind::Fifo),
        1 => Just(Kind::Device),
        1 => prop::collection::vec(any::<u8>(), 0..50).prop_map(Kind::Pax),
    ]
}

fn add(tar: Tar, name: &str, mode: u32, kind: &Kind) -> Tar {
    let plain = |header: &mut tar::Header| header.set_mode(mode);
    match kind {
        Kind::File(content) => tar.member(b'0', name, "", content, plain),
        Kind::Sparse(hole, data) => {
            let map = format!("{hole},{}", data.len());
            let size = (hole + data.len() as u64 + 10).to_string();
            tar.pax(&[
                ("GNU.sparse.map", map.as_bytes()),
                ("GNU.sparse.size", size.as_bytes()),
            ])
            .member(b'0', name, "", data, plain)
        }
        Kind::Directory => tar.member(b'5', name, "", b"", plain),
        Kind::Symlink(target) => tar.member(b'2', name, target, b"", plain),
        Kind::HardLink(target) => tar.member(b'1', name, target, b"", plain),
        Kind::Fifo => tar.member(b'6', name, "", b"", plain),
        Kind::Device => tar.device(name, b'3', 1, 3),
        Kind::Pax(value) => tar.pax(&[("SCHILY.xattr.user.note", value)]).member(
            b'0',
            name,
            "",
            b"with a note",
            plain,
        ),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn archives_come_out_as_they_went_in(
        members in prop::collection::vec((name(), 0u32..0o1000, kind()), 1..25),
        padding in 0usize..3,
    ) {
        let rules = Rules { owners: Owners::SingleId, xattrs: XattrPrefix::User, devices: Devices::Skip, ..RULES };
        let mut layers = Layers::with(rules.clone());
        layers.add(&Tar::new().directory("a/", 0o700).file("a/b", "below").symlink("b", "a").directory("c/", 0o755));
        // A member that cannot be placed is left away, so that the others meet as often as they may.
        let mut tar = Tar::new();
        for (name, mode, kind) in &members {
            // In use, a user namespace gives the right to read what no mode lets read.
            let mode = if is_root() { *mode } else { *mode | 0o700 };
            let longer = add(tar.clone(), name, mode, kind);
            let mut attempt = Layers { trees: layers.trees.clone(), ..Layers::with(rules.clone()) };
            if attempt.try_blob(&longer.bytes()).is_ok() {
                tar = longer;
            }
        }
        let bytes = tar.raw(&vec![0; padding * 512]).unfinished().bytes();
        let mut trees = Vec::new();
        for blob in [bytes.clone(), gzip(&bytes), zstd(&bytes)] {
            let mut upper = Layers { trees: layers.trees.clone(), ..Layers::with(rules.clone()) };
            let unpacked = upper.try_blob(&blob).unwrap();
            let mut again = Vec::new();
            prop_assert_eq!(stream_tar(&upper.layer(1), &mut again).unwrap(), unpacked.diff_id);
            prop_assert!(again == bytes);
            prop_assert_eq!(std::fs::read_dir(upper.layer(1)).unwrap().count(), 2);
            let mut tree = describe(upper.top());
            // Whiteouts have the time of now.
            tree.retain(|_, what| !what.contains("character 0:0"));
            trees.push(tree);
        }
        prop_assert_eq!(&trees[0], &trees[1]);
        prop_assert_eq!(&trees[0], &trees[2]);
    }

    #[test]
    fn random_damage_never_panics(at in 0usize..6000, value in any::<u8>()) {
        let mut bytes = Tar::new()
            .directory("a/", 0o700)
            .pax(&[("path", b"a/long"), ("mtime", b"1.5"), ("GNU.sparse.map", b"0,3,100,3"), ("GNU.sparse.size", b"200")])
            .file("a/file", "abcdef")
            .hard_link("a/link", "a/long")
            .symlink("b", "a")
            .file("b/through", "x")
            .bytes();
        let at = at % bytes.len();
        bytes[at] = value;
        let rules = Rules { owners: Owners::SingleId, xattrs: XattrPrefix::User, devices: Devices::Skip, ..RULES };
        let mut layers = Layers::with(rules);
        if layers.try_blob(&bytes).is_ok() {
            let mut again = Vec::new();
            stream_tar(&layers.layer(0), &mut again).unwrap();
            prop_assert!(again == bytes);
        }
    }
}
