//! What every kind of entry becomes, alone, in place of another, and with layers below.

use super::archive::{Tar, gzip, zstd};
use super::{Layers, RULES, as_root, attributes, describe};
use onggi::image::layer::{Devices, Owners, Rules, XattrPrefix, entries, stream_tar};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// `security.capability` with cap_net_raw=ep, revision 2 (linux/capability.h).
const NET_RAW: &[u8] = &[1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().mode() & 0o7777
}

#[test]
fn owners_modes_and_times() {
    if !as_root() {
        return;
    }
    let owned = |flag, name: &str, mode, link: &str, tar: Tar| {
        tar.member(flag, name, link, b"", |header| {
            header.set_mode(mode);
            header.set_uid(1000);
            header.set_gid(1001);
        })
    };
    let mut tar = Tar::new();
    tar = owned(b'5', "./", 0o750, "", tar);
    tar = owned(b'5', "d/", 0o3770, "", tar);
    tar = owned(b'0', "d/setuid", 0o6755, "", tar);
    tar = owned(b'0', "d/none", 0, "", tar);
    tar = owned(b'0', "d/all", 0o777, "", tar);
    tar = owned(b'2', "d/link", 0o777, "none", tar);
    tar = owned(b'6', "d/fifo", 0o662, "", tar);
    tar = tar
        .pax(&[("mtime", b"1350244992.023960108"), ("uid", b"4000000000")])
        .file("d/fine", "x");
    tar = tar
        .pax(&[("mtime", b"-1.5")])
        .file("d/old", "")
        .pax(&[("mtime", b"9999999999999999")])
        .file("d/late", "");
    let mut layers = Layers::new();
    layers.add(&tar);
    let top = layers.top();
    assert_eq!((mode(top), top.metadata().unwrap().uid()), (0o750, 1000));
    let tree = describe(top);
    for (name, expected) in [
        ("d", "3770 1000:1001 1000000000 directory"),
        ("d/setuid", "6755 1000:1001 1000000000 file"),
        ("d/none", "0000 1000:1001"),
        ("d/all", "0777 1000:1001"),
        ("d/link", "0777 1000:1001 1000000000 link to none"),
        ("d/fifo", "0662 1000:1001 1000000000 fifo"),
        ("d/fine", "0644 4000000000:0 1350244992 file of 1"),
        ("d/old", "0644 0:0 -2 file"),
    ] {
        assert!(tree[name].starts_with(expected), "{name}: {}", tree[name]);
    }
    assert_eq!(
        top.join("d/fine").metadata().unwrap().mtime_nsec(),
        23_960_108
    );
    assert!(top.join("d/late").metadata().unwrap().mtime() > 1 << 33);
}

#[test]
fn compressions() {
    if !as_root() {
        return;
    }
    let tar = Tar::new()
        .file("a", &"text ".repeat(300_000))
        .directory("b/", 0o755)
        .bytes();
    let (front, back) = tar.split_at(700_001);
    for (name, blob) in [
        ("plain", tar.clone()),
        ("gzip", gzip(&tar)),
        ("members", [gzip(front), gzip(b""), gzip(back)].concat()),
        ("zstd", zstd(&tar)),
        ("frames", [zstd(front), zstd(back)].concat()),
        (
            "skippable",
            [
                &[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..],
                &zstd(&tar),
            ]
            .concat(),
        ),
    ] {
        let mut layers = Layers::new();
        let unpacked = layers
            .try_blob(&blob)
            .unwrap_or_else(|error| panic!("{name}: {error:#}"));
        let digest = onggi::image::digest::Digest::of;
        assert_eq!(
            (unpacked.diff_id, unpacked.blob_digest),
            (digest(&tar), digest(&blob)),
            "{name}"
        );
        assert_eq!(
            (unpacked.size, unpacked.tar_size),
            (1_500_000, tar.len() as u64),
            "{name}"
        );
        assert_eq!(layers.top().join("a").metadata().unwrap().len(), 1_500_000);
    }
}

#[test]
fn ends_of_archives() {
    if !as_root() {
        return;
    }
    let tar = Tar::new().file("a", "a");
    for ending in [0, 512, 1024, 9 * 1024, 100_000] {
        Layers::new().add(&tar.clone().raw(&vec![0; ending]).unfinished());
    }
    Layers::new().add(&Tar::new());
    Layers::new().add(&Tar::new().unfinished());
}

