//! Archives that want out, that lie, or that are broken.

use super::archive::{Tar, gzip, zstd};
use super::{Layers, RULES, as_root, describe};
use onggi::image::layer::{Owners, Rules, XattrPrefix};

/// Rules with which an ordinary user can run these tests too.
fn rules() -> Rules {
    Rules {
        owners: Owners::SingleId,
        xattrs: XattrPrefix::User,
        ..RULES
    }
}

/// One member that must be refused with these words, and nothing of it be seen outside.
fn refuses(what: &str, tar: &Tar, words: &str) {
    let mut layers = Layers::with(rules());
    let error = layers.refuses(tar);
    assert!(error.contains(words), "{what}: {error}");
    assert!(!layers.directory.path().join("evil").exists(), "{what}");
}

#[test]
fn names_that_lead_outside_are_refused() {
    let long = ["n".repeat(256), "n/".repeat(2500)];
    let cases = [
        ("../evil", "has a `..`"),
        ("a/../../evil", "has a `..`"),
        ("a/..", "has a `..`"),
        ("/evil", "is absolute"),
        ("../.wh.evil", "has a `..`"),
        ("a/.wh...", "whiteout of nothing"),
        (".wh.a/b", "below a whiteout"),
        ("../a\nb", "`../a\\nb`"),
        ("in-the-way/b", "`in-the-way` is no directory"),
        ("circle/x", "too many symbolic links"),
        (&long[0], "too long"),
        (&long[1], "too long"),
    ];
    for (name, words) in cases {
        let before = Tar::new().file("in-the-way", "").symlink("circle", "cycle");
        let before = before.symlink("cycle", "circle");
        let tar = before.pax(&[("path", name.as_bytes())]).file("short", "");
        refuses(name, &tar, words);
    }
    refuses("a file as root", &Tar::new().file("./", "x"), "a size");
    let mut layers = Layers::with(Rules {
        absolute_names: true,
        ..rules()
    });
    layers.add(&Tar::new().file("/etc/a", "a").hard_link("/b", "/etc/a"));
    let names: Vec<_> = describe(layers.top()).into_keys().collect();
    assert_eq!(names, ["b", "etc", "etc/a"]);
}

#[test]
fn links_that_cannot_be_are_refused() {
    for (name, target, words) in [
        ("a", "", "without a target"),
        (".", "x", "must be a directory"),
    ] {
        refuses(target, &Tar::new().symlink(name, target), words);
    }
    for (target, words) in [
        ("../evil", "leads outside"),
        ("/etc/passwd", "is absolute"),
        (".", "does not exist"),
    ] {
        refuses(target, &Tar::new().hard_link("a", target), words);
    }
}