#[test]
fn later_members_replace_earlier_ones() {
    if !as_root() {
        return;
    }
    let mut layers = Layers::new();
    let tar = Tar::new()
        .file("file-by-file", "old")
        .hard_link("second-name", "file-by-file")
        .file("file-by-file", "newer")
        .directory("directory-by-file/", 0o700)
        .file("directory-by-file/a", "gone a")
        .directory("directory-by-file/sub/", 0o711)
        .file("directory-by-file/sub/b", "gone b")
        .file("directory-by-file", "file")
        .file("file-by-directory", "gone")
        .directory("file-by-directory/", 0o755)
        .file("file-by-directory/inside", "inside")
        .symlink("link-by-directory", "target")
        .directory("target/", 0o755)
        .file("link-by-directory/through", "in target")
        .directory("link-by-directory/", 0o755)
        .file("link-by-directory/own", "own")
        .directory("twice/", 0o700)
        .file("twice/kept", "kept")
        .directory("twice/", 0o711)
        .file("directory-by-file", "once more")
        .symlink("twice/kept-link", "kept")
        .hard_link("twice/kept-link", "twice/kept")
        .hard_link("twice/kept", "twice/kept");
    let unpacked = layers.add(&tar);
    assert!(!unpacked.depends_on_parents);
    let read = |name: &str| std::fs::read_to_string(layers.top().join(name)).unwrap();
    for (name, content) in [
        ("file-by-file", "newer"),
        ("second-name", "old"),
        ("directory-by-file", "once more"),
        ("file-by-directory/inside", "inside"),
        ("target/through", "in target"),
        ("link-by-directory/own", "own"),
        ("twice/kept", "kept"),
        ("twice/kept-link", "kept"),
    ] {
        assert_eq!(read(name), content, "{name}");
    }
    assert_eq!(mode(&layers.top().join("twice")), 0o711);
    let names: Vec<_> = std::fs::read_dir(layers.layer(0))
        .unwrap()
        .map(|name| name.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 2, "only tree and journal stay: {names:?}");
    // What was replaced is in the stream, but no entry any more.
    let listed: Vec<_> = entries(&layers.layer(0))
        .unwrap()
        .map(|entry| entry.unwrap().path)
        .collect();
    assert!(
        !listed.contains(&"directory-by-file/sub/b".into()),
        "{listed:?}"
    );
    assert!(listed.contains(&"target/through".into()), "{listed:?}");
}

#[test]
fn deep_trees_are_replaced_too() {
    if !as_root() {
        return;
    }
    let mut layers = Layers::new();
    let mut tar = Tar::new();
    let mut deep = String::new();
    for _ in 0..1500 {
        deep.push_str("d/");
        tar = tar
            .pax(&[("path", deep.as_bytes())])
            .directory("short/", 0o755);
    }
    let file = format!("{deep}file");
    tar = tar
        .pax(&[("path", file.as_bytes())])
        .file("short", "content")
        .file("d", "flat");
    layers.add(&tar);
    assert_eq!(describe(layers.top()).len(), 1);
}

#[test]
fn hard_links_and_their_targets() {
    if !as_root() {
        return;
    }
    let mut layers = Layers::new();
    layers.add(
        &Tar::new()
            .directory("bin/", 0o2750)
            .pax(&[("SCHILY.xattr.security.capability", NET_RAW), ("uid", b"7")])
            .member(b'0', "bin/ping", "", b"program", |header| {
                header.set_mode(0o4711)
            })
            .symlink("bin/link", "ping")
            .directory("etc/", 0o755)
            .file("etc/hidden", "hidden")
            .directory("var/", 0o755)
            .file("var/hidden", "hidden"),
    );
    layers.add(
        &Tar::new()
            .file("etc/.wh.hidden", "")
            .directory("var/", 0o755)
            .file("var/.wh..wh..opq", ""),
    );
    let unpacked = layers.add(
        &Tar::new()
            .hard_link("ping", "bin/ping")
            .hard_link("linked", "bin/link")
            .hard_link("again", "ping"),
    );
    assert!(unpacked.depends_on_parents);
    let tree = describe(layers.top());
    assert!(tree["bin"].starts_with("2750 0:0"), "{}", tree["bin"]);
    assert!(
        tree["bin/ping"].starts_with("4711 7:0 1000000000 file of 7"),
        "{}",
        tree["bin/ping"]
    );
    assert!(
        tree["bin/ping"].contains("security.capability="),
        "{}",
        tree["bin/ping"]
    );
    assert!(
        tree["linked"].contains("link to ping"),
        "{}",
        tree["linked"]
    );
    let number = |name: &str| layers.top().join(name).symlink_metadata().unwrap().ino();
    assert!(number("ping") == number("bin/ping") && number("ping") == number("again"));
    for hidden in ["etc/hidden", "var/hidden", "nowhere", "bin/ping/x"] {
        let mut upper = Layers {
            trees: layers.trees.clone(),
            ..Layers::new()
        };
        let error = upper.refuses(&Tar::new().hard_link("name", hidden));
        assert!(error.contains("does not exist"), "{error}");
    }
    let mut upper = Layers {
        trees: layers.trees.clone(),
        ..Layers::new()
    };
    upper.refuses(
        &Tar::new()
            .directory("bin/", 0o755)
            .file("bin/.wh..wh..opq", "")
            .hard_link("name", "bin/link"),
    );
    let mut upper = Layers {
        trees: layers.trees.clone(),
        ..Layers::new()
    };
    assert!(
        upper
            .refuses(&Tar::new().hard_link("name", "bin"))
            .contains("directory")
    );
}

#[test]
fn implied_directories_are_as_below() {
    if !as_root() {
        return;
    }
    let plain = Tar::new().file("a/b/c", "c").file("t/x", "x");
    let mut layers = Layers::new();
    assert!(!layers.add(&plain).depends_on_parents);
    assert!(describe(layers.top())["a/b"].starts_with("0755 0:0 1000000000 directory"));

    let mut layers = Layers::new();
    layers.add(
        &Tar::new()
            .directory("./", 0o711)
            .directory("a/", 0o755)
            .pax(&[("SCHILY.xattr.user.note", b"kept"), ("gid", b"50")])
            .directory("t/", 0o1777)
            .directory("usr/lib/", 0o755)
            .symlink("lib", "usr/lib"),
    );
    let unpacked = layers.add(&Tar::new().directory("./", 0o755).file("a/b/c", "c"));
    assert!(
        !unpacked.depends_on_parents,
        "other parents would give the same"
    );
    assert!(layers.add(&plain).depends_on_parents);
    let tree = describe(layers.top());
    assert!(
        tree["t"].starts_with("1777 0:50") && tree["t"].contains("user.note=kept"),
        "{}",
        tree["t"]
    );
    assert_eq!(
        mode(layers.top()),
        0o755,
        "the root as the layer above the first one has it"
    );
    assert!(
        layers
            .add(&Tar::new().directory("./", 0o755).file("lib/new", ""))
            .depends_on_parents
    );
    assert_eq!(
        describe(layers.top()).into_keys().collect::<Vec<_>>(),
        ["usr", "usr/lib", "usr/lib/new"]
    );
    assert!(layers.merged()["usr/lib/new"].contains("file of 0"));

    let mut layers = Layers::new();
    layers.add(&Tar::new().directory("./", 0o711));
    assert!(layers.add(&Tar::new().file("a", "")).depends_on_parents);
    assert_eq!(mode(layers.top()), 0o711);
}