#[test]
fn members_that_cannot_be_are_refused() {
    let sparse = |records: &[(&str, &[u8])], content| Tar::new().pax(records).file("a", content);
    let flag = |flag, name, content: &[u8]| Tar::new().member(flag, name, "", content, |_| {});
    let huge: &[u8] = b"9000000000000000000";
    let unmapped: &[(&str, &[u8])] = &[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0")];
    let mapped: &[(&str, &[u8])] = &[("GNU.sparse.map", b"0,1"), ("GNU.sparse.size", huge)];
    for (what, tar, words) in [
        (
            "device",
            Tar::new().device("a", b'3', 1 << 20, 0),
            "device number",
        ),
        ("owner -1", sparse(&[("uid", b"4294967295")], ""), "its uid"),
        ("volume", flag(b'V', "label", b""), "type `V`"),
        ("vendor", flag(b'Z', "a", b""), "type `Z`"),
        (
            "sized directory",
            flag(b'0', "a/", b"x"),
            "a directory with a size",
        ),
        ("sparse without a map", sparse(unmapped, "0\n"), "cut off"),
        ("huge sparse", sparse(mapped, "x"), "implausible"),
        ("huge size", sparse(&[("size", huge)], "x"), "cut off"),
        (
            "zeros between",
            Tar::new().raw(&[0; 512]).file("a", ""),
            "block of zeros",
        ),
    ] {
        refuses(what, &tar, words);
    }
}

#[test]
fn links_are_followed_inside_only() {
    let outside = tempfile::tempdir().unwrap();
    let there = outside.path().to_str().unwrap();
    std::fs::write(outside.path().join("secret"), "secret").unwrap();
    let mut layers = Layers::with(rules());
    layers.add(
        &Tar::new()
            .symlink("absolute", there)
            .file("absolute/new", "new")
            .symlink("root", "/")
            .file("root/in-root", "x")
            .symlink("a/chain", "/root/absolute")
            .file("a/chain/deeper/file", "x")
            .symlink("up", "a/../a")
            .file("up/in-a", "x")
            .symlink("a/climbs", "../../../evil")
            .file("a/climbs/in-evil", "x")
            .symlink("above", "..")
            .file("above/in-above", "x")
            .hard_link("linked", "absolute/new")
            .file("absolute/.wh.gone", "")
            .file("root/absolute", "no link any more"),
    );
    let inside = format!("{}/new", there.trim_start_matches('/'));
    let tree = describe(layers.top());
    assert!(
        tree.contains_key(&inside) && tree.contains_key("in-root") && tree.contains_key("a/in-a"),
        "{tree:#?}"
    );
    // As text a link may lead anywhere; above the root there is the root (path_resolution(7)).
    assert!(
        tree.contains_key("evil/in-evil") && tree.contains_key("in-above"),
        "{tree:#?}"
    );
    assert!(!layers.directory.path().join("evil").exists());
    assert!(
        tree["absolute"].contains("file of 16"),
        "{}",
        tree["absolute"]
    );
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    for target in ["absolute/secret", "root/../etc/passwd", "root/etc/passwd"] {
        let mut layers = Layers::with(rules());
        let tar = Tar::new()
            .symlink("absolute", there)
            .symlink("root", "/")
            .hard_link("stolen", target);
        assert!(layers.refuses(&tar).contains("does not exist"), "{target}");
    }
}

#[test]
fn lower_layers_are_never_written() {
    if !as_root() {
        return;
    }
    let mut layers = Layers::new();
    layers.add(
        &Tar::new()
            .directory("d/", 0o750)
            .file("d/f", "lower")
            .symlink("l", "d"),
    );
    let before = describe(&layers.trees[0]);
    layers.add(
        &Tar::new()
            .hard_link("h", "d/f")
            .file("d/f", "upper")
            .file("l/n", "n")
            .file("h", "over")
            .file("d/.wh.f", ""),
    );
    assert_eq!(describe(&layers.trees[0]), before);
}

#[test]
fn broken_streams_are_refused() {
    let tar = Tar::new().file("a", &"content ".repeat(20_000));
    let whole = tar.bytes();
    let (zipped, zstandard) = (gzip(&whole), zstd(&whole));
    let mut flipped = zipped.clone();
    let last = flipped.len() - 6;
    flipped[last] ^= 1;
    let mut wrong_sum = whole.clone();
    wrong_sum[3] ^= 1;
    let cases: &[(&str, Vec<u8>, &str)] = &[
        ("tar cut in a header", whole[..300].to_vec(), "cut off"),
        ("tar cut in content", whole[..5000].to_vec(), "cut off"),
        (
            "tar cut in the padding",
            tar.clone().unfinished().bytes()[..160_512 + 100].to_vec(),
            "cut off",
        ),
        (
            "garbage after the end",
            [&whole[..], b"x"].concat(),
            "other than zeros",
        ),
        (
            "garbage after zeros",
            [&whole[..], &[0; 300_000], b"x"].concat(),
            "other than zeros",
        ),
        ("wrong checksum", wrong_sum, "checksum"),
        (
            "text",
            "no tar at all ".repeat(100).into_bytes(),
            "checksum",
        ),
        (
            "gzip cut",
            zipped[..zipped.len() - 3].to_vec(),
            "cut off: its gzip",
        ),
        (
            "gzip cut in the middle",
            zipped[..zipped.len() / 2].to_vec(),
            "cut off: its gzip",
        ),
        (
            "gzip header only",
            zipped[..4].to_vec(),
            "cut off: its gzip",
        ),
        ("gzip sum", flipped, "not an intact gzip"),
        (
            "gzip and garbage",
            [&zipped[..], b"garbage and more"].concat(),
            "other bytes follow it",
        ),
        (
            "gzip and zeros",
            [&zipped[..], &[0; 64]].concat(),
            "other bytes follow it",
        ),
        (
            "zstd cut",
            zstandard[..zstandard.len() - 3].to_vec(),
            "cut off: its zstd",
        ),
        (
            "zstd and garbage",
            [&zstandard[..], b"garbage and more"].concat(),
            "not an intact zstd",
        ),
        (
            "xz",
            b"\xfd7zXZ\0\0\x04 more".to_vec(),
            "compressed with xz",
        ),
        ("bzip2", b"BZh91AY&SYmore".to_vec(), "compressed with bzip2"),
    ];
    for (name, blob, words) in cases {
        let mut layers = Layers::with(rules());
        let error = layers.try_blob(blob).map(drop).unwrap_err();
        assert!(format!("{error:#}").contains(words), "{name}: {error:#}");
        assert_eq!(
            onggi::error::kind(&error),
            Some(onggi::error::Kind::BadInput),
            "{name}"
        );
    }
}

#[test]
fn a_reader_that_fails_is_not_the_archives_fault() {
    struct Failing;
    impl std::io::Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the network went away"))
        }
    }
    use std::io::Read;
    let zipped = Tar::new().file("a", &"content ".repeat(20_000)).gzip();
    for length in [0, 5, 100] {
        let directory = tempfile::tempdir().unwrap();
        let blob = zipped[..length].chain(Failing);
        let error = onggi::image::layer::unpack(blob, directory.path(), &[], &rules()).unwrap_err();
        let told = format!("{error:#}");
        let said =
            ["layer", "the tar stream"].map(|what| format!("read {what}: the network went away"));
        assert!(said.iter().any(|said| told.contains(said)), "{told}");
        assert_eq!(onggi::error::kind(&error), None);
    }
}