#[test]
fn extended_attributes_that_are_let_in() {
    if !as_root() {
        return;
    }
    let records: &[(&str, &[u8])] = &[
        ("SCHILY.xattr.security.capability", NET_RAW),
        ("SCHILY.xattr.user.text", b"with\nnewline and \0"),
        ("LIBARCHIVE.xattr.user.b%2d64", b"aGk="),
        ("SCHILY.xattr.trusted.thing", b"t"),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        ("SCHILY.xattr.user.overlay.whiteout", b"y"),
        ("SCHILY.xattr.security.selinux", b"label"),
        ("SCHILY.xattr.unknown.thing", b"x"),
    ];
    let tar = Tar::new()
        .pax(records)
        .file("file", "")
        .pax(&records[1..])
        .directory("dir/", 0o555)
        .pax(&records[1..])
        .symlink("link", "x");
    let mut layers = Layers::new();
    layers.add(&tar);
    let names = |layers: &Layers, name: &str| -> Vec<String> {
        attributes(&layers.top().join(name))
            .iter()
            .map(|text| text.split('=').next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        names(&layers, "file"),
        [
            "security.capability",
            "trusted.thing",
            "user.b-64",
            "user.text"
        ]
    );
    assert_eq!(
        names(&layers, "dir"),
        ["trusted.thing", "user.b-64", "user.text"]
    );
    assert_eq!(names(&layers, "link"), ["trusted.thing"]);
    let mut layers = Layers::with(Rules {
        xattrs: XattrPrefix::User,
        ..RULES
    });
    layers.add(&tar);
    assert_eq!(
        names(&layers, "file"),
        ["security.capability", "user.b-64", "user.text"]
    );
}

#[test]
fn device_nodes_by_rule() {
    if !as_root() {
        return;
    }
    let below_dev = Tar::new()
        .device("dev/null", b'3', 1, 3)
        .device("dev/sda", b'4', 8, 0)
        .hard_link("dev/zero", "dev/null");
    let elsewhere = below_dev
        .clone()
        .file("etc/random", "before")
        .device("etc/random", b'3', 1, 8);
    let mut layers = Layers::new();
    layers.add(&elsewhere);
    let tree = describe(layers.top());
    assert!(tree["dev/null"].contains("character 1:3") && tree["dev/sda"].contains("block 8:0"));
    assert!(tree["etc/random"].contains("character 1:8"));

    let mut layers = Layers::with(Rules {
        devices: Devices::Refuse,
        ..RULES
    });
    layers.add(&below_dev);
    assert_eq!(
        describe(layers.top()).into_keys().collect::<Vec<_>>(),
        ["dev"]
    );
    let error = layers.try_blob(&elsewhere.bytes()).unwrap_err();
    assert!(
        onggi::error::hint(&error)
            .unwrap()
            .contains("layer-devices=skip")
    );

    let mut layers = Layers::with(Rules {
        devices: Devices::Skip,
        ..RULES
    });
    layers.add(&elsewhere);
    assert_eq!(
        describe(layers.top()).into_keys().collect::<Vec<_>>(),
        ["dev", "etc"]
    );
}

#[test]
fn single_id_keeps_owners_in_the_journal() {
    let mut layers = Layers::with(Rules {
        owners: Owners::SingleId,
        xattrs: XattrPrefix::User,
        devices: Devices::Refuse,
        ..RULES
    });
    layers.add(
        &Tar::new()
            .directory("d/", 0o700)
            .member(b'0', "d/f", "", b"12", |header| {
                header.set_uid(33);
                header.set_gid(34);
            })
            .hard_link("h", "d/f")
            .file(".wh.gone", ""),
    );
    let own = rustix::process::geteuid().as_raw();
    assert_eq!(layers.top().join("d/f").metadata().unwrap().uid(), own);
    let listed: Vec<_> = entries(&layers.layer(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let listed: Vec<_> = listed
        .iter()
        .map(|entry| {
            (
                entry.path.to_str().unwrap(),
                entry.uid,
                entry.gid,
                entry.mode,
                entry.size,
            )
        })
        .collect();
    assert_eq!(
        listed,
        [
            ("d", 0, 0, 0o700, 0),
            ("d/f", 33, 34, 0o644, 2),
            ("h", 0, 0, 0o644, 0)
        ]
    );
}

#[test]
fn files_that_changed_are_noticed() {
    let rules = Rules {
        owners: Owners::SingleId,
        xattrs: XattrPrefix::User,
        ..RULES
    };
    type Change = (&'static str, fn(&Path));
    let changes: &[Change] = &[
        ("gone", |path| std::fs::remove_file(path).unwrap()),
        ("shorter", |path| std::fs::write(path, "1").unwrap()),
        ("longer", |path| std::fs::write(path, "12345").unwrap()),
        ("a link", |path| {
            std::fs::rename(path, path.with_extension("moved")).unwrap();
            std::os::unix::fs::symlink("f.moved", path).unwrap();
        }),
        ("a fifo", |path| {
            std::fs::remove_file(path).unwrap();
            nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRUSR).unwrap();
        }),
    ];
    for (what, change) in changes {
        let mut layers = Layers::with(rules.clone());
        layers.add(&Tar::new().file("d/f", "1234"));
        change(&layers.top().join("d/f"));
        assert!(
            stream_tar(&layers.layer(0), &mut std::io::sink()).is_err(),
            "{what}"
        );
    }
    let mut layers = Layers::with(rules);
    layers.add(&Tar::new().file("d/f", "1234"));
    let journal = layers.layer(0).join("journal");
    let bytes = std::fs::read(&journal).unwrap();
    std::fs::write(&journal, &bytes[..bytes.len() - 5]).unwrap();
    assert!(stream_tar(&layers.layer(0), &mut std::io::sink()).is_err());
}
